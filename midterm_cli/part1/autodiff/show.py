"""The methods side by side as tables, what is wrong in words, and the function as a figure."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from midterm_cli.experiment import Table
from midterm_cli.part1.autodiff.schema import (
    DIGITS,
    Comparison,
    Config,
    JudgedLine,
    Judgement,
    Point,
    Results,
    Term,
    Values,
)
from midterm_cli.text import printable, shortened
from midterm_cli.tolerance import in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS = {
    "chain_rule": "chain rule",
    "autograd": "autograd, reverse",
    "autograd_forward": "autograd, forward",
    "finite_difference": "finite differences",
    "symbolic": f"symbolic (SymPy), {DIGITS} digits",
}
"""What each method is called."""
COLUMNS = (
    *("line", "verdict", "formula", "num_points", "num_bad"),
    *("x", "value", "derivative", "meaning"),
)
"""Of the rows that many formulas are printed as."""
LARGEST_DRAWN = 1e300
"""Beyond it the arithmetic of the figure itself overflows."""


# ---- in words


def summarize(results: Results) -> Sequence[Table | str]:
    """The terms of the chain rule, the methods side by side, and the verdicts."""
    digits, short = (15, 13) if results.dtype == "float64" else (8, 5)
    shown: list[Table | str] = []
    regular = next((point for point in results.points if point.note is None), None)
    if regular is not None:
        shown.append(_derivation_table(results.derivation, regular, digits))
    shown.append(_method_table(results.points, digits))
    for point in results.points:
        x = _point(point.x)
        # By SymPy, which rounds last. Where it gives no number at a point, there may be none.
        by_sympy = results.reference == "symbolic"
        best = point.derivative.symbolic if by_sympy else point.derivative.autograd
        f, slope = _text(point.f, short), _text(best, short)
        rounded = "" if results.dtype == "float64" else _in_float32(point.x)
        shown.append(f"f({x}) = {f}   f'({x}) = {slope}{rounded}")
        if difference := point.finite_difference:
            step, error = _text(difference.step, 3), _text(difference.error_estimate, 3)
            shown.append(
                f"finite differences at {x}: smallest step {step}, estimated error {error}"
            )
    if results.formula is not None:
        if results.formula.at:
            shown.append(_formula_table(results.formula, digits))
        if results.formula.agrees:
            shown.append(verdict(results.formula))
    if results.formulas:
        shown.append(_count(results.formulas))
    return shown


def _derivation_table(derivation: Sequence[Term], point: Point, digits: int) -> Table:
    rows = [[name, "", _text(value, digits), "", ""] for name, value in point.intermediates.items()]
    for term in derivation:
        numbers = _text(term.value[0], digits), _text(term.autograd[0], digits)
        rows.append([term.term, term.formula, *numbers, in_words(term)])
    columns = ["term", "formula", "value", "autograd", "verdict"]
    return Table(f"chain rule at x = {_point(point.x)}", columns, rows)


def _method_table(points: Sequence[Point], digits: int) -> Table:
    rows = []
    for point in points:
        comparisons: dict[str, Comparison | None] = dict(point.comparison)
        for name, value in point.derivative:
            row = [_point(point.x), METHODS[name], _text(value, digits)]
            comparison = comparisons.get(name)
            if comparison is None:
                row += ["", "", "", "not taken" if value is None else "reference"]
            else:
                numbers = comparison.difference, comparison.relative, comparison.tolerance
                row += [*(_text(number, 2) for number in numbers), in_words(comparison)]
            rows.append(row)
    columns = ["x", "f' by", "value", "difference", "relative", "tolerance", "verdict"]
    return Table("derivative", columns, rows)


def _formula_table(judgement: Judgement, digits: int) -> Table:
    columns = ["x", "formula", "f'", "verdict"]
    rows = [
        [_point(row.x), _text(row.formula, digits), _text(row.derivative, digits), row.verdict]
        for row in judgement.at
    ]
    return Table(f"formula {judgement.formula}", columns, rows)


def _count(lines: Sequence[JudgedLine]) -> str:
    """How many formulas there are of each verdict."""
    counts = Counter(line.verdict for line in lines)
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    return f"{len(lines)} formulas: {said}"


def rows(lines: Sequence[JudgedLine], row_format: str) -> str:
    """A header and a line for each formula as CSV, or a JSON object a line (`jsonl`)."""
    if row_format == "jsonl":
        return "".join(f"{line.model_dump_json()}\n" for line in lines)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in lines:
        bad = line.first_bad
        numbers = (None, None, None) if bad is None else (bad.x, bad.formula, bad.derivative)
        counts = line.num_points, line.num_bad
        shown = printable(line.formula)
        writer.writerow([line.line, line.verdict, shown, *counts, *numbers, line.meaning])
    return text.getvalue()


def _point(x: float) -> str:
    text = f"{x:.15g}"
    return text if float(text) == x else repr(x)


def _in_float32(x: float) -> str:
    """The x that float32 has in place of another, for the end of a line."""
    with np.errstate(over="ignore"):
        rounded = f"{np.float32(x):.9g}"
    return "" if rounded == f"{x:.9g}" else f"   (x in float32: {rounded})"


def _text(value: float | None, digits: int) -> str:
    # Adding 0 turns -0 into 0.
    return "–" if value is None else f"{value + 0:.{digits}g}"


def disagreements(results: Results) -> list[str]:
    """A line for each method, term or formula that is wrong."""
    lines = []
    for point in results.points:
        derivative: dict[str, float | None] = dict(point.derivative)
        lines += [
            f"{METHODS[name]} differs at x = {_point(point.x)}: "
            f"{derivative[name]} against {derivative[results.reference]}"
            for name, comparison in point.comparison
            if comparison is not None and not comparison.agrees and not comparison.undecided
        ]
    lines += [
        f"the term {term.term} = {term.formula} differs from autograd"
        for term in results.derivation
        if not (term.agrees or term.undecided)
    ]
    if results.formula is not None and not results.formula.agrees:
        lines.append(verdict(results.formula))
    return lines


def undecided(results: Results) -> list[str]:
    """A line for each point where a method does not decide f': rounding, overflow, no number."""
    lines = []
    for point in results.points:
        values: dict[str, float | None] = dict(point.derivative)
        reference = values[results.reference]
        lost: list[str] = []
        unbounded: list[str] = []
        without: list[str] = []
        for name, comparison in point.comparison:
            if comparison is None or not comparison.undecided:
                continue
            if values[name] is None:
                without.append(METHODS[name])
            elif comparison.tolerance is None:
                unbounded.append(METHODS[name])
            else:
                lost.append(f"{_text(comparison.tolerance, 2)} ({METHODS[name]})")
        if not (lost or unbounded or without):
            continue
        x = f"x = {_point(point.x)}"
        if reference is None:
            name = "SymPy" if results.reference == "symbolic" else "autograd"
            lines.append(f"f' at {x} cannot be told: {name} gives no finite number for it")
            continue
        reasons = [f"lost to rounding, the error may be {', '.join(lost)}"] if lost else []
        reasons += [f"the error has no bound ({'; '.join(unbounded)})"] if unbounded else []
        reasons += [f"no finite number comes out ({'; '.join(without)})"] if without else []
        lines.append(
            f"{results.dtype} cannot tell f' at {x}, which is {_text(reference, 6)}: "
            + ", and ".join(reasons)
        )
    return lines


