"""What averaging gains, from histories that are made up so that the answer is known."""

import math
import sys

import numpy as np
import pytest

from midterm_cli.part3.averaging import (
    averaging_effects,
    better_from,
    final_metrics,
    gains,
    half_life,
    select,
)
from midterm_cli.part3.schema import METRICS, Interval, Metric
from midterm_cli.part3.train.schema import HistoryRow, OverSeeds

GAMMA = 0.25


def history(curves: dict[float | None, list[list[float | None]]]) -> list[HistoryRow]:
    """Rows as training writes them: by γ and seed a value each epoch, for all metrics.

    They are not validated: here the value of an accuracy may be above 1, too.
    """
    rows = [
        HistoryRow.model_construct(
            seed=seed,
            epoch=epoch,
            weights="raw" if gamma is None else "ema",
            gamma=gamma,
            train_loss=value,
            train_accuracy=value,
            test_loss=value,
            test_accuracy=value,
        )
        for gamma, seeds in curves.items()
        for seed, values in enumerate(seeds)
        for epoch, value in enumerate(values)
    ]
    return sorted(rows, key=lambda row: (row.seed, row.epoch))


TWO_SEEDS = history(
    {
        None: [[9.0, 5.0, 3.0, 4.0], [9.0, 6.0, 5.0, 7.0]],
        GAMMA: [[9.0, 4.0, 3.0, 2.5], [9.0, 5.0, 5.5, 5.0]],
    }
)


def test_select_takes_the_rows_of_one_average_by_seed() -> None:
    epochs, raw = select(TWO_SEEDS, None, "train_loss")
    assert epochs.tolist() == [0, 1, 2, 3]
    assert raw.tolist() == [[9, 5, 3, 4], [9, 6, 5, 7]]
    _, average = select(TWO_SEEDS, GAMMA, "test_loss")
    assert average.tolist() == [[9, 4, 3, 2.5], [9, 5, 5.5, 5]]
    _, gap = select(history({None: [[1.0, None]]}), None, "test_accuracy")
    assert gap[0, 0] == 1
    assert np.isnan(gap[0, 1])


def test_select_tells_rows_by_what_they_say_and_not_by_their_order() -> None:
    rows = [row for row in TWO_SEEDS if (row.seed, row.epoch) != (1, 2)]
    epochs, values = select(rows[::-1], None, "train_loss")
    assert epochs.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(values, [[9, 5, 3, 4], [9, 6, np.nan, 7]])


def test_half_life_is_when_half_is_forgotten() -> None:
    for gamma in (1e-3, 0.25, 0.9):
        assert (1 - gamma) ** half_life(gamma) == pytest.approx(0.5)
    assert half_life(1e-3) == pytest.approx(692.8, abs=0.1)
    assert half_life(1.0) == 0.0
    assert math.isfinite(half_life(5e-324))


def test_final_metrics_are_of_the_last_epoch_and_of_finite_seeds() -> None:
    raw_curves: list[list[float | None]] = [[9.0, 3.0, 2.0], [9.0, 3.0, 5.0], [9.0, 3.0, None]]
    averages: list[list[float | None]] = [[9.0, 3.0, 1.0], [9.0, 3.0, None], [9.0, 3.0, None]]
    rows = history({None: raw_curves, GAMMA: averages})
    raw, average = final_metrics(rows, [GAMMA], num_updates=3)
    assert (raw.weights, raw.gamma, raw.half_life, raw.weight_of_start) == ("raw", None, None, None)
    assert (average.weights, average.gamma) == ("ema", GAMMA)
    assert average.half_life == pytest.approx(math.log(0.5) / math.log(0.75))
    assert average.weight_of_start == 0.75**3
    for metric in METRICS:
        found: OverSeeds = getattr(raw, metric)
        assert (found.mean, found.total) == (3.5, 2)
        assert found.sd == pytest.approx(math.sqrt(4.5))
        assert getattr(average, metric) == OverSeeds(mean=1.0, sd=None, total=1)
    nothing = final_metrics(history({None: [[1.0, None]]}), [], 1)[0]
    assert nothing.train_loss == OverSeeds(mean=None, sd=None, total=0)


