"""What a seed draws: its subset of the training set, and its minibatches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from midterm_cli.part3.schema import Normalize, Sampling

# A seed has independent streams, told apart by the second word of the key: network.py draws the
# initial weights from stream 0, sharpness.py from 3 and 4, module_network.py from 5.
_SUBSET_STREAM, _MINIBATCH_STREAM = 1, 2


@dataclass(frozen=True)
class Subset:
    """The part of the training set that one seed sees.

    Attributes:
        rows: (n,) int64, its rows in the whole training set.
        mean: (pixels,) float64, its mean image, which centres every input of that seed's models.
        factor: by which a centred input is multiplied.
    """

    rows: np.ndarray
    mean: np.ndarray
    factor: float = 1.0


def subset_size(total: int, fraction: float) -> int:
    """Examples in a share of `total`: rounded, at least one."""
    return max(1, round(fraction * total))


def draw_subset(
    images: np.ndarray, fraction: float, seed: int, normalize: Normalize = "none"
) -> Subset:
    """A random share of the training set, without replacement, and how its inputs are scaled.

    Args:
        images: (n, pixels) uint8.
        fraction: in (0, 1].
        seed: of the model.
        normalize: none leaves centred pixels as they are, of 0…255; unit divides them by 255;
            standard by their standard deviation, over all pixels of the subset.
    """
    total = len(images)
    count = subset_size(total, fraction)
    rng = np.random.default_rng([seed, _SUBSET_STREAM])
    rows = np.sort(rng.choice(total, count, replace=False))
    # Integer sums are exact, so that the mean is the same on every machine.
    chosen = images[rows]
    mean = chosen.sum(axis=0, dtype=np.int64) / count
    match normalize:
        case "none":
            factor = 1.0
        case "unit":
            factor = 1 / 255
        case "standard":
            squares = np.einsum("ij,ij->", chosen, chosen, dtype=np.int64) / chosen.size
            deviation = math.sqrt(max(0.0, float(squares - (mean**2).mean())))
            factor = 1 / deviation if deviation else 1.0
    return Subset(rows, mean, factor)


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
