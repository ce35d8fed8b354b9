"""The gradients of φ = ‖x - g_T(x; M)‖² by autograd, checked in up to three other ways."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from midterm_cli.part2.layer import (
    SofttModule,
    closed_form_gradients,
    softt,
    softt_derivative,
    softt_second_derivative,
    squared_distance,
    symmetric_part,
)
from midterm_cli.part2.module.schema import (
    MAX_ENTRIES,
    NUM_DIRECTIONS,
    Check,
    Checks,
    GradientChecks,
)
from midterm_cli.tolerance import judge


class Gradients(NamedTuple):
    """What autograd computes.

    Attributes:
        g: (d,).
        phi: a scalar.
        grad_x: (d,).
        grad_M: (d, d), M free.
        grad_M_symmetric: (d, d), M the symmetric parameter of the module.
    """

    g: Tensor
    phi: Tensor
    grad_x: Tensor
    grad_M: Tensor
    grad_M_symmetric: Tensor


def gradients_by_autograd(x: Tensor, matrix: Tensor, threshold: float) -> Gradients:
    """Compute g, φ and its gradients, M both free and as the symmetric parameter of the module."""
    free_x, free_matrix = x.detach().requires_grad_(), matrix.detach().requires_grad_()
    phi = squared_distance(free_x, free_matrix, threshold)
    grad_x, grad_matrix = torch.autograd.grad(phi, (free_x, free_matrix))
    module = SofttModule(matrix, threshold)
    g = module(x)
    (grad_symmetric,) = torch.autograd.grad((x - g).square().sum(), module.M)
    return Gradients(g.detach(), phi.detach(), grad_x, grad_matrix, grad_symmetric)


def check_gradients(
    computed: Gradients, x: Tensor, matrix: Tensor, threshold: float, seed: int
) -> Checks:
    """Check each gradient against the closed form, finite differences, and double precision.

    Args:
        computed: in the dtype of `x`.
        x: (d,).
        matrix: M, (d, d), symmetric and invertible.
        threshold: T > 0.
        seed: of the directions of the finite differences.
    """
    x64, matrix64 = x.double(), matrix.double()
    double = gradients_by_autograd(x64, matrix64, threshold)
    closed_x, closed_matrix = closed_form_gradients(x, matrix, threshold)
    rounding = rounding_bounds(x64, matrix64, threshold, x.dtype)
    quotients = _finite_differences(x64, matrix64, threshold, seed)

    def check(name: str, closed: Tensor) -> GradientChecks:
        value, exact = getattr(computed, name), getattr(double, name)
        scale, tolerance = float(exact.abs().max()), rounding[name]
        along, quotient, error = quotients[name]
        slope = along.flatten(1) @ value.double().flatten()
        exact_slope = float((along.flatten(1) @ exact.flatten()).abs().max())
        return GradientChecks(
            closed_form=_check(value - closed, scale, tolerance, scale),
            finite_differences=_check(slope - quotient, scale, tolerance + error, exact_slope),
            double_precision=(
                None if x.dtype == torch.float64 else _check(value - exact, scale, tolerance, scale)
            ),
        )

    return Checks(
        grad_x=check("grad_x", closed_x),
        grad_M=check("grad_M", closed_matrix),
        grad_M_symmetric=check("grad_M_symmetric", symmetric_part(closed_matrix)),
    )


def _check(difference: Tensor, scale: float, tolerance: float, compared: float) -> Check:
    """Judge a difference.

    Args:
        difference: of all entries.
        scale: the largest entry of the gradient.
        tolerance: of the difference.
        compared: the largest entry of what is compared.
    """
    largest = float(difference.abs().max())
    judged = judge(largest, tolerance, compared)
    return Check(
        max_difference=largest,
        relative=largest / scale if scale else None,
        tolerance=tolerance,
        agrees=judged.agrees,
        undecided=judged.undecided,
    )


def rounding_bounds(
    x: Tensor, matrix: Tensor, threshold: float, dtype: torch.dtype
) -> dict[str, float]:
    """Bounds on the rounding errors of φ and of each gradient, computed in `dtype`.

    Rounding acts on the terms before they cancel, so this follows the largest entry of each term
    through the closed form, with norms in place of M and M⁻¹. The error of z = M x, which is
    relative to |z|, enters f_T(z) by its slope and f_T'(z) by its second derivative. A linear solve
    adds the condition number.

    Args:
        x: (d,), float64.
        matrix: M, (d, d), float64.
        threshold: T > 0.
        dtype: of the computation.

    Returns:
        By name: phi, and of each gradient the bound of its largest error.
    """
    singular = torch.linalg.svdvals(matrix)
    norm, inverse_norm = float(singular[0]), 1 / float(singular[-1])
    z = matrix @ x
    slope = softt_derivative(z, threshold)
    size_f = float((softt(z, threshold).abs() + slope * z.abs()).max())
    size_slope = float((slope + softt_second_derivative(z, threshold).abs() * z.abs()).max())
    size_x = float(x.abs().max())
    size_g = inverse_norm * size_f
    size_r = size_x + size_g
    size_v = inverse_norm * size_r
    size_dv = size_slope * size_v
    size_m = size_v * size_g + size_dv * size_x
    unit = torch.finfo(dtype).eps * len(x) * norm * inverse_norm
    return {
        "phi": unit * size_r**2,
        "grad_x": unit * 2 * (size_r + norm * size_dv),
        "grad_M": unit * 2 * size_m,
        "grad_M_symmetric": unit * 2 * size_m,
    }


def _finite_differences(
    x: Tensor, matrix: Tensor, threshold: float, seed: int
) -> dict[str, tuple[Tensor, Tensor, float]]:
    """Directional derivatives of φ in float64, by extrapolated central differences.

    Returns:
        For each gradient the directions, (n, …); φ's derivative along each, (n,); and a bound of
        their errors, by truncation and by rounding.
    """
    noise = rounding_bounds(x, matrix, threshold, torch.float64)["phi"]
    generator = torch.Generator().manual_seed(seed)
    along_x, along_matrix = directions(x, generator), directions(matrix, generator)
    singular = torch.linalg.svdvals(matrix)
    # Beside a step far longer than x the rounding of φ would hide its slope. At x = 0 f_T changes
    # over lengths of T in M x. A step in M must stay small against M's inverse.
    step_x = 1e-3 * (float(x.abs().max()) or threshold / float(singular[0]))
    step_matrix = 1e-3 * float(singular[-1])

    def of_x(points: Tensor) -> Tensor:
        return squared_distance(points, matrix, threshold)

    def of_matrix(points: Tensor) -> Tensor:
        return torch.stack([squared_distance(x, point, threshold) for point in points])

    taken = {
        "grad_x": (of_x, x, along_x, step_x),
        "grad_M": (of_matrix, matrix, along_matrix, step_matrix),
        "grad_M_symmetric": (of_matrix, matrix, symmetric_part(along_matrix), step_matrix),
    }
    found = {}
    for name, (function, at, along, step) in taken.items():
        quotients, error = extrapolated_quotients(function, at, along, step)
        found[name] = along, quotients, error + noise / step
    return found


def directions(like: Tensor, generator: torch.Generator) -> Tensor:
    """Directions for finite differences: each entry where there are few, else random ones.

    Args:
        like: what is moved along them.
        generator: on the CPU, of the random ones.

    Returns:
        Unit vectors, (n, *like.shape).
    """
    if like.numel() <= MAX_ENTRIES:
        flat = torch.eye(like.numel(), dtype=like.dtype)
    else:
        flat = torch.randn(NUM_DIRECTIONS, like.numel(), dtype=like.dtype, generator=generator)
        flat = flat / flat.norm(dim=1, keepdim=True)
    return flat.reshape(-1, *like.shape).to(like.device)


def extrapolated_quotients(
    function: Callable[[Tensor], Tensor], at: Tensor, directions: Tensor, step: float
) -> tuple[Tensor, float]:
    """Directional derivatives by central differences with steps h to h/8, extrapolated to 0.

    Args:
        function: takes a stack of points, (n, *at.shape), and gives (n,).
        at: where.
        directions: (n, *at.shape).
        step: h.

    Returns:
        The derivatives, (n,), and an estimate of their largest error.
    """

    def central(h: float) -> Tensor:
        return (function(at + h * directions) - function(at - h * directions)) / (2 * h)

    quotients = [central(step / 2**k) for k in range(4)]
    first, second, third = ((4 * b - a) / 3 for a, b in itertools.pairwise(quotients))
    extrapolated = (16 * third - second) / 15
    # Both corrections: with a kink inside a step one of them may vanish while the error does not.
    corrections = torch.maximum((third - second).abs(), (second - first).abs())
    # Of one kink the error is at most half of the larger; a direction may meet several.
    return extrapolated, 4 * float(corrections.max())
