"""Figures drawn anew from a run's results, as data that a page holds in itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from midterm_cli.figure import to_png, to_svg
from midterm_cli.registry import EXPERIMENTS
from midterm_cli.report.document import Picture, Prose
from midterm_cli.report.runs import Run, experiment_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Beyond this many bytes, with very many points, pixels are smaller than lines.
_LARGEST_SVG = 300_000
_CSS_PIXELS_PER_INCH = 96


class Words(NamedTuple):
    """What is said of a figure: `alt` to those who do not see it, `caption` to everybody."""

    alt: str
    caption: Prose


def pictures(run: Run, words: Mapping[str, Words]) -> list[Picture]:
    """Draw a run's figures.

    Args:
        run: whose results are drawn.
        words: on each figure, by its name.
    """
    drawn = EXPERIMENTS[experiment_of(run.preset)].draw(run.config, run.results)
    return [
        Picture(
            uri=_data_uri(figure),
            path=run.folder / f"{stem}.png",
            width=round(figure.get_figwidth() * _CSS_PIXELS_PER_INCH),
            height=round(figure.get_figheight() * _CSS_PIXELS_PER_INCH),
            alt=words[stem].alt,
            caption=words[stem].caption,
        )
        for stem, figure in drawn.items()
    ]


def _data_uri(figure: Figure) -> str:
    svg = to_svg(figure)
    if len(svg) <= _LARGEST_SVG:
        kind, content = "svg+xml", svg
    else:
        kind, content = "png", to_png(figure)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
