"""Part 1: the derivative of a function of one variable, by methods that check each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field, field_validator

from midterm_cli.errors import UserError
from midterm_cli.experiment import (
    Context,
    Coordinate,
    ExperimentConfig,
    Output,
    Range,
    Table,
)
from midterm_cli.part1.compare import (
    METHODS,
    compare_methods,
    gradcheck,
    max_relative_error,
)
from midterm_cli.part1.derivation import check_terms, to_align
from midterm_cli.part1.derivative import DIGITS, chain_rule, partial_derivatives, reverse_mode
from midterm_cli.part1.domain import intervals, locate
from midterm_cli.part1.expression import Program, evaluate_program, finite
from midterm_cli.part1.judge import judge, sample
from midterm_cli.part1.parse import MAX_LENGTH, parse, parse_program

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Config(ExperimentConfig):
    """What is differentiated, where, and in which arithmetic."""

    dtype: Literal["float64", "float32"] = Field(
        description="arithmetic of every method but the symbolic one"
    )
    expression: str = Field(
        max_length=MAX_LENGTH,
        description="function of x; named intermediates before it, separated by semicolons",
    )
    x: Coordinate | list[Coordinate] = Field(description="one point, or a list of up to 100")
    formula: str | None = Field(
        max_length=MAX_LENGTH,
        description="a derivative to be judged, in x and the intermediates; null for none",
    )
    range: Range = Field(
        description="[low, high]: the figure's axis, and where a formula is judged"
    )
    num_points: int = Field(
        ge=11,
        le=10_001,
        description="points of the figure, and of the judgement of a formula",
    )
    symbolic: Literal["builtin", "sympy"] = Field(
        description="who differentiates for the symbolic method"
    )

    @field_validator("x")
    @classmethod
    def _count_points(cls, x: float | list[float]) -> float | list[float]:
        if isinstance(x, list) and not 1 <= len(x) <= 100:
            raise ValueError(f"must hold 1 to 100 points, got {len(x)}")
        return x


def run(config: Config, context: Context) -> Output:
    """Differentiate by every method and compare.

    Results: x, f and derivative are numbers for one x and lists for a list of them; `points` is
    always a list, and holds intermediates, tolerances and verdicts besides.
    """
    program = parse_program(config.expression)
    formula = None
    if config.formula is not None:
        formula = parse(config.formula, ["x", *(step.name for step in program[:-1])])
    dtype: torch.dtype = getattr(torch, config.dtype)
    given = config.x if isinstance(config.x, list) else [config.x]
    places = [locate(program, x, dtype) for x in given]
    low, high = config.range
    pieces = intervals(program, low, high, config.num_points)
    if formula is not None and not pieces:
        raise UserError(
            f"the formula cannot be judged: f is defined nowhere in range = {config.range}\n"
            "give a range that holds a part of its domain"
        )

    at = torch.tensor([place.at for place in places], dtype=dtype, device=context.device)
    points = compare_methods(program, places, at, by_sympy=config.symbolic == "sympy")
    regular = at[[i for i, place in enumerate(places) if place.note is None]]
    partials = partial_derivatives(program, regular)
    totals = chain_rule(program, partials, regular)
    results = {
        "expression": config.expression,
        "dtype": config.dtype,
        "symbolic": config.symbolic,
        **_by_key(points, single=not isinstance(config.x, list)),
        "max_relative_error": max_relative_error(points),
        "latex": to_align(program, partials),
        "derivation": check_terms(program, partials, totals, regular),
        "points": points,
        "gradcheck": gradcheck(program, regular),
        "formula": formula
        and judge(formula, program, sample(pieces, config.num_points, config.seed)),
        "domain": pieces,
        "curve": _curve(program, pieces, config.num_points),
    }
    wrong = _disagreements(results)
    notes = [point["note"] for point in points if point["note"]]
    if not results["gradcheck"]["passed"]:
        notes.append(f"torch.autograd.gradcheck rejects f: {results['gradcheck']['reason']}")
    return Output(results, failed=bool(wrong), warnings=[*notes, *wrong])


def _by_key(points: Sequence[Mapping[str, Any]], single: bool) -> dict[str, Any]:
    """Give x, f and derivative as lists over the points, or as numbers for one point."""

    def column(values: list[Any]) -> Any:
        return values[0] if single else values

    return {
        "x": column([point["x"] for point in points]),
        "f": column([point["f"] for point in points]),
        "derivative": {
            name: column([point["derivative"][name] for point in points]) for name in METHODS
        },
    }


def _disagreements(results: Mapping[str, Any]) -> list[str]:
    """A line for each method, term or formula that is wrong."""
    lines = [
        f"{METHODS[name]} differs at x = {point['x']:.15g}: "
        f"{point['derivative'][name]} against {point['derivative']['symbolic']}"
        for point in results["points"]
        for name, comparison in point["comparison"].items()
        if not comparison["agrees"]
    ]
    lines += [
        f"the term {term['term']} = {term['formula']} differs from autograd"
        for term in results["derivation"]
        if not term["agrees"]
    ]
    judgement = results["formula"]
    return lines if judgement is None or judgement["agrees"] else [*lines, _verdict(judgement)]


def _verdict(judgement: Mapping[str, Any]) -> str:
    checked = f"{judgement['num_points']} points of the domain"
    if judgement["agrees"]:
        return f"formula {judgement['formula']}: is the derivative at {checked}"
    bad = judgement["first_bad"]
    value = "undefined" if bad["formula"] is None else f"{bad['formula']:.10g}"
    meaning = f"; {judgement['meaning']}" if judgement["meaning"] else ""
    return (
        f"formula {judgement['formula']}: wrong at {judgement['num_bad']} of {checked}, first at "
        f"x = {bad['x']:.10g}: {value} where the derivative is {bad['derivative']:.10g}{meaning}"
    )


def _curve(
    program: Program, pieces: list[list[float]], num_points: int
) -> dict[str, list[float | None]]:
    """Sample f and f' over each piece of the domain, with a None between two pieces."""
    total = sum(high - low for low, high in pieces)
    parts = [
        torch.linspace(
            low,
            high,
            2 + round(num_points * (high - low) / total) if total else 1,
            dtype=torch.float64,
        )
        for low, high in pieces
    ]
    # In one tensor: a function may have thousands of pieces.
    x = torch.cat([torch.empty(0, dtype=torch.float64), *parts])
    columns = {
        "x": x,
        "f": evaluate_program(program, x)[program[-1].name],
        "derivative": reverse_mode(program, x),
    }
    curve: dict[str, list[float | None]] = {}
    for key, column in columns.items():
        curve[key] = []
        for part in column.split([len(part) for part in parts]):
            curve[key] += [*([None] if curve[key] else []), *map(finite, part.tolist())]
    return curve


