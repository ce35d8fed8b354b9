"""The experiment of Part 1: the published numbers, every method, the judged formula."""

import io
import json
import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

import midterm_cli.part1.autodiff as autodiff
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Output, Table
from midterm_cli.part1.compare import gradcheck
from midterm_cli.part1.derivative import (
    chain_rule,
    forward_mode,
    partial_derivatives,
    reverse_mode,
    richardson,
)
from midterm_cli.part1.expression import evaluate_program
from midterm_cli.part1.parse import parse_program

CONFIGS = Path(__file__).parents[2] / "configs"
F = 2.53492754899111
SLOPE = 9.24847224944833
EXACT = ["chain_rule", "autograd", "autograd_forward", "symbolic"]
FORMULA = "(1/(2*sqrt(y)) + cos(y)) * 3*x**2 * (1 + 1/(1 + u))"
SIMPLIFIED = "3*x**2 * (2 + x**3)/(1 + x**3) * (1/(2*sqrt(y)) + cos(y))"


def config(*presets: str, **changes: Any) -> autodiff.Config:
    values: dict[str, Any] = {}
    for preset in ("autodiff", *presets):
        values |= yaml.safe_load((CONFIGS / f"{preset}.yaml").read_text(encoding="utf-8"))
    return autodiff.Config.model_validate_json(json.dumps(values | changes), strict=True)


def run(*presets: str, **changes: Any) -> Output:
    output = autodiff.run(config(*presets, **changes), Context(torch.device("cpu")))
    json.dumps(output.results, allow_nan=False)
    return output


def printed(output: Output) -> str:
    parts = []
    for part in autodiff.summarize(output.results):
        if isinstance(part, Table):
            assert all(len(row) == len(part.columns) for row in part.rows)
            parts += [part.title, *(" ".join(row) for row in part.rows)]
        else:
            parts.append(part)
    return "\n".join(parts)


def test_published_numbers_in_float64() -> None:
    output = run()
    results = output.results
    assert (results["x"], output.failed, output.warnings) == (1.432, False, [])
    assert results["f"] == pytest.approx(F, abs=1e-12, rel=0)
    for method in EXACT:
        assert results["derivative"][method] == pytest.approx(SLOPE, abs=1e-12, rel=0)
    assert results["derivative"]["finite_difference"] == pytest.approx(SLOPE, rel=1e-11)
    assert results["max_relative_error"] < 1e-11
    assert "f(1.432) = 2.534927548991   f'(1.432) = 9.248472249448" in printed(output)


def test_published_numbers_in_float32() -> None:
    output = run("reference/autodiff")
    assert not output.failed
    assert "f(1.432) = 2.5349   f'(1.432) = 9.2485" in printed(output)
    assert output.results["derivative"]["finite_difference"] == pytest.approx(SLOPE, rel=1e-4)
    (note,) = output.warnings
    assert "gradcheck" in note
    assert "rounding of f in float32" in note


def test_sympy_says_the_same() -> None:
    ours, sympys = run(symbolic="builtin"), run()
    assert (ours.results["symbolic"], sympys.results["symbolic"]) == ("builtin", "sympy")
    assert ours.results["derivative"] == sympys.results["derivative"]


def test_sympy_is_not_given_what_it_cannot_finish() -> None:
    nested = "exp(-" * 30 + "x" + ")" * 30
    assert not run(expression=nested, symbolic="builtin", num_points=11).failed
    with pytest.raises(UserError, match="30 functions or powers inside each other"):
        run(expression=nested)


def test_several_points_give_lists_and_one_gives_numbers() -> None:
    several = run(x=[0.5, 1.432]).results
    one = run(x=[1.432]).results
    assert several["x"] == [0.5, 1.432]
    assert several["f"][1] == one["f"][0] == run().results["f"]
    assert {method: values[1] for method, values in several["derivative"].items()} == (
        run().results["derivative"]
    )
    assert [point["x"] for point in several["points"]] == [0.5, 1.432]


