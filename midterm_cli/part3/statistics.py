"""Means and intervals over seeds."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from midterm_cli.part3.schema import Interval


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Share of successes with Wilson's score interval: 95 % on average over shares, not at each.

    At 95 % the mean coverage is 0.95 to 0.96 for any total; at its worst it is 0.83 to 0.84, for a
    share just below the lower end that one success gives (0.018 of 10), or as near to 1. For a
    guarantee there is `upper_limit`.

    Source: Wilson (1927), Journal of the American Statistical Association 22, 209-212.

    Args:
        successes: out of `total`.
        total: at least 1.
        confidence: two-sided.

    Returns:
        (low, high), within [0, 1].
    """
    from scipy.special import ndtri

    z = float(ndtri((1 + confidence) / 2))
    share = successes / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    return max(0.0, centre - half), min(1.0, centre + half)


def upper_limit(successes: int, total: int, confidence: float = 0.95) -> float:
    """Exact one-sided upper limit of a share: below it with at least this confidence.

    Source: Clopper and Pearson (1934), Biometrika 26, 404-413.

    Args:
        successes: out of `total`.
        total: at least 1.
        confidence: one-sided.
    """
    from scipy.special import bdtri

    return 1.0 if successes == total else float(bdtri(successes, total, 1 - confidence))


def quartiles(values: Sequence[float]) -> list[float]:
    """Quartiles, the median the usual one.

    Each is the value that a share of the seeds does not exceed; the mean of two where two divide
    the seeds so.

    Args:
        values: at least one; infinite ones sort to their end.
    """
    ranked = sorted(values)
    ranks = [share * len(ranked) for share in (0.25, 0.5, 0.75)]
    return [ranked[math.ceil(rank) - 1] / 2 + ranked[math.floor(rank)] / 2 for rank in ranks]


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation (of a sample: over n - 1) of finite values, at least one.

    Squares and sums of finite values may overflow: they are formed after a division by a power of
    two, which is exact. The deviation is None for a single value.
    """
    total = len(values)
    scale = 2.0 ** (math.frexp(max(map(abs, values)))[1] - 1)
    scaled = [value / scale for value in values]
    mean = math.fsum(scaled) / total
    if total == 1:
        return values[0], None
    variance = math.fsum((value - mean) ** 2 for value in scaled) / (total - 1)
    return scale * mean, clamped(scale * math.sqrt(variance))


def clamped(number: float) -> float:
    """The number, or the largest float where it is infinite: JSON has no infinity."""
    return max(-sys.float_info.max, min(sys.float_info.max, number))


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Mean of values over seeds with Student's t interval.

    Args:
        values: one a seed; for a paired comparison, the difference within each seed.
        confidence: two-sided.

    Returns:
        None when there are no values. An end that overflows is the largest float.
    """
    total = len(values)
    if total == 0:
        return None
    mean, sd = mean_and_sd(values)
    if sd is None:
        return Interval(estimate=mean, low=None, high=None, total=1)
    half = _t_quantile(total - 1, confidence) * sd / math.sqrt(total)
    return Interval(estimate=mean, low=clamped(mean - half), high=clamped(mean + half), total=total)


def prediction_interval(
    mean: float, total: int, sd: float, sd_total: int, future: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Where the mean of `future` more seeds falls: mean ± t · sd · √(1/total + 1/future).

    Exact for normal values; t has sd_total - 1 degrees of freedom.

    Args:
        mean: of `total` seeds; 1 for a single run that somebody published.
        total: at least 1.
        sd: standard deviation of one seed, measured on `sd_total` seeds, these or others.
        sd_total: at least 2.
        future: at least 1.
        confidence: two-sided.
    """
    half = _t_quantile(sd_total - 1, confidence) * sd * math.sqrt(1 / total + 1 / future)
    return mean - half, mean + half


def _t_quantile(degrees_of_freedom: int, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, (1 + confidence) / 2))
