"""The learning problem that `train` and `lr-sweep` share: data, network, and how it is measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from midterm_cli.data import datasets
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, ExperimentConfig
from midterm_cli.part3.evaluate import Examples, Measured, evaluate, has_dead_layer
from midterm_cli.part3.gradients import Method
from midterm_cli.part3.mlp import Activation, Architecture, split_layers
from midterm_cli.part3.sgd import (
    Ensemble,
    Sampling,
    Snapshot,
    Subset,
    draw_subset,
    num_updates,
    subset_size,
)

# Members of a group: on a CPU more gain nothing each.
_GROUP_ON_CPU, _GROUP_ON_CUDA = 16, 4096

# Multiplications in one forward step of a group, above which its members are slower together than
# apart, since they leave the cache: of width 512, 340 µs a member in twos and 580 µs in sixteens.
_GROUP_PRODUCTS = 8_000_000

# Above these a run would not fit into the memory of a usual machine.
_MAX_PARAMETERS = 50_000_000
_MAX_ACTIVATIONS = 100_000_000

# Multiplications in one forward step from which a second thread pays.
_THREADED_PRODUCTS = 4_000_000

T = TypeVar("T")
Width = Annotated[int, Field(ge=1, le=65_536)]
SetName = Literal["train", "test"]


class ProblemConfig(ExperimentConfig):
    """Keys that every experiment on learning has."""

    num_seeds: int = Field(ge=1, le=10_000, description="networks, seeded seed, seed + 1, …")
    dtype: Literal["float32", "float64"] = Field(description="of weights and arithmetic")
    dataset: str = Field(
        min_length=1,
        description="fashion_mnist, synthetic, or a folder with four IDX files",
    )
    train_fraction: float = Field(
        gt=0, le=1, description="share of the training set that a seed draws, without replacement"
    )
    hidden_sizes: list[Width] = Field(max_length=64, description="widths of the hidden layers")
    activation: Activation = Field(description="after each hidden layer")
    batch_size: int = Field(ge=1, le=65_536, description="examples in a minibatch")
    sampling: Sampling = Field(
        description="minibatches drawn with replacement, or from a shuffle of the subset"
    )
    gradients: Method = Field(
        description="closed_form, the written-out backward pass, or autograd, the slow reference"
    )

    @field_validator("dataset")
    @classmethod
    def _can_be_shown(cls, value: str) -> str:
        # It stands in titles and tables, where a line break or an escape would not be itself.
        if not value.isprintable():
            raise ValueError("has characters that cannot be printed: rename the folder")
        return value

    @property
    def seeds(self) -> range:
        """The seeds of the run."""
        return range(self.seed, self.seed + self.num_seeds)


class Problem:
    """A data set on a device, and networks that learn it.

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
        self.config, self.data_dir = config, context.data_dir
        self.dataset = dataset or datasets.load(config.dataset, context.data_dir)
        self.dtype = torch.float64 if config.dtype == "float64" else torch.float32
        self.train = _examples(self.dataset.train, context.device)
        self.test = _examples(self.dataset.test, context.device)
        num_pixels = self.train.images.shape[1]
        sizes = (num_pixels, *config.hidden_sizes, self.dataset.num_classes)
        self.architecture = Architecture(sizes, config.activation)
        _check_size(self.architecture, config.batch_size)
        self._subsets: dict[int, Subset] = {}

    @cached_property
    def _train_images(self) -> np.ndarray:
        images = self.dataset.train.images
        flat: np.ndarray = images.reshape(len(images), -1)
        return flat

    def groups(self, members: Sequence[T], workers: int) -> list[tuple[T, ...]]:
        """Members that are trained side by side: groups as even as can be, one for each worker."""
        limit = max(1, min(_GROUP_ON_CPU, _GROUP_PRODUCTS // self._products))
        if self.train.images.device.type == "cuda":
            limit = _GROUP_ON_CUDA
        num_groups = max(min(workers, len(members)), -(-len(members) // limit))
        # Dealt like cards: members that fail early leave all groups alike.
        return [tuple(members[i::num_groups]) for i in range(num_groups)]

    def require_same_data(self, sha256: str) -> None:
        """Refuse to go on with a run that was begun on other data.

        Raises:
            UserError: the digest is not that of the data set.
        """
        if sha256 != self.dataset.sha256:
            raise UserError(
                f"the run was begun on other data (sha256 {sha256[:12]}…, now "
                f"{self.dataset.sha256[:12]}…)\nleave out --resume to start again"
            )

    @property
    def provenance(self) -> dict[str, str]:
        """Where the data comes from."""
        return {"data_sha256": self.dataset.sha256, "data_source": self.dataset.source}

    @property
    def num_updates(self) -> int:
        """Updates in one pass."""
        num_examples = subset_size(len(self.train.labels), self.config.train_fraction)
        return num_updates(num_examples, self.config.batch_size)

    def threads(self, num_groups: int, workers: int) -> int:
        """Threads for the products of one group, when `workers` cores share the groups.

        A small product is slower on two threads than on one; idle cores help only large ones.
        """
        return max(1, workers // num_groups) if self._products >= _THREADED_PRODUCTS else 1

    @property
    def _products(self) -> int:
        """Multiplications in one forward step of one network."""
        return self.config.batch_size * sum(a * b for a, b in self.architecture.shapes())

    def subset(self, seed: int) -> Subset:
        """What a seed sees of the training set."""
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
        """Fresh networks, one for each pair of seed and rate."""
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

    def measure(
        self, snapshot: Snapshot, seeds: Sequence[int], sets: Sequence[SetName]
    ) -> dict[int, list[dict[SetName, Measured]]]:
        """Loss and accuracy of all weights of a snapshot.

        Args:
            snapshot: of an ensemble.
            seeds: of that ensemble's members, the whole of it.
            sets: on which to measure.

        Returns:
            For each member's position: for the raw weights and for each average, in this order,
            what was measured on each set.
        """
        num = len(snapshot.members)
        stacks = [split_layers(flat, self.architecture, num) for flat in snapshot.flats]
        measured: dict[int, list[dict[SetName, Measured]]] = {
            member: [{} for _ in stacks] for member in snapshot.members
        }
        # Members of one seed see the same inputs, which are gathered and centred once for all.
        for seed in dict.fromkeys(seeds[member] for member in snapshot.members):
            places = [i for i, member in enumerate(snapshot.members) if seeds[member] == seed]
            networks = [[layer[i] for layer in stack] for i in places for stack in stacks]
            mean, subset_rows = self._inputs(seed)
            for name in sets:
                examples, rows = (self.train, subset_rows) if name == "train" else (self.test, None)
                found = iter(evaluate(networks, examples, mean, self.architecture.activation, rows))
                for i in places:
                    for weights in measured[snapshot.members[i]]:
                        weights[name] = next(found)
        return measured

    def has_dead_layer(self, seed: int, network: Sequence[Tensor]) -> bool:
        """Whether a ReLU network is dead for every example that its seed sees in training."""
        mean, rows = self._inputs(seed)
        return has_dead_layer(network, self.train, mean, rows)

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
        name: of what was shared out, such as "seeds".
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
    """Compute on so many threads a product, with denormal numbers taken as zero.

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
