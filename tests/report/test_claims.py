import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from midterm_cli.part3.averaging import averaging_effects
from midterm_cli.part3.schema import Interval
from midterm_cli.part3.statistics import mean_interval
from midterm_cli.part3.train.schema import HistoryRow, Results
from midterm_cli.report.claims import Claim, claims, early_gains, effects, holm, p_value
from midterm_cli.runner import document


@pytest.mark.parametrize(
    ("estimate", "neutral", "p", "verdict"),
    [
        (0.2, 0.0, 0.04, "holds"),
        (0.2, 0.0, 0.05, "cannot tell"),
        (-0.2, 0.0, 0.04, "the opposite holds"),
        (1.2, 1.0, 0.04, "holds"),
        (0.9, 1.0, 0.04, "the opposite holds"),
        (0.2, 0.0, math.nan, "cannot tell"),
        (None, 0.0, 1.0, "cannot tell"),
    ],
)
def test_a_verdict_is_given_where_the_evidence_decides(
    estimate: float | None, neutral: float, p: float, verdict: str
) -> None:
    interval = estimate and Interval(estimate=estimate, low=-9, high=9, total=3)
    assert Claim("better, by", interval or None, neutral, p).verdict == verdict


def test_the_p_value_is_that_of_students_t_test() -> None:
    values = [0.3, -0.1, 0.4, 0.2, 0.25]
    interval = mean_interval(values)
    assert interval is not None
    expected = stats.ttest_1samp(values, 0).pvalue
    assert p_value(interval, 0.0) == pytest.approx(expected)
    # Of a ratio the logarithm is normal, and a ratio of 1 is no difference.
    assert p_value(interval.map(math.exp), 1.0) == pytest.approx(expected)
    opposite = mean_interval([-value for value in values])
    assert p_value(opposite, 0.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ends", "total", "neutral"),
    [
        (None, 0, 0.0),
        ((0.2, None, None), 1, 0.0),
        ((0.2, 0.1, 0.3), 1, 0.0),
        ((0.0, 0.0, 0.0), 4, 0.0),
        ((1.0, 1.0, 1.0), 4, 1.0),
        ((2.0, 0.0, 4.0), 4, 1.0),  # exp(-1000)
        ((2.0, -1.0, 4.0), 4, 1.0),
    ],
)
def test_what_an_interval_does_not_tell(
    ends: tuple[float, float | None, float | None] | None, total: int, neutral: float
) -> None:
    interval = None
    if ends is not None:
        interval = Interval(estimate=ends[0], low=ends[1], high=ends[2], total=total)
    assert p_value(interval, neutral) == 1


def test_seeds_that_all_say_the_same_leave_no_doubt() -> None:
    assert p_value(Interval(estimate=0.5, low=0.5, high=0.5, total=3), 0.0) == 0


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
    # Rejected one after the other, from the smallest, until the first that is not.
    p_values = [0.001, 0.02, 0.016, 0.3, 0.012]
    for order in itertools.permutations(p_values):
        rejected = set[float]()
        for place, p in enumerate(sorted(order)):
            if p >= 0.05 / (len(order) - place):
                break
            rejected.add(p)
        found = {p for p, corrected in zip(order, holm(order), strict=True) if corrected < 0.05}
        assert found == rejected


def rows(raw: np.ndarray, average: np.ndarray) -> list[HistoryRow]:
    """Rows of curves: (seeds, epochs, metrics) in, in the order of METRICS."""
    return [
        HistoryRow.model_construct(
            seed=seed,
            epoch=epoch,
            weights="raw" if gamma is None else "ema",
            gamma=gamma,
            train_loss=values[0],
            train_accuracy=values[1],
            test_loss=values[2],
            test_accuracy=values[3],
        )
        for gamma, curves in ((None, raw), (0.5, average))
        for seed, curve in enumerate(curves)
        for epoch, values in enumerate(curve.tolist())
    ]


def test_of_eight_claims_that_are_not_true_hardly_one_is_said_to_hold() -> None:
    """In at most 5 % of runs; without the correction it would be a third of them."""
    rng = np.random.default_rng(0)
    wrong = uncorrected = 0
    for _ in range(200):
        curves = rng.normal(size=(2, 10, 6, 4))
        found = claims(averaging_effects(rows(*curves), [0.5], first_epoch=1))
        assert len(found) == 8
        wrong += any(claim.verdict != "cannot tell" for claim in found)
        uncorrected += any(p_value(claim.interval, claim.neutral) < 0.05 for claim in found)
    # 10 of 200 are expected, and over 19 once in 300 times.
    assert wrong <= 19
    assert uncorrected > 40


def test_smoothness_of_an_earlier_version_is_not_taken_for_that_of_today() -> None:
    run = document.read(Path(__file__).parents[1] / "runs" / "version_0_1_0" / "train")
    assert isinstance(run.results, Results)
    of_first_differences = Interval(estimate=1.2, low=1.1, high=1.3, total=2)
    stored = [
        entry.model_copy(update={"roughness_ratio": of_first_differences})
        for entry in run.results.comparison
    ]
    found = effects(replace(run, results=run.results.model_copy(update={"comparison": stored})))
    assert [entry.gain for entry in found] == [entry.gain for entry in stored]
    # Two epochs have no second difference.
    assert [entry.roughness_ratio for entry in found] == [None] * 4


def test_epochs_that_an_earlier_version_left_out_have_no_gain() -> None:
    run = document.read(Path(__file__).parents[1] / "runs" / "version_0_1_0" / "train")
    assert isinstance(run.results, Results)
    without = [row for row in run.results.history if row.epoch != 1]
    config = run.config.model_copy(update={"epochs": 9, "skip_passes": 3})
    results = run.results.model_copy(update={"history": without})
    found = early_gains(replace(run, config=config, results=results))
    assert [epoch for epoch, _ in found] == [1, 2, 3]
    assert [gains.count(None) for _, gains in found] == [4, 0, 4]
