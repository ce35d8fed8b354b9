"""A function and its derivative to any number of digits, and a formula beside it at a point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from mpmath import iv

from midterm_cli.part1.exact import (
    DIGITS,
    EXACT,
    Interval,
    UndefinedError,
    UnsureError,
    digits,
    holds_zero,
    sign,
    to_float,
)
from midterm_cli.part1.expression import Expr, Program, differentiate, evaluate, names

_SETTLED = 1e-40
"""Two values are equal if their difference may be 0 and is below this share of them."""


@dataclass(frozen=True)
class Exact:
    """Intervals at a point: around x and each step of the function, by name, and around f'."""

    values: Mapping[str, Interval]
    slope: Interval


class Reference:
    """A function and its derivative by our rules, in interval arithmetic.

    What was computed is kept: many formulas are compared with one function.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._partials: dict[str, list[tuple[str, Expr]]] = {}
        varying = {"x"}
        for step in program:
            inputs = [name for name in names(step.expr) if name in varying]
            self._partials[step.name] = [(name, differentiate(step.expr, name)) for name in inputs]
            if inputs:
                varying.add(step.name)
        self._known: dict[tuple[float, int], Exact | UndefinedError | UnsureError] = {}

    def at(self, x: float) -> Exact:
        """Compute at a point, with the digits that are set.

        Raises:
            UndefinedError: f or f' is not defined at `x`.
            UnsureError: these digits do not decide it.
        """
        key = x, iv.prec
        if key not in self._known:
            try:
                self._known[key] = self._compute(x)
            except (UndefinedError, UnsureError) as error:
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, Exact):
            return known
        raise known.with_traceback(None)  # it would grow with every raise

    def _compute(self, x: float) -> Exact:
        values, slopes = _steps(self.program, x), {"x": iv.one}
        for step in self.program:
            slopes[step.name] = iv.zero
            for name, partial in self._partials[step.name]:
                slopes[step.name] += evaluate(partial, values, EXACT) * slopes[name]
        return Exact(values, slopes[self.program[-1].name])


def value_at(program: Program, x: float) -> float | None:
    """Compute f at a point, as the nearest float64.

    None where it is undefined, not known so closely, or too large.
    """
    with suppress(UndefinedError, UnsureError):
        return _settled(lambda: _steps(program, x)[program[-1].name])
    return None


def slope_at(program: Program, x: float) -> float | None:
    """Compute f' at a point by the rules, as the nearest float64; None where it is too large.

    Raises:
        UndefinedError: a rule divides by 0 at `x`, as at a kink.
        UnsureError: it is not known so closely with all digits.
    """
    reference = Reference(program)
    return _settled(lambda: reference.at(x).slope)


def _settled(compute: Callable[[], Interval]) -> float | None:
    for count in DIGITS:
        with digits(count), suppress(UnsureError):
            value = compute()
            if abs(value.delta).b <= _SETTLED * abs(value).a:
                return to_float(value)
            if count == DIGITS[-1] and sign(value) == 0:
                return 0.0
    raise UnsureError


def sign_at(expr: Expr, program: Program, x: float) -> int | None:
    """-1, 0 or 1, the sign of an expression in the steps of a function, with all digits.

    None where they do not tell, and after an undefined step.
    """
    values = {"x": iv.mpf(x)}
    with digits(DIGITS[-1]):
        with suppress(UndefinedError, UnsureError):
            for step in program:
                values[step.name] = evaluate(step.expr, values, EXACT)
        if values.keys() >= set(names(expr)):
            with suppress(UndefinedError, UnsureError):
                return sign(evaluate(expr, values, EXACT))
    return None


def _steps(program: Program, x: float) -> dict[str, Interval]:
    values = {"x": iv.mpf(x)}
    for step in program:
        values[step.name] = evaluate(step.expr, values, EXACT)
    return values


@dataclass(frozen=True)
class Found:
    """A formula beside f' at a point.

    Attributes:
        x: the point.
        verdict: "not judged" where f' is not defined.
        value: of the formula; None where it is undefined, unknown, or too large for float64.
        slope: f', likewise.
    """

    x: float
    verdict: Literal["equal", "different", "undefined", "cannot tell", "not judged"]
    value: float | None = None
    slope: float | None = None


def compare_at(
    formula: Expr, reference: Reference, x: float, counts: Sequence[int] = DIGITS
) -> Found:
    """Compare a formula with f' at a point, with as many digits of `counts` as it takes."""
    found = Found(x, "cannot tell")
    for count in counts:
        with digits(count):
            try:
                exact = reference.at(x)
            except UndefinedError:
                return Found(x, "not judged")
            except UnsureError:
                continue
            slope = to_float(exact.slope)
            try:
                value = evaluate(formula, exact.values, EXACT)
            except UndefinedError:
                return Found(x, "undefined", None, slope)
            except UnsureError:
                found = Found(x, "cannot tell", None, slope)
                continue
            found = Found(x, _compared(value, exact.slope), to_float(value), slope)
            if found.verdict != "cannot tell":
                break
    return found


def _compared(value: Interval, slope: Interval) -> Literal["equal", "different", "cannot tell"]:
    difference = value - slope
    if not holds_zero(difference):
        return "different"
    # What is 0 only as far as the digits tell is equal to nothing.
    return "equal" if abs(difference).b <= _SETTLED * abs(slope).b else "cannot tell"
