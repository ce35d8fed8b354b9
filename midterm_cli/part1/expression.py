"""Expressions in one variable as small immutable trees.

A tree is evaluated in any arithmetic (torch, SymPy, math) and differentiated by rules. Trees are
built by `parse`, or by the constructors below.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Number:
    """A literal that is not negative, as decimal text, or one of the constants `pi` and `e`."""

    text: str


@dataclass(frozen=True)
class Name:
    """The variable `x`, or an intermediate."""

    name: str


@dataclass(frozen=True)
class Negative:
    """Minus `argument`."""

    argument: Expr


@dataclass(frozen=True)
class Call:
    """A function of one argument; the names are those of FUNCTIONS."""

    function: str
    argument: Expr


@dataclass(frozen=True)
class Binary:
    """`left operator right` with one of + - * / **."""

    operator: str
    left: Expr
    right: Expr


Expr = Number | Name | Negative | Call | Binary


@dataclass(frozen=True)
class Step:
    """`name = expr`, where `expr` may use `x` and the names of earlier steps."""

    name: str
    expr: Expr


Program = tuple[Step, ...]
"""The steps of a function; the last one is its value."""


_MOST_BITS = 10_000
"""Of a power that is computed exactly."""

ZERO, ONE, TWO = Number("0"), Number("1"), Number("2")
CONSTANTS = {"pi": math.pi, "e": math.e}


def children(expr: Expr) -> tuple[Expr, ...]:
    """The operands of the outermost operation."""
    match expr:
        case Binary(_, left, right):
            return left, right
        case Call(_, argument) | Negative(argument):
            return (argument,)
        case _:
            return ()


def nodes(expr: Expr) -> Iterator[Expr]:
    """Every node, operands before the operation that takes them."""
    # A stack, not recursion: nested generators would resume each other for every node.
    pending: list[tuple[Expr, bool]] = [(expr, False)]
    while pending:
        node, operands_given = pending.pop()
        operands = () if operands_given else children(node)
        if not operands:
            yield node
            continue
        pending.append((node, True))
        pending += [(operand, False) for operand in reversed(operands)]


def names(expr: Expr) -> tuple[str, ...]:
    """The names that occur, each once, in order of occurrence."""
    return tuple(dict.fromkeys(node.name for node in nodes(expr) if isinstance(node, Name)))


def has_names(expr: Expr) -> bool:
    """Whether any name occurs; stops at the first."""
    return any(isinstance(node, Name) for node in nodes(expr))


def with_children(expr: Expr, new: tuple[Expr, ...]) -> Expr:
    """The same operation on other operands."""
    match expr:
        case Binary(symbol, _, _):
            return Binary(symbol, *new)
        case Call(function, _):
            return Call(function, *new)
        case Negative(_):
            return Negative(*new)
        case _:
            return expr


def substitute(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    """Replace names by expressions."""
    if isinstance(expr, Name):
        return values.get(expr.name, expr)
    return with_children(expr, tuple(substitute(child, values) for child in children(expr)))


def compose(program: Program) -> dict[str, Expr]:
    """Each step as an expression in `x` alone, by name."""
    in_x: dict[str, Expr] = {}
    for step in program:
        in_x[step.name] = substitute(step.expr, in_x)
    return in_x


# Evaluation


OPERATIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}


@dataclass(frozen=True)
class Arithmetic:
    """Where an expression is evaluated.

    Attributes:
        functions: has sin, cos, … as attributes: the module torch, sympy or math.
        number: turns the text of a Number into a number of that arithmetic.
        operations: by their operators; the right operand of ** may be an int.
    """

    functions: Any
    number: Callable[[str], Any]
    operations: Mapping[str, Callable[[Any, Any], Any]] = field(default_factory=lambda: OPERATIONS)


def _float(text: str) -> float:
    return CONSTANTS.get(text) or float(text)


MATH = Arithmetic(math, _float)


def torch_arithmetic(like: Tensor) -> Arithmetic:
    """Tensors of the dtype and on the device of `like`."""
    return Arithmetic(
        torch, lambda text: torch.tensor(_float(text), dtype=like.dtype, device=like.device)
    )


def evaluate(expr: Expr, values: Mapping[str, Any], arithmetic: Arithmetic) -> Any:
    """The value of `expr` where each name has the value given for it."""
    match expr:
        case Number(text):
            return arithmetic.number(text)
        case Name(name):
            return values[name]
        case Negative(argument):
            return -evaluate(argument, values, arithmetic)
        case Call(function, argument):
            return getattr(arithmetic.functions, function)(evaluate(argument, values, arithmetic))
        case Binary(symbol, left, right):
            operation, a = arithmetic.operations[symbol], evaluate(left, values, arithmetic)
            if symbol == "**" and (exponent := integer(right)) is not None:
                # An exact integer exponent keeps negative bases real in every arithmetic.
                return operation(a, exponent)
            return operation(a, evaluate(right, values, arithmetic))


def evaluate_program(
    program: Program, x: Tensor, arithmetic: Arithmetic | None = None
) -> dict[str, Tensor]:
    """The value of `x` and of each step, by name; each of the shape of `x`.

    Args:
        program: the function.
        x: the points.
        arithmetic: of tensors; None for that of `x`.
    """
    arithmetic = arithmetic or torch_arithmetic(x)
    values = {"x": x}
    for step in program:
        values[step.name] = evaluate(step.expr, values, arithmetic).expand_as(x)
    return values


def as_function(program: Program) -> Callable[[Tensor], Tensor]:
    """The program as a function of a tensor of any shape."""
    return lambda x: evaluate_program(program, x)[program[-1].name]


def finite(value: float) -> float | None:
    """None in place of NaN and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


