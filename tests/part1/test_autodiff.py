"""The command `midterm autodiff`: published numbers, every method, the judged formula, figures."""

import io
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packaged import config, run
from pydantic import ValidationError

from midterm_cli.errors import UserError
from midterm_cli.experiment import Output, Table
from midterm_cli.part1 import expression
from midterm_cli.part1.autodiff.run import sample_curve
from midterm_cli.part1.autodiff.schema import (
    Comparison,
    Comparisons,
    Counterexample,
    Curve,
    FiniteDifference,
    Judgement,
    Point,
    PointDerivative,
    Results,
    Term,
)
from midterm_cli.part1.autodiff.show import disagreements, draw, summarize, verdict
from midterm_cli.part1.derivative import reverse_mode
from midterm_cli.part1.parse import parse_program

F = 2.53492754899111
SLOPE = 9.24847224944833
EDGE = -0.8969176270628512  # of 2 + x³ + log(1 + x³) ≥ 0
EXACT = ["chain_rule", "autograd", "autograd_forward", "symbolic"]
METHODS = [*EXACT[:3], "finite_difference", "symbolic"]
FORMULA = "(1/(2*sqrt(y)) + cos(y)) * 3*x**2 * (1 + 1/(1 + u))"
SIMPLIFIED = "3*x**2 * (2 + x**3)/(1 + x**3) * (1/(2*sqrt(y)) + cos(y))"


def printed(output: Output) -> str:
    assert isinstance(output.results, Results)
    parts = []
    for part in summarize(output.results):
        if isinstance(part, Table):
            assert all(len(row) == len(part.columns) for row in part.rows)
            parts += [part.title, *(" ".join(row) for row in part.rows)]
        else:
            parts.append(part)
    return "\n".join(parts)


def test_published_numbers_in_float64() -> None:
    output = run("autodiff")
    results = output.results
    assert (results.x, output.failed, output.warnings) == (1.432, False, [])
    assert (results.reference, results.symbolic_note) == ("symbolic", None)
    assert results.f == pytest.approx(F, abs=1e-12, rel=0)
    derivative = dict(results.derivative)
    assert list(derivative) == METHODS
    for method in EXACT:
        assert derivative[method] == pytest.approx(SLOPE, abs=1e-12, rel=0)
    assert derivative["finite_difference"] == pytest.approx(SLOPE, rel=1e-11)
    assert results.max_relative_error < 1e-11
    assert "f(1.432) = 2.534927548991   f'(1.432) = 9.248472249448" in printed(output)


def test_published_numbers_in_float32() -> None:
    output = run("autodiff", "reference/autodiff")
    assert not output.failed
    assert "f(1.432) = 2.5349   f'(1.432) = 9.2485" in printed(output)
    assert output.results.derivative.finite_difference == pytest.approx(SLOPE, rel=1e-4)
    (note,) = output.warnings
    assert "gradcheck" in note
    assert "rounding of x and f in float32" in note


def test_where_sympy_does_not_finish_the_other_methods_stand() -> None:
    """1e-10000 has more digits than SymPy can print."""
    output = run("autodiff", expression="x**2 + (1e-100*x)**100", x=3.0, num_points=11)
    results = output.results
    assert not output.failed
    assert results.reference == "autograd"
    assert results.derivative.symbolic is None
    (note,) = output.warnings
    assert note == (
        f"SymPy does not differentiate f, the reference is autograd: {results.symbolic_note}"
    )
    assert "digits" in results.symbolic_note
    tables = [part for part in summarize(results) if isinstance(part, Table)]
    assert [row[-1] for row in tables[-1].rows] == [
        *("agrees", "reference", "agrees", "agrees"),
        "not taken",
    ]


def test_several_points_give_lists_and_one_gives_numbers() -> None:
    several, one, alone = (run("autodiff", x=x).results for x in ([0.5, 1.432], [1.432], 1.432))
    assert several.x == [0.5, 1.432]
    assert several.f[1] == one.f[0] == alone.f
    assert {method: values[1] for method, values in several.derivative} == dict(alone.derivative)
    assert [point.x for point in several.points] == [0.5, 1.432]


def test_the_derivation_has_the_terms_of_the_exercise() -> None:
    results = run("autodiff").results
    terms = {term.term: term for term in results.derivation}
    assert {name: term.formula for name, term in terms.items()} == {
        "du/dx": "3 * x**2",
        "∂y/∂u": "1 + 1 / (1 + u)",
        "dy/dx": "∂y/∂u · du/dx",
        "∂f/∂y": "1 / (2 * sqrt(y)) + cos(y)",
        "df/dx": "∂f/∂y · dy/dx",
    }
    assert all(term.agrees for term in terms.values())
    u, y = results.points[0].intermediates.values()
    assert terms["∂y/∂u"].value == [pytest.approx(1 + 1 / (1 + u))]
    assert y == pytest.approx(6.30678393770227)
    assert results.latex.splitlines() == [
        r"\begin{align*}",
        r"u &= x^{3} \\",
        r"\frac{du}{dx} &= 3 x^{2} \\",
        r"y &= 2 + u + \log\left(1 + u\right) \\",
        r"\frac{dy}{dx} &= \left(1 + \frac{1}{1 + u}\right) \cdot \frac{du}{dx} \\",
        r"f &= \sqrt{y} + \sin\left(y\right) \\",
        r"\frac{df}{dx} &= \left(\frac{1}{2 \sqrt{y}} + \cos\left(y\right)\right)"
        r" \cdot \frac{dy}{dx}",
        r"\end{align*}",
    ]


