"""Parts of a formula that no point shows: equality there says nothing about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mpmath import iv

from midterm_cli.part1.exact import EXACT, UndefinedError, UnsureError, digits, holds_zero
from midterm_cli.part1.expression import (
    Binary,
    Expr,
    Name,
    children,
    differentiate,
    evaluate,
    with_children,
)
from midterm_cli.part1.reference import Reference

_LOST = 10
"""A part is shown if it moves one of the digits but the last ten."""
_PART = "the part"


def hidden_part(
    expr: Expr, reference: Reference, points: Sequence[float], count: int
) -> Expr | None:
    """The first part that `count` digits do not show at any of the points, or None.

    Such is exp(-(x - 700)**2) in 2*x + exp(-(x - 700)**2) on [-1, 1]; and 1 + tanh(1000*(x - 7))
    there, a sum that is 0 as far as the digits tell.

    Args:
        expr: in x and the steps of the program.
        reference: the function.
        points: where equality was judged.
        count: decimal digits of the computation.
    """
    for part, whole in _parts(expr):
        slope = differentiate(whole, _PART)
        with digits(count):
            shown = any(_is_shown(part, whole, slope, reference, x) for x in points)
        if not shown:
            return part
    return None


def _parts(expr: Expr) -> Iterator[tuple[Expr, Expr]]:
    """Each part, and the whole with a name in its place; the largest parts first."""
    yield expr, Name(_PART)
    operands = children(expr)
    for i, operand in enumerate(operands):
        for part, whole in _parts(operand):
            yield part, with_children(expr, (*operands[:i], whole, *operands[i + 1 :]))


def _is_shown(part: Expr, whole: Expr, slope: Expr, reference: Reference, x: float) -> bool:
    """Whether a part moves the value at a point, or certainly does not move it: 0*x does not."""
    try:
        values = dict(reference.at(x).values)
        value = values[_PART] = evaluate(part, values, EXACT)
        if isinstance(part, Binary) and holds_zero(value):
            return bool(value.a == value.b)
        size = abs(evaluate(whole, values, EXACT)).b
        moved = value * evaluate(slope, values, EXACT)
    except UnsureError:
        return False
    except UndefinedError:  # by the slope, which is infinite: the part matters
        return True
    return moved == 0 or bool(abs(moved).a > size * iv.mpf(10) ** (_LOST - iv.dps))
