"""What a seed draws: its subset of the training set, and its minibatches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midterm_cli.part3.schema import Sampling

# A seed has independent streams, told apart by the second word of the key: network.py draws the
# initial weights from stream 0, sharpness.py from 3 and 4.
_SUBSET_STREAM, _MINIBATCH_STREAM = 1, 2


@dataclass(frozen=True)
class Subset:
    """The part of the training set that one seed sees.

    Attributes:
        rows: (n,) int64, its rows in the whole training set.
        mean: (pixels,) float64, its mean image, which centres every input of that seed's models.
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
        seed: of the model.
    """
    total = len(images)
    count = subset_size(total, fraction)
    rng = np.random.default_rng([seed, _SUBSET_STREAM])
    rows = np.sort(rng.choice(total, count, replace=False))
    # Integer sums are exact, so that the mean is the same on every machine.
    return Subset(rows, images[rows].sum(axis=0, dtype=np.int64) / count)


def num_updates(num_examples: int, batch_size: int) -> int:
    """Updates in one epoch: round(n / batch_size), at least one."""
    return max(1, round(num_examples / batch_size))


def draw_minibatches(
    num_examples: int, batch_size: int, sampling: Sampling, seed: int, epoch: int
) -> np.ndarray:
    """The minibatches of one epoch: (updates, batch_size) positions in the subset.

    With `shuffle` every example is drawn once before any is drawn again; where the epoch needs
    more examples than there are, a second shuffle follows.
    """
    rng = np.random.default_rng([seed, _MINIBATCH_STREAM, epoch])
    shape = (num_updates(num_examples, batch_size), batch_size)
    if sampling == "replacement":
        return rng.integers(num_examples, size=shape)
    count = shape[0] * shape[1]
    shuffles = [rng.permutation(num_examples) for _ in range(-(-count // num_examples))]
    return np.concatenate(shuffles)[:count].reshape(shape)
