"""The gradient of K models at once, of the mean cross-entropy of each one's minibatch.

    autograd      the reference: torch differentiates the loss
    closed_form   of an MLP: the backward pass in closed form, with no graph, no allocation and one
                  operation for each matmul

With logits z, labels as one-hot rows Y, p = softmax(z) and h_l the input of layer l (its column of
ones included):

    δ_L = (p - Y) / batch_size            δ_l = (δ_{l+1} W_{l+1}ᵀ) ⊙ f'(z_l)
    ∂loss/∂W_l = h_lᵀ δ_l
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from midterm_cli.part3.module_network import Gradient, ModuleNetwork, Streams
from midterm_cli.part3.network import ALIGNMENT, MLP, Network
from midterm_cli.part3.schema import Activation, GradientMethod


def make_gradient(
    network: Network,
    method: GradientMethod,
    weights: Sequence[Tensor],
    into: Sequence[Tensor],
    batch_size: int,
    models: Sequence[int],
    streams: Streams,
) -> Gradient:
    """A function that computes the gradient of K models.

    Args:
        network: of the models.
        method: which implementation, of an MLP.
        weights: (K, *shape) a parameter.
        into: where the gradient goes, alike.
        batch_size: rows of a minibatch.
        models: keys of the K models in `streams`.
        streams: where their random numbers come from, if they draw any.

    Returns:
        gradient(x, x_transposed, targets), for the arguments of `optimizer.Step`.
    """
    if isinstance(network, ModuleNetwork):
        return network.make_gradient(weights, into, models, streams)
    assert isinstance(network, MLP)
    if method == "autograd":
        return _autograd(weights, into, network, batch_size)
    compute = closed_form(weights, into, network, batch_size, keep=0.0)
    scale = weights[0].new_full((), 1 / batch_size)  # a number costs a tensor at each call
    return lambda x, x_transposed, targets: compute(x, x_transposed, targets, scale)


def _autograd(
    weights: Sequence[Tensor], into: Sequence[Tensor], network: MLP, batch_size: int
) -> Gradient:
    num_pixels = network.num_pixels

    def gradient(x: Tensor, x_transposed: Tensor, targets: Tensor) -> None:
        with torch.inference_mode(False), torch.enable_grad():
            leaves = [weight.clone().requires_grad_() for weight in weights]
            logits = network.logits(leaves, x[..., :num_pixels].clone())
            log_likelihood = (logits.log_softmax(-1) * targets.clone()).sum()
            found = torch.autograd.grad(-log_likelihood / batch_size, leaves)
        for block, of_block in zip(into, found, strict=True):
            block.copy_(of_block)

    return gradient


def closed_form(
    weights: Sequence[Tensor],
    into: Sequence[Tensor],
    network: MLP,
    batch_size: int,
    keep: float,
) -> Callable[[Tensor, Tensor, Tensor, Tensor], None]:
    """A function that adds a multiple of the gradient of the summed loss to something.

    Args:
        weights: (K, rows, fan_out) a layer.
        into: alike; may be the weights themselves, which are then moved layer by layer.
        network: of the models.
        batch_size: rows of a minibatch.
        keep: what was there is multiplied by this first.

    Returns:
        run(x, x_transposed, targets, scale): into ← keep · into + scale · ∇(sum of the losses),
        where scale is (), or (K, 1, 1). x has its column of ones and its padding. To be
        called in torch.inference_mode().
    """
    num_models = len(weights[0])
    like = weights[0]
    *hidden_sizes, num_classes = network.sizes[1:]

    # All activations lie in one buffer, so that one operation gives all the derivatives. Each is
    # followed by its column of ones; the padding behind that is zero.
    shapes = [(num_models, batch_size, network.rows(i + 1)) for i in range(len(hidden_sizes))]
    lengths = [math.prod(shape) for shape in shapes]
    activations, slopes = like.new_zeros(2, sum(lengths)).unbind()
    hidden = [h.view(s) for h, s in zip(activations.split(lengths), shapes, strict=True)]
    for h, size in zip(hidden, hidden_sizes, strict=True):
        h[..., size] = 1
    hidden_values = [h[..., :size] for h, size in zip(hidden, hidden_sizes, strict=True)]
    slope_values = [
        s.view(shape)[..., :size]
        for s, shape, size in zip(slopes.split(lengths), shapes, hidden_sizes, strict=True)
    ]
    *deltas, last = (
        _aligned_buffer(like, num_models, batch_size, size) for size in (*hidden_sizes, num_classes)
    )
    activate, differentiate = _activation_into(network.activation)
    by_input = network.activation == "gelu"

    # For each layer, first to last: what the step needs of it, views and methods looked up once. A
    # keyword costs a call as much as its arithmetic does, at K = 1.
    adders: list[Callable[[Tensor, Tensor], object]] = [
        block.baddbmm_ if keep == 1 else partial(block.baddbmm_, beta=keep) for block in into
    ]
    up = list(zip(weights, deltas, hidden_values, hidden, slope_values, strict=False))
    down = [
        (adders[i], weights[i][:, :size].mT, hidden[i - 1].mT, deltas[i - 1], slope_values[i - 1])
        for i, size in reversed(list(enumerate(network.sizes[:-1])))
        if i > 0
    ]
    bmm, softmax, add_first = torch.bmm, torch.softmax, adders[0]

    def run(x: Tensor, x_transposed: Tensor, targets: Tensor, scale: Tensor) -> None:
        h = x
        for weight, z, values, h_next, slope in up:
            bmm(h, weight, out=z)
            activate(z, values)
            if differentiate is not None and by_input:
                differentiate(z, slope)
            h = h_next
        bmm(h, weights[-1], out=last)
        softmax(last, -1, out=last)
        # The scale enters here, once, in the smallest tensor: all that follows is linear in it.
        delta = last.sub_(targets).mul_(scale)
        if differentiate is not None and not by_input:
            differentiate(activations, slopes)
        for add, transposed, inputs, delta_below, slope in down:
            bmm(delta, transposed, out=delta_below)
            if differentiate is not None:
                delta_below.mul_(slope)
            add(inputs, delta)
            delta = delta_below
        add_first(x_transposed, delta)

    return run


def _aligned_buffer(like: Tensor, num_models: int, batch_size: int, size: int) -> Tensor:
    """An uninitialised (K, batch_size, size), each model's part aligned as ALIGNMENT says."""
    length = math.ceil(batch_size * size / ALIGNMENT) * ALIGNMENT
    flat = like.new_empty(num_models, length)[:, : batch_size * size]
    return flat.view(num_models, batch_size, size)


