"""An input and both its poolings as heat maps, and the checks of the identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from midterm_cli.experiment import Table
from midterm_cli.figure import heat_map
from midterm_cli.part4.pool_min.schema import Config, Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_PRINTED = 12
"""More cells than this along an axis leave no room for numbers in them."""


def summarize(results: Results) -> Sequence[Table | str]:
    """The identity and the formulas, the pooled values where they are few, and the checks."""
    shown: list[Table | str] = list(results.steps)
    if max(results.output_shape) <= _MAX_PRINTED:
        rows = [
            [str(i), *(f"{value:g}" for value in row)] for i, row in enumerate(results.min_pooled)
        ]
        columns = [str(j) for j in range(results.output_shape[1])]
        shown.append(Table("min-pooled", ["row", *columns], rows))
    for name, check in (("values", results.checks.values), ("gradient", results.checks.gradient)):
        verdict = "agrees with" if check.agrees else "DIFFERS from"
        shown.append(
            f"{name}: -maxpool(-x) {verdict} a direct minimum, largest difference "
            f"{check.max_difference:.2g}"
        )
    if results.tied_windows:
        windows = "window has" if results.tied_windows == 1 else "windows have"
        shown.append(f"{results.tied_windows} {windows} ties: {results.ties}")
    return shown


def draw(config: Config, results: Results) -> Mapping[str, Figure]:
    """Draw the input and both its poolings as heat maps, with their values where there is room."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.9))
    grid = figure.add_gridspec(
        1, 4, width_ratios=[1, 1, 1, 0.05], left=0.04, right=0.94, bottom=0.08, top=0.88
    )
    values = [value for row in results.input for value in row]
    limits = min(values), max(values)
    panels = {
        "input x": results.input,
        "maxpool(x)": results.max_pooled,
        "minpool(x) = -maxpool(-x)": results.min_pooled,
    }
    for column, (title, rows) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[column])
        small = max(len(rows), len(rows[0])) <= _MAX_PRINTED
        image = heat_map(axes, rows, limits, "{:.3g}".format if small else None)
        axes.set(xticks=[], yticks=[], title=title)
    figure.colorbar(image, cax=figure.add_subplot(grid[3]), label="value")
    return {"pool_min": figure}
