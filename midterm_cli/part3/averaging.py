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

    The gain is that after the last epoch. The roughness ratio compares the mean absolute second
    difference of the two curves: above 1 the average is smoother; its mean over seeds is geometric.
    A second difference leaves out a steady rise or fall, which is no roughness. Both come with a
    95 % interval over seeds, paired within each seed; None where there is nothing to compare.

    Args:
        history: rows of a training run.
        gammas: of its averages.
        first_epoch: the first epoch of the curves that are compared.

    Returns:
        An entry for each average and metric.
    """
    return [_effect(history, gamma, metric, first_epoch) for gamma in gammas for metric in METRICS]


def _effect(
    history: Sequence[HistoryRow], gamma: float, metric: Metric, first_epoch: int
) -> AveragingEffect:
    by_epoch = gains(history, gamma, metric)
    ratio = _roughness_ratio(history, gamma, metric, first_epoch)
    return AveragingEffect(
        gamma=gamma, metric=metric, gain=by_epoch[max(by_epoch)], roughness_ratio=ratio
    )


def gains(
    history: Sequence[HistoryRow], gamma: float, metric: Metric
) -> dict[int, Interval | None]:
    """By epoch, how much better an average is than the raw weights of the same seed.

    Returns:
        Positive where the average is better: lower loss, higher accuracy. With a 95 % interval over
        the seeds that are finite in that epoch; None where there is none.
    """
    epochs, raw = select(history, None, metric)
    _, average = select(history, gamma, metric)
    better = (raw - average) if metric.endswith("loss") else (average - raw)
    of_epochs = zip(epochs.tolist(), better.T, strict=True)
    return {epoch: mean_interval(of[np.isfinite(of)].tolist()) for epoch, of in of_epochs}


def better_from(history: Sequence[HistoryRow], gamma: float) -> int | None:
    """The epoch from which on an average is better in every metric, in the mean over seeds.

    Returns:
        None where it is not even so after the last epoch.
    """
    by_metric = [gains(history, gamma, metric) for metric in METRICS]
    found = None
    for epoch in sorted(by_metric[0], reverse=True):
        of_epoch = [by_epoch[epoch] for by_epoch in by_metric]
        if not all(gain and gain.estimate > 0 for gain in of_epoch):
            break
        found = epoch
    return found


def _roughness_ratio(
    history: Sequence[HistoryRow], gamma: float, metric: Metric, first_epoch: int
) -> Interval | None:
    """Of the seeds whose curves are finite at the end."""
    epochs, raw = select(history, None, metric)
    _, average = select(history, gamma, metric)
    finite = np.isfinite(raw[:, -1]) & np.isfinite(average[:, -1])
    first = np.searchsorted(epochs, first_epoch)
    roughness = [_roughness(curves[finite, first:]) for curves in (raw, average)]
    if not roughness[0].size or not all((of_seed > 0).all() for of_seed in roughness):
        return None
    ratio = mean_interval((np.log(roughness[0]) - np.log(roughness[1])).tolist())
    return None if ratio is None else ratio.map(_exp)


def _roughness(curves: np.ndarray) -> np.ndarray:
    """A quarter of the mean absolute second difference, one a seed; empty below three epochs."""
    # Divided before the differences and the sum, which then cannot overflow.
    differences = np.abs(np.diff(curves / 4, n=2))
    num_differences = differences.shape[1]
    return (differences / num_differences).sum(1) if num_differences else np.empty(0)


def _exp(logarithm: float) -> float:
    return math.exp(min(logarithm, math.log(sys.float_info.max)))