Into = Callable[[Tensor, Tensor], object]


def _activation_into(activation: Activation) -> tuple[Into, Into | None]:
    """activate(z, out), and differentiate(f(z), out), which computes f'(z) from f(z).

    For gelu the latter computes f'(z) from z. It is None for the identity: there is nothing to
    multiply by.
    """
    match activation:
        case "relu":
            return (
                lambda z, out: torch.clamp_min(z, 0, out=out),
                lambda h, out: torch.sign(h, out=out),  # h >= 0; 0 for NaN, where δ is NaN anyway
            )
        case "identity":
            return lambda z, out: out.copy_(z), None
        case "tanh":
            return (
                lambda z, out: torch.tanh(z, out=out),
                lambda h, out: torch.mul(h, h, out=out).neg_().add_(1),
            )
        case "sigmoid":
            return (
                lambda z, out: torch.sigmoid(z, out=out),
                lambda h, out: torch.mul(h, h, out=out).neg_().add_(h),
            )
        case "leaky_relu":
            return (
                lambda z, out: torch.maximum(z, z * _LEAK, out=out),
                # 1 above 0, and the leak at and below it, as PyTorch has it.
                lambda h, out: out.copy_(h > 0).mul_(1 - _LEAK).add_(_LEAK),
            )
        case "gelu":
            return _gelu, _gelu_slope


_LEAK = 0.01


def _gelu(z: Tensor, out: Tensor) -> None:
    """Writes z Φ(z), Φ the distribution function of the standard normal."""
    torch.special.ndtr(z, out=out).mul_(z)


def _gelu_slope(z: Tensor, out: Tensor) -> None:
    """Writes Φ(z) + z φ(z), φ the density."""
    density = torch.exp(z.square().mul_(-0.5)).mul_(1 / math.sqrt(2 * math.pi))
    torch.special.ndtr(z, out=out).addcmul_(z, density)
