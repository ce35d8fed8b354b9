"""The judgement of a formula: what is right, what is wrong, and what cannot be told."""

import pytest
import sympy
import torch
from judging import MIDTERM, judged

from midterm_cli.errors import UserError
from midterm_cli.part1.autodiff.schema import Counterexample, FormulaPoint, Judgement
from midterm_cli.part1.judge import _is_proven, judge
from midterm_cli.part1.parse import parse, parse_program
from midterm_cli.part1.reference import Reference

X = torch.linspace(0.25, 2.0, 8, dtype=torch.float64)
RIGHT = "(1/(2*sqrt(y)) + cos(y)) * 3*x**2 * (1 + 1/(1 + u))"


def at_eight(expression: str, formula: str) -> Judgement:
    """At the points of X, and what the formula adds to them."""
    program = parse_program(expression)
    known = ["x", *(step.name for step in program[:-1])]
    return judge(parse(formula, known), Reference(program), X)


def test_a_right_formula() -> None:
    found = at_eight("u = x**2; f = u*x", "3*u")
    assert found == Judgement(
        formula="3 * u",
        latex="3 u",
        agrees=True,
        verdict="right",
        num_points=8,
        num_bad=0,
        max_relative_difference=0.0,
        first_bad=None,
        meaning=None,
    )


def test_a_formula_that_is_wrong_from_a_point_on() -> None:
    """|x - 1| against x - 1: 2 (1 - x) apart where x < 1, of which there are three points."""
    found = at_eight("x**2/2 - x", "sqrt((x - 1)**2)")
    assert (found.verdict, found.agrees) == ("wrong", False)
    assert found.first_bad == Counterexample(x=0.25, formula=0.75, derivative=-0.75)
    assert found.max_relative_difference == 2
    assert (found.num_bad, found.num_points) == (3, 8)
    found = at_eight("x**2/2", "x + sqrt(x - 0.5) - sqrt(x - 0.5)")
    assert found.first_bad == Counterexample(x=0.25, formula=None, derivative=0.25)
    assert found.meaning == "at x = 0.25 sqrt(x - 0.5) is undefined: x - 0.5 = -0.25 must be ≥ 0"


def test_beside_a_slope_of_zero_nothing_is_relative() -> None:
    found = at_eight("3", "x")
    assert (found.num_bad, found.max_relative_difference) == (8, None)


def test_what_overflows_in_float64_is_judged_all_the_same() -> None:
    """exp(709) is below the largest float64, and 1000 times as much is not."""
    x = torch.tensor([0.5, 0.709], dtype=torch.float64)
    reference = Reference(parse_program("exp(1000*x)"))
    right = judge(parse("1000*exp(1000*x)", ["x"]), reference, x)
    assert (right.verdict, right.num_points) == ("right", 2)
    wrong = judge(parse("1001*exp(1000*x)", ["x"]), reference, x[1:])
    assert wrong.verdict == "wrong"
    assert wrong.first_bad == Counterexample(x=0.709, formula=None, derivative=None)


def test_nothing_is_judged_where_there_is_no_derivative() -> None:
    x = torch.tensor([0.0], dtype=torch.float64)
    with pytest.raises(UserError, match="f' is not defined anywhere in the range"):
        judge(parse("x", ["x"]), Reference(parse_program("sqrt(x)")), x)


# ---- the formulas that were accepted, or refused, in float64


