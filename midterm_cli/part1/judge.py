"""Whether a formula is the derivative of a function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import sympy
from torch import Tensor

from midterm_cli.errors import UserError
from midterm_cli.part1.autodiff.schema import Counterexample, FormulaPoint, Judgement
from midterm_cli.part1.derivative import as_sympy
from midterm_cli.part1.domain import undefined_term
from midterm_cli.part1.exact import (
    DIGITS,
    last_digit,
    significant_digits,
)
from midterm_cli.part1.expression import (
    Binary,
    Expr,
    Program,
    Step,
    children,
    finite,
    integer,
    slope_by,
)
from midterm_cli.part1.hidden import hidden_part
from midterm_cli.part1.literals import explained, literals
from midterm_cli.part1.mistakes import recognise
from midterm_cli.part1.printing import to_latex, to_text
from midterm_cli.part1.reference import Found, Reference, compare_at
from midterm_cli.part1.samples import turning_points

_MANY_DIGITS, _FEW_DIGITS = 10, 3
"""A constant with many digits is what rounds to it. One with few may be meant so, or not; one with
fewer still is meant as it stands: 0.5; as is one that the function has, too."""
_MANY = {"share": 1e-8, "left": 1e-6}
_FEW = {"share": 0.03, "left": 0.03}
"""What such constants may change, as a share of f', and what may be left then: more, and they could
hide any mistake."""
_NUM_TRIED = 15
"""Points at which the usual mistakes are tried, and of those where the formula is wrong."""
_NUM_CLOSER = 60
"""Points at which even a formula that seems to be right is compared with all digits."""
_LONGEST_PROVEN = 100
"""Operations of a difference that SymPy is asked to expand: the terms may double with each."""
_PERIODIC = sympy.sin, sympy.cos, sympy.tan, sympy.sinh, sympy.cosh, sympy.tanh
"""Along the real or the imaginary axis: the functions that are made of exponentials."""


def judge(formula: Expr, reference: Reference, x: Tensor, at: Sequence[float] = ()) -> Judgement:
    """Compare a formula with f' all over the domain.

    Args:
        formula: in x and the program's intermediates.
        reference: the function.
        x: points of the domain, ascending, float64; more are added where the formula turns.
        at: further points. What is isolated may lie there: a formula that is only undefined at
            one of them is right.

    Raises:
        UserError: f' is not defined at any point of `x`.
    """
    rows = [compare_at(formula, reference, point) for point in at]
    found = [compare_at(formula, reference, point) for point in x.tolist()]
    # One that differs may do so by the digits of its constants, but for what shows there.
    if not _bad(found) or any(_is_rounded(text) for text in literals(formula)):
        closer = turning_points([formula], reference.program, x).tolist()
        found += [compare_at(formula, reference, point) for point in closer]
    found += [row for row in rows if row.verdict == "different"]
    found.sort(key=lambda point: point.x)
    judged = [point for point in found if point.verdict != "not judged"]
    if not judged:
        raise UserError(
            "the formula cannot be judged: f' is not defined anywhere in the range\n"
            "give another range, or leave the formula out"
        )
    if not _bad(judged):
        judged = _closer(formula, reference, judged)
    bad = _bad(judged)
    unsure = [point for point in judged if point.verdict == "cannot tell"]
    if bad:
        verdict, meaning = _of_a_difference(formula, reference, judged, bad)
        if verdict == "right":  # to the digits of its constants
            bad, rows = [], [_as_equal(row) for row in rows]
    else:
        meaning = _doubt(formula, reference, judged, unsure)
        verdict = "cannot tell" if meaning else "right"
    return Judgement(
        formula=to_text(formula),
        latex=to_latex(formula),
        agrees=verdict == "right",
        verdict=verdict,
        num_points=len(judged),
        num_bad=len(bad),
        num_unsure=len(unsure),
        max_relative_difference=_largest_relative_difference(judged),
        first_bad=_counterexample([*_bad(rows), *bad]) if bad else None,
        meaning=meaning,
        at=[
            FormulaPoint(x=row.x, formula=row.value, derivative=row.slope, verdict=row.verdict)
            for row in rows
        ],
    )


def _is_rounded(text: str) -> bool:
    """Whether a literal may have been rounded."""
    return significant_digits(text) >= _FEW_DIGITS


def _as_equal(row: Found) -> Found:
    return replace(row, verdict="equal") if row.verdict == "different" else row


def _bad(found: Sequence[Found]) -> list[Found]:
    return [point for point in found if point.verdict in ("different", "undefined")]


def _closer(formula: Expr, reference: Reference, judged: Sequence[Found]) -> list[Found]:
    """Look for a difference with all digits: where a part is hidden everywhere, else at some."""
    if any(point.verdict != "equal" for point in judged) or _hidden(formula, reference, judged, 0):
        again = list(judged)
    else:
        again = list(judged[:: 1 + len(judged) // _NUM_CLOSER])
    closer = [compare_at(formula, reference, point.x, DIGITS[-1:]) for point in again]
    found = {point.x: point for point in _bad(closer)}
    return [found.get(point.x, point) for point in judged]


def _hidden(
    formula: Expr, reference: Reference, judged: Sequence[Found], level: int
) -> Expr | None:
    """A part of the formula or of f' that DIGITS[level] digits show at none of the points."""
    points = [point.x for point in judged if point.verdict == "equal"]
    exprs = formula, slope_by(reference.program, "x")
    parts = (hidden_part(expr, reference, points, DIGITS[level]) for expr in exprs)
    return next((part for part in parts if part is not None), None)


