"""The methods side by side."""

import math
from collections.abc import Mapping

import pytest
import torch

from midterm_cli.part1.autodiff.schema import (
    Comparison,
    Comparisons,
    Point,
    PointDerivative,
)
from midterm_cli.part1.domain import Place
from midterm_cli.part1.methods import compare, compare_methods, max_relative_error
from midterm_cli.part1.parse import parse_program

NOTHING = PointDerivative(**dict.fromkeys(PointDerivative.model_fields))
PROGRAM = parse_program("u = x**1.5; v = 2*u; f = v + 1")
EDGE = Place(-0.0, 0.0, is_edge=True, note=None)
REGULAR = Place(4.0, 4.0, is_edge=False, note=None)


def points(exact: Mapping[int, float | None] | None, *places: Place) -> list[Point]:
    at = torch.tensor([place.at for place in places], dtype=torch.float64)
    return compare_methods(PROGRAM, places, at, exact, [1.0, 17.5])


def test_where_there_is_a_note_nothing_is_differentiated() -> None:
    (noted,) = points({}, Place(0.0, 0.0, is_edge=True, note="not taken"))
    assert noted == Point(
        x=0.0,
        f=1.0,
        f_computed=1.0,
        intermediates={"u": 0.0, "v": 0.0},
        derivative=NOTHING,
        finite_difference=None,
        comparison=Comparisons(),
        note="not taken",
    )


def test_at_an_edge_there_are_no_finite_differences() -> None:
    (edge,) = points({0: 0.0}, EDGE)
    derivative = {**dict.fromkeys(PointDerivative.model_fields, 0.0), "finite_difference": None}
    assert edge.derivative == PointDerivative(**derivative)
    assert (edge.finite_difference, edge.comparison.finite_difference) == (None, None)
    for name in ("chain_rule", "autograd", "autograd_forward"):
        assert dict(edge.comparison)[name].agrees


def test_every_method_is_compared_with_the_symbolic_one() -> None:
    (_, regular) = points({0: 0.0, 1: 6.0}, EDGE, REGULAR)
    assert (regular.x, regular.f, regular.f_computed, regular.note) == (4.0, 17.5, 17.0, None)
    assert regular.intermediates == {"u": 8.0, "v": 16.0}
    assert dict(regular.derivative) == pytest.approx(
        dict.fromkeys(PointDerivative.model_fields, 6.0), rel=1e-12
    )
    assert all(comparison.agrees for _, comparison in regular.comparison)
    found, compared = regular.finite_difference, regular.comparison.finite_difference
    assert found is not None
    assert found.error_estimate is not None
    assert compared is not None
    assert compared.tolerance is not None
    assert 0 < found.step <= 0.5
    assert found.error_estimate < compared.tolerance < 1e-10


def test_without_the_symbolic_method_autograd_is_the_reference() -> None:
    (regular,) = points(None, REGULAR)
    assert regular.derivative.symbolic is None
    assert regular.derivative.autograd == 6.0
    assert regular.comparison.autograd is None
    for name in ("chain_rule", "autograd_forward", "finite_difference"):
        assert dict(regular.comparison)[name].agrees


def test_what_differs_from_the_reference_differs() -> None:
    (regular,) = points({0: 6.0 + 1e-9}, REGULAR)
    assert not any(comparison.agrees for _, comparison in regular.comparison)
    (regular,) = points({0: None}, REGULAR)
    assert not any(comparison.agrees for _, comparison in regular.comparison)


AGREES, DIFFERS, UNDECIDED = (True, False), (False, False), (False, True)


@pytest.mark.parametrize(
    ("value", "reference", "tolerance", "expected"),
    [
        (None, 1.0, 0.1, (None, None, None, *UNDECIDED)),
        (1.0, None, 0.1, (None, None, None, *UNDECIDED)),
        (3.75, 4.0, 0.25, (0.25, 0.0625, 0.25, *AGREES)),
        (3.75, 4.0, 0.24, (0.25, 0.0625, 0.24, *DIFFERS)),
        # No digit in common: the tolerance is as large as what is judged.
        (3.0, 4.0, 1.0, (1.0, 0.25, 1.0, *UNDECIDED)),
        (3.0, -4.0, 6.9, (7.0, 1.75, 6.9, *DIFFERS)),
        (4.41e-05, -8.33e-06, 0.0036, (5.243e-05, 5.243 / 0.833, 0.0036, *UNDECIDED)),
        (0.0, 0.0, 0.5, (0.0, None, 0.5, *AGREES)),
        (6e-17, 0.0, 1e-15, (6e-17, None, 1e-15, *AGREES)),
        (1.0, 2.0, math.inf, (1.0, 0.5, None, *UNDECIDED)),
        # Nor is it agreement to be near where the tolerance would allow anything.
        (1.0625, 1.0, 2.0, (0.0625, 0.0625, 2.0, *UNDECIDED)),
        (1.0625, 1.0, math.inf, (0.0625, 0.0625, None, *UNDECIDED)),
        (1.0, 1.0, math.inf, (0.0, 0.0, None, *AGREES)),
        (1.0, 1.0 - 2.0**-52, 9.0, (2.0**-52, 2.0**-52, 9.0, *AGREES)),  # to the last digit
        (1.0, 1.0 - 2.0**-50, 9.0, (2.0**-50, 2.0**-50, 9.0, *UNDECIDED)),
        (5.0, 0.0, math.inf, (5.0, None, None, *UNDECIDED)),
        (-524288.0, 0.0, 3.8e29, (524288.0, None, 3.8e29, *UNDECIDED)),
        (1.0, 2.0, math.nan, (1.0, 0.5, None, *UNDECIDED)),
        # The bound of an infinite slope is no number; what is equal agrees all the same.
        (0.0, 0.0, math.nan, (0.0, None, None, *AGREES)),
        (1e308, -1e308, 1.0, (None, None, None, *DIFFERS)),
        (1e308, 1e-308, math.inf, (1e308, None, None, *UNDECIDED)),
    ],
)
def test_comparison_of_two_numbers(
    value: float | None, reference: float | None, tolerance: float, expected: tuple[object, ...]
) -> None:
    keys = ("difference", "relative", "tolerance", "agrees", "undecided")
    found = dict(compare(value, reference, tolerance, eps=2.0**-52))
    assert found == pytest.approx(dict(zip(keys, expected, strict=True)), nan_ok=False)


def test_the_largest_relative_error() -> None:
    def point(**relative: float | None) -> Point:
        comparison = {
            name: Comparison(difference=1.0, relative=value, tolerance=1.0, agrees=True)
            for name, value in relative.items()
        }
        return Point(
            x=0.0,
            f=0.0,
            intermediates={},
            derivative=NOTHING,
            finite_difference=None,
            comparison=Comparisons(**comparison),
            note=None,
        )

    points = [point(chain_rule=0.25, autograd=None), point(autograd_forward=0.5), point()]
    assert max_relative_error(points) == 0.5
    assert max_relative_error(points[2:]) is None
