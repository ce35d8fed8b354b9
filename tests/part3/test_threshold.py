"""The threshold's estimate and interval: what holds exactly, and how often it holds the truth."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy.optimize import isotonic_regression
from scipy.stats import binom

from midterm_cli.part3.lr_sweep.schema import FailureThreshold
from midterm_cli.part3.outcome import FAILURES, Attempt
from midterm_cli.part3.schema import Outcome
from midterm_cli.part3.threshold import (
    LARGE_JUMP,
    clear_count,
    estimate_threshold,
    falls_again,
    monotone_shares,
)

ROOT2 = math.sqrt(2)


def attempt(lr: float, seed: int, failed: bool) -> Attempt:
    return Attempt(lr, seed, "collapsed" if failed else "trained")


def trials_of(failures: Mapping[float, int], num_seeds: int) -> list[Attempt]:
    """The first so many seeds fail at each rate: monotone seeds, if the counts rise."""
    return [
        attempt(lr, seed, seed < count)
        for lr, count in failures.items()
        for seed in range(num_seeds)
    ]


def found(trials: Sequence[Attempt]) -> FailureThreshold:
    threshold = estimate_threshold(trials)
    assert threshold is not None
    return threshold


def failed(trial: Attempt) -> bool:
    return trial.outcome == "collapsed"


def bounded(trials: Sequence[Attempt]) -> tuple[float, float, float]:
    """Estimate and both ends."""
    threshold = found(trials)
    assert threshold.low is not None
    assert threshold.high is not None
    return threshold.estimate, threshold.low, threshold.high


def ends(trials: Sequence[Attempt]) -> tuple[float | None, float | None]:
    return found(trials).low, found(trials).high


def random_sweep(seed: int) -> list[Attempt]:
    """Seeds that are neither monotone nor independent, over a curve seen from end to end."""
    rng = np.random.default_rng(seed)
    num_seeds = int(rng.integers(3, 60))
    own = rng.uniform(0, 0.8) * rng.standard_normal(num_seeds)
    rates = np.sort(rng.uniform(-3, 3, rng.integers(2, 12)))
    trials = [
        attempt(math.exp(x), s, bool(x + rng.uniform(0, 0.5) * rng.logistic() > own[s]))
        for x in rates
        for s in range(num_seeds)
    ]
    sure = [(math.exp(-9), False), (math.exp(9), True)]
    return trials + [attempt(lr, s, failed) for lr, failed in sure for s in range(num_seeds)]


# ---- What the interval is made of


@pytest.mark.parametrize(
    ("num_seeds", "expected"),
    [
        # P(0 of 5 fail) is 1/32 > 2.5 %.
        (1, 0),
        (4, 0),
        (5, 0),
        # P(at most 0) = 1/64, P(at most 1) = 7/64.
        (6, 0.5 + (0.025 - 1 / 64) / (6 / 64)),
        # P(at most 0) = 1/256, P(at most 1) = 9/256: one failure is not clear.
        (8, 1),
        # P(at most 1) = 11/1024, P(at most 2) = 56/1024.
        (10, 1.5 + (0.025 - 11 / 1024) / (45 / 1024)),
    ],
)
def test_the_clear_count_in_closed_form(num_seeds: int, expected: float) -> None:
    assert clear_count(num_seeds) == pytest.approx(expected, abs=1e-12)


def test_the_clear_count_admits_what_the_sign_test_rejects_and_no_more() -> None:
    for num_seeds in range(6, 200):
        most = math.floor(clear_count(num_seeds))
        assert binom.cdf(most, num_seeds, 0.5) <= 0.025 < binom.cdf(most + 1, num_seeds, 0.5)


def test_for_many_seeds_the_clear_count_is_the_normal_quantile() -> None:
    # Binomial(n, 1/2) has mean n/2 and sd √n/2.
    assert clear_count(10_000) == pytest.approx(5000 - 1.959964 * 50, abs=0.1)


def test_isotonic_shares_against_an_independent_implementation() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        totals = rng.integers(1, 12, rng.integers(1, 15))
        failed = rng.binomial(totals, rng.uniform(size=len(totals))).astype(float)
        expected = isotonic_regression(failed / totals, weights=totals).x
        np.testing.assert_allclose(monotone_shares(failed, totals), expected, atol=1e-12)


# ---- What must hold exactly


@pytest.mark.parametrize("seed", range(40))
def test_the_ends_are_in_order_and_within_the_rates(seed: int) -> None:
    trials = random_sweep(seed)
    estimate, low, high = bounded(trials)
    assert low < estimate < high
    assert math.exp(-9) / ROOT2 <= low
    assert high <= math.exp(9) * ROOT2


@pytest.mark.parametrize("seed", range(20))
def test_a_change_of_unit_scales_the_result_and_no_order_matters(seed: int) -> None:
    trials = random_sweep(seed)
    scaled = [attempt(1e-5 * t.lr, 7 - 2 * t.seed, failed(t)) for t in reversed(trials)]
    expected = [1e-5 * rate for rate in bounded(trials)]
    np.testing.assert_allclose(bounded(scaled), expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_failures_and_successes_are_treated_alike(seed: int) -> None:
    trials = random_sweep(seed)
    estimate, low, high = bounded(trials)
    mirrored = bounded([attempt(1 / t.lr, t.seed, not failed(t)) for t in trials])
    np.testing.assert_allclose(mirrored, (1 / estimate, 1 / high, 1 / low), rtol=1e-12)


@pytest.mark.parametrize("num_seeds", [5, 10, 30, 1000])
def test_all_or_nothing_is_the_whole_gap(num_seeds: int) -> None:
    threshold = found(trials_of({1e-3: 0, 2e-3: 0, 4e-3: num_seeds, 8e-3: num_seeds}, num_seeds))
    assert (threshold.low, threshold.high) == (2e-3, 4e-3)  # the rates themselves, to the last bit
    assert threshold.estimate == pytest.approx(ROOT2 * 2e-3)


@pytest.mark.parametrize("num_seeds", [8, 13, 40])
def test_between_many_rates_the_ends_lie_at_order_statistics(num_seeds: int) -> None:
    """Monotone seeds, a rate between each two thresholds: the k-th seed's lies from k - 1 to k."""
    threshold = bounded(trials_of({math.exp(k): k for k in range(num_seeds + 1)}, num_seeds))
    count = clear_count(num_seeds)
    expected = [math.exp(x) for x in (num_seeds / 2, count, num_seeds - count)]
    np.testing.assert_allclose(threshold, expected, rtol=1e-9)


