"""The derivative of a function of one variable by independent methods."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from midterm_cli.part1.autodiff.schema import DIGITS
from midterm_cli.part1.expression import (
    Arithmetic,
    Binary,
    Call,
    Expr,
    Program,
    children,
    compose,
    differentiate,
    evaluate,
    evaluate_program,
    finite,
    names,
    slope_in_x,
    torch_arithmetic,
)

MAX_SYMPY_NESTING = 8
"""Functions and powers inside each other that SymPy gets: its time doubles with each."""


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
    """Compute f' at each point of `x` by PyTorch's forward mode."""

    def f(at: Tensor) -> Tensor:
        return evaluate_program(program, at)[program[-1].name]

    with warnings.catch_warnings():
        # The first call loads a part of PyTorch that warns of PyTorch's own use of torch.jit.
        warnings.simplefilter("ignore", FutureWarning)
        tangent: Tensor = torch.func.jvp(f, (x,), (torch.ones_like(x),))[1]
    return tangent


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


def symbolic(program: Program, x: float) -> float | None:
    """Compute f' at `x` by SymPy: differentiated as a whole, evaluated with 30 digits.

    Returns:
        The nearest float, or None where f' is not a finite real number.
    """
    import sympy

    symbol = sympy.Symbol("x", real=True)
    constants = {"pi": sympy.pi, "e": sympy.E}
    arithmetic = Arithmetic(sympy, lambda text: constants.get(text) or sympy.Rational(text))
    values = {"x": symbol}
    for step in program:
        values[step.name] = evaluate(step.expr, values, arithmetic)
    slope = sympy.diff(values[program[-1].name], symbol)
    try:
        value = float(slope.evalf(DIGITS, subs={symbol: sympy.Float(x, DIGITS)}))
    except (ArithmeticError, TypeError):  # a pole, or a complex number
        return None
    return finite(value)


def sympy_finishes(program: Program) -> bool:
    """Whether SymPy is given the function: what is nested too deeply takes it for ever."""
    return _nesting(compose(program)[program[-1].name]) <= MAX_SYMPY_NESTING


def precise(program: Program, x: float) -> float | None:
    """Compute f' at `x` by the rules of the chain rule, evaluated with 30 digits.

    Returns:
        As for `symbolic`.
    """
    import mpmath

    constants = {"pi": mpmath.pi, "e": mpmath.e}
    arithmetic = Arithmetic(mpmath, lambda text: mpmath.mpf(constants.get(text, text)))
    with mpmath.workdps(DIGITS):
        try:
            value = float(evaluate(slope_in_x(program), {"x": mpmath.mpf(x)}, arithmetic))
        except (ArithmeticError, ValueError, TypeError):  # a pole, or a complex number
            return None
    return finite(value)


def _nesting(expr: Expr) -> int:
    is_nested = isinstance(expr, Call) or (isinstance(expr, Binary) and expr.operator == "**")
    return is_nested + max(map(_nesting, children(expr)), default=0)


@dataclass(frozen=True)
class Extrapolation:
    """A derivative by finite differences.

    Attributes:
        value: the extrapolated derivative.
        step: the smallest step that it rests on.
        error: estimate of its error.
    """

    value: float
    step: float
    error: float


ORDERS = 10
"""Steps that one extrapolation rests on."""


def richardson(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    first_step: float,
    noise: Callable[[Tensor], Tensor],
    levels: int = 40,
) -> Extrapolation:
    """Estimate f'(x) from central differences, extrapolated to step 0 (Richardson; Ridders).

    The steps are first_step / 2**k. Every ORDERS of them that follow each other are extrapolated,
    the finest first; a coarser one, which rounds less, takes its place where the two agree to
    within their errors. So a step longer than the oscillations of f, whose quotients may agree
    with each other, is not believed.

    Args:
        f: evaluated once, at all points, in the dtype of `x`.
        x: a scalar tensor.
        first_step: the largest step; f must be defined on [x - first_step, x + first_step].
        noise: absolute rounding error of f, at each of the points that it is given.
        levels: number of steps, if the dtype resolves as many.
    """
    finest = 8 * torch.finfo(x.dtype).eps * max(abs(float(x)), first_step)
    levels = max(2, min(levels, 1 + int(math.log2(max(first_step / finest, 1)))))
    steps = first_step / 2.0 ** torch.arange(levels, dtype=x.dtype, device=x.device)
    above, below = x + steps, x - steps
    # Divided by the steps that were made, after rounding, not by those that were meant.
    made = above.double() - below.double()
    quotients = ((f(above) - f(below)).double() / made).tolist()
    floors = ((noise(above) + noise(below)).double() / made).tolist()
    best = Extrapolation(math.nan, first_step, math.inf)
    for start in range(max(levels - ORDERS, 0), -1, -1):
        window = slice(start, start + ORDERS)
        found = _extrapolate(quotients[window], floors[window], first_step / 2**start)
        agree = not abs(found.value - best.value) > found.error + best.error
        if found.error < best.error and agree:
            best = found
    return best


def _extrapolate(quotients: list[float], floors: list[float], first_step: float) -> Extrapolation:
    """Remove one even power of the step after the other, and take the entry that is surest.

    The error of an entry of the tableau is how far it moved when the last order was added, and at
    least what the noise of f makes of its step.
    """
    best = Extrapolation(quotients[0], first_step, math.inf)
    previous = [quotients[0]]
    for k in range(1, len(quotients)):
        row = [quotients[k]]
        for order in range(1, k + 1):
            weight = 4.0**order
            value = (weight * row[-1] - previous[order - 1]) / (weight - 1)
            moved = max(abs(value - row[-1]), abs(value - previous[order - 1]))
            error = max(moved, floors[k])
            row.append(value)
            if error < best.error:
                best = Extrapolation(value, first_step / 2**k, error)
        previous = row
    return best
