"""The judgement of a formula: where it is sampled, what it allows, and what it says is wrong."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from midterm_cli.errors import UserError
from midterm_cli.part1 import judge as module
from midterm_cli.part1.autodiff.schema import Counterexample, Judgement
from midterm_cli.part1.judge import judge, sample
from midterm_cli.part1.parse import parse, parse_program
from midterm_cli.part1.printing import to_text

X = torch.linspace(0.25, 2.0, 8, dtype=torch.float64)


def judged(program: str, formula: str, x: Tensor = X) -> Judgement:
    steps = parse_program(program)
    return judge(parse(formula, ["x", *(step.name for step in steps[:-1])]), steps, x)


def test_a_sample_has_one_point_in_each_equal_part_of_the_pieces() -> None:
    x = sample([[0.0, 1.0], [10.0, 13.0], [20.0, 21.0]], num_points=10, seed=0)
    assert x.dtype == torch.float64
    halves = torch.cat([torch.arange(2), torch.arange(20, 26), torch.arange(40, 42)])
    assert torch.equal((2 * x).floor(), halves.double())
    assert torch.equal(x, sample([[0.0, 1.0], [10.0, 13.0], [20.0, 21.0]], 10, seed=0))
    assert not torch.equal(x, sample([[0.0, 1.0], [10.0, 13.0], [20.0, 21.0]], 10, seed=1))


def test_a_sample_of_a_narrow_piece_stays_in_it() -> None:
    start, end = 0.1, 0.1 + 2.0**-30
    x = sample([[start, end]], num_points=5, seed=0)
    assert bool(((x > start) & (x < end)).all())
    assert bool((x.diff() > 0).all())


@pytest.mark.parametrize(("drawn", "expected"), [(0.0, 1e-6), (1 - 2.0**-53, 1 - 1e-6)])
def test_a_sample_keeps_away_from_the_ends(
    drawn: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rand(*_: Any, **__: Any) -> Tensor:
        return torch.full((1,), drawn, dtype=torch.float64)

    monkeypatch.setattr(torch, "rand", rand)
    assert sample([[0.0, 1.0]], num_points=1, seed=0).item() == expected


def test_a_right_formula() -> None:
    found = judged("u = x**2; f = u*x", "3*u")
    assert found.max_relative_difference is not None
    assert found.max_relative_difference < 1e-15
    assert found == Judgement(
        formula="3 * u",
        latex="3 u",
        agrees=True,
        num_points=8,
        num_bad=0,
        max_relative_difference=found.max_relative_difference,
        first_bad=None,
        meaning=None,
    )


def test_a_formula_that_is_wrong_from_a_point_on() -> None:
    """|x - 1| against x - 1: 2 (1 - x) apart where x < 1, of which there are three points."""
    found = judged("x**2/2 - x", "sqrt((x - 1)**2)")
    assert (found.agrees, found.num_points, found.num_bad) == (False, 8, 3)
    assert found.first_bad == Counterexample(x=0.25, formula=0.75, derivative=-0.75)
    assert found.max_relative_difference == 2
    found = judged("x**2/2", "x + sqrt(x - 0.5) - sqrt(x - 0.5)")
    assert found.first_bad == Counterexample(x=0.25, formula=None, derivative=0.25)
    assert found.meaning == "sqrt(x - 0.5) is undefined there: x - 0.5 = -0.25 must be ≥ 0"


def test_beside_a_slope_of_zero_nothing_is_relative() -> None:
    found = judged("3", "x")
    assert (found.num_bad, found.max_relative_difference) == (8, None)


def test_nothing_is_judged_where_the_derivative_overflows() -> None:
    """exp(709) is below the largest float64, and 1000 times as much is not."""
    x = torch.tensor([0.5, 0.709], dtype=torch.float64)
    found = judged("exp(1000*x)", "1000*exp(1000*x)", x)
    assert (found.agrees, found.num_points) == (True, 1)
    with pytest.raises(UserError, match="f' is not a finite number anywhere in the range"):
        judged("exp(1000*x)", "1000*exp(1000*x)", x[1:])


@pytest.mark.parametrize(
    ("program", "formula", "agrees"),
    [
        ("1e6*x", "1000000.0001", True),
        ("1e6*x", "1000000.01", False),
        ("1e-6*x", "2e-6", False),
        ("sin(x)", "cos(x) + 1e-8", False),
        # Off by 1e-8 as well, but by rounding: of the formula, of a step, of the function.
        ("sin(x)", "cos(x) + 1e8 - 1e8", True),
        ("u = cos(x) + 1e8 - 1e8; f = sin(x) + 0*u", "u", True),
        ("(sin(x)*x + 1e8*x) - 1e8*x", "sin(x) + x*cos(x)", True),
    ],
)
def test_what_is_allowed_is_typing_and_rounding(program: str, formula: str, agrees: bool) -> None:
    assert judged(program, formula).agrees is agrees


@pytest.mark.parametrize(
    ("program", "formula", "meaning"),
    [
        ("sin(x)", "2*cos(x)", "it is 2 times the derivative at every point"),
        ("x**2", "2*x + 3", "it is the derivative plus 3 at every point"),
        ("x**2/2", "1/x", None),
        ("x**2/2", "5 - x", None),
        (
            "1e6*(x**3 - x**2 + x)",
            "1e6*(3*x**2 + 2*x + 1)",
            "with one sign changed it agrees: 1000000.0 * (3 * x**2 - 2 * x + 1)",
        ),
    ],
)
def test_what_a_wrong_formula_looks_like(program: str, formula: str, meaning: str | None) -> None:
    assert judged(program, formula).meaning == meaning


def test_every_sign_is_changed_once() -> None:
    changed = module._one_sign_changed(parse("-x + sin(1 - x)*2", ["x"]))
    assert [to_text(expr) for expr in changed] == [
        "-x - sin(1 - x) * 2",
        "x + sin(1 - x) * 2",
        "-x + sin(1 + x) * 2",
    ]


@pytest.mark.parametrize(
    ("values", "common"),
    [
        ([2.0, 2 + 1e-7, 2 - 1e-7], 2.0),
        ([-3.0, -3.0], -3.0),
        ([0.0, 0.0], 0.0),
        ([1e4, 1e4 + 1e-4], 1e4),
        ([2.0, 2 + 1e-6], None),
        ([1e-4, 1.1e-4], None),
        ([1.0, 1.5], None),
        ([1.0, math.nan], None),
    ],
)
def test_the_value_that_all_share(values: list[float], common: float | None) -> None:
    assert module._common_value(torch.tensor(values, dtype=torch.float64)) == common
