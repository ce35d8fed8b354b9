"""Expressions in interval arithmetic, to as many digits as are asked for.

Each number is an interval that holds the exact value (mpmath.iv; Moore, Kearfott and Cloud,
Introduction to Interval Analysis, 2009): one without 0 proves that a value is not 0, whatever was
lost to cancellation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import mpmath
from mpmath import iv

from midterm_cli.part1.expression import CONSTANTS, OPERATIONS, Arithmetic, finite

Interval = Any
"""A number of mpmath.iv, which comes without types."""

DIGITS = (50, 100, 400)
"""Decimal digits that are tried one after the other, until they decide."""
_NOTHING = 1e-300
"""In the last of DIGITS, an argument that may be 0 and is below it is taken for 0."""
_LARGEST_BITS = 4_000
"""Beyond 2**4000 no exponential or sine is taken."""


class UndefinedError(Exception):
    """An operation is not defined at this point."""


class UnsureError(Exception):
    """These digits do not decide whether an operation is defined, or what it gives."""


@contextmanager
def digits(count: int) -> Iterator[None]:
    """Compute with so many decimal digits."""
    before = iv.prec
    iv.dps = count
    try:
        yield
    finally:
        iv.prec = before


def holds_zero(a: Interval) -> bool:
    """Whether the exact value may be 0."""
    return bool(a.a <= 0 <= a.b)


def to_float(a: Interval) -> float | None:
    """The float64 nearest to the middle; None where that is too large for one."""
    return finite(float(mpmath.mpf(a.mid)))


def sign(a: Interval) -> int:
    """-1, 0 or 1; with the last of DIGITS, what may be 0 and is below 1e-300 is 0.

    Raises:
        UnsureError: the digits do not tell.
    """
    if a.a > 0:
        return 1
    if a.b < 0:
        return -1
    if a.a == a.b or (iv.dps >= DIGITS[-1] and bool(abs(a).b < _NOTHING)):
        return 0
    raise UnsureError


def _moderate(a: Interval) -> Interval:
    if not iv.mag(a) <= _LARGEST_BITS:
        raise UnsureError
    return a


def _outward(a: Interval) -> Interval:
    # Of a tiny argument mpmath rounds a function to the nearest, not outwards.
    return a * _around_one(iv.prec)


@lru_cache(maxsize=8)
def _around_one(prec: int) -> Interval:
    """All that is 1 to a unit of rounding, with the precision that is set."""
    return 1 + iv.mpf([-1, 1]) * iv.eps


def _divide(a: Interval, b: Interval) -> Interval:
    if sign(b) == 0:
        raise UndefinedError
    return a / b


def _power(a: Interval, b: Interval | int) -> Interval:
    if isinstance(b, int):
        if b < 0 and sign(a) == 0:
            raise UndefinedError
        return a**b
    if b.a == b.b and abs(b) <= 1000 and iv.isint(b):
        return _power(a, int(b))
    of_base = sign(a)
    if of_base < 0 or (of_base == 0 and sign(b) <= 0):
        raise UndefinedError
    return iv.zero if of_base == 0 else _exp(b * _log(a))


def _sqrt(a: Interval) -> Interval:
    if a.a >= 0:
        return iv.sqrt(a)
    if sign(a) < 0:
        raise UndefinedError
    return iv.zero


def _log(a: Interval) -> Interval:
    if sign(a) <= 0:
        raise UndefinedError
    return _outward(iv.ln(a))


def _exp(a: Interval) -> Interval:
    return iv.one if a == 0 else _outward(iv.exp(_moderate(a)))


def _sin(a: Interval) -> Interval:
    return _outward(iv.sin(_moderate(a)))


def _cos(a: Interval) -> Interval:
    return iv.one if a == 0 else _outward(iv.cos(_moderate(a)))


def _sinh(a: Interval) -> Interval:
    # Near 0 the difference of the exponentials loses as many bits as `a` is small.
    lost = 0 if a == 0 else max(0, min(-int(iv.mag(a)), _LARGEST_BITS))
    before = iv.prec
    iv.prec = before + lost
    try:
        grown = _exp(a)
        return (grown - 1 / grown) / 2
    finally:
        iv.prec = before


def _cosh(a: Interval) -> Interval:
    grown = _exp(a)
    return (grown + 1 / grown) / 2


def _cosine_of_asin(a: Interval) -> Interval:
    return _sqrt((1 - a) * (1 + a))


_FUNCTIONS = SimpleNamespace(
    sin=_sin,
    cos=_cos,
    tan=lambda a: _divide(_sin(a), _cos(a)),
    asin=lambda a: _outward(iv.atan2(a, _cosine_of_asin(a))),
    acos=lambda a: _outward(iv.atan2(_cosine_of_asin(a), a)),
    atan=lambda a: _outward(iv.atan2(a, iv.one)),
    sinh=_sinh,
    cosh=_cosh,
    tanh=lambda a: _sinh(a) / _cosh(a),
    exp=_exp,
    log=_log,
    sqrt=_sqrt,
)


_FLOAT_DIGITS, _PRINTED_DIGITS = 15, 17
_WITHOUT_ROUNDING = Context(prec=2_000)
"""More digits than a literal can have."""


def _exact(text: str) -> Interval:
    return _constant(text, iv.prec)


@lru_cache(maxsize=1024)  # asked for at every point
def _constant(text: str, prec: int) -> Interval:
    """A literal, with the precision that is set."""
    return +getattr(iv, text) if text in CONSTANTS else iv.mpf([text, text])


_OPERATIONS = {**OPERATIONS, "/": _divide, "**": _power}
EXACT = Arithmetic(_FUNCTIONS, _exact, _OPERATIONS)
"""Literals are the numbers that they say."""


def shifted(moved: str, by: Decimal) -> Arithmetic:
    """One literal is so much more; the others are exact."""

    def number(text: str) -> Interval:
        return _exact(text) + iv.mpf(str(by)) if text == moved else _exact(text)

    return Arithmetic(_FUNCTIONS, number, _OPERATIONS)


def last_digit(text: str, *, is_float: bool = False) -> Decimal:
    """A unit of the last digit that counts of a literal, which is not whole.

    A constant that was computed in float64 is good to 15 digits, and is printed with 17 at most,
    unless it is known to be one.
    """
    count = significant_digits(text)
    if is_float or count <= _PRINTED_DIGITS:
        count = min(count, _FLOAT_DIGITS)
    return Decimal(1).scaleb(Decimal(text).adjusted() + 1 - count)


def significant_digits(text: str) -> int:
    """The number of digits of a decimal literal; 0 of a whole number, and of pi and e."""
    if text in CONSTANTS or Fraction(text).denominator == 1:
        return 0
    return len(Decimal(text).normalize(_WITHOUT_ROUNDING).as_tuple().digits)
