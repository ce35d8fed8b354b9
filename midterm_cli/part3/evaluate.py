"""Loss, accuracy and information of models over whole sets, and whether a model can still learn.

Every model is evaluated by matmuls of the same shapes whichever others are evaluated beside it, so
that its numbers do not depend on the ensemble.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from midterm_cli.part3 import host
from midterm_cli.part3.information import Information, information
from midterm_cli.part3.network import MLP, Network, activate

# Images at once: enough for the BLAS, and so few that what a network makes of them fits the cache.
_ROWS, _BYTES = 750, 4 * 2**20


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

    def of(self, images: Tensor) -> Tensor:
        """Inputs (n, pixels) of images (n, pixels)."""
        x = images.to(self.mean.dtype, copy=True).sub_(self.mean)
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
    inputs: Sequence[Inputs],
    rows: Tensor | None = None,
    *,
    with_information: bool = False,
) -> list[list[Evaluation]]:
    """Evaluate models on one set of images.

    Args:
        network: of the models.
        models: the parameters of each, (kinds, *shape): its raw weights and averages, say.
        examples: the set.
        inputs: how those of each model are made.
        rows: (m,) which examples to take; all when None.
        with_information: about the labels, too.

    Returns:
        An `Evaluation` for each model and kind.
    """
    like, shape = inputs[0].mean, (len(models), len(models[0][0]))
    losses = torch.zeros(shape, dtype=torch.float64, device=like.device)
    correct = torch.zeros(shape, dtype=torch.int64, device=like.device)
    labels = examples.labels if rows is None else examples.labels.index_select(0, rows)
    count = len(labels)
    all_logits = like.new_empty(*shape, count, network.num_classes) if with_information else None
    scores = [_scores(network, *of_model) for of_model in zip(models, inputs, strict=True)]
    for chunk, images in _chunks(network, examples.images, rows, like):
        logits = torch.stack([of_model(images) for of_model in scores])
        of_chunk = labels[chunk].expand(*shape, 1, -1)
        log_p = logits.log_softmax(2).gather(2, of_chunk)
        losses -= log_p.sum((2, 3), dtype=torch.float64)
        correct += (logits.max(2).indices == labels[chunk]).sum(2)
        if all_logits is not None:
            all_logits[..., chunk, :] = logits.mT
    known: list[Information | None] = [None] * losses.numel()
    if all_logits is not None:
        of_labels = host.read(labels)
        known = [
            information(of_kind, of_labels, network.num_classes)
            for of_kind in host.read(all_logits.flatten(0, 1))
        ]
    found = iter(known)
    return [
        [
            _evaluation(loss / count, hits / count, next(found))
            for loss, hits in zip(*of_model, strict=True)
        ]
        for of_model in zip(host.read(losses).tolist(), host.read(correct).tolist(), strict=True)
    ]


def _chunks(
    network: Network, images: Tensor, rows: Tensor | None, like: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """Some of the images at a time, as numbers of the dtype of `like`; the next overwrite them."""
    count = len(images) if rows is None else len(rows)
    length = min(count, _ROWS, _BYTES // (network.num_activations * like.element_size()))
    length = max(1, length)
    # Memory that is asked for anew comes in pages that the first to write has to wait for.
    numbers = like.new_empty(length, images.shape[1])
    pixels = images.new_empty(numbers.shape)
    for start in range(0, count, length):
        chunk = slice(start, min(start + length, count))
        if rows is None:
            chosen = images[chunk]
        else:
            # index_select copies whole rows, which plain indexing does element by element.
            chosen = pixels[: chunk.stop - start]
            torch.index_select(images, 0, rows[chunk], out=chosen)
        yield chunk, numbers[: len(chosen)].copy_(chosen)


def _scores(
    network: Network, parameters: Sequence[Tensor], inputs: Inputs
) -> Callable[[Tensor], Tensor]:
    """A function from images (n, pixels), in floating point, to logits (kinds, classes, n).

    Classes come before examples, since a softmax over the last axis is slow where it is short.
    """
    if isinstance(network, MLP):
        return _scores_of_mlp(network, parameters, inputs)
    kinds = [[block[k] for block in parameters] for k in range(len(parameters[0]))]

    def scores(images: Tensor) -> Tensor:
        x = inputs.of(images)
        return torch.stack([network.logits(of_kind, x) for of_kind in kinds]).mT

    return scores


def _scores_of_mlp(
    network: MLP, parameters: Sequence[Tensor], inputs: Inputs
) -> Callable[[Tensor], Tensor]:
    """Scores whose first layers are one matmul, with mean and factor in its weights and bias.

    factor · (x - mean) W + b = x (factor · W) + (b - mean (factor · W))
    """
    num_pixels, num_kinds = network.num_pixels, len(parameters[0])
    weight = parameters[0][:, :num_pixels] * inputs.factor
    shift = inputs.mean.double() @ weight.double()
    first_bias = (parameters[0][:, num_pixels] - shift).to(weight.dtype).flatten()
    first = weight.transpose(0, 1).reshape(num_pixels, -1)
    later = [
        (block[:, :fan_in].mT, block[:, fan_in, :, None])
        for block, fan_in in zip(parameters[1:], network.sizes[1:], strict=False)
    ]

    def scores(images: Tensor) -> Tensor:
        h = torch.addmm(first_bias, images, first).view(len(images), num_kinds, -1).permute(1, 2, 0)
        for weight, bias in later:
            h = torch.baddbmm(bias, weight, activate(h, network.activation))
        return h

    return scores


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
    for chunk in rows.split(_ROWS // 3):  # most models are alive for one of the first few
        h = inputs.of(examples.images.index_select(0, chunk))
        for layer, weight in enumerate(model[:-1]):
            h = MLP.affine(weight, h).relu_()
            alive[layer] = alive[layer] or bool(host.read(h.any()))
        if all(alive):
            return False
    return True


def _evaluation(loss: float, accuracy: float, known: Information | None) -> Evaluation:
    finite = math.isfinite(loss)
    return Evaluation(loss if finite else None, accuracy if finite else None, known)