def test_the_gain_is_paired_and_positive_where_the_average_is_better() -> None:
    effects = averaging_effects(TWO_SEEDS, [GAMMA], first_epoch=1)
    assert [(effect.gamma, effect.metric) for effect in effects] == [(GAMMA, m) for m in METRICS]
    # The average ends 1.5 and 2 below the raw weights: t(0.975, 1) = 12.7062 in any table.
    half = 12.7062 * 0.25
    for effect in effects:
        sign = 1 if effect.metric.endswith("loss") else -1
        gain = effect.gain
        assert gain is not None
        assert gain.estimate == pytest.approx(sign * 1.75)
        assert gain.total == 2
        assert (gain.low, gain.high) == pytest.approx(
            (sign * 1.75 - half, sign * 1.75 + half), rel=1e-4
        )


def test_the_roughness_ratio_compares_second_differences_from_the_first_epoch_shown() -> None:
    ratio = averaging_effects(TWO_SEEDS, [GAMMA], first_epoch=0)[0].roughness_ratio
    # Second differences of the raw curves: 2, 3 and 2, 3; of the averages: 4, 0.5 and 4.5, -1.
    means = [(2.5, 2.25), (2.5, 2.75)]
    logs = [math.log(raw / average) for raw, average in means]
    assert ratio is not None
    assert ratio.estimate == pytest.approx(math.exp(sum(logs) / 2))
    # t(0.975, 1) = 12.7062, and the standard error of two values is half of their difference.
    half = 12.7062 * abs(logs[0] - logs[1]) / 2
    assert ratio.low == pytest.approx(ratio.estimate * math.exp(-half), rel=1e-4)
    assert ratio.high == pytest.approx(ratio.estimate * math.exp(half), rel=1e-4)
    later = averaging_effects(TWO_SEEDS, [GAMMA], first_epoch=1)[0].roughness_ratio
    assert later is not None
    assert later.estimate == pytest.approx(math.sqrt(3 / 0.5 * 3 / 1))


def test_a_trend_is_no_roughness() -> None:
    """The same wiggle on two curves, one of which falls steeply: as rough as each other."""
    wiggle = [0.25 * (-1) ** epoch for epoch in range(8)]
    falling: list[float | None] = [9.0 - epoch + wiggle[epoch] for epoch in range(8)]
    level: list[float | None] = [9.0 + wiggle[epoch] / 4 for epoch in range(8)]
    ratio = averaging_effects(history({None: [falling], GAMMA: [level]}), [GAMMA], 0)[0]
    assert ratio.roughness_ratio is not None
    assert ratio.roughness_ratio.estimate == pytest.approx(4)


@pytest.mark.parametrize(
    ("raw", "average", "first"),
    [
        ([9.0, 5.0, 4.0], [9.0, 9.0, 9.0], 0),  # an average that does not move
        ([9.0, 9.0, 9.0], [9.0, 5.0, 4.0], 0),
        ([9.0, 5.0, 4.0], [9.0, 7.0, 5.0], 0),  # a straight line
        ([9.0, 5.0, 4.0], [9.0, 6.0, 5.0], 1),  # two epochs have no second difference
        ([9.0, 5.0, 4.0], [9.0, 6.0, 5.0], 2),
    ],
)
def test_without_second_differences_there_is_no_ratio(
    raw: list[float | None], average: list[float | None], first: int
) -> None:
    effects = averaging_effects(history({None: [raw], GAMMA: [average]}), [GAMMA], first)
    assert len(effects) == 4
    for effect in effects:
        assert effect.roughness_ratio is None
        assert effect.gain is not None
        assert effect.gain.total == 1


def test_gains_by_epoch_are_of_the_seeds_that_are_finite_then() -> None:
    rows = history(
        {
            None: [[9.0, 5.0, 4.0], [9.0, 6.0, None]],
            GAMMA: [[9.0, 8.0, 3.0], [9.0, 7.0, None]],
        }
    )
    signs: dict[Metric, int] = {"train_loss": 1, "test_accuracy": -1}
    for metric, sign in signs.items():
        found = gains(rows, GAMMA, metric)
        assert list(found) == [0, 1, 2]
        values = [gain and (gain.estimate, gain.total) for gain in found.values()]
        assert values == [(0, 2), (sign * -2, 2), (sign * 1, 1)]
    nothing = gains(history({None: [[1.0, None]], GAMMA: [[1.0, 1.0]]}), GAMMA, "test_loss")
    assert nothing[1] is None


