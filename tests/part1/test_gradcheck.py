"""What gradcheck says, and the reason that is given for a rejection."""

import inspect
import re

import pytest
import torch
from torch import Tensor

from midterm_cli.part1 import gradcheck as module
from midterm_cli.part1.autodiff.schema import Gradcheck
from midterm_cli.part1.gradcheck import gradcheck
from midterm_cli.part1.parse import parse_program

PASSED = Gradcheck(passed=True, reason=None)


def point(*x: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(x, dtype=dtype)


def test_its_settings_are_the_defaults() -> None:
    defaults = inspect.signature(torch.autograd.gradcheck).parameters
    named = (defaults[name].default for name in ("eps", "atol", "rtol"))
    assert tuple(named) == (module._STEP, module._ATOL, module._RTOL)


@pytest.mark.parametrize(
    ("expression", "x"),
    [
        ("sin(x**2)", (0.5, 1.0, -3.0)),
        ("exp(300*x)", (0.1,)),  # by its relative tolerance: the quotient is off by far over 1e-5
        ("u = x; f = 2", (1.0, 2.0)),
        ("sin(x)", ()),
    ],
    ids=["several points", "steep", "constant", "no point"],
)
def test_it_passes(expression: str, x: tuple[float, ...]) -> None:
    assert gradcheck(parse_program(expression), point(*x)) == PASSED


def test_one_bad_point_is_enough() -> None:
    program = parse_program("sqrt(x)")
    assert gradcheck(program, point(1.0)) == PASSED
    assert not gradcheck(program, point(1.0, 1e-7)).passed


@pytest.mark.parametrize(("expression", "x"), [("sqrt(x)", 1e-7), ("sin(1e5*x)", 1.0)])
def test_it_is_too_coarse_beside_an_edge_and_where_f_oscillates(expression: str, x: float) -> None:
    assert gradcheck(parse_program(expression), point(x)) == Gradcheck(
        passed=False,
        reason="its step of 1e-06 is too coarse here, near the edge of the domain or on a steep "
        "piece; the finite differences of this command choose their step",
    )


def test_its_step_is_lost_in_the_rounding_of_x() -> None:
    found = gradcheck(parse_program("sin(x)"), point(1e22))
    assert "makes the rounding of x and f in float64 an error of up to" in (found.reason or "")


def test_it_has_no_number_where_autograd_has_none() -> None:
    found = gradcheck(parse_program("sqrt(x**2)"), point(1e-170))
    assert found.reason == "autograd has no finite number there"


def test_it_is_lost_in_the_rounding_of_float32() -> None:
    found = gradcheck(parse_program("1024 + x**2"), point(1.0, dtype=torch.float32))
    assert not found.passed
    reason = re.fullmatch(
        r"its step of 1e-06 makes the rounding of x and f in float32 an error of up to (\S+) "
        r"in the quotient, and it allows (\S+); this says nothing against the derivative",
        found.reason or "",
    )
    assert reason is not None
    # One unit of rounding of 1024 is 1.2e-4, more than a hundred steps.
    assert 100 < float(reason[1]) < 500
    assert reason[2] == "0.002"  # 1e-5 + 1e-3 · 2
