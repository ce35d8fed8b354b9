"""What averaging gains, from histories that are made up so that the answer is known."""

import json
import math
import sys
from typing import Any

import numpy as np
import pytest

from midterm_cli.part3.averaging import METRICS, compare, final_metrics, half_life, select

GAMMA = 0.25


def history(curves: dict[float | None, list[list[float | None]]]) -> list[dict[str, Any]]:
    """Rows as training writes them: by γ and seed a value each pass, for all metrics."""
    rows = [
        {"seed": seed, "epoch": epoch, "gamma": gamma, **dict.fromkeys(METRICS, value)}
        for gamma, seeds in curves.items()
        for seed, values in enumerate(seeds)
        for epoch, value in enumerate(values)
    ]
    return sorted(rows, key=lambda row: (row["seed"], row["epoch"]))


TWO_SEEDS = history(
    {
        None: [[9.0, 5.0, 3.0, 4.0], [9.0, 6.0, 5.0, 7.0]],
        GAMMA: [[9.0, 4.0, 3.0, 2.5], [9.0, 5.0, 5.5, 5.0]],
    }
)


def test_select_takes_the_rows_of_one_average_by_seed() -> None:
    assert select(TWO_SEEDS, None, "train_loss").tolist() == [[9, 5, 3, 4], [9, 6, 5, 7]]
    assert select(TWO_SEEDS, GAMMA, "test_loss").tolist() == [[9, 4, 3, 2.5], [9, 5, 5.5, 5]]
    gap = select(history({None: [[1.0, None]]}), None, "test_accuracy")
    assert gap[0, 0] == 1
    assert np.isnan(gap[0, 1])


def test_half_life_is_when_half_is_forgotten() -> None:
    for gamma in (1e-3, 0.25, 0.9):
        assert (1 - gamma) ** half_life(gamma) == pytest.approx(0.5)
    assert half_life(1e-3) == pytest.approx(692.8, abs=0.1)
    assert half_life(1.0) == 0.0
    assert math.isfinite(half_life(5e-324))


def test_final_metrics_are_of_the_last_pass_and_of_finite_seeds() -> None:
    raw_curves: list[list[float | None]] = [[9.0, 3.0, 2.0], [9.0, 3.0, 5.0], [9.0, 3.0, None]]
    averages: list[list[float | None]] = [[9.0, 3.0, 1.0], [9.0, 3.0, None], [9.0, 3.0, None]]
    rows = history({None: raw_curves, GAMMA: averages})
    raw, average = final_metrics(rows, [GAMMA], num_updates=3)
    assert (raw["weights"], raw["gamma"]) == ("raw", None)
    assert "half_life" not in raw
    assert "weight_of_start" not in raw
    for metric in METRICS:
        assert raw[metric] == {"mean": 3.5, "sd": pytest.approx(math.sqrt(4.5)), "total": 2}
        assert average[metric] == {"mean": 1.0, "sd": None, "total": 1}
    assert (average["weights"], average["gamma"]) == ("ema", GAMMA)
    assert average["half_life"] == half_life(GAMMA)
    assert average["weight_of_start"] == 0.75**3
    nothing = final_metrics(history({None: [[1.0, None]]}), [], 1)[0]
    assert nothing["train_loss"] == {"mean": None, "sd": None, "total": 0}


def test_the_gain_is_paired_and_positive_where_the_average_is_better() -> None:
    entries = compare(TWO_SEEDS, [GAMMA], first=1)
    assert [(entry["gamma"], entry["metric"]) for entry in entries] == [(GAMMA, m) for m in METRICS]
    # The average ends 1.5 and 2 below the raw weights: t(0.975, 1) = 12.7062 in any table.
    half = 12.7062 * 0.25
    for entry in entries:
        sign = 1 if entry["metric"].endswith("loss") else -1
        gain = entry["gain"]
        assert gain["estimate"] == pytest.approx(sign * 1.75)
        assert gain["total"] == 2
        assert gain["high"] - gain["low"] == pytest.approx(2 * half, rel=1e-4)


def test_the_roughness_ratio_compares_changes_from_the_first_pass_shown() -> None:
    (entry, *_) = compare(TWO_SEEDS, [GAMMA], first=1)
    # From pass 1 on the raw curves change by 1.5 a pass on average, the averages by 0.75 and 0.5.
    ratios = [1.5 / 0.75, 1.5 / 0.5]
    assert entry["roughness_ratio"]["estimate"] == pytest.approx(math.sqrt(math.prod(ratios)))
    assert entry["roughness_ratio"]["low"] < entry["roughness_ratio"]["estimate"]
    (later, *_) = compare(TWO_SEEDS, [GAMMA], first=2)
    assert later["roughness_ratio"]["estimate"] == pytest.approx(math.sqrt(1 / 0.5 * 2 / 0.5))


@pytest.mark.parametrize(
    ("raw", "average", "first"),
    [
        ([9.0, 5.0, 4.0], [9.0, 9.0, 9.0], 0),  # an average that does not move
        ([9.0, 9.0, 9.0], [9.0, 5.0, 4.0], 0),
        ([9.0, 5.0, 4.0], [9.0, 6.0, 5.0], 2),  # a single pass has no change
    ],
)
def test_without_changes_there_is_no_ratio(
    raw: list[float | None], average: list[float | None], first: int
) -> None:
    for entry in compare(history({None: [raw], GAMMA: [average]}), [GAMMA], first):
        assert entry["roughness_ratio"] is None
        assert entry["gain"]["total"] == 1


def test_one_seed_without_changes_leaves_no_ratio() -> None:
    rows = history({None: [[9.0, 5.0], [9.0, 9.0]], GAMMA: [[9.0, 6.0], [9.0, 8.0]]})
    assert all(entry["roughness_ratio"] is None for entry in compare(rows, [GAMMA], first=0))


def test_a_seed_that_is_not_finite_at_the_end_is_left_out_of_the_pairs() -> None:
    left: list[list[float | None]] = [[9.0, 5.0, 4.0], [9.0, 5.0, None], [9.0, 5.0, 4.0]]
    right: list[list[float | None]] = [[9.0, 5.0, 3.0], [9.0, 5.0, 3.0], [9.0, 5.0, None]]
    (entry, *_) = compare(history({None: left, GAMMA: right}), [GAMMA], first=0)
    assert entry["gain"] == {"estimate": 1.0, "low": None, "high": None, "total": 1}
    (entry, *_) = compare(history({None: [[1.0, None]], GAMMA: [[1.0, 1.0]]}), [GAMMA], first=0)
    assert (entry["gain"], entry["roughness_ratio"]) == (None, None)


def test_losses_near_the_largest_float_leave_finite_numbers() -> None:
    largest = sys.float_info.max
    sizes = (1.0, 0.5, 0.25)
    huge = history(
        {
            None: [[largest * size / epoch for epoch in range(1, 5)] for size in sizes],
            GAMMA: [[1e-300 * size * (epoch % 2) for epoch in range(4)] for size in sizes],
        }
    )
    final, comparison = final_metrics(huge, [GAMMA], 10), compare(huge, [GAMMA], 0)
    json.dumps([final, comparison], allow_nan=False)

    entry = final[0]["train_loss"]
    assert entry["mean"] == pytest.approx(largest / 12 * 1.75)
    assert entry["sd"] == pytest.approx(largest * np.std([0.25, 0.125, 0.0625], ddof=1))
    assert comparison[0]["gain"]["estimate"] == pytest.approx(largest / 12 * 1.75)
    assert comparison[0]["roughness_ratio"]["estimate"] == pytest.approx(largest)
