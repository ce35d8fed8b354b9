"""The derivative by rules, by autograd in both modes, and by SymPy."""

import math
import random
import subprocess
import sys

import mpmath
import pytest
import torch

from midterm_cli.part1.derivative import (
    SymbolicError,
    chain_rule,
    forward_mode,
    partial_derivatives,
    reverse_mode,
    symbolic,
)
from midterm_cli.part1.expression import FUNCTIONS, Arithmetic, evaluate, slope_in_x
from midterm_cli.part1.parse import parse_program


def exactly(text: str, x: float) -> float | None:
    return symbolic(parse_program(text), [x])[0]


def test_chain_rule_sums_over_all_inputs() -> None:
    program = parse_program("u = x**2; v = u*x; f = u*v + x")
    x = torch.tensor([2.0], dtype=torch.float64)
    totals = chain_rule(program, partial_derivatives(program, x), x)
    assert totals["f"].item() == 5 * 2**4 + 1


def test_both_modes_of_autograd_agree() -> None:
    program = parse_program("u = x**3 - 2*x; f = (1 + u/x)**1.5 * 2**x - sin(u)/atan(3 - x) + e")
    x = torch.linspace(1.2, 2.5, 7, dtype=torch.float64)
    torch.testing.assert_close(
        forward_mode(program, x), reverse_mode(program, x), rtol=1e-13, atol=0
    )


@pytest.mark.parametrize("text", ["3", "u = x; f = 2"])
def test_the_derivative_of_a_constant_is_zero_by_autograd(text: str) -> None:
    x = torch.tensor([1.0, 2.0], dtype=torch.float64)
    for mode in (forward_mode, reverse_mode):
        assert mode(parse_program(text), x).tolist() == [0, 0]


def test_our_rules_are_those_of_sympy() -> None:
    """Random expressions over every function and operator, in 50 digits of ours."""
    rng = random.Random(0)
    inner = [f"{name}(0.3 + x/4)" for name in FUNCTIONS] + ["x**3", "x**x", "2**x", "1/x", "-x"]
    constants = {"pi": mpmath.pi, "e": mpmath.e}
    arithmetic = Arithmetic(mpmath, lambda text: mpmath.mpf(constants.get(text, text)))
    for _ in range(30):
        a, b = rng.sample(inner, 2)
        operator = rng.choice(["+", "-", "*", "/"])
        outer = rng.choice(["sin", "exp", "atan"])
        program = parse_program(f"{outer}({a} {operator} {b}) / (1 + x)")
        x = rng.uniform(0.2, 1.5)
        with mpmath.workdps(50):
            ours = float(evaluate(slope_in_x(program), {"x": mpmath.mpf(x)}, arithmetic))
        assert symbolic(program, [x]) == [pytest.approx(ours, rel=1e-15)]


def test_constants_are_those_of_mathematics() -> None:
    assert exactly("pi*e**2*x**2", 0.5) == pytest.approx(math.pi * math.e**2, rel=1e-15)
    assert exactly("0.1*x", 7.0) == 0.1
    assert exactly("3", 7.0) == 0


def test_every_point_has_its_derivative() -> None:
    assert symbolic(parse_program("u = x**2; f = u*x"), [1.0, -2.0]) == [3, 12]
    assert symbolic(parse_program("x"), []) == []


@pytest.mark.parametrize(
    ("text", "x"),
    [
        ("log(x)", 0.0),
        ("log(x)/x", 0.0),
        ("sqrt(x)", -1.0),
        ("exp(exp(x))", 10.0),
        ("-exp(exp(x))", 10.0),
        ("x/sin(pi)", 1.0),
    ],
    ids=["pole", "nan", "complex", "overflow", "overflow below", "infinite constant"],
)
def test_what_is_no_finite_real_number_is_none(text: str, x: float) -> None:
    assert exactly(text, x) is None


@pytest.mark.parametrize("x", [1e-5, 1e-12, 1e-20])
def test_the_symbolic_method_is_correctly_rounded_where_float64_cancels(x: float) -> None:
    # f' = (x sin x - (1 - cos x) 2) / x³ = -x/12 + O(x³): at 1e-20 it cancels 80 digits.
    assert exactly("(1 - cos(x)) / x**2", x) == pytest.approx(-x / 12, rel=1e-10)


@pytest.mark.parametrize(
    "nested",
    [
        "exp(-" * 30 + "x" + ")" * 30,
        "(2+x)**(x*" * 8 + "x" + ")" * 8,
        "x**(1/(1+x)*" * 8 + "x" + ")" * 8,
        "tanh(" * 30 + "x" + ")" * 30,
    ],
)
def test_nested_functions_take_sympy_no_longer_than_others(nested: str) -> None:
    """SymPy's own evaluation takes from 15 seconds for them to longer than anybody waits."""
    program = parse_program(nested)
    x = torch.tensor([0.3], dtype=torch.float64)
    assert symbolic(program, [0.3]) == [pytest.approx(reverse_mode(program, x).item(), rel=1e-9)]


def test_where_sympy_does_not_finish_it_says_why() -> None:
    with pytest.raises(SymbolicError, match="digits"):  # 1e-10000 is more than it can print
        exactly("(1e-100*x)**100", 1.0)


@pytest.mark.slow
def test_forward_mode_does_not_load_the_compiler_of_torch() -> None:
    """It takes a second. In a process of its own: others may have loaded it here."""
    code = (
        "import sys, torch\n"
        "from midterm_cli.part1.derivative import forward_mode\n"
        "from midterm_cli.part1.parse import parse_program\n"
        "program = parse_program('u = 2 + x*3; f = sin(u)/4 - 1 + 0.5**x')\n"
        "forward_mode(program, torch.ones(1, dtype=torch.float64))\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
