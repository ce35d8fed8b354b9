"""What became of a training: by itself, and in a sweep."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from midterm_cli.part3.information import Information, information
from midterm_cli.part3.network import relative_move
from midterm_cli.part3.outcome import (
    Attempt,
    best_lr,
    classify,
    constant_guess_loss,
    is_overconfident,
    judge_sweep,
    worst,
)
from midterm_cli.part3.schema import Outcome


@pytest.mark.parametrize("num_classes", [2, 3, 10, 1000])
def test_equal_classes_have_entropy_ln_c(num_classes: int) -> None:
    counts = [7] * num_classes
    assert constant_guess_loss(counts) == pytest.approx(math.log(num_classes), rel=1e-14)


def test_no_constant_prediction_beats_the_class_frequencies() -> None:
    counts = [1, 2, 5, 0]
    best = constant_guess_loss(counts)

    def loss_of(shares: list[float]) -> float:
        return -sum(c * math.log(s) for c, s in zip(counts, shares, strict=True) if c) / 8

    assert loss_of([1 / 8, 2 / 8, 5 / 8, 0]) == pytest.approx(best, rel=1e-14)
    for shares in ([0.25] * 4, [0.13, 0.25, 0.61, 0.01], [0.1, 0.3, 0.6, 0]):
        assert loss_of(shares) > best


LN10 = math.log(10)
FRESH = Information(0.05, 0.004, LN10, 1000)


def a_problem(
    num_examples: int, shares: Sequence[float], signal: float
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of these frequencies, and logits that know them by as much as the signal says."""
    rng = np.random.default_rng(0)
    labels = rng.choice(len(shares), num_examples, p=shares)
    logits = rng.normal(size=(num_examples, len(shares)))
    logits[np.arange(num_examples), labels] += signal
    return logits, labels


def known(value: float, num_examples: int = 6000, same: float = 0.0) -> Information:
    return Information(value, 0.01, LN10, num_examples, same)


@pytest.mark.parametrize(
    ("loss", "value", "moved", "outcome"),
    [
        (0.6, 1.75, 0.3, "trained"),
        (76.0, 1.7, 4.6, "trained"),  # softmax regression on unscaled pixels
        (2.2, 0.165, 0.02, "trained"),
        (2.2, 0.160, 0.02, "untrained"),  # 4.9 % of what the initial weights did not know
        (4.5, 0.0524, 1e-4, "untrained"),  # lr 1e-8
        (3.7, 0.0943, 0.008, "untrained"),  # a single update
        (3.7, 0.0, 0.008, "untrained"),
        (2.2, 0.09, 1.2, "trained"),  # it left, and knows significantly more than at the start
        (3.0, 0.06, 1.2, "untrained"),  # it left, and knows as much as at the start
        (2.18, 0.06, 1.2, "trained"),  # as its loss tells, 5 % below ln 10
        (2.18, 0.06, 0.1, "untrained"),
        (2.3, 0.0, 0.7, "collapsed"),
        (2.3, 0.0, 0.24, "untrained"),
        (2.3, 0.0, 0.26, "collapsed"),
        (None, 1.7, 0.3, "non_finite"),
        (math.nan, 1.7, 0.3, "non_finite"),
        (math.inf, 1.7, 0.3, "non_finite"),
        (0.6, 1.7, math.nan, "non_finite"),
        (0.6, 1.7, math.inf, "non_finite"),
    ],
)
def test_outcomes(loss: float | None, value: float, moved: float, outcome: Outcome) -> None:
    assert classify(loss, known(value), FRESH, moved) == outcome


def test_a_network_that_is_dead_for_half_of_the_examples_has_collapsed() -> None:
    assert classify(2.29, known(0.09, same=0.5), FRESH, 1.2) == "collapsed"
    assert classify(2.29, known(0.09, same=0.4), FRESH, 1.2) == "trained"
    # Before it has moved it was so from the start; and one that knows enough may say little.
    assert classify(2.29, known(0.05, same=0.9), FRESH, 0.1) == "untrained"
    assert classify(0.4, known(1.9, same=0.9), FRESH, 1.2) == "trained"


