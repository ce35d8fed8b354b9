"""The same quantities as PyTorch finds them, to check the arithmetic against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from midterm_cli.experiment import Record
from midterm_cli.layers.arithmetic import Window
from midterm_cli.layers.build import pooling

MAX_REAL = 10_000_000
"""With more multiplications or numbers PyTorch is asked on its meta device, which computes shapes
alone but takes a second or two to load."""


def count_products(
    in_channels: int,
    out_channels: int,
    groups: int,
    sizes: Sequence[int],
    windows: Sequence[Window],
) -> int:
    """MACs of a two-dimensional convolution by brute force.

    With all inputs, paddings and weights 1 and no bias, an output is the number of products in its
    sum.
    """
    vertical, horizontal = windows
    padded = (size + 2 * window.padding for size, window in zip(sizes, windows, strict=True))
    x = torch.ones(1, in_channels, *padded, dtype=torch.float64)
    kernel = (vertical.kernel_size, horizontal.kernel_size)
    counts = functional.conv2d(
        x,
        torch.ones(out_channels, in_channels // groups, *kernel, dtype=torch.float64),
        stride=(vertical.stride, horizontal.stride),
        dilation=(vertical.dilation, horizontal.dilation),
        groups=groups,
    )
    return round(float(counts.sum()))


def count_flops(module: nn.Module, input_shape: Sequence[int]) -> tuple[list[int], int]:
    """Output shape and FLOPs by torch.utils.flop_counter.FlopCounterMode on the meta device.

    The counter takes two FLOPs for each MAC, and counts no bias, pooling or activation.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output = module(torch.empty(list(input_shape), device="meta"))
    return list(output.shape), counter.get_total_flops()


def count_parameters(module: nn.Module) -> int:
    """Number of weights and biases."""
    return sum(parameter.numel() for parameter in module.parameters())


def disagreements(ours: Record, theirs: Record) -> list[str]:
    """A line for each field of two records of one type in which PyTorch finds another value."""
    return [
        f"{key.replace('_', ' ')}: the formula gives {getattr(ours, key)}, PyTorch {value}"
        for key, value in theirs
        if getattr(ours, key) != value
    ]


# Pooling


def refuses(windows: Sequence[Window]) -> bool:
    """Whether PyTorch's pooling refuses the padding: it takes up to half of kernel_size."""
    return any(window.padding > window.kernel_size // 2 for window in windows)


def pool(x: Tensor, windows: Sequence[Window], outputs: Sequence[int], kind: str) -> Tensor:
    """PyTorch's pooling; a padding that it refuses is put around the input first.

    Args:
        x: (batch, channels, height, width).
        windows: along height and width.
        outputs: number of windows along height and width; needed where PyTorch refuses the padding,
            since ceil_mode takes the padding for input then, and may make one more window.
        kind: max or average; the average counts padding in, as PyTorch does unless told otherwise.
    """
    if not refuses(windows):
        pooled: Tensor = pooling(windows, kind)(x)
        return pooled
    top, left = (window.padding for window in windows)
    padded = functional.pad(x, (left, left, top, top), value=-math.inf if kind == "max" else 0)
    pooled = pooling([replace(window, padding=0) for window in windows], kind)(padded)
    return pooled[..., : outputs[0], : outputs[1]]


def windows_of(
    x: Tensor, windows: Sequence[Window], outputs: Sequence[int], fill: float, beyond: float
) -> Tensor:
    """All windows of an input, with the padding as values.

    Args:
        x: (..., height, width).
        windows: along height and width.
        outputs: number of windows along height and width.
        fill: what the padding holds.
        beyond: what lies still further to the right and below, under ceil_mode.

    Returns:
        (..., *outputs, kernel height · kernel width).
    """
    vertical, horizontal = windows
    top, left = vertical.padding, horizontal.padding
    # What is missing to the end of the last window: below 0 where no window reaches the edge.
    bottom, right = (
        (count - 1) * window.stride + window.span - size - 2 * window.padding
        for size, window, count in zip(x.shape[-2:], windows, outputs, strict=True)
    )
    padded = functional.pad(x, (left, left, top, top), value=fill)
    padded = functional.pad(padded, (0, right, 0, bottom), value=beyond)
    views = padded.unfold(-2, vertical.span, vertical.stride)
    views = views.unfold(-2, horizontal.span, horizontal.stride)
    return views[..., :: vertical.dilation, :: horizontal.dilation].flatten(-2)


# Receptive fields


def reached_by_gradient(
    size: int, windows: Sequence[Window | None], outputs: Sequence[int], position: int
) -> list[int]:
    """Inputs along one axis that one output depends on: those where its gradient is not zero.

    Each layer is a sum over its windows, or PyTorch's own normalisation. Between layers a gradient
    is replaced by 1 where it is not 0, so that none can overflow or vanish, however many layers
    there are.

    Args:
        size: of the input.
        windows: one for each layer, from the input on; None for a norm over all inputs.
        outputs: of each layer.
        position: of the output of the last layer.
    """
    sizes = [size, *outputs]
    reached = torch.zeros(sizes[-1], dtype=torch.float64)
    reached[position] = 1
    for n, count, window in reversed(list(zip(sizes, outputs, windows, strict=False))):
        if window is None:
            reached = _reached_through_norm(reached)
            continue
        x = torch.ones(n, dtype=torch.float64, requires_grad=True)
        missing = (count - 1) * window.stride + window.span - n - window.padding
        padded = functional.pad(x, (window.padding, missing))
        kernel = torch.ones(1, 1, window.kernel_size, dtype=torch.float64)
        y = functional.conv1d(
            padded[None, None], kernel, stride=window.stride, dilation=window.dilation
        )
        (gradient,) = torch.autograd.grad(y, x, reached[None, None])
        reached = (gradient > 0).double()
    positions: list[int] = reached.nonzero().flatten().tolist()
    return positions


def _reached_through_norm(reached: Tensor) -> Tensor:
    """1 where the gradient of these outputs of a norm is not 0.

    Over several channels, since a single value has no variance, and with random numbers: where all
    are alike, their parts of the gradient cancel.
    """
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 4, len(reached), dtype=torch.float64, generator=generator)
    x.requires_grad_()
    y = functional.layer_norm(x, x.shape)
    (gradient,) = torch.autograd.grad(y, x, weight * reached)
    reached_below: Tensor = (gradient != 0).any(0).double()
    return reached_below
