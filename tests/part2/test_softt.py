"""The command `midterm softt plot`: derivatives at ±T, results, summary, figure."""

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packaged import config, run

from midterm_cli.errors import UserError
from midterm_cli.experiment import Table
from midterm_cli.part2.softt import run as softt_run
from midterm_cli.part2.softt.run import agreement, one_sided_derivatives
from midterm_cli.part2.softt.schema import Agreement, Checks, OneSided
from midterm_cli.part2.softt.show import draw, summarize

DEFAULT = run("softt")


@given(st.floats(0.05, 50))
def test_one_sided_derivatives(t: float) -> None:
    minus, plus = one_sided_derivatives(t)
    assert (minus.y, plus.y) == (-t, t)
    assert minus.derivative + plus.derivative == pytest.approx([0] * 4, abs=1e-8)
    assert minus.second_derivative == pytest.approx([0, 0], abs=1e-8)
    assert plus.second_derivative == pytest.approx([0, 2], abs=1e-8)


def test_results_and_published_figure() -> None:
    output = run("softt")
    results = output.results
    assert (results.threshold, len(results.y), output.failed) == (2.81, 601, False)
    assert (results.y[0], results.y[-1]) == (-15, 15)
    assert (results.f[0], results.f[-1]) == pytest.approx((-(12.19**3), 12.19**2))
    assert (results.derivative[0], results.derivative[-1]) == pytest.approx(
        (3 * 12.19**2, 2 * 12.19)
    )
    assert results.derivative_autograd == pytest.approx(results.derivative)
    figure = draw(config("softt"), results)["softt"]
    assert len(figure.axes) == 2
    for panel in figure.axes:
        marks = [line.get_xdata() for line in panel.lines if line.get_linestyle() == ":"]
        assert marks == [[-2.81, -2.81], [2.81, 2.81]]


def test_second_derivative_is_drawn_with_its_jump() -> None:
    output = run("softt", second_derivative=True, num_points=7, threshold=5)
    panel = draw(config("softt", second_derivative=True), output.results)["softt"].axes[2]
    left, right = panel.lines[:2]
    assert np.asarray(left.get_xdata()).tolist() == [-15, -10, -5, 0, 5, 5]
    assert np.asarray(left.get_ydata()) == pytest.approx([-60, -30, 0, 0, 0, 0], abs=1e-9)
    assert np.asarray(right.get_ydata()) == pytest.approx([2, 2, 2])


def test_the_summary_names_the_jump() -> None:
    table, *lines = summarize(run("softt").results)
    assert table == Table(
        "one-sided derivatives by difference quotients",
        ["y", "quantity", "from below", "from above", "verdict"],
        [
            ["-T = -2.81", "derivative", "0.0000", "0.0000", "continuous"],
            ["-T = -2.81", "second derivative", "0.0000", "0.0000", "continuous"],
            ["+T = 2.81", "derivative", "0.0000", "0.0000", "continuous"],
            ["+T = 2.81", "second derivative", "0.0000", "2.0000", "jumps"],
        ],
    )
    assert lines == [
        "derivative by autograd: agrees, largest relative difference 0",
        "second derivative by autograd: agrees, largest relative difference 0",
    ]


@pytest.mark.parametrize(
    ("threshold", "above", "verdict"),
    [
        # One part in 10⁹ of 3 h², the derivative at a step of h = T / 1024 below -T.
        (2.0, 1.1e-14, "continuous"),
        (2.0, 1.2e-14, "jumps"),
        (0.1, -2.8e-17, "continuous"),
        (0.1, 2.9e-17, "jumps"),
    ],
)
def test_a_jump_is_what_exceeds_rounding(threshold: float, above: float, verdict: str) -> None:
    point = OneSided(y=-threshold, derivative=[0.0, above], second_derivative=[-2e-9, 0.0])
    other = OneSided(y=threshold, derivative=[1.0, 1.0], second_derivative=[0.0, 2.0])
    wrong = Agreement(max_relative_difference=0.5, agrees=False)
    found = {
        "threshold": threshold,
        "one_sided": [point, other],
        "checks": Checks(derivative=wrong, second_derivative=wrong),
    }
    table, *lines = summarize(run("softt").results.model_copy(update=found))
    assert isinstance(table, Table)
    assert table.rows[0][-1] == verdict
    assert table.rows[1][2] == "0.0000"
    assert table.rows[2][-1] == "continuous"
    assert lines[1] == "second derivative by autograd: DIFFERS, by up to 0.5"