@pytest.mark.parametrize(
    ("average", "since"),
    [
        ([9.0, 4.0, 3.0, 2.0], 1),
        ([9.0, 6.0, 3.0, 2.0], 2),
        ([9.0, 4.0, 5.0, 2.0], 3),  # once is not for good
        ([9.0, 4.0, 3.0, 2.5], None),  # as good is not better
    ],
)
def test_since_when_the_average_is_better(average: list[float], since: int | None) -> None:
    better_losses = history({None: [[9.0, 5.0, 4.0, 2.5]], GAMMA: [list(average)]})
    better_accuracies = history({None: [list(average)], GAMMA: [[9.0, 5.0, 4.0, 2.5]]})
    better_everywhere = [
        row.model_copy(update={key: getattr(other, key) for key in METRICS if "accuracy" in key})
        for row, other in zip(better_losses, better_accuracies, strict=True)
    ]
    assert better_from(better_everywhere, GAMMA) == since
    assert better_from(better_losses, GAMMA) is None  # and worse accuracies


def test_one_seed_without_changes_leaves_no_ratio() -> None:
    rough, level, other = [9.0, 5.0, 9.0], [9.0, 9.0, 9.0], [9.0, 6.0, 9.0]
    rows = history({None: [[*rough], [*level]], GAMMA: [[*other], [*other]]})
    effects = averaging_effects(rows, [GAMMA], first_epoch=0)
    assert [effect.roughness_ratio for effect in effects] == [None] * 4


def test_a_seed_that_is_not_finite_at_the_end_is_left_out_of_the_pairs() -> None:
    left: list[list[float | None]] = [[9.0, 5.0, 4.0], [9.0, 5.0, None], [9.0, 5.0, 4.0]]
    right: list[list[float | None]] = [[9.0, 5.0, 3.0], [9.0, 5.0, 3.0], [9.0, 5.0, None]]
    effect, *_ = averaging_effects(history({None: left, GAMMA: right}), [GAMMA], first_epoch=0)
    assert effect.gain == Interval(estimate=1.0, low=None, high=None, total=1)
    no_pairs = history({None: [[1.0, None]], GAMMA: [[1.0, 1.0]]})
    effect, *_ = averaging_effects(no_pairs, [GAMMA], first_epoch=0)
    assert (effect.gain, effect.roughness_ratio) == (None, None)


def test_losses_near_the_largest_float_do_not_overflow() -> None:
    """A record refuses NaN and infinity, so that it suffices to make one."""
    largest = sys.float_info.max
    sizes = (1.0, 0.5, 0.25)
    huge = history(
        {
            None: [[largest * size / epoch for epoch in range(1, 5)] for size in sizes],
            GAMMA: [[1e-300 * size * (epoch % 2) for epoch in range(4)] for size in sizes],
        }
    )
    final = final_metrics(huge, [GAMMA], 10)[0].train_loss
    effect, *_ = averaging_effects(huge, [GAMMA], first_epoch=0)
    assert final.mean == pytest.approx(largest / 12 * 1.75)
    assert final.sd == pytest.approx(largest * np.std([0.25, 0.125, 0.0625], ddof=1))
    assert effect.gain is not None
    assert effect.gain.estimate == pytest.approx(largest / 12 * 1.75)
    assert effect.roughness_ratio is not None
    assert effect.roughness_ratio.estimate == pytest.approx(largest)


def test_second_differences_near_the_largest_float_do_not_overflow() -> None:
    """They are twice as large as any change."""
    largest = sys.float_info.max
    jumping: list[float | None] = [largest, 0.0, largest, 0.0]
    halved: list[float | None] = [largest / 2, 0.0, largest / 2, 0.0]
    effect, *_ = averaging_effects(history({None: [jumping], GAMMA: [halved]}), [GAMMA], 0)
    assert effect.roughness_ratio is not None
    assert effect.roughness_ratio.estimate == pytest.approx(2)
