"""Loss, accuracy and information of models over whole sets, and whether a model can still learn.

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

from midterm_cli.part3.information import Information, information
from midterm_cli.part3.network import MLP, Network

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
class Inputs:
    """How inputs are made of images: (image - mean) · factor.

    Attributes:
        mean: (pixels,); its dtype is that of the arithmetic.
        factor: a number.
    """

    mean: Tensor
    factor: float = 1.0

    def of(self, images: Tensor, out: Tensor | None = None) -> Tensor:
        """Inputs (n, pixels) of images (n, pixels), in `out` if there is one."""
        x = images.to(self.mean.dtype, copy=True) if out is None else out.copy_(images)
        x.sub_(self.mean)
        return x if self.factor == 1 else x.mul_(self.factor)


@dataclass(frozen=True)
class Evaluation:
    """What one model does on one set.

    Attributes:
        loss: mean cross-entropy in nats; None where it is not finite.
        accuracy: in [0, 1]; None where the loss is.
        information: about the labels; None where it was not asked for or a logit is not finite.
    """

    loss: float | None
    accuracy: float | None
    information: Information | None = None


@torch.inference_mode()
def evaluate(
    network: Network,
    models: Sequence[Sequence[Tensor]],
    examples: Examples,
    inputs: Inputs,
    rows: Tensor | None = None,
    *,
    with_information: bool = False,
) -> list[Evaluation]:
    """Evaluate models that see the same inputs.

    Args:
        network: of the models.
        models: the parameters of each.
        examples: the set.
        inputs: how they are made.
        rows: (m,) which examples to take; all when None.
        with_information: about the labels, too.

    Returns:
        One `Evaluation` a model.
    """
    mean = inputs.mean
    num_classes = network.num_classes
    device = mean.device
    losses = torch.zeros(len(models), dtype=torch.float64, device=device)
    correct = torch.zeros(len(models), dtype=torch.int64, device=device)
    count = len(examples.labels) if rows is None else len(rows)
    all_logits = mean.new_empty(len(models), count, num_classes) if with_information else None
    buffer = mean.new_empty(min(_ROWS, count), len(mean))
    for start in range(0, count, _ROWS):
        chunk = slice(start, min(start + _ROWS, count))
        if rows is None:
            images, labels = examples.images[chunk], examples.labels[chunk]
        else:
            images = examples.images.index_select(0, rows[chunk])
            labels = examples.labels.index_select(0, rows[chunk])
        x = inputs.of(images, out=buffer[: len(labels)])
        for i, parameters in enumerate(models):
            logits = network.logits(parameters, x)
            losses[i] += cross_entropy(logits, labels, reduction="sum")
            correct[i] += (logits.argmax(-1) == labels).sum()
            if all_logits is not None:
                all_logits[i, chunk] = logits
    known: list[Information | None] = [None] * len(models)
    if all_logits is not None:
        of_rows = examples.labels if rows is None else examples.labels.index_select(0, rows)
        known = [
            information(of_model, of_rows.cpu().numpy(), num_classes)
            for of_model in all_logits.cpu().numpy()
        ]
    return [
        _evaluation(loss / count, hits / count, of_model)
        for loss, hits, of_model in zip(losses.tolist(), correct.tolist(), known, strict=True)
    ]


@torch.inference_mode()
def has_dead_layer(
    model: Sequence[Tensor], examples: Examples, inputs: Inputs, rows: Tensor
) -> bool:
    """Whether some hidden layer of an MLP of ReLUs is zero for every example.

    Its output is then the same for all of them, and no gradient reaches the layers up to the dead
    one any more: such a model cannot recover.

    Args:
        model: one (rows, fan_out) weight matrix a layer.
        examples: the set.
        inputs: how they are made.
        rows: (m,) which examples to take.
    """
    alive = [False] * (len(model) - 1)
    for chunk in rows.split(_ROWS // 8):  # most models are alive for one of the first few
        h = inputs.of(examples.images.index_select(0, chunk))
        for layer, weight in enumerate(model[:-1]):
            h = MLP.affine(weight, h).relu_()
            alive[layer] = alive[layer] or bool(h.any())
        if all(alive):
            return False
    return True


def _evaluation(loss: float, accuracy: float, known: Information | None) -> Evaluation:
    finite = math.isfinite(loss)
    return Evaluation(loss if finite else None, accuracy if finite else None, known)