@given(st.floats(-100, 100))
def test_the_second_derivative_jumps_at_any_threshold(exponent: float) -> None:
    threshold = 10**exponent
    found = {"threshold": threshold, "one_sided": one_sided_derivatives(threshold)}
    table = summarize(DEFAULT.results.model_copy(update=found))[0]
    assert isinstance(table, Table)
    assert [row[-1] for row in table.rows] == ["continuous"] * 3 + ["jumps"]


@pytest.mark.parametrize(
    "t", [1e-90, 2.81, 1e15, 5e15, 2.0**53 - 1, 9.1e15, 1e20, 1e50, 1e99, 1e100]
)
def test_one_sided_derivatives_are_exact_at_any_threshold(t: float) -> None:
    """Also just below a power of 2, beyond which T + h may have one bit less."""
    minus, plus = one_sided_derivatives(t)
    assert minus.derivative + plus.derivative + minus.second_derivative == [0] * 6
    assert plus.second_derivative == [0, 2]
    table = summarize(DEFAULT.results.model_copy(update={"one_sided": [minus, plus]}))[0]
    assert isinstance(table, Table)
    assert [row[2:4] for row in table.rows] == [["0.0000"] * 2] * 3 + [["0.0000", "2.0000"]]


@pytest.mark.parametrize(
    ("threshold", "below", "shown", "verdict"),
    [  # of runs that rounded; the tolerance is 3e-9 (T / 1024)²
        (1e7, -0.2, "-0.2000", "cannot tell"),
        (1e7, -0.06, "-0.0600", "continuous"),
        (1e7, 0.4, "0.4000", "jumps"),
        (1e8, -0.06, "-0.0600", "cannot tell"),
        (1e8, 0.0, "0.0000", "continuous"),
        (1e15, -44739242.6667, "-4.474e+07", "cannot tell"),
        (1e15, 99999.0, "99999.0000", "cannot tell"),
        (1e50, -1.599870741e21, "-1.6e+21", "cannot tell"),
    ],
)
def test_a_tolerance_above_1_shows_no_continuity(
    threshold: float, below: float, shown: str, verdict: str
) -> None:
    minus, plus = one_sided_derivatives(threshold)
    minus = minus.model_copy(update={"derivative": [below, 0.0]})
    found = {"threshold": threshold, "one_sided": [minus, plus]}
    table = summarize(DEFAULT.results.model_copy(update=found))[0]
    assert isinstance(table, Table)
    assert (table.rows[0][2], table.rows[0][-1]) == (shown, verdict)
    assert [row[-1] for row in table.rows[1:]] == ["continuous", "continuous", "jumps"]


@pytest.mark.parametrize(
    ("y", "f", "derivative"),
    [
        (1.2, 0.0, 0.0),
        (3.14, 0.0, 0.0),
        (-3.14, 0.0, 0.0),
        (5.0, 1.86**2, 2 * 1.86),
        (-4.0, -(0.86**3), 3 * 0.86**2),
        (20.0, 16.86**2, 2 * 16.86),
    ],
)
def test_values_at_a_point(y: float, f: float, derivative: float) -> None:
    """Also where the point is beyond the range of the figure, which is not stretched for it."""
    output = run("softt", threshold=3.14, y=[y])
    [point] = output.results.points
    assert point.y == y
    assert (point.f, point.derivative) == pytest.approx((f, derivative), rel=1e-14)
    assert point.derivative_autograd == point.derivative
    assert len(output.results.y) == len(output.results.f) == 601
    table = summarize(output.results)[0]
    assert isinstance(table, Table)
    assert table.rows == [[f"{value:.10g}" for value in (y, f, derivative, derivative)]]
    panel = draw(config("softt", threshold=3.14, y=[y]), output.results)["softt"].axes[0]
    assert any(line.get_marker() == "o" for line in panel.lines) == (y <= 15)
    assert panel.get_ylim()[1] < 250


