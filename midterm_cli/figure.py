"""Figures: how they are rendered, and the looks that several of them share."""

from __future__ import annotations

import io
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

DPI = 150
"""Pixels per inch of a PNG, unless others are asked for."""

LARGEST_DRAWN = 1e150
"""Values of a logarithmic axis beyond it, or below its inverse, are drawn there.

Its ticks and margins reach far beyond its values, and must not overflow.
"""


class Format(StrEnum):
    """How a figure is written."""

    PNG = "png"
    PDF = "pdf"
    SVG = "svg"


SIGNATURES = {".png": b"Software\0midterm", ".pdf": b"/Creator (midterm)", ".svg": b">midterm<"}
"""The metadata by which a figure of midterm is recognised, by suffix."""

_METADATA: dict[Format, dict[str, Any]] = {
    Format.PNG: {"Software": "midterm"},
    Format.PDF: {"Creator": "midterm", "Producer": None, "CreationDate": None},
    Format.SVG: {"Creator": "midterm", "Date": None},
}

# Letters of an SVG are outlines: a page that holds it needs no font.
_LOOKS = {"svg.hashsalt": "midterm", "svg.fonttype": "path"}

# Matplotlib's looks are the process's: one thread at a time may have ours.
_LOCK = threading.RLock()


@contextmanager
def own_style() -> Iterator[None]:
    """Draw in matplotlib's own looks, whatever backend and matplotlibrc its user has chosen.

    What they have chosen holds again afterwards.
    """
    with _LOCK:
        _import_matplotlib()
        import matplotlib as mpl

        looks: dict[Any, Any] = {
            key: value
            for key, value in mpl.rcParamsDefault.items()
            if not key.startswith("backend")  # none is used: a figure is rendered by its format
        }
        with mpl.rc_context(looks | _LOOKS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph ", UserWarning)  # see `missing_glyphs`
            yield


def _import_matplotlib() -> None:
    """Import matplotlib, also where MPLBACKEND names a backend that this Python does not have.

    Jupyter and Colab set one for what is started with !.
    """
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib as mpl
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):
            mpl.rcParams["backend"] = backend


def render(figure: Figure, form: Format, dpi: int = DPI) -> bytes:
    """Render a figure. Metadata and names are fixed, so that equal figures are equal bytes."""
    buffer = io.BytesIO()
    with own_style():
        figure.savefig(buffer, format=form, dpi=dpi, metadata=_METADATA[form])
    return buffer.getvalue()


def to_png(figure: Figure) -> bytes:
    """Render a figure as PNG."""
    return render(figure, Format.PNG)


def to_svg(figure: Figure) -> bytes:
    """Render a figure as SVG."""
    return render(figure, Format.SVG)


def missing_glyphs(figure: Figure) -> list[str]:
    """The characters for which a figure has boxes, since its font lacks them."""
    with own_style():
        from matplotlib.font_manager import FontProperties, findfont, get_font
        from matplotlib.text import Text

        font = get_font(findfont(FontProperties()))
        drawn = dict.fromkeys("".join(text.get_text() for text in figure.findobj(Text)))
        return [c for c in drawn if c.isprintable() and not font.get_char_index(ord(c))]


def glyph_note(figures: Iterable[Figure]) -> list[str]:
    """A line on the characters that the font of figures lacks; none if it has them all."""
    missing = list(dict.fromkeys(c for figure in figures for c in missing_glyphs(figure)))
    if not missing:
        return []
    some = " ".join(missing[:10]) + (" …" if len(missing) > 10 else "")
    return [f"the figures' font, DejaVu Sans, lacks {some}: boxes stand in their place"]


def log_scale(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with labels within the decades where there are few of them."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    if high < 1e3 * low:
        labelled = (1, 1.5, 2, 3, 5, 7) if high < 10 * low else (1, 2, 5)
        axis.set_major_locator(LogLocator(subs=labelled))
        axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def heat_map(
    axes: Axes,
    rows: Sequence[Sequence[float]],
    limits: tuple[float, float],
    written: Callable[[float], str] | None,
) -> AxesImage:
    """Draw a matrix.

    Where values have both signs, 0 is white, and what is far from it dark: red above, blue below.
    Else the larger a value, the lighter its cell. Colours end at `LARGEST_DRAWN`.

    Args:
        axes: where.
        rows: the matrix.
        limits: the smallest and the largest value.
        written: what stands in the cell of a value; None where there is no room.
    """
    low, high = (max(-LARGEST_DRAWN, min(limit, LARGEST_DRAWN)) for limit in limits)
    is_signed = low < 0 < high
    if is_signed:
        high = max(-low, high)
        low = -high
    colours = "RdBu_r" if is_signed else "viridis"
    image = axes.imshow(rows, cmap=colours, vmin=low, vmax=high)
    if written is None:
        return image
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            is_dark = abs(value) > 0.6 * high if is_signed else value < low + 0.6 * (high - low)
            color = "white" if is_dark else "black"
            axes.text(j, i, written(value), ha="center", va="center", color=color, fontsize=7.5)
    return image
