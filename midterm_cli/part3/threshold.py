"""At which learning rate do half of the seeds fail? An estimate with an interval, from few trials.

The share of the seeds that fail, made monotone and joined by lines over ln(lr), crosses one half
at the estimate. The interval is the sign test's for a median, which needs no model of how the seeds
differ: at a rate above the threshold each seed fails with a probability of 1/2 or more, so that
few failures among n are at most as probable as under Binomial(n, 1/2). The interval runs from where
the curve passes `clear_count(n)` failures to where all but as many of the n seeds fail.

A line between two rates is a guess about what lies between them. Where many seeds change from
one rate to the next, nothing tells where they do: an end of the interval that lies in such a gap is
moved to the gap's outer end. An end that the attempts do not bound is None.

That rates are chosen in the light of earlier attempts does no harm. If a seed fails at every rate
above a threshold of its own, then few failures at any rate above the common threshold, whichever
was chosen, mean that few of the seeds' thresholds are below the common one. If attempts are
independent, those at a new rate do not know of the earlier ones.

Source: Hettmansperger and Sheather (1986), Confidence intervals based on interpolated order
statistics; here the interpolation is linear, and thresholds are known up to a gap between rates.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import combinations

import numpy as np

from midterm_cli.part3.lr_sweep.schema import FailureThreshold
from midterm_cli.part3.outcome import FAILURES, Attempt
from midterm_cli.part3.schema import Outcome

_TAIL = 0.025  # on each side: a 95 % interval

# So large a share of the seeds changes in a gap that is taken whole. With 0.5 the coverage is 0.84
# for 50 seeds of which a third is far more robust; with 0.3 intervals are up to 1.4 times as long.
LARGE_JUMP = 0.35

# The sign test cannot bound a median with fewer than five seeds: all four of four lie on one side
# of it with probability 1/8. With three or four, both ends are moved outwards by a factor. That is
# enough, 2 · (1/3)³ = 0.07, if no more than a third of all seeds fail at the threshold divided by
# the factor, and no more than a third train at the threshold times the factor.
_FEWEST_FOR_THE_TEST = 5
FEWEST_SEEDS = 3
_FEW_SEEDS_FACTOR = math.sqrt(2)


def estimate_threshold(
    attempts: Sequence[Attempt], failures: Collection[Outcome] = FAILURES
) -> FailureThreshold | None:
    """Estimate the learning rate at which half of the seeds fail.

    Args:
        attempts: at several rates, each with the same seeds. If some are missing, the interval is
            as wide as if each rate had the number of seeds of the rate with the fewest.
        failures: the outcomes that count as failed.

    Returns:
        None unless the share of failures, made monotone, rises from below one half to one half or
        above. An end of the interval is None where the attempts do not bound it: with fewer than
        three seeds, or where the lowest rate is not clearly below the threshold, or the highest
        not clearly above.
    """
    rates, failed, totals = _counts(attempts, failures)
    failing = monotone_shares(failed, totals)
    if not (len(rates) and failing[0] < 0.5 <= failing[-1]):
        return None
    # The same curve from its other end: the share that trains, by falling rate.
    training = 1 - failing[::-1]
    last = len(rates) - 1

    # Where the curve runs along one half, both ends of that piece count.
    reached, left = last - _passes(training, 0.5, math.inf), _passes(failing, 0.5, math.inf)
    estimate = math.sqrt(_rate_at(rates, reached) * _rate_at(rates, left))

    num_seeds = int(totals.min())
    if num_seeds < FEWEST_SEEDS:
        return FailureThreshold(estimate=estimate, low=None, high=None)
    level = clear_count(num_seeds) / num_seeds
    factor = 1.0 if num_seeds >= _FEWEST_FOR_THE_TEST else _FEW_SEEDS_FACTOR
    low = high = None
    if failing[0] <= level:
        low = _rate_at(rates, _passes(failing, level, LARGE_JUMP)) / factor
    if training[0] <= level:
        high = _rate_at(rates, last - _passes(training, level, LARGE_JUMP)) * factor
    return FailureThreshold(estimate=estimate, low=low, high=high)


def clear_count(num_seeds: int) -> float:
    """How few seeds may fail at a rate for it to be clearly below the threshold.

    Likewise, how few may train at a rate that is clearly above. If each seed fails with probability
    1/2, so few do with probability 2.5 %: an interpolation between whole numbers of seeds, which
    never admits a number of a higher probability. Below six seeds it is 0, though the probability
    that none fails is higher: 3.1 % for five.
    """
    from scipy.special import bdtr

    counts = np.arange(num_seeds // 2 + 1)
    probabilities = bdtr(counts, num_seeds, 0.5)
    # The curve of shares passes k + 1/2 where the k-th failure, counted from 0, is added.
    count = float(np.interp(_TAIL, probabilities, counts + 0.5, left=0.0))
    too_many = int(np.searchsorted(probabilities, _TAIL, side="right"))
    return min(count, math.nextafter(too_many, 0))


def falls_again(attempts: Sequence[Attempt]) -> list[float] | None:
    """Two rates between which the share of failures falls from one half or more to below it.

    If the fall is clear, the share crosses one half more than once, and no single rate is the
    threshold. Clear is what McNemar's exact test, of the seeds that fail at one of two rates
    only, rejects at 2.5 %; six seeds are the fewest that can.

    Returns:
        The lower and the higher rate of the clearest fall; None if there is none.
    """
    from scipy.special import bdtr

    outcomes: dict[float, dict[int, bool]] = {}
    for attempt in sorted(attempts):
        failed = attempt.outcome in FAILURES
        outcomes.setdefault(attempt.lr, {})[attempt.seed] = failed
    falls = []
    for (lower_lr, lower), (higher_lr, higher) in combinations(outcomes.items(), 2):
        if _share(lower) < 0.5 or _share(higher) >= 0.5:
            continue
        seeds = lower.keys() & higher.keys()
        recovered = sum(lower[seed] and not higher[seed] for seed in seeds)
        lost = sum(higher[seed] and not lower[seed] for seed in seeds)
        probability = float(bdtr(lost, recovered + lost, 0.5))
        if probability <= _TAIL:
            falls.append((probability, lower_lr, higher_lr))
    return list(min(falls)[1:]) if falls else None


def _share(outcomes: dict[int, bool]) -> float:
    return sum(outcomes.values()) / len(outcomes)


def _counts(
    attempts: Sequence[Attempt], failures: Collection[Outcome]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rates, rising; for each, how many attempts failed, and how many there are."""
    rates, positions = np.unique([attempt.lr for attempt in attempts], return_inverse=True)
    failed = np.array([attempt.outcome in failures for attempt in attempts], dtype=float)
    return rates, np.bincount(positions, failed), np.bincount(positions)


