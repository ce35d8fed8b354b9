"""The checks of the gradients: difference quotients, and bounds on rounding."""

import pytest
import torch
from cases import draw_case
from torch import Tensor

from midterm_cli.part2.gradients import (
    _check,
    check_gradients,
    directions,
    extrapolated_quotients,
    gradients_by_autograd,
    rounding_bounds,
)


def test_the_error_of_a_quotient_is_estimated_wherever_the_kink_lies() -> None:
    """Of relu(t - k)², whose second derivative jumps at k, at t = 0 with k inside of the step."""
    at, step = torch.zeros((), dtype=torch.float64), 1e-3
    for kink in torch.linspace(-1.2 * step, 1.2 * step, 241, dtype=torch.float64):
        # Bound at once by a default, for which mypy infers no type.
        quotient, error = extrapolated_quotients(
            lambda t, k=kink: torch.relu(t - k).square(),  # type: ignore[misc]
            at,
            torch.ones(1, dtype=torch.float64),
            step,
        )
        assert abs(float(quotient) - 2 * max(-float(kink), 0.0)) <= error / 2 + 1e-12
        assert error < 4 * step


def test_quotients_are_exact_for_a_quintic() -> None:
    at = torch.tensor([1.0, 2.0], dtype=torch.float64)
    directions = torch.eye(2, dtype=torch.float64)
    quotients, error = extrapolated_quotients(
        lambda points: points.pow(5).sum(-1), at, directions, 0.5
    )
    assert quotients.tolist() == pytest.approx([5, 80], rel=1e-13)
    # One quotient is off by 10 t² h² + h⁴, two steps leave -h⁴ / 4, the next two a 16th of that.
    assert error == pytest.approx(4 * 15 / 16 * 0.5**4 / 4, rel=1e-12)


def test_directions_are_each_entry_or_seeded_unit_vectors() -> None:
    def draw(like: Tensor, seed: int) -> Tensor:
        return directions(like, torch.Generator().manual_seed(seed))

    few = torch.zeros(8, 8, dtype=torch.float64)
    assert torch.equal(draw(few, 0).flatten(1), torch.eye(64, dtype=torch.float64))
    many = draw(torch.zeros(13, 5, dtype=torch.float64), 0)
    assert (many.shape, many.dtype) == ((16, 13, 5), torch.float64)
    torch.testing.assert_close(many.flatten(1).norm(dim=1), torch.ones(16, dtype=torch.float64))
    assert torch.equal(many, draw(torch.zeros(13, 5, dtype=torch.float64), 0))
    assert not torch.equal(many, draw(torch.zeros(13, 5, dtype=torch.float64), 1))


def test_the_bound_of_rounding_by_hand() -> None:
    """M = diag(4, -1/2), x = (2, 8): M x = (8, -4), f_1 = (49, -27), f_1' = (14, 27)."""
    x = torch.tensor([2.0, 8.0], dtype=torch.float64)
    matrix = torch.diag(torch.tensor([4.0, -0.5], dtype=torch.float64))
    f, slope = 49 + 14 * 8, 27 + 18 * 4  # with f_1'' = (2, -18); of the two components the larger
    r = 8 + 2 * f
    v = 2 * r
    dv = slope * v
    unit = 2**-23 * 2 * (4 * 2)  # eps · d · condition number
    of_matrix = 2 * (v * 2 * f + dv * 8)
    assert rounding_bounds(x, matrix, 1.0, torch.float32) == pytest.approx(
        {
            "phi": unit * r**2,
            "grad_x": unit * 2 * (r + 4 * dv),
            "grad_M": unit * of_matrix,
            "grad_M_symmetric": unit * of_matrix,
        }
    )


@pytest.mark.parametrize(
    ("difference", "tolerance", "size", "verdict"),
    [
        (0.1, 20.0, 20.0, "agrees"),
        (0.1, 20.1, 20.0, "cannot tell"),
        (0.0, 20.1, 20.0, "agrees"),
        (2.0, 3.0, 20.0, "agrees"),
        (2.1, 3.0, 20.0, "cannot tell"),
        (2.1, 2.0, 20.0, "DIFFERS"),
        (21.0, 20.1, 20.0, "DIFFERS"),
        (0.1, 1.0, 0.0, "agrees"),
        (0.1, 1.1, 0.0, "cannot tell"),
    ],
)
def test_a_check_is_decided_by_what_it_compares(
    difference: float, tolerance: float, size: float, verdict: str
) -> None:
    found = _check(torch.tensor([-difference, 0.0], dtype=torch.float64), 50.0, tolerance, size)
    assert (found.max_difference, found.relative) == (difference, difference / 50)
    assert (found.agrees, found.undecided) == (verdict == "agrees", verdict == "cannot tell")


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_finite_differences_take_steps_of_the_scale_of_m(scale: float) -> None:
    matrix, x = draw_case(3, seed=4, condition=3.0)
    matrix, x = scale * matrix, x / scale
    checks = check_gradients(gradients_by_autograd(x, matrix, 0.7), x, matrix, 0.7, seed=0)
    for gradient in (checks.grad_x, checks.grad_M, checks.grad_M_symmetric):
        check = gradient.finite_differences
        assert check.agrees
        assert check.relative is not None
        size = check.max_difference / check.relative
        assert 1e-15 < check.tolerance / size < 1e-5


def test_finite_differences_are_decided_by_the_seed() -> None:
    matrix, x = draw_case(65, seed=5)
    computed = gradients_by_autograd(x, matrix, 1.0)
    first, again, other = (check_gradients(computed, x, matrix, 1.0, s) for s in (0, 0, 1))
    assert first == again
    assert first.grad_x.finite_differences != other.grad_x.finite_differences
    assert first.grad_M.finite_differences != other.grad_M.finite_differences
