"""The symbolic methods at their ends, and the extrapolation of finite differences."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from midterm_cli.errors import UserError
from midterm_cli.part1 import derivative
from midterm_cli.part1.derivative import Extrapolation, richardson, symbolic, symbolic_sympy
from midterm_cli.part1.expression import Program
from midterm_cli.part1.parse import parse, parse_program

by_both = pytest.mark.parametrize("method", [symbolic, symbolic_sympy])
Method = Callable[[Program, float], float | None]


@by_both
def test_constants_are_those_of_mathematics(method: Method) -> None:
    exact = math.pi * math.e**2
    assert method(parse_program("pi*e**2*x**2"), 0.5) == pytest.approx(exact, rel=1e-15)
    assert method(parse_program("0.1*x"), 7.0) == 0.1
    assert method(parse_program("3"), 7.0) == 0


@by_both
@pytest.mark.parametrize(
    ("text", "x"),
    [
        ("log(x)", 0.0),
        ("log(x)/x", 0.0),
        ("sqrt(x)", -1.0),
        ("exp(exp(x))", 10.0),
        ("-exp(exp(x))", 10.0),
    ],
    ids=["pole", "nan", "complex", "overflow", "overflow below"],
)
def test_what_is_no_finite_real_number_is_none(method: Method, text: str, x: float) -> None:
    assert method(parse_program(text), x) is None


@pytest.mark.parametrize(
    ("text", "nesting"),
    [("x + 1/x", 0), ("sin(x)**2 + x", 2), ("exp(cos(x)) * 2**x", 2), ("-(x**2)**x + tan(x)", 2)],
)
def test_nesting_counts_functions_and_powers(text: str, nesting: int) -> None:
    assert derivative._nesting(parse(text, ["x"])) == nesting


def test_sympy_gets_up_to_eight_levels() -> None:
    program, deeper = (parse_program("atan(" * n + "x" + ")" * n) for n in (8, 9))
    assert symbolic_sympy(program, 0.0) == 1
    with pytest.raises(UserError) as caught:
        symbolic_sympy(deeper, 0.0)
    assert str(caught.value) == (
        "f has 9 functions or powers inside each other, SymPy is given at most 8: "
        "use symbolic = builtin (--symbolic builtin)"
    )


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
    assert derivative._extrapolate([3.0, math.nan], [0.0, 0.0], 0.5) == Extrapolation(
        3.0, 0.5, math.inf
    )


def test_the_noise_of_f_is_the_least_error() -> None:
    """Quotients 1 and 1 agree, but the noise makes one of them uncertain by 0.25."""
    assert derivative._extrapolate([1.0, 1.0], [0.5, 0.25], 0.5) == Extrapolation(1.0, 0.25, 0.25)


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
