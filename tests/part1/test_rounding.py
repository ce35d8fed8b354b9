"""The bound of rounding: by hand, against what happens, and in the dtype that is meant."""

import math

import pytest
import torch

from midterm_cli.part1.derivative import reverse_mode
from midterm_cli.part1.expression import compose, differentiate
from midterm_cli.part1.parse import parse, parse_program
from midterm_cli.part1.rounding import (
    rounding_bound,
    rounding_bound_of_derivative,
    rounding_bound_of_slope,
    rounding_bound_of_value,
)

MIDTERM = "u = x**3; y = 2 + u + log(1 + u); f = sqrt(y) + sin(y)"


def test_rounding_bound_by_hand() -> None:
    zero = torch.zeros((), dtype=torch.float64)
    at = {"x": (zero + 3, zero), "y": (zero + 2, zero + 0.25), "z": (zero, zero)}
    eps = 2.0**-23

    def bound(text: str) -> list[float]:
        value, error = rounding_bound(parse(text, list(at)), at, torch.float32)
        return [float(value), float(error)]

    assert bound("0.1") == pytest.approx([0.1, 0.1 * eps / 2])
    assert bound("x") == [3, 0]
    # 2**24 + 1 is no float32, 2**24 is one.
    assert bound("16777216*x") == pytest.approx([2**24 * 3, 2**24 * 3 * eps])
    assert bound("16777217*x") == pytest.approx([(2**24 + 1) * 3, 1.5 * (2**24 + 1) * 3 * eps])
    assert bound("y") == [2, 0.25]
    assert bound("x*y") == pytest.approx([6, 6 * eps + 3 * 0.25])
    assert bound("x - y") == pytest.approx([1, eps + 0.25])
    assert bound("(x + 1)*x") == pytest.approx([12, 12 * eps + 3 * 4 * eps])
    assert bound("y**2") == pytest.approx([4, 4 * eps + 4 * 0.25 + 0.25**2])
    assert bound("z + 1e30*1e30") == pytest.approx([1e60, math.inf])
    assert bound("exp(y)") == pytest.approx(
        [math.exp(2), math.exp(2) * (eps + math.exp(0.25) - 1)], rel=1e-6
    )
    # An infinite slope passes on nothing of an exact operand; what is left is underflow.
    assert bound("sqrt(z)") == [0, torch.finfo(torch.float32).tiny]


def test_the_bound_of_a_derivative_is_that_of_the_rules_and_of_autograd() -> None:
    """Of x/x the rules leave (x - x)/x**2, exactly 0; autograd adds 1/x and -x/x**2."""
    zero = torch.zeros((), dtype=torch.float64)
    at = {"x": (zero + 4, zero), "y": (zero + 3, zero)}
    eps = 2.0**-23

    def bound(text: str) -> float:
        return float(rounding_bound_of_derivative(parse(text, list(at)), "x", at, torch.float32))

    assert bound("x/x") == pytest.approx(2 * eps / 4)
    assert bound("y") == 0
    assert bound("x*y - y*x") == pytest.approx(2 * 3 * eps)
    # (y*x - y*x)/x**2 with two products of 12, and the paths 3/4 and -12/16.
    assert bound("y*x/x") == pytest.approx(2 * 12 * eps / 16 + 2 * 3 * eps / 4)


def test_rounding_bound_holds_and_is_not_idle() -> None:
    """Errors of float32 against float64: below the bound, and it is not off by orders."""
    program = parse_program(MIDTERM)
    expr = differentiate(compose(program)["f"], "x")
    x = torch.linspace(-0.89, 2.5, 500, dtype=torch.float32)
    exact, bound = rounding_bound(
        expr, {"x": (x.double(), torch.zeros(500, dtype=torch.float64))}, torch.float32
    )
    error = (reverse_mode(program, x).double() - exact).abs()
    assert bool((error <= 2 * bound).all())
    assert float((error / bound).max()) > 0.02


def test_the_bound_of_rounding_is_that_of_the_dtype_of_x() -> None:
    """One product rounds by half a unit at most; the bound counts a unit of the result."""
    program = parse_program("x*x")
    for dtype in (torch.float32, torch.float64):
        bound = rounding_bound_of_value(program, torch.tensor([3.0], dtype=dtype))
        assert bound.dtype == torch.float64
        assert bound.tolist() == pytest.approx([9 * torch.finfo(dtype).eps])
    constant = rounding_bound_of_slope(parse_program("2*x"), torch.tensor([3.0]))
    assert constant.shape == (1,)
