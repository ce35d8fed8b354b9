"""Differentiate a function by every method, compare, and judge a formula."""

from __future__ import annotations

import torch

from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Output
from midterm_cli.part1.autodiff.schema import (
    METHODS,
    Config,
    Curve,
    Derivative,
    Results,
)
from midterm_cli.part1.autodiff.show import verdict
from midterm_cli.part1.derivation import check_terms, to_align
from midterm_cli.part1.derivative import (
    MAX_SYMPY_NESTING,
    chain_rule,
    partial_derivatives,
    reverse_mode,
)
from midterm_cli.part1.domain import intervals, locate
from midterm_cli.part1.expression import Program, evaluate_program, finite
from midterm_cli.part1.judge import judge, sample
from midterm_cli.part1.methods import compare_methods, gradcheck, max_relative_error
from midterm_cli.part1.parse import parse, parse_program


def run(config: Config, context: Context) -> Output:
    """Differentiate by every method and compare.

    Raises:
        UserError: the expression or the formula cannot be read, x is outside the domain, or a
            formula is to be judged where f is defined nowhere.
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
    points = compare_methods(program, places, at)
    regular = at[[i for i, place in enumerate(places) if place.note is None]]
    partials = partial_derivatives(program, regular)
    totals = chain_rule(program, partials, regular)
    checked = gradcheck(program, regular)

    single = not isinstance(config.x, list)
    slopes = {name: [getattr(point.derivative, name) for point in points] for name in METHODS}
    results = Results(
        expression=config.expression,
        dtype=config.dtype,
        x=config.x,
        f=points[0].f if single else [point.f for point in points],
        derivative=Derivative(
            **{name: column[0] if single else column for name, column in slopes.items()}
        ),
        max_relative_error=max_relative_error(points),
        latex=to_align(program, partials),
        derivation=check_terms(program, partials, totals, regular),
        points=points,
        gradcheck=checked,
        formula=formula and judge(formula, program, sample(pieces, config.num_points, config.seed)),
        domain=pieces,
        curve=_curve(program, pieces, config.num_points),
    )
    wrong = _disagreements(results)
    notes = [point.note for point in points if point.note]
    if any(point.reference is not None for point in points):
        notes.append(
            f"SymPy is not given f, which has more than {MAX_SYMPY_NESTING} functions or powers "
            "inside each other: the methods are checked against the chain rule with 30 digits"
        )
    if not checked.passed:
        notes.append(f"torch.autograd.gradcheck rejects f: {checked.reason}")
    return Output(results, failed=bool(wrong), warnings=[*notes, *wrong])


def _disagreements(results: Results) -> list[str]:
    """A line for each method, term or formula that is wrong."""
    lines = [
        f"{METHODS[name]} differs at x = {point.x:.15g}: {getattr(point.derivative, name)} "
        f"against {point.derivative.symbolic if point.reference is None else point.reference}"
        for point in results.points
        for name, agreement in point.comparison.items()
        if not agreement.agrees
    ]
    lines += [
        f"the term {term.term} = {term.formula} differs from autograd"
        for term in results.derivation
        if not term.agrees
    ]
    judgement = results.formula
    return lines if judgement is None or judgement.agrees else [*lines, verdict(judgement)]


def _curve(program: Program, pieces: list[list[float]], num_points: int) -> Curve:
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
    return Curve(**curve)