def constant(expr: Expr) -> float | None:
    """The value of an expression without names; None where it has names or no finite value."""
    if has_names(expr):
        return None
    try:
        value = evaluate(expr, {}, MATH)
    except (ArithmeticError, ValueError):  # math's, of 1/0 and of log(-1)
        return None
    # math turns a negative base with a fractional exponent into a complex number.
    return value if isinstance(value, float | int) and math.isfinite(value) else None


def integer(expr: Expr) -> int | None:
    """The whole number that rational operations give, such as 4/2, 0.1*30 and 2**3, or None."""
    value = _rational(expr)
    return int(value) if value is not None and value.denominator == 1 else None


def _rational(expr: Expr) -> Fraction | None:
    match expr:
        case Number(text):
            return None if text in CONSTANTS else Fraction(text)
        case Negative(argument):
            value = _rational(argument)
            return None if value is None else -value
        case Binary("+" | "-" | "*" | "/" as symbol, left, right):
            a, b = _rational(left), _rational(right)
            if a is None or b is None or (symbol == "/" and b == 0):
                return None
            result: Fraction = OPERATIONS[symbol](a, b)
            return result
        case Binary("**", left, right):
            a, b = _rational(left), _rational(right)
            if a is None or b is None or b.denominator != 1 or (a == 0 and b < 0):
                return None
            bits = max(a.numerator.bit_length(), a.denominator.bit_length())
            return a ** int(b) if abs(b) * bits <= _MOST_BITS else None
    return None


# Differentiation. The constructors drop zeros and ones, so that derivatives stay readable.


def literal(value: int) -> Expr:
    """A whole number."""
    return Number(str(value)) if value >= 0 else Negative(Number(str(-value)))


def _negative(a: Expr) -> Expr:
    if isinstance(a, Negative):
        return a.argument
    return a if a == ZERO else Negative(a)


def _add(a: Expr, b: Expr) -> Expr:
    if a == ZERO:
        return b
    return a if b == ZERO else Binary("+", a, b)


