"""Whether a formula is the derivative of a function, and if not, what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from midterm_cli.errors import UserError
from midterm_cli.part1.autodiff.schema import Counterexample, Judgement
from midterm_cli.part1.derivative import reverse_mode
from midterm_cli.part1.domain import undefined_term
from midterm_cli.part1.expression import (
    Binary,
    Expr,
    Negative,
    Program,
    Step,
    children,
    evaluate,
    evaluate_program,
    finite,
    slope_in_x,
    torch_arithmetic,
    with_children,
)
from midterm_cli.part1.printing import to_latex, to_text
from midterm_cli.part1.rounding import ROUNDING_FACTOR, rounding_bound

RELATIVE_TOLERANCE = 1e-9
"""Allowed beside rounding: room for constants that were typed with ten digits."""


def sample(pieces: Sequence[Sequence[float]], num_points: int, seed: int) -> Tensor:
    """Points of the domain, ascending: one at random in each of `num_points` equal parts.

    Random, because a grid can meet the zeros of a wrong term; kept 1e-6 of a piece away from its
    ends, where derivatives may be unbounded.
    """
    generator = torch.Generator().manual_seed(seed)
    jitter = torch.rand(num_points, dtype=torch.float64, generator=generator)
    position = (torch.arange(num_points) + jitter) / num_points
    lengths = torch.tensor([high - low for low, high in pieces], dtype=torch.float64)
    ends = (lengths / lengths.sum()).cumsum(0)
    piece = torch.searchsorted(ends, position).clamp(max=len(pieces) - 1)
    starts = torch.cat([torch.zeros(1, dtype=torch.float64), ends[:-1]])
    within = ((position - starts[piece]) / (ends - starts)[piece]).clamp(1e-6, 1 - 1e-6)
    low = torch.tensor([low for low, _ in pieces], dtype=torch.float64)
    return low[piece] + within * lengths[piece]


def judge(formula: Expr, program: Program, x: Tensor) -> Judgement:
    """Compare a formula with f' by autograd at many points, in float64.

    Args:
        formula: in x and the program's intermediates.
        program: the function.
        x: points of the domain, ascending, float64; where f' is not a finite number, nothing is
            judged.

    Raises:
        UserError: f' is not a finite number at any of the points.
    """
    slope = reverse_mode(program, x)
    known = slope.isfinite()
    if not bool(known.any()):
        raise UserError(
            "the formula cannot be judged: f' is not a finite number anywhere in the range\n"
            "give another range, or leave the formula out"
        )
    x, slope = x[known], slope[known]
    value, bad = _compare(formula, program, x, slope)
    difference = (value - slope).abs() / slope.abs()
    difference = difference[difference.isfinite()]
    return Judgement(
        formula=to_text(formula),
        latex=to_latex(formula),
        agrees=not bool(bad.any()),
        num_points=len(x),
        num_bad=int(bad.sum()),
        max_relative_difference=float(difference.max()) if len(difference) else None,
        first_bad=_first_bad(x, value, slope, bad) if bad.any() else None,
        meaning=_meaning(formula, program, x, slope, value, bad) if bad.any() else None,
    )


def _compare(formula: Expr, program: Program, x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """The formula's values, and where they differ from `slope` by more than rounding explains."""
    values = evaluate_program(program, x)
    value = evaluate(formula, values, torch_arithmetic(x)).expand_as(x)
    bounds: dict[str, tuple[Tensor, Tensor]] = {"x": (x, torch.zeros_like(x))}
    for step in program:
        bounds[step.name] = rounding_bound(step.expr, bounds, x.dtype)
    rounding = rounding_bound(formula, bounds, x.dtype)[1]
    rounding = rounding + rounding_bound(slope_in_x(program), bounds, x.dtype)[1]
    tolerance = RELATIVE_TOLERANCE * slope.abs() + ROUNDING_FACTOR * rounding.nan_to_num(0.0)
    # Written so that NaN counts as a disagreement.
    return value, ~((value - slope).abs() <= tolerance)


def _first_bad(x: Tensor, value: Tensor, slope: Tensor, bad: Tensor) -> Counterexample:
    i = int(bad.int().argmax())
    return Counterexample(
        x=float(x[i]), formula=finite(float(value[i])), derivative=float(slope[i])
    )


def _meaning(
    formula: Expr, program: Program, x: Tensor, slope: Tensor, value: Tensor, bad: Tensor
) -> str | None:
    first = float(x[int(bad.int().argmax())])
    if undefined := undefined_term((*program, Step("the formula", formula)), first):
        condition, argument = undefined
        return (
            f"{to_text(condition.term)} is undefined there: "
            f"{to_text(condition.argument)} = {argument:.6g} must be {condition.requirement}"
        )
    if (ratio := _common_value(value / slope)) is not None:
        return f"it is {ratio:.6g} times the derivative at every point"
    if (offset := _common_value(value - slope)) is not None:
        return f"it is the derivative plus {offset:.6g} at every point"
    values, near = evaluate_program(program, x), 1e-6 * slope.abs().max()
    for changed in _one_sign_changed(formula):
        # The values alone rule out nearly all of hundreds of changes, without their rounding.
        guess = evaluate(changed, values, torch_arithmetic(x))
        if not bool(((guess - slope).abs() <= near).all()):
            continue
        if not _compare(changed, program, x, slope)[1].any():
            return f"with one sign changed it agrees: {to_text(changed)}"
    return None


def _common_value(values: Tensor) -> float | None:
    """The number that all `values` share, or None."""
    middle = values.median()
    same = (values - middle).abs() <= 1e-7 * middle.abs()
    return float(middle) if bool(same.all()) else None


def _one_sign_changed(expr: Expr) -> Iterator[Expr]:
    """Every expression that differs from `expr` in one plus or minus."""
    match expr:
        case Binary("+", left, right):
            yield Binary("-", left, right)
        case Binary("-", left, right):
            yield Binary("+", left, right)
        case Negative(argument):
            yield argument
    operands = children(expr)
    for i, operand in enumerate(operands):
        for changed in _one_sign_changed(operand):
            yield with_children(expr, (*operands[:i], changed, *operands[i + 1 :]))
