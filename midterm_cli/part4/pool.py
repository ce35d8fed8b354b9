"""Part 4, 2d: the output of a pooling, and the operations that it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, ExperimentConfig, Output, Table
from midterm_cli.part4 import by_torch
from midterm_cli.part4.arithmetic import (
    Window,
    average_pool_operations,
    max_pool_operations,
    num_in_padding,
    output_size_steps,
    output_sizes,
    pool_steps,
    product_step,
)
from midterm_cli.part4.conv import agreement
from midterm_cli.part4.picture import draw_windows
from midterm_cli.part4.sizes import AtLeast0, AtLeast1, Channels, PerAxis, per_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["max", "average"]


class PoolConfig(ExperimentConfig):
    """The windows of a pooling."""

    kernel_size: PerAxis[AtLeast1] = Field(description="inputs that an output reads along an axis")
    stride: PerAxis[AtLeast1] | None = Field(
        description="inputs from one window to the next; null for kernel_size"
    )
    padding: PerAxis[AtLeast0] = Field(description="positions added on either side")
    dilation: PerAxis[AtLeast1] = Field(description="inputs from one read to the next")
    ceil_mode: bool = Field(
        description="whether a last window may stand out beyond the padding on the right"
    )


class Config(PoolConfig):
    """One pooling over an image."""

    kind: Kind = Field(description="what is taken of each window: max or average")
    size: PerAxis[AtLeast1] = Field(description="of the input: one number, or [height, width]")
    channels: Channels = Field(description="channels of the input, and of the output")


def windows_along_axes(config: PoolConfig) -> list[Window]:
    """The windows along height and width."""
    kernel, padding, dilation = (
        per_axis(key, getattr(config, key), 2) for key in ("kernel_size", "padding", "dilation")
    )
    stride = kernel if config.stride is None else per_axis("stride", config.stride, 2)
    return [
        Window(*along, ceil_mode=config.ceil_mode)
        for along in zip(kernel, stride, padding, dilation, strict=True)
    ]


def run(config: Config, context: Context) -> Output:
    """Compute shape and operations by formula, and hold them against PyTorch.

    Raises:
        UserError: the window does not fit into the input, or an average has a dilation.
    """
    sizes, windows = per_axis("size", config.size, 2), windows_along_axes(config)
    if config.kind == "average" and any(window.dilation > 1 for window in windows):
        raise UserError(
            f"dilation = {config.dilation} is of max alone, an average has none: "
            "set it to 1, or kind to max"
        )
    output = output_sizes(sizes, windows)
    shape = [config.channels, *output]
    values, kernel = prod(shape), [window.kernel_size for window in windows]
    count = max_pool_operations if config.kind == "max" else average_pool_operations
    operations = count(values, kernel)
    empty = num_in_padding(sizes, windows)
    results: dict[str, Any] = {
        "kind": config.kind,
        "input_shape": [config.channels, *sizes],
        "output_shape": shape,
        "values": values,
        "operations": sum(operations.values()),
        **operations,
        "counted": "whole windows, as the formula has it: what lies in the padding included",
        "windows_in_padding": empty,
        "steps": [
            *output_size_steps(sizes, windows),
            product_step("values", shape),
            *pool_steps(values, kernel, operations),
        ],
    }
    theirs, values_agree = _by_torch(config, sizes, windows, output, context.device)
    wrong = by_torch.disagreements(results, theirs)
    if values_agree is False:
        wrong.append(f"values: PyTorch's pooling is not the {config.kind} of each window")
    how = _how(config.kind, windows, values_agree is not None)
    results["torch"] = by_torch.verdict(theirs, wrong, how)
    return Output(results, failed=bool(wrong), warnings=[*_warnings(config, empty, output), *wrong])


def _warnings(config: Config, empty: int, output: Sequence[int]) -> list[str]:
    if not empty:
        return []
    value = "-inf" if config.kind == "max" else "0"
    return [
        f"{empty} of the {prod(output)} windows of a channel lie wholly in the padding: "
        f"their {config.kind} is {value}"
    ]


# PyTorch


def _by_torch(
    config: Config,
    sizes: Sequence[int],
    windows: Sequence[Window],
    output: Sequence[int],
    device: torch.device,
) -> tuple[dict[str, Any], bool | None]:
    """Shape and operations as PyTorch finds them; whether values agree, None if they are many."""
    reads = prod(output) * prod(window.kernel_size for window in windows)
    padded = prod(size + 2 * w.padding + w.span for size, w in zip(sizes, windows, strict=True))
    small = max(reads, padded) <= by_torch.MAX_REAL
    # One channel is enough: channels are pooled each on its own.
    shape = (1, 1, *sizes)
    if small:
        generator = torch.Generator().manual_seed(config.seed)
        x = torch.randn(shape, dtype=torch.float64, generator=generator).to(device)
    else:
        x = torch.empty(shape, dtype=torch.float64, device="meta")
    pooled = by_torch.pool(x, windows, output, config.kind)
    fill, beyond = (-math.inf, -math.inf) if config.kind == "max" else (0, math.nan)
    read = by_torch.windows_of(x, windows, output, fill, beyond)
    divisions = prod(output) if config.kind == "average" else 0
    theirs = {
        "output_shape": [config.channels, *pooled.shape[2:]],
        "operations": config.channels * (read.numel() - prod(output) + divisions),
    }
    if not small:
        return theirs, None
    # What lies beyond the padding, NaN, is not averaged.
    direct = read.amax(-1) if config.kind == "max" else read.nanmean(-1)
    return theirs, _same(pooled, direct)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-12, atol=1e-12)


def _how(kind: Kind, windows: Sequence[Window], small: bool) -> str:
    name = f"torch.nn.functional.{'max' if kind == 'max' else 'avg'}_pool2d"
    if by_torch.refuses(windows):
        name += ", which refuses a padding beyond half of kernel_size, on an input padded first"
    if not small:
        return f"{name}, on the meta device: shape and operations alone"
    return f"{name}; values held against each window's {kind}"


# What is shown


def summarize(results: Mapping[str, Any]) -> Sequence[Table | str]:
    """The formulas with their numbers, and whether PyTorch agrees."""
    return [
        *results["steps"],
        f"counted: {results['counted']}",
        agreement(results["torch"]),
    ]


def draw(config: Config, results: Mapping[str, Any]) -> Mapping[str, Figure]:
    """Draw the padded input and its windows; nothing where it has too many pixels to be told."""
    sizes, windows = results["input_shape"][1:], windows_along_axes(config)
    figure = draw_windows(sizes, windows, results["output_shape"][1:])
    return {"pool": figure} if figure else {}
