"""The learning rate at which half of the seeds fail: by another method, and how often it covers."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from scipy.special import expit, ndtr, ndtri

from midterm_cli.part3.lr_sweep.schema import FailureThreshold
from midterm_cli.part3.outcome import Attempt
from midterm_cli.part3.search import next_lrs
from midterm_cli.part3.threshold import estimate_threshold


def by_quantiles(attempts: Sequence[Attempt]) -> list[float]:
    """Quantiles 2.5, 50 and 97.5 % of the posterior of threshold.py.

    The mean over the threshold of a seed is that over equally likely values of it, the quantiles
    of a normal distribution that is truncated to the range of m.
    """
    x = np.log([attempt.lr for attempt in attempts])
    low, high = x.min() - math.log(4), x.max() + math.log(4)
    m, levels = np.linspace(low, high, 400), (np.arange(200) + 0.5) / 200
    scales = np.geomspace(0.02, 1.0, 6)
    posterior = np.zeros(len(m))
    for sigma, tau in product(scales, scales):
        below, above = (ndtr((end - m[:, None]) / sigma) for end in (low, high))
        own = m[:, None] + sigma * ndtri(below + (above - below) * levels)
        likelihood = np.ones(len(m))
        for seed in {attempt.seed for attempt in attempts}:
            of_seed = np.ones_like(own)
            for attempt in attempts:
                if attempt.seed == seed:
                    fails = expit((math.log(attempt.lr) - own) / tau)
                    of_seed *= fails if attempt.failed else 1 - fails
            likelihood *= of_seed.mean(1)
        posterior += likelihood
    cumulative = np.cumsum(posterior) / posterior.sum()
    return [float(np.exp(np.interp(p, cumulative, m))) for p in (0.025, 0.5, 0.975)]


def quantiles(threshold: FailureThreshold | None) -> list[float]:
    assert threshold is not None
    return [threshold.low, threshold.estimate, threshold.high]


def attempts_of(failures: dict[float, int], num_seeds: int) -> list[Attempt]:
    """At each learning rate, so many of the first seeds fail."""
    return [Attempt(lr, s, s < count) for lr, count in failures.items() for s in range(num_seeds)]


@pytest.mark.parametrize(
    "failures",
    [
        {1e-3: 0, 2e-3: 1, 4e-3: 3, 8e-3: 4},
        {1e-3: 0, 2e-3: 4},
        {1e-3: 1, 2e-3: 0, 2.8e-3: 2, 4e-3: 2, 8e-3: 4},
    ],
)
def test_it_is_the_posterior_by_another_sum(failures: dict[float, int]) -> None:
    attempts = attempts_of(failures, 4)
    found = quantiles(estimate_threshold(attempts))
    assert np.log(found) == pytest.approx(np.log(by_quantiles(attempts)), abs=0.01)


def coverage(num_sweeps: int) -> float:
    """How often the interval holds the truth: independent seeds, monotone seeds, and between."""
    worlds = [(0.001, 0.02), (0.001, 0.3), (0.2, 0.005), (0.5, 0.01), (0.3, 0.2)]
    rng = np.random.default_rng(0)
    hits = 0
    for i in range(num_sweeps):
        sigma, tau = worlds[i % len(worlds)]
        truth = math.log(1e-3) + rng.uniform(0.5, 3.2)
        own = truth + sigma * rng.standard_normal(12)
        attempts: list[Attempt] = []
        while lrs := next_lrs(attempts, 1e-3, 0.2, 20):
            # A logistic variable exceeds the distance to the seed's own threshold.
            attempts += [
                Attempt(lr, seed, bool(math.log(lr) - own[seed] > tau * rng.logistic()))
                for lr in lrs
                for seed in range(12)
            ]
        low, _, high = quantiles(estimate_threshold(attempts))
        hits += low < math.exp(truth) < high
    return hits / num_sweeps


def test_the_interval_has_about_its_nominal_coverage() -> None:
    assert 0.86 <= coverage(50) <= 1


@pytest.mark.slow
def test_the_interval_has_its_nominal_coverage() -> None:
    assert 0.90 <= coverage(500) <= 0.99


def test_threshold_between_two_learning_rates_that_split_all_seeds() -> None:
    attempts = attempts_of({2e-3: 0, 4e-3: 12}, 12)
    low, estimate, high = quantiles(estimate_threshold(attempts))
    # Nothing tells where between the two: the middle in the logarithm, and about all of the gap.
    assert estimate == pytest.approx(math.sqrt(8) * 1e-3, rel=0.02)
    assert 1.9e-3 < low < 2.3e-3
    assert 3.5e-3 < high < 4.2e-3


@pytest.mark.parametrize("failed", [True, False])
def test_without_failures_or_without_successes_there_is_no_threshold(failed: bool) -> None:
    assert estimate_threshold([Attempt(lr, 0, failed) for lr in (1e-3, 2e-3)]) is None


def test_more_seeds_narrow_the_interval() -> None:
    def width(num_seeds: int) -> float:
        shares = {1e-3: 0, 2e-3: 0.25, 2.8e-3: 0.5, 4e-3: 0.75, 8e-3: 1}
        failures = {lr: int(share * num_seeds) for lr, share in shares.items()}
        low, _, high = quantiles(estimate_threshold(attempts_of(failures, num_seeds)))
        assert low < 2.8e-3 < high
        return math.log(high / low)

    assert width(40) < 0.7 * width(8)
