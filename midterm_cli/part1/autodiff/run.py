"""Differentiate by every method, compare them, judge a formula, and sample the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
from midterm_cli.part1.autodiff.show import disagreements
from midterm_cli.part1.derivation import check_terms, to_align
from midterm_cli.part1.derivative import (
    SymbolicError,
    chain_rule,
    partial_derivatives,
    reverse_mode,
    symbolic,
)
from midterm_cli.part1.domain import intervals, locate
from midterm_cli.part1.expression import Program, as_function, finite
from midterm_cli.part1.gradcheck import gradcheck
from midterm_cli.part1.judge import judge
from midterm_cli.part1.methods import compare_methods, max_relative_error
from midterm_cli.part1.parse import parse, parse_program
from midterm_cli.part1.reference import Reference
from midterm_cli.part1.samples import sample


def run(config: Config, context: Context) -> Output:
    """Differentiate by every method and compare.

    Raises:
        UserError: an expression cannot be parsed, a point is outside the domain, or there is no
            domain to judge the formula on.
    """
    program = parse_program(config.expression)
    formula = None
    if config.formula is not None:
        formula = parse(config.formula, ["x", *(step.name for step in program[:-1])])
    dtype: torch.dtype = getattr(torch, config.dtype)
    places = [locate(program, x, dtype) for x in _points(config)]
    low, high = config.range
    pieces = intervals(program, low, high, config.num_points)
    if formula is not None and not pieces:
        raise UserError(
            f"the formula cannot be judged: f is defined nowhere in range = {config.range}\n"
            "give a range that holds a part of its domain"
        )

    at = torch.tensor([place.at for place in places], dtype=dtype, device=context.device)
    regular = [i for i, place in enumerate(places) if place.note is None]
    exact, symbolic_note = _symbolic(program, at, regular)
    points = compare_methods(program, places, at, exact)
    partials = partial_derivatives(program, at[regular])
    totals = chain_rule(program, partials, at[regular])
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
        derivation=check_terms(program, partials, totals, at[regular]),
        points=points,
        gradcheck=gradcheck(program, at[regular]),
        formula=None
        if formula is None
        else judge(
            formula,
            Reference(program),
            sample(pieces, config.num_points, config.seed),
            [place.x for place in places],
        ),
        domain=pieces,
        curve=sample_curve(program, pieces, config.num_points),
    )
    wrong = disagreements(results)
    notes = [point.note for point in points if point.note is not None]
    if symbolic_note is not None:
        notes.append(f"SymPy does not differentiate f, the reference is autograd: {symbolic_note}")
    if not results.gradcheck.passed:
        notes.append(f"torch.autograd.gradcheck rejects f: {results.gradcheck.reason}")
    return Output(results, failed=bool(wrong), warnings=[*notes, *wrong])


def _points(config: Config) -> list[float]:
    return config.x if isinstance(config.x, list) else [config.x]


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


def sample_curve(program: Program, pieces: Sequence[Sequence[float]], num_points: int) -> Curve:
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
    lengths = [len(part) for part in parts]
    return Curve(
        x=_with_gaps(x, lengths),
        f=_with_gaps(as_function(program)(x), lengths),
        derivative=_with_gaps(reverse_mode(program, x), lengths),
    )


def _with_gaps(values: Tensor, lengths: list[int]) -> Values:
    """The values in pieces of these lengths, with a None between two of them."""
    found: Values = []
    for piece in values.split(lengths):
        found += [*([None] if found else []), *map(finite, piece.tolist())]
    return found
