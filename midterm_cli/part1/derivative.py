"""The derivative of a function of one variable by independent methods."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from midterm_cli.part1.autodiff.schema import DIGITS, Values
from midterm_cli.part1.expression import (
    OPERATIONS,
    Arithmetic,
    Expr,
    Program,
    differentiate,
    evaluate,
    evaluate_program,
    finite,
    names,
    torch_arithmetic,
)


def reverse_mode(program: Program, x: Tensor) -> Tensor:
    """Compute f' at each point of `x` by torch.autograd."""
    return reverse_mode_steps(program, x)[program[-1].name]


def reverse_mode_steps(program: Program, x: Tensor) -> dict[str, Tensor]:
    """The derivative of each step with respect to x, by torch.autograd."""
    x = x.detach().requires_grad_()
    values = evaluate_program(program, x)
    return {step.name: _gradients(values[step.name], [x])[0] for step in program}


def _gradients(output: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """Zeros for an input that the output does not depend on."""
    if not output.requires_grad:
        return [torch.zeros_like(leaf) for leaf in inputs]
    return list(torch.autograd.grad(output.sum(), inputs, retain_graph=True))


def forward_mode(program: Program, x: Tensor) -> Tensor:
    """Compute f' at each point of `x` by the dual numbers of torch.autograd.forward_ad."""
    with warnings.catch_warnings(), forward_ad.dual_level():
        # The first call loads decompositions by torch.jit.script, which says it is deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        operations = {symbol: _lifted(operation) for symbol, operation in OPERATIONS.items()}
        arithmetic = replace(torch_arithmetic(x), operations=operations)
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        value = evaluate_program(program, dual, arithmetic)[program[-1].name]
        slope: Tensor | None = forward_ad.unpack_dual(value).tangent
    return torch.zeros_like(x) if slope is None else slope


def _lifted(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Give a constant that meets a dual number a tangent of zeros.

    Without it PyTorch loads its compiler for the operation, which takes a second.
    """

    def lifted(a: Tensor, b: Tensor | int) -> Any:
        if isinstance(b, Tensor) and _is_dual(a) != _is_dual(b):
            a, b = (
                t if _is_dual(t) else forward_ad.make_dual(t, torch.zeros_like(t)) for t in (a, b)
            )
        return operation(a, b)

    return lifted


def _is_dual(value: Tensor) -> bool:
    return forward_ad.unpack_dual(value).tangent is not None


@dataclass(frozen=True)
class Partial:
    """A factor of the chain rule, ∂of/∂by.

    Attributes:
        of: a step.
        by: one of the names that it is computed from.
        expr: the derivative of the one by the other, all else held fixed.
        value: of `expr`, at each point.
        autograd: the same number by autograd.
    """

    of: str
    by: str
    expr: Expr
    value: Tensor
    autograd: Tensor


def partial_derivatives(program: Program, x: Tensor) -> list[Partial]:
    """The partial derivatives of each step by each of its inputs."""
    values = evaluate_program(program, x)
    partials: list[Partial] = []
    for step in program:
        leaves = {name: values[name].detach().requires_grad_() for name in names(step.expr)}
        output = evaluate(step.expr, leaves, torch_arithmetic(x))
        for name, gradient in zip(leaves, _gradients(output, list(leaves.values())), strict=True):
            expr = differentiate(step.expr, name)
            value = evaluate(expr, values, torch_arithmetic(x)).expand_as(x)
            partials.append(Partial(step.name, name, expr, value, gradient))
    return partials


def chain_rule(program: Program, partials: list[Partial], x: Tensor) -> dict[str, Tensor]:
    """The derivative of each step: d step/dx = Σ over its inputs of ∂step/∂input · d input/dx."""
    totals = {"x": torch.ones_like(x)}
    for step in program:
        totals[step.name] = torch.zeros_like(x)
        for partial in partials:
            if partial.of == step.name:
                totals[step.name] = totals[step.name] + partial.value * totals[partial.by]
    return totals


def as_sympy(expr: Expr, program: Program) -> Any:
    """An expression in x and the steps of a program, as SymPy's in x."""
    import sympy

    constants = {"pi": sympy.pi, "e": sympy.E}

    def power(base: Any, exponent: Any) -> Any:
        if base.is_positive and base.is_number and sympy.sympify(exponent).free_symbols:
            # Of 100**(1e15 + x) SymPy would compute 100**1e15.
            return sympy.exp(exponent * sympy.log(base))
        return base**exponent

    arithmetic = Arithmetic(
        sympy,
        lambda text: constants.get(text) or sympy.Rational(text),
        {**OPERATIONS, "**": power},
    )
    values: dict[str, Any] = {"x": sympy.Symbol("x", real=True)}
    for step in program:
        values[step.name] = evaluate(step.expr, values, arithmetic)
    return evaluate(expr, values, arithmetic)


class SymbolicError(Exception):
    """SymPy cannot differentiate a function; the message says why."""


def symbolic(program: Program, points: Sequence[float]) -> Values:
    """Compute f' at each point: differentiated by SymPy, evaluated with DIGITS digits.

    Where twice as many digits give another number, cancellation has taken too many of them, and
    they are doubled again, up to 16 times DIGITS.

    Returns:
        The nearest floats; None where f' is not a finite real number.

    Raises:
        SymbolicError: SymPy does not finish.
    """
    import sympy

    symbol = sympy.Symbol("x", real=True)
    try:
        slope = sympy.diff(as_sympy(program[-1].expr, program[:-1]), symbol)
        if slope.has(sympy.nan, sympy.zoo):
            return [None] * len(points)
        # SymPy's own evalf takes twice as long for each level of nesting; this does not.
        function = sympy.lambdify(symbol, slope, "mpmath", cse=True)
        return [_settled(function, x) for x in points]
    except (ValueError, NotImplementedError) as error:  # what SymPy cannot do
        raise SymbolicError(str(error)) from error
    except (OverflowError, MemoryError) as error:
        raise SymbolicError("a constant is too large") from error


def _settled(function: Callable[[Any], Any], x: float) -> float | None:
    value = _real(function, x, DIGITS)
    for factor in (2, 4, 8, 16):
        closer = _real(function, x, factor * DIGITS)
        if closer == value != 0:  # twice 0 may be lost to cancellation twice
            break
        value = closer
    return value


def _real(function: Callable[[Any], Any], x: float, count: int) -> float | None:
    """The nearest float; None at a pole, or where the value is complex."""
    import mpmath

    with mpmath.workdps(count):
        try:
            value = function(mpmath.mpf(x))
            return None if isinstance(value, mpmath.mpc) else finite(float(value))
        except (ArithmeticError, ValueError):  # mpmath's at a pole, as of log(0), and beyond floats
            return None
