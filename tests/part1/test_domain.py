"""Where functions are defined, and what is said where they are not."""

import math

import pytest
import torch

from midterm_cli.errors import UserError
from midterm_cli.part1.domain import (
    _grows_without_bound,
    defined,
    edges_around,
    find_edge,
    intervals,
    locate,
    undefined_term,
)
from midterm_cli.part1.expression import evaluate_program
from midterm_cli.part1.parse import parse_program
from midterm_cli.part1.printing import to_text

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
        ("log(-x)", 1.0, "ends at x < 0:"),
        ("sqrt(x**2 - 4)", -1.5, "ends at x ≤ -2:"),
        ("sqrt(x**2 - 0.25**2)", -0.1, "ends at x ≤ -0.25:"),
        ("sqrt(x - 1)/(x - 1)", 1.0, "starts at x > 1:"),
        ("sqrt(-1 - x**2)", 1.0, "no point of the domain was found within 1e6 of it"),
        ("log(x - 999_999)", 0.0, "starts at x > 999999:"),
        ("log(x - 1_000_001)", 0.0, "no point of the domain was found within 1e6 of it"),
        # Not where f overflows.
        ("log(x)/x", -1.0, "starts at x > 0:"),
        ("x**(-1.5)", -1.0, "starts at x > 0:"),
        # Not the points where rounding makes a number of what is 0.
        ("1/(sin(x)**2 + cos(x)**2 - 1)", 0.5, "no point of the domain was found within 1e6 of it"),
        ("log(cos(x)**2 - (1 + cos(2*x))/2)", 0.3, "no point of the domain was found"),
        ("1/(sqrt(x**2) - x)", 2.0, "x = -0.04"),
        ("1/((x + 1e8) - 1e8)", 0.0, "is in the domain: take another x"),
    ],
)
def test_every_kind_of_edge(expression: str, x: float, second: str) -> None:
    with pytest.raises(UserError) as caught:
        locate(parse_program(expression), x, torch.float64)
    assert second in str(caught.value).splitlines()[1]


def test_an_edge_beside_an_overflow() -> None:
    program = parse_program("exp(1e18*(x - 1))*sqrt(x - 1)")
    place = locate(program, 1.0, torch.float64)
    assert (place.at, place.is_edge) == (1.0, True)  # not a domain of its own
    with pytest.raises(UserError, match="too large for float64"):
        locate(program, 1 + 2.0**-50, torch.float64)  # not moved to the edge


def test_what_nothing_can_tell_from_0_is_not_said_to_be_0() -> None:
    with pytest.raises(UserError, match=r"1 / exp\(u2\) rounds to 0 in float64 at x = 9"):
        locate(parse_program("1/(1/exp(exp(exp(x))))"), 9.0, torch.float64)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            "x*sqrt(0.3-0.1-0.2)",
            "makes 0.3 - 0.1 - 0.2 -2.7755575615628914e-17 at x = 1, and it must",
        ),
        (
            "x*acos(sqrt(2)**2/2)",
            "makes sqrt(2)**2 / 2 1.0000000000000002 at x = 1, and it must be",
        ),
        ("sqrt(1e-20 + 0.3-0.1-0.2)", "makes 1e-20 + 0.3 - 0.1 - 0.2 -2.77"),
    ],
)
def test_what_rounding_alone_takes_out_of_the_domain(expression: str, message: str) -> None:
    with pytest.raises(UserError, match="rounding in float64") as caught:
        locate(parse_program(expression), 1.0, torch.float64)
    assert message in str(caught.value)


def test_a_term_that_fails_in_x_itself_needs_no_value() -> None:
    with pytest.raises(UserError) as caught:
        locate(parse_program("log(x)"), -1.0, torch.float64)
    assert str(caught.value) == (
        "x = -1 is outside the domain: log(x) needs x > 0\n"
        "the domain starts at x > 0: take x from there"
    )


def test_edges_on_both_sides_come_nearest_first() -> None:
    program = parse_program("log(x**2 - 4)")
    assert edges_around(program, 1.0) == [(2.0, ">"), (-2.0, "<")]
    assert edges_around(program, -1.5) == [(-2.0, "<"), (2.0, ">")]
    program = parse_program("sqrt(x**2 - 4)")
    assert edges_around(program, -1.5) == [(-2.0, "≤"), (2.0, "≥")]


def test_the_undefined_term_is_found_in_float64() -> None:
    x = 1 - 2.0**-40
    found = undefined_term(parse_program("log(x) + sqrt(x - 1)"), x)
    assert found is not None
    condition, value = found
    assert (to_text(condition.term), condition.requirement) == ("sqrt(u1)", "≥ 0")
    assert value == -(2.0**-40)