def _doubt(
    formula: Expr, reference: Reference, judged: Sequence[Found], unsure: Sequence[Found]
) -> str | None:
    """What leaves it open whether a formula is right that differs nowhere, or None."""
    if unsure:
        doubt = f"{DIGITS[-1]} digits do not decide it at {len(unsure)} of {len(judged)} points"
    elif hidden := _hidden(formula, reference, judged, -1):
        doubt = f"{to_text(hidden)} is too small to be seen at any of {len(judged)} points"
    else:
        return None
    # With numbers that are too large to be computed SymPy might work for ever.
    is_computed = any(point.value is not None for point in judged)
    return None if is_computed and _is_proven(formula, reference.program) else doubt


def _is_proven(formula: Expr, program: Program) -> bool:
    """Whether SymPy finds that the difference from f' is 0; a long one is not tried.

    By writing it as a polynomial in exponentials, roots and logarithms: `sympy.simplify`, which
    proves the same, may take minutes for the product of two sines.
    """
    difference = Binary("-", formula, slope_by(program, "x"))
    if _num_written_out(difference) > _LONGEST_PROVEN:
        return False
    try:
        in_exponentials = as_sympy(difference, program[:-1]).rewrite(_PERIODIC, sympy.exp)
        numerator = sympy.numer(sympy.together(in_exponentials))
        return bool(sympy.expand(numerator) == 0)
    except (ValueError, NotImplementedError, OverflowError, MemoryError):
        return False  # SymPy does not finish, as in `symbolic`


def _num_written_out(expr: Expr) -> int:
    """Operations of an expression when whole powers are products; of x**n, and of a number, 1."""
    match expr:
        case Binary("**", base, exponent) if (n := integer(exponent)) is not None:
            return abs(n) * _num_written_out(base) if children(base) else 1
    return 1 + sum(map(_num_written_out, children(expr)))


def _of_a_difference(
    formula: Expr, reference: Reference, judged: Sequence[Found], bad: Sequence[Found]
) -> tuple[Literal["right", "wrong", "cannot tell"], str | None]:
    """Whether the digits of the formula's constants explain it; if not, what it looks like."""
    given = {text for step in reference.program for text in literals(step.expr)}
    digits_of = {t: significant_digits(t) for t in literals(formula) if t not in given}
    constants = [text for text in digits_of if _is_rounded(text)]
    long = {text: last_digit(text) for text in constants if digits_of[text] >= _MANY_DIGITS}
    if constants and all(point.verdict == "different" for point in bad):
        points = [point.x for point in bad]
        named = ", ".join(constants)
        if long and explained(formula, reference, points, long, above=0.5, **_MANY):
            return "right", f"to the digits of its constants ({named})"
        # A whole unit above: digits may also have been cut off.
        limits = _MANY if len(long) == len(constants) else _FEW
        units = {text: last_digit(text, is_float=True) for text in constants}
        if explained(formula, reference, points, units, above=1.0, **limits):
            advice = f"write fractions, or round to {_MANY_DIGITS} digits or more"
            return (
                "cannot tell",
                f"it may be right if its constants are rounded ({named}): {advice}",
            )
    tried = [*bad[:: 1 + len(bad) // _NUM_TRIED], *judged[:: 1 + len(judged) // _NUM_TRIED]]
    meaning = recognise(formula, reference, [point.x for point in tried])
    if meaning is None and bad[0].verdict == "undefined":
        meaning = _undefined(formula, reference, bad[0].x)
    return "wrong", meaning


def _undefined(formula: Expr, reference: Reference, x: float) -> str | None:
    undefined = undefined_term((*reference.program, Step("the formula", formula)), x)
    if undefined is None:
        return None
    condition, argument = undefined
    return (
        f"at x = {x:.6g} {to_text(condition.term)} is undefined: "
        f"{to_text(condition.argument)} = {argument:.6g} must be {condition.requirement}"
    )


def _counterexample(bad: Sequence[Found]) -> Counterexample:
    """The first point at which the difference shows in ten digits."""
    first = next((found for found in bad if _ten(found.value) != _ten(found.slope)), bad[0])
    return Counterexample(x=first.x, formula=first.value, derivative=first.slope)


def _ten(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def _largest_relative_difference(judged: Sequence[Found]) -> float | None:
    """In float64; None where f' is 0 or unknown everywhere."""
    relative = [
        finite(abs(found.value - found.slope) / abs(found.slope))
        for found in judged
        if found.value is not None and found.slope
    ]
    return max((value for value in relative if value is not None), default=None)
