"""The soft-threshold and its derivatives as curves, and what happens at ±T as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from midterm_cli.experiment import Table
from midterm_cli.part2.softt.schema import Agreement, Config, OneSided, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def summarize(results: Results) -> Sequence[Table | str]:
    """The points, what happens at ±T, and whether autograd agrees with the closed forms."""
    # Rounding is small beside what each is a step beyond -T and +T.
    h = results.threshold / 1024
    sizes = {"-T": (3 * h**2, 6 * h), "+T": (2 * h, 2.0)}
    rows = []
    for name, point in zip(sizes, results.one_sided, strict=True):
        for quantity, (below, above), size in (
            ("derivative", point.derivative, sizes[name][0]),
            ("second derivative", point.second_derivative, sizes[name][1]),
        ):
            verdict = _continuity(abs(above - below), 1e-9 * size)
            rows.append([f"{name} = {point.y:g}", quantity, _short(below), _short(above), verdict])
    columns = ["y", "quantity", "from below", "from above", "verdict"]
    return [
        *_points(results),
        Table("one-sided derivatives by difference quotients", columns, rows),
        f"derivative by autograd: {_verdict(results.checks.derivative)}",
        f"second derivative by autograd: {_verdict(results.checks.second_derivative)}",
    ]


def _continuity(difference: float, tolerance: float) -> str:
    """A tolerance above 1, or a difference above a tenth of that, shows no continuity."""
    if difference > tolerance:
        return "jumps"
    decided = difference == 0 or (tolerance <= 1 and difference <= 0.1)
    return "continuous" if decided else "cannot tell"


def _short(value: float) -> str:
    text = f"{value:.4f}" if abs(value) < 1e5 else f"{value:.4g}"
    return text.replace("-0.0000", "0.0000")


def _points(results: Results) -> list[Table]:
    if not results.points:
        return []
    rows = [
        ["beyond the dtype" if value is None else f"{value:.10g}" for _, value in point]
        for point in results.points
    ]
    title = f"values, T = {results.threshold:.10g}"
    return [Table(title, ["y", "f_T", "f_T' in closed form", "f_T' by autograd"], rows)]


def _verdict(check: Agreement) -> str:
    if check.max_relative_difference is None:
        return "DIFFERS: a value is not finite"
    if check.agrees:
        return f"agrees, largest relative difference {check.max_relative_difference:.2g}"
    return f"DIFFERS, {check.extent}"


def draw(config: Config, results: Results) -> Mapping[str, Figure]:
    """Draw f_T and f_T', and f_T'' where it was asked for, with ±T marked."""
    from matplotlib.figure import Figure

    threshold = results.threshold
    num_panels = 2 if results.second_derivative is None else 3
    width = 4.4 * num_panels
    figure = Figure(figsize=(width, 4))
    # Set by hand: a layout engine draws everything twice, a good part of the whole command's time.
    margins = {"left": 0.8 / width, "right": 1 - 0.2 / width, "bottom": 0.13, "top": 0.96}
    panels = figure.subplots(1, num_panels, gridspec_kw={**margins, "wspace": 0.3})
    y = results.y
    panels[0].plot(y, _gaps(results.f), color="black", label="$f_T$")
    panels[0].set(ylabel="$f_T(y)$")
    closed, autograd = _gaps(results.derivative), _gaps(results.derivative_autograd)
    panels[1].plot(y, closed, color="silver", linewidth=5, label="$f_T'$ in closed form")
    panels[1].plot(y, autograd, color="black", linestyle="--", label="$f_T'$ by autograd")
    panels[1].set(ylabel="$f_T'(y)$")
    low, high = config.range
    for point in results.points:
        if low <= point.y <= high:
            panels[0].plot([point.y], _gaps([point.f]), "ko")
            panels[1].plot([point.y], _gaps([point.derivative]), "ko")
    if results.second_derivative is not None:
        _draw_second(panels[2], y, _gaps(results.second_derivative), results.one_sided[1])
    for panel in panels:
        for i, edge in enumerate((-threshold, threshold)):
            label = None if i else rf"$\pm T = \pm {threshold:g}$"
            panel.axvline(edge, color="tab:red", linestyle=":", label=label)
        panel.set(xlabel="$y$", xlim=config.range)
        panel.ticklabel_format(axis="y", scilimits=(-3, 4))  # longer numbers have no room
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small")
    return {"softt": figure}


def _draw_second(
    panel: Axes, y: Sequence[float], second: Sequence[float], at_threshold: OneSided
) -> None:
    """Two pieces, so that no line joins the two ends of the jump at +T."""
    threshold, (below, above) = at_threshold.y, at_threshold.second_derivative
    split = sum(value <= threshold for value in y)
    left = [*y[:split], threshold], [*second[:split], below]
    right = [threshold, *y[split:]], [above, *second[split:]]
    panel.plot(*left, color="black", label="$f_T''$")
    panel.plot(*right, color="black")
    ends = [threshold] * 2, [below, above], "ko"
    panel.plot(*ends, markersize=4, markerfacecolor="white", label="jump at $+T$")
    panel.set(ylabel="$f_T''(y)$")


def _gaps(values: Sequence[float | None]) -> list[float]:
    """NaN in place of None: a gap in the curve."""
    return [math.nan if value is None else value for value in values]
