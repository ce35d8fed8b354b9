"""Intervals against published tables and against their nominal coverage."""

import math
import sys

import numpy as np
import pytest

from midterm_cli.part3.schema import Interval
from midterm_cli.part3.statistics import (
    mean_and_sd,
    mean_interval,
    prediction_interval,
    quartiles,
    upper_limit,
    wilson_interval,
)


def test_t_interval_by_the_table() -> None:
    # t(0.975, 4) = 2.776 in any table; mean 3, standard deviation sqrt(2.5), n = 5.
    found = mean_interval([1, 2, 3, 4, 5])
    assert found is not None
    half = 2.776445 * math.sqrt(2.5 / 5)
    assert found.low == pytest.approx(3 - half, abs=1e-6)
    assert found.high == pytest.approx(3 + half, abs=1e-6)
    assert (found.estimate, found.total) == (3, 5)


def test_t_interval_has_its_nominal_coverage() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for sample in rng.normal(1.5, 2, (2000, 4)).tolist():
        found = mean_interval(sample)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        hits += found.low < 1.5 < found.high
    assert 0.935 < hits / 2000 < 0.965


@pytest.mark.parametrize("scale", [1.0, 2.0**1000, 2.0**-1000])
def test_mean_and_sd_are_exact_at_any_size(scale: float) -> None:
    values = [scale * value for value in (1.0, 2.0, 3.0, 4.0, 10.0)]
    mean, sd = mean_and_sd(values)
    assert mean == 4 * scale
    assert sd == math.sqrt(12.5) * scale
    assert mean_and_sd([scale]) == (scale, None)
    assert mean_and_sd([0.0, 0.0]) == (0, 0)


def interval(estimate: float, low: float | None, high: float | None, total: int) -> Interval:
    return Interval(estimate=estimate, low=low, high=high, total=total)


def test_an_interval_that_overflows_ends_at_the_largest_float() -> None:
    largest = sys.float_info.max
    assert mean_interval([largest, largest / 2]) == interval(largest * 0.75, -largest, largest, 2)


def test_without_spread_there_is_no_interval() -> None:
    assert mean_interval([]) is None
    assert mean_interval([2.5]) == interval(2.5, None, None, 1)


def test_map_applies_a_function_to_estimate_and_ends() -> None:
    assert interval(0, -1, None, 2).map(math.exp) == interval(1, math.exp(-1), None, 2)
    assert interval(0, None, 1, 3).map(math.exp) == interval(1, None, math.exp(1), 3)


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    # Newcombe (1998), Statistics in Medicine 17, table I: the score method without correction.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_by_the_table(successes: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(successes, total) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson_interval(total - successes, total)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_a_wilson_interval_lies_in_0_to_1() -> None:
    for total in range(1, 100):
        for successes in (0, total):
            low, high = wilson_interval(successes, total)
            assert 0 <= low < high <= 1


def test_prediction_interval_by_the_table() -> None:
    # t(0.975, 9) = 2.262157 in any table.
    low, high = prediction_interval(0.5, 1, 0.03, 10, 4, 0.95)
    half = 2.262157 * 0.03 * math.sqrt(1 + 1 / 4)
    assert low == pytest.approx(0.5 - half, abs=1e-6)
    assert high == pytest.approx(0.5 + half, abs=1e-6)


@pytest.mark.parametrize(("total", "sd_total", "future"), [(3, 3, 2), (1, 5, 1), (10, 4, 3)])
def test_prediction_interval_has_its_nominal_coverage(
    total: int, sd_total: int, future: int
) -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        before, after = rng.normal(1.5, 2, total), rng.normal(1.5, 2, future)
        spread = before if total == sd_total else rng.normal(7, 2, sd_total)
        sd = float(spread.std(ddof=1))
        low, high = prediction_interval(float(before.mean()), total, sd, sd_total, future, 0.9)
        hits += low < after.mean() < high
    assert 0.88 < hits / 2000 < 0.92


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], [3, 3, 3]),
        ([1.0, 3.0], [1, 2, 3]),
        ([4.0, 1.0, 3.0, 2.0], [1.5, 2.5, 3.5]),
        ([5.0, 4.0, 3.0, 2.0, 1.0], [2, 3, 4]),
        ([math.inf, 1.0, 3.0, 2.0], [1.5, 2.5, math.inf]),
        ([math.inf, 1.0, math.inf, 2.0], [1.5, math.inf, math.inf]),
        ([-math.inf, 1.0, 2.0, 3.0], [-math.inf, 1.5, 2.5]),
    ],
)
def test_quartiles(values: list[float], expected: list[float]) -> None:
    assert quartiles(values) == expected


def test_the_upper_limit_is_where_so_few_successes_have_the_remaining_probability() -> None:
    assert upper_limit(0, 10) == pytest.approx(1 - 0.05**0.1, rel=1e-12)
    assert upper_limit(10, 10) == 1
    for successes, total in ((0, 1), (1, 10), (9, 40), (3, 4)):
        p = upper_limit(successes, total)
        tail = sum(
            math.comb(total, k) * p**k * (1 - p) ** (total - k) for k in range(successes + 1)
        )
        assert tail == pytest.approx(0.05, rel=1e-9)


@pytest.mark.parametrize("total", [3, 10, 40])
def test_the_upper_limit_holds_at_every_share(total: int) -> None:
    for p in np.linspace(0.001, 0.999, 200):
        held = sum(
            math.comb(total, k) * p**k * (1 - p) ** (total - k)
            for k in range(total + 1)
            if upper_limit(k, total) >= p
        )
        assert held >= 0.95 - 1e-9
