"""How far rounding can take a computed value from the exact one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import torch
from torch import Tensor

from midterm_cli.part1.expression import (
    CONSTANTS,
    Binary,
    Call,
    Expr,
    Name,
    Number,
    Program,
    children,
    compose,
    differentiate,
    evaluate,
    integer,
    names,
    torch_arithmetic,
    with_children,
)

ROUNDING_FACTOR = 8
"""Tolerance over the rounding bound: the methods do the same operations in other orders."""
_OPERAND = "the operand"
_EXPONENTIAL = "exp", "sinh", "cosh"


def rounding_bound(
    expr: Expr, values: Mapping[str, tuple[Tensor, Tensor]], dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Value and bound of its rounding error (running error analysis).

    Each operation adds two units of rounding of its result, and what underflow can take, to the
    errors of its operands, which it passes on scaled by its partial derivatives (Higham, Accuracy
    and Stability of Numerical Algorithms, 2.8 and 3.3), and where these may be 0, as that of cos at
    π, also by the second ones. The error of what overflows is infinite.

    Args:
        expr: the expression.
        values: for each name its value and the absolute error of that value, float64.
        dtype: the arithmetic whose error is wanted.
    """
    if isinstance(expr, Name):
        return values[expr.name]
    example = next(iter(values.values()))[0]
    arithmetic = torch_arithmetic(example)
    if isinstance(expr, Number):
        value = arithmetic.number(expr.text)
        held = _is_held(expr.text, float(value.to(dtype)))
        return value, (0.0 if held else torch.finfo(dtype).eps / 2) * value.abs()
    # The operands become names of their own; an exact one stays, since an exponent may be whole.
    operands: dict[str, tuple[Tensor, Tensor]] = {}
    local: list[Expr] = []
    for i, child in enumerate(children(expr)):
        # An exponent is computed as a whole number; elsewhere 0.1*30 is rounded.
        computed = not (isinstance(expr, Binary) and expr.operator == "**" and i == 1)
        whole = None if computed and children(child) else integer(child)
        if whole is not None and float(torch.tensor(float(whole), dtype=dtype)) == whole:
            local.append(child)
        else:
            operands[f"operand {i}"] = rounding_bound(child, values, dtype)
            local.append(Name(f"operand {i}"))
    operation = with_children(expr, tuple(local))
    points = {name: value for name, (value, _) in operands.items()}
    result = evaluate(operation, points, arithmetic)
    error = torch.finfo(dtype).eps * result.abs() + torch.finfo(dtype).tiny
    for name in names(operation):
        slope = evaluate(differentiate(operation, name), points, arithmetic)
        operand_error = operands[name][1]
        if isinstance(operation, Call) and operation.function in _EXPONENTIAL:
            operand_error = operand_error.expm1()  # it may be far too large for a tangent
        if (pole := _distance_to_pole(operation, name, points)) is not None:
            operand_error = operand_error.masked_fill(operand_error > pole / 2, math.inf)
        grown = slope.abs()
        if _may_be_level(operation):
            curvature = differentiate(differentiate(operation, name), name)
            grown = grown + evaluate(curvature, points, arithmetic).abs() * operand_error / 2
        # An exact operand passes on nothing, even where the slope is infinite.
        passed_on = torch.where(operand_error == 0, 0.0, grown * operand_error)
        # 0**b log 0 has the limit 0: b passes on nothing, unless it has overflowed.
        limit = passed_on.nan_to_num(0.0, math.inf).masked_fill(operand_error.isinf(), math.inf)
        error = error + torch.where(result == 0, limit, passed_on)
    return result, error.masked_fill(result.abs() > torch.finfo(dtype).max, math.inf)


def _may_be_level(operation: Expr) -> bool:
    match operation:
        case Call("sin" | "cos" | "cosh"):
            return True
        case Binary("**", Name(_), exponent):
            return integer(exponent) is not None
    return False


def _distance_to_pole(operation: Expr, name: str, points: Mapping[str, Tensor]) -> Tensor | None:
    """How far an operand is from where the operation grows without bound; None if it nowhere does.

    There, and from half of the way on, the slope says nothing of how far rounding takes the result.
    """
    match operation:
        case Call("tan"):
            return points[name].cos().abs()
        case Call("log"):
            return points[name].abs()
        case Binary("/", _, Name(divisor)) if divisor == name:
            return points[name].abs()
        case Binary("**", Name(base), exponent) if base == name:
            power = integer(exponent)
            return points[name].abs() if power is None or power < 0 else None
    return None


def rounding_bound_of_derivative(
    expr: Expr, name: str, values: Mapping[str, tuple[Tensor, Tensor]], dtype: torch.dtype
) -> Tensor:
    """Bound of the rounding error of a derivative, by the rules and by autograd.

    Autograd adds a product of slopes for each path from `name` to the value, each with its own
    rounding; the rules drop some that cancel: of x/x they leave (x - x)/x**2.

    Args:
        expr: what is differentiated.
        name: by what.
        values: as for `rounding_bound`.
        dtype: likewise.
    """
    by_rules = rounding_bound(differentiate(expr, name), values, dtype)[1]
    points = {other: value for other, (value, _) in values.items()}
    return by_rules + torch.finfo(dtype).eps * _sum_over_paths(expr, name, points)


def _sum_over_paths(expr: Expr, name: str, values: Mapping[str, Tensor]) -> Tensor:
    """The sum over all paths from `name` to the value of the products of slopes, unsigned."""
    example = next(iter(values.values()))
    if isinstance(expr, Name):
        return torch.full_like(example, float(expr.name == name))
    arithmetic, operands = torch_arithmetic(example), children(expr)
    total = torch.zeros_like(example)
    for i, child in enumerate(operands):
        if name in names(child):
            alone = with_children(expr, (*operands[:i], Name(_OPERAND), *operands[i + 1 :]))
            at = {**values, _OPERAND: evaluate(child, values, arithmetic)}
            slope = evaluate(differentiate(alone, _OPERAND), at, arithmetic).abs()
            # 0 times an infinite slope has the limit 0, as above.
            total = total + (slope * _sum_over_paths(child, name, values)).nan_to_num(0.0, math.inf)
    return total


def _is_held(text: str, value: float) -> bool:
    """Whether a number holds a literal exactly."""
    return text not in CONSTANTS and math.isfinite(value) and Fraction(text) == Fraction(value)


def rounding_bound_of_value(program: Program, x: Tensor) -> Tensor:
    """Bound of the rounding error of f, computed in the dtype of `x`, at each point; float64."""
    return rounding_bound(_in_x(program), _exact(x), x.dtype)[1].expand_as(x)


def rounding_bound_of_slope(program: Program, x: Tensor) -> Tensor:
    """The same of f'."""
    return rounding_bound_of_derivative(_in_x(program), "x", _exact(x), x.dtype).expand_as(x)


def _in_x(program: Program) -> Expr:
    return compose(program)[program[-1].name]


def _exact(x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    return {"x": (x.double(), torch.zeros_like(x, dtype=torch.float64))}
