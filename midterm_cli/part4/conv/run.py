"""Compute shape and costs of one convolution by formula, and compare them with PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from midterm_cli.experiment import Context, Output
from midterm_cli.layers import build
from midterm_cli.layers.arithmetic import (
    Cost,
    Window,
    check_groups,
    conv_cost,
    output_size_steps,
    output_sizes,
    product_step,
)
from midterm_cli.layers.sizes import per_axis
from midterm_cli.part4 import by_torch
from midterm_cli.part4.conv.schema import Config, Results, TorchCounts
from midterm_cli.part4.schema import Counts


def run(config: Config, context: Context) -> Output:
    """Compute shape and costs by formula, and compare them with PyTorch.

    Raises:
        UserError: the kernel does not fit into the input, or the groups do not divide the channels.
    """
    sizes, windows = per_axis("size", config.size, 2), config.windows()
    check_groups(config.in_channels, config.out_channels, config.groups)
    output = output_sizes(sizes, windows)
    kernel = [window.kernel_size for window in windows]
    cost = conv_cost(
        config.in_channels, config.out_channels, config.groups, kernel, output, config.bias
    )
    shape = [config.out_channels, *output]
    ours = Counts(output_shape=shape, parameters=cost.parameters, macs=cost.macs)
    theirs, how = _by_torch(config, sizes, windows, cost, context.device)
    wrong = by_torch.disagreements(ours, theirs)
    results = Results(
        input_shape=[config.in_channels, *sizes],
        output_shape=shape,
        values=prod(shape),
        parameters=cost.parameters,
        bias="counted in parameters, not in MACs" if config.bias else "there is none",
        macs=cost.macs,
        flops=cost.flops,
        steps=[
            *output_size_steps(sizes, windows),
            product_step("values", shape),
            *cost.steps,
        ],
        torch=TorchCounts(**dict(theirs), how=how, agrees=not wrong),
    )
    return Output(results, failed=bool(wrong), warnings=wrong)


def _by_torch(
    config: Config,
    sizes: Sequence[int],
    windows: Sequence[Window],
    cost: Cost,
    device: torch.device,
) -> tuple[Counts, str]:
    """Shape, parameters and MACs by torch.nn.Conv2d, and how they were counted."""
    shape = [1, config.in_channels, *sizes]
    padded = [n + 2 * w.padding for n, w in zip(sizes, windows, strict=True)]
    numbers = config.in_channels * prod(padded) + cost.parameters
    small = max(numbers, cost.macs) <= by_torch.MAX_REAL
    device = device if small else torch.device("meta")
    layer = build.convolution(
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
    parameters = by_torch.count_parameters(layer)
    return Counts(output_shape=output[1:], parameters=parameters, macs=macs), how
