"""The methods side by side: what each gives at a point, and whether the difference is rounding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from midterm_cli.part1.derivation import ROUNDING_FACTOR
from midterm_cli.part1.derivative import (
    Extrapolation,
    chain_rule,
    forward_mode,
    partial_derivatives,
    reverse_mode,
    richardson,
    symbolic,
    symbolic_sympy,
)
from midterm_cli.part1.domain import Place, defined
from midterm_cli.part1.expression import (
    Expr,
    Program,
    compose,
    evaluate_program,
    finite,
    rounding_bound,
    slope_in_x,
)

METHODS = {
    "chain_rule": "chain rule",
    "autograd": "autograd, reverse",
    "autograd_forward": "autograd, forward",
    "finite_difference": "finite differences",
    "symbolic": "symbolic",
}
"""The methods by key; the last is the one that the others are held against."""


def compare_methods(
    program: Program, places: Sequence[Place], at: Tensor, by_sympy: bool
) -> list[dict[str, Any]]:
    """Every method at every point.

    Args:
        program: the function.
        places: where the points lie.
        at: the points in the dtype that is examined.
        by_sympy: whether SymPy differentiates for the symbolic method.

    Returns:
        One dict a point: x, f, intermediates, derivative (by method; None where f' does not
        exist), finite_difference (step, error_estimate), comparison (by method: difference,
        relative, tolerance, agrees), note.
    """
    values = evaluate_program(program, at)
    totals = chain_rule(program, partial_derivatives(program, at), at)
    exact = {
        "chain_rule": totals[program[-1].name].tolist(),
        "autograd": reverse_mode(program, at).tolist(),
        "autograd_forward": forward_mode(program, at).tolist(),
    }
    slope_noise = rounding_bound_of_slope(program, at).tolist()
    points = []
    for i, place in enumerate(places):
        point: dict[str, Any] = {
            "x": place.x,
            "f": float(values[program[-1].name][i]),
            "intermediates": {step.name: float(values[step.name][i]) for step in program[:-1]},
            "derivative": dict.fromkeys(METHODS),
            "finite_difference": None,
            "comparison": {},
            "note": place.note,
        }
        points.append(point)
        if place.note is not None:
            continue
        found = {name: finite(column[i]) for name, column in exact.items()}
        tolerance = dict.fromkeys(found, ROUNDING_FACTOR * slope_noise[i])
        if not place.is_edge:  # there are no points on both sides of an edge
            difference = _finite_difference(program, at[i])
            found["finite_difference"] = finite(difference.value)
            tolerance["finite_difference"] = 10 * difference.error + tolerance["autograd"]
            point["finite_difference"] = {
                "step": difference.step,
                "error_estimate": finite(difference.error),
            }
        reference = (symbolic_sympy if by_sympy else symbolic)(program, float(at[i]))
        point["derivative"] |= {**found, "symbolic": reference}
        point["comparison"] = {
            name: _comparison(value, reference, tolerance[name]) for name, value in found.items()
        }
    return points


def rounding_bound_of_value(program: Program, x: Tensor) -> Tensor:
    """Bound of the rounding error of f, computed in the dtype of `x`, at each point; float64."""
    return _bound(compose(program)[program[-1].name], x)


def rounding_bound_of_slope(program: Program, x: Tensor) -> Tensor:
    """The same of f'."""
    return _bound(slope_in_x(program), x)


def _bound(expr: Expr, x: Tensor) -> Tensor:
    exact = {"x": (x.double(), torch.zeros_like(x, dtype=torch.float64))}
    return rounding_bound(expr, exact, x.dtype)[1].expand_as(x)


def _finite_difference(program: Program, x: Tensor) -> Extrapolation:
    # A power of two keeps x + h and x - h free of rounding where that is possible.
    step = 2.0 ** math.floor(math.log2(0.125 * max(abs(float(x)), 1.0)))
    around = torch.linspace(-1, 1, 17, dtype=torch.float64, device=x.device)
    while not bool(defined(program, x.double() + step * around).all()):
        step /= 2
    return richardson(
        lambda points: evaluate_program(program, points)[program[-1].name],
        x,
        step,
        noise=lambda points: rounding_bound_of_value(program, points),
    )


def _comparison(value: float | None, reference: float | None, tolerance: float) -> dict[str, Any]:
    if value is None or reference is None:
        return {"difference": None, "relative": None, "tolerance": None, "agrees": False}
    difference = abs(value - reference)
    return {
        "difference": difference,
        "relative": difference / abs(reference) if reference else None,
        "tolerance": finite(tolerance),
        "agrees": difference <= tolerance,
    }


def max_relative_error(points: Sequence[dict[str, Any]]) -> float | None:
    """The largest relative difference of any method at any point; None where there is none."""
    relative = [c["relative"] for point in points for c in point["comparison"].values()]
    return max((value for value in relative if value is not None), default=None)


def gradcheck(program: Program, x: Tensor) -> dict[str, Any]:
    """What torch.autograd.gradcheck with its default settings says of f', and why it may say no.

    Its test of one derivative is repeated here, because calling it loads SymPy, which
    `symbolic: builtin` does without: |f' - q| ≤ 1e-5 + 1e-3 |q| for the central quotient q of
    step 1e-6, computed in the dtype of `x`.

    Returns:
        passed, and reason: None where it passed.
    """
    step, atol, rtol = 1e-6, 1e-5, 1e-3
    above, below = (evaluate_program(program, x + h)[program[-1].name] for h in (step, -step))
    quotient = (above - below) / (2 * step)
    allowed = atol + rtol * quotient.abs()
    if bool(((reverse_mode(program, x) - quotient).abs() <= allowed).all()):
        return {"passed": True, "reason": None}
    rounding = rounding_bound_of_value(program, x) / step
    if not bool((rounding > allowed).any()):  # NaN, from beyond the edge, is none of rounding's
        reason = (
            f"its step of {step:g} is too coarse here, near the edge of the domain or on a steep "
            "piece; the finite differences of this command choose their step"
        )
    else:
        dtype = str(x.dtype).removeprefix("torch.")
        reason = (
            f"its step of {step:g} makes the rounding of f in {dtype} an error of up to "
            f"{float(rounding.max()):.2g} in the quotient, and it allows "
            f"{float(allowed.min()):.2g}; this says nothing against the derivative"
        )
    return {"passed": False, "reason": reason}