def verdict(judgement: Judgement) -> str:
    """Whether a formula is the derivative, in a line."""
    checked = f"{judgement.num_points} points of the domain"
    meaning = f"; {judgement.meaning}" if judgement.meaning else ""
    said = f"formula {judgement.formula}: "
    if judgement.agrees:
        return f"{said}is the derivative at {checked}{meaning}"
    if judgement.verdict == "cannot tell":
        return f"{said}cannot tell{meaning}"
    if bad := judgement.first_bad:
        value, slope = _ten_digits(bad.formula), _ten_digits(bad.derivative)
        differs = f"{value} where the derivative is {slope}"
        if value == slope:
            differs = f"the formula and the derivative, {slope}, differ beyond these digits"
        meaning = f", such as x = {bad.x:.10g}: {differs}{meaning}"
    return f"{said}wrong at {judgement.num_bad} of {checked}{meaning}"


def _ten_digits(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.10g}"


# ---- as a figure


def draw(config: Config, results: Results) -> Mapping[str, Figure]:
    """Draw f with its tangents above, f' and a formula below, cut where the domain ends.

    Nothing is drawn where many formulas are judged.
    """
    if results.formulas:
        return {}
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6.5))
    # Set by hand: a layout engine draws everything twice, a good part of the whole command's time.
    margins = {"left": 0.12, "right": 0.97, "bottom": 0.08, "top": 0.95, "hspace": 0.08}
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw=margins)
    points, curve = results.points, results.curve
    slopes = [point.derivative.autograd for point in points]
    _draw_curve(above, curve.x, curve.f, [point.f for point in points], "f")
    _draw_curve(below, curve.x, curve.derivative, slopes, "f′")
    if curve.formula is not None:
        _draw_formula(below, curve.x, curve.formula, results.formula)
    low, high = config.range
    for point in points:
        _mark_point(above, below, point, 0.12 * (high - low), labelled=point is points[0])
    _mark_edges((above, below), results.domain, (low, high))
    above.set(ylabel="f(x)", xlim=(low, high))
    above.set_title(shortened(results.expression.strip(), 70), parse_math=False)
    below.set(ylabel="f′(x)", xlabel="x")
    for axes in (above, below):
        axes.ticklabel_format(axis="y", scilimits=(-3, 4))  # longer numbers have no room
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    return {"autodiff": figure}


