"""The search for the rate at which training fails, asked of made-up failure curves."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from midterm_cli.part3.search import (
    HIGHEST_RATE,
    LOWEST_RATE,
    Bracket,
    find_bracket,
    next_rates,
)
from midterm_cli.part3.threshold import Trial, estimate_threshold


def sweep(
    fails: Callable[[float, int], bool],
    *,
    start: float = 1e-3,
    num_seeds: int = 12,
    max_rates: int = 20,
) -> list[Trial]:
    trials: list[Trial] = []
    while lrs := next_rates(trials, start, 0.2, max_rates):
        trials += [Trial(lr, seed, fails(lr, seed)) for lr in lrs for seed in range(num_seeds)]
    return trials


@pytest.mark.parametrize("start", [1e-5, 1e-3, 4e-3, 0.5])
def test_a_sharp_threshold_is_bracketed_from_both_sides(start: float) -> None:
    trials = sweep(lambda lr, seed: lr > 3.3e-3, start=start)
    bracket = find_bracket(trials, start)
    assert bracket.closed
    assert bracket.last_stable is not None
    assert bracket.first_divergent is not None
    assert bracket.first_divergent == pytest.approx(2 * bracket.last_stable)
    assert bracket.last_stable <= 3.3e-3 < bracket.first_divergent
    tried = sorted({trial.lr for trial in trials})
    below, above = max(r for r in tried if r <= 3.3e-3), min(r for r in tried if r > 3.3e-3)
    assert above / below <= 1.2


def test_the_published_grid() -> None:
    trials = sweep(lambda lr, seed: lr > 3.3e-3)
    grid = [1e-3, 2e-3, 4e-3]
    assert [lr for lr in sorted({t.lr for t in trials}) if lr in grid] == grid
    assert find_bracket(trials, 1e-3).last_stable == 2e-3


@pytest.mark.parametrize("fails", [True, False])
def test_without_a_bracket_the_budget_ends_the_search(fails: bool) -> None:
    trials = sweep(lambda lr, seed: fails, max_rates=7)
    assert len({trial.lr for trial in trials}) == 7
    bracket = find_bracket(trials, 1e-3)
    assert bracket.first_divergent is None
    assert (bracket.last_stable is None) is fails
    assert estimate_threshold(trials) is None


def test_half_of_the_seeds_make_a_divergent_rate() -> None:
    # At 4e-3 half fail: that is the end of the bracket, but one more rate tells chance apart.
    trials = sweep(lambda lr, seed: lr > 5e-3 or (lr > 3e-3 and seed % 2 == 0))
    assert find_bracket(trials, 1e-3).first_divergent == 4e-3
    assert max(trial.lr for trial in trials) == 8e-3


def test_half_of_the_seeds_everywhere_are_no_bracket() -> None:
    trials = [Trial(lr, seed, seed % 2 == 0) for lr in (1e-3, 2e-3) for seed in range(4)]
    assert find_bracket(trials, 1e-3) == Bracket(None, None)


def test_shares_that_do_not_rise_steadily_end_in_the_first_gap() -> None:
    # 4e-3 fails, 8e-3 would train: no single seed and no single rate is monotone.
    trials = sweep(lambda lr, seed: 3e-3 < lr < 5e-3)
    assert find_bracket(trials, 1e-3).first_divergent == 4e-3


def trials_of(shares: dict[float, float]) -> list[Trial]:
    """Four seeds at each rate, of which a share fails."""
    return [Trial(lr, seed, seed < 4 * share) for lr, share in shares.items() for seed in range(4)]


@pytest.mark.parametrize(
    ("shares", "tolerance", "expected"),
    [
        ({}, 0.2, [1.0, 2.0]),
        ({1.0: 0.25, 2.0: 0.25}, 0.2, [4.0, 8.0]),
        ({1.0: 1, 2.0: 1}, 0.2, [0.5, 4.0]),
        ({1.0: 0, 2.0: 1}, 0.2, [math.sqrt(2)]),
        ({1.0: 0, 2.0: 1, 4.0: 1}, 0.5, [math.sqrt(2)]),
        ({1.0: 0, 2.0: 1}, 1, []),  # neighbours may differ by this share, and no more
        ({1.0: 0, 2.0: 0.5}, 1, [4.0]),  # half of the seeds: perhaps by chance
        ({1.0: 0, 2.0: 0.75}, 1, []),
        ({1.0: 0, 2.0: 0.5, 4.0: 0.5}, 1, []),  # one more rate above was tried already
        ({1.0: 0, 2.0: 0.5}, 0.2, [math.sqrt(2), 4.0]),
        ({1.0: 0, 1.5: 1, 2.0: 1}, 0.2, [math.sqrt(1.5)]),  # the gap is below the first failure
        ({1.0: 0, 1.5: 0.25, 2.0: 1}, 0.2, [math.sqrt(3)]),
    ],
)
def test_the_next_rates(
    shares: dict[float, float], tolerance: float, expected: list[float]
) -> None:
    assert next_rates(trials_of(shares), 1.0, tolerance, 20) == pytest.approx(expected)


def test_the_next_rates_keep_to_the_budget_and_to_their_range() -> None:
    stable = trials_of({1.0: 0, 2.0: 0})
    assert next_rates(stable, 1.0, 0.2, 3) == [4.0]
    assert next_rates(stable, 1.0, 0.2, 2) == []
    assert next_rates([], HIGHEST_RATE, 0.2, 9) == [HIGHEST_RATE]
    assert next_rates([], HIGHEST_RATE / 2, 0.2, 9) == [HIGHEST_RATE / 2, HIGHEST_RATE]
    lowest = trials_of({2 * LOWEST_RATE: 1, 4 * LOWEST_RATE: 1})
    assert next_rates(lowest, 2 * LOWEST_RATE, 0.2, 9) == [LOWEST_RATE, 8 * LOWEST_RATE]
    assert next_rates(trials_of({LOWEST_RATE: 1}), LOWEST_RATE, 0.2, 9) == [2 * LOWEST_RATE]


@pytest.mark.parametrize("start", [1e-6, 0.2])
def test_a_start_that_is_too_low_to_learn_or_far_too_high_finds_the_same(start: float) -> None:
    trials = sweep(lambda lr, seed: lr < 1e-5 or lr > 3.3e-3, start=start, max_rates=40)
    bracket = find_bracket(trials, start)
    assert bracket.last_stable is not None
    assert bracket.first_divergent is not None
    assert bracket.last_stable <= 3.3e-3 < bracket.first_divergent


def test_an_early_failure_of_few_seeds_does_not_stop_the_doubling() -> None:
    trials = sweep(lambda lr, seed: lr > 1e-2 or seed == 3)
    assert find_bracket(trials, 1e-3).last_stable == 8e-3


WORLDS = [(0.001, 0.02), (0.001, 0.3), (0.2, 0.005), (0.5, 0.01), (0.3, 0.2)]


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """500 sweeps over worlds with independent seeds, with monotone seeds, and between."""
    rng = np.random.default_rng(0)
    hits = 0
    for i in range(500):
        sigma, tau = WORLDS[i % len(WORLDS)]
        truth = math.log(1e-3) + rng.uniform(0.5, 3.2)
        own = truth + sigma * rng.standard_normal(12)

        def fails(lr: float, seed: int, own: np.ndarray = own, tau: float = tau) -> bool:
            # A logistic variable beats the distance to the seed's own threshold.
            return bool(math.log(lr) - own[seed] > tau * rng.logistic())

        threshold = estimate_threshold(sweep(fails))
        assert threshold is not None
        hits += threshold.low < math.exp(truth) < threshold.high
    assert 0.90 <= hits / 500 <= 0.99


def test_threshold_between_two_rates_that_split_all_seeds() -> None:
    trials = [Trial(lr, seed, lr > 3e-3) for lr in (2e-3, 4e-3) for seed in range(12)]
    threshold = estimate_threshold(trials)
    assert threshold is not None
    # Nothing tells where between the two: the middle in the logarithm, and about all of the gap.
    assert threshold.estimate == pytest.approx(math.sqrt(8) * 1e-3, rel=0.02)
    assert 1.9e-3 < threshold.low < 2.3e-3
    assert 3.5e-3 < threshold.high < 4.2e-3


def test_more_seeds_narrow_the_interval() -> None:
    def width(num_seeds: int) -> float:
        trials = [
            Trial(lr, seed, seed < share * num_seeds)
            for lr, share in ((1e-3, 0), (2e-3, 0.25), (2.8e-3, 0.5), (4e-3, 0.75), (8e-3, 1))
            for seed in range(num_seeds)
        ]
        threshold = estimate_threshold(trials)
        assert threshold is not None
        assert threshold.low < 2.8e-3 < threshold.high
        return math.log(threshold.high / threshold.low)

    assert width(40) < 0.7 * width(8)
