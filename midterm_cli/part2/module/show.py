"""Vectors, matrices and checks as tables; the gradients as heat maps and bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from midterm_cli.experiment import Table
from midterm_cli.figure import heat_map
from midterm_cli.part2.module.schema import (
    MAX_ENTRIES,
    NUM_DIRECTIONS,
    Checks,
    Config,
    Results,
)
from midterm_cli.tolerance import in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


def summarize(results: Results) -> Sequence[Table | str]:
    """The vectors, the matrices where they fit, and each gradient's largest differences."""
    dimension = len(results.x)
    vectors = {
        "x": results.x,
        "Mx": results.Mx,
        "g": results.g,
        "∂φ/∂x": results.grad_x,
    }
    rows = [
        [str(i), *_row([vector[i] for vector in vectors.values()])]
        for i in range(min(dimension, 16))
    ]
    shown: list[Table | str] = [Table(f"vectors, d = {dimension}", ["i", *vectors], rows)]
    if dimension <= 8:
        matrices = {
            "M": results.M,
            "∂φ/∂M, M free": results.grad_M,
            "∂φ/∂M, M symmetric": results.grad_M_symmetric,
        }
        columns = ["i", *map(str, range(dimension))]
        shown += [
            Table(title, columns, [[str(i), *_row(row)] for i, row in enumerate(matrix)])
            for title, matrix in matrices.items()
        ]
    shown.append(_check_table(results.checks))
    if dimension**2 > MAX_ENTRIES:
        shown.append(
            f"finite differences along {NUM_DIRECTIONS} random directions, where a gradient has "
            f"more than {MAX_ENTRIES} entries"
        )
    shown.append(f"phi = {results.phi:.10g}   condition number {results.condition_number:.6g}")
    return shown


def _row(values: Sequence[float]) -> list[str]:
    # Adding 0 turns -0 into 0.
    return [f"{value + 0:.6g}" for value in values]


def _check_table(checks: Checks) -> Table:
    rows = [
        [
            gradient,
            way,
            f"{check.max_difference:.2g}",
            "–" if check.relative is None else f"{check.relative:.2g}",
            f"{check.tolerance:.2g}",
            in_words(check),
        ]
        for gradient, way, check in checks.each()
    ]
    columns = ["autograd's", "against", "largest difference", "relative", "tolerance", "verdict"]
    return Table("checks", columns, rows)


def draw(config: Config, results: Results) -> Mapping[str, Figure]:
    """Draw ∂φ/∂M, free and symmetric, as heat maps and ∂φ/∂x as bars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.7))
    # Set by hand: a layout engine draws everything twice, a good part of the whole command's time.
    margins = {"left": 0.05, "right": 0.99, "bottom": 0.14, "top": 0.9, "wspace": 0.22}
    widths = [1, 1, 0.05, 0.15, 1]  # the fourth column is room for the labels of its neighbours
    grid = figure.add_gridspec(1, 5, width_ratios=widths, **margins)
    free, symmetric, scale, bars = (figure.add_subplot(grid[i]) for i in (0, 1, 2, 4))
    # One scale for both, symmetric about 0, so that colours can be compared.
    largest = max(abs(value) for row in results.grad_M for value in row) or 1.0
    _draw_matrix(free, results.grad_M, largest)
    image = _draw_matrix(symmetric, results.grad_M_symmetric, largest)
    free.set(title="∂φ/∂M, M free", xlabel="column", ylabel="row")
    symmetric.set(title="∂φ/∂M, M symmetric", xlabel="column")
    figure.colorbar(image, cax=scale)
    _draw_bars(bars, results.grad_x)
    for axes in (scale, bars):
        axes.ticklabel_format(axis="y", scilimits=(-2, 3))
    return {"module": figure}


def _draw_matrix(axes: Axes, matrix: Sequence[Sequence[float]], largest: float) -> AxesImage:
    """Draw a heat map; the values stand in the cells of a small matrix."""
    small = len(matrix) <= 5
    if small:
        axes.set_xticks(range(len(matrix)))
        axes.set_yticks(range(len(matrix)))
    return heat_map(axes, matrix, (-largest, largest), _short if small else None)


def _draw_bars(axes: Axes, gradient: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    drawn = axes.bar(range(len(gradient)), gradient, color="grey", edgecolor="black")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(title="∂φ/∂x", xlabel="component")
    axes.margins(y=0.15)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(gradient) <= 10:
        axes.bar_label(drawn, [_short(value) for value in gradient], padding=2, fontsize=8)
        axes.set_xticks(range(len(gradient)))


def _short(value: float) -> str:
    """Three digits, without the signs and zeros that an exponent is padded with: -9.84e4."""
    mantissa, e, exponent = f"{value:.3g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa
