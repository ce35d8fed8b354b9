"""Intervals over seeds."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided 95 % interval.

    The ends are None for a single value; where they are beyond the floats, the last float.
    """

    estimate: float
    low: float | None
    high: float | None
    total: int

    def map(self, function: Callable[[float], float]) -> Interval:
        """The interval of an increasing function of the quantity, such as exp of a logarithm."""
        ends = [None if end is None else function(end) for end in (self.low, self.high)]
        return Interval(function(self.estimate), ends[0], ends[1], self.total)


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> Interval:
    """Share of successes with Wilson's score interval, which holds its promise near 0 and 1.

    Args:
        successes: out of `total`.
        total: at least 1.
        confidence: two-sided.
    """
    from scipy.special import ndtri

    z = float(ndtri((1 + confidence) / 2))
    share = successes / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half), total)


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation (of a sample: over n - 1) of finite values, at least one.

    Squares and sums of finite values may be beyond the floats: they are formed after a division by
    a power of two, which is exact. The deviation is None for a single value.
    """
    total = len(values)
    scale = 2.0 ** (math.frexp(max(map(abs, values)))[1] - 1)
    scaled = [value / scale for value in values]
    mean = math.fsum(scaled) / total
    if total == 1:
        return values[0], None
    variance = math.fsum((value - mean) ** 2 for value in scaled) / (total - 1)
    return scale * mean, within_floats(scale * math.sqrt(variance))


def within_floats(number: float) -> float:
    """The number, or the last float where it is infinite: JSON has no infinity."""
    return max(-sys.float_info.max, min(sys.float_info.max, number))


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Mean of values over seeds with Student's t interval.

    Args:
        values: one a seed; for a paired comparison, the difference within each seed.
        confidence: two-sided.

    Returns:
        None when there are no values.
    """
    total = len(values)
    if total == 0:
        return None
    mean, sd = mean_and_sd(values)
    if sd is None:
        return Interval(mean, None, None, 1)
    from scipy.special import stdtrit

    half = float(stdtrit(total - 1, (1 + confidence) / 2)) * sd / math.sqrt(total)
    return Interval(mean, within_floats(mean - half), within_floats(mean + half), total)


def prediction_interval(
    mean: float, total: int, sd: float, sd_total: int, future: int, confidence: float
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
    from scipy.special import stdtrit

    quantile = float(stdtrit(sd_total - 1, (1 + confidence) / 2))
    half = quantile * sd * math.sqrt(1 / total + 1 / future)
    return mean - half, mean + half