def test_initial_weights_that_know_all_by_chance_do_not_make_a_classifier_collapse() -> None:
    # Two classes that can be told apart, one with 1 % of the labels: in 1,000 examples the initial
    # weights may separate them.
    entropy = constant_guess_loss([99, 1])
    start, found = (Information(entropy, 0.004, entropy, n, 0.0) for n in (1000, 2000))
    assert classify(3e-4, found, start, 0.9) == "trained"
    assert classify(5.0, found, start, 1e-4) == "untrained"


def test_labels_that_can_hardly_be_known() -> None:
    # Right in 60 % of the cases at best: 0.020 nats of ln 2.
    start = Information(0.002, 0.002, math.log(2), 1000)
    assert classify(0.70, Information(0.0164, 0.0018, math.log(2), 6000), start, 0.5) == "trained"
    assert classify(0.70, Information(0.0003, 0.0003, math.log(2), 6000), start, 0.5) == "collapsed"


def test_outputs_that_are_not_finite() -> None:
    assert classify(0.6, None, FRESH, 0.3) == "non_finite"


def test_constant_outputs_have_collapsed_however_little_the_weights_moved() -> None:
    assert classify(2.3, known(0.0, same=1.0), FRESH, 0.01) == "collapsed"


def test_what_few_examples_cannot_show_has_not_been_learned() -> None:
    blank = Information(0.0, 0.0, LN10, 12)
    assert classify(2.0, known(0.37, num_examples=12), blank, 0.1) == "untrained"
    assert classify(2.0, known(0.38, num_examples=12), blank, 0.1) == "trained"


def test_initial_weights_that_know_most_of_two_classes_by_chance_are_no_training() -> None:
    start = Information(0.6, 0.01, math.log(2), 1000)
    assert classify(0.4, Information(0.603, 0.01, math.log(2), 6000), start, 1e-4) == "untrained"
    assert classify(0.1, Information(0.68, 0.01, math.log(2), 6000), start, 0.4) == "trained"


def test_overconfident_is_a_loss_above_the_constant_guess() -> None:
    assert is_overconfident(2.4, known(1.7))
    assert not is_overconfident(2.2, known(1.7))
    assert not is_overconfident(None, known(1.7))
    assert not is_overconfident(2.4, None)


def test_networks_of_every_outcome_from_their_logits() -> None:
    """Classify from the start to the end, as a run does, on constructed logits."""
    rng = np.random.default_rng(0)
    for shares in ([0.1] * 10, [0.95, 0.05], [0.5, 0.5]):
        classes = len(shares)
        learned, labels = a_problem(3000, shares, 4.0)
        fresh = information(a_problem(3000, shares, 0)[0], labels, classes)
        assert fresh is not None

        def outcome(logits: np.ndarray, moved: float = 0.5) -> Outcome:
            return classify(1.0, information(logits, labels, classes), fresh, moved)  # noqa: B023

        one_class = 0.01 * rng.normal(size=(3000, classes)) + 5 * np.eye(classes)[0]
        assert outcome(learned) == "trained"
        assert outcome((1e30 * learned).astype(np.float32)) == "trained"
        assert outcome(learned + 50 * np.eye(classes)[0]) == "trained"  # says one class
        assert outcome(one_class) == "collapsed"
        assert outcome(np.zeros((3000, classes)), moved=0.01) == "collapsed"
        assert outcome(rng.normal(size=(3000, classes)), moved=0.01) == "untrained"
        assert outcome(np.full((3000, classes), np.nan)) == "non_finite"


def test_relative_move_is_that_of_the_layer_that_moved_most() -> None:
    initial = [torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0], [0.0]])]
    assert relative_move(initial, initial) == 0
    moved = [torch.tensor([[3.0, 4.5]]), torch.tensor([[1.0], [0.3]])]
    assert relative_move(moved, initial) == pytest.approx(0.3)
    # Finite weights whose squares are not, in float32.
    far = [torch.tensor([[3e38, 4.0]]), initial[1]]
    assert relative_move(far, initial) == pytest.approx(6e37)
    for bad in (math.nan, math.inf):
        assert math.isnan(relative_move([torch.tensor([[3.0, bad]]), initial[1]], initial))
        assert math.isnan(relative_move([initial[0], torch.tensor([[bad], [0.0]])], initial))


