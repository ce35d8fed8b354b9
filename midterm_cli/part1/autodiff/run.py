"""Differentiate by every method, compare them, judge a formula, and sample the curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Output
from midterm_cli.part1.autodiff.schema import (
    Config,
    Curve,
    Derivative,
    Point,
    Results,
    Values,
)
from midterm_cli.part1.autodiff.show import disagreements, undecided
from midterm_cli.part1.derivation import check_terms, to_align
from midterm_cli.part1.derivative import (
    SymbolicError,
    chain_rule,
    partial_derivatives,
    reverse_mode,
    symbolic,
)
from midterm_cli.part1.domain import Place, intervals, locate
from midterm_cli.part1.exponents import with_whole_exponents
from midterm_cli.part1.expression import (
    Expr,
    Program,
    as_function,
    evaluate,
    evaluate_program,
    finite,
    torch_arithmetic,
)
from midterm_cli.part1.gradcheck import gradcheck
from midterm_cli.part1.judge import judge
from midterm_cli.part1.lines import judge_line, read_lines
from midterm_cli.part1.methods import compare_methods, max_relative_error
from midterm_cli.part1.parse import parse_derivative, parse_program
from midterm_cli.part1.reference import Reference, value_at
from midterm_cli.part1.samples import near_ends, sample


def run(config: Config, context: Context) -> Output:
    """Differentiate by every method and compare.

    Raises:
        UserError: an expression cannot be parsed, a point is outside the domain, or there is no
            domain to judge the formula on.
    """
    program = parse_program(config.expression)
    known = ["x", *(step.name for step in program[:-1])]
    formula = None
    if config.formula is not None:
        formula = with_whole_exponents(parse_derivative(config.formula, known), program[:-1])
    lines = [] if config.formulas is None else read_lines(Path(config.formulas))
    dtype: torch.dtype = getattr(torch, config.dtype)
    places = [locate(program, x, dtype) for x in _points(config)]
    low, high = config.range
    pieces = intervals(program, low, high, config.num_points)
    reference, judged_at = Reference(program), torch.empty(0, dtype=torch.float64)
    if formula is not None or lines:
        judged_at = _points_to_judge(pieces, config)

    at = torch.tensor([place.at for place in places], dtype=dtype, device=context.device)
    regular = [i for i, place in enumerate(places) if place.note is None]
    exact, symbolic_note = _symbolic(program, at, regular)
    f = _values(program, places)
    points = compare_methods(program, places, at, exact, f)
    partials = partial_derivatives(program, at[regular])
    totals = chain_rule(program, partials, at[regular])
    is_edge = at.new_tensor([places[i].is_edge for i in regular], dtype=torch.bool)
    single = not isinstance(config.x, list)
    results = Results(
        expression=config.expression,
        dtype=config.dtype,
        reference="autograd" if exact is None else "symbolic",
        symbolic_note=symbolic_note,
        x=points[0].x if single else [point.x for point in points],
        f=points[0].f if single else [point.f for point in points],
        derivative=_by_method(points, single),
        max_relative_error=max_relative_error(points),
        latex=to_align(program, partials),
        derivation=check_terms(program, partials, totals, at[regular], is_edge),
        points=points,
        gradcheck=gradcheck(program, at[regular]),
        formula=None if formula is None else judge(formula, reference, judged_at, _points(config)),
        formulas=[judge_line(line, known, reference, judged_at, _points(config)) for line in lines],
        domain=pieces,
        curve=sample_curve(program, pieces, config.num_points, formula),
    )
    wrong = disagreements(results)
    notes = [point.note for point in points if point.note is not None]
    if symbolic_note is not None:
        notes.append(f"SymPy does not differentiate f, the reference is autograd: {symbolic_note}")
    notes += undecided(results)
    if not results.gradcheck.passed:
        notes.append(f"torch.autograd.gradcheck rejects f: {results.gradcheck.reason}")
    failed = bool(wrong) or any(line.verdict != "right" for line in results.formulas)
    return Output(results, failed=failed, warnings=[*notes, *wrong])


def _points(config: Config) -> list[float]:
    return config.x if isinstance(config.x, list) else [config.x]


def _points_to_judge(pieces: Sequence[Sequence[float]], config: Config) -> Tensor:
    """Points all over the domain, and towards its ends."""
    wide = [piece for piece in pieces if piece[0] < piece[1]]
    if not wide:
        where = "at single points only" if pieces else "nowhere"
        raise UserError(
            f"the formula cannot be judged: f is defined {where} in range = {config.range}\n"
            "give a range that holds a part of its domain"
        )
    points = torch.cat([sample(wide, config.num_points, config.seed), near_ends(wide)])
    return points.sort().values


def _values(program: Program, places: Sequence[Place]) -> list[float]:
    """Compute f at each place: the nearest float64; where it is not known so closely, in float64.

    Raises:
        UserError: it is too large for float64.
    """
    computed = as_function(program)(
        torch.tensor([place.at for place in places], dtype=torch.float64)
    )
    found = []
    for place, in_float64 in zip(places, computed.tolist(), strict=True):
        value = value_at(program, place.at)
        value = in_float64 if value is None else value
        if not math.isfinite(value):
            raise UserError(f"f is too large for float64 at x = {place.x:.15g}: take another x")
        found.append(value)
    return found


def _symbolic(
    program: Program, at: Tensor, regular: Sequence[int]
) -> tuple[Mapping[int, float | None] | None, str | None]:
    """The derivative by SymPy at the points `regular`, or else why there is none."""
    try:
        values = symbolic(program, at[regular].tolist())
    except SymbolicError as error:
        return None, str(error)
    return dict(zip(regular, values, strict=True)), None


def _by_method(points: Sequence[Point], single: bool) -> Derivative:
    columns = {
        name: [dict(point.derivative)[name] for point in points] for name in Derivative.model_fields
    }
    if single:
        return Derivative(**{name: values[0] for name, values in columns.items()})
    return Derivative(**columns)


def sample_curve(
    program: Program,
    pieces: Sequence[Sequence[float]],
    num_points: int,
    formula: Expr | None = None,
) -> Curve:
    """Sample f, f' and a formula over each piece of the domain, with a None between two pieces."""
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
    lengths = [len(part) for part in parts]
    return Curve(
        x=_with_gaps(x, lengths),
        f=_with_gaps(as_function(program)(x), lengths),
        derivative=_with_gaps(reverse_mode(program, x), lengths),
        formula=None
        if formula is None
        else _with_gaps(
            evaluate(formula, evaluate_program(program, x), torch_arithmetic(x)).expand_as(x),
            lengths,
        ),
    )


def _with_gaps(values: Tensor, lengths: list[int]) -> Values:
    """The values in pieces of these lengths, with a None between two of them."""
    found: Values = []
    for piece in values.split(lengths):
        found += [*([None] if found else []), *map(finite, piece.tolist())]
    return found
