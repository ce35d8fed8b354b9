"""Exponents that are whole numbers, however they are written: such powers are defined below 0."""

from __future__ import annotations

from collections.abc import Sequence

from midterm_cli.errors import UserError
from midterm_cli.part1.exact import (
    DIGITS,
    EXACT,
    UndefinedError,
    UnsureError,
    digits,
    sign,
)
from midterm_cli.part1.expression import (
    Binary,
    Expr,
    Step,
    children,
    compose,
    constant,
    evaluate,
    integer,
    literal,
    substitute,
    with_children,
)

_LARGEST = 1_000_000


def with_whole_exponents(expr: Expr, steps: Sequence[Step]) -> Expr:
    """An expression in the steps' names, exponents such as sqrt(4), or n after n = 2, written out.

    Those that are rational numbers, such as 4/2 and 2**3, stay: `integer` knows them.

    Raises:
        UserError: one is too large.
    """
    values = compose(tuple(steps))

    def written_out(expr: Expr) -> Expr:
        new = with_children(expr, tuple(map(written_out, children(expr))))
        if isinstance(new, Binary) and new.operator == "**" and integer(new.right) is None:
            whole = _whole(substitute(new.right, values))
            if whole is not None:
                return Binary("**", new.left, literal(whole))
        return new

    return written_out(expr)


def _whole(exponent: Expr) -> int | None:
    """The whole number that an exponent is, as far as all digits can tell, or None."""
    whole = integer(exponent)
    value = constant(exponent) if whole is None else whole
    if value is None:
        return None
    if abs(value) > _LARGEST:
        raise UserError(f"an exponent is beyond {_LARGEST:,}: take a smaller one")
    nearest = round(value)
    if whole is not None or abs(value - nearest) > 1e-6:
        return whole
    with digits(DIGITS[-1]):
        try:
            return nearest if sign(evaluate(exponent, {}, EXACT) - nearest) == 0 else None
        except (UndefinedError, UnsureError):
            return None
