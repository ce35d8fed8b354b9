"""What averaging the weights gains, from the history of a training run."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Literal

import numpy as np

from midterm_cli.part3.schema import METRICS, Interval, Metric
from midterm_cli.part3.statistics import clamped, mean_and_sd, mean_interval
from midterm_cli.part3.train.schema import AveragingEffect, FinalMetrics, HistoryRow, OverSeeds


def select(
    history: Sequence[HistoryRow], gamma: float | None, metric: Metric | Literal["information"]
) -> tuple[np.ndarray, np.ndarray]:
    """The curves of a metric.

    Args:
        history: rows of a training run.
        gamma: of the average; None for the raw weights.
        metric: which.

    Returns:
        (n,) epochs, and (seeds, n) values by rising seed; NaN where null.
    """
    rows = [row for row in history if row.gamma == gamma]
    seeds, of_seed = np.unique([row.seed for row in rows], return_inverse=True)
    epochs, of_epoch = np.unique([row.epoch for row in rows], return_inverse=True)
    values = np.full((len(seeds), len(epochs)), np.nan)
    values[of_seed, of_epoch] = np.array([getattr(row, metric) for row in rows], dtype=float)
    return epochs, values


def final_metrics(
    history: Sequence[HistoryRow], gammas: Sequence[float], num_updates: int
) -> list[FinalMetrics]:
    """Mean and standard deviation over the seeds that are finite, after the last epoch.

    Args:
        history: rows of a training run.
        gammas: of its averages.
        num_updates: in the whole run; what then remains of the initial weights in an average is
            its `weight_of_start`.

    Returns:
        An entry for the raw weights and one for each average.
    """
    return [
        FinalMetrics(
            weights="raw" if gamma is None else "ema",
            gamma=gamma,
            half_life=None if gamma is None else half_life(gamma),
            weight_of_start=None if gamma is None else (1 - gamma) ** num_updates,
            train_loss=_over_seeds(history, gamma, "train_loss"),
            train_accuracy=_over_seeds(history, gamma, "train_accuracy"),
            test_loss=_over_seeds(history, gamma, "test_loss"),
            test_accuracy=_over_seeds(history, gamma, "test_accuracy"),
            information=_over_seeds(history, gamma, "information"),
        )
        for gamma in (None, *gammas)
    ]


def _over_seeds(
    history: Sequence[HistoryRow], gamma: float | None, metric: Metric | Literal["information"]
) -> OverSeeds:
    last = select(history, gamma, metric)[1][:, -1]
    values = last[np.isfinite(last)].tolist()
    mean, sd = mean_and_sd(values) if values else (None, None)
    return OverSeeds(mean=mean, sd=sd, total=len(values))


def half_life(gamma: float) -> float:
    """Updates after which the weight of a value in an average has halved: ln 2 / -ln(1 - γ)."""
    if gamma == 1:
        return 0.0
    return clamped(math.log(2) / -math.log1p(-gamma))


def averaging_effects(
    history: Sequence[HistoryRow], gammas: Sequence[float], first_epoch: int
) -> list[AveragingEffect]:
    """How much each average gains over the raw weights of the same seed, and how much smoother.

    The gain is the difference after the last epoch, positive where the average is better (lower
    loss, higher accuracy). The roughness ratio compares the mean absolute change from one epoch to
    the next: above 1 the average is smoother; its mean over seeds is geometric. Both come with a
    95 % interval over seeds, paired within each seed; None where there is nothing to compare.

    Args:
        history: rows of a training run.
        gammas: of its averages.
        first_epoch: the first epoch whose change to the next counts.

    Returns:
        An entry for each average and metric.
    """
    return [_effect(history, gamma, metric, first_epoch) for gamma in gammas for metric in METRICS]


def _effect(
    history: Sequence[HistoryRow], gamma: float, metric: Metric, first_epoch: int
) -> AveragingEffect:
    epochs, raw = select(history, None, metric)
    _, average = select(history, gamma, metric)
    finite = np.isfinite(raw[:, -1]) & np.isfinite(average[:, -1])
    raw, average = raw[finite], average[finite]
    sign = -1 if metric.endswith("loss") else 1
    gain = mean_interval((sign * (average[:, -1] - raw[:, -1])).tolist())
    first = np.searchsorted(epochs, first_epoch)
    ratio = _roughness_ratio(raw[:, first:], average[:, first:])
    return AveragingEffect(gamma=gamma, metric=metric, gain=gain, roughness_ratio=ratio)


def _roughness_ratio(raw: np.ndarray, average: np.ndarray) -> Interval | None:
    changes = [_mean_change(curves) for curves in (raw, average)]
    if not changes[0].size or not all((change > 0).all() for change in changes):
        return None
    ratio = mean_interval((np.log(changes[0]) - np.log(changes[1])).tolist())
    return None if ratio is None else ratio.map(_exp)


def _mean_change(curves: np.ndarray) -> np.ndarray:
    """Mean absolute change from one epoch to the next, one a seed; empty for a single epoch."""
    changes = np.abs(np.diff(curves))
    num_changes = changes.shape[1]
    # Each divided before the sum, which then cannot overflow.
    return (changes / num_changes).sum(1) if num_changes else np.empty(0)


def _exp(logarithm: float) -> float:
    return math.exp(min(logarithm, math.log(sys.float_info.max)))
