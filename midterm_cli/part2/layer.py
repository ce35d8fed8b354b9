"""f_T, and g_T(x; M) = M⁻¹ f_T(M x) as a function and as a module; derivatives in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from midterm_cli.errors import UserError
from midterm_cli.part2.arrays import check_matrix

# The soft-threshold


def softt(y: Tensor, threshold: float) -> Tensor:
    """Soft-thresholding of this course: 0 on [-T, T], (y - T)² above, (y + T)³ below.

    Branch-free: torch.where over the two powers overflows in the branch that it drops, and then
    back-propagates NaN from there.

    Args:
        y: any shape, any floating-point dtype.
        threshold: T > 0.

    Returns:
        The same shape. It is continuously differentiable: both one-sided derivatives at ±T are 0.
        The second derivative jumps from 0 to 2 at +T, and is continuous at -T.

    Raises:
        UserError: the threshold is not a positive number.
    """
    if not 0 < threshold < math.inf:
        raise UserError(f"threshold must be greater than 0 and finite, got {threshold}")
    return relu(y - threshold).square() - relu(-y - threshold).pow(3)


def softt_derivative(y: Tensor, threshold: float) -> Tensor:
    """The derivative of `softt` in closed form: 2 (y - T) above T, 3 (y + T)² below -T, else 0."""
    return 2 * relu(y - threshold) + 3 * relu(-y - threshold).square()


def softt_second_derivative(y: Tensor, threshold: float) -> Tensor:
    """The second derivative in closed form: 2 above T, 6 (y + T) below -T, else 0 (at +T too)."""
    return 2 * (y > threshold).to(y.dtype) - 6 * relu(-y - threshold)


# The layer


def symmetric_part(matrix: Tensor) -> Tensor:
    """(M + Mᵀ) / 2."""
    return (matrix + matrix.mT) / 2


def apply_g(x: Tensor, matrix: Tensor, threshold: float) -> Tensor:
    """g_T(x; M) = M⁻¹ f_T(M x), for any invertible M.

    Args:
        x: (…, d).
        matrix: M, (d, d); not taken to be symmetric, so that its gradient is unconstrained.
        threshold: T > 0.

    Returns:
        (…, d).
    """
    thresholded = softt(x @ matrix.mT, threshold)
    rows = thresholded.reshape(-1, matrix.shape[-1])
    # A solve, not an inverse that is kept: M changes with every update.
    solution: Tensor = torch.linalg.solve(matrix, rows.mT)
    return solution.mT.reshape(thresholded.shape)


def squared_distance(x: Tensor, matrix: Tensor, threshold: float) -> Tensor:
    """φ_T(x; M) = ‖x - g_T(x; M)‖₂², for each x: (…, d) gives (…)."""
    distance: Tensor = (x - apply_g(x, matrix, threshold)).square().sum(-1)
    return distance


def closed_form_gradients(x: Tensor, matrix: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """∂φ/∂x and ∂φ/∂M in closed form.

    With r = x - g, D = diag f_T'(M x) and v = M⁻ᵀ r:

        ∂φ/∂x = 2 (r - Mᵀ D v)        ∂φ/∂M = 2 (v gᵀ - (D v) xᵀ)

    Args:
        x: (d,).
        matrix: M, (d, d), invertible.
        threshold: T > 0.

    Returns:
        (d,) and (d, d); the latter with respect to a free M.
    """
    g = apply_g(x, matrix, threshold)
    r = x - g
    v = torch.linalg.solve(matrix.mT, r)
    dv = softt_derivative(matrix @ x, threshold) * v
    return 2 * (r - matrix.mT @ dv), 2 * (torch.outer(v, g) - torch.outer(dv, x))


class SofttModule(nn.Module):
    """x ↦ M⁻¹ f_T(M x) with a symmetric, trainable M.

    The parameter `M` enters by its symmetric part. So its gradient is symmetric, M stays symmetric
    under any optimiser, and the output is that of a symmetric M whatever is written into `M`.
    """

    def __init__(self, matrix: Tensor, threshold: float) -> None:
        """Take M and T.

        Args:
            matrix: symmetric and invertible, (d, d), float32 or float64; it is copied.
            threshold: T > 0.

        Raises:
            UserError: the matrix is not square, symmetric and invertible.
        """
        super().__init__()
        check_matrix(matrix)
        self.M = nn.Parameter(symmetric_part(matrix.detach()))
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """Compute g_T(x; M) for x of shape (…, d)."""
        return apply_g(x, symmetric_part(self.M), self.threshold)

    def extra_repr(self) -> str:
        """Show dimension and threshold."""
        return f"dimension={self.M.shape[0]}, threshold={self.threshold}"


def create_symmetric_invertible_matrix(
    dimension: int,
    max_condition_number: float,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Draw a random symmetric matrix whose condition number is bounded.

    M = Q diag(λ) Qᵀ with Q uniform over the orthogonal matrices, the logarithm of |λ| uniform
    within ± half that of the bound, and random signs.

    Args:
        dimension: d ≥ 1.
        max_condition_number: bound ≥ 1 of ‖M‖₂ ‖M⁻¹‖₂; it holds up to rounding.
        generator: on the CPU, so that a seed gives the same matrix on every device.
        dtype: of the result; it is drawn in float64.

    Returns:
        M, (d, d), symmetric to the last bit.
    """
    normal = torch.randn(dimension, dimension, dtype=torch.float64, generator=generator)
    q, r = torch.linalg.qr(normal)
    # The signs of R's diagonal make Q uniform (Mezzadri, 2007) and independent of LAPACK's choice.
    q = q * r.diagonal().sign()
    exponent = torch.rand(dimension, dtype=torch.float64, generator=generator) - 0.5
    sign = 1 - 2 * torch.randint(2, (dimension,), generator=generator)
    eigenvalues = sign * max_condition_number**exponent
    return symmetric_part((q * eigenvalues) @ q.mT).to(dtype)