@pytest.mark.parametrize(
    ("expression", "formula", "low", "high"),
    [
        # An infinite bound of rounding.
        ("x**2", "7 + sqrt(x - x)", -1.5, 2.5),
        ("x**2", "2*(2*x) + sqrt(x - x)", -1.5, 2.5),
        ("x**2", "2*(2*x) + acos((x + 1)/(x + 1))", -1.5, 2.5),
        ("sin(x)", "2*cos(x) + (x - x)**0.5", -1.5, 2.5),
        # Cancellation.
        ("sinh(x) - exp(x)/2", "exp(-x)", 20, 40),
        ("x**2", "2*x + (1e16 + x - 1e16)", -1.5, 2.5),
        ("(1 - cos(x))/x**2", "12345", 1e-9, 1e-7),
        ("(sin(x)*x + 1e80*x) - 1e80*x", "sin(x) + x*cos(x) + 1e-9", -1.5, 2.5),
        ("1e90*x**2", "2e90*x + 1", -1.5, 2.5),
        ("exp(1000*x)", "1000*exp(1000*x) + 1", -1, 0.7),
        # Wrong in a small part of the range.
        ("sqrt(x**2)", "1", -1e-4, 3),
        ("sqrt(x**2)", "1", -1e-12, 3),
        ("x**2", "2*x + sqrt(1e-3 - x) - sqrt(1e-3 - x)", -1, 1e-2),
        ("x**2", "2*x + exp(-((x - 0.7123)/1e-3)**2)", -1000, 1000),
        ("x**2", "2*x + (1e-3 - sqrt((x - 0.7)**2)) + sqrt((1e-3 - sqrt((x - 0.7)**2))**2)", -9, 9),
        # Equal at every point of a grid.
        ("x**2", "2*x + sin(100*pi*x)", 0, 4),
        # Nearly equal.
        ("sin(x)", "cos(x) + 1e-30", -1.5, 2.5),
        ("1e6*x", "1000000.0001", -1.5, 2.5),
        ("x**2", "2.0000000001*x", -1.5, 2.5),
        ("3", "1e-100", -1.5, 2.5),
        ("1e-90*x**2", "2.1e-90*x", -1.5, 2.5),
        # More digits than Decimal computes with.
        ("x**2", f"2*x + 1{'0' * 31}1 - 1{'0' * 32}", -1.5, 2.5),
        # Undefined where f' is defined.
        ("x", "exp(log(x))/x", -2, 2),
        ("x", "0*(1/0) + 1", -2, 2),
        ("x", "0*log(-1) + 1", -2, 2),
        ("x", "1 + 0/(x - x)", -2, 2),
        ("log(x**2)", "2/sqrt(x**2)", -2, 2),
        ("tan(x)", "1/cos(x)", -20, 20),
        ("x**(4/2)", "2*sqrt(x**2)", -2, 2),
        ("x^2^3", "8*abs(x)^7", -2, 2),
        ("sin(x)^2^1", "2*abs(sin(x))*cos(x)", -3, 3),
        ("x**sqrt(4)", "2*sqrt(x**2)", -2, 2),
        ("x**(3*log(e))", "3*x*sqrt(x**2) + x - sqrt(x**2)", -2, 2),
        ("x**(2*sin(pi/2))", "2*sqrt(x)*sqrt(x)", -2, 2),
        # Undefined around each of a hundred peaks.
        ("sin(x)", "cos(x)*sqrt(1 - 1e-10 - sin(30*x))/sqrt(1 - 1e-10 - sin(30*x))", -1.5, 2.5),
        ("sin(x)", "cos(x)*sqrt(1 - 1e-10 - sin(500*x))/sqrt(1 - 1e-10 - sin(500*x))", -1.5, 2.5),
        ("sin(x)", "cos(x)*sqrt(1 - 1e-10 + cos(99*x))/sqrt(1 - 1e-10 + cos(99*x))", -1.5, 2.5),
        ("2**x", "x*2**(x - 1)", -1.5, 2.5),
        ("x**x", "x*x**(x - 1)", 0, 3),
        ("exp(-x**2)", "0", 50, 100),
        ("tanh(x)", "4*exp(-2*x)", 200, 300),
    ],
)
def test_wrong_formulas(expression: str, formula: str, low: float, high: float) -> None:
    found = judged(expression, formula, low, high)
    assert found.verdict == "wrong"
    assert found.num_bad > 0


