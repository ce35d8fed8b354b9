"""The learning problem that experiments share: data, network, and how models are evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from midterm_cli.data import datasets
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context
from midterm_cli.part3.ensemble import Ensemble, EnsembleState
from midterm_cli.part3.evaluate import Evaluation, Examples, evaluate, has_dead_layer
from midterm_cli.part3.information import Information
from midterm_cli.part3.network import Architecture, split_layers, stack_weights
from midterm_cli.part3.outcome import classify, relative_move
from midterm_cli.part3.sampling import Subset, draw_subset, num_updates, subset_size
from midterm_cli.part3.schema import Outcome, ProblemConfig

# Models of a group: larger groups on a CPU gain nothing per model.
_GROUP_ON_CPU, _GROUP_ON_CUDA = 16, 4096

# Multiplications in one forward step of a group, above which its models are slower together than
# apart, since they leave the cache: of width 512, 340 µs a model in twos and 580 µs in sixteens.
_GROUP_MULTIPLICATIONS = 8_000_000

# Above these a run would not fit into the memory of a usual machine.
_MAX_PARAMETERS = 50_000_000
_MAX_ACTIVATIONS = 100_000_000

# What the initial weights know is measured on about so many examples of the subset, and kept for
# the learning rates that are tried side by side.
_EXAMPLES_AT_START, _STARTS_KEPT = 1000, 64

# Multiplications in one forward step from which a second intra-op thread pays.
_THREADED_MULTIPLICATIONS = 4_000_000

T = TypeVar("T")
SetName = Literal["train", "test"]


class _Start(NamedTuple):
    """The initial weights of a seed, one (rows, fan_out) tensor a layer, and what they know."""

    layers: list[Tensor]
    known: Information


class Problem:
    """A data set on a device, and models that learn it. It can be pickled: the copy is on the CPU.

    Args:
        config: what to learn, and with which network.
        context: device and data folder.
        dataset: the data that the config names, if it has been read; None to read it.

    Raises:
        UserError: the data is missing or damaged.
    """

    def __init__(
        self, config: ProblemConfig, context: Context, dataset: datasets.Dataset | None = None
    ) -> None:
        self.config = config
        self.dataset = dataset or datasets.load(config.dataset, context.data_dir)
        self.dtype = torch.float64 if config.dtype == "float64" else torch.float32
        self.train = _examples(self.dataset.train, context.device)
        self.test = _examples(self.dataset.test, context.device)
        num_pixels = self.train.images.shape[1]
        sizes = (num_pixels, *config.hidden_sizes, self.dataset.num_classes)
        self.architecture = Architecture(sizes, config.activation)
        _check_size(self.architecture, config.batch_size)
        self._subsets: dict[int, Subset] = {}
        kept = min(_STARTS_KEPT, _MAX_PARAMETERS // self.architecture.num_parameters)
        self._start = lru_cache(maxsize=max(1, kept))(self._measure_start)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the config and the data alone: everything else follows from them."""
        return Problem, (self.config, Context(torch.device("cpu")), self.dataset)

    @cached_property
    def _train_images(self) -> np.ndarray:
        images = self.dataset.train.images
        flat: np.ndarray = images.reshape(len(images), -1)
        return flat

    def groups(self, models: Sequence[T], workers: int) -> list[tuple[T, ...]]:
        """Models that are trained side by side: groups of even size, and enough for all workers."""
        limit = max(1, min(_GROUP_ON_CPU, _GROUP_MULTIPLICATIONS // self._multiplications))
        if self.train.images.device.type == "cuda":
            limit = _GROUP_ON_CUDA
        num_groups = max(min(workers, len(models)), -(-len(models) // limit))
        # Dealt like cards, so that models that fail early shrink all groups alike.
        return [tuple(models[i::num_groups]) for i in range(num_groups)]

    def require_same_data(self, sha256: str) -> None:
        """Refuse to continue a run that was begun on other data.

        Raises:
            UserError: the digest is not that of the data set.
        """
        if sha256 != self.dataset.sha256:
            raise UserError(
                f"the run was begun on other data (sha256 {sha256[:12]}…, now "
                f"{self.dataset.sha256[:12]}…)\ngive --force in place of --resume to start again"
            )

    @property
    def provenance(self) -> dict[str, str]:
        """Where the data comes from."""
        return {"data_sha256": self.dataset.sha256, "data_source": self.dataset.source}

    @property
    def num_updates(self) -> int:
        """Updates in one epoch."""
        num_examples = subset_size(len(self.train.labels), self.config.train_fraction)
        return num_updates(num_examples, self.config.batch_size)

    def threads(self, num_groups: int, workers: int) -> int:
        """Intra-op threads of one group, when `workers` cores share the groups.

        A small matmul is slower on two threads than on one; idle cores help only large ones.
        """
        threaded = self._multiplications >= _THREADED_MULTIPLICATIONS
        return max(1, workers // num_groups) if threaded else 1

    @property
    def _multiplications(self) -> int:
        """Multiplications in one forward step of one model."""
        return self.config.batch_size * sum(a * b for a, b in self.architecture.shapes())

    def subset(self, seed: int) -> Subset:
        """What a seed sees of the training set.

        Raises:
            UserError: it has a single class.
        """
        if seed not in self._subsets:
            fraction = self.config.train_fraction
            subset = draw_subset(self._train_images, fraction, seed)
            if len(np.unique(self.dataset.train.labels[subset.rows])) < 2:
                raise UserError(
                    f"the images that seed {seed} draws are all of one class: "
                    f"raise train_fraction (now {fraction:g})"
                )
            self._subsets[seed] = subset
        return self._subsets[seed]

    def class_counts(self, seed: int) -> list[int]:
        """How often each class occurs in a seed's subset."""
        labels = self.dataset.train.labels[self.subset(seed).rows]
        return [int(count) for count in np.bincount(labels, minlength=self.dataset.num_classes)]

    def ensemble(
        self, seeds: Sequence[int], lrs: Sequence[float], gammas: Sequence[float] = ()
    ) -> Ensemble:
        """Fresh models, one for each pair of seed and learning rate."""
        return Ensemble(
            self.architecture,
            seeds,
            lrs,
            gammas,
            self.train,
            [self.subset(seed) for seed in seeds],
            batch_size=self.config.batch_size,
            sampling=self.config.sampling,
            method=self.config.gradients,
            dtype=self.dtype,
        )

    def evaluate(
        self,
        state: EnsembleState,
        seeds: Sequence[int],
        sets: Sequence[SetName],
        *,
        information_on: Sequence[SetName] = (),
    ) -> dict[int, dict[float | None, dict[SetName, Evaluation]]]:
        """Loss and accuracy of all weights in a state.

        Args:
            state: of an ensemble.
            seeds: of all models of that ensemble.
            sets: on which to evaluate.
            information_on: the sets on which to measure information as well.

        Returns:
            For each model, kind of weights (γ; None for the raw ones) and set, what was found.
        """
        num = len(state.models)
        stacks = {
            gamma: split_layers(flat, self.architecture, num)
            for gamma, flat in state.by_gamma().items()
        }
        evaluations: dict[int, dict[float | None, dict[SetName, Evaluation]]] = {
            model: {gamma: {} for gamma in stacks} for model in state.models
        }
        # Models of one seed see the same inputs, which are gathered and centred once for all.
        for seed in dict.fromkeys(seeds[model] for model in state.models):
            kinds = [
                (position, model, gamma)
                for position, model in enumerate(state.models)
                if seeds[model] == seed
                for gamma in stacks
            ]
            weights = [[layer[i] for layer in stacks[gamma]] for i, _, gamma in kinds]
            mean, subset_rows = self._inputs(seed)
            for name in sets:
                examples, rows = (self.train, subset_rows) if name == "train" else (self.test, None)
                found = evaluate(
                    weights,
                    examples,
                    mean,
                    self.architecture.activation,
                    rows,
                    with_information=name in information_on,
                )
                for (_, model, gamma), evaluation in zip(kinds, found, strict=True):
                    evaluations[model][gamma][name] = evaluation
        return evaluations

    def outcomes(
        self,
        state: EnsembleState,
        seeds: Sequence[int],
        evaluations: Mapping[int, Evaluation],
    ) -> dict[int, Outcome]:
        """What became of the raw weights in a state, by model.

        Args:
            state: of an ensemble.
            seeds: of all models of that ensemble.
            evaluations: of its raw weights on the training subset, with information.
        """
        layers = split_layers(state.raw, self.architecture, len(state.models))
        outcomes: dict[int, Outcome] = {}
        for position, model in enumerate(state.models):
            found, start = evaluations[model], self._start(seeds[model])
            moved = relative_move([layer[position] for layer in layers], start.layers)
            outcomes[model] = classify(found.loss, found.information, start.known, moved)
        return outcomes

    def _measure_start(self, seed: int) -> _Start:
        mean, rows = self._inputs(seed)
        flat = stack_weights(self.architecture, [seed], self.dtype, mean.device)
        layers = [layer[0] for layer in split_layers(flat, self.architecture, 1)]
        some = rows[:: max(1, len(rows) // _EXAMPLES_AT_START)]
        [found] = evaluate(
            [layers],
            self.train,
            mean,
            self.architecture.activation,
            some,
            with_information=True,
        )
        assert found.information is not None  # small weights, and pixels up to 255
        return _Start(layers, found.information)

    def has_dead_layer(self, seed: int, model: Sequence[Tensor]) -> bool:
        """Whether a ReLU model is dead for every example that its seed sees in training."""
        mean, rows = self._inputs(seed)
        return has_dead_layer(model, self.train, mean, rows)

    def _inputs(self, seed: int) -> tuple[Tensor, Tensor]:
        """Mean image and rows of a seed's subset, on the device."""
        subset, device = self.subset(seed), self.train.images.device
        mean = torch.from_numpy(subset.mean).to(device, self.dtype)
        return mean, torch.from_numpy(subset.rows).to(device)


def _examples(split: datasets.Split, device: torch.device) -> Examples:
    images = torch.from_numpy(split.images.reshape(len(split.images), -1)).to(device)
    return Examples(images, torch.from_numpy(split.labels.astype(np.int64)).to(device))


def _check_size(architecture: Architecture, batch_size: int) -> None:
    if architecture.num_parameters > _MAX_PARAMETERS:
        raise UserError(
            f"hidden_sizes makes a network of {architecture.num_parameters:,} parameters: "
            f"at most {_MAX_PARAMETERS:,} are allowed"
        )
    if (activations := batch_size * sum(architecture.sizes)) > _MAX_ACTIVATIONS:
        raise UserError(
            f"batch_size and hidden_sizes make {activations:,} activations in a step: "
            f"at most {_MAX_ACTIVATIONS:,} are allowed"
        )


def computed_by(
    name: str, shares: Iterable[tuple[Mapping[str, str] | None, Sequence[Any]]]
) -> dict[str, Any]:
    """Who computed what, for the provenance; empty where all of it was computed here.

    Args:
        name: of what was distributed, such as "seeds".
        shares: a worker (None: this process) and what it computed, in any order.
    """
    parts: dict[tuple[tuple[str, str], ...], list[Any]] = {}
    for worker, share in shares:
        if worker is not None:
            parts.setdefault(tuple(worker.items()), []).extend(share)
    rows = [dict(worker) | {name: sorted(share)} for worker, share in sorted(parts.items())]
    return {"computed_by": rows} if rows else {}


@contextmanager
def arithmetic(threads: int) -> Iterator[int]:
    """Compute with so many intra-op threads, and with denormal numbers taken as zero.

    Denormals (dead units, vanishing averages) cost a hundred times a normal operation and are
    below anything that a result shows. Threads that are started inside inherit the setting.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        yield threads
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)
