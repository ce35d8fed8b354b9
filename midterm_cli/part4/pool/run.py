"""Compute shape and operations of a pooling by formula, and compare them with PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Output
from midterm_cli.layers import build
from midterm_cli.layers.arithmetic import (
    Window,
    num_in_padding,
    output_size_steps,
    output_sizes,
    pool_cost,
    product_step,
)
from midterm_cli.layers.sizes import per_axis
from midterm_cli.part4 import by_torch
from midterm_cli.part4.pool.schema import Config, PoolCounts, Results, TorchPoolCounts


def run(config: Config, context: Context) -> Output:
    """Compute shape and operations by formula, and compare them and the values with PyTorch.

    Raises:
        UserError: the window does not fit into the input, or an average has a dilation.
    """
    sizes, windows = per_axis("size", config.size, 2), config.windows()
    if config.kind == "average" and any(window.dilation > 1 for window in windows):
        raise UserError(
            f"dilation = {config.dilation} is of max alone, an average has none: "
            "set it to 1, or kind to max"
        )
    output = output_sizes(sizes, windows)
    shape = [config.channels, *output]
    kernel = [window.kernel_size for window in windows]
    operations, steps = pool_cost(config.kind, prod(shape), kernel)
    ours = PoolCounts(output_shape=shape, operations=operations.total)
    theirs, values_agree = _by_torch(config, sizes, windows, output, context.device)
    wrong = by_torch.disagreements(ours, theirs)
    if values_agree is False:
        wrong.append(f"values: PyTorch's pooling is not the {config.kind} of each window")
    how = _how(config.kind, windows, small=values_agree is not None)
    empty = num_in_padding(sizes, windows)
    results = Results(
        kind=config.kind,
        input_shape=[config.channels, *sizes],
        output_shape=shape,
        values=prod(shape),
        operations=operations.total,
        **dict(operations),
        counted="whole windows, as the formula has it: what lies in the padding included",
        windows_in_padding=empty,
        steps=[*output_size_steps(sizes, windows), product_step("values", shape), *steps],
        torch=TorchPoolCounts(**dict(theirs), how=how, agrees=not wrong),
    )
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
) -> tuple[PoolCounts, bool | None]:
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
    num_windows = pooled.numel()
    operations = _count_reads(windows, pooled.shape[2:], small) - num_windows
    if config.kind == "average":
        operations += num_windows  # the divisions
    theirs = PoolCounts(
        output_shape=[config.channels, *pooled.shape[2:]],
        operations=config.channels * operations,
    )
    return theirs, _is_direct(pooled, x, windows, output, config.kind) if small else None


def _count_reads(windows: Sequence[Window], output: Sequence[int], small: bool) -> int:
    """Reads of all windows of a channel: the products of a convolution with these windows.

    Args:
        windows: along height and width.
        output: number of windows along height and width, as PyTorch's pooling has them.
        small: whether products may be computed one by one.
    """
    # From the start of the padding to the end of the last window.
    ends = [(n - 1) * w.stride + w.span for n, w in zip(output, windows, strict=True)]
    unpadded = [replace(window, padding=0, ceil_mode=False) for window in windows]
    if small:
        return by_torch.count_products(1, 1, 1, ends, unpadded)
    layer = build.convolution(1, 1, unpadded, 1, bias=False, device="meta")
    return by_torch.count_flops(layer, (1, 1, *ends))[1] // 2


def _is_direct(
    pooled: Tensor, x: Tensor, windows: Sequence[Window], output: Sequence[int], kind: str
) -> bool:
    """Whether pooled values are the maximum or the average of each window, taken directly."""
    fill, beyond = (-math.inf, -math.inf) if kind == "max" else (0, math.nan)
    read = by_torch.windows_of(x, windows, output, fill, beyond)
    # What lies beyond the padding, NaN, is not averaged.
    direct = read.amax(-1) if kind == "max" else read.nanmean(-1)
    return pooled.shape == direct.shape and torch.allclose(pooled, direct, rtol=1e-12, atol=1e-12)


def _how(kind: str, windows: Sequence[Window], *, small: bool) -> str:
    name = f"torch.nn.functional.{'max' if kind == 'max' else 'avg'}_pool2d"
    if by_torch.refuses(windows):
        name += ", which refuses a padding beyond half of kernel_size, on an input padded first"
    if small:
        return (
            f"{name}; values checked against each window's {kind}, operations by summing ones over "
            "all windows"
        )
    return f"{name}, on the meta device: shape alone; operations by FlopCounterMode"
