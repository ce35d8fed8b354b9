"""The usual mistakes, each recognised and said in words."""

import pytest
from judging import MIDTERM, judged

from midterm_cli.part1.mistakes import _changed
from midterm_cli.part1.parse import parse, parse_program
from midterm_cli.part1.printing import to_text

RIGHT = "(1 / (2 * sqrt(y)) + cos(y)) * 3 * x**2 * (1 + 1 / (1 + u))"
INNER = "(1 + 1 / (1 + u)) * (3 * x**2)"


@pytest.mark.parametrize(
    ("formula", "meaning"),
    [
        ("-" + RIGHT, "it is -1 times the derivative at every point"),
        ("2*" + RIGHT, "it is 2 times the derivative at every point"),
        (RIGHT + "/3", "it is 1/3 times the derivative at every point"),
        (RIGHT + "*7/360", "it is 7/360 times the derivative at every point"),
        ("1.00000001*" + RIGHT, "it is 1.00000001 times the derivative at every point"),
        (RIGHT + "*(1 + 1e-20)", "it is (1 + 1.0e-20) times the derivative at every point"),
        (RIGHT + "*pi", "it is 3.14159265358979 times the derivative at every point"),
        (RIGHT + "- 1/7", "it is the derivative plus -1/7 at every point"),
        (RIGHT.replace("+ cos", "- cos"), f"with one sign changed it agrees: {RIGHT}"),
        (RIGHT.replace("cos", "sin"), f"with cos in place of sin it agrees: {RIGHT}"),
        (RIGHT.replace("(1 + u)", "(1 + y)"), f"with u in place of y it agrees: {RIGHT}"),
        (RIGHT.replace("sqrt(y)", "sqrt(u)"), f"with y in place of u it agrees: {RIGHT}"),
        (
            RIGHT.replace("1 / (2 * sqrt(y))", "1/2*sqrt(y)"),
            f"with other brackets it agrees: {RIGHT}",
        ),
        ("1/(2*sqrt(y)) + cos(y)", f"it is ∂f/∂y: the factor dy/dx = {INNER} is missing"),
        (
            "(1/(2*sqrt(y)) + cos(y))*(1 + 1/(1 + u))",
            "it is ∂f/∂u: the factor du/dx = 3 * x**2 is missing",
        ),
        (
            "(1/(2*sqrt(y)) + cos(y))*3*x**2",
            "it is the derivative without the factor 1 + 1 / (1 + u)",
        ),
        (
            "cos(y)*3*x**2*(1 + 1/(1 + u))",
            "it is the derivative without the term 1 / (2 * sqrt(y))",
        ),
        (
            "(1/(2*sqrt(y)) + cos(y))*3*x*(1 + 1/(1 + u))",
            "it is the derivative without the exponent 2",
        ),
        ("x*y - sin(u)", None),
    ],
)
def test_mistakes_in_the_midterm(formula: str, meaning: str | None) -> None:
    found = judged(MIDTERM, formula)
    assert (found.verdict, found.meaning) == ("wrong", meaning)


@pytest.mark.parametrize(
    ("expression", "formula", "meaning"),
    [
        ("sin(x**2)", "cos(x**2)", "it is ∂f/∂u1: the factor du1/dx = 2 * x is missing"),
        ("x*sin(x)", "x*cos(x)", "it is the derivative without the term sin(x)"),
        ("exp(x)*x", "exp(x)", "it is the derivative without the term exp(x) * x"),
        ("1/cosh(x)", "tanh(x)/cosh(x)", "it is -1 times the derivative at every point"),
        (
            "1e6*(x**3 - x**2 + x)",
            "1e6*(3*x**2 + 2*x + 1)",
            "with one sign changed it agrees: 1000000.0 * (3 * x**2 - 2 * x + 1)",
        ),
        ("x**2/2", "5 - x", None),
        # exp(1e16) is 2**(1e16/log(2)), and has 4e15 digits.
        ("-x", "exp(1e16)", "it is -2**14426950408889635 times the derivative at every point"),
    ],
)
def test_mistakes_in_other_functions(expression: str, formula: str, meaning: str | None) -> None:
    assert judged(expression, formula).meaning == meaning


@pytest.mark.parametrize(
    ("expression", "formula", "low", "high"),
    [
        # The sign of what does not show makes no difference, and is no explanation.
        ("exp(1000*x)", "1000*exp(1000*x) + exp(-((x - 0.6)/0.001)**2)", -1.0, 0.7),
        # In other brackets the bump would be at x = 700.
        ("x**2", "2*x + exp(-((x - 0.7)/1e-3)**2)", -1.5, 2.5),
        ("exp(-x**2)", "0", -1.5, 2.5),  # not "0 times the derivative"
    ],
)
def test_what_explains_nothing_is_not_said(
    expression: str, formula: str, low: float, high: float
) -> None:
    found = judged(expression, formula, low, high, num_points=401)
    assert (found.verdict, found.meaning) == ("wrong", None)


def test_one_thing_is_changed_at_a_time() -> None:
    changed = _changed(parse("-x + 2/y*sin(1 - x)", ["x", "y"]), parse_program("y = x; f = y"))
    found = {change: to_text(expr) for change, expr in changed if "place of" not in change}
    assert set(found) == {"with one sign changed", "with other brackets"}
    texts = [
        to_text(expr) for _, expr in _changed(parse("-x*y", ["x", "y"]), parse_program("y=x;f=y"))
    ]
    assert texts == ["x * y", "(-y) * y", "(-x) * x"]