@pytest.mark.parametrize(
    ("expression", "formula", "low", "high"),
    [
        (MIDTERM, RIGHT, -1.5, 2.5),
        (MIDTERM, "3*x**2*(2 + x**3)/(1 + x**3)*(1/(2*sqrt(y)) + cos(y))", -1.5, 2.5),
        ("x**3", "3*x**2 + (x - x)**0.5", -1.5, 2.5),
        ("x**3", "3*x**2 + (x - x)**1.5", -1.5, 2.5),
        ("sinh(x) - exp(x)/2", "exp(-x)/2", 20, 40),
        ("exp(1000*x)", "1000*exp(1000*x)", -1, 1),
        ("1/(1 + exp(-x))", "1/(2 + exp(x) + exp(-x))", -500, 500),
        ("(sin(x)*x + 1e8*x) - 1e8*x", "sin(x) + x*cos(x)", -1.5, 2.5),
        ("sqrt(x**2)", "x/sqrt(x**2)", -2, 2),
        ("sqrt(x**2)", "sqrt(x**2)/x", -2, 2),
        ("log(x)", "1/sqrt(x**2)", -1, 4),
        ("x**3", "3*x**3/x", -2, 2),  # but for a hole at 0
        ("x**2", "2*x*(x - 0.5)/(x - 0.5)", -1, 1),
        ("tan(x)", "1 + tan(x)**2", -20, 20),
        ("tanh(x)", "1/cosh(x)**2", -300, 300),
        ("tanh(x)", "4*exp(2*x)/(exp(2*x) + 1)**2", -300, 300),
        ("atan(1/x)", "-1/(1 + x**2)", -3, 3),
        ("asin(x)", "1/sqrt(1 - x**2)", -3, 3),
        ("x**x", "x**x*(log(x) + 1)", 0, 3),
        ("x**(4/2)", "2*x", -2, 2),
        ("x^2^3", "8*x^7", -2, 2),
        ("x**sqrt(4)", "2*x", -2, 2),
        ("exp(exp(x))", "exp(exp(x) + x)", 0, 6),
        ("sin(1e13*x)", "1e13*cos(1e13*x)", 0, 200),
        ("sin(x)", "cos(x)", 1e99, 1e100),
        ("1e-90*x**2", "2e-90*x", -1.5, 2.5),
        ("(1 + x**100) - 1", "100*x**99", 1e-9, 1e-7),
        ("(1 + x**100) - 1", "(1 + 100*x**99) - 1", 1e-9, 1e-7),  # 1e-690: SymPy proves it
        # Identities, by which f' or a part of the formula is 0.
        ("3", "x - x", -1, 1),
        ("sin(x)**2 + cos(x)**2", "0", -1, 1),
        ("x*cos(pi/2)", "0", -1, 1),
        ("3", "sin(x)**2 + cos(x)**2 - 1", -1, 1),
        ("x**2", "2*x + sqrt(sin(x)**2 + cos(x)**2 - 1)", -1, 1),
        ("x**2 + exp(-(x - 700)**2)", "2*x - 2*(x - 700)*exp(-(x - 700)**2)", -1, 1),
    ],
)
def test_right_formulas(expression: str, formula: str, low: float, high: float) -> None:
    found = judged(expression, formula, low, high)
    assert (found.verdict, found.num_bad, found.meaning) == ("right", 0, None)


@pytest.mark.parametrize(
    ("expression", "formula", "low", "high", "meaning"),
    [
        (
            "x**2",
            "2*x + exp(-(x - 700)**2)",
            *(-1, 1),
            "exp(-(x - 700)**2) is too small to be seen at any of",
        ),
        (
            "x**2 + exp(-(x - 700)**2)",
            "2*x",
            *(-1, 1),
            "is too small to be seen at any of",
        ),
        ("x**2", "2*x*exp(exp(-(x - 700)**2))", *(-1, 1), "exp(-(x - 700)**2) is too small"),
        ("x**2", "2*x + (0.001/(x - 700))**100", *(-1, 1), "(0.001 / (x - 700))**100 is too small"),
        ("x**2", "2*x + 1 + tanh((x - 700)/0.001)", *(-1, 1), "too small to be seen"),
        ("exp(x)", "exp(exp(exp(exp(x))))", 3, 4, "400 digits do not decide it at"),
        ("-pi", "sin(sinh(1e100))", 0, 1, "400 digits do not decide it at"),
    ],
)
def test_what_cannot_be_told(
    expression: str, formula: str, low: float, high: float, meaning: str
) -> None:
    found = judged(expression, formula, low, high)
    assert (found.verdict, found.agrees, found.num_bad) == ("cannot tell", False, 0)
    assert found.meaning is not None
    assert meaning in found.meaning