def _draw_curve(
    axes: Axes, x: Values, values: Values, marked: Sequence[float | None], label: str
) -> None:
    """Cut what flattens the rest, such as the way to a pole, but not the marked values."""
    known = sorted(value for value in values if value is not None and abs(value) < LARGEST_DRAWN)
    shown = [value for value in marked if value is not None and abs(value) < LARGEST_DRAWN]
    if known:
        cut = len(known) // 100
        inner = [known[cut], known[-1 - cut], *shown]
        if known[-1] - known[0] < 3 * (max(inner) - min(inner)):
            inner = [known[0], known[-1], *shown]
        margin = 0.08 * (max(inner) - min(inner)) or 1.0
        low, high = min(inner) - margin, max(inner) + margin
        axes.set_ylim(low, high)
        # Clipped out of sight, because the layout overflows on values such as 1e308.
        values = [value and min(max(value, 2 * low - high), 2 * high - low) for value in values]
    xs, ys = ([math.nan if v is None else v for v in column] for column in (x, values))
    axes.plot(xs, ys, color="black", label=label)


def _draw_formula(axes: Axes, x: Values, values: Values, judgement: Judgement | None) -> None:
    """The formula over f′, within what f′ takes, and a point where it differs."""
    low, high = axes.get_ylim()
    shown = [math.nan if v is None else min(max(v, 2 * low - high), 2 * high - low) for v in values]
    xs = [math.nan if v is None else v for v in x]
    axes.plot(xs, shown, "--", color="tab:blue", label="formula")
    bad = None if judgement is None else judgement.first_bad
    if bad is not None and bad.formula is not None and low <= bad.formula <= high:
        axes.plot(
            [bad.x],
            [bad.formula],
            "x",
            color="tab:blue",
            label=f"formula({bad.x:.6g}) = {bad.formula:.6g}",
        )


def _mark_point(above: Axes, below: Axes, point: Point, reach: float, labelled: bool) -> None:
    """The point on both curves, and the tangent `reach` to both sides."""
    x, f, slope = point.x, point.f, point.derivative.autograd
    if max(abs(f), abs(slope or 0)) >= LARGEST_DRAWN:
        return
    label = f"f({x:.6g}) = {f:.6g}" if labelled else None
    above.plot([x], [f], "o", color="tab:red", zorder=3, label=label)
    if slope is None:
        return
    label = f"tangent, slope {slope:.6g}" if labelled else None
    heights = [f - slope * reach, f + slope * reach]
    above.plot([x - reach, x + reach], heights, "--", color="tab:red", label=label)
    label = f"f′({x:.6g}) = {slope:.6g}" if labelled else None
    below.plot([x], [slope], "o", color="tab:red", zorder=3, label=label)


def _mark_edges(
    panels: Sequence[Axes], domain: Sequence[Sequence[float]], ends: tuple[float, float]
) -> None:
    # Two pieces that meet at a pole have one edge between them.
    distinct = {float(f"{end:.12g}") for piece in domain for end in piece}
    edges = sorted(distinct.difference(ends))
    if not edges:
        return
    name = f"edge of the domain, x = {edges[0]:.6g}" if len(edges) == 1 else "edges of the domain"
    # In one line: a function may have thousands of edges.
    xs = [x for edge in edges for x in (edge, edge, math.nan)]
    ys = [0.0, 1.0, math.nan] * len(edges)
    for axes in panels:
        across = axes.get_xaxis_transform()
        axes.plot(xs, ys, color="grey", linestyle=":", transform=across, label=name)