def test_a_wrong_rule_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """With our derivative of log wrong, the chain rule disagrees with autograd and with SymPy."""
    monkeypatch.setitem(expression.FUNCTIONS, "log", lambda a: a)
    output = run("autodiff")
    assert output.failed
    told = "\n".join(output.warnings)
    assert "∂y/∂u" in told
    assert "chain rule differs at x = 1.432" in told


@pytest.mark.parametrize("formula", [FORMULA, SIMPLIFIED])
def test_the_published_formula_is_right(formula: str) -> None:
    output = run("autodiff", formula=formula)
    judgement = output.results.formula
    assert judgement.agrees
    assert (judgement.num_bad, judgement.first_bad, output.failed) == (0, None, False)
    assert f"is the derivative at {judgement.num_points} points" in printed(output)
    assert judgement.num_points > 401


@pytest.mark.parametrize(
    "formula", [FORMULA.replace("+ 1/", "- 1/"), FORMULA.replace("+ cos", "- cos"), "-" + FORMULA]
)
def test_one_sign_changed_is_wrong(formula: str) -> None:
    output = run("autodiff", formula=formula)
    judgement = output.results.formula
    assert output.failed
    assert not judgement.agrees
    bad = judgement.first_bad
    program = parse_program(config("autodiff").expression)
    slope = reverse_mode(program, torch.tensor(bad.x, dtype=torch.float64))
    assert bad.derivative == pytest.approx(float(slope))
    assert f"such as x = {bad.x:.10g}" in output.warnings[-1]
    if formula.startswith("-"):
        assert judgement.meaning == "it is -1 times the derivative at every point"
    else:
        assert judgement.meaning.startswith("with one sign changed it agrees: (1 / (2 *")


