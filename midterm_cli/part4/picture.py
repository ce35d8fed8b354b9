"""The picture of a convolution's or a pooling's windows on their input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from midterm_cli.layers.arithmetic import Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_DRAWN = 64
"""The pixels of a larger padded input cannot be told apart."""


def draw_windows(
    sizes: Sequence[int], windows: Sequence[Window], output: Sequence[int]
) -> Figure | None:
    """Draw the padded input and all windows on it.

    Args:
        sizes: height and width of the input.
        windows: along height and width.
        output: number of windows along height and width.

    Returns:
        The figure, or None for an input with more than MAX_DRAWN rows or columns.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    ends = [
        max(size + window.padding, (count - 1) * window.stride - window.padding + window.span)
        for size, window, count in zip(sizes, windows, output, strict=True)
    ]
    if max(end + window.padding for end, window in zip(ends, windows, strict=True)) > MAX_DRAWN:
        return None
    figure = Figure(figsize=(7, 4.8))
    axes = figure.add_axes((0.08, 0.12, 0.58, 0.78))
    _draw_input(axes, sizes, windows)
    _draw_windows(axes, windows, output)
    axes.set(
        title=f"{output[0]} × {output[1]} windows on {sizes[0]} × {sizes[1]} pixels",
        xlabel="column",
        ylabel="row",
        xlim=(-windows[1].padding - 0.5, ends[1] + 0.5),
        ylim=(ends[0] + 0.5, -windows[0].padding - 0.5),
        aspect="equal",
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), fontsize="small")
    return figure


def _draw_input(axes: Axes, sizes: Sequence[int], windows: Sequence[Window]) -> None:
    """The input in white with a line around each pixel, on its padding in grey."""
    from matplotlib.patches import Rectangle

    (rows, columns), (top, left) = sizes, (window.padding for window in windows)
    corner, size = (-left, -top), (columns + 2 * left, rows + 2 * top)
    if top or left:
        axes.add_patch(Rectangle(corner, *size, facecolor="0.85", label="padding"))
    axes.add_patch(
        Rectangle((0, 0), columns, rows, facecolor="white", edgecolor="0.5", label="input")
    )
    axes.vlines(range(columns + 1), 0, rows, color="0.85", linewidth=0.5)
    axes.hlines(range(rows + 1), 0, columns, color="0.85", linewidth=0.5)


def _draw_windows(axes: Axes, windows: Sequence[Window], output: Sequence[int]) -> None:
    """An outline a window, the pixels that the first one reads, and what no window reaches."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    vertical, horizontal = windows
    tops = [i * vertical.stride - vertical.padding for i in range(output[0])]
    lefts = [j * horizontal.stride - horizontal.padding for j in range(output[1])]
    outlines = [Rectangle((x, y), horizontal.span, vertical.span) for y in tops for x in lefts]
    axes.add_collection(
        PatchCollection(outlines, facecolor="none", edgecolor="tab:blue", linewidth=1.4, zorder=3)
    )
    axes.plot([], [], color="tab:blue", label="a window")
    read = [
        Rectangle((x, y), 1, 1)
        for y in range(tops[0], tops[0] + vertical.span, vertical.dilation)
        for x in range(lefts[0], lefts[0] + horizontal.span, horizontal.dilation)
    ]
    axes.add_collection(PatchCollection(read, facecolor="tab:blue", edgecolor="white", zorder=4))
    axes.fill_between([], [], color="tab:blue", label="what the first one reads")
