"""One step of SGD for K models at once, in two implementations of the same signature.

    autograd      the reference: torch differentiates the loss
    closed_form   the backward pass in closed form, with no graph, no allocation and one operation
                  for each matmul: the gradient of a layer and its update are a single `baddbmm_`

Both subtract lr · ∇(mean cross-entropy) from the weights in place. With logits z, labels as
one-hot rows Y, p = softmax(z) and h_l the input of layer l (its column of ones included):

    δ_L = (p - Y) / batch_size            δ_l = (δ_{l+1} W_{l+1}ᵀ) ⊙ f'(z_l)
    ∂loss/∂W_l = h_lᵀ δ_l
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from midterm_cli.part3.network import ALIGNMENT, Architecture, forward
from midterm_cli.part3.schema import Activation, GradientMethod

SGDStep = Callable[[Tensor, Tensor, Tensor], None]


def make_step(
    method: GradientMethod,
    weights: Sequence[Tensor],
    lrs: Tensor,
    architecture: Architecture,
    batch_size: int,
) -> SGDStep:
    """A function that moves `weights` by one step of SGD.

    Args:
        method: which implementation.
        weights: (K, rows, fan_out) a layer; changed in place.
        lrs: (K,) learning rates.
        architecture: sizes and activation.
        batch_size: rows of a minibatch.

    Returns:
        step(x, x_transposed, targets): x is (K, batch_size, rows of layer 0), a minibatch for each
        model with its column of ones and its padding; x_transposed = x.mT, a view that is made
        once; targets (K, batch_size, classes), one-hot. To be called in torch.inference_mode().
    """
    make = _closed_form if method == "closed_form" else _autograd
    return make(weights, lrs, architecture, batch_size)


def _autograd(
    weights: Sequence[Tensor], lrs: Tensor, architecture: Architecture, batch_size: int
) -> SGDStep:
    scale = lrs.view(-1, 1, 1)
    num_inputs = architecture.sizes[0]

    def step(x: Tensor, x_transposed: Tensor, targets: Tensor) -> None:
        with torch.inference_mode(False):
            leaves = [weight.clone().requires_grad_() for weight in weights]
            logits = forward(leaves, x[..., :num_inputs].clone(), architecture.activation)
            log_likelihood = (logits.log_softmax(-1) * targets.clone()).sum()
            gradients = torch.autograd.grad(-log_likelihood / batch_size, leaves)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.sub_(scale * gradient)

    return step


def _closed_form(
    weights: Sequence[Tensor], lrs: Tensor, architecture: Architecture, batch_size: int
) -> SGDStep:
    num_models = len(lrs)
    *hidden_sizes, num_classes = architecture.sizes[1:]

    # All activations lie in one buffer, so that one operation gives all the derivatives. Each is
    # followed by its column of ones; the padding behind that is zero.
    shapes = [(num_models, batch_size, architecture.rows(i + 1)) for i in range(len(hidden_sizes))]
    lengths = [math.prod(shape) for shape in shapes]
    activations, slopes = lrs.new_zeros(2, sum(lengths)).unbind()
    hidden = [h.view(s) for h, s in zip(activations.split(lengths), shapes, strict=True)]
    for h, size in zip(hidden, hidden_sizes, strict=True):
        h[..., size] = 1
    hidden_values = [h[..., :size] for h, size in zip(hidden, hidden_sizes, strict=True)]
    slope_values = [
        s.view(shape)[..., :size]
        for s, shape, size in zip(slopes.split(lengths), shapes, hidden_sizes, strict=True)
    ]
    *deltas, last = (
        _aligned_buffer(lrs, num_models, batch_size, size) for size in (*hidden_sizes, num_classes)
    )
    # The sign and the learning rate enter here, once, in the smallest tensor: all that follows is
    # linear in it.
    scale = (-lrs / batch_size).view(-1, 1, 1)
    activate, differentiate = _activation_into(architecture.activation)

    # For each layer, first to last: what the step needs of it, views made once.
    up = list(zip(weights, deltas, hidden_values, hidden, strict=False))
    down = [
        (weights[i], weights[i][:, :size].mT, hidden[i - 1].mT, deltas[i - 1], slope_values[i - 1])
        for i, size in reversed(list(enumerate(architecture.sizes[:-1])))
        if i > 0
    ]
    bmm, softmax = torch.bmm, torch.softmax

    def step(x: Tensor, x_transposed: Tensor, targets: Tensor) -> None:
        h = x
        for weight, z, values, h_next in up:
            bmm(h, weight, out=z)
            activate(z, values)
            h = h_next
        bmm(h, weights[-1], out=last)
        softmax(last, -1, out=last)
        delta = last.sub_(targets).mul_(scale)
        if differentiate is not None:
            differentiate(activations, slopes)
        for weight, transposed, inputs, delta_below, slope in down:
            bmm(delta, transposed, out=delta_below)
            if differentiate is not None:
                delta_below.mul_(slope)
            weight.baddbmm_(inputs, delta)
            delta = delta_below
        weights[0].baddbmm_(x_transposed, delta)

    return step


def _aligned_buffer(like: Tensor, num_models: int, batch_size: int, size: int) -> Tensor:
    """An uninitialised (K, batch_size, size), each model's part aligned as ALIGNMENT says."""
    length = math.ceil(batch_size * size / ALIGNMENT) * ALIGNMENT
    flat = like.new_empty(num_models, length)[:, : batch_size * size]
    return flat.view(num_models, batch_size, size)


def _activation_into(
    activation: Activation,
) -> tuple[Callable[[Tensor, Tensor], object], Callable[[Tensor, Tensor], object] | None]:
    """activate(z, out), and differentiate(f(z), out), which computes f'(z) from f(z).

    The latter is None for the identity: there is nothing to multiply by.
    """
    if activation == "relu":
        return (
            lambda z, out: torch.clamp_min(z, 0, out=out),
            lambda h, out: torch.sign(h, out=out),  # h >= 0; 0 for NaN, where δ is NaN anyway
        )
    if activation == "tanh":
        return (
            lambda z, out: torch.tanh(z, out=out),
            lambda h, out: torch.mul(h, h, out=out).neg_().add_(1),
        )
    return lambda z, out: out.copy_(z), None