def test_a_formula_that_is_wrong_in_places_is_first_bad_there() -> None:
    # Right for x > 0 only: sqrt(x²) is |x|.
    changes: dict[str, Any] = {"expression": "x**3", "x": 1.0, "range": [-2.0, 2.0]}
    bad = run("autodiff", formula="3*x*sqrt(x**2)", **changes).results.formula
    assert bad.first_bad.x == pytest.approx(-2, abs=1e-9)
    assert 200 < bad.num_bad < bad.num_points - 200
    bad = run("autodiff", formula="3*x**2 + sqrt(x) - sqrt(x)", **changes).results.formula
    assert bad.first_bad.formula is None
    assert bad.meaning.startswith("at x = -2 sqrt(x) is undefined: x = -2 must be")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"range": [-3.0, -2.0]}, "nowhere in range = [-3.0, -2.0]"),
        (
            {"expression": "sqrt(-(x - 1)**2)", "x": 1.0, "range": [0.0, 2.0]},
            "at single points only in range = [0.0, 2.0]",
        ),
    ],
)
def test_a_formula_without_a_domain_to_judge_it_on(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(UserError) as caught:
        run("autodiff", formula="x", **changes)
    assert str(caught.value) == (
        f"the formula cannot be judged: f is defined {where}\n"
        "give a range that holds a part of its domain"
    )


def test_at_an_isolated_point_there_is_no_derivative() -> None:
    output = run("autodiff", expression="sqrt(-(x - 1)**2)", x=1.0, range=[0.0, 2.0])
    assert (output.results.f, output.results.derivative.autograd) == (0.0, None)
    assert output.warnings == ["x = 1 is a domain of its own: f has no derivative there"]


# ---- the headline, and what float64 cannot tell


@pytest.mark.parametrize(
    ("expression", "x", "f", "slope"),
    [
        # With 60 digits, by Taylor's series: 1/2 - x²/24 + x⁴/720.
        ("(1-cos(x))/x**2", 1e-4, 0.49999999958333333, -8.33333332777778e-06),
        ("(1-cos(x))/x**2", 1e-8, 0.5, -8.3333333333333333e-10),
        ("(1-cos(x))/x**2", 1e-12, 0.5, -8.3333333333333333e-14),
        ("tanh(x)", 300.0, 1.0, 1.060158621202e-260),
        (config("autodiff").expression, 1e6, 999999999.0857, -1215374293382.2),
        ("sqrt(x)", 1e-24, 1e-12, 5e11),
        ("log(x)", 1e-24, -55.262042231857095, 1e24),
        ("sin(x)", 1e13, -0.288885294817519, 0.957363716900840),
        ("1/x", 1e-12, 1e12, -1e24),
        ("x**(4/2)", -1.0, 1.0, -2.0),
        ("n = 2; x**n", -1.0, 1.0, -2.0),
        ("n = 3; m = n - 1; x**(n + m)", -2.0, -32.0, 80.0),
        ("n = 6/2; 1/x**-n", -2.0, -8.0, 12.0),
        # Beside an edge that is a number itself.
        ("asin(x)", 1 - 2.0**-53, 1.5707963118937354, 67108864.0),
        ("acos(x)", -1 + 2.0**-52, 3.1415926325163690, -47453132.8121258),
        ("u = x - 3; log(u)", 3 + 2.0**-51, -35.3505062085572, 2.0**51),
        ("log(1-x)", 1 - 2.0**-53, -36.7368005696771014, -(2.0**53)),
        ("sqrt(x)", 5e-324, 2.0**-537, 2.0**536),
        # Whole exponents, however they are written.
        ("x^2^3", -1.0, 1.0, -8.0),
        ("x**sqrt(4)", -3.0, 9.0, -6.0),
        ("n = log10(100); m = n^2; x^m", -1.0, 1.0, -4.0),
        ("x**(sin(pi/2)*3)", -2.0, -8.0, 12.0),
        ("x^(-2^2)", -1.0, 1.0, 4.0),
        ("x**(0.3-0.1-0.2)", 0.0, 1.0, 0.0),
        # What is 0, and is rounded.
        ("sin(pi*x)", 1e6, 0.0, math.pi),
        ("x*(sqrt(2)**2-2)", 1e10, 0.0, 0.0),
        # What float64 gives no number for, between the steps of the rules.
        ("abs(x)", 1e-170, 1e-170, 1.0),
        ("sqrt(x**2)", -1e-200, 1e-200, -1.0),
        ("sqrt(1-cos(x)**2)", math.pi, 1.2246467991473532e-16, -1.0),
        ("2**(x+5000)", -4999.0, 2.0, 2 * math.log(2)),
        ("1/(1+exp(-x))", -700.0, 9.859676543759770e-305, 9.859676543759770e-305),
    ],
)
def test_the_headline_is_right(expression: str, x: float, f: float, slope: float) -> None:
    output = run("autodiff", expression=expression, x=x, range=[0.1, 1.0])
    assert not output.failed, output.warnings
    assert output.results.f == pytest.approx(f, rel=1e-12)
    assert output.results.derivative.symbolic == pytest.approx(slope, rel=1e-12)
    typed = f"{x:.15g}" if float(f"{x:.15g}") == x else repr(x)
    assert f"f'({typed}) = {slope:.13g}" in printed(output)


@pytest.mark.parametrize(
    ("expression", "x", "f"),
    [
        ("sqrt(x)+1/x", 1e-305, 1e305),
        ("log(x)/x", 1e-305, -7.02288453363184e307),
        ("log(x)/x", 4e-306, -1.7580118602376452e308),
        ("1/x**1.003", 1e-306, 8.279421637123342e306),
        ("x**1.5+1/x", 1e-307, 1.0000000000000001e307),
    ],
)
def test_beside_an_overflow_x_is_not_moved(expression: str, x: float, f: float) -> None:
    output = run("autodiff", expression=expression, x=x)
    assert output.results.f == pytest.approx(f, rel=1e-12)
    assert output.warnings[0] == f"at x = {x:.15g} f' is too large for float64"


@pytest.mark.parametrize("expression", ["log(x)/x", "1/x**1.01", "1e3/sqrt(x)**2", "log(-x)/x"])
def test_what_overflows_has_no_value(expression: str) -> None:
    with pytest.raises(UserError, match="f is too large for float64"):
        run("autodiff", expression=expression, x=-1e-306 if "-x" in expression else 1e-306)


@pytest.mark.parametrize(
    ("expression", "x"),
    [
        ("sin(pi*x)", 1e6),
        ("cos(pi*x)", 100000.5),
        ("sin(2*pi*x)", 50000.0),
        ("tan(pi*x)", 100000.0),
        ("x*sin(pi*x)", 100000.0),
        ("sin(100000*pi*x)", 1.0),
        ("sin(sin(pi*x))", 300000.0),
        ("tanh(sin(pi*x))", 300000.0),
        ("cosh(sin(pi*x))", 300000.0),
        ("sin(pi*x)*sin(pi*x)", 100000.5),
    ],
)
def test_where_a_slope_is_0_its_rounding_is_of_second_order(expression: str, x: float) -> None:
    output = run("autodiff", expression=expression, x=x, dtype="float32", num_points=11)
    assert not output.failed
    assert "differs" not in " ".join(output.warnings)


def test_a_named_exponent_of_a_formula() -> None:
    output = run("autodiff", expression="n = 3; x**n", formula="n*x**(n - 1)", range=[-2.0, 2.0])
    assert output.results.formula.verdict == "right"


@pytest.mark.parametrize(
    ("expression", "x", "lost"),
    [
        ("(1-cos(x))/x**2", 1e-4, METHODS[:4]),
        ("(1-cos(x))/x**2", 1e-12, METHODS[:4]),
        (config("autodiff").expression, 1e6, METHODS[:3]),
        ("tanh(x)", 300.0, METHODS[:4]),
        # Autograd adds what the rules drop, 1/x - x/x**2.
        ("x/x - x", 1e-30, ["autograd"]),
    ],
)
def test_what_is_lost_to_rounding_does_not_agree(
    expression: str, x: float, lost: list[str]
) -> None:
    output = run("autodiff", expression=expression, x=x, range=[0.1, 1.0])
    comparison = {name: it for name, it in output.results.points[0].comparison if it is not None}
    assert [name for name, compared in comparison.items() if compared.undecided] == lost
    assert not any(comparison[name].agrees for name in lost)
    start = f"float64 cannot tell f' at x = {x:.15g}, which is "
    assert re.match(rf"{re.escape(start)}\S+: lost to rounding, the error", output.warnings[0])
    # Nor do two equal numbers of the chain rule without a right digit.
    last = output.results.derivation[-1]
    assert last.undecided == (last.value != [0])
    assert not (last.agrees and last.undecided)
    undecided = sum(term.undecided for term in output.results.derivation)
    assert printed(output).count("cannot tell") == len(lost) + undecided


LOST = ["(1-cos(x))/x**2", "sinh(sin(cosh(x))**-2)"]


@pytest.mark.parametrize(
    ("expression", "x", "dtype"),
    [
        # The rounding of constants, through base, exponent and factor.
        ("1.001**x", 1.0, "float64"),
        ("1.0001**x", 0.5, "float64"),
        ("1.05**x", 100.0, "float64"),
        ("e**x", 100.0, "float64"),
        ("x**3.7", 1e10, "float64"),
        ("1.1**x", 100.0, "float32"),
        ("sin(acos(-1)*x)", 1.0, "float64"),
        ("x*cos(pi/2)", 1.0, "float64"),
        # Equal, where the bound of rounding is no number.
        ("(x-x)**1.5", 1.0, "float64"),
        ("(x**2)**1.5", 0.0, "float64"),
        # What cancels in autograd, and not by the rules.
        ("cos(x/x*atan(x))", 1e13, "float64"),
        ("3**(x/x)", -0.42902828327419484, "float32"),
        ("atan(x/x)**(1/3)", 0.005177249241181679, "float64"),
        # Finite differences: across a kink, and of a sine below the rounding of f.
        ("sqrt(x**2)", 1e-16, "float32"),
        ("sqrt(x**2)", -1e-30, "float64"),
        ("tan(x) - x", 1e50, "float64"),
        ("x + sin(x)", 1e17, "float64"),
        # Overflow on the way, in the bound of rounding as well.
        ("(1-cos(x))/x**2", 1e13, "float32"),
        ("sinh(sin(cosh(x))**-2)", -100.0, "float64"),
        # Constants whose rounding float64 does not have.
        ("x**(0.1*3-0.3)", 2.0, "float64"),
        ("sin(x)**(0.1*30) + x*(0.1+0.2-0.3)", 2.0, "float32"),
        # Fast oscillation.
        *((config("autodiff").expression, x, "float32") for x in (16.0, 31.0, 75.4, 99.9)),
    ],
)
def test_no_false_alarm(expression: str, x: float, dtype: str) -> None:
    output = run("autodiff", expression=expression, x=x, dtype=dtype, num_points=11)
    assert not output.failed, output.warnings
    for name, compared in output.results.points[0].comparison:
        # Without finite differences, which may be lost, or not taken.
        lost = name == "finite_difference" or expression in LOST
        assert compared is None or compared.agrees or lost, name


NO_NUMBER = "the rules of differentiation give no number: one divides by 0, or below 1e-300"


@pytest.mark.parametrize(
    ("expression", "x", "dtype", "told"),
    [
        (
            *("(exp(x) - 1)/x", 1e-30, "float32"),
            "float32 cannot tell f' at x = 1e-30, which is 0.5: the error has no bound (autograd, "
            "reverse; autograd, forward; finite differences), and no finite number comes out "
            "(chain rule)",
        ),
        (
            # 0.1 + 0.2 - 0.3 is 0, and 5.6e-17 in float64.
            *("1/(0.1+0.2-0.3+x)", 1e-16, "float64"),
            "float64 cannot tell f' at x = 1e-16, which is -1e+32: the error has no bound (chain "
            "rule; autograd, reverse; autograd, forward; finite differences)",
        ),
        (
            # In float64 acos gives π/2 here, a pole of tan.
            *("x + tan(acos(asin(x)))", 1e-30, "float64"),
            "float64 cannot tell f' at x = 1e-30, which is -1e+60: the error has no bound (chain "
            "rule; autograd, reverse; autograd, forward; finite differences)",
        ),
        (
            *("sin(1/x)", 1e-30, "float32"),
            "float32 cannot tell f' at x = 1e-30, which is 9.5897e+59: no finite number comes out "
            "(chain rule; autograd, reverse; autograd, forward)",
        ),
        (
            *("tan(atan(sinh(1e15)))/exp(x)", 1.0, "float64"),
            f"at x = 1 {NO_NUMBER}",
        ),
        (
            *("sqrt(0.1+0.2-0.3+x)", 0.0, "float64"),
            f"at x = 0 {NO_NUMBER}",
        ),
        (
            # A kink, though sin(π·1) is 1.2e-16 in float64.
            *("abs(sin(pi*x))", 1.0, "float64"),
            f"at x = 1 {NO_NUMBER}",
        ),
        (
            # x/x has a slope of 0 - inf * inf in float64, a bound of NaN.
            *("x/x + cosh(x)", 1e-300, "float64"),
            "float64 cannot tell f' at x = 1e-300, which is 1e-300: the error has no bound "
            "(autograd, reverse; finite differences), and no finite number comes out (chain rule)",
        ),
        (
            # SymPy would compute 100**1e15.
            *("1e-3**(100**(1e15 + x))", 1e13, "float64"),
            "at x = 10000000000000 f' is not known, even with 400 digits",
        ),
        ("(exp(x)-1)/x", 1e-300, "float64", "at x = 1e-300 f' is not known, even with 400 digits"),
        (
            "log(x)",
            5e-324,
            "float64",
            "at x = 4.94065645841247e-324 f' is too large for float64",
        ),
    ],
)
def test_no_number_is_no_difference(expression: str, x: float, dtype: str, told: str) -> None:
    output = run("autodiff", expression=expression, x=x, dtype=dtype, num_points=11)
    assert not output.failed
    assert output.warnings[0] == told


@pytest.mark.parametrize(
    ("expression", "x", "dtype", "lost"),
    [
        # An intermediate overflows, in autograd as in the bound of its rounding.
        ("1/(1+exp(x))", 50.0, "float32", ["chain_rule", "autograd"]),
        ("1/(1+exp(-x))", -400.0, "float64", ["chain_rule", "autograd"]),
        # 1 - x**2 has lost half of its digits.
        ("acos(1-x**2)", 1e-8, "float64", METHODS[:4]),
        ("x + sin(x)/x**8", 1e-5, "float32", METHODS[:3]),
        # An error of 5e5 for a derivative of exactly 0.
        ("sin(exp(x))**2+cos(3*exp(x)/3)**2", 50.0, "float64", ["autograd"]),
    ],
)
def test_a_tolerance_above_what_it_judges_decides_nothing(
    expression: str, x: float, dtype: str, lost: list[str]
) -> None:
    output = run("autodiff", expression=expression, x=x, dtype=dtype, num_points=11)
    compared = {name: it for name, it in output.results.points[0].comparison if it is not None}
    assert [name for name, it in compared.items() if it.undecided] == lost
    assert all(it.agrees for name, it in compared.items() if name not in lost)
    last = output.results.derivation[-1]
    assert (last.agrees, last.undecided) == (False, True)


def test_a_kink_that_hardly_bends_is_not_stepped_across() -> None:
    output = run("autodiff", expression="100*x + sqrt(x**2)", x=1e-16, num_points=11)
    compared = output.results.points[0].comparison.finite_difference
    assert compared is not None
    assert compared.agrees


@pytest.mark.parametrize(
    ("expression", "x", "told"),
    [
        ("x/sqrt(x**2)", 1e-300, "sqrt(u1) rounds to 0 in float64 at x = 1e-300, and must be ≠ 0"),
        ("1/0.1**(x*x)", 300.0, "0.1**(x * x) rounds to 0 in float64 at x = 300, and must be ≠ 0"),
    ],
)
def test_what_underflows_is_not_called_outside_the_domain(
    expression: str, x: float, told: str
) -> None:
    with pytest.raises(UserError, match=re.escape(f"{told}: take another x")):
        run("autodiff", expression=expression, x=x)


def test_f_that_is_too_large_for_float32_alone_has_a_value() -> None:
    changes: dict[str, Any] = {"expression": "1e100 - sqrt(x)", "x": 0.0, "range": [-1.0, 1.0]}
    output = run("autodiff", dtype="float32", **changes)
    point = output.results.points[0]
    assert (point.f, point.f_computed, output.failed) == (1e100, None, False)
    with pytest.raises(UserError, match="f is too large for float64 at x = 0"):
        run("autodiff", **{**changes, "expression": "1e100**4 - sqrt(x)"})


@pytest.mark.parametrize(
    ("expression", "x", "f"),
    [
        ("u = 1e60 + sqrt(x); f = u*1e-60", 0.0, 1.0),  # an unbounded f'
        ("u = 1e60*x + sqrt(-(x - 1)**2); f = u*1e-60", 1.0, 1.0),  # an isolated point
        ("u = 1e60 + sqrt(x**2); f = u*1e-60", 0.0, 1.0),  # no number by the rules
        ("u = sqrt(2 + x**3 + log(1 + x**3)); f = sin(u)", EDGE, 0.0),  # NaN in float32
    ],
)
def test_an_intermediate_that_float32_does_not_have_has_no_value(
    expression: str, x: float, f: float
) -> None:
    """Where f' is not taken nothing else needs it; elsewhere it is named."""
    output = run("autodiff", expression=expression, x=x, dtype="float32", range=[-2.0, 2.0])
    point = output.results.points[0]
    assert (point.intermediates, point.f_computed, output.failed) == ({"u": None}, None, False)
    assert point.f == pytest.approx(f, abs=1e-7)
    assert point.note is not None


@pytest.mark.parametrize(
    ("expression", "x", "told"),
    [
        ("u = 1e60 + x; f = u*1e-60", 0.5, "u = 1e+60 + x is too large for float32"),
        ("(2 + x**3 + log(1 + x**3))**1.5", EDGE, "f is undefined in float32"),
    ],
)
def test_a_step_that_float32_does_not_have_is_named(expression: str, x: float, told: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"{told} at x = {x:.15g}: take another x or")):
        run("autodiff", expression=expression, x=x, dtype="float32")


