"""The verdict on made-up final states, with any number of classes."""

import math

import pytest

from midterm_cli.part3.outcome import classify, constant_guess_loss, worst
from midterm_cli.part3.schema import Outcome

TEN = [600] * 10
SPREAD = [590, 610, 600, 605, 595, 600, 600, 600, 580, 620]
ONE_CLASS = [6000] + [0] * 9


@pytest.mark.parametrize("loss", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_non_finite(loss: float | None) -> None:
    assert classify(loss, SPREAD, TEN) == "non_finite"


@pytest.mark.parametrize(
    ("loss", "outcome"),
    [
        (0.12, "trained"),
        (2.2, "trained"),  # bad, and yet better than any constant guess
        (math.log(10) - 1e-6, "trained"),
        (math.log(10), "collapsed"),
        (2.303, "collapsed"),  # dead units, measured on Fashion-MNIST
        (12.0, "collapsed"),  # about the loss at the start: "worse than at the start" misses it
    ],
)
def test_loss_against_the_constant_guess(loss: float, outcome: str) -> None:
    assert classify(loss, SPREAD, TEN) == outcome


@pytest.mark.parametrize("counts", [TEN, [1, 2, 5, 0], [985, 15]])
def test_the_constant_guess_itself_is_no_better_than_the_constant_guess(
    counts: list[int],
) -> None:
    assert classify(constant_guess_loss(counts), counts, counts) == "collapsed"


def test_a_model_that_predicts_one_class_has_collapsed_whatever_its_loss() -> None:
    assert classify(2.25, ONE_CLASS, TEN) == "collapsed"
    assert classify(2.25, [5950, 50] + [0] * 8, TEN) == "collapsed"
    assert classify(2.25, [5000, 1000] + [0] * 8, TEN) == "trained"


def test_one_prediction_is_right_where_one_class_holds_nearly_all_labels() -> None:
    assert classify(0.05, [1000, 0], [985, 15]) == "trained"
    assert constant_guess_loss([985, 15]) > 0.05


@pytest.mark.parametrize("num_classes", [2, 3, 10, 1000])
def test_equal_classes_have_entropy_ln_c(num_classes: int) -> None:
    counts = [7] * num_classes
    assert constant_guess_loss(counts) == pytest.approx(math.log(num_classes), rel=1e-14)
    spread = counts
    assert classify(math.log(num_classes) * 0.9, spread, counts) == "trained"
    assert classify(math.log(num_classes) * 1.0001, spread, counts) == "collapsed"


def test_no_constant_prediction_beats_the_class_frequencies() -> None:
    counts = [1, 2, 5, 0]
    best = constant_guess_loss(counts)

    def loss_of(shares: list[float]) -> float:
        return -sum(c * math.log(s) for c, s in zip(counts, shares, strict=True) if c) / 8

    assert loss_of([1 / 8, 2 / 8, 5 / 8, 0]) == pytest.approx(best, rel=1e-14)
    for shares in ([0.25] * 4, [0.13, 0.25, 0.61, 0.01], [0.1, 0.3, 0.6, 0]):
        assert loss_of(shares) > best


def test_the_shares_that_count_as_one_class_are_included() -> None:
    assert classify(0.1, [990, 10], [600, 400]) == "collapsed"
    assert classify(0.1, [989, 11], [600, 400]) == "trained"
    assert classify(0.1, [1000, 0], [900, 100]) == "trained"
    assert classify(0.1, [1000, 0], [899, 101]) == "collapsed"


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["trained", "trained"], "trained"),
        (["collapsed", "trained"], "collapsed"),
        (["trained", "non_finite", "collapsed"], "non_finite"),
    ],
)
def test_the_worst_outcome_is_that_of_all(outcomes: list[Outcome], expected: Outcome) -> None:
    assert worst(outcomes) == expected