def monotone_shares(failed: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """The shares that never fall and fit best (least squares, weighted by the totals).

    In closed form: the mean over a run of rates is made as low as possible by the run's end, at
    the rate in question or later, then as high as possible by its begin, there or earlier.
    """
    num_rates = len(failed)
    sums, counts = (np.concatenate([[0], np.cumsum(values)]) for values in (failed, totals))
    begin, end = np.triu_indices(num_rates)
    means = np.full((num_rates, num_rates), np.inf)
    means[begin, end] = (sums[end + 1] - sums[begin]) / (counts[end + 1] - counts[begin])
    lowest = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(np.triu(lowest).max(axis=0, initial=0.0))


def _passes(shares: np.ndarray, level: float, large_jump: float) -> float:
    """Where a curve is last at a level, as a position: 1.5 is halfway from shares[1] to shares[2].

    Args:
        shares: never falling; the first is at most `level`.
        level: from 0 to 1.
        large_jump: if the curve passes the level in a jump of this size or more between two
            neighbours, the answer is the first of the two.
    """
    above = int(np.searchsorted(shares, level, side="right"))
    if above == len(shares):
        return above - 1.0
    jump = shares[above] - shares[above - 1]
    if jump >= large_jump - 1e-9:  # shares carry rounding errors
        return above - 1.0
    return float(above - 1 + (level - shares[above - 1]) / jump)


def _rate_at(rates: np.ndarray, position: float) -> float:
    """The rate at a position; between two rates, evenly in the logarithm."""
    before, fraction = math.floor(position), position % 1
    return float(rates[before] ** (1 - fraction) * rates[math.ceil(position)] ** fraction)