def _subtract(a: Expr, b: Expr) -> Expr:
    if b == ZERO:
        return a
    return _negative(b) if a == ZERO else Binary("-", a, b)


def _multiply(a: Expr, b: Expr) -> Expr:
    if ZERO in (a, b):
        return ZERO
    if a == ONE:
        return b
    return a if b == ONE else Binary("*", a, b)


def _divide(a: Expr, b: Expr) -> Expr:
    return a if a == ZERO or b == ONE else Binary("/", a, b)


def _power(a: Expr, exponent: Expr) -> Expr:
    if exponent == ONE:
        return a
    return ONE if exponent == ZERO else Binary("**", a, exponent)


def _square(a: Expr) -> Expr:
    return Binary("**", a, TWO)


def _inverse_root(a: Expr) -> Expr:
    return Binary("/", ONE, Call("sqrt", Binary("-", ONE, _square(a))))


FUNCTIONS: dict[str, Callable[[Expr], Expr]] = {
    "sin": lambda a: Call("cos", a),
    "cos": lambda a: Negative(Call("sin", a)),
    "tan": lambda a: Binary("+", ONE, _square(Call("tan", a))),
    "asin": _inverse_root,
    "acos": lambda a: Negative(_inverse_root(a)),
    "atan": lambda a: Binary("/", ONE, Binary("+", ONE, _square(a))),
    "sinh": lambda a: Call("cosh", a),
    "cosh": lambda a: Call("sinh", a),
    "tanh": lambda a: Binary("-", ONE, _square(Call("tanh", a))),
    "exp": lambda a: Call("exp", a),
    "log": lambda a: Binary("/", ONE, a),
    "sqrt": lambda a: Binary("/", ONE, Binary("*", TWO, Call("sqrt", a))),
}
"""Each function that an expression may call, with its derivative."""


def differentiate(expr: Expr, name: str) -> Expr:
    """The partial derivative with respect to `name`; other names are constants."""
    match expr:
        case Name(other):
            return ONE if other == name else ZERO
        case Number(_):
            return ZERO
        case Negative(argument):
            return _negative(differentiate(argument, name))
        case Call(function, argument):
            return _multiply(FUNCTIONS[function](argument), differentiate(argument, name))
        case Binary(symbol, a, b):
            return _differentiate_binary(symbol, a, b, name)


def _differentiate_binary(symbol: str, a: Expr, b: Expr, name: str) -> Expr:
    da, db = differentiate(a, name), differentiate(b, name)
    match symbol:
        case "+":
            return _add(da, db)
        case "-":
            return _subtract(da, db)
        case "*":
            return _add(_multiply(da, b), _multiply(a, db))
        case "/" if db == ZERO:
            return _divide(da, b)
        case "/":
            return _divide(_subtract(_multiply(da, b), _multiply(a, db)), _square(b))
    n = integer(b)
    below = literal(n - 1) if n is not None else Binary("-", b, ONE)
    by_base = _multiply(_multiply(ZERO if n == 0 else b, _power(a, below)), da)
    if db == ZERO:
        return by_base
    return _add(by_base, _multiply(_multiply(Binary("**", a, b), Call("log", a)), db))


def slope_in_x(program: Program) -> Expr:
    """The derivative of the program's value, as an expression in `x` alone."""
    return differentiate(compose(program)[program[-1].name], "x")


def slope_by(program: Program, name: str) -> Expr:
    """The derivative of the program's value by one of its names, in the names: the chain rule.

    Args:
        program: the function.
        name: `x`, or a step, which then counts as the variable.
    """
    slopes: dict[str, Expr] = {name: ONE}
    for step in program:
        if step.name not in slopes:
            slope: Expr = ZERO
            for inner in names(step.expr):
                factor = differentiate(step.expr, inner)
                slope = _add(slope, _multiply(factor, slopes.get(inner, ZERO)))
            slopes[step.name] = slope
    return slopes[program[-1].name]