def test_lines_between_rates_that_differ_by_few_seeds() -> None:
    # clear_count(10) is 1.824: between 1 and 3 failures, and between 7 and 9.
    failures = {1.0: 1, 2.0: 3, 4.0: 5, 8.0: 7, 16.0: 9}
    threshold = found(trials_of(failures, 10))
    part = (clear_count(10) - 1) / 2
    assert threshold.estimate == 4
    assert threshold.low == pytest.approx(2**part)
    assert threshold.high == pytest.approx(16 / 2**part)


def test_a_gap_in_which_many_seeds_change_is_taken_whole() -> None:
    few = math.floor(20 * LARGE_JUMP - 1e-9)
    assert found(trials_of({1.0: 5, 2.0: 5 + few, 4.0: 12, 8.0: 20}, 20)).low == pytest.approx(
        2 ** ((clear_count(20) - 5) / few)
    )
    assert found(trials_of({1.0: 5, 2.0: 6 + few, 4.0: 12, 8.0: 20}, 20)).low == 1


def test_where_the_curve_runs_along_one_half_the_estimate_is_its_middle() -> None:
    assert found(trials_of({1.0: 0, 2.0: 5, 4.0: 5, 8.0: 10}, 10)).estimate == pytest.approx(
        2 * ROOT2
    )


