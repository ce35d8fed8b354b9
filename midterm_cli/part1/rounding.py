"""How far rounding can take a computed value from the exact one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import torch
from torch import Tensor

from midterm_cli.part1.expression import (
    CONSTANTS,
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
    slope_in_x,
    torch_arithmetic,
    with_children,
)

ROUNDING_FACTOR = 8
"""Tolerance over the rounding bound: the methods do the same operations in other orders."""


def rounding_bound(
    expr: Expr, values: Mapping[str, tuple[Tensor, Tensor]], dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Value and first-order bound of its rounding error (running error analysis).

    Each operation adds two units of rounding of its result, and what underflow can take, to the
    errors of its operands, which it passes on scaled by its partial derivatives (Higham, Accuracy
    and Stability of Numerical Algorithms, 2.8 and 3.3).

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
        whole = integer(child)
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
        # An exact operand passes on nothing, even where the slope is infinite.
        passed_on = torch.where(operand_error == 0, 0.0, slope.abs() * operand_error)
        # 0**b log 0 has the limit 0: b passes on nothing.
        error = error + torch.where(result == 0, passed_on.nan_to_num(0.0, math.inf), passed_on)
    return result, error


def _is_held(text: str, value: float) -> bool:
    """Whether a number holds a literal exactly."""
    return text not in CONSTANTS and math.isfinite(value) and Fraction(text) == Fraction(value)


def rounding_bound_of_value(program: Program, x: Tensor) -> Tensor:
    """Bound of the rounding error of f, computed in the dtype of `x`, at each point; float64."""
    return _bound_at(compose(program)[program[-1].name], x)


def rounding_bound_of_slope(program: Program, x: Tensor) -> Tensor:
    """The same of f'."""
    return _bound_at(slope_in_x(program), x)


def _bound_at(expr: Expr, x: Tensor) -> Tensor:
    exact = {"x": (x.double(), torch.zeros_like(x, dtype=torch.float64))}
    return rounding_bound(expr, exact, x.dtype)[1].expand_as(x)