def test_the_derivation_has_the_terms_of_the_exercise() -> None:
    results = run().results
    terms = {term["term"]: term for term in results["derivation"]}
    assert {name: term["formula"] for name, term in terms.items()} == {
        "du/dx": "3 * x**2",
        "∂y/∂u": "1 + 1 / (1 + u)",
        "dy/dx": "∂y/∂u · du/dx",
        "∂f/∂y": "1 / (2 * sqrt(y)) + cos(y)",
        "df/dx": "∂f/∂y · dy/dx",
    }
    assert all(term["agrees"] for term in terms.values())
    u, y = results["points"][0]["intermediates"].values()
    assert terms["∂y/∂u"]["value"] == [pytest.approx(1 + 1 / (1 + u))]
    assert y == pytest.approx(6.30678393770227)
    assert results["latex"].splitlines() == [
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


@pytest.mark.parametrize(
    ("symbolic", "wrong"), [("sympy", "chain rule"), ("builtin", "autograd, reverse")]
)
def test_a_wrong_rule_is_caught(symbolic: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With our derivative of log wrong, what follows our rules disagrees with what does not."""
    from midterm_cli.part1 import expression

    monkeypatch.setitem(expression.FUNCTIONS, "log", lambda a: a)
    output = run(symbolic=symbolic)
    assert output.failed
    told = "\n".join(output.warnings)
    assert "∂y/∂u" in told
    assert f"{wrong} differs at x = 1.432" in told


@pytest.mark.parametrize("formula", [FORMULA, SIMPLIFIED])
def test_the_published_formula_is_right(formula: str) -> None:
    output = run(formula=formula)
    judgement = output.results["formula"]
    assert judgement["agrees"]
    assert (judgement["num_bad"], judgement["first_bad"], output.failed) == (0, None, False)
    assert "is the derivative at 401 points" in printed(output)


@pytest.mark.parametrize(
    "formula", [FORMULA.replace("+ 1/", "- 1/"), FORMULA.replace("+ cos", "- cos"), "-" + FORMULA]
)
def test_one_sign_changed_is_wrong(formula: str) -> None:
    output = run(formula=formula)
    judgement = output.results["formula"]
    assert output.failed
    assert not judgement["agrees"]
    bad = judgement["first_bad"]
    program = parse_program(config().expression)
    slope = reverse_mode(program, torch.tensor(bad["x"], dtype=torch.float64))
    assert bad["derivative"] == pytest.approx(float(slope))
    assert f"first at x = {bad['x']:.10g}" in output.warnings[-1]
    if formula.startswith("-"):
        assert judgement["meaning"] == "it is -1 times the derivative at every point"
    else:
        assert judgement["meaning"].startswith("with one sign changed it agrees: (1 / (2 *")


def test_a_formula_that_is_wrong_in_places_is_first_bad_there() -> None:
    # Right for x > 0 only: sqrt(x²) is |x|.
    output = run(expression="x**3", formula="3*x*sqrt(x**2)", x=1.0, range=[-2, 2])
    assert output.results["formula"]["first_bad"]["x"] == pytest.approx(-2, abs=0.02)
    assert output.results["formula"]["num_bad"] == pytest.approx(200, abs=2)
    output = run(expression="x**3", formula="3*x**2 + sqrt(x) - sqrt(x)", x=1.0, range=[-2, 2])
    bad = output.results["formula"]
    assert bad["first_bad"]["formula"] is None
    assert bad["meaning"].startswith("sqrt(x) is undefined there: x = -1.99")


def test_meanings_of_a_constant_factor_or_offset() -> None:
    twice = run(expression="sin(x)", formula="2*cos(x)").results["formula"]
    assert twice["meaning"] == "it is 2 times the derivative at every point"
    more = run(expression="x**2", formula="2*x + 3").results["formula"]
    assert more["meaning"] == "it is the derivative plus 3 at every point"


def test_a_formula_without_a_domain_to_judge_it_on() -> None:
    with pytest.raises(UserError) as caught:
        run(formula="x", range=[-3, -2])
    assert str(caught.value) == (
        "the formula cannot be judged: f is defined nowhere in range = [-3.0, -2.0]\n"
        "give a range that holds a part of its domain"
    )


def test_outside_and_edge() -> None:
    with pytest.raises(UserError, match="sqrt"):
        run(x=[1.0, -0.95])
    output = run(x=[1.0, -0.896917627062851])
    assert not output.failed
    assert output.results["derivative"]["autograd"][1] is None
    assert output.results["f"][1] == pytest.approx(0, abs=1e-6)
    assert "f' is unbounded" in output.warnings[0]
    assert "–" in printed(output)
    printed(run(x=-0.896917627062851))


@settings(deadline=None, max_examples=40)
@given(st.floats(-0.89, 2.5), st.sampled_from(["float64", "float32"]))
def test_methods_agree_over_the_domain(x: float, dtype: str) -> None:
    output = run(x=x, dtype=dtype, num_points=11)
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
    output = run(expression=expression, x=[1.3, 1.9], dtype=dtype)
    assert not output.failed, output.warnings
    autodiff.draw(config(expression=expression), output.results)


def test_forward_mode_is_that_of_func_jvp() -> None:
    program = parse_program("u = x**3 - 2*x; f = (1 + u/x)**1.5 * 2**x - sin(u)/atan(3 - x) + e")
    x = torch.linspace(1.2, 2.5, 7, dtype=torch.float64)
    with warnings.catch_warnings():
        # Its decompositions are compiled with torch.jit.script, which is deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        expected = torch.func.jvp(
            lambda points: evaluate_program(program, points)["f"], (x,), (torch.ones_like(x),)
        )[1]
    torch.testing.assert_close(forward_mode(program, x), expected, rtol=1e-14, atol=0)


def test_a_run_loads_no_compiler_and_sympy_only_to_differentiate() -> None:
    """They take longer to load than everything that the command does."""
    code = (
        "import json, sys, torch, yaml\n"
        "import midterm_cli.part1.autodiff as a\n"
        "from midterm_cli.experiment import Context\n"
        f"values = yaml.safe_load(open({str(CONFIGS / 'autodiff.yaml')!r}))\n"
        "for dtype in ('float64', 'float32'):\n"
        "    changed = {'dtype': dtype, 'formula': 'x', 'symbolic': 'builtin'}\n"
        "    config = a.Config(**(values | changed))\n"
        "    a.draw(config, a.run(config, Context(torch.device('cpu'))).results)\n"
        "print([m for m in ('sympy', 'torch._dynamo', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_chain_rule_sums_over_all_inputs() -> None:
    program = parse_program("u = x**2; v = u*x; f = u*v + x")
    x = torch.tensor([2.0], dtype=torch.float64)
    totals = chain_rule(program, partial_derivatives(program, x), x)
    assert totals["f"].item() == 5 * 2**4 + 1


@pytest.mark.parametrize(
    ("expression", "x"),
    [("sin(50*x)", 77.7), ("sin(50*x)", 7e6), ("x**2", 1e-300), ("log(x)", 1e9)],
)
def test_finite_differences_find_their_step(expression: str, x: float) -> None:
    output = run(expression=expression, x=x)
    assert not output.failed, output.warnings


def test_richardson_is_exact_for_a_quintic_with_three_steps() -> None:
    point = torch.tensor(1.0, dtype=torch.float64)
    found = richardson(lambda t: t**5, point, first_step=1.0, noise=torch.zeros_like, levels=3)
    assert found.value == pytest.approx(5, rel=1e-14)


def test_richardson_error_estimate_covers_the_error() -> None:
    cases: list[tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], float]] = [
        (torch.sin, torch.cos, 0.7),
        (torch.exp, torch.exp, 3.0),
        (lambda t: torch.sin(50 * t), lambda t: 50 * torch.cos(50 * t), 1.1),
    ]
    for function, slope, x in cases:
        point = torch.tensor(x, dtype=torch.float64)
        # Bound at once by a default, for which mypy infers no type.
        found = richardson(function, point, 0.125, lambda t, f=function: 1e-16 * f(t).abs())  # type: ignore[misc]
        error = abs(found.value - float(slope(point)))
        assert error <= 10 * found.error
        assert found.error < 1e-8 * abs(float(slope(point)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("x", [1.432, 0.3, -0.8969176, -0.5, 2.4])
def test_gradcheck_is_pytorchs(dtype: torch.dtype, x: float) -> None:
    program = parse_program(config().expression)
    point = torch.tensor([x], dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        theirs = torch.autograd.gradcheck(
            lambda points: evaluate_program(program, points)["f"],
            (point.clone().requires_grad_(),),
            raise_exception=False,
        )
    assert gradcheck(program, point)["passed"] == theirs


def test_the_figure_shows_the_tangent_and_the_edge() -> None:
    results = run().results
    figure = autodiff.draw(config(), json.loads(json.dumps(results)))["autodiff"]
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
    [("x**3", 9e99, [-1e100, 1e100]), ("x", 1e-300, [-1e-300, 1e-300]), ("1/x", 1.0, [-1, 1])],
)
def test_extreme_figures_can_be_drawn(expression: str, x: float, range: list[float]) -> None:
    changes: dict[str, Any] = {"expression": expression, "x": x, "range": range}
    figure = autodiff.draw(config(**changes), run(**changes).results)["autodiff"]
    figure.savefig(io.BytesIO(), format="png")


def test_the_curve_has_a_gap_at_a_pole() -> None:
    curve = run(expression="1/(x - 0.1234)", x=1.0, range=[-1, 1]).results["curve"]
    gap = curve["x"].index(None)
    assert curve["x"][gap - 1] < 0.1234 < curve["x"][gap + 1]
    assert curve["f"][gap - 1] < 0 < curve["f"][gap + 1]


def test_each_piece_of_the_curve_gets_its_share_of_the_points() -> None:
    program = parse_program("x**2")
    curve = autodiff._curve(program, [[0.0, 1.0], [2.0, 5.0]], num_points=8)
    xs = [*(k / 3 for k in range(4)), math.nan, *(2 + 3 * k / 7 for k in range(8))]
    expected = {"x": xs, "f": [x**2 for x in xs], "derivative": [2 * x for x in xs]}
    assert list(curve) == list(expected)
    for key, column in curve.items():
        assert column[4] is None
        found = [math.nan if value is None else value for value in column]
        assert found == pytest.approx(expected[key], rel=1e-15, nan_ok=True)
    assert autodiff._curve(program, [[2.0, 2.0]], 8) == {"x": [2], "f": [4], "derivative": [4]}
    assert autodiff._curve(program, [], 8) == {"x": [], "f": [], "derivative": []}


def test_a_formula_may_use_the_intermediates_but_not_the_function() -> None:
    program = "u = x**2; v = u*x; f = v + 1"
    assert run(expression=program, formula="3*u + v - u*x", num_points=11).results["formula"][
        "agrees"
    ]
    with pytest.raises(UserError, match="unknown name 'f': the known ones are x, u, v, pi, e"):
        run(expression=program, formula="f")


def judged(**changes: Any) -> dict[str, Any]:
    """A judgement; by default one of a formula that is wrong."""
    bad = {"x": 0.5, "formula": 1 / 3, "derivative": 2.0}
    known = {"formula": "2 * x", "num_points": 7, "num_bad": 3, "meaning": None}
    return {"agrees": False, "first_bad": bad, **known, **changes}


@pytest.mark.parametrize(
    ("judgement", "verdict"),
    [
        (judged(agrees=True), "is the derivative at 7 points of the domain"),
        (
            judged(),
            "wrong at 3 of 7 points of the domain, first at x = 0.5: 0.3333333333 "
            "where the derivative is 2",
        ),
        (
            judged(meaning="it is odd", first_bad={"x": 1.0, "formula": None, "derivative": 3.0}),
            "wrong at 3 of 7 points of the domain, first at x = 1: undefined "
            "where the derivative is 3; it is odd",
        ),
    ],
)
def test_the_verdict_on_a_formula(judgement: dict[str, Any], verdict: str) -> None:
    assert autodiff._verdict(judgement) == f"formula 2 * x: {verdict}"


def test_what_is_wrong_is_told_a_line_each() -> None:
    point = {
        "x": 0.1,
        "derivative": {"autograd": 1.0, "chain_rule": 3.0, "symbolic": 1.5},
        "comparison": {"autograd": {"agrees": True}, "chain_rule": {"agrees": False}},
    }
    term = {"term": "du/dx", "formula": "2 * x"}
    results: dict[str, Any] = {
        "points": [point],
        "derivation": [{**term, "agrees": True}, {**term, "term": "dv/dx", "agrees": False}],
        "formula": None,
    }
    lines = [
        "chain rule differs at x = 0.1: 3.0 against 1.5",
        "the term dv/dx = 2 * x differs from autograd",
    ]
    assert autodiff._disagreements(results) == lines
    assert autodiff._disagreements(results | {"formula": judged(agrees=True)}) == lines
    wrong = judged()
    told = autodiff._disagreements(results | {"formula": wrong})
    assert told == [*lines, autodiff._verdict(wrong)]


@pytest.mark.parametrize(
    ("dtype", "third", "short"),
    [("float64", "0.333333333333333", "0.3333333333333"), ("float32", "0.33333333", "0.33333")],
)
def test_the_summary(dtype: str, third: str, short: str) -> None:
    """An edge, where nothing is compared, and a point with a method and a term that are wrong."""
    compared = {"difference": 0.125, "relative": 1 / 3, "tolerance": 1e-15, "agrees": True}
    slopes = dict.fromkeys(EXACT, 1 / 3)
    edge = {
        "x": 1.0,
        "f": -0.0,
        "derivative": dict.fromkeys([*EXACT, "finite_difference"]),
        "comparison": {},
        "intermediates": {"u": 7.0},
        "finite_difference": None,
    }
    regular = {
        "x": 0.1,
        "f": 2.0,
        "derivative": {**slopes, "finite_difference": 0.25},
        "comparison": {
            **{name: compared for name in EXACT if name != "symbolic"},
            "finite_difference": {**compared, "relative": None, "agrees": False},
        },
        "intermediates": {"u": 1 / 3},
        "finite_difference": {"step": 1 / 1024, "error_estimate": None},
    }
    derivation = [
        {"term": "du/dx", "formula": "2 * x", "value": [0.5], "autograd": [1 / 3], "agrees": False},
        {"term": "df/dx", "formula": "du/dx", "value": [0.5], "autograd": [None], "agrees": True},
    ]
    results = {
        "dtype": dtype,
        "symbolic": "sympy",
        "points": [edge, regular],
        "derivation": derivation,
        "formula": judged(),
    }
    chain_rule_table, method_table, *lines = autodiff.summarize(results)
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
    reference = "symbolic (sympy), 30 digits"
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
    assert lines == [
        "f(1) = 0   f'(1) = –",
        f"f(0.1) = 2   f'(0.1) = {short}",
        "finite differences at 0.1: smallest step 0.000977, estimated error –",
    ]
    right = judged(agrees=True)
    assert autodiff.summarize(results | {"formula": right})[-1] == autodiff._verdict(right)
    only_edge = results | {"points": [edge]}
    assert [part.title for part in autodiff.summarize(only_edge) if isinstance(part, Table)] == [
        "derivative"
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"x": []},
        {"x": [0.0] * 101},
        {"x": "1"},
        {"x": 1e101},
        {"range": [0, 1e101]},
        {"range": [1, 1]},
        {"range": [1]},
        {"num_points": 1},
        {"dtype": "float16"},
        {"expression": "x" * 1001},
        {"unknown": 1},
    ],
)
def test_config_is_strict(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**changes)