def test_one_half_at_the_highest_rate_is_enough_for_an_estimate() -> None:
    trials = trials_of({1.0: 0, 2.0: 5}, 10)
    assert found(trials).estimate == 2
    assert ends(trials) == (1, None)


@pytest.mark.parametrize(
    ("num_seeds", "expected"),
    [
        (1, (None, None)),
        (2, (None, None)),
        (3, (2 / ROOT2, 4 * ROOT2)),
        (4, (2 / ROOT2, 4 * ROOT2)),
    ],
)
def test_few_seeds_bound_little(
    num_seeds: int, expected: tuple[float | None, float | None]
) -> None:
    threshold = found(trials_of({1.0: 0, 2.0: 0, 4.0: num_seeds, 8.0: num_seeds}, num_seeds))
    assert (threshold.low, threshold.high) == expected
    assert threshold.estimate == pytest.approx(2 * ROOT2)


def test_ends_that_the_rates_do_not_reach() -> None:
    assert found(trials_of({1.0: 0, 2.0: 7}, 10)).high is None
    assert found(trials_of({1.0: 3, 2.0: 10}, 10)).low is None
    assert ends(trials_of({1.0: 3, 2.0: 7}, 10)) == (None, None)
    assert ends(trials_of({1.0: 1, 2.0: 9}, 10)) == (1, 2)


@pytest.mark.parametrize(
    "failures",
    [
        {},
        {1.0: 0},
        {1.0: 0, 2.0: 4},
        {1.0: 5, 2.0: 10},
        {1.0: 10, 2.0: 0},
        {1.0: 0, 2.0: 5, 4.0: 3},
    ],
)
def test_no_estimate_without_a_rise_through_one_half(failures: dict[float, int]) -> None:
    assert estimate_threshold(trials_of(failures, 10)) is None


def test_a_missing_seed_never_shortens_the_interval() -> None:
    trials = trials_of({1.0: 0, 2.0: 4, 4.0: 8, 8.0: 12}, 12)
    _, low, high = bounded(trials)
    _, lower, higher = bounded([t for t in trials if (t.lr, t.seed) != (8.0, 3)])
    assert lower <= low
    assert high <= higher


def test_the_rate_with_the_fewest_seeds_counts() -> None:
    trials = trials_of({1.0: 0, 2.0: 10}, 10) + trials_of({4.0: 3}, 3)
    assert ends(trials) == (1 / ROOT2, 2 * ROOT2)


def test_more_seeds_shorten_the_interval() -> None:
    def length(copies: int) -> float:
        failures = {1.0: 0, 2.0: 2, 2.8: 4, 4.0: 6, 8.0: 8}
        trials = trials_of({lr: copies * count for lr, count in failures.items()}, 8 * copies)
        _, low, high = bounded(trials)
        return math.log(high / low)

    assert length(5) < 0.6 * length(1)


# ---- A share that falls again


@pytest.mark.parametrize(
    ("num_seeds", "expected"),
    [(5, None), (6, [2.0, 4.0])],  # by chance with probability 1/32 and 1/64
)
def test_a_clear_fall_needs_six_seeds(num_seeds: int, expected: list[float] | None) -> None:
    trials = trials_of({1.0: 0, 2.0: num_seeds, 4.0: 0, 8.0: num_seeds}, num_seeds)
    assert falls_again(trials) == expected


def test_a_fall_counts_by_the_seeds_that_differ() -> None:
    # 10 of 20 fail, then 9: one seed recovers, or ten do and nine others fail.
    assert falls_again(trials_of({1.0: 10, 2.0: 9}, 20)) is None
    others = [attempt(2.0, seed, seed >= 11) for seed in range(20)]
    assert falls_again(trials_of({1.0: 10}, 20) + others) is None
    # 16 of 20 fail, then 8 of these: eight recover, none is lost.
    assert falls_again(trials_of({1.0: 16, 2.0: 8}, 20)) == [1.0, 2.0]