def test_a_sweep_measures_by_its_best_learning_rate() -> None:
    trials: list[tuple[float, Outcome, float | None, Outcome]] = [
        (1e-6, "untrained", 0.02, "untrained"),
        (1e-6, "untrained", 0.04, "untrained"),
        (1e-6, "trained", 0.2, "trained"),  # below the best rate a run is what it is by itself
        (1e-4, "trained", 0.84, "trained"),
        (1e-4, "trained", 0.9, "trained"),
        (1e-4, "collapsed", 0.0, "collapsed"),
        (2e-3, "trained", 1.7, "trained"),
        (2e-3, "trained", 1.75, "trained"),
        (2e-3, "trained", 0.8, "degraded"),
        (4e-3, "trained", 1.71, "trained"),  # most is known here, by a hair
        (1e-2, "trained", 0.856, "trained"),
        (1e-2, "trained", 0.854, "degraded"),
        (1e-2, "untrained", 0.04, "degraded"),
        (3e-2, "collapsed", 0.3, "collapsed"),
        (3e-2, "non_finite", None, "non_finite"),
    ]

    def judged(order: Sequence[int]) -> list[Outcome]:
        attempts = [Attempt(trials[i][0], 0, trials[i][1]) for i in order]
        values = [trials[i][2] for i in order]
        assert best_lr(attempts, values) == (2e-3, 1.71)
        assert judge_sweep(attempts, values, 0.0) == [trials[i][1] for i in order]
        return judge_sweep(attempts, values, 0.5)

    for order in (range(len(trials)), np.random.default_rng(0).permutation(len(trials)).tolist()):
        assert judged(order) == [trials[i][3] for i in order]


def test_a_sweep_in_which_nothing_learns() -> None:
    outcomes: list[Outcome] = ["untrained", "untrained", "untrained", "non_finite"]
    attempts = [Attempt(lr, 0, outcome) for lr, outcome in zip((1, 2, 2, 4), outcomes, strict=True)]
    # What the initial weights know by chance is no measure: 0.01 is not degraded.
    values = [0.0, 0.1, 0.01, None]
    assert best_lr(attempts, values) is None
    assert judge_sweep(attempts, values, 0.5) == outcomes


def test_only_where_networks_train_is_a_learning_rate_the_best() -> None:
    # The initial weights already tell the classes apart: 1e-5 knows nearly as much as 1e-3.
    outcomes: dict[float, Outcome] = {1e-5: "untrained", 1e-3: "trained", 4e-3: "trained"}
    attempts = [Attempt(lr, s, outcome) for s in range(3) for lr, outcome in outcomes.items()]
    values = [0.67, 0.68, 0.10] * 3
    assert best_lr(attempts, values) == (1e-3, 0.68)
    assert judge_sweep(attempts, values, 0.5)[2] == "degraded"


def test_the_start_is_known_to_its_own_error_only() -> None:
    found = Information(0.06, 0.002, LN10, 6000)
    for error, outcome in ((0.004, "trained"), (0.02, "untrained")):
        start = Information(0.03, error, LN10, 1000)
        assert classify(2.3, found, start, 1.2) == outcome


def test_the_lower_of_two_learning_rates_that_are_as_good_is_the_best() -> None:
    attempts = [Attempt(2e-3, 0, "trained"), Attempt(1e-3, 0, "trained")]
    assert best_lr(attempts, [1.0, 1.0]) == (1e-3, 1.0)
    assert best_lr(attempts, [1.0, 0.99]) == (1e-3, 1.0)
    assert best_lr(attempts, [1.0, 0.97]) == (2e-3, 1.0)


def test_worst() -> None:
    assert worst(["trained", "untrained"]) == "untrained"
    assert worst(["collapsed", "untrained", "degraded"]) == "collapsed"
    assert worst(["non_finite", "collapsed"]) == "non_finite"
    assert worst(["degraded", "trained"]) == "degraded"
