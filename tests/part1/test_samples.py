"""Where formulas are compared with the derivative."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from midterm_cli.part1.expression import evaluate, torch_arithmetic
from midterm_cli.part1.parse import parse, parse_program
from midterm_cli.part1.samples import near_ends, sample, turning_points

GRID = torch.linspace(-1.003, 2.0, 41, dtype=torch.float64)


def test_a_sample_has_one_point_in_each_equal_part_of_the_pieces() -> None:
    x = sample([[0.0, 1.0], [10.0, 13.0], [20.0, 21.0]], num_points=10, seed=0)
    assert x.dtype == torch.float64
    halves = torch.cat([torch.arange(2), torch.arange(20, 26), torch.arange(40, 42)])
    assert torch.equal((2 * x).floor(), halves.double())
    assert torch.equal(x, sample([[0.0, 1.0], [10.0, 13.0], [20.0, 21.0]], 10, seed=0))
    assert not torch.equal(x, sample([[0.0, 1.0], [10.0, 13.0], [20.0, 21.0]], 10, seed=1))


def test_a_sample_of_a_narrow_piece_stays_in_it() -> None:
    start, end = 0.1, 0.1 + 2.0**-30
    x = sample([[start, end]], num_points=5, seed=0)
    assert bool(((x > start) & (x < end)).all())
    assert bool((x.diff() > 0).all())


@pytest.mark.parametrize(("drawn", "expected"), [(0.0, 1e-6), (1 - 2.0**-53, 1 - 1e-6)])
def test_a_sample_keeps_away_from_the_ends(
    drawn: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rand(*_: Any, **__: Any) -> Tensor:
        return torch.full((1,), drawn, dtype=torch.float64)

    monkeypatch.setattr(torch, "rand", rand)
    assert sample([[0.0, 1.0]], num_points=1, seed=0).item() == expected


def test_points_near_the_ends_come_as_close_as_rounding_lets_them() -> None:
    x = near_ends([[-1e-4, 3.0], [5.0, 6.0]])
    assert bool((((x > -1e-4) & (x < 3)) | ((x > 5) & (x < 6))).all())
    for low, high in ((-1e-4, 3.0), (5.0, 6.0)):
        piece = x[(x > low) & (x < high)]
        assert float(piece.min()) - low < 4e-15 * high
        assert high - float(piece.max()) < 4e-15 * high
    assert len(near_ends([[float(i), i + 0.5] for i in range(3000)])) < 500


def distances(formula: str, place: float, program: str = "x") -> Tensor:
    """How close the points that a formula adds to GRID come to a place, ascending."""
    found = turning_points([parse(formula, ["x"])], parse_program(program), GRID)
    return (found - place).abs().sort().values


@pytest.mark.parametrize(
    ("formula", "place"),
    [
        ("x - 0.7", 0.7),  # a sign
        ("(x - 0.7)**2", 0.7),  # a least value
        ("exp(-((x - 0.7)/0.001)**2)", 0.7),  # which is 0 in float64 at every point of the grid
        ("exp(-1e6*x**2 + 1.4e6*x - 0.5e6)", 0.7),  # nothing is 0 at the peak
        ("0.001 - sqrt((x - 0.7)**2) + sqrt((0.001 - sqrt((x - 0.7)**2))**2)", 0.7),
        ("sqrt(x - 0.7)", 0.7),  # where it begins to be defined
        ("sin(x)", math.pi / 2),
    ],
)
def test_points_come_ever_closer_to_where_a_part_turns(formula: str, place: float) -> None:
    found = distances(formula, place)
    assert float(found[0]) < 1e-6
    for reach in (1e-5, 1e-4, 1e-3, 1e-2):  # on the way, at every scale
        assert bool(((found > reach / 8) & (found < reach)).any())


def test_what_lies_inside_a_turn_is_found_in_its_turn() -> None:
    """The edges of the triangle, 0.001 from its centre, show only on the finer grid."""
    triangle = "sqrt((0.001 - sqrt((x - 0.7)**2))**2)"
    for edge in (0.699, 0.701):
        assert float(distances(triangle, edge)[0]) < 1e-6


def test_where_nothing_turns_nothing_is_added() -> None:
    assert len(distances("exp(x)", 0.0)) == 30  # the sign of x alone: three points in ten passes
    assert len(turning_points([parse("exp(x)", ["x"])], parse_program("x"), GRID[GRID > 0.1])) == 0
    # Rounding alone is no turn: of a product that is 1 - 1.1e-16, 1 or 1 + 2.2e-16.
    constant = parse("exp(x)*exp(-x)", ["x"])
    assert len(evaluate(constant, {"x": GRID + 3}, torch_arithmetic(GRID)).unique()) > 1
    assert len(turning_points([constant], parse_program("x"), GRID + 3)) == 0


def test_a_rapid_oscillation_is_bounded() -> None:
    found = turning_points([parse("sin(5000*x)", ["x"])], parse_program("x"), GRID)
    assert 0 < len(found) <= 1200


@pytest.mark.parametrize(("formula", "turn"), [("sin(5000*x)", 1), ("sin(5000*x)", -1)])
def test_some_turn_of_a_rapid_oscillation_is_reached(formula: str, turn: float) -> None:
    found = turning_points([parse(formula, ["x"])], parse_program("x"), GRID)
    assert float((torch.sin(5000 * found) - turn).abs().min()) < 1e-6


def test_a_rapid_oscillation_leaves_points_for_the_other_parts() -> None:
    exprs = [parse(text, ["x"]) for text in ("sin(5000*x)", "x - 0.7")]
    found = turning_points(exprs, parse_program("x"), GRID)
    assert float((found - 0.7).abs().min()) < 1e-6
