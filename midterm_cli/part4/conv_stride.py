"""Part 4, 2c: the cost of a convolution against its stride, and an image under stride 1, 2, 4."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional

from midterm_cli.data import datasets
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, ExperimentConfig, Output, Table
from midterm_cli.part4 import by_torch
from midterm_cli.part4.arithmetic import Window, conv_cost, dotted, output_size_steps, output_sizes
from midterm_cli.part4.conv import agreement
from midterm_cli.part4.sizes import AtLeast0, AtLeast1, Channels, PerAxis, per_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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


class Config(ExperimentConfig):
    """One convolution, under several strides, and an image to show them on."""

    size: PerAxis[AtLeast1] = Field(description="of the input: one number, or [height, width]")
    in_channels: Channels = Field(description="channels of the input")
    out_channels: Channels = Field(description="channels of the output")
    kernel_size: PerAxis[AtLeast1] = Field(description="inputs that an output reads along an axis")
    padding: PerAxis[AtLeast0] = Field(description="zeros added on either side")
    strides: list[PerAxis[AtLeast1]] = Field(
        min_length=1, max_length=16, description="strides to compare, each against stride 1"
    )
    repeats: int = Field(ge=1, le=1000, description="a time is the median of so many")
    dataset: str = Field(description="fashion_mnist, synthetic, or a folder of four IDX files")
    image: int = Field(ge=0, description="index of the training image that is drawn")


def run(config: Config, context: Context) -> Output:
    """Count and time the convolution under each stride; subsample the image.

    Raises:
        UserError: the kernel does not fit, the convolution is too large to be measured, or the
            data or the image is not there.
    """
    sizes = per_axis("size", config.size, 2)
    kernel = per_axis("kernel_size", config.kernel_size, 2)
    padding = per_axis("padding", config.padding, 2)
    strides = [per_axis("strides", stride, 2) for stride in config.strides]
    plain = [Window(*along) for along in zip(kernel, (1, 1), padding, strict=True)]
    baseline = _count(config, sizes, plain)
    _check_values(config, sizes, kernel, baseline)
    rows, wrong = [], []
    for stride in strides:
        windows = [Window(*along) for along in zip(kernel, stride, padding, strict=True)]
        row = _count(config, sizes, windows)
        row |= {
            "stride": list(stride),
            "product_of_strides": prod(stride),
            "mac_factor": baseline["macs"] / row["macs"],
        }
        wrong += [f"stride {_written(stride)}: {line}" for line in row.pop("wrong")]
        rows.append(row)
    counted: dict[tuple[int, ...], int] = {(1, 1): baseline["macs"]}
    counted |= {stride: row["macs"] for stride, row in zip(strides, rows, strict=True)}
    _check_macs(config, sum(counted.values()))
    image, provenance = _read_image(config, context)
    seconds = _measure(config, sizes, list(counted), context)
    baseline["seconds"] = seconds[1, 1]
    for row, stride in zip(rows, strides, strict=True):
        row |= {
            "seconds": seconds[stride],
            "time_factor": baseline["seconds"] / seconds[stride],
        }
    results = {
        "input_shape": [config.in_channels, *sizes],
        "output_shape": baseline["output_shape"],
        "values": baseline["values"],
        "macs": baseline["macs"],
        "seconds": baseline["seconds"],
        "times": f"medians of {config.repeats}, in seconds, on {_device_name(context.device)}; "
        "measurements, which vary",
        "strides": rows,
        "steps": [step for row in rows for step in _steps(row, baseline["macs"])],
        "torch": {
            "how": "torch.nn.Conv2d on the meta device; MACs by FlopCounterMode, 2 FLOPs each",
            "agrees": not wrong,
        },
        "image": image,
    }
    return Output(results, provenance=provenance, failed=bool(wrong), warnings=wrong)


def _count(config: Config, sizes: Sequence[int], windows: Sequence[Window]) -> dict[str, Any]:
    """Output and MACs by formula; in `wrong`, what PyTorch finds otherwise."""
    output = output_sizes(sizes, windows)
    kernel = [window.kernel_size for window in windows]
    cost = conv_cost(config.in_channels, config.out_channels, 1, kernel, output, bias=False)
    shape = [config.out_channels, *output]
    counted = {
        "output_shape": shape,
        "values": prod(shape),
        "macs": cost.macs,
        "steps": [*output_size_steps(sizes, windows), *cost.steps[1:2]],
    }
    layer = by_torch.convolution(
        config.in_channels, config.out_channels, windows, 1, bias=False, device="meta"
    )
    theirs, flops = by_torch.count_flops(layer, [1, config.in_channels, *sizes])
    torch_says = {"output_shape": theirs[1:], "macs": flops // 2}
    return counted | {"wrong": by_torch.disagreements(counted, torch_says)}


def _check_values(
    config: Config, sizes: Sequence[int], kernel: Sequence[int], baseline: Mapping[str, Any]
) -> None:
    values = {
        "the input": config.in_channels * prod(sizes),
        "the kernel": config.in_channels * config.out_channels * prod(kernel),
        "the output at stride 1": baseline["values"],
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


def _measure(
    config: Config, sizes: Sequence[int], strides: Sequence[tuple[int, ...]], context: Context
) -> dict[tuple[int, ...], float]:
    """Median time of the forward pass under each stride, in seconds.

    On the CPU it is the time that one thread computes, in which nothing else on the machine has a
    part. All strides take turns, and a first round is not counted.
    """
    clock = time.perf_counter if context.device.type == "cuda" else time.thread_time
    generator = torch.Generator().manual_seed(config.seed)
    x = torch.randn(1, config.in_channels, *sizes, generator=generator).to(context.device)
    kernel = per_axis("kernel_size", config.kernel_size, 2)
    padding = per_axis("padding", config.padding, 2)
    weight_shape = (config.out_channels, config.in_channels, *kernel)
    weight = torch.randn(weight_shape, generator=generator).to(context.device)
    times: dict[tuple[int, ...], list[float]] = {stride: [] for stride in strides}
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


def _steps(row: Mapping[str, Any], macs: int) -> list[str]:
    stride = _written(row["stride"])
    return [
        *(f"stride {stride}, {step}" for step in row["steps"]),
        f"stride {stride}, factor against stride 1: {macs}/{row['macs']} = "
        f"{row['mac_factor']:.4g}, product of the strides {dotted(row['stride'])} = "
        f"{row['product_of_strides']}",
    ]


def _written(stride: Sequence[int]) -> str:
    """A stride as short as it can be: 2, or 2×1."""
    return "×".join(map(str, sorted(set(stride)) if len(set(stride)) == 1 else stride))


# The image


def _read_image(config: Config, context: Context) -> tuple[dict[str, Any], dict[str, Any]]:
    """The image under each stride, by the kernel that copies and by the one that averages."""
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
    image = {
        "name": dataset.class_names[int(dataset.train.labels[config.image])],
        "strides": list(IMAGE_STRIDES),
        "copied": [_subsample(pixels, stride, "copy") for stride in IMAGE_STRIDES],
        "averaged": [_subsample(pixels, stride, "average") for stride in IMAGE_STRIDES],
    }
    return image, {"data_sha256": dataset.sha256, "data_source": dataset.source}


def _subsample(pixels: np.ndarray, stride: int, kind: str) -> list[list[float]]:
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


# What is shown


def summarize(results: Mapping[str, Any]) -> Sequence[Table | str]:
    """The formulas, then cost by stride, counted and measured."""
    rows = [
        [
            _written(row["stride"]),
            _written(row["output_shape"]),
            f"{row['macs']:,}",
            str(row["product_of_strides"]),
            f"{row['mac_factor']:.2f}",
            f"{1e3 * row['seconds']:.3f}",
            f"{row['time_factor']:.2f}",
        ]
        for row in results["strides"]
    ]
    columns = [
        "stride",
        "output",
        "MACs",
        "product of strides",
        "times fewer MACs",
        "ms",
        "times faster",
    ]
    title = f"against stride 1 ({results['macs']:,} MACs, {1e3 * results['seconds']:.3f} ms)"
    return [
        *results["steps"],
        Table(title, columns, rows),
        f"times: {results['times']}",
        agreement(results["torch"]),
    ]


def draw(config: Config, results: Mapping[str, Any]) -> Mapping[str, Figure]:
    """Draw cost against stride, counted and measured; and the image under each stride."""
    from matplotlib.figure import Figure

    cost = Figure(figsize=(6, 4.2))
    _draw_cost(cost.add_axes((0.12, 0.2, 0.85, 0.71)), results)
    image = results["image"]
    strides = image["strides"]
    pictures = Figure(figsize=(7, 5.2))
    panels = pictures.subplots(
        2, len(strides), gridspec_kw={"left": 0.08, "right": 0.98, "bottom": 0.03, "top": 0.87}
    )
    for panel, stride, pixels in zip(
        panels.flat, strides * 2, image["copied"] + image["averaged"], strict=True
    ):
        panel.imshow(pixels, cmap="gray_r", vmin=0, vmax=255)
        title = f"stride {stride}: {len(pixels)} × {len(pixels[0])}"
        panel.set(xticks=[], yticks=[], title=title)
    panels[0][0].set_ylabel("middle of each window")
    panels[1][0].set_ylabel("mean of each window")
    pictures.suptitle(f"{image['name']}: windows of 3 × 3, padding 1")
    return {"conv_stride": cost, "stride_image": pictures}


def _draw_cost(axes: Axes, results: Mapping[str, Any]) -> None:
    """Relative to stride 1, on doubly logarithmic axes: the product rule is a straight line."""
    rows = sorted(results["strides"], key=lambda row: int(row["product_of_strides"]))
    products = [row["product_of_strides"] for row in rows]
    ends = [1, max(2, *products)]
    axes.plot(ends, [1 / end for end in ends], color="0.6", label="1 / product of the strides")
    counted = [1 / row["mac_factor"] for row in rows]
    measured = [1 / row["time_factor"] for row in rows]
    axes.plot(products, counted, "ko", label="MACs, counted")
    axes.plot(products, measured, "s--", color="tab:orange", label="time, measured")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(
        products, [f"{row['product_of_strides']}\n{_written(row['stride'])}" for row in rows]
    )
    axes.set(xlabel="product of the strides, and below it the stride", ylabel="cost, stride 1 = 1")
    axes.grid(alpha=0.3)
    axes.legend()
    axes.set_title(f"{results['macs']:,} MACs and {1e3 * results['seconds']:.3g} ms at stride 1")
