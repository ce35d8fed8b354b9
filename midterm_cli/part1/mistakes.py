"""The usual mistakes: what would make a wrong formula right, or the derivative that formula."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction

import mpmath
from mpmath import iv

from midterm_cli.part1.exact import (
    DIGITS,
    EXACT,
    Interval,
    UndefinedError,
    UnsureError,
    digits,
    holds_zero,
)
from midterm_cli.part1.expression import (
    FUNCTIONS,
    Binary,
    Call,
    Expr,
    Name,
    Negative,
    Program,
    children,
    evaluate,
    nodes,
    slope_by,
    with_children,
)
from midterm_cli.part1.hidden import hidden_part
from midterm_cli.part1.printing import to_text
from midterm_cli.part1.reference import Reference, compare_at

_LONGEST = 500
"""Operations of a derivative whose parts are left out one by one."""

_LARGEST_BITS = 10_000
"""A constant beyond 2**10000, or below its inverse, is said as a power of 2."""

Change = tuple[str, Expr]
"""What was changed in an expression, and what it became."""


def recognise(formula: Expr, reference: Reference, points: Sequence[float]) -> str | None:
    """Say what a wrong formula looks like, or None.

    Args:
        formula: in x and the program's intermediates.
        reference: the function.
        points: where f' is defined; what is said holds at all of them.
    """
    program = reference.program

    def agrees(candidate: Expr) -> bool:
        return (
            all(compare_at(candidate, reference, x).verdict == "equal" for x in points)
            # Only now, since it is slow: what is too small to be seen agrees with anything.
            and all(
                compare_at(candidate, reference, x, DIGITS[-1:]).verdict == "equal" for x in points
            )
            and hidden_part(candidate, reference, points, DIGITS[-1]) is None
        )

    def is_formula(candidate: Expr) -> bool:
        return all(_are_equal(candidate, formula, reference, x) for x in points)

    if said := _constant_apart(formula, reference, points):
        return said
    for step in program[:-1]:
        if is_formula(slope_by(program, step.name)):
            inner = slope_by(program[: program.index(step) + 1], "x")
            return (
                f"it is ∂f/∂{step.name}: the factor d{step.name}/dx = {to_text(inner)} is missing"
            )
    for change, candidate in _changed(formula, program):
        if agrees(candidate):
            return f"{change} it agrees: {to_text(candidate)}"
    for part, candidate in _shortened(slope_by(program, "x")):
        if is_formula(candidate):
            return f"it is the derivative without the {part}"
    return None


def _value(expr: Expr, reference: Reference, x: float) -> Interval | None:
    with digits(DIGITS[1]):
        try:
            return evaluate(expr, reference.at(x).values, EXACT)
        except (UndefinedError, UnsureError):
            return None


def _are_equal(a: Expr, b: Expr, reference: Reference, x: float) -> bool:
    return _is_same(_value(a, reference, x), _value(b, reference, x))


def _is_same(a: Interval | None, b: Interval | None) -> bool:
    """Whether two values are equal to 30 digits."""
    if a is None or b is None:
        return False
    with digits(DIGITS[1]):
        return holds_zero(a - b) and bool(abs(a - b).b <= 1e-30 * abs(b).b)


def _constant_apart(formula: Expr, reference: Reference, points: Sequence[float]) -> str | None:
    """Whether the formula is a constant times the derivative, or the derivative plus one."""
    values = [_value(formula, reference, x) for x in points]
    if any(value is None for value in values):
        return None
    with digits(DIGITS[1]):
        slopes = [reference.at(x).slope for x in points]
        pairs = list(zip(values, slopes, strict=True))
        if not any(map(holds_zero, [*values, *slopes])):
            ratios = [value / slope for value, slope in pairs]
            if all(_is_same(ratio, ratios[0]) for ratio in ratios) and not holds_zero(
                ratios[0] - 1
            ):
                return f"it is {_constant_text(ratios[0])} times the derivative at every point"
        offsets = [value - slope for value, slope in pairs]
        if all(_is_same(offset, offsets[0]) for offset in offsets) and not holds_zero(offsets[0]):
            return f"it is the derivative plus {_constant_text(offsets[0])} at every point"
    return None


def _constant_text(value: Interval) -> str:
    """As a fraction if it is a simple one, else with 15 digits; never as 1 if it is not."""
    if abs(iv.mag(value)) > _LARGEST_BITS:  # its digits would take for ever
        return f"{'-' if value < 0 else ''}2**{int(iv.mag(value))}"
    middle = mpmath.mpf(value.mid)
    simple = Fraction(mpmath.nstr(middle, 40)).limit_denominator(1000)
    if holds_zero(value - iv.mpf(simple.numerator) / simple.denominator):
        return str(simple)
    text = mpmath.nstr(middle, 15)
    if text != "1.0":
        return str(text)
    return f"(1 + {mpmath.nstr(mpmath.mpf((value - 1).mid), 3)})"


# ---- one thing changed


def _changed(expr: Expr, program: Program) -> Iterator[Change]:
    """Every expression that differs from `expr` in one thing that is often mistaken."""
    known = ["x", *(step.name for step in program[:-1])]
    yield from _changed_here(expr, known)
    operands = children(expr)
    for i, operand in enumerate(operands):
        for change, new in _changed(operand, program):
            yield change, with_children(expr, (*operands[:i], new, *operands[i + 1 :]))


def _changed_here(expr: Expr, known: Sequence[str]) -> Iterator[Change]:
    sign, brackets = "with one sign changed", "with other brackets"
    match expr:
        case Name(name):
            for other in known:
                if other != name:
                    yield f"with {other} in place of {name}", Name(other)
        case Call(function, argument):
            for other in FUNCTIONS:
                if other != function:
                    yield f"with {other} in place of {function}", Call(other, argument)
        case Negative(argument):
            yield sign, argument
        case Binary("+", left, right):
            yield sign, Binary("-", left, right)
        case Binary("-", left, right):
            yield sign, Binary("+", left, right)
    match expr:
        case Binary(outer, Binary(inner, a, b), c):
            yield brackets, Binary(inner, a, Binary(outer, b, c))
    match expr:
        case Binary(outer, a, Binary(inner, b, c)):
            yield brackets, Binary(inner, Binary(outer, a, b), c)


def _shortened(expr: Expr) -> Iterator[Change]:
    """Every expression that lacks one part of `expr`; nothing for a long one."""
    if len(list(itertools.islice(nodes(expr), _LONGEST + 1))) > _LONGEST:
        return
    yield from _without_one(expr)


def _without_one(expr: Expr) -> Iterator[Change]:
    match expr:
        case Binary("+" | "-" as symbol, left, right):
            yield f"term {to_text(right)}", left
            yield f"term {to_text(left)}", right if symbol == "+" else Negative(right)
        case Binary("*", left, right):
            yield f"factor {to_text(right)}", left
            yield f"factor {to_text(left)}", right
        case Binary("/", left, right):
            yield f"divisor {to_text(right)}", left
        case Binary("**", left, right):
            yield f"exponent {to_text(right)}", left
    operands = children(expr)
    for i, operand in enumerate(operands):
        for part, new in _without_one(operand):
            yield part, with_children(expr, (*operands[:i], new, *operands[i + 1 :]))
