"""Loss and accuracy of models over whole sets, and whether a model can still learn.

Every model is evaluated by matmuls of the same shapes whichever others are evaluated beside it, so
that its numbers do not depend on the ensemble.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from midterm_cli.part3.network import forward
from midterm_cli.part3.schema import Activation

# Rows of one matmul: large enough for the BLAS, small enough to stay in the cache.
_ROWS = 2000


@dataclass(frozen=True)
class Examples:
    """Images and labels on one device, held once for all models.

    Attributes:
        images: (n, pixels) uint8, not centred.
        labels: (n,) int64.
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Evaluation:
    """What one model does on one set.

    Attributes:
        loss: mean cross-entropy in nats; None where it is not finite.
        accuracy: in [0, 1]; None where the loss is.
        predicted_counts: how often each class is predicted.
    """

    loss: float | None
    accuracy: float | None
    predicted_counts: tuple[int, ...]


@torch.inference_mode()
def evaluate(
    models: Sequence[Sequence[Tensor]],
    examples: Examples,
    mean: Tensor,
    activation: Activation,
    rows: Tensor | None = None,
) -> list[Evaluation]:
    """Evaluate models that see the same inputs.

    Args:
        models: for each, one (rows, fan_out) weight matrix a layer.
        examples: the set.
        mean: (pixels,) subtracted from every image; its dtype is that of the arithmetic.
        activation: of the models.
        rows: (m,) which examples to take; all when None.

    Returns:
        One `Evaluation` a model.
    """
    num_classes = models[0][-1].shape[-1]
    device = mean.device
    losses = torch.zeros(len(models), dtype=torch.float64, device=device)
    correct = torch.zeros(len(models), dtype=torch.int64, device=device)
    predicted_counts = torch.zeros(len(models), num_classes, dtype=torch.int64, device=device)
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
        for i, weights in enumerate(models):
            logits = forward(weights, x, activation)
            losses[i] += cross_entropy(logits, labels, reduction="sum")
            classes = logits.argmax(-1)
            correct[i] += (classes == labels).sum()
            predicted_counts[i] += classes.bincount(minlength=num_classes)
    return [
        _evaluation(loss / count, hits / count, counts)
        for loss, hits, counts in zip(
            losses.tolist(), correct.tolist(), predicted_counts.tolist(), strict=True
        )
    ]


@torch.inference_mode()
def has_dead_layer(model: Sequence[Tensor], examples: Examples, mean: Tensor, rows: Tensor) -> bool:
    """Whether some hidden layer of a ReLU model is zero for every example.

    Its output is then the same for all of them, and no gradient reaches the layers up to the dead
    one any more: such a model cannot recover.

    Args:
        model: one (rows, fan_out) weight matrix a layer.
        examples: the set.
        mean: (pixels,) subtracted from every image.
        rows: (m,) which examples to take.
    """
    alive = [False] * (len(model) - 1)
    for chunk in rows.split(_ROWS // 8):  # most models are alive for one of the first few
        h = examples.images.index_select(0, chunk).to(mean.dtype).sub_(mean)
        for layer, weight in enumerate(model[:-1]):
            h = forward([weight], h, "relu").relu_()
            alive[layer] = alive[layer] or bool(h.any())
        if all(alive):
            return False
    return True


def _evaluation(loss: float, accuracy: float, predicted_counts: Sequence[int]) -> Evaluation:
    if not math.isfinite(loss):
        return Evaluation(None, None, tuple(predicted_counts))
    return Evaluation(loss, accuracy, tuple(predicted_counts))
