"""Figures drawn anew from a run's results, as data that a page holds in itself."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, NamedTuple

from midterm_cli.figure import to_png, to_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Beyond this many bytes, with very many points, pixels are smaller than lines.
_LARGEST_SVG = 300_000
_CSS_PIXELS_PER_INCH = 96


class Picture(NamedTuple):
    """A figure for the page: its content as a data: URI, its size in CSS pixels."""

    uri: str
    width: int
    height: int


def picture(figure: Figure) -> Picture:
    """Render a figure."""
    svg = to_svg(figure)
    if len(svg) <= _LARGEST_SVG:
        kind, content = "svg+xml", svg
    else:
        kind, content = "png", to_png(figure)
    return Picture(
        f"data:image/{kind};base64,{base64.b64encode(content).decode()}",
        width=round(figure.get_figwidth() * _CSS_PIXELS_PER_INCH),
        height=round(figure.get_figheight() * _CSS_PIXELS_PER_INCH),
    )
