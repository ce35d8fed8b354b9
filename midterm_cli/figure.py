"""Figures: how they are rendered, and the looks that several of them share."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

SIGNATURE = b"Software\0midterm"
"""The metadata by which a PNG of midterm is recognised."""


def to_png(figure: Figure) -> bytes:
    """Render a figure. The metadata is fixed, so that equal figures are equal files."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": "midterm"})
    return buffer.getvalue()


def to_svg(figure: Figure) -> bytes:
    """Render a figure; equal figures are equal bytes, and letters are outlines: no font needed."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "midterm", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "midterm"})
    return buffer.getvalue()


def heat_map(
    axes: Axes,
    rows: Sequence[Sequence[float]],
    limits: tuple[float, float],
    written: Callable[[float], str] | None,
) -> AxesImage:
    """Draw a matrix: the larger a value, the lighter its cell, in grey too.

    Args:
        axes: where.
        rows: the matrix.
        limits: the values of the darkest and of the lightest colour.
        written: what stands in the cell of a value; None where there is no room.
    """
    low, high = limits
    image = axes.imshow(rows, cmap="viridis", vmin=low, vmax=high)
    if written is None:
        return image
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            color = "white" if value < low + 0.6 * (high - low) else "black"
            axes.text(j, i, written(value), ha="center", va="center", color=color, fontsize=7.5)
    return image
