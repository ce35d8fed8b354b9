"""Where functions are defined, and what is said where they are not."""

import math

import pytest
import torch

from midterm_cli.errors import UserError
from midterm_cli.part1.domain import find_edge, intervals, locate
from midterm_cli.part1.expression import evaluate_program
from midterm_cli.part1.parse import parse_program

MIDTERM = parse_program("u = x**3; y = 2 + u + log(1 + u); f = sqrt(y) + sin(y)")
EDGE = -0.896917627062851


@pytest.mark.parametrize(
    ("x", "term", "value"),
    [(-1.2, "log(1 + u) needs 1 + u > 0", "-0.728"), (-0.95, "sqrt(y) needs y ≥ 0", "-0.80")],
)
def test_outside_says_which_term_and_where_the_domain_starts(
    x: float, term: str, value: str
) -> None:
    with pytest.raises(UserError) as caught:
        locate(MIDTERM, x, torch.float64)
    first, second = str(caught.value).splitlines()
    assert term in first
    assert value in first
    assert f"starts at x ≥ {EDGE}" in second


@pytest.mark.parametrize(
    ("expression", "x", "second"),
    [
        ("log(x)", -1.0, "starts at x > 0:"),
        ("log(x)", 0.0, "starts at x > 0:"),
        ("1/x", 0.0, "on both sides"),
        ("x**-2", 0.0, "on both sides"),
        ("asin(x)", 2.0, "ends at x ≤ 1:"),
        ("acos(x)", -3.0, "starts at x ≥ -1:"),
        ("(x - 2)**0.5", 1.0, "starts at x ≥ 2:"),
        ("(x - 2)**x", 1.0, "starts at x > 2:"),
        ("sqrt(-1 - x**2)", 1.0, "no point of the domain"),
    ],
)
def test_every_kind_of_edge(expression: str, x: float, second: str) -> None:
    with pytest.raises(UserError) as caught:
        locate(parse_program(expression), x, torch.float64)
    assert second in str(caught.value).splitlines()[1]


def test_overflow_is_not_called_undefined() -> None:
    with pytest.raises(UserError, match="too large for float64"):
        locate(parse_program("exp(exp(x))"), 100.0, torch.float64)
    with pytest.raises(UserError, match="too large for float32"):
        locate(parse_program("exp(x)"), 100.0, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shift", [-2e-16, 0.0, 2e-16])
def test_at_the_edge_the_derivative_is_unbounded(dtype: torch.dtype, shift: float) -> None:
    place = locate(MIDTERM, EDGE + shift, dtype)
    assert place.is_edge
    assert place.note is not None
    assert "unbounded" in place.note
    f = evaluate_program(MIDTERM, torch.tensor(place.at, dtype=torch.float64))["f"]
    assert 0 <= float(f) < 1e-6


@pytest.mark.parametrize(
    ("expression", "unbounded"),
    [("sqrt(x)", True), ("x**0.9", True), ("x**1.5", False)],
)
def test_growth_at_an_edge(expression: str, unbounded: bool) -> None:
    place = locate(parse_program(expression), 0.0, torch.float64)
    assert place.is_edge
    assert ("unbounded" in (place.note or "")) is unbounded


def test_just_inside_is_inside() -> None:
    place = locate(MIDTERM, EDGE + 1e-9, torch.float64)
    assert (place.is_edge, place.note) == (False, None)


def test_edge_is_found_to_the_last_bit() -> None:
    # y is monotone, so the edge is its zero: 2 + u + log(1 + u) = 0.
    edge = find_edge(MIDTERM, 1.0, -2.0)
    assert edge == pytest.approx(EDGE, abs=2e-15)
    u = edge**3
    assert abs(2 + u + math.log1p(u)) < 1e-14
    assert find_edge(parse_program("sqrt(x - 2)"), 3.0, 0.0) == 2.0


def test_intervals_are_cut_at_edges_and_poles() -> None:
    assert intervals(MIDTERM, -2.0, 2.5, 101) == [[pytest.approx(EDGE, abs=2e-15), 2.5]]
    (a, b), (c, d) = intervals(parse_program("1/(x - 0.123)"), -1.0, 1.0, 50)
    assert (a, d) == (-1.0, 1.0)
    assert b == pytest.approx(0.123, abs=1e-15)
    assert c == pytest.approx(0.123, abs=1e-15)
    assert b < c
    pieces = intervals(parse_program("tan(x)"), -2.0, 2.0, 50)
    assert [end for piece in pieces for end in piece][1:5] == pytest.approx(
        [-math.pi / 2, -math.pi / 2, math.pi / 2, math.pi / 2], abs=1e-14
    )
    assert intervals(parse_program("sqrt(-1 - x**2)"), -1.0, 1.0, 50) == []
    assert intervals(parse_program("sqrt(1 - x**2)"), -3.0, 3.0, 50) == [[-1.0, 1.0]]


def test_every_pole_is_found_to_the_last_bit() -> None:
    pieces = intervals(parse_program("tan(x)"), -100.0, 100.0, 1001)
    gaps = [(pieces[i][1], pieces[i + 1][0]) for i in range(len(pieces) - 1)]
    assert len(gaps) == 64
    for k, (before, after) in enumerate(gaps, start=-32):
        assert before == pytest.approx((k + 0.5) * math.pi, rel=4e-16)
        assert before < after <= math.nextafter(math.nextafter(before, math.inf), math.inf)


def test_an_edge_and_a_pole_at_zero_are_the_smallest_floats() -> None:
    assert find_edge(parse_program("log(x)"), 1.0, -1.0) == 5e-324
    assert find_edge(parse_program("sqrt(x)"), 1.0, -1.0) == 0.0
    assert find_edge(parse_program("sqrt(-x)"), -1.0, 1e100) == 0.0
    (_, end), (start, _) = intervals(parse_program("1/x"), -1.0, 2.0, 30)
    # 1/x overflows where x is below 1 / (largest float).
    assert end == -start
    assert 1 / 1.8e308 < start < 1 / 1.7e308
