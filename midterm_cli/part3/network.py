"""The network of K models side by side: initial weights, layout of the parameters, forward pass.

The parameters of K models are one flat tensor: parameter by parameter, each as (K, *shape),
contiguous. So an average or an optimiser follows all parameters of all models in one operation, and
each layer is ready for a batched matmul. What learns knows a network by `Network` alone; there are
the multi-layer perceptron, here, and any torch.nn.Module, in module_network.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from midterm_cli.part3 import host
from midterm_cli.part3.schema import Activation

ALIGNMENT = 16
"""Numbers in a 64-byte cache line of float32: where each model's part of a buffer begins."""


class Network(Protocol):
    """One kind of network. Inputs are rows of pixels, already centred and scaled."""

    @property
    def shapes(self) -> Sequence[tuple[int, ...]]:
        """Of the parameters of one model, in the order of the flat tensor."""

    @property
    def layers(self) -> Sequence[Sequence[int]]:
        """For each layer the indices of its parameters."""

    @property
    def num_parameters(self) -> int:
        """Weights and biases of one model."""

    @property
    def num_pixels(self) -> int:
        """Of an input."""

    @property
    def width(self) -> int:
        """Of an input row in training: the pixels, then, if there is more, a one and zeros."""

    @property
    def num_classes(self) -> int:
        """Of an output."""

    @property
    def macs(self) -> int:
        """Multiplications of the forward pass for one input."""

    @property
    def num_activations(self) -> int:
        """Values in all layers, for one input."""

    def initial(self, seed: int) -> list[Tensor]:
        """Initial parameters of one model, on the CPU: the same in every dtype, beside others."""

    def logits(self, parameters: Sequence[Tensor], x: Tensor) -> Tensor:
        """Logits (n, classes) of one model, in evaluation, for inputs (n, pixels)."""

    def module(self) -> nn.Module:
        """The network in plain torch.nn, its weights of no particular seed."""

    def to_state(self, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
        """Parameters (K, *shape) as the state_dict of `module` names and lays them out, (K, …)."""

    def from_state(self, state: Mapping[str, Tensor]) -> list[Tensor]:
        """The inverse of `to_state`."""


def split(flat: Tensor, network: Network, num_models: int) -> list[Tensor]:
    """Views of a flat tensor as the parameters of K models: (K, *shape) each, contiguous."""
    sizes = [num_models * math.prod(shape) for shape in network.shapes]
    blocks = flat.split(sizes)
    return [
        block.view(num_models, *shape) for block, shape in zip(blocks, network.shapes, strict=True)
    ]


def stack(
    network: Network, seeds: Sequence[int], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Initial parameters of K models as one flat tensor, laid out for `split`."""
    models = [network.initial(seed) for seed in seeds]
    blocks = [torch.stack(block).flatten() for block in zip(*models, strict=True)]
    return torch.cat(blocks).to(device=device, dtype=dtype)


def relative_move(weights: Sequence[Tensor], initial: Sequence[Tensor]) -> float:
    """How far a network is from its initial weights: ‖w - w₀‖ / ‖w₀‖ of the layer that moved most.

    Args:
        weights: one tensor a layer.
        initial: the same at the start.

    Returns:
        NaN where a weight is NaN or infinite.
    """
    pairs = [(w.double(), start.double()) for w, start in zip(weights, initial, strict=True)]
    norms = [norm for w, start in pairs for norm in ((w - start).norm(), start.norm())]
    moves, starts = host.read_all(norms).reshape(-1, 2).T
    if not np.isfinite(moves).all():
        return math.nan
    # A layer that begins at 0, such as one of biases, has no such ratio.
    has_norm = starts > 0
    return float((moves[has_norm] / starts[has_norm]).max(initial=0.0))


@dataclass(frozen=True)
class MLP:
    """A multi-layer perceptron: a `Network`.

    A layer is one matrix of shape (rows, fan_out). Row `fan_in` holds the bias, which the layer's
    input meets as a column of ones; the rows below it are zero and stay zero. They pad every model
    to a 64-byte boundary, as every buffer of the closed-form gradient is padded, so that the BLAS
    takes the same path for each: on one thread the numbers of a model are the same, bit for bit,
    alone or beside others. How a matmul is split over several threads depends on K: there they are
    the same up to rounding, as they are on some processors with minibatches of one example.

    Attributes:
        sizes: inputs, hidden…, classes.
        activation: after each layer but the last.
    """

    sizes: tuple[int, ...]
    activation: Activation

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(rows, fan_out) of each layer's matrix."""
        return [(self.rows(layer), fan_out) for layer, fan_out in enumerate(self.sizes[1:])]

    @property
    def layers(self) -> list[list[int]]:
        """A matrix each."""
        return [[layer] for layer in range(len(self.sizes) - 1)]

    @property
    def num_parameters(self) -> int:
        """Weights and biases, without the padding."""
        return sum((a + 1) * b for a, b in pairwise(self.sizes))

    @property
    def num_pixels(self) -> int:
        """Of an input."""
        return self.sizes[0]

    @property
    def width(self) -> int:
        """With the column of ones, and the padding."""
        return self.rows(0)

    @property
    def num_classes(self) -> int:
        """Of an output."""
        return self.sizes[-1]

    @property
    def macs(self) -> int:
        """With those of the padding."""
        return sum(rows * fan_out for rows, fan_out in self.shapes)

    @property
    def num_activations(self) -> int:
        """Inputs included."""
        return sum(self.sizes)

    def rows(self, layer: int) -> int:
        """Rows of a layer's matrix: fan_in, the bias, and padding."""
        return math.ceil((self.sizes[layer] + 1) / ALIGNMENT) * ALIGNMENT

    def initial(self, seed: int) -> list[Tensor]:
        """Weights and biases uniform in ±1/sqrt(fan_in), as torch.nn.Linear draws them: float64."""
        rng = np.random.default_rng([seed, 0])
        weights = []
        for fan_in, (rows, fan_out) in zip(self.sizes, self.shapes, strict=False):
            bound = 1 / math.sqrt(fan_in)
            weight = np.zeros((rows, fan_out))
            weight[: fan_in + 1] = rng.uniform(-bound, bound, (fan_in + 1, fan_out))
            weights.append(torch.from_numpy(weight))
        return weights

    def logits(self, parameters: Sequence[Tensor], x: Tensor) -> Tensor:
        """Logits (…, n, classes), of a stack of models too, in operations that autograd follows."""
        h = x
        for layer, weight in enumerate(parameters):
            h = self.affine(weight, h)
            if layer < len(parameters) - 1:
                h = activate(h, self.activation)
        return h

    @staticmethod
    def affine(weight: Tensor, x: Tensor) -> Tensor:
        """One layer before its activation, for inputs (…, n, fan_in)."""
        fan_in = x.shape[-1]
        return x @ weight[..., :fan_in, :] + weight[..., fan_in : fan_in + 1, :]

    def module(self) -> nn.Sequential:
        """torch.nn.Linear, with the activation between."""
        modules: list[nn.Module] = []
        for fan_in, fan_out in pairwise(self.sizes):
            modules += [nn.Linear(fan_in, fan_out), _MODULES[self.activation]()]
        return nn.Sequential(*modules[:-1])

    def to_state(self, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
        """Weights (K, fan_out, fan_in) and biases (K, fan_out)."""
        state = {}
        for layer, (fan_in, matrix) in enumerate(zip(self.sizes, parameters, strict=False)):
            state[f"{2 * layer}.weight"] = matrix[..., :fan_in, :].mT
            state[f"{2 * layer}.bias"] = matrix[..., fan_in, :]
        return state

    def from_state(self, state: Mapping[str, Tensor]) -> list[Tensor]:
        """The padded matrices."""
        parameters = []
        for layer, (rows, fan_out) in enumerate(self.shapes):
            weight, bias = state[f"{2 * layer}.weight"], state[f"{2 * layer}.bias"]
            matrix = weight.new_zeros(*weight.shape[:-2], rows, fan_out)
            fan_in = weight.shape[-1]
            matrix[..., :fan_in, :] = weight.mT
            matrix[..., fan_in, :] = bias
            parameters.append(matrix)
        return parameters


_MODULES: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "identity": nn.Identity,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
}


def activate(z: Tensor, activation: Activation) -> Tensor:
    """The activation, element by element, with PyTorch's own constants."""
    match activation:
        case "relu":
            return z.relu()
        case "identity":
            return z
        case "tanh":
            return z.tanh()
        case "sigmoid":
            return z.sigmoid()
        case "leaky_relu":
            return nn.functional.leaky_relu(z)
        case "gelu":
            return nn.functional.gelu(z)
