"""The methods side by side: what each gives at a point, and whether the difference is rounding."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from midterm_cli.part1.autodiff.schema import (
    Agreement,
    FiniteDifference,
    Gradcheck,
    Point,
    PointDerivative,
)
from midterm_cli.part1.derivation import ROUNDING_FACTOR
from midterm_cli.part1.derivative import (
    Extrapolation,
    chain_rule,
    forward_mode,
    partial_derivatives,
    precise,
    reverse_mode,
    richardson,
    symbolic,
    sympy_finishes,
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


def compare_methods(program: Program, places: Sequence[Place], at: Tensor) -> list[Point]:
    """Every method at every point.

    Args:
        program: the function.
        places: where the points lie.
        at: the points in the dtype that is examined.

    Returns:
        One entry for each point. The methods are checked against the symbolic one, or, where SymPy
        does not finish, against the rules of the chain rule with 30 digits.
    """
    values = evaluate_program(program, at)
    totals = chain_rule(program, partial_derivatives(program, at), at)
    exact = {
        "chain_rule": totals[program[-1].name].tolist(),
        "autograd": reverse_mode(program, at).tolist(),
        "autograd_forward": forward_mode(program, at).tolist(),
    }
    slope_noise = rounding_bound_of_slope(program, at).tolist()
    finishes = sympy_finishes(program)
    points = []
    for i, place in enumerate(places):
        found: dict[str, float | None] = {}
        agreements: dict[str, Agreement] = {}
        difference = reference = None
        if place.note is None:
            found = {name: finite(column[i]) for name, column in exact.items()}
            tolerance = dict.fromkeys(found, ROUNDING_FACTOR * slope_noise[i])
            if not place.is_edge:  # there are no points on both sides of an edge
                difference = _finite_difference(program, at[i])
                found["finite_difference"] = finite(difference.value)
                tolerance["finite_difference"] = 10 * difference.error + tolerance["autograd"]
            reference = (symbolic if finishes else precise)(program, float(at[i]))
            agreements = {
                name: _agreement(value, reference, tolerance[name]) for name, value in found.items()
            }
            if finishes:
                found["symbolic"] = reference
        points.append(
            Point(
                x=place.x,
                f=float(values[program[-1].name][i]),
                intermediates={step.name: float(values[step.name][i]) for step in program[:-1]},
                derivative=PointDerivative(**found),
                finite_difference=difference
                and FiniteDifference(step=difference.step, error_estimate=finite(difference.error)),
                comparison=agreements,
                note=place.note,
                reference=None if finishes else reference,
            )
        )
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


def _agreement(value: float | None, reference: float | None, tolerance: float) -> Agreement:
    if value is None or reference is None:
        return Agreement(difference=None, relative=None, tolerance=None, agrees=False)
    difference = abs(value - reference)
    return Agreement(
        difference=difference,
        relative=difference / abs(reference) if reference else None,
        tolerance=finite(tolerance),
        agrees=difference <= tolerance,
    )


def max_relative_error(points: Sequence[Point]) -> float | None:
    """The largest relative difference of any method at any point; None where there is none."""
    relative = [one.relative for point in points for one in point.comparison.values()]
    return max((value for value in relative if value is not None), default=None)


def gradcheck(program: Program, x: Tensor) -> Gradcheck:
    """What torch.autograd.gradcheck with its default settings says of f, and why it may reject it.

    It accepts |f' - q| ≤ 1e-5 + 1e-3 |q| for the central quotient q of step 1e-6, computed in the
    dtype of `x`.

    Args:
        program: the function.
        x: (n,), points of the domain.
    """

    def f(at: Tensor) -> Tensor:
        return evaluate_program(program, at)[program[-1].name]

    step, atol, rtol = 1e-6, 1e-5, 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that x is not float64: see the reason
        passed = not len(x) or torch.autograd.gradcheck(
            f, x.detach().requires_grad_(), eps=step, atol=atol, rtol=rtol, raise_exception=False
        )
    if passed:
        return Gradcheck(passed=True, reason=None)
    allowed = atol + rtol * ((f(x + step) - f(x - step)) / (2 * step)).abs()
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
    return Gradcheck(passed=False, reason=reason)