def test_whole_powers_are_defined_at_zero() -> None:
    zero = torch.zeros(1, dtype=torch.float64)
    for text, expected in [("x**2", True), ("x**1", True), ("x**0", True), ("x**-1", False)]:
        assert bool(defined(parse_program(text), zero)) is expected


@pytest.mark.parametrize(
    ("expression", "x", "edge"),
    [
        ("(x - 100)**1.5", 100 - 5e-14, 100.0),
        ("(x - 0.1)**1.5", 0.1 + 5e-17, 0.1),  # which float64 does not hold
        ("(1 - x)**1.5", 1.0, 1.0),
        ("(1 - x)**1.5", math.nextafter(1, 2), 1.0),
    ],
)
def test_what_cannot_be_told_from_an_edge_is_the_edge(
    expression: str, x: float, edge: float
) -> None:
    place = locate(parse_program(expression), x, torch.float64)
    assert (place.x, place.at, place.is_edge) == (x, edge, True)


@pytest.mark.parametrize(("edge", "x"), [("100", 100 - 1e-12), ("1e-3", 1e-3 - 1e-15)])
def test_what_can_be_told_from_an_edge_is_outside(edge: str, x: float) -> None:
    with pytest.raises(UserError, match=r"outside the domain(.|\n)*starts at x ≥"):
        locate(parse_program(f"(x - {edge})**1.5"), x, torch.float64)


def test_where_the_rules_give_no_number_is_told() -> None:
    place = locate(parse_program("sqrt(x**2)"), 0.0, torch.float64)
    note = "at x = 0 the rules of differentiation give no number: one divides by 0, or below 1e-300"
    assert (place.is_edge, place.note) == (False, note)


@pytest.mark.parametrize(
    ("text", "computed"),
    [
        ("1/(0.1+0.2-0.3+x)", "5.55e-17"),
        ("log(0.1+0.2-0.3+x)", "5.55e-17"),
        ("x + (0.3-0.1-0.2+x)**-2", "-2.78e-17"),
    ],
)
def test_a_pole_that_rounding_hides_is_outside(text: str, computed: str) -> None:
    with pytest.raises(
        UserError, match=f"or below 1e-300; rounding in float64 makes it {computed}"
    ):
        locate(parse_program(text), 0.0, torch.float64)


def test_no_pole_where_the_digits_do_not_reach() -> None:
    # 400 digits of exp(700) leave 1e-96.
    place = locate(parse_program("1/(exp(x) - exp(x) + 1e-100)"), 700.0, torch.float64)
    assert (place.at, place.is_edge, place.note) == (700.0, False, None)


def test_what_follows_an_undefined_step_hides_no_pole() -> None:
    # The float64 nearest to 0.3 is below it: exactly, u is undefined there.
    program = parse_program("u = sqrt(x - 0.3); v = u + 1; f = 1/v")
    assert locate(program, 0.3, torch.float64).is_edge


def test_a_slope_too_large_is_told() -> None:
    place = locate(parse_program("log(x)"), 5e-324, torch.float64)
    note = "at x = 4.94065645841247e-324 f' is too large for float64"
    assert (place.at, place.is_edge, place.note) == (5e-324, False, note)


def test_what_float32_makes_of_x_is_told() -> None:
    with pytest.raises(UserError, match=r"x = 1.00000000001 \(1 in float32\) is outside"):
        locate(parse_program("1/(x-1)"), 1.00000000001, torch.float32)


def test_x_must_be_a_number_of_the_dtype() -> None:
    with pytest.raises(UserError) as caught:
        locate(MIDTERM, 1e39, torch.float32)
    assert str(caught.value) == (
        "x = 1e+39 is beyond the largest float32: take another x or float64"
    )


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


@pytest.mark.parametrize(
    ("expression", "edge", "unbounded"),
    [
        ("sqrt(-x)", 0.0, True),
        ("asin(x)", 1.0, True),
        ("acos(x)", -1.0, True),
        ("x*log(x)", 0.0, True),
        ("2*x", 0.0, False),
        ("1e4*(x - x**1.5)", 0.0, False),
        ("1e4*(x + (1 - x)**1.5)", 1.0, False),
    ],
)
def test_growth_towards_an_edge(expression: str, edge: float, unbounded: bool) -> None:
    assert _grows_without_bound(parse_program(expression), edge) is unbounded


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
    # A pole behind an edge.
    (a, b), (c, d) = intervals(parse_program("sqrt(x) + 1/(x - 0.5)"), -1.0, 1.0, 50)
    assert (a, d) == (0.0, 1.0)
    assert b < 0.5 < c
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
