"""SGD with averaged weights for an ensemble: K networks, one step moves them all.

Each member has its own learning rate and seed; the seed decides its training subset, its initial
weights and its minibatches, whoever shares the ensemble. The recursion, for every member:

    w_{t+1} = w_t - lr · ∇loss(w_t)              w̄_{t+1} = (1 - γ) w̄_t + γ w_{t+1},   w̄_0 = w_0
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from midterm_cli.part3.evaluate import Examples
from midterm_cli.part3.gradients import Method, make_step
from midterm_cli.part3.mlp import Architecture, split_layers, stack_weights

Sampling = Literal["replacement", "shuffle"]

# A seed has three independent streams, by the second word of its key; mlp.py draws the weights (0).
_SUBSET_STREAM, _MINIBATCH_STREAM = 1, 2

# Minibatches are gathered for several steps at once, which costs a fraction of one by one; longer
# chunks than these gain nothing and drive the weights out of the cache.
_CHUNK_STEPS, _CHUNK_BYTES = 32, 4 * 2**20

CHECKS_PER_PASS = 8
"""How often a pass stops to see whether the weights are finite."""


@dataclass(frozen=True)
class Subset:
    """The part of the training set that one seed sees.

    Attributes:
        rows: (n,) int64, its rows in the whole training set.
        mean: (pixels,) float64, its mean image, which centres every input of that seed's networks.
    """

    rows: np.ndarray
    mean: np.ndarray


def subset_size(total: int, fraction: float) -> int:
    """Examples in a share of `total`: rounded, at least one."""
    return max(1, round(fraction * total))


def draw_subset(images: np.ndarray, fraction: float, seed: int) -> Subset:
    """A random share of the training set, without replacement.

    Args:
        images: (n, pixels) uint8.
        fraction: in (0, 1].
        seed: of the member.
    """
    total = len(images)
    count = subset_size(total, fraction)
    rng = np.random.default_rng([seed, _SUBSET_STREAM])
    rows = np.sort(rng.choice(total, count, replace=False))
    # Integer sums are exact, so that the mean is the same on every machine.
    return Subset(rows, images[rows].sum(axis=0, dtype=np.int64) / count)


def num_updates(num_examples: int, batch_size: int) -> int:
    """Updates in one pass: round(n / batch_size), at least one."""
    return max(1, round(num_examples / batch_size))


def draw_minibatches(
    num_examples: int, batch_size: int, sampling: Sampling, seed: int, epoch: int
) -> np.ndarray:
    """The minibatches of one pass: (updates, batch_size) positions in the subset.

    With `shuffle` every example is drawn once before any is drawn again; where the pass needs
    more examples than there are, it goes on with a second shuffle.
    """
    rng = np.random.default_rng([seed, _MINIBATCH_STREAM, epoch])
    shape = (num_updates(num_examples, batch_size), batch_size)
    if sampling == "replacement":
        return rng.integers(num_examples, size=shape)
    count = shape[0] * shape[1]
    shuffles = [rng.permutation(num_examples) for _ in range(-(-count // num_examples))]
    return np.concatenate(shuffles)[:count].reshape(shape)


@dataclass(frozen=True)
class Snapshot:
    """Weights of some members at one moment.

    Attributes:
        members: their positions in the ensemble.
        flats: the raw weights, then one average for each γ; each laid out for `split_layers`.
    """

    members: tuple[int, ...]
    flats: tuple[Tensor, ...]


class Ensemble:
    """K networks in training: weights, averages, and the loop that moves them.

    Args:
        architecture: sizes and activation, the same for all.
        seeds: (K) one for each member.
        lrs: (K) learning rates.
        gammas: weights of the new value in each average that is followed.
        examples: the whole training set, held once for all members; its device is theirs.
        subsets: for each member, what it sees of the training set.
        batch_size: rows of a minibatch.
        sampling: how minibatches are drawn.
        method: which gradient.
        dtype: of weights and arithmetic.
    """

    def __init__(
        self,
        architecture: Architecture,
        seeds: Sequence[int],
        lrs: Sequence[float],
        gammas: Sequence[float],
        examples: Examples,
        subsets: Sequence[Subset],
        *,
        batch_size: int,
        sampling: Sampling,
        method: Method,
        dtype: torch.dtype,
    ) -> None:
        self.architecture, self.gammas = architecture, tuple(gammas)
        self.seeds, self.lrs, self.subsets = tuple(seeds), tuple(lrs), tuple(subsets)
        self.examples = examples
        self.batch_size, self.sampling, self.method = batch_size, sampling, method
        self.num_updates = num_updates(len(subsets[0].rows), batch_size)
        self.check_every = -(-self.num_updates // CHECKS_PER_PASS)
        self.frozen: dict[int, Snapshot] = {}
        with torch.inference_mode():
            raw = stack_weights(architecture, seeds, dtype, examples.images.device)
            flats = (raw, *(raw.clone() for _ in gammas))
        self._place(Snapshot(tuple(range(len(seeds))), flats))

    def _place(self, snapshot: Snapshot) -> None:
        """Make these members the ones that are trained, with buffers of their number."""
        self.members, self.flats = snapshot.members, snapshot.flats
        raw = self.flats[0]
        num, batch_size, architecture = len(self.members), self.batch_size, self.architecture
        num_pixels, num_classes = architecture.sizes[0], architecture.sizes[-1]
        step_bytes = num * batch_size * architecture.rows(0) * raw.element_size()
        length = min(_CHUNK_STEPS, _CHUNK_BYTES // max(1, step_bytes), self.num_updates)
        length = max(1, length)
        with torch.inference_mode():
            # Buffers for a chunk of minibatches, and the views of them that a step takes.
            shape = (length, num, batch_size)
            self._pixels = torch.empty(
                length * num * batch_size, num_pixels, dtype=torch.uint8, device=raw.device
            )
            self._x = raw.new_zeros(*shape, architecture.rows(0))
            self._x[..., num_pixels] = 1
            self._targets = raw.new_zeros(*shape, num_classes)
            self._minibatches = list(
                zip(self._x.unbind(), self._x.mT.unbind(), self._targets.unbind(), strict=True)
            )
            self._one_hot = torch.eye(num_classes, out=raw.new_empty(num_classes, num_classes))
            means = np.array([self.subsets[i].mean for i in self.members]).reshape(
                num, 1, num_pixels
            )
            self._means = torch.from_numpy(means).to(raw)
            rates = raw.new_tensor([self.lrs[i] for i in self.members])
            layers = split_layers(raw, architecture, num)
            self._step = make_step(self.method, layers, rates, architecture, batch_size)

    @torch.inference_mode()
    def snapshot(self) -> Snapshot:
        """A copy of the weights and averages of the members in training."""
        return Snapshot(self.members, tuple(flat.clone() for flat in self.flats))

    @torch.inference_mode()
    def restore(self, active: Snapshot, frozen: Mapping[int, Snapshot]) -> None:
        """Go on from a snapshot, of this ensemble or of another with the same members."""
        raw = self.flats[0]

        def copied(snapshot: Snapshot) -> Snapshot:
            flats = tuple(flat.to(raw, copy=True) for flat in snapshot.flats)
            return Snapshot(snapshot.members, flats)

        self.frozen = {member: copied(snapshot) for member, snapshot in frozen.items()}
        self._place(copied(active))

    def train(self, epoch: int) -> Iterator[int]:
        """One pass; yields the number of updates done, every so often, and at its end.

        It stops at every multiple of `check_every`, whatever the size of the ensemble.

        Args:
            epoch: 1 for the first pass; with the seeds it decides the minibatches.
        """
        done = 0
        self._rows = self._draw_rows(epoch)
        on_cpu = self._rows.device.type == "cpu"
        while self.members and done < self.num_updates:
            next_check = (done // self.check_every + 1) * self.check_every
            chunk = self._rows[done : min(done + len(self._minibatches), next_check)]
            self._train_chunk(chunk)
            done += len(chunk)
            # On a GPU the question would stop the queue of work: there it waits for the end.
            if (on_cpu or done == self.num_updates) and not self.flats[0].sum().isfinite():
                self.freeze(self._non_finite())
            yield done
        if done < self.num_updates:
            yield self.num_updates

    def _draw_rows(self, epoch: int) -> Tensor:
        """(updates, K, batch_size) rows of the training set for one pass, on the device."""
        rows = np.empty((self.num_updates, len(self.members), self.batch_size), dtype=np.int64)
        for position, member in enumerate(self.members):
            subset = self.subsets[member].rows
            drawn = draw_minibatches(
                len(subset), self.batch_size, self.sampling, self.seeds[member], epoch
            )
            rows[:, position] = subset[drawn]
        return torch.from_numpy(rows).to(self.examples.images.device)

    @torch.inference_mode()
    def _train_chunk(self, rows: Tensor) -> None:
        """Gather the minibatches of a few updates at once, then make the updates."""
        num_steps, *_, num_pixels = *rows.shape, self.examples.images.shape[1]
        flat_rows = rows.flatten()
        # index_select copies whole rows, which plain indexing does element by element.
        pixels, targets = self._pixels[: len(flat_rows)], self._targets[:num_steps]
        torch.index_select(self.examples.images, 0, flat_rows, out=pixels)
        centred = self._x[:num_steps, ..., :num_pixels]
        centred.copy_(pixels.view_as(centred)).sub_(self._means)
        labels = self.examples.labels.index_select(0, flat_rows)
        torch.index_select(self._one_hot, 0, labels, out=targets.view(len(labels), -1))

        step, raw = self._step, self.flats[0]
        averages = list(zip(self.flats[1:], self.gammas, strict=True))
        for minibatch in self._minibatches[:num_steps]:
            step(*minibatch)
            for average, gamma in averages:
                average.lerp_(raw, gamma)

    def layers(self) -> list[Tensor]:
        """Raw weights of the members in training: (K, rows, fan_out) a layer, not copied."""
        return split_layers(self.flats[0], self.architecture, len(self.members))

    def _non_finite(self) -> list[int]:
        """Positions of the members whose weights are no longer finite."""
        finite = torch.stack([layer.flatten(1).isfinite().all(1) for layer in self.layers()])
        return [position for position, fine in enumerate(finite.all(0).tolist()) if not fine]

    def freeze(self, positions: Sequence[int]) -> None:
        """Take the members at some positions out of training, as they are, into `frozen`."""
        if not positions:
            return
        everyone = Snapshot(self.members, self.flats)
        for position in positions:
            self.frozen[self.members[position]] = self._select(everyone, [position])
        staying = [i for i in range(len(self.members)) if i not in positions]
        self._place(self._select(everyone, staying))
        self._rows = self._rows[:, staying]

    @torch.inference_mode()
    def _select(self, snapshot: Snapshot, positions: Sequence[int]) -> Snapshot:
        """The members at some positions of a snapshot, copied."""
        flats = []
        for flat in snapshot.flats:
            layers = split_layers(flat, self.architecture, len(snapshot.members))
            flats.append(torch.cat([layer[list(positions)].flatten() for layer in layers]))
        return Snapshot(tuple(snapshot.members[i] for i in positions), tuple(flats))
