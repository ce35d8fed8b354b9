"""The multi-layer perceptron, K of them side by side: parameters, initial weights, forward pass.

A layer of K models is one tensor of shape (K, rows, fan_out). Row `fan_in` holds the bias, which
the layer's input meets as a column of ones; the rows below it are zero and stay zero. They pad
every model to a 64-byte boundary, as every buffer of the closed-form gradient is padded, so that
the BLAS takes the same path for each: on one thread the numbers of a model are the same, bit for
bit, alone or beside others. How a matmul is split over several threads depends on K: there they
are the same up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from midterm_cli.part3.schema import Activation

ALIGNMENT = 16
"""Numbers in a 64-byte cache line of float32: where each model's part of a buffer begins."""


@dataclass(frozen=True)
class Architecture:
    """Sizes (inputs, hidden…, classes) and activation of an MLP."""

    sizes: tuple[int, ...]
    activation: Activation

    @property
    def num_layers(self) -> int:
        """Number of weight matrices."""
        return len(self.sizes) - 1

    @property
    def num_parameters(self) -> int:
        """Weights and biases of one model."""
        return sum((a + 1) * b for a, b in pairwise(self.sizes))

    def rows(self, layer: int) -> int:
        """Rows of a layer's matrix: fan_in, the bias, and padding."""
        return math.ceil((self.sizes[layer] + 1) / ALIGNMENT) * ALIGNMENT

    def shapes(self) -> list[tuple[int, int]]:
        """(rows, fan_out) of each layer's matrix."""
        return [(self.rows(layer), self.sizes[layer + 1]) for layer in range(self.num_layers)]


def initial_weights(architecture: Architecture, seed: int) -> list[np.ndarray]:
    """Weights and biases of one model: uniform in ±1/sqrt(fan_in), as torch.nn.Linear draws them.

    Args:
        architecture: sizes of the layers.
        seed: gives the same weights in every dtype, on every device, beside any others.

    Returns:
        One float64 array of shape (rows, fan_out) a layer.
    """
    rng = np.random.default_rng([seed, 0])
    weights = []
    for fan_in, (rows, fan_out) in zip(architecture.sizes, architecture.shapes(), strict=False):
        bound = 1 / math.sqrt(fan_in)
        weight = np.zeros((rows, fan_out))
        weight[: fan_in + 1] = rng.uniform(-bound, bound, (fan_in + 1, fan_out))
        weights.append(weight)
    return weights


def split_layers(flat: Tensor, architecture: Architecture, num_models: int) -> list[Tensor]:
    """Views of a flat tensor as the layers of K models: (K, rows, fan_out) each, contiguous.

    One flat tensor lets an average follow all parameters of all models in a single operation.
    """
    sizes = [num_models * rows * cols for rows, cols in architecture.shapes()]
    return [
        block.view(num_models, rows, cols)
        for block, (rows, cols) in zip(flat.split(sizes), architecture.shapes(), strict=True)
    ]


def linear_layers(
    flat: Tensor, architecture: Architecture, num_models: int
) -> list[tuple[Tensor, Tensor]]:
    """Views of a flat tensor as torch.nn.Linear lays out its parameters.

    Returns:
        For each layer the weights, (K, fan_out, fan_in), and the biases, (K, fan_out).
    """
    layers = split_layers(flat, architecture, num_models)
    return [
        (layer[:, :fan_in].mT, layer[:, fan_in])
        for fan_in, layer in zip(architecture.sizes, layers, strict=False)
    ]


def stack_weights(
    architecture: Architecture, seeds: Sequence[int], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Initial weights of K models as one flat tensor, laid out for `split_layers`."""
    models = [initial_weights(architecture, seed) for seed in seeds]
    layers = [np.stack(layer).reshape(-1) for layer in zip(*models, strict=True)]
    return torch.from_numpy(np.concatenate(layers)).to(device=device, dtype=dtype)


def activate(z: Tensor, activation: Activation) -> Tensor:
    """The activation, element by element."""
    if activation == "relu":
        return z.relu()
    return z.tanh() if activation == "tanh" else z


def forward(weights: Sequence[Tensor], x: Tensor, activation: Activation) -> Tensor:
    """Logits of one model or of a stack of them, in plain operations that autograd can follow.

    Args:
        weights: one (…, rows, fan_out) tensor a layer.
        x: (…, n, fan_in) inputs, already centred.
        activation: applied after each layer but the last.

    Returns:
        (…, n, classes) logits.
    """
    h = x
    for layer, weight in enumerate(weights):
        fan_in = h.shape[-1]
        h = h @ weight[..., :fan_in, :] + weight[..., fan_in : fan_in + 1, :]
        if layer < len(weights) - 1:
            h = activate(h, activation)
    return h
