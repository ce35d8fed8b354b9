"""The derivation of f' by the chain rule: in LaTeX, and term by term against autograd.

Both come from the same trees, so that the formulas printed are those that were checked.
"""

from __future__ import annotations

import torch
from torch import Tensor

from midterm_cli.part1.autodiff.schema import Term
from midterm_cli.part1.derivative import Partial, reverse_mode_steps
from midterm_cli.part1.expression import (
    Number,
    Program,
    compose,
    evaluate_program,
    finite,
    names,
)
from midterm_cli.part1.printing import name_latex, to_latex, to_text
from midterm_cli.part1.rounding import ROUNDING_FACTOR, rounding_bound_of_derivative


def check_terms(
    program: Program,
    partials: list[Partial],
    totals: dict[str, Tensor],
    x: Tensor,
    is_edge: Tensor,
) -> list[Term]:
    """Each factor and each product of the chain rule, with autograd's number for it.

    Args:
        program: the function.
        partials: its factors at `x`.
        totals: the derivative of each step at `x`, by name.
        x: the points, (n,).
        is_edge: (n,) bool, whether they are edges of the domain, where a slope may be infinite.
    """
    exact = {
        name: (value.double(), torch.zeros_like(value, dtype=torch.float64))
        for name, value in evaluate_program(program, x).items()
    }
    by_autograd = reverse_mode_steps(program, x)
    in_x = compose(program)
    terms = []
    for step in program:
        factors = [partial for partial in partials if partial.of == step.name]
        for partial in factors:
            bound = rounding_bound_of_derivative(step.expr, partial.by, exact, x.dtype)
            symbol, formula = _symbol(partial, program), to_text(partial.expr)
            terms.append(_term(symbol, formula, partial.value, partial.autograd, bound, is_edge))
        if _inputs(program, step.name) != ("x",):
            bound = rounding_bound_of_derivative(in_x[step.name], "x", exact, x.dtype)
            product = " + ".join(_product(partial, program) for partial in factors) or "0"
            value, check = totals[step.name], by_autograd[step.name]
            terms.append(_term(f"d{step.name}/dx", product, value, check, bound, is_edge))
    return terms


def _term(
    term: str, formula: str, value: Tensor, autograd: Tensor, bound: Tensor, is_edge: Tensor
) -> Term:
    equal, tolerance = value == autograd, ROUNDING_FACTOR * bound
    overflows = ~(value.isfinite() & autograd.isfinite()) & ~(equal & is_edge)
    agrees = equal | ((value.double() - autograd.double()).abs() <= tolerance) | overflows
    # Two numbers without a right digit may be equal, which decides nothing.
    size = torch.where(value == 0, 1.0, value.double().abs())
    lost = (tolerance > size) | overflows
    return Term(
        term=term,
        formula=formula,
        value=[finite(number) for number in value.tolist()],
        autograd=[finite(number) for number in autograd.tolist()],
        agrees=bool((agrees & ~lost).all()),
        undecided=bool(lost.any() and agrees.all()),
    )


def _inputs(program: Program, of: str) -> tuple[str, ...]:
    return next(names(step.expr) for step in program if step.name == of)


def _symbol(partial: Partial, program: Program) -> str:
    d = "d" if _inputs(program, partial.of) == ("x",) else "∂"
    return f"{d}{partial.of}/{d}{partial.by}"


def _product(partial: Partial, program: Program) -> str:
    symbol = _symbol(partial, program)
    return symbol if partial.by == "x" else f"{symbol} · d{partial.by}/dx"


def to_align(program: Program, partials: list[Partial]) -> str:
    """The derivation as LaTeX: an align* environment, each step followed by its derivative."""
    lines = []
    for step in program:
        products = [_latex_product(partial) for partial in partials if partial.of == step.name]
        name = name_latex(step.name)
        lines.append(rf"{name} &= {to_latex(step.expr)}")
        lines.append(rf"\frac{{d{name}}}{{dx}} &= {' + '.join(products) or '0'}")
    body = " \\\\\n".join(lines)
    return f"\\begin{{align*}}\n{body}\n\\end{{align*}}"


def _latex_product(partial: Partial) -> str:
    factor = to_latex(partial.expr)
    if partial.by == "x":
        return factor
    inner = rf"\frac{{d{name_latex(partial.by)}}}{{dx}}"
    if partial.expr == Number("1"):
        return inner
    return rf"\left({factor}\right) \cdot {inner}"
