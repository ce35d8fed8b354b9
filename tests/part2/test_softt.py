"""The soft-threshold: its definition, its derivatives, the kinks and the ends of each dtype."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

import midterm_cli.part2.softt as experiment
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Output, Table
from midterm_cli.part2.softt import (
    autograd_derivatives,
    one_sided_derivatives,
    softt,
    softt_derivative,
    softt_second_derivative,
)

CONFIGS = Path(__file__).parents[2] / "configs"
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def config(**changes: Any) -> experiment.Config:
    values = yaml.safe_load((CONFIGS / "softt.yaml").read_text(encoding="utf-8"))
    return experiment.Config.model_validate_json(json.dumps(values | changes), strict=True)


def run(**changes: Any) -> Output:
    output = experiment.run(config(**changes), Context(torch.device("cpu")))
    json.dumps(output.results, allow_nan=False)
    return output


def by_definition(y: float, t: float) -> tuple[float, float, float]:
    """f_T, f_T' and f_T'' case by case, in Python's own numbers."""
    if y > t:
        return (y - t) ** 2, 2 * (y - t), 2.0
    if y < -t:
        return (y + t) ** 3, 3 * (y + t) ** 2, 6 * (y + t)
    return 0.0, 0.0, 0.0


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 100))
def test_value_and_derivatives_are_those_of_the_definition(y: float, t: float) -> None:
    point = torch.tensor(y, dtype=torch.float64)
    first, second = autograd_derivatives(point, t)
    expected = by_definition(y, t)
    assert (softt(point, t).item(), first.item(), second.item()) == pytest.approx(
        expected, rel=1e-14
    )
    written_out = softt_derivative(point, t), softt_second_derivative(point, t)
    assert [value.item() for value in written_out] == pytest.approx(expected[1:], rel=1e-14)


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.1, 20))
def test_monotone_and_flat_between_the_thresholds(a: float, b: float, t: float) -> None:
    low, high = softt(torch.tensor([min(a, b), max(a, b)], dtype=torch.float64), t).tolist()
    assert low <= high
    assert (softt(torch.tensor(a, dtype=torch.float64), t).item() == 0) == (abs(a) <= t)


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_nan_up_to_the_largest_finite_value(dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    exponents = torch.linspace(-6, math.log10(info.max) - 0.01, 80, dtype=torch.float64)
    ends = torch.tensor([info.max, info.max / 2, info.tiny, 0.0], dtype=torch.float64)
    magnitudes = torch.cat([10**exponents, ends]).to(dtype)
    y = torch.cat([magnitudes, -magnitudes])
    for t in (2.81, 1e-3, math.sqrt(info.max), info.max):
        first, second = autograd_derivatives(y, t)
        expected = torch.tensor(
            [
                by_definition_or_inf(value, float(torch.tensor(t, dtype=dtype)))
                for value in y.tolist()
            ]
        ).to(torch.float64)
        for value, true in zip((softt(y, t), first, second), expected.T, strict=True):
            assert not value.isnan().any()
            assert value.dtype == dtype
            # Finite where the true value is; rounding of y - T decides at the border itself.
            below = true.abs() < 0.99 * info.max
            assert bool(value[below].isfinite().all())
            assert bool(value[true.abs() > 1.01 * info.max].isinf().all())
            assert bool((value.double().sign() * true.sign() >= 0).all())


def by_definition_or_inf(y: float, t: float) -> tuple[float, ...]:
    try:
        return by_definition(y, t)
    except OverflowError:
        return (math.inf, 2 * (y - t), 2.0) if y > t else (-math.inf, math.inf, 6 * (y + t))


def test_the_form_with_where_does_give_nan() -> None:
    """Why the branch-free form: the plain one fails the test above."""

    def with_where(y: Tensor, t: float) -> Tensor:
        zero = torch.zeros_like(y)
        return torch.where(y > t, (y - t) ** 2, torch.where(y < -t, (y + t) ** 3, zero))

    y = torch.tensor([1e20], requires_grad=True)
    (plain,) = torch.autograd.grad(with_where(y, 2.81).sum(), y)
    (ours,) = torch.autograd.grad(softt(y, 2.81).sum(), y)
    assert plain.isnan().all()
    assert ours.item() == pytest.approx(2e20)


def test_infinity_and_nan_pass_through() -> None:
    y = torch.tensor([math.inf, -math.inf, math.nan])
    assert softt(y, 1.0)[:2].tolist() == [math.inf, -math.inf]
    assert softt(y, 1.0)[2].isnan()


def test_gradcheck_and_gradgradcheck_away_from_the_thresholds() -> None:
    y = torch.tensor([-9.0, -3.5, -1.0, 0.3, 2.0, 3.1, 12.0], dtype=torch.float64)
    y = y.reshape(7, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda points: softt(points, 2.81), (y,))
    assert torch.autograd.gradgradcheck(lambda points: softt(points, 2.81), (y,))


@given(st.floats(0.05, 50))
def test_one_sided_derivatives(t: float) -> None:
    minus, plus = one_sided_derivatives(t)
    assert (minus["y"], plus["y"]) == (-t, t)
    assert minus["derivative"] + plus["derivative"] == pytest.approx([0] * 4, abs=1e-8)
    assert minus["second_derivative"] == pytest.approx([0, 0], abs=1e-8)
    assert plus["second_derivative"] == pytest.approx([0, 2], abs=1e-8)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 5)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    y = 10 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flat = [by_definition(value, 2.81)[0] for value in y.flatten().tolist()]
    assert softt(y, 2.81).shape == shape
    assert softt(y, 2.81).flatten().tolist() == pytest.approx(flat)


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan, math.inf])
def test_threshold_must_be_positive(threshold: float) -> None:
    with pytest.raises(UserError, match="threshold must be greater than 0"):
        softt(torch.zeros(1), threshold)


def test_results_and_published_figure() -> None:
    output = run()
    results = output.results
    assert (results["threshold"], len(results["y"]), output.failed) == (2.81, 601, False)
    assert (results["y"][0], results["y"][-1]) == (-15, 15)
    assert (results["f"][0], results["f"][-1]) == pytest.approx((-(12.19**3), 12.19**2))
    assert (results["derivative"][0], results["derivative"][-1]) == pytest.approx(
        (3 * 12.19**2, 2 * 12.19)
    )
    assert results["derivative_autograd"] == pytest.approx(results["derivative"])
    figure = experiment.draw(config(), json.loads(json.dumps(results)))["softt"]
    assert len(figure.axes) == 2
    for panel in figure.axes:
        marks = [line.get_xdata() for line in panel.lines if line.get_linestyle() == ":"]
        assert marks == [[-2.81, -2.81], [2.81, 2.81]]


def test_second_derivative_is_drawn_with_its_jump() -> None:
    output = run(second_derivative=True, num_points=7, threshold=5)
    panel = experiment.draw(config(second_derivative=True), output.results)["softt"].axes[2]
    left, right = panel.lines[:2]
    assert np.asarray(left.get_xdata()).tolist() == [-15, -10, -5, 0, 5, 5]
    assert np.asarray(left.get_ydata()) == pytest.approx([-60, -30, 0, 0, 0, 0], abs=1e-9)
    assert np.asarray(right.get_ydata()) == pytest.approx([2, 2, 2])


def test_the_summary_names_the_jump() -> None:
    table, *lines = experiment.summarize(run().results)
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
        (2.0, 2e-6, "continuous"),
        (2.0, 2.1e-6, "jumps"),
        (0.1, -0.9e-6, "continuous"),
        (0.1, 1.5e-6, "jumps"),
    ],
)
def test_a_jump_is_what_exceeds_rounding(threshold: float, above: float, verdict: str) -> None:
    point = {"y": -threshold, "derivative": [0.0, above], "second_derivative": [-2e-9, 0.0]}
    other = {"y": threshold, "derivative": [1.0, 1.0], "second_derivative": [0.0, 2.0]}
    check = {"agrees": False, "max_relative_difference": 0.5}
    table, line = experiment.summarize(
        {
            "threshold": threshold,
            "one_sided": [point, other],
            "checks": {"second_derivative": check},
        }
    )
    assert isinstance(table, Table)
    assert table.rows[0][-1] == verdict
    assert table.rows[1][2] == "0.0000"
    assert table.rows[2][-1] == "continuous"
    assert line == "second derivative by autograd: DIFFERS, by up to 0.5"


def test_a_wrong_derivative_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "softt_derivative", lambda y, t: 2 * torch.relu(y - t))
    output = run()
    assert output.failed
    assert output.warnings[-1] == "autograd and the written-out derivative differ by None"
    assert "DIFFERS" in str(experiment.summarize(output.results)[1])


def test_overflow_is_null_and_told() -> None:
    output = run(dtype="float16", range=[-1000, 1000], num_points=11)
    assert output.results["f"][0] is output.results["f"][-1] is None
    assert not output.failed
    assert output.warnings == ["f is beyond the largest float16 at 9 of 11 points: null there"]
    panel = experiment.draw(config(dtype="float16"), output.results)["softt"].axes[0]
    assert math.isnan(np.asarray(panel.lines[0].get_ydata())[0])
    tells: list[tuple[str, dict[str, Any]]] = [
        ("range = 100000", {"range": [0, 1e5]}),
        ("range = -100000", {"range": [-1e5, 0]}),
        ("threshold = 100000", {"threshold": 1e5}),
    ]
    rest = " is beyond the largest float16, 65504: lower it, or take another dtype"
    for told, changes in tells:
        with pytest.raises(UserError, match=re.escape(told + rest) + "$"):
            run(dtype="float16", **changes)
    assert run(dtype="float16", range=[0, 65504], num_points=3).results["y"][-1] == 65504


def test_y_is_as_exact_as_the_dtype() -> None:
    assert run(range=[0, 1], num_points=11).results["y"][1] == 0.1


def test_a_wrong_second_derivative_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "softt_second_derivative", lambda y, t: 2 * (y > t).to(y))
    assert "written-out second derivative differ by" in run().warnings[-1]


@pytest.mark.parametrize(("units", "agrees"), [(0, True), (4, True), (8, True), (9, False)])
def test_agreement_is_up_to_eight_units(units: int, agrees: bool) -> None:
    eps = torch.finfo(torch.float64).eps
    reference = torch.ones(2, dtype=torch.float64)
    value = torch.tensor([1.0, 1 + units * eps], dtype=torch.float64)
    found = experiment._agreement(value, reference)
    assert found == {"max_relative_difference": units * eps, "agrees": agrees}


@pytest.mark.parametrize(
    "changes", [{"threshold": 0}, {"threshold": -2.81}, {"range": [2, 1]}, {"num_points": 1}]
)
def test_config_is_strict(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**changes)


def test_the_smallest_threshold_is_included() -> None:
    assert config(threshold=1e-100).threshold == 1e-100
    with pytest.raises(ValidationError, match=r"must be at least 1e-100, .*, got 9e-101"):
        config(threshold=9e-101)
