"""No false accept and no false reject among formulas of which the truth is known."""

import mpmath
import pytest
import sympy
from sympy.parsing.sympy_parser import parse_expr, rationalize, standard_transformations

from benchmarks.formulas import FUNCTIONS, Case, Function, cases, verdicts

IN_X = {  # with its intermediates substituted by hand
    FUNCTIONS[19].expression: "sqrt(2 + x**3 + log(1 + x**3)) + sin(2 + x**3 + log(1 + x**3))"
}
X = sympy.Symbol("x", real=True)


def symbolic(text: str) -> sympy.Expr:
    """By SymPy's own reader, with decimals as fractions."""
    transformations = (*standard_transformations, rationalize)
    return parse_expr(text, local_dict={"x": X}, transformations=transformations)


def difference(case: Case, slope: sympy.Expr, x: float) -> mpmath.mpf:
    """Of the formula from f' by SymPy, relative to the larger, with 1,000 digits."""
    with mpmath.workdps(1000):
        at = mpmath.mpf(x)
        value, exact = (sympy.lambdify(X, e, "mpmath")(at) for e in (symbolic(case.formula), slope))
        return abs(value - exact) / max(abs(value), abs(exact))


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.expression)
def test_the_truth_is_as_it_is_said(function: Function) -> None:
    """By SymPy alone, and with more digits than the judge has: nothing of the code under test."""
    slope = sympy.diff(symbolic(IN_X.get(function.expression, function.expression)), X)
    inside = [function.low + share * (function.high - function.low) for share in (0.62, 0.71, 0.83)]
    if function.expression == "exp(1000*x)":  # beyond it f is too large for float64
        inside = [-0.9, -0.011, 0.5]
    for case in cases(function):
        if case.differs_at is None:
            assert all(difference(case, slope, x) < mpmath.mpf("1e-200") for x in inside)
        else:
            assert difference(case, slope, case.differs_at) > mpmath.mpf("1e-300")


def wrongly_judged(function: Function, num_points: int) -> list[str]:
    return [
        f"{verdict}: {case.formula}"
        for case, verdict in verdicts(function, num_points)
        if verdict != ("right" if case.differs_at is None else "wrong")
    ]


def test_there_are_enough_of_them() -> None:
    found = [case for function in FUNCTIONS for case in cases(function)]
    assert len({(case.function.expression, case.formula) for case in found}) > 600
    assert sum(case.differs_at is None for case in found) > 200


@pytest.mark.parametrize("function", FUNCTIONS[::15], ids=lambda function: function.expression)
def test_each_is_judged_rightly_at_few_points(function: Function) -> None:
    assert wrongly_judged(function, num_points=41) == []


@pytest.mark.slow
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.expression)
def test_each_of_all_is_judged_rightly(function: Function) -> None:
    assert wrongly_judged(function, num_points=401) == []
