"""The methods side by side: what each gives at a point, and whether the difference is rounding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from midterm_cli.part1.autodiff.schema import (
    Comparison,
    Comparisons,
    FiniteDifference,
    Point,
    PointDerivative,
)
from midterm_cli.part1.derivative import (
    chain_rule,
    forward_mode,
    partial_derivatives,
    reverse_mode,
)
from midterm_cli.part1.domain import Place
from midterm_cli.part1.expression import Program, evaluate_program, finite
from midterm_cli.part1.finite_difference import Extrapolation, finite_difference
from midterm_cli.part1.rounding import ROUNDING_FACTOR, rounding_bound_of_slope
from midterm_cli.tolerance import judge

_NO_DERIVATIVE = PointDerivative(
    chain_rule=None, autograd=None, autograd_forward=None, finite_difference=None, symbolic=None
)


def compare_methods(
    program: Program,
    places: Sequence[Place],
    at: Tensor,
    exact: Mapping[int, float | None] | None,
    f: Sequence[float],
) -> list[Point]:
    """Differentiate by every method at every point, and compare each with the reference.

    Args:
        program: the function.
        places: where the points lie.
        at: the points, (len(places),), in the dtype that is examined.
        exact: the derivative by SymPy at each place without a note, by index. It is the
            reference; where there is none, autograd is.
        f: the value of the function at each place.
    """
    values = evaluate_program(program, at)
    totals = chain_rule(program, partial_derivatives(program, at), at)
    by_rules = totals[program[-1].name].tolist()
    reverse, forward = reverse_mode(program, at).tolist(), forward_mode(program, at).tolist()
    rounding = rounding_bound_of_slope(program, at).tolist()
    points = []
    for i, place in enumerate(places):
        derivative, difference, comparison = _NO_DERIVATIVE, None, Comparisons()
        if place.note is None:
            if not place.is_edge:  # there are no points on both sides of an edge
                difference = finite_difference(program, at[i])
                if difference is not None and not math.isfinite(difference.value):
                    difference = None
            derivative = PointDerivative(
                chain_rule=finite(by_rules[i]),
                autograd=finite(reverse[i]),
                autograd_forward=finite(forward[i]),
                finite_difference=None if difference is None else difference.value,
                symbolic=None if exact is None else exact[i],
            )
            comparison = _compare_all(
                derivative,
                ROUNDING_FACTOR * rounding[i],
                torch.finfo(at.dtype).eps,
                difference,
                by_sympy=exact is not None,
            )
        points.append(
            Point(
                x=place.x,
                f=f[i],
                f_computed=finite(float(values[program[-1].name][i])),
                intermediates={
                    step.name: finite(float(values[step.name][i])) for step in program[:-1]
                },
                derivative=derivative,
                finite_difference=_basis(difference),
                comparison=comparison,
                note=place.note,
            )
        )
    return points


def _basis(difference: Extrapolation | None) -> FiniteDifference | None:
    if difference is None:
        return None
    return FiniteDifference(step=difference.step, error_estimate=finite(difference.error))


def _compare_all(
    found: PointDerivative,
    tolerance: float,
    eps: float,
    difference: Extrapolation | None,
    *,
    by_sympy: bool,
) -> Comparisons:
    """Compare each method with the reference; the reference has no comparison itself."""
    reference = found.symbolic if by_sympy else found.autograd
    return Comparisons(
        chain_rule=compare(found.chain_rule, reference, tolerance, eps),
        autograd=compare(found.autograd, reference, tolerance, eps) if by_sympy else None,
        autograd_forward=compare(found.autograd_forward, reference, tolerance, eps),
        finite_difference=None
        if difference is None
        else compare(found.finite_difference, reference, 10 * difference.error + tolerance, eps),
    )


def compare(
    value: float | None, reference: float | None, tolerance: float, eps: float
) -> Comparison:
    """Compare two derivatives.

    It is undecided where one of them is no finite number, which is overflow; and, unless they are
    equal up to the last digit, where the tolerance is larger than the reference (than 1, for a
    derivative of exactly 0) or they have no digit in common.

    Args:
        value: by a method.
        reference: the derivative.
        tolerance: what rounding may make of the difference.
        eps: of the dtype in which `value` was computed.
    """
    if value is None or reference is None:
        return Comparison(
            difference=None, relative=None, tolerance=None, agrees=False, undecided=True
        )
    difference = finite(abs(value - reference))
    if difference is None:
        return Comparison(difference=None, relative=None, tolerance=None, agrees=False)
    # Where the bound itself overflows, the tolerance is no number.
    judged = judge(difference, tolerance, abs(reference), equal=2 * eps * abs(reference))
    return Comparison(
        difference=difference,
        relative=finite(difference / abs(reference)) if reference else None,
        tolerance=finite(tolerance),
        agrees=judged.agrees,
        undecided=judged.undecided,
    )


def max_relative_error(points: Sequence[Point]) -> float | None:
    """The largest relative difference of any method at any point; None where there is none."""
    relative = [
        comparison.relative
        for point in points
        for _, comparison in point.comparison
        if comparison is not None and comparison.relative is not None
    ]
    return max(relative, default=None)
