"""Count and time a convolution under several strides, and subsample an image by strides."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from midterm_cli.data import datasets
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Output
from midterm_cli.layers import build
from midterm_cli.layers.arithmetic import (
    conv_cost,
    crossed,
    dotted,
    make_windows,
    output_size_steps,
    output_sizes,
)
from midterm_cli.layers.sizes import per_axis
from midterm_cli.part4 import by_torch
from midterm_cli.part4.conv_stride.schema import Config, Image, Results, StrideCost
from midterm_cli.part4.schema import Counts, TorchCheck

MAX_MACS = 10_000_000_000
"""Of all that is measured, each time counted: seconds on one core, with large kernels a minute."""
VECTOR = 8
"""Channels that are computed at once: fewer take at least their time, as MAX_MACS counts them."""
MAX_VALUES = 2**25
"""Of input, weights or output: 128 MiB in float32."""

IMAGE_STRIDES = (1, 2, 4)
IMAGE_KERNEL = 3
MAX_IMAGE = 128
"""Pixels of an image along an axis: they are stored in the results."""

Stride = tuple[int, ...]
"""Along height and width."""


def run(config: Config, context: Context) -> Output:
    """Count and time the convolution under each stride; subsample the image.

    Raises:
        UserError: the kernel does not fit, the convolution is too large to be measured, or the
            data or the image is not there.
    """
    sizes = per_axis("size", config.size, 2)
    strides = [per_axis("strides", stride, 2) for stride in config.strides]
    counted = {stride: _count(config, stride) for stride in ((1, 1), *strides)}
    baseline = counted[1, 1]
    _check_values(config, baseline)
    _check_macs(config, sum(count.macs for count in counted.values()))
    image, provenance = _read_image(config, context)
    seconds = _measure(config, sizes, list(counted), context)
    rows = [
        StrideCost(
            output_shape=counted[stride].shape,
            values=prod(counted[stride].shape),
            macs=counted[stride].macs,
            steps=counted[stride].steps,
            stride=list(stride),
            product_of_strides=prod(stride),
            mac_factor=baseline.macs / counted[stride].macs,
            seconds=seconds[stride],
            time_factor=seconds[1, 1] / seconds[stride],
        )
        for stride in strides
    ]
    wrong = [
        f"stride {crossed(stride)}: {line}" for stride in strides for line in counted[stride].wrong
    ]
    results = Results(
        input_shape=[config.in_channels, *sizes],
        output_shape=baseline.shape,
        values=prod(baseline.shape),
        macs=baseline.macs,
        seconds=seconds[1, 1],
        times=f"medians of {config.repeats}, on {_device_name(context.device)}; "
        "measurements, which vary",
        strides=rows,
        steps=[step for row in rows for step in _steps(row, baseline.macs)],
        torch=TorchCheck(
            how="torch.nn.Conv2d on the meta device; MACs by FlopCounterMode, 2 FLOPs each",
            agrees=not wrong,
        ),
        image=image,
    )
    return Output(results, provenance=provenance, failed=bool(wrong), warnings=wrong)


# What is counted


@dataclass(frozen=True)
class _Count:
    """The convolution under one stride.

    Attributes:
        shape: of the output.
        macs: by formula.
        steps: the formulas with the numbers put in.
        wrong: a line for each quantity that PyTorch finds to be another.
    """

    shape: list[int]
    macs: int
    steps: list[str]
    wrong: list[str]


def _count(config: Config, stride: Stride) -> _Count:
    sizes = per_axis("size", config.size, 2)
    windows = make_windows(2, kernel_size=config.kernel_size, stride=stride, padding=config.padding)
    output = output_sizes(sizes, windows)
    kernel = [window.kernel_size for window in windows]
    cost = conv_cost(config.in_channels, config.out_channels, 1, kernel, output, bias=False)
    shape = [config.out_channels, *output]
    layer = build.convolution(
        config.in_channels, config.out_channels, windows, 1, bias=False, device="meta"
    )
    theirs, flops = by_torch.count_flops(layer, [1, config.in_channels, *sizes])
    wrong = by_torch.disagreements(
        Counts(output_shape=shape, parameters=cost.parameters, macs=cost.macs),
        Counts(
            output_shape=theirs[1:],
            parameters=by_torch.count_parameters(layer),
            macs=flops // 2,
        ),
    )
    steps = [*output_size_steps(sizes, windows), *cost.steps[1:2]]
    return _Count(shape, cost.macs, steps, wrong)


def _check_values(config: Config, baseline: _Count) -> None:
    values = {
        "the input": config.in_channels * prod(per_axis("size", config.size, 2)),
        "the kernel": config.in_channels
        * config.out_channels
        * prod(per_axis("kernel_size", config.kernel_size, 2)),
        "the output at stride 1": prod(baseline.shape),
    }
    for what, count in values.items():
        if count > MAX_VALUES:
            raise UserError(
                f"{what} has {count:,} values, and up to {MAX_VALUES:,} are measured: "
                "lower size or the channels"
            )


def _check_macs(config: Config, macs: int) -> None:
    channels = (config.in_channels, config.out_channels)
    computed = macs // prod(channels) * prod(max(VECTOR, count) for count in channels)
    total = computed * (config.repeats + 1)
    if total > MAX_MACS:
        few = f", fewer than {VECTOR} channels counted as {VECTOR}" * (computed > macs)
        raise UserError(
            f"the convolution under all strides takes {computed:,} MACs{few}; with repeats = "
            f"{config.repeats} and a first round they are {total:,}, and up to {MAX_MACS:,} are "
            "measured: lower repeats, size, the channels or kernel_size"
        )


def _steps(row: StrideCost, macs: int) -> list[str]:
    stride = crossed(row.stride)
    return [
        *(f"stride {stride}, {step}" for step in row.steps),
        f"stride {stride}, factor against stride 1: {macs}/{row.macs} = "
        f"{row.mac_factor:.4g}, product of the strides {dotted(row.stride)} = "
        f"{row.product_of_strides}",
    ]


# What is measured


def _measure(
    config: Config, sizes: Sequence[int], strides: Sequence[Stride], context: Context
) -> dict[Stride, float]:
    """Median time of the forward pass under each stride, in seconds.

    On the CPU it is the CPU time of one thread, which excludes whatever else runs on the machine.
    All strides take turns, and a first round is not counted.
    """
    clock = time.perf_counter if context.device.type == "cuda" else time.thread_time
    generator = torch.Generator().manual_seed(config.seed)
    x = torch.randn(1, config.in_channels, *sizes, generator=generator).to(context.device)
    kernel = per_axis("kernel_size", config.kernel_size, 2)
    padding = per_axis("padding", config.padding, 2)
    weight_shape = (config.out_channels, config.in_channels, *kernel)
    weight = torch.randn(weight_shape, generator=generator).to(context.device)
    times: dict[Stride, list[float]] = {stride: [] for stride in strides}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for done in range(config.repeats + 1):
            for stride in strides:
                _wait_for(x.device)
                begun = clock()
                functional.conv2d(x, weight, stride=stride, padding=padding)
                _wait_for(x.device)
                times[stride].append(clock() - begun)
            context.progress(done, config.repeats, "rounds of all strides")
    finally:
        torch.set_num_threads(threads)
    return {stride: statistics.median(seconds[1:]) for stride, seconds in times.items()}


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device_name(device: torch.device) -> str:
    return (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else "one CPU thread, waiting not counted"
    )


# The image


def _read_image(config: Config, context: Context) -> tuple[Image, dict[str, Any]]:
    """The image under each stride, and where it is from."""
    dataset = datasets.load(config.dataset, context.data_dir)
    count = len(dataset.train.labels)
    if config.image >= count:
        raise UserError(
            f"image = {config.image}, but {dataset.name} has training images 0 to {count - 1}: "
            "choose one of them"
        )
    pixels = np.array(dataset.train.images[config.image])
    if max(pixels.shape) > MAX_IMAGE:
        raise UserError(
            f"the images of {dataset.name} have {pixels.shape[0]} × {pixels.shape[1]} pixels, and "
            f"up to {MAX_IMAGE} are drawn: choose another dataset"
        )
    image = Image(
        name=dataset.class_names[int(dataset.train.labels[config.image])],
        strides=list(IMAGE_STRIDES),
        copied=[subsample(pixels, stride, "copy") for stride in IMAGE_STRIDES],
        averaged=[subsample(pixels, stride, "average") for stride in IMAGE_STRIDES],
    )
    return image, {"data_sha256": dataset.sha256, "data_source": dataset.source}


def subsample(pixels: np.ndarray, stride: int, kind: str) -> list[list[float]]:
    """A convolution of one image: a 3 × 3 kernel, padding 1, rounded to a tenth of a grey level.

    Args:
        pixels: (height, width), 0…255.
        stride: along both axes.
        kind: `copy` has a single 1, in its centre; `average` has 1/9 everywhere.
    """
    kernel = torch.zeros(IMAGE_KERNEL, IMAGE_KERNEL, dtype=torch.float64)
    if kind == "copy":
        kernel[IMAGE_KERNEL // 2, IMAGE_KERNEL // 2] = 1
    else:
        kernel[:] = 1 / kernel.numel()
    x = torch.from_numpy(pixels.astype(np.float64))
    y = functional.conv2d(
        x[None, None], kernel[None, None], stride=stride, padding=IMAGE_KERNEL // 2
    )
    rounded: list[list[float]] = y[0, 0].round(decimals=1).tolist()
    return rounded