@pytest.mark.parametrize(
    ("expression", "formula"),
    [
        # sympy.simplify takes minutes for these, or ends in an exception.
        ("sin(x)*sin(2*x)", "exp(-(x - 900)**2)"),
        ("tan(x) + tan(2*x)", "1/cos(x)**2 + 2/cos(2*x)**2 + exp(-(x - 900)**2)"),
        ("exp(x)", "exp(x) + exp(-(x - 900)**2)*(x + sin(x) + exp(x) + 1)**50"),
    ],
)
def test_what_sympy_would_work_on_for_minutes_is_not_told(expression: str, formula: str) -> None:
    program = parse_program(expression)
    assert not _is_proven(parse(formula, ["x"]), program)


@pytest.mark.parametrize(
    ("expression", "formula"),
    [
        ("tan(x)", "1/cos(x)**2"),
        ("tanh(x)", "1/cosh(x)**2"),
        ("sin(2*x)", "2*cos(x)**2 - 2*sin(x)**2"),
        ("x**2", "2*x + sqrt(tan(x)**2 + 1 - 1/cos(x)**2)"),
        ("sqrt(x**2 + 1)", "x*sqrt(x**2 + 1)/(x**2 + 1)"),
        ("log(x**2 + 1)", "2*x/(1 + x**2)"),
        ("u = x**3; f = sin(u)", "3*u*cos(u)/x"),
    ],
)
def test_sympy_proves(expression: str, formula: str) -> None:
    program = parse_program(expression)
    known = ["x", *(step.name for step in program[:-1])]
    assert _is_proven(parse(formula, known), program)
    assert not _is_proven(parse(f"{formula} + (x - 9)/10**40", known), program)