def test_a_derivative_that_is_wrong_at_a_point_alone_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        softt_run,
        "softt_derivative",
        lambda y, t: 2 * torch.relu(y - t) + 3 * torch.relu(-y - t) ** 2 + (y == 20),
    )
    assert not run("softt").failed
    assert run("softt", y=[1.0, 20.0]).failed


def test_a_point_beyond_the_dtype_is_refused() -> None:
    with pytest.raises(UserError, match=r"y = 100000 is beyond the largest float16, 65504"):
        run("softt", dtype="float16", y=[1.0, 1e5])
    points = run("softt", dtype="float16", y=[1000.0]).results.points
    assert points[0].f is None
    assert points[0].derivative == pytest.approx(2 * 997.19, rel=1e-3)


def test_a_wrong_derivative_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softt_run, "softt_derivative", lambda y, t: 2 * torch.relu(y - t))
    output = run("softt")
    assert output.failed
    differ = "autograd and the closed form of the derivative differ where one is 0 or not finite"
    assert output.warnings[-1] == differ
    assert "DIFFERS" in str(summarize(output.results)[1])


def test_overflow_is_null_and_told() -> None:
    output = run("softt", dtype="float16", range=[-1000, 1000], num_points=11)
    assert output.results.f[0] is output.results.f[-1] is None
    assert not output.failed
    assert output.warnings == ["f is beyond the largest float16 at 9 of 11 points: null there"]
    panel = draw(config("softt", dtype="float16"), output.results)["softt"].axes[0]
    assert math.isnan(np.asarray(panel.lines[0].get_ydata())[0])
    tells: list[tuple[str, dict[str, Any]]] = [
        ("range = 100000", {"range": [0, 1e5]}),
        ("range = -100000", {"range": [-1e5, 0]}),
        ("threshold = 100000", {"threshold": 1e5}),
    ]
    rest = " is beyond the largest float16, 65504: lower it, or take another dtype"
    for told, changes in tells:
        with pytest.raises(UserError, match=re.escape(told + rest) + "$"):
            run("softt", dtype="float16", **changes)
    assert run("softt", dtype="float16", range=[0, 65504], num_points=3).results.y[-1] == 65504


def test_y_is_as_exact_as_the_dtype() -> None:
    assert run("softt", range=[0, 1], num_points=11).results.y[1] == 0.1


def test_a_wrong_second_derivative_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softt_run, "softt_second_derivative", lambda y, t: 2 * (y > t).to(y))
    assert "closed form of the second derivative differ where one is 0" in run("softt").warnings[-1]


@pytest.mark.parametrize(("units", "agrees"), [(0, True), (4, True), (8, True), (9, False)])
def test_agreement_is_up_to_eight_units(units: int, agrees: bool) -> None:
    eps = torch.finfo(torch.float64).eps
    reference = torch.ones(2, dtype=torch.float64)
    value = torch.tensor([1.0, 1 + units * eps], dtype=torch.float64)
    found = agreement(value, reference)
    assert found == Agreement(max_relative_difference=units * eps, agrees=agrees)


@pytest.mark.parametrize(
    "changes", [{"threshold": 0}, {"threshold": -2.81}, {"range": [2, 1]}, {"num_points": 1}]
)
def test_config_is_strict(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        config("softt", **changes)


def test_the_smallest_threshold_is_included() -> None:
    assert config("softt", threshold=1e-100).threshold == 1e-100
    with pytest.raises(UserError, match=r"threshold must be at least 1e-100, .*, got 9e-101"):
        config("softt", threshold=9e-101)