def summarize(results: Mapping[str, Any]) -> Sequence[Table | str]:
    """The terms of the chain rule, the methods side by side, and the verdicts."""
    digits, short = (15, 13) if results["dtype"] == "float64" else (8, 5)
    shown: list[Table | str] = []
    point = next((point for point in results["points"] if point["comparison"]), None)
    if point is not None:
        shown.append(_derivation_table(results["derivation"], point, digits))
    by = {"symbolic": f"symbolic ({results['symbolic']}), {DIGITS} digits"}
    shown.append(_method_table(results["points"], METHODS | by, digits))
    for point in results["points"]:
        x = f"{point['x']:.15g}"
        f, slope = (_text(value, short) for value in (point["f"], point["derivative"]["autograd"]))
        shown.append(f"f({x}) = {f}   f'({x}) = {slope}")
        if difference := point["finite_difference"]:
            step, error = (_text(difference[key], 3) for key in ("step", "error_estimate"))
            shown.append(
                f"finite differences at {x}: smallest step {step}, estimated error {error}"
            )
    if (judgement := results["formula"]) and judgement["agrees"]:
        shown.append(_verdict(judgement))
    return shown


def _derivation_table(
    derivation: Sequence[Mapping[str, Any]], point: Mapping[str, Any], digits: int
) -> Table:
    rows = [
        [name, "", _text(value, digits), "", ""] for name, value in point["intermediates"].items()
    ]
    for term in derivation:
        numbers = (_text(term[key][0], digits) for key in ("value", "autograd"))
        agrees = "agrees" if term["agrees"] else "DIFFERS"
        rows.append([term["term"], term["formula"], *numbers, agrees])
    columns = ["term", "formula", "value", "autograd", "verdict"]
    return Table(f"chain rule at x = {point['x']:.15g}", columns, rows)


def _method_table(
    points: Sequence[Mapping[str, Any]], titles: Mapping[str, str], digits: int
) -> Table:
    rows = []
    for point in points:
        for name, title in titles.items():
            row = [f"{point['x']:.15g}", title, _text(point["derivative"][name], digits)]
            if comparison := point["comparison"].get(name):
                numbers = (comparison[key] for key in ("difference", "relative", "tolerance"))
                agrees = "agrees" if comparison["agrees"] else "DIFFERS"
                row += [*(_text(number, 2) for number in numbers), agrees]
            else:
                taken = point["derivative"][name] is not None
                row += ["", "", "", "reference" if taken else "not taken"]
            rows.append(row)
    columns = ["x", "f' by", "value", "difference", "relative", "tolerance", "verdict"]
    return Table("derivative", columns, rows)


def _text(value: float | None, digits: int) -> str:
    # Adding 0 turns -0 into 0.
    return "–" if value is None else f"{value + 0:.{digits}g}"


LARGEST_DRAWN = 1e300
"""Beyond it the arithmetic of the figure itself overflows."""


def draw(config: Config, results: Mapping[str, Any]) -> Mapping[str, Figure]:
    """Draw f with its tangents above, f' below, cut where the domain ends."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6.5))
    # Set by hand: a layout engine draws everything twice, a good part of the whole command's time.
    margins = {"left": 0.12, "right": 0.97, "bottom": 0.08, "top": 0.95, "hspace": 0.08}
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw=margins)
    points, curve = results["points"], results["curve"]
    slopes = [point["derivative"]["autograd"] for point in points]
    _draw_curve(above, curve["x"], curve["f"], [point["f"] for point in points], "f")
    _draw_curve(below, curve["x"], curve["derivative"], slopes, "f′")
    low, high = config.range
    for point in points:
        _mark_point(above, below, point, 0.12 * (high - low), labelled=point is points[0])
    _mark_edges((above, below), results["domain"], (low, high))
    title = results["expression"].strip()
    title = title if len(title) <= 70 else f"{title[:70]}…"
    above.set(ylabel="f(x)", xlim=(low, high), title=title)
    below.set(ylabel="f′(x)", xlabel="x")
    for axes in (above, below):
        axes.ticklabel_format(axis="y", scilimits=(-3, 4))  # longer numbers have no room
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    return {"autodiff": figure}


def _draw_curve(
    axes: Axes,
    x: Sequence[float | None],
    values: Sequence[float | None],
    marked: Sequence[float | None],
    label: str,
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


def _mark_point(
    above: Axes, below: Axes, point: Mapping[str, Any], reach: float, labelled: bool
) -> None:
    """The point on both curves, and the tangent `reach` to both sides."""
    x, f, slope = point["x"], point["f"], point["derivative"]["autograd"]
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
