"""Loss and accuracy of networks over whole sets, and whether training failed.

Every network is measured by the same products whoever is measured beside it, so that its numbers
do not depend on the ensemble.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from midterm_cli.part3.mlp import Activation, forward

# Rows of one product: large enough for the BLAS, small enough to stay in the cache.
_ROWS = 2000


@dataclass(frozen=True)
class Examples:
    """Images and labels on one device, held once for all networks.

    Attributes:
        images: (n, pixels) uint8, not centred.
        labels: (n,) int64.
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Measured:
    """What one network does on one set.

    Attributes:
        loss: mean cross-entropy in nats; None where it is not finite.
        accuracy: in [0, 1]; None where the loss is.
        predicted: how often each class is predicted.
    """

    loss: float | None
    accuracy: float | None
    predicted: tuple[int, ...]


@torch.inference_mode()
def evaluate(
    networks: Sequence[Sequence[Tensor]],
    examples: Examples,
    mean: Tensor,
    activation: Activation,
    rows: Tensor | None = None,
) -> list[Measured]:
    """Measure networks that see the same inputs.

    Args:
        networks: for each, one (rows, fan_out) weight matrix a layer.
        examples: the set.
        mean: (pixels,) subtracted from every image; its dtype is that of the arithmetic.
        activation: of the networks.
        rows: (m,) which examples to take; all when None.

    Returns:
        One `Measured` a network.
    """
    num_classes = networks[0][-1].shape[-1]
    device = mean.device
    losses = torch.zeros(len(networks), dtype=torch.float64, device=device)
    correct = torch.zeros(len(networks), dtype=torch.int64, device=device)
    predicted = torch.zeros(len(networks), num_classes, dtype=torch.int64, device=device)
    count = len(examples.labels) if rows is None else len(rows)
    buffer = mean.new_empty(min(_ROWS, count), len(mean))
    for start in range(0, count, _ROWS):
        chunk = slice(start, min(start + _ROWS, count))
        if rows is None:
            images, labels = examples.images[chunk], examples.labels[chunk]
        else:
            images = examples.images.index_select(0, rows[chunk])
            labels = examples.labels.index_select(0, rows[chunk])
        x = buffer[: len(labels)].copy_(images).sub_(mean)
        for i, weights in enumerate(networks):
            logits = forward(weights, x, activation)
            losses[i] += cross_entropy(logits, labels, reduction="sum")
            classes = logits.argmax(-1)
            correct[i] += (classes == labels).sum()
            predicted[i] += classes.bincount(minlength=num_classes)
    return [
        _measured(loss / count, hits / count, histogram)
        for loss, hits, histogram in zip(
            losses.tolist(), correct.tolist(), predicted.tolist(), strict=True
        )
    ]


@torch.inference_mode()
def has_dead_layer(
    network: Sequence[Tensor], examples: Examples, mean: Tensor, rows: Tensor
) -> bool:
    """Whether some hidden layer of a ReLU network is zero for every example.

    Its output is then the same for all of them, and no gradient reaches the layers up to the dead
    one any more: such a network cannot recover.

    Args:
        network: one (rows, fan_out) weight matrix a layer.
        examples: the set.
        mean: (pixels,) subtracted from every image.
        rows: (m,) which examples to take.
    """
    alive = [False] * (len(network) - 1)
    for chunk in rows.split(_ROWS // 8):  # most networks show life in the first few examples
        h = examples.images.index_select(0, chunk).to(mean.dtype).sub_(mean)
        for layer, weight in enumerate(network[:-1]):
            h = forward([weight], h, "relu").relu_()
            alive[layer] = alive[layer] or bool(h.any())
        if all(alive):
            return False
    return True


def _measured(loss: float, accuracy: float, predicted: Sequence[int]) -> Measured:
    if not math.isfinite(loss):
        return Measured(None, None, tuple(predicted))
    return Measured(loss, accuracy, tuple(predicted))
