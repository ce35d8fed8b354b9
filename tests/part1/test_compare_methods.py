"""The methods side by side, and what gradcheck says and why."""

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor

from midterm_cli.part1 import compare
from midterm_cli.part1.compare import METHODS, compare_methods, gradcheck, max_relative_error
from midterm_cli.part1.derivative import Extrapolation
from midterm_cli.part1.domain import Place
from midterm_cli.part1.parse import parse_program


def point(x: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor([x], dtype=dtype)


def test_points_where_nothing_only_one_side_and_everything_is_compared() -> None:
    program = parse_program("u = x**1.5; v = 2*u; f = v + 1")
    places = [
        Place(0.0, 0.0, is_edge=True, note="not taken"),
        Place(-0.0, 0.0, is_edge=True, note=None),
        Place(4.0, 4.0, is_edge=False, note=None),
    ]
    at = torch.tensor([place.at for place in places], dtype=torch.float64)
    noted, edge, regular = compare_methods(program, places, at, by_sympy=False)
    assert noted == {
        "x": 0.0,
        "f": 1.0,
        "intermediates": {"u": 0.0, "v": 0.0},
        "derivative": dict.fromkeys(METHODS),
        "finite_difference": None,
        "comparison": {},
        "note": "not taken",
    }
    assert edge["derivative"] == {**dict.fromkeys(METHODS, 0.0), "finite_difference": None}
    assert edge["finite_difference"] is None
    assert list(edge["comparison"]) == ["chain_rule", "autograd", "autograd_forward"]
    assert (regular["x"], regular["f"], regular["note"]) == (4.0, 17.0, None)
    assert regular["intermediates"] == {"u": 8.0, "v": 16.0}
    assert list(regular["derivative"]) == list(METHODS)
    assert list(regular["derivative"].values()) == pytest.approx([6.0] * 5, rel=1e-12)
    assert list(regular["comparison"]) == [*edge["comparison"], "finite_difference"]
    assert all(comparison["agrees"] for comparison in regular["comparison"].values())
    found = regular["finite_difference"]
    assert 0 < found["step"] <= 0.5
    tolerance = regular["comparison"]["finite_difference"]["tolerance"]
    assert found["error_estimate"] < tolerance < 1e-10


@pytest.mark.parametrize(
    ("expression", "x", "step"),
    [
        ("x", 0.3, 2**-3),
        ("x", 1.9, 2**-3),
        ("x", -20.0, 2.0),
        ("log(x)", 0.01, 2**-7),
        ("log(-x)", -0.01, 2**-7),
        ("log(1 - x) + log(x + 2)", 0.99, 2**-7),
    ],
)
def test_the_first_step_is_a_power_of_two_inside_the_domain(
    expression: str, x: float, step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def richardson(f: object, at: Tensor, first_step: float, noise: object) -> Extrapolation:
        assert float(at) == x
        return Extrapolation(0.0, first_step, 0.0)

    monkeypatch.setattr(compare, "richardson", richardson)
    program = parse_program(expression)
    assert compare._finite_difference(program, point(x)[0]).step == step


@pytest.mark.parametrize(
    ("value", "reference", "tolerance", "expected"),
    [
        (None, 1.0, 0.1, (None, None, None, False)),
        (1.0, None, 0.1, (None, None, None, False)),
        (3.0, 4.0, 1.0, (1.0, 0.25, 1.0, True)),
        (3.0, -4.0, 6.9, (7.0, 1.75, 6.9, False)),
        (0.0, 0.0, 0.5, (0.0, None, 0.5, True)),
        (1.0, 2.0, math.inf, (1.0, 0.5, None, True)),
        (1.0, 2.0, math.nan, (1.0, 0.5, None, False)),
    ],
)
def test_comparison_of_two_numbers(
    value: float | None, reference: float | None, tolerance: float, expected: tuple[object, ...]
) -> None:
    keys = ("difference", "relative", "tolerance", "agrees")
    assert compare._comparison(value, reference, tolerance) == dict(
        zip(keys, expected, strict=True)
    )


def test_the_largest_relative_error() -> None:
    points: list[dict[str, Any]] = [
        {"comparison": {"a": {"relative": 0.25}, "b": {"relative": None}}},
        {"comparison": {"a": {"relative": 0.5}}},
        {"comparison": {}},
    ]
    assert max_relative_error(points) == 0.5
    assert max_relative_error(points[2:]) is None


def test_the_bound_of_rounding_is_that_of_the_dtype_of_x() -> None:
    """One product rounds by half a unit at most; the bound counts a unit of the result."""
    program = parse_program("x*x")
    for dtype in (torch.float32, torch.float64):
        bound = compare.rounding_bound_of_value(program, point(3.0, dtype))
        assert bound.dtype == torch.float64
        assert bound.tolist() == pytest.approx([9 * torch.finfo(dtype).eps])
    constant = compare.rounding_bound_of_slope(parse_program("2*x"), point(3.0))
    assert constant.shape == (1,)


def test_gradcheck_passes_by_its_relative_tolerance() -> None:
    # The quotient of 3e15 is off by far more than 1e-5.
    passed = {"passed": True, "reason": None}
    assert gradcheck(parse_program("exp(300*x)"), point(0.1)) == passed


def test_gradcheck_is_too_coarse_beside_an_edge() -> None:
    assert gradcheck(parse_program("sqrt(x)"), point(1e-7)) == {
        "passed": False,
        "reason": "its step of 1e-06 is too coarse here, near the edge of the domain or on a steep "
        "piece; the finite differences of this command choose their step",
    }


def test_gradcheck_is_lost_in_the_rounding_of_float32() -> None:
    found = gradcheck(parse_program("1024 + x**2"), point(1.0, torch.float32))
    assert not found["passed"]
    reason = re.fullmatch(
        r"its step of 1e-06 makes the rounding of f in float32 an error of up to (\S+) in the "
        r"quotient, and it allows (\S+); this says nothing against the derivative",
        found["reason"],
    )
    assert reason is not None
    # One unit of rounding of 1024 is 1.2e-4, more than a hundred steps; the quotient is 0.
    assert 100 < float(reason[1]) < 500
    assert reason[2] == "1e-05"
