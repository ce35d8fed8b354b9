"""The cost of a convolution against its stride as a table and a figure; an image under strides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from midterm_cli.experiment import Table
from midterm_cli.layers.arithmetic import crossed
from midterm_cli.part4.conv_stride.schema import Config, Image, Results
from midterm_cli.part4.schema import torch_verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def summarize(results: Results) -> Sequence[Table | str]:
    """The formulas, then cost by stride, counted and measured."""
    rows = [
        [
            crossed(row.stride),
            "×".join(map(str, row.output_shape)),
            f"{row.macs:,}",
            str(row.product_of_strides),
            f"{row.mac_factor:.2f}",
            f"{1e3 * row.seconds:.3f}",
            f"{row.time_factor:.2f}",
        ]
        for row in results.strides
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
    title = f"against stride 1 ({results.macs:,} MACs, {1e3 * results.seconds:.3f} ms)"
    return [
        *results.steps,
        Table(title, columns, rows),
        f"times: {results.times}",
        torch_verdict(results.torch.how, results.torch.agrees),
    ]


def draw(config: Config, results: Results) -> Mapping[str, Figure]:
    """Draw cost against stride, counted and measured; and the image under each stride."""
    return {"conv_stride": _draw_cost(results), "stride_image": _draw_image(results.image)}


def _draw_cost(results: Results) -> Figure:
    """Relative to stride 1, on doubly logarithmic axes: the product rule is a straight line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.2))
    axes = figure.add_axes((0.12, 0.2, 0.85, 0.71))
    rows = sorted(results.strides, key=lambda row: row.product_of_strides)
    products = [row.product_of_strides for row in rows]
    ends = [1, max(2, *products)]
    axes.plot(ends, [1 / end for end in ends], color="0.6", label="1 / product of the strides")
    counted = [1 / row.mac_factor for row in rows]
    measured = [1 / row.time_factor for row in rows]
    axes.plot(products, counted, "ko", label="MACs, counted")
    axes.plot(products, measured, "s--", color="tab:orange", label="time, measured")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(products, [f"{row.product_of_strides}\n{crossed(row.stride)}" for row in rows])
    axes.set(xlabel="product of the strides, and below it the stride", ylabel="cost, stride 1 = 1")
    axes.grid(alpha=0.3)
    axes.legend()
    axes.set_title(f"{results.macs:,} MACs and {1e3 * results.seconds:.3g} ms at stride 1")
    return figure


def _draw_image(image: Image) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5.2))
    panels = figure.subplots(
        2,
        len(image.strides),
        gridspec_kw={"left": 0.08, "right": 0.98, "bottom": 0.03, "top": 0.87},
    )
    for row, pictures in zip(panels, (image.copied, image.averaged), strict=True):
        for panel, stride, pixels in zip(row, image.strides, pictures, strict=True):
            panel.imshow(pixels, cmap="gray_r", vmin=0, vmax=255)
            title = f"stride {stride}: {len(pixels)} × {len(pixels[0])}"
            panel.set(xticks=[], yticks=[], title=title)
    panels[0][0].set_ylabel("middle of each window")
    panels[1][0].set_ylabel("mean of each window")
    figure.suptitle(f"{image.name}: windows of 3 × 3, padding 1", parse_math=False)
    return figure
