"""PyTorch's layers for those of a config, and the network of a list of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from midterm_cli.layers.arithmetic import Window
from midterm_cli.layers.schema import (
    Conv,
    Dropout,
    Flatten,
    Gelu,
    GroupNorm,
    Identity,
    Layer,
    LayerNorm,
    LeakyRelu,
    Linear,
    Pool,
    Relu,
    Sigmoid,
    Tanh,
)
from midterm_cli.layers.walk import LayerCost, walk


def sequential(layers: Sequence[Layer], in_shape: Sequence[int]) -> nn.Sequential:
    """The network of a list of layers, on the default device and of the default dtype.

    Its initial weights are drawn as PyTorch draws them, from the global generator.

    Args:
        layers: from the input on.
        in_shape: of one input: channels, and the size along one axis or two.

    Returns:
        A network for inputs of shape (n, *in_shape).

    Raises:
        UserError: a layer is impossible; names it, and what to change.
    """
    channels, *sizes = in_shape
    return nn.Sequential(*map(module, walk(layers, channels, tuple(sizes))))


def module(cost: LayerCost, device: torch.device | str | None = None) -> nn.Module:
    """PyTorch's layer, for the input that the walk has found; on the default device for None."""
    before = cost.before
    match cost.layer:
        case Conv() as layer:
            return convolution(
                before.channels,
                layer.out_channels,
                cost.windows,
                layer.groups,
                layer.bias,
                device,
            )
        case Pool() as layer:
            return pooling(cost.windows, layer.kind)
        case GroupNorm() as layer:
            return nn.GroupNorm(
                layer.num_groups, before.channels, layer.eps, layer.affine, device=device
            )
        case LayerNorm() as layer:
            return nn.LayerNorm(before.shape, layer.eps, layer.affine, device=device)
        case Dropout() as layer:
            return nn.Dropout(layer.p)
        case Relu():
            return nn.ReLU()
        case LeakyRelu() as layer:
            return nn.LeakyReLU(layer.negative_slope)
        case Tanh():
            return nn.Tanh()
        case Sigmoid():
            return nn.Sigmoid()
        case Gelu():
            return nn.GELU()
        case Identity():
            return nn.Identity()
        case Flatten():
            return nn.Flatten()
        case Linear() as layer:
            return nn.Linear(before.channels, layer.out_features, layer.bias, device=device)


def convolution(
    in_channels: int,
    out_channels: int,
    windows: Sequence[Window],
    groups: int,
    bias: bool,
    device: torch.device | str | None = None,
) -> nn.Module:
    """torch.nn.Conv1d or Conv2d with these windows, one for each axis."""
    kind: Any = {1: nn.Conv1d, 2: nn.Conv2d}[len(windows)]
    layer: nn.Module = kind(
        in_channels,
        out_channels,
        kernel_size=tuple(window.kernel_size for window in windows),
        stride=tuple(window.stride for window in windows),
        padding=tuple(window.padding for window in windows),
        dilation=tuple(window.dilation for window in windows),
        groups=groups,
        bias=bias,
        device=device,
    )
    return layer


def pooling(windows: Sequence[Window], kind: str) -> nn.Module:
    """torch.nn's pooling with these windows, one for each axis, whose padding it accepts."""
    kernel, stride, padding, dilation = (
        tuple(getattr(window, key) for window in windows)
        for key in ("kernel_size", "stride", "padding", "dilation")
    )
    ceil_mode, axes = windows[0].ceil_mode, len(windows)
    layer: nn.Module
    if kind == "max":
        make: Any = {1: nn.MaxPool1d, 2: nn.MaxPool2d}[axes]
        layer = make(kernel, stride, padding, dilation, ceil_mode=ceil_mode)
    else:
        make = {1: nn.AvgPool1d, 2: nn.AvgPool2d}[axes]
        layer = make(kernel, stride, padding, ceil_mode)
    return layer
