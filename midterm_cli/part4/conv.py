"""Part 4, 1a: the output of one convolution, its parameters, MACs and FLOPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field

from midterm_cli.experiment import Context, ExperimentConfig, Output, Table
from midterm_cli.part4 import by_torch
from midterm_cli.part4.arithmetic import (
    Cost,
    Window,
    check_groups,
    conv_cost,
    output_size_steps,
    output_sizes,
    product_step,
)
from midterm_cli.part4.picture import draw_windows
from midterm_cli.part4.sizes import AtLeast0, AtLeast1, Channels, PerAxis, per_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Config(ExperimentConfig):
    """One convolution over an image."""

    size: PerAxis[AtLeast1] = Field(description="of the input: one number, or [height, width]")
    in_channels: Channels = Field(description="channels of the input")
    out_channels: Channels = Field(description="channels of the output")
    kernel_size: PerAxis[AtLeast1] = Field(description="inputs that an output reads along an axis")
    padding: PerAxis[AtLeast0] = Field(description="zeros added on either side")
    stride: PerAxis[AtLeast1] = Field(description="inputs from one window to the next")
    dilation: PerAxis[AtLeast1] = Field(description="inputs from one read to the next")
    groups: Channels = Field(description="groups of channels that do not see each other")
    bias: bool = Field(description="whether each output channel has a bias")


def run(config: Config, context: Context) -> Output:
    """Compute shape and cost by formula, and hold them against PyTorch.

    Raises:
        UserError: the kernel does not fit into the input, or the groups not to the channels.
    """
    sizes, windows = _geometry(config)
    check_groups(config.in_channels, config.out_channels, config.groups)
    output = output_sizes(sizes, windows)
    kernel = [window.kernel_size for window in windows]
    cost = conv_cost(
        config.in_channels, config.out_channels, config.groups, kernel, output, config.bias
    )
    shape = [config.out_channels, *output]
    results: dict[str, Any] = {
        "input_shape": [config.in_channels, *sizes],
        "output_shape": shape,
        "values": prod(shape),
        "parameters": cost.parameters,
        "bias": "counted in parameters, not in MACs" if config.bias else "there is none",
        "macs": cost.macs,
        "flops": cost.flops,
        "steps": [
            *output_size_steps(sizes, windows),
            product_step("values", shape),
            *cost.steps,
        ],
    }
    theirs, how = _by_torch(config, sizes, windows, cost, context.device)
    wrong = by_torch.disagreements(results, theirs)
    results["torch"] = by_torch.verdict(theirs, wrong, how)
    return Output(results, failed=bool(wrong), warnings=wrong)


def _geometry(config: Config) -> tuple[tuple[int, ...], list[Window]]:
    """Size and window along height and width."""
    size, *settings = (
        per_axis(key, getattr(config, key), 2)
        for key in ("size", "kernel_size", "stride", "padding", "dilation")
    )
    return size, [Window(*along) for along in zip(*settings, strict=True)]


def _by_torch(
    config: Config,
    sizes: Sequence[int],
    windows: Sequence[Window],
    cost: Cost,
    device: torch.device,
) -> tuple[dict[str, Any], str]:
    """Shape, parameters and MACs by torch.nn.Conv2d, and how they were counted."""
    shape = [1, config.in_channels, *sizes]
    padded = [n + 2 * w.padding for n, w in zip(sizes, windows, strict=True)]
    numbers = config.in_channels * prod(padded) + cost.parameters
    small = max(numbers, cost.macs) <= by_torch.MAX_REAL
    device = device if small else torch.device("meta")
    layer = by_torch.convolution(
        config.in_channels, config.out_channels, windows, config.groups, config.bias, device
    )
    if small:
        with torch.no_grad():
            output = list(layer(torch.zeros(shape, device=device)).shape)
        macs = by_torch.count_products(
            config.in_channels, config.out_channels, config.groups, sizes, windows
        )
        how = "torch.nn.Conv2d; MACs by summing ones over all windows"
    else:
        output, flops = by_torch.count_flops(layer, shape)
        macs = flops // 2
        how = "torch.nn.Conv2d on the meta device; MACs by FlopCounterMode, 2 FLOPs each"
    theirs = {
        "output_shape": output[1:],
        "parameters": by_torch.count_parameters(layer),
        "macs": macs,
    }
    return theirs, how


def summarize(results: Mapping[str, Any]) -> Sequence[Table | str]:
    """The formulas with their numbers, and whether PyTorch agrees."""
    return [*results["steps"], agreement(results["torch"])]


def agreement(torch_says: Mapping[str, Any]) -> str:
    """Whether PyTorch agrees, and how it was asked."""
    return f"PyTorch {'agrees' if torch_says['agrees'] else 'DISAGREES'}: {torch_says['how']}"


def draw(config: Config, results: Mapping[str, Any]) -> Mapping[str, Figure]:
    """Draw the padded input and its windows; nothing where it has too many pixels to be told."""
    figure = draw_windows(*_geometry(config), results["output_shape"][1:])
    return {"conv": figure} if figure else {}
