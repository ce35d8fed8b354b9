"""Interval arithmetic: it holds the exact value, and says what it does not know."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import iv

from midterm_cli.part1.exact import (
    DIGITS,
    EXACT,
    UndefinedError,
    UnsureError,
    digits,
    holds_zero,
    last_digit,
    shifted,
    significant_digits,
    to_float,
)
from midterm_cli.part1.expression import FUNCTIONS, Arithmetic, Call, Name, evaluate
from midterm_cli.part1.parse import parse


def value(text: str, x: float = 0.0, count: int = 50, arithmetic: Arithmetic = EXACT) -> object:
    with digits(count):
        return evaluate(parse(text, ["x"]), {"x": iv.mpf(x)}, arithmetic)


def number(text: str, x: float = 0.0, count: int = 50) -> float | None:
    with digits(count):
        return to_float(value(text, x, count))


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(FUNCTIONS)), st.floats(-30, 30))
def test_every_function_holds_the_value_of_mpmath(function: str, x: float) -> None:
    """Of mpmath's own functions, which are not those of its intervals, with 120 digits."""
    with digits(50):
        try:
            found = evaluate(Call(function, Name("x")), {"x": iv.mpf(x)}, EXACT)
        except UndefinedError:
            assert {
                "log": x <= 0,
                "sqrt": x < 0,
                "asin": abs(x) > 1,
                "acos": abs(x) > 1,
            }[function]
            return
        with mpmath.workdps(120):
            exact = getattr(mpmath, function)(mpmath.mpf(x))
            low, high = mpmath.mpf(found.a), mpmath.mpf(found.b)
            assert low <= exact <= high
            assert high - low <= abs(exact) * mpmath.mpf(10) ** -45


@pytest.mark.parametrize(
    ("text", "x"),
    [
        ("1/x", 0.0),
        ("x**-2", 0.0),
        ("0*(1/x)", 0.0),
        ("log(x)", 0.0),
        ("log(x)", -1.0),
        ("sqrt(x)", -1e-300),
        ("asin(x)", 1 + 2.0**-52),
        ("x**0.5", -1.0),
        ("x**-0.5", 0.0),
        ("0/(x - x)", 3.0),
    ],
)
def test_undefined(text: str, x: float) -> None:
    with pytest.raises(UndefinedError):
        value(text, x)


@pytest.mark.parametrize(
    ("text", "x", "expected"),
    [
        ("sqrt(x - x)", 0.3, 0.0),
        ("(x - x)**0.5", 0.3, 0.0),
        ("acos((x + 1)/(x + 1))", 0.3, 0.0),
        ("asin(x)", 1.0, math.pi / 2),
        ("acos(x)", -1.0, math.pi),
        ("x**3", -2.0, -8.0),
        ("x**-1", -2.0, -0.5),
        ("x**(4/2)", -3.0, 9.0),
        ("0.1 + 0.2", 0.0, 0.3),
        ("1e16 + x - 1e16", 0.3, 0.3),
        ("sinh(x)", 1e-300, 1e-300),
        ("tanh(x)", -1e-20, -1e-20),
        ("exp(-x)", 1e4, 0.0),  # below the least float64
        ("exp(x)", 1e4, None),  # beyond the largest
        ("1 - tanh(x)", 20.0, 2 * math.exp(-40) / (1 + math.exp(-40))),
    ],
)
def test_values(text: str, x: float, expected: float | None) -> None:
    assert number(text, x) == (expected and pytest.approx(expected, rel=1e-15))


def test_what_the_digits_do_not_decide_is_not_decided() -> None:
    one = "sin(x)**2 + cos(x)**2"
    for text in (f"sqrt({one} - 1)", f"1/({one} - 1)", f"log({one} - 1)", f"acos({one})"):
        for count in DIGITS[:-1]:
            with pytest.raises(UnsureError):
                value(text, 0.3, count)
    # With the last digits it is taken for 0.
    assert number(f"sqrt({one} - 1)", 0.3, DIGITS[-1]) == 0
    with pytest.raises(UndefinedError):
        value(f"1/({one} - 1)", 0.3, DIGITS[-1])
    # Unless it is known too roughly: to 1e-50.
    with pytest.raises(UnsureError):
        value(f"sqrt(1e100*1e100*1e100*1e50*({one} - 1))", 0.3, DIGITS[-1])
    # A number that is not 0 is told from 0 as soon as the digits reach it.
    with pytest.raises(UnsureError):
        value("sqrt(1 - 1e-70 - 1 + 1e-60)", 0.0, 50)
    assert number("sqrt(1 - 1e-70 - 1 + 1e-60)", 0.0, 100) == pytest.approx(1e-30)


@pytest.mark.parametrize("text", ["exp(exp(exp(x)))", "sin(exp(exp(x)))", "sinh(exp(exp(x)))"])
def test_what_is_too_large_to_compute_is_not_decided(text: str) -> None:
    with pytest.raises(UnsureError):
        value(text, 10.0)


def test_what_may_be_zero() -> None:
    with digits(50):
        assert holds_zero(iv.mpf([-1, 1]))
        assert not holds_zero(iv.mpf([1e-9, 1]))


def test_the_digits_are_set_and_put_back() -> None:
    before = iv.prec
    with digits(100), digits(50):
        assert iv.dps == 50
    assert iv.prec == before


@pytest.mark.parametrize(
    ("text", "count"),
    [
        *[("0.333", 3), ("0.5", 1), ("1.50", 2), ("3.14159", 6), ("1.5e-07", 2)],
        *[
            ("2.0000000000000000000000001", 26),
            ("0.30000000000000004", 17),
            ("2.0", 0),
            ("1e16", 0),
            ("7", 0),
            ("pi", 0),
        ],
    ],
)
def test_significant_digits(text: str, count: int) -> None:
    assert significant_digits(text) == count


def ends(interval: Any) -> list[Fraction]:
    """Without rounding, as mpmath.mpf would."""
    return [Fraction(*mpmath.libmp.to_rational(end)) for end in interval._mpi_]


@pytest.mark.parametrize("count", DIGITS)
@pytest.mark.parametrize(
    "text", ["100000000000000000000000000000001", "1.0000000000000000000000000000001", "0.1"]
)
def test_a_literal_is_the_number_that_it_says(text: str, count: int) -> None:
    """However many digits it has: in an interval of rounding around the exact fraction."""
    low, high = ends(value(text, count=count))
    assert low <= Fraction(text) <= high
    assert high - low <= Fraction(text) * Fraction(10) ** -count


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0.333", "1e-3"),
        ("33.3", "0.1"),
        ("0.0125", "1e-4"),
        ("0.30000000000000004", "1e-15"),
        ("0.3000000000000000000004", "1e-22"),
    ],
)
def test_one_literal_shifted_by_a_unit_of_its_last_digit(text: str, unit: str) -> None:
    assert last_digit(text) == Decimal(unit)
    with digits(50):
        moved = value(f"{text} + 0.5*x", 1.0, 50, shifted(text, last_digit(text)))
        off = moved - value(f"{text} + 0.5*x", 1.0)  # type: ignore[operator]
        assert abs(off - iv.mpf(unit)).b < 1e-30
