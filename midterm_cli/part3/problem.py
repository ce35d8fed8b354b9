"""The learning problem that experiments share: data, network, and how models are evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from midterm_cli.data import datasets
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context
from midterm_cli.layers.build import sequential
from midterm_cli.layers.user import Source, executing, factory, read
from midterm_cli.layers.walk import walk
from midterm_cli.part3 import host
from midterm_cli.part3.ensemble import Ensemble, EnsembleState
from midterm_cli.part3.evaluate import Evaluation, Examples, Inputs, evaluate, has_dead_layer
from midterm_cli.part3.information import Information
from midterm_cli.part3.module_network import ModuleNetwork
from midterm_cli.part3.network import MLP, Network, relative_move, split, stack
from midterm_cli.part3.optimizer import Rule
from midterm_cli.part3.outcome import classify
from midterm_cli.part3.sampling import Subset, draw_subset, num_updates, subset_size
from midterm_cli.part3.schedule import Schedule
from midterm_cli.part3.schema import Outcome, ProblemConfig, ScheduleConfig

# Models of a group: larger groups on a CPU gain nothing per model; on a GPU they may take this
# share of its memory.
_GROUP_ON_CPU, _SHARE_OF_MEMORY = 16, 0.25

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
    """The initial weights of a seed, flat, layer by layer, and what they know."""

    layers: list[Tensor]
    known: Information


class Problem:
    """A data set on a device, and models that learn it. It can be pickled: the copy is on the CPU.

    Args:
        config: what to learn, and with which network.
        context: device and data folder.
        dataset: the data that the config names, if it has been read; None to read it.
        source: the code that the config names, likewise.

    Raises:
        UserError: the data is missing or damaged, or the network cannot be made, or not be trained
            in an ensemble.
    """

    def __init__(
        self,
        config: ProblemConfig,
        context: Context,
        dataset: datasets.Dataset | None = None,
        source: Source | None = None,
    ) -> None:
        self.config = config
        self.dataset = dataset or datasets.load(config.dataset, context.data_dir)
        self.dtype = torch.float64 if config.dtype == "float64" else torch.float32
        self.train = _examples(self.dataset.train, context.device)
        self.test = _examples(self.dataset.test, context.device)
        self.source = source
        if source is None and config.source_file is not None:
            self.source = read(str(config.network))
        self.in_shape = (1, *self.dataset.train.images.shape[1:])
        self.network = make_network(
            config, self.source, self.in_shape, self.dataset.num_classes, self.dtype, context.device
        )
        _check_size(self.network, config.batch_size)
        self._subsets: dict[int, Subset] = {}
        kept = min(_STARTS_KEPT, _MAX_PARAMETERS // self.network.num_parameters)
        self._start = lru_cache(maxsize=max(1, kept))(self._measure_start)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the config, the data and the code alone: everything else follows from them."""
        return Problem, (self.config, Context(torch.device("cpu")), self.dataset, self.source)

    @cached_property
    def _train_images(self) -> np.ndarray:
        images = self.dataset.train.images
        flat: np.ndarray = images.reshape(len(images), -1)
        return flat

    def groups(
        self, models: Sequence[T], workers: int, num_averages: int = 0
    ) -> list[tuple[T, ...]]:
        """Models that are trained side by side: groups of even size, and enough for all workers."""
        limit = max(1, min(_GROUP_ON_CPU, _GROUP_MULTIPLICATIONS // self._multiplications))
        if self.train.images.device.type == "cuda":
            limit = self._limit_on_cuda(num_averages)
        num_groups = max(min(workers, len(models)), -(-len(models) // limit))
        # Dealt like cards, so that models that fail early shrink all groups alike.
        return [tuple(models[i::num_groups]) for i in range(num_groups)]

    def _limit_on_cuda(self, num_averages: int) -> int:
        """Models whose parameters, averages, gradients and activations a device has room for."""
        memory = host.memory(self.train.images.device)
        copies = 2 + num_averages + len(self.rule.buffers)
        numbers = copies * sum(map(math.prod, self.network.shapes))
        numbers += 2 * self.config.batch_size * self.network.num_activations
        return max(1, int(_SHARE_OF_MEMORY * memory) // (numbers * self.dtype.itemsize))

    @property
    def rule(self) -> Rule:
        """The optimiser, with its constants."""
        first, second = self.config.betas
        return Rule(
            optimizer=self.config.optimizer,
            momentum=self.config.momentum,
            nesterov=self.config.nesterov,
            weight_decay=self.config.weight_decay,
            betas=(first, second),
            eps=self.config.eps,
            alpha=self.config.alpha,
        )

    def _factors(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """The schedule of the config; None for a constant rate."""
        if not isinstance(self.config, ScheduleConfig):
            return None
        schedule = Schedule(
            self.config.schedule,
            math.ceil(self.config.warmup * self.num_updates),
            self.config.epochs * self.num_updates,
        )
        return None if schedule.is_constant else schedule.factors

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
        """Where the data comes from, and how the models are trained side by side."""
        how = self.network.how if isinstance(self.network, ModuleNetwork) else "batched"
        return {
            "data_sha256": self.dataset.sha256,
            "data_source": self.dataset.source,
            "ensemble": how,
        }

    @property
    def files(self) -> dict[str, bytes]:
        """The code of a network of the user's own, to be kept with its weights."""
        return {"network.py": self.source.text.encode()} if self.source else {}

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
        return max(1, self.config.batch_size * self.network.macs)

    def subset(self, seed: int) -> Subset:
        """What a seed sees of the training set.

        Raises:
            UserError: it has a single class.
        """
        if seed not in self._subsets:
            fraction = self.config.train_fraction
            subset = draw_subset(self._train_images, fraction, seed, self.config.normalize)
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
        self,
        seeds: Sequence[int],
        lrs: Sequence[float],
        gammas: Sequence[float] = (),
        *,
        factors: Callable[[np.ndarray], np.ndarray] | None = None,
        start: Tensor | None = None,
    ) -> Ensemble:
        """Fresh models, one for each pair of seed and learning rate.

        Args:
            seeds: one a model.
            lrs: one a model; the peak of the schedule.
            gammas: of the averages.
            factors: a schedule in place of the config's.
            start: flat initial weights in place of the seeds'.
        """
        return Ensemble(
            self.network,
            seeds,
            lrs,
            gammas,
            self.train,
            [self.subset(seed) for seed in seeds],
            batch_size=self.config.batch_size,
            sampling=self.config.sampling,
            method=self.config.gradients,
            dtype=self.dtype,
            rule=self.rule,
            factors=factors or self._factors(),
            start=start,
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
        kinds = state.by_gamma()
        stacks = [split(flat, self.network, len(state.models)) for flat in kinds.values()]
        weights = {
            model: [
                torch.stack([block[i] for block in of_kinds])
                for of_kinds in zip(*stacks, strict=True)
            ]
            for i, model in enumerate(state.models)
        }
        evaluations: dict[int, dict[float | None, dict[SetName, Evaluation]]] = {
            model: {gamma: {} for gamma in kinds} for model in state.models
        }

        def add(name: SetName, models: Sequence[int], rows: Tensor | None) -> None:
            found = evaluate(
                self.network,
                [weights[model] for model in models],
                self.train if name == "train" else self.test,
                [self._inputs(seeds[model])[0] for model in models],
                rows,
                with_information=name in information_on,
            )
            for model, of_kinds in zip(models, found, strict=True):
                for gamma, evaluation in zip(kinds, of_kinds, strict=True):
                    evaluations[model][gamma][name] = evaluation

        # What an image is before it is centred is the same for all models that see it.
        by_seed: dict[int, list[int]] = {}
        for model in state.models:
            by_seed.setdefault(seeds[model], []).append(model)
        if "train" in sets:
            for seed, models in by_seed.items():
                add("train", models, self._inputs(seed)[1])
        if "test" in sets and state.models:
            add("test", state.models, None)
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
        blocks = split(state.raw, self.network, len(state.models))
        outcomes: dict[int, Outcome] = {}
        for position, model in enumerate(state.models):
            found, start = evaluations[model], self._start(seeds[model])
            moved = relative_move(self._layers([block[position] for block in blocks]), start.layers)
            outcomes[model] = classify(found.loss, found.information, start.known, moved)
        return outcomes

    def _layers(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """The parameters of one model as one flat tensor a layer."""
        return [
            torch.cat([parameters[index].flatten() for index in layer])
            for layer in self.network.layers
        ]

    def _measure_start(self, seed: int) -> _Start:
        inputs, rows = self._inputs(seed)
        flat = stack(self.network, [seed], self.dtype, inputs.mean.device)
        blocks = split(flat, self.network, 1)
        some = rows[:: max(1, len(rows) // _EXAMPLES_AT_START)]
        [[found]] = evaluate(
            self.network, [blocks], self.train, [inputs], some, with_information=True
        )
        if found.information is None:
            raise UserError(
                f"the outputs of the network with the initial weights of seed {seed} are not finite"
                "\nscale its inputs (--normalize unit), or its weights"
            )
        return _Start(self._layers([block[0] for block in blocks]), found.information)

    @property
    def looks_for_the_dead(self) -> bool:
        """Whether models that no gradient reaches any more are taken out of training.

        Only those of ReLUs come to this, and only without momentum and weight decay, which move
        weights without a gradient. On a GPU the question would wait for all queued work, and they
        cost nothing beside others.
        """
        is_relu = isinstance(self.network, MLP) and self.network.activation == "relu"
        return is_relu and self.rule.is_plain and self.train.images.device.type == "cpu"

    def has_dead_layer(self, seed: int, model: Sequence[Tensor]) -> bool:
        """Whether an MLP of ReLUs is dead for every example that its seed sees in training."""
        inputs, rows = self._inputs(seed)
        return has_dead_layer(model, self.train, inputs, rows)

    def _inputs(self, seed: int) -> tuple[Inputs, Tensor]:
        """How a seed's inputs are made, and the rows of its subset, on the device."""
        subset, device = self.subset(seed), self.train.images.device
        mean = torch.from_numpy(subset.mean).to(device, self.dtype)
        return Inputs(mean, subset.factor), torch.from_numpy(subset.rows).to(device)


def make_network(
    config: ProblemConfig,
    source: Source | None,
    in_shape: tuple[int, int, int],
    num_classes: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Network:
    """The network that a config names.

    Args:
        config: of an experiment.
        source: the code that it names, if it does.
        in_shape: channels, height and width of an image.
        num_classes: of the output.
        dtype: of the arithmetic.
        device: of it.

    Raises:
        UserError: it cannot be made, or not be trained in an ensemble.
    """
    if config.network == "mlp":
        sizes = (math.prod(in_shape), *config.hidden_sizes, num_classes)
        return MLP(sizes, config.activation)
    if source is None:
        assert isinstance(config.network, list)
        costs = walk(config.network, in_shape[0], in_shape[1:])
        # Before anything is built: a config may come from somebody who means harm.
        _check_num_parameters("network is", sum(cost.parameters for cost in costs))
        make = partial(sequential, config.network, in_shape)
        return ModuleNetwork(make, "the network", in_shape, num_classes, dtype, device)
    return ModuleNetwork(
        factory(source, in_shape, num_classes),
        str(source),
        in_shape,
        num_classes,
        dtype,
        device,
        partial(executing, source),
    )


def _examples(split: datasets.Split, device: torch.device) -> Examples:
    images = torch.from_numpy(split.images.reshape(len(split.images), -1)).to(device)
    return Examples(images, torch.from_numpy(split.labels.astype(np.int64)).to(device))


def _check_size(network: Network, batch_size: int) -> None:
    name = "hidden_sizes makes" if isinstance(network, MLP) else "network is"
    _check_num_parameters(name, network.num_parameters)
    if (activations := batch_size * network.num_activations) > _MAX_ACTIVATIONS:
        raise UserError(
            f"batch_size and the network make {activations:,} activations in a step: "
            f"at most {_MAX_ACTIVATIONS:,} are allowed"
        )


def _check_num_parameters(name: str, number: int) -> None:
    if number > _MAX_PARAMETERS:
        raise UserError(
            f"{name} a network of {number:,} parameters: at most {_MAX_PARAMETERS:,} are allowed"
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
