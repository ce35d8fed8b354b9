"""The gradients of ‖x - g_T(x; M)‖² by autograd, held against three other ways."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from midterm_cli.part2.layer import (
    SofttModule,
    closed_form_gradients,
    squared_distance,
    symmetric_part,
)
from midterm_cli.part2.softt import softt, softt_derivative, softt_second_derivative

NUM_DIRECTIONS = 64
"""Directions of the finite differences where there are too many entries to take each."""


def gradients_by_autograd(x: Tensor, matrix: Tensor, threshold: float) -> dict[str, Tensor]:
    """Compute g, φ and its gradients, M both free and as the symmetric parameter of the module."""
    free_x, free_matrix = x.detach().requires_grad_(), matrix.detach().requires_grad_()
    phi = squared_distance(free_x, free_matrix, threshold)
    grad_x, grad_matrix = torch.autograd.grad(phi, (free_x, free_matrix))
    module = SofttModule(matrix, threshold)
    g = module(x)
    (grad_symmetric,) = torch.autograd.grad((x - g).square().sum(), module.M)
    return {
        "g": g.detach(),
        "phi": phi.detach(),
        "grad_x": grad_x,
        "grad_M": grad_matrix,
        "grad_M_symmetric": grad_symmetric,
    }


def check_gradients(
    computed: Mapping[str, Tensor], x: Tensor, matrix: Tensor, threshold: float, seed: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Hold each gradient against the closed form, finite differences, and double precision.

    Args:
        computed: grad_x, grad_M and grad_M_symmetric, in the dtype of `x`.
        x: (d,).
        matrix: M, (d, d), symmetric and invertible.
        threshold: T > 0.
        seed: of the directions of the finite differences.

    Returns:
        By gradient and by what it is held against: max_difference, relative (to the largest entry),
        tolerance, agrees.
    """
    x64, matrix64 = x.double(), matrix.double()
    double = gradients_by_autograd(x64, matrix64, threshold)
    closed_x, closed_matrix = closed_form_gradients(x, matrix, threshold)
    closed = {
        "grad_x": closed_x,
        "grad_M": closed_matrix,
        "grad_M_symmetric": symmetric_part(closed_matrix),
    }
    rounding = _rounding(x64, matrix64, threshold, x.dtype)
    quotients = _finite_differences(x64, matrix64, threshold, seed)
    checks: dict[str, dict[str, dict[str, Any]]] = {}
    for name in closed:
        scale, tolerance = float(double[name].abs().max()), rounding[name]
        directions, quotient, error = quotients[name]
        along = directions.flatten(1) @ computed[name].double().flatten()
        checks[name] = {
            "closed_form": _check(computed[name] - closed[name], scale, tolerance),
            "finite_differences": _check(along - quotient, scale, tolerance + error),
        }
        if x.dtype != torch.float64:
            difference = computed[name] - double[name]
            checks[name]["double_precision"] = _check(difference, scale, tolerance)
    return checks


def _check(difference: Tensor, scale: float, tolerance: float) -> dict[str, Any]:
    largest = float(difference.abs().max())
    return {
        "max_difference": largest,
        "relative": largest / scale if scale else None,
        "tolerance": tolerance,
        "agrees": largest <= tolerance,
    }


def _rounding(x: Tensor, matrix: Tensor, threshold: float, dtype: torch.dtype) -> dict[str, float]:
    """How far rounding in `dtype` may move φ and the gradients.

    It acts on the terms before they cancel: so this follows the largest entry of each through the
    closed form, with norms in place of M and M⁻¹. The error of z = M x, which is relative to |z|,
    enters f_T(z) by its slope and f_T'(z) by its second derivative. A linear solve adds the
    condition number.
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
        For each gradient the directions, (n, …); φ's derivative along each; and how far one of
        them may be off, by truncation and by rounding.
    """
    noise = _rounding(x, matrix, threshold, torch.float64)["phi"]
    generator = torch.Generator().manual_seed(seed)
    along_x, along_matrix = _directions(x, generator), _directions(matrix, generator)
    singular = torch.linalg.svdvals(matrix)
    # f_T changes over lengths of T in M x; a step in M must stay small against M's inverse.
    step_x = 1e-3 * max(threshold / float(singular[0]), float(x.abs().max()))
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
    for name, (function, at, directions, step) in taken.items():
        quotients, error = _quotients(function, at, directions, step)
        found[name] = directions, quotients, error + noise / step
    return found


def _directions(like: Tensor, generator: torch.Generator) -> Tensor:
    """Every entry where there are few, else random unit directions; (n, *like.shape)."""
    if like.numel() <= NUM_DIRECTIONS:
        flat = torch.eye(like.numel(), dtype=like.dtype)
    else:
        flat = torch.randn(NUM_DIRECTIONS, like.numel(), dtype=like.dtype, generator=generator)
        flat = flat / flat.norm(dim=1, keepdim=True)
    return flat.reshape(-1, *like.shape).to(like.device)


def _quotients(
    function: Callable[[Tensor], Tensor], at: Tensor, directions: Tensor, step: float
) -> tuple[Tensor, float]:
    """Derivatives of `function` from the steps h to h/8, and their largest estimated error."""

    def central(h: float) -> Tensor:
        return (function(at + h * directions) - function(at - h * directions)) / (2 * h)

    quotients = [central(step / 2**k) for k in range(4)]
    first, second, third = ((4 * b - a) / 3 for a, b in itertools.pairwise(quotients))
    extrapolated = (16 * third - second) / 15
    # Both corrections: with a kink inside a step one of them may vanish while the error does not.
    corrections = torch.maximum((third - second).abs(), (second - first).abs())
    # Of one kink the error is at most half of the larger; a direction may meet several.
    return extrapolated, 4 * float(corrections.max())
