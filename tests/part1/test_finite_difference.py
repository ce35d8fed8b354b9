"""Finite differences: their first step, their extrapolation, and the estimate of their error."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from midterm_cli.part1.finite_difference import (
    Extrapolation,
    _extrapolate,
    finite_difference,
    first_step,
    richardson,
)
from midterm_cli.part1.parse import parse_program
from midterm_cli.part1.rounding import rounding_bound_of_slope

EPS = 2.0**-52
MIDTERM = "u = x**3; y = 2 + u + log(1 + u); f = sqrt(y) + sin(y)"


@pytest.mark.parametrize(
    ("expression", "x", "step"),
    [
        ("x", 0.3, 2**-3),
        ("x", 1.9, 2**-3),
        ("x", -20.0, 2.0),
        ("log(x)", 0.01, 2**-7),
        ("log(x)", 0.02, 2**-6),
        ("log(-x)", -0.01, 2**-7),
        ("log(x)", 1.5 * 2**-80, 2**-80),
        ("log(1 - x) + log(x + 2)", 0.99, 2**-7),
        ("1/x", 1e-12, 2**-41),  # not across the pole, where f is defined again
        ("x**2", 0.0, 2**-3),
    ],
)
def test_the_first_step_is_a_power_of_two_inside_the_domain(
    expression: str, x: float, step: float
) -> None:
    assert first_step(parse_program(expression), x, EPS) == step


@pytest.mark.parametrize(
    ("expression", "x", "eps"),
    [("sin(x)", 1e13, EPS), ("sin(50*x)", 7e6, EPS), (MIDTERM, 75.4, 2**-23)],
)
def test_the_first_step_is_shorter_than_the_oscillations(
    expression: str, x: float, eps: float
) -> None:
    """A quarter of the wavelength 2π/k, where the argument of the sine grows by k per unit."""
    rate = {"sin(x)": 1.0, "sin(50*x)": 50.0, MIDTERM: 3 * x**2}[expression]
    step = first_step(parse_program(expression), x, eps)
    assert step is not None
    assert 8 * eps * x <= step < 2 * math.pi / rate


@pytest.mark.parametrize("x", [1e17, 1.23e17, 1e18, 3e18])
def test_where_no_step_resolves_f_there_is_none(x: float) -> None:
    program = parse_program("sin(x)")
    assert first_step(program, x, EPS) is None
    assert finite_difference(program, torch.tensor(x, dtype=torch.float64)) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_estimate_covers_the_error_where_f_oscillates_fast(dtype: torch.dtype) -> None:
    """At x = 16 to 100 the midterm's sin(y) turns up to 4,800 times per unit of x."""
    program = parse_program(MIDTERM)
    generator = torch.Generator().manual_seed(0)
    for x in (16 + 84 * torch.rand(25, generator=generator, dtype=torch.float64)).to(dtype):
        u = float(x) ** 3
        y = 2 + u + math.log1p(u)
        slope = (1 / (2 * math.sqrt(y)) + math.cos(y)) * 3 * float(x) ** 2 * (1 + 1 / (1 + u))
        found = finite_difference(program, x)
        assert found is not None
        rounding = 8 * float(rounding_bound_of_slope(program, x.reshape(1)))
        assert abs(found.value - slope) <= 10 * found.error + rounding


def test_richardson_is_exact_for_a_quintic_with_three_steps() -> None:
    point = torch.tensor(1.0, dtype=torch.float64)
    found = richardson(lambda t: t**5, point, first_step=1.0, noise=torch.zeros_like, levels=3)
    assert found.value == pytest.approx(5, rel=1e-14)


def test_richardson_error_estimate_covers_the_error() -> None:
    cases: list[tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], float]] = [
        (torch.sin, torch.cos, 0.7),
        (torch.exp, torch.exp, 3.0),
        (lambda t: torch.sin(50 * t), lambda t: 50 * torch.cos(50 * t), 1.1),
    ]
    for function, slope, x in cases:
        point = torch.tensor(x, dtype=torch.float64)
        # Bound at once by a default, for which mypy infers no type.
        found = richardson(function, point, 0.125, lambda t, f=function: 1e-16 * f(t).abs())  # type: ignore[misc]
        error = abs(found.value - float(slope(point)))
        assert error <= 10 * found.error
        assert found.error < 1e-8 * abs(float(slope(point)))


def test_an_equally_good_extrapolation_of_coarser_steps_is_not_taken() -> None:
    """Of t² every quotient is exact: the first two of the finest ten steps decide."""
    point = torch.tensor(1.0, dtype=torch.float64)
    found = richardson(torch.square, point, first_step=0.5, noise=torch.zeros_like, levels=12)
    assert found == Extrapolation(value=2.0, step=0.5 / 2**3, error=0.0)


def test_where_nothing_is_finite_nothing_is_claimed() -> None:
    point = torch.tensor(-1.0, dtype=torch.float64)
    found = richardson(torch.sqrt, point, first_step=0.5, noise=torch.zeros_like)
    assert math.isnan(found.value)
    assert (found.step, found.error) == (0.5, math.inf)
    assert _extrapolate([3.0, math.nan], [0.0, 0.0], 0.5) == Extrapolation(3.0, 0.5, math.inf)


def test_the_noise_of_f_is_the_least_error() -> None:
    """Quotients 1 and 1 agree, but the noise makes one of them uncertain by 0.25."""
    assert _extrapolate([1.0, 1.0], [0.5, 0.25], 0.5) == Extrapolation(1.0, 0.25, 0.25)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("x", "first_step"), [(1.0, 0.125), (1e6, 1e5), (1e-300, 0.125), (1.0, 1e-20)]
)
def test_steps_halve_as_far_as_the_dtype_resolves(
    x: float, first_step: float, dtype: torch.dtype
) -> None:
    taken: list[Tensor] = []

    def identity(points: Tensor) -> Tensor:
        taken.append(points)
        return points

    point = torch.tensor(x, dtype=dtype)
    richardson(identity, point, first_step, torch.zeros_like)
    above, below = taken
    assert len(above) == len(below) <= 40
    resolved = 8 * torch.finfo(dtype).eps * max(abs(float(point)), first_step)
    smallest = first_step / 2 ** (len(above) - 1)
    assert len(above) == 2 if first_step < resolved else resolved <= smallest
    assert len(above) == 40 or smallest / 2 < resolved
