"""The derivative by finite differences: it chooses the step and estimates the error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from midterm_cli.part1.domain import defined
from midterm_cli.part1.expression import (
    Binary,
    Call,
    Expr,
    Program,
    as_function,
    compose,
    evaluate,
    integer,
    names,
    nodes,
    torch_arithmetic,
)
from midterm_cli.part1.rounding import rounding_bound_of_value

ORDERS = 10
"""Steps that one extrapolation rests on."""
_FEWEST_ULPS = 8
"""A step of fewer units of rounding of x is mostly rounding."""
_LARGEST_RATIO = 10
"""Between the values of a radicand on [x - h, x + h]."""
_SMALLEST = 1e-30
"""An x that is closer to 0 has its steps as if it were so far away."""


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


def finite_difference(program: Program, x: Tensor) -> Extrapolation | None:
    """Estimate f' at `x`, a scalar tensor inside the domain, in its dtype.

    None where no step is short beside the variation of f and long beside the rounding of `x`.
    """
    step = first_step(program, float(x), torch.finfo(x.dtype).eps)
    if step is None:
        return None
    return richardson(
        as_function(program),
        x,
        step,
        noise=lambda points: rounding_bound_of_value(program, points),
    )


def first_step(program: Program, x: float, eps: float) -> float | None:
    """The longest step h that resolves f on [x - h, x + h]: a power of 2, at most max(|x|, 1) / 8.

    As do all shorter ones: f is defined there; of 17 values none is farther from the line through
    its neighbours than rounding and a tenth of their range; and, whether rounding hides it or not,
    no sine in f turns more than twice and no radicand comes near 0. A step that is longer than the
    oscillations of f, or across a pole or a kink, does not. A power of 2 keeps x + h and x - h free
    of rounding where that is possible.

    Args:
        program: the function.
        x: inside the domain.
        eps: relative rounding error of x.
    """
    last = math.floor(math.log2(0.125 * max(abs(x), 1.0)))
    first = math.ceil(math.log2(_FEWEST_ULPS * eps * max(abs(x), _SMALLEST)))
    steps = 2.0 ** torch.arange(first, last + 1, dtype=torch.float64)
    # Uneven, since equal distances may all be near a multiple of the wavelength.
    even = torch.linspace(-1, 1, 17, dtype=torch.float64)
    points = x + steps[:, None] * (even + 0.3 * even**3) / 1.3
    values, noise = as_function(program)(points), rounding_bound_of_value(program, points)
    share = (points[:, 1:-1] - points[:, :-2]) / (points[:, 2:] - points[:, :-2])
    bends = (values[:, 1:-1] - values[:, :-2].lerp(values[:, 2:], share)).abs()
    allowed = 0.1 * (values.amax(-1) - values.amin(-1)) + 4 * noise.amax(-1)
    resolved = defined(program, points).all(-1) & (bends.amax(-1) <= allowed)
    in_x = list(nodes(compose(program)[program[-1].name]))
    for angle in _angles(in_x):
        angles = evaluate(angle, {"x": points}, torch_arithmetic(points))
        resolved &= angles.amax(-1) - angles.amin(-1) <= 4 * math.pi
    for radicand in _radicands(in_x):
        radicands = evaluate(radicand, {"x": points}, torch_arithmetic(points)).abs()
        resolved &= radicands.amax(-1) <= _LARGEST_RATIO * radicands.amin(-1)
    num_resolved = int(resolved.int().cumprod(0).sum())
    return float(steps[num_resolved - 1]) if num_resolved else None


def _angles(in_x: Sequence[Expr]) -> list[Expr]:
    """What a sine, a cosine or a tangent is taken of, among the parts of f in x."""
    return [
        node.argument
        for node in in_x
        if isinstance(node, Call) and node.function in ("sin", "cos", "tan") and names(node)
    ]


def _radicands(in_x: Sequence[Expr]) -> list[Expr]:
    """What a root or a fractional power is taken of, likewise: f may have a kink where it is 0."""
    roots = [node.argument for node in in_x if isinstance(node, Call) and node.function == "sqrt"]
    powers = [
        node.left
        for node in in_x
        if isinstance(node, Binary) and node.operator == "**" and integer(node.right) is None
    ]
    return [radicand for radicand in (*roots, *powers) if names(radicand)]


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
    finest = _FEWEST_ULPS * torch.finfo(x.dtype).eps * max(abs(float(x)), first_step)
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