@pytest.mark.parametrize(
    ("expression", "formula", "x", "range", "verdict"),
    [
        ("exp(1000*x)", "1000*exp(1000*x)", 0.1, [-1.0, 1.0], "right"),
        ("exp(1000*x)", "1001*exp(1000*x)", 0.1, [-1.0, 1.0], "wrong"),
        ("1/cosh(x)", "-tanh(x)/cosh(x)", 257.7319587628865, [-1000.0, 1000.0], "right"),
        ("x**2", "2*x", 1.0, [1e-300, 1.0], "right"),
        ("x**2", "1e100**4*x", 1.0, [1e-300, 1.0], "wrong"),
        ("x**3", "3*x**2", 1e100, [-1e100, 1e100], "right"),
        ("1/(1+exp(-x))", "1/(2+exp(x)+exp(-x))", 0.0, [-500.0, 500.0], "right"),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_extreme_numbers_are_judged(
    expression: str, formula: str, x: float, range: list[float], verdict: str, dtype: str
) -> None:
    """And reach no document: `run` writes the results as strict JSON."""
    changes: dict[str, Any] = {"expression": expression, "formula": formula, "range": range}
    if dtype == "float32" and (abs(x) > 1e38 or expression.startswith("exp")):
        x = 0.01  # where f is no larger than float32 holds
    output = run("autodiff", x=x, dtype=dtype, num_points=41, **changes)
    assert output.results.formula.verdict == verdict


def test_an_intermediate_that_overflows_is_named() -> None:
    with pytest.raises(UserError) as caught:
        run("autodiff", expression="log(1+exp(x))", x=800.0)
    assert str(caught.value) == (
        "u1 = 1 + exp(x) is too large for float64 at x = 800: take another x"
    )


def test_where_sympy_runs_out_of_numbers_the_other_methods_stand() -> None:
    output = run("autodiff", expression="tanh(sinh(exp(1e16)))*x", num_points=11)
    assert "SymPy does not differentiate f" in output.warnings[0]


def test_finite_differences_that_give_no_number_are_not_taken() -> None:
    output = run("autodiff", expression="acos(((3)**1.5)**0)", x=1e16, num_points=11)
    assert output.results.derivative.finite_difference is None
    assert not output.failed


def test_the_formula_is_drawn_over_the_derivative() -> None:
    changes: dict[str, Any] = {"expression": "x**2", "x": 1.0, "formula": "2*x + sqrt(x)"}
    results = run("autodiff", **changes).results
    below = draw(config("autodiff", **changes), results)["autodiff"].axes[1]
    lines = {str(line.get_label()): line for line in below.lines}
    x, y = np.asarray(lines["formula"].get_data())
    known = np.isfinite(y)
    assert list(y[known]) == pytest.approx(list(2 * x[known] + np.sqrt(x[known])))
    assert x[known].min() >= 0
    without = draw(config("autodiff"), run("autodiff").results)["autodiff"].axes[1]
    assert "formula" not in {str(line.get_label()) for line in without.lines}


def test_the_summary_has_a_row_of_the_formula_at_each_x() -> None:
    output = run("autodiff", expression="x**2", x=[1.0, 2.0], formula="x + 1")
    tables = [part for part in summarize(output.results) if isinstance(part, Table)]
    assert tables[-1] == Table(
        "formula x + 1",
        ["x", "formula", "f'", "verdict"],
        [["1", "2", "2", "equal"], ["2", "3", "4", "different"]],
    )


def test_a_formula_may_use_the_intermediates_but_not_the_function() -> None:
    program = "u = x**2; v = u*x; f = v + 1"
    found = run("autodiff", expression=program, formula="3*u + v - u*x", num_points=11)
    assert found.results.formula.agrees
    with pytest.raises(UserError, match="unknown name 'f': the known ones are x, u, v, pi, e"):
        run("autodiff", expression=program, formula="f")


def test_outside_and_edge() -> None:
    with pytest.raises(UserError, match="sqrt"):
        run("autodiff", x=[1.0, -0.95])
    output = run("autodiff", x=[1.0, -0.896917627062851])
    assert not output.failed
    assert output.results.derivative.autograd[1] is None
    assert output.results.f[1] == pytest.approx(0, abs=1e-6)
    assert "f' is unbounded" in output.warnings[0]
    assert "–" in printed(output)
    only_the_edge = run("autodiff", x=-0.896917627062851)
    assert only_the_edge.results.derivation[0].value == []
    printed(only_the_edge)


@settings(deadline=None, max_examples=40)
@given(st.floats(-0.89, 2.5), st.sampled_from(["float64", "float32"]))
def test_methods_agree_over_the_domain(x: float, dtype: str) -> None:
    output = run("autodiff", x=x, dtype=dtype, num_points=11)
    assert not output.failed, output.warnings


@pytest.mark.parametrize(
    "expression",
    [
        "3",
        "x",
        "u = x; f = 2",
        "x**x + 2**x",
        "exp(-x**2)*tan(x/3)/x",
        "atan(sinh(x)) - tanh(x)*cosh(1/x)",
        "asin(x/2)*acos(x/3)",
        "(1 - cos(x/1000))*1e6",
        "x**1.5 - x**-3 + x**(1/3)",
        "u = x*x; v = u - x; f = u/v + log(v)",
        "sin(50*x)",
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_methods_agree_on_other_functions(expression: str, dtype: str) -> None:
    output = run("autodiff", expression=expression, x=[1.3, 1.9], dtype=dtype)
    assert not output.failed, output.warnings
    draw(config("autodiff", expression=expression), output.results)


@pytest.mark.parametrize(
    ("expression", "x"),
    [("sin(50*x)", 77.7), ("sin(50*x)", 7e6), ("x**2", 1e-300), ("log(x)", 1e9)],
)
def test_finite_differences_find_their_step(expression: str, x: float) -> None:
    output = run("autodiff", expression=expression, x=x)
    assert not output.failed, output.warnings


def test_the_figure_shows_the_tangent_and_the_edge() -> None:
    figure = draw(config("autodiff"), run("autodiff").results)["autodiff"]
    above, below = figure.axes
    lines = {str(line.get_label()): line for line in above.lines}
    (tangent,) = (line for label, line in lines.items() if label.startswith("tangent"))
    (x0, x1), (y0, y1) = np.asarray(tangent.get_data())
    assert (y1 - y0) / (x1 - x0) == pytest.approx(SLOPE)
    assert (y0 + y1) / 2 == pytest.approx(F)
    assert np.nanmin(np.asarray(lines["f"].get_xdata())) == pytest.approx(-0.896917627)
    assert any("edge" in label for label in lines)
    assert below.get_ylim()[1] < 100


@pytest.mark.parametrize(
    ("expression", "x", "range"),
    [("x**3", 9e99, [-1e100, 1e100]), ("x", 1e-300, [-1e-300, 1e-300]), ("1/x", 1.0, [-1.0, 1.0])],
)
def test_extreme_figures_can_be_drawn(expression: str, x: float, range: list[float]) -> None:
    changes: dict[str, Any] = {"expression": expression, "x": x, "range": range}
    figure = draw(config("autodiff", **changes), run("autodiff", **changes).results)["autodiff"]
    figure.savefig(io.BytesIO(), format="png")


def test_the_curve_has_a_gap_at_a_pole() -> None:
    curve = run("autodiff", expression="1/(x - 0.1234)", x=1.0, range=[-1.0, 1.0]).results.curve
    gap = curve.x.index(None)
    assert curve.x[gap - 1] < 0.1234 < curve.x[gap + 1]
    assert curve.f[gap - 1] < 0 < curve.f[gap + 1]


def test_each_piece_of_the_curve_gets_its_share_of_the_points() -> None:
    program = parse_program("x**2")
    curve = sample_curve(program, [[0.0, 1.0], [2.0, 5.0]], num_points=8)
    xs = [*(k / 3 for k in range(4)), *(2 + 3 * k / 7 for k in range(8))]
    for column, expected in (
        (curve.x, xs),
        (curve.f, [x**2 for x in xs]),
        (curve.derivative, [2 * x for x in xs]),
    ):
        assert column[4] is None
        found = [value for value in column if value is not None]
        assert found == pytest.approx(expected, rel=1e-15)
    assert sample_curve(program, [[2.0, 2.0]], 8) == Curve(x=[2], f=[4], derivative=[4])
    assert sample_curve(program, [], 8) == Curve(x=[], f=[], derivative=[])


RIGHT = Judgement(
    formula="2 * x",
    latex="2 x",
    agrees=True,
    verdict="right",
    num_points=7,
    num_bad=0,
    max_relative_difference=0.0,
    first_bad=None,
    meaning=None,
)
WRONG = RIGHT.model_copy(
    update={
        "agrees": False,
        "verdict": "wrong",
        "num_bad": 3,
        "first_bad": Counterexample(x=0.5, formula=1 / 3, derivative=2.0),
    }
)
ODD = WRONG.model_copy(
    update={
        "first_bad": Counterexample(x=1.0, formula=None, derivative=3.0),
        "meaning": "it is odd",
    }
)


@pytest.mark.parametrize(
    ("judgement", "told"),
    [
        (RIGHT, "is the derivative at 7 points of the domain"),
        (
            WRONG,
            "wrong at 3 of 7 points of the domain, such as x = 0.5: 0.3333333333 "
            "where the derivative is 2",
        ),
        (
            ODD,
            "wrong at 3 of 7 points of the domain, such as x = 1: undefined "
            "where the derivative is 3; it is odd",
        ),
        (
            RIGHT.model_copy(update={"meaning": "to its digits"}),
            "is the derivative at 7 points of the domain; to its digits",
        ),
        (
            RIGHT.model_copy(
                update={"agrees": False, "verdict": "cannot tell", "meaning": "it is too small"}
            ),
            "cannot tell; it is too small",
        ),
        # Of earlier versions, which had no verdict.
        (
            WRONG.model_copy(update={"verdict": None}),
            "wrong at 3 of 7 points of the domain, such as x = 0.5: 0.3333333333 "
            "where the derivative is 2",
        ),
    ],
)
def test_the_verdict_on_a_formula(judgement: Judgement, told: str) -> None:
    assert verdict(judgement) == f"formula 2 * x: {told}"


AGREES = Comparison(difference=0.125, relative=1 / 3, tolerance=1e-15, agrees=True)
DIFFERS = AGREES.model_copy(update={"relative": None, "agrees": False})


def results(**changes: Any) -> Results:
    """An edge, where nothing is compared, and a point with a method and a term that are wrong."""
    edge = Point(
        x=1.0,
        f=-0.0,
        intermediates={"u": 7.0},
        derivative=PointDerivative(**dict.fromkeys(METHODS)),
        finite_difference=None,
        comparison=Comparisons(),
        note="not taken",
    )
    regular = Point(
        x=0.1,
        f=2.0,
        intermediates={"u": 1 / 3},
        derivative=PointDerivative(**{**dict.fromkeys(METHODS, 1 / 3), "finite_difference": 0.25}),
        finite_difference=FiniteDifference(step=1 / 1024, error_estimate=None),
        comparison=Comparisons(
            **dict.fromkeys(EXACT[:3], AGREES),
            finite_difference=DIFFERS,
        ),
        note=None,
    )
    wrong = Term(term="du/dx", formula="2 * x", value=[0.5], autograd=[1 / 3], agrees=False)
    right = Term(term="df/dx", formula="du/dx", value=[0.5], autograd=[None], agrees=True)
    ran: Results = run("autodiff", num_points=11).results
    known = {"points": [edge, regular], "derivation": [wrong, right], "formula": WRONG}
    return ran.model_copy(update=known | changes)


def test_what_is_wrong_is_told_a_line_each() -> None:
    lines = [
        "finite differences differs at x = 0.1: 0.25 against 0.3333333333333333",
        "the term du/dx = 2 * x differs from autograd",
    ]
    assert disagreements(results(formula=None)) == lines
    assert disagreements(results(formula=RIGHT)) == lines
    assert disagreements(results()) == [*lines, verdict(WRONG)]


def test_the_last_line_has_no_slope_where_sympy_gives_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("midterm_cli.part1.autodiff.run.symbolic", lambda *_: [None])
    output = run("autodiff", expression="x", x=0.0, num_points=11)
    assert output.results.derivative.autograd is not None
    assert "f(0) = 0   f'(0) = –" in summarize(output.results)


@pytest.mark.parametrize(
    ("dtype", "third", "short"),
    [("float64", "0.333333333333333", "0.3333333333333"), ("float32", "0.33333333", "0.33333")],
)
def test_the_summary(dtype: str, third: str, short: str) -> None:
    chain_rule_table, method_table, *lines = summarize(results(dtype=dtype))
    assert chain_rule_table == Table(
        "chain rule at x = 0.1",
        ["term", "formula", "value", "autograd", "verdict"],
        [
            ["u", "", third, "", ""],
            ["du/dx", "2 * x", "0.5", third, "DIFFERS"],
            ["df/dx", "du/dx", "0.5", "–", "agrees"],
        ],
    )
    methods = ["chain rule", "autograd, reverse", "autograd, forward", "finite differences"]
    reference = "symbolic (SymPy), 100 digits"
    not_taken = ["–", "", "", "", "not taken"]
    assert method_table == Table(
        "derivative",
        ["x", "f' by", "value", "difference", "relative", "tolerance", "verdict"],
        [
            *(["1", method, *not_taken] for method in [*methods, reference]),
            *(["0.1", method, third, "0.12", "0.33", "1e-15", "agrees"] for method in methods[:3]),
            ["0.1", methods[3], "0.25", "0.12", "–", "1e-15", "DIFFERS"],
            ["0.1", reference, third, "", "", "", "reference"],
        ],
    )
    rounded = "   (x in float32: 0.100000001)" if dtype == "float32" else ""
    assert lines == [
        "f(1) = 0   f'(1) = –",
        f"f(0.1) = 2   f'(0.1) = {short}{rounded}",
        "finite differences at 0.1: smallest step 0.000977, estimated error –",
    ]


def test_the_summary_of_a_right_formula_and_of_an_edge_alone() -> None:
    assert summarize(results(formula=RIGHT))[-1] == verdict(RIGHT)
    only_edge = summarize(results(points=results().points[:1]))
    assert [part.title for part in only_edge if isinstance(part, Table)] == ["derivative"]


@pytest.mark.parametrize(
    ("key", "values", "told"),
    [
        ("curve", {"x": [0.0], "f": [], "derivative": [0.0]}, "f must have 1 values, got 0"),
        ("points", [], "at least 1 item"),
        (
            "derivation",
            [{"term": "t", "formula": "f", "value": [1.0], "autograd": [], "agrees": True}],
            r"derivation\[0\].autograd must have 1 values, got 0",
        ),
    ],
)
def test_lists_that_do_not_fit_each_other_are_refused(key: str, values: Any, told: str) -> None:
    document = results().model_dump(mode="json")
    Results.model_validate(document | {"derivation": []}, strict=True)
    with pytest.raises(ValidationError, match=told):
        Results.model_validate(document | {"derivation": []} | {key: values}, strict=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"x": []},
        {"x": [0.0] * 101},
        {"x": "one"},
        {"x": "1, one"},
        {"x": 1e101},
        {"range": [0, 1e101]},
        {"range": [1, 1]},
        {"range": [1]},
        {"num_points": 1},
        {"dtype": "float16"},
        {"expression": "x" * 1001},
        {"unknown": 1},
        {"symbolic": "sympy"},
    ],
)
def test_config_is_strict(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        config("autodiff", **changes)
