"""At which learning rate do half of the seeds fail? An estimate with its interval.

The attempts of one seed share initial weights and minibatches, so they are not independent: a seed
that fails at one learning rate is likely to fail at the next. Nor is a seed monotone. Both are in
the statistical model, with x = ln(lr):

    seed i has a threshold of its own         t_i ~ Normal(m, σ²)
    and fails at x with probability           1 / (1 + exp(-(x - t_i) / τ))

By symmetry half of all seeds fail at m. For σ → 0 the attempts are independent, for τ → 0 every
seed is monotone. The posterior of (m, σ, τ) is summed on a grid, with m uniform and both scales
uniform in the logarithm. Unlike a maximum-likelihood fit it exists also when all seeds fail between
the same two learning rates, and it needs no correction for learning rates that were chosen
depending on earlier results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from midterm_cli.part3.lr_sweep.schema import FailureThreshold
from midterm_cli.part3.outcome import Attempt

# From a failure that sets in within a few per cent of the learning rate to one within a factor of
# ten.
_SCALES = np.geomspace(0.02, 1.0, 6)


def estimate_threshold(
    attempts: Sequence[Attempt], confidence: float = 0.95
) -> FailureThreshold | None:
    """Estimate the learning rate at which half of the seeds fail.

    Args:
        attempts: at several learning rates, each with several seeds.
        confidence: probability of the interval, which is symmetric in probability.

    Returns:
        The posterior median and its interval; None unless there are both failures and successes:
        nothing brackets the threshold then.
    """
    if len({attempt.failed for attempt in attempts}) < 2:
        return None
    lrs = sorted({attempt.lr for attempt in attempts})
    seeds = sorted({attempt.seed for attempt in attempts})
    x = np.log(lrs)
    # +1 where the seed failed at the learning rate, -1 where it trained, 0 where it was not tried.
    signs = np.zeros((len(seeds), len(lrs)))
    for attempt in attempts:
        signs[seeds.index(attempt.seed), lrs.index(attempt.lr)] = 1 if attempt.failed else -1

    # One grid serves for m and for the seeds' thresholds; it resolves the smallest scales.
    grid = np.arange(x[0] - math.log(4), x[-1] + math.log(4), _SCALES[0])
    posterior = _posterior(x, signs, grid)
    low, median, high = _quantiles(
        grid, posterior, ((1 - confidence) / 2, 0.5, (1 + confidence) / 2)
    )
    return FailureThreshold(estimate=math.exp(median), low=math.exp(low), high=math.exp(high))


def _posterior(x: np.ndarray, signs: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """P(m | attempts) up to a factor, for each m in `grid`, with the scales and t_i summed out."""
    # Seeds with the same outcomes have the same likelihood.
    patterns, counts = np.unique(signs, axis=0, return_counts=True)
    distances = grid[:, None] - grid
    mixtures = [np.exp(-0.5 * (distances / sigma) ** 2) for sigma in _SCALES]
    mixtures = [density / density.sum(1, keepdims=True) for density in mixtures]
    log_posteriors = []
    for tau in _SCALES:
        z = (x - grid[:, None]) / tau
        # ln P(failed) = -ln(1 + e^-z) and ln P(trained) = -ln(1 + e^z), summed over x.
        log_p = -np.logaddexp(0, -z) @ (patterns > 0).T - np.logaddexp(0, z) @ (patterns < 0).T
        top = log_p.max(0)
        likelihoods = np.exp(log_p - top)  # (t, pattern), for a seed with its threshold at t
        for mixture in mixtures:
            with np.errstate(divide="ignore"):  # what is impossible has the logarithm -inf
                log_posteriors.append((np.log(mixture @ likelihoods) + top) @ counts)
    stacked = np.array(log_posteriors)
    return np.asarray(np.exp(stacked - stacked.max()).sum(0))


def _quantiles(
    points: np.ndarray, weights: np.ndarray, levels: Sequence[float]
) -> tuple[float, ...]:
    """Quantiles of a density that is known at evenly spaced points."""
    cumulative = np.concatenate([[0.0], np.cumsum((weights[1:] + weights[:-1]) / 2)])
    return tuple(float(np.interp(level * cumulative[-1], cumulative, points)) for level in levels)