@pytest.mark.parametrize("error", [ValueError, NotImplementedError, OverflowError, MemoryError])
def test_where_sympy_does_not_finish_nothing_is_proven(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(sympy, "together", fail)
    assert not _is_proven(parse("2*x", ["x"]), parse_program("x**2"))


# ---- constants


@pytest.mark.parametrize(
    ("expression", "formula", "verdict"),
    [
        ("x**3/9", "0.3333333333*x**2", "right"),
        ("x**3/9", "0.333333333333333333*x**2", "right"),
        ("x**3/9", "0.33333333333333331483*x**2", "cannot tell"),  # the float64, to 20 digits
        ("x**2", "1.0000000000000000000000000000001*2*x", "cannot tell"),
        ("x**2", "1.00000000000000000000000000000000*2*x", "right"),
        ("x**(1/3)", "0.3333333333333333*x**(-0.6666666666666666)", "right"),
        ("sqrt(2)*x", "1.4142135624", "right"),
        ("0.1*x**2", "0.2*x", "right"),
        ("0.333*x**3", "0.999*x**2", "right"),
        ("0.333*x**2", "2*0.333*x + 1e-5", "wrong"),  # given by the function, so not rounded
        ("x**3/9", "0.333*x**2", "cannot tell"),
        ("2*x**3/9", "0.666*x**2", "cannot tell"),  # cut off, not rounded
        ("x**3/9", "0.33*x**2", "wrong"),  # two digits are meant as they stand
        ("x**3/9", "0.334*x**2", "wrong"),
        ("x**3/9", "0.3333333334*x**2", "wrong"),
        ("x**2/2", "1.001*x", "wrong"),
        # A rounded constant that is taken times 1e16 could be anything: it excuses nothing.
        ("x**2", "2*x + (1.000000000001e16 + x - 1.000000000001e16)", "wrong"),
        ("x**2", "2*x + 1.00000000001e6 - 1.00000000001e6 + 1e-7", "wrong"),
        # One number must do for all points.
        ("x**3/9", "0.3333333333*x**2 + 1e-12*x**3", "wrong"),
        ("x**3/9", "0.3333333333*x**2*(1 + 1e-11*sin(50*x))", "wrong"),
        ("x**3/9", "(0.3333333333 + 1e-11*exp(-1e6*(x - 1)**2))*x**2", "wrong"),
        ("x**3/9", "0.333*x**2*(1 + 0.0005*sin(50*x))", "wrong"),
        ("x**3/9", "0.1666666667*x**2 + 0.1666666667*x**2", "right"),
        ("x**(1/3)", "0.333*x**(-0.667)", "cannot tell"),
        ("x**(1/3)", "0.333*x**(-0.65)", "wrong"),
        ("sin(x)", "sin(x + 1.570796326795)", "right"),
    ],
)
def test_the_digits_of_constants(expression: str, formula: str, verdict: str) -> None:
    found = judged(expression, formula, 0.1, 2)
    assert found.verdict == verdict
    if verdict == "cannot tell":
        assert "it may be right if its constants are rounded (" in str(found.meaning)


@pytest.mark.parametrize(
    ("expression", "formula", "low", "high", "verdict"),
    [
        # exp(-1e4) is below every float64, and exp(-x**2) nearly everywhere.
        ("exp(-x**2)/3", "-0.6666666667*x*exp(-x**2)", 100, 200, "right"),
        ("exp(-x**2)/3", "-0.667*x*exp(-x**2)", 100, 200, "cannot tell"),
        ("exp(-x**2)/3", "-0.6666666669*x*exp(-x**2)", 100, 200, "wrong"),
        ("exp(-x**2)/3", "-0.6666666667*x*exp(-x**2)", -1, 5000, "right"),
        # f' is 0, and a constant no share of it.
        ("3", "0.333*x", -1, 1, "wrong"),
    ],
)
def test_the_digits_of_constants_where_float64_has_no_such_number(
    expression: str, formula: str, low: float, high: float, verdict: str
) -> None:
    assert judged(expression, formula, low, high).verdict == verdict


# ---- at single points


def test_a_row_at_each_x() -> None:
    found = judged("x**2", "2*x**2/x", -1, 1, at=(0.5, 0.0))
    assert found.verdict == "right"  # a hole is no difference
    assert found.at == [
        FormulaPoint(x=0.5, formula=1.0, derivative=1.0, verdict="equal"),
        FormulaPoint(x=0.0, formula=None, derivative=0.0, verdict="undefined"),
    ]
    found = judged("sqrt(x)", "x", 0, 1, at=(0.0, 4.0))
    assert [row.verdict for row in found.at] == ["not judged", "different"]
    assert found.at[1] == FormulaPoint(x=4.0, formula=4.0, derivative=0.25, verdict="different")


def test_a_difference_at_an_x_outside_the_range_counts() -> None:
    assert judged("sqrt(x**2)", "1", 1, 2).verdict == "right"
    found = judged("sqrt(x**2)", "1", 1, 2, at=(-3.0,))
    assert (found.verdict, found.num_bad) == ("wrong", 1)
    assert found.first_bad == Counterexample(x=-3.0, formula=1.0, derivative=-1.0)


def test_a_difference_at_x_is_told_before_all_others() -> None:
    found = judged("x**2", "x + 1", -1, 3, at=(1.0, 2.0, 0.5))
    assert found.first_bad == Counterexample(x=2.0, formula=3.0, derivative=4.0)


def test_the_first_difference_that_shows_is_told() -> None:
    """Towards 0.7 the bump grows from 1e-20: what is told differs in ten digits."""
    found = judged("x**2", "2*x + exp(-((x - 0.7)/1e-3)**2)", num_points=401)
    bad = found.first_bad
    assert bad is not None
    assert bad.formula is not None
    assert bad.derivative is not None
    assert f"{bad.formula:.10g}" != f"{bad.derivative:.10g}"