def test_no_fall_where_the_share_stays_on_one_side_of_one_half_or_rises() -> None:
    assert falls_again(trials_of({1.0: 0, 2.0: 30, 4.0: 18}, 30)) is None
    assert falls_again(trials_of({1.0: 14, 2.0: 0, 4.0: 30}, 30)) is None
    assert falls_again(trials_of({1.0: 0, 2.0: 10, 4.0: 30}, 30)) is None
    assert falls_again([]) is None


def test_of_several_falls_the_clearest_is_told() -> None:
    # From one half exactly; 8 of 20 recover at 2, 10 at 4.
    assert falls_again(trials_of({1.0: 10, 2.0: 2, 4.0: 0, 8.0: 1}, 20)) == [1.0, 4.0]


def test_the_interval_spans_a_share_that_falls_again() -> None:
    _, low, high = bounded(trials_of({1.0: 0, 2.0: 26, 4.0: 4, 8.0: 30}, 30))
    assert low <= 2
    assert high >= 4


# ---- How often it holds the truth


def test_the_ends_hold_for_monotone_seeds_by_the_binomial_distribution() -> None:
    """With rates on both sides next to the threshold, the ends err only as the sign test does."""
    truth = 1.0
    for num_seeds in (5, 6, 8, 10, 17, 30, 50):
        missed = 0.0
        for count in range(num_seeds + 1):
            failures = {0.01: 0, 0.999: count, 1.001: count, 100.0: num_seeds}
            threshold = estimate_threshold(trials_of(failures, num_seeds))
            assert threshold is not None
            low, high = threshold.low or 0, threshold.high or math.inf
            missed += (not low <= truth <= high) * float(binom.pmf(count, num_seeds, 0.5))
        assert missed == pytest.approx(0.0625) if num_seeds == 5 else 0 < missed <= 0.05


@pytest.mark.parametrize("num_seeds", [5, 30])
@pytest.mark.parametrize("robust", [0, 1 / 3])
def test_the_interval_holds_the_truth(num_seeds: int, robust: float) -> None:
    """Rates at a ratio of √2 with any offset; where a third is robust, at 8 times the threshold."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        own = 0.2 * rng.standard_normal(num_seeds)
        own[rng.uniform(size=num_seeds) < robust] += math.log(8)
        # The 3/4 quantile of the others is the median of all.
        truth = 0.2 * 0.674490 if robust else 0.0
        rates = np.exp(np.arange(-1.5, 3.5, math.log(2) / 2) + rng.uniform(0, math.log(2) / 2))
        trials = [
            attempt(float(r), s, math.log(r) > own[s]) for r in rates for s in range(num_seeds)
        ]
        low, high = ends(trials)
        held += (low or 0) <= math.exp(truth) <= (high or math.inf)
    assert held / 300 >= 0.93


def test_each_definition_of_failure_has_its_own_threshold() -> None:
    outcomes: dict[float, Outcome] = {
        1.0: "trained",
        2.0: "degraded",
        4.0: "collapsed",
        8.0: "non_finite",
    }
    attempts = [Attempt(lr, seed, outcome) for lr, outcome in outcomes.items() for seed in range(6)]
    for num_outcomes, estimate in ((1, 4 * ROOT2), (2, 2 * ROOT2), (3, ROOT2)):
        threshold = estimate_threshold(attempts, FAILURES[:num_outcomes])
        assert threshold is not None
        assert threshold.estimate == pytest.approx(estimate)
    assert estimate_threshold(attempts) == threshold


def test_what_is_untrained_has_not_failed() -> None:
    attempts = [Attempt(lr, seed, "untrained") for lr in (1e-9, 1e-8) for seed in range(6)]
    assert estimate_threshold(attempts) is None
    attempts += trials_of({1.0: 0, 2.0: 6}, 6)
    assert found(attempts).estimate == pytest.approx(ROOT2)
