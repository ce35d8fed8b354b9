"""What averaging the weights gains, from the history of a training run."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from midterm_cli.part3.statistics import mean_and_sd, mean_interval, within_floats

METRICS = {
    "train_loss": "train loss (nats)",
    "train_accuracy": "train accuracy",
    "test_loss": "test loss (nats)",
    "test_accuracy": "test accuracy",
}
"""What is measured after each pass: key of a row → label for people."""

Row = dict[str, Any]


def select(history: Sequence[Row], gamma: float | None, metric: str) -> np.ndarray:
    """(seeds, epochs + 1) values of a metric, of the raw weights for γ = None; NaN where null."""
    rows = [row for row in history if row["gamma"] == gamma]
    num_seeds = len({row["seed"] for row in rows})
    return np.array([row[metric] for row in rows], dtype=float).reshape(num_seeds, -1)


def final_metrics(
    history: Sequence[Row], gammas: Sequence[float], num_updates: int
) -> list[dict[str, Any]]:
    """Mean and standard deviation over the seeds that are finite, after the last pass.

    Args:
        history: rows of a training run.
        gammas: of its averages.
        num_updates: in the whole run; what then remains of the initial weights in an average is
            its `weight_of_start`.

    Returns:
        An entry for the raw weights and one for each average.
    """
    entries = []
    for gamma in (None, *gammas):
        entry: Row = {"weights": "raw" if gamma is None else "ema", "gamma": gamma}
        if gamma is not None:
            entry["half_life"] = half_life(gamma)
            entry["weight_of_start"] = (1 - gamma) ** num_updates
        for metric in METRICS:
            last = select(history, gamma, metric)[:, -1]
            values = last[np.isfinite(last)].tolist()
            mean, sd = mean_and_sd(values) if values else (None, None)
            entry[metric] = {"mean": mean, "sd": sd, "total": len(values)}
        entries.append(entry)
    return entries


def half_life(gamma: float) -> float:
    """Updates after which an average has forgotten half of a value: ln 2 / -ln(1 - γ)."""
    if gamma == 1:
        return 0.0
    return within_floats(math.log(2) / -math.log1p(-gamma))


def compare(history: Sequence[Row], gammas: Sequence[float], first: int) -> list[dict[str, Any]]:
    """How much each average gains over the raw weights of the same seed, and how much smoother.

    Args:
        history: rows of a training run.
        gammas: of its averages.
        first: the first pass whose change to the next counts.

    Returns:
        For each average and metric a `gain` and a `roughness_ratio`, with a 95 % interval over
        seeds, paired within each seed. The gain is the difference after the last pass, positive
        where the average is better (lower loss, higher accuracy). The ratio compares the mean
        absolute change from one pass to the next: above 1 the average is smoother; its mean over
        seeds is geometric. None where there is nothing to compare.
    """
    comparison = []
    for gamma in gammas:
        for metric in METRICS:
            raw, average = select(history, None, metric), select(history, gamma, metric)
            finite = np.isfinite(raw[:, -1]) & np.isfinite(average[:, -1])
            raw, average = raw[finite], average[finite]
            sign = -1 if metric.endswith("loss") else 1
            gain = mean_interval((sign * (average[:, -1] - raw[:, -1])).tolist())
            changes = [_mean_change(curves[:, first:]) for curves in (raw, average)]
            ratio = None
            if changes[0].size and all((change > 0).all() for change in changes):
                ratio = mean_interval((np.log(changes[0]) - np.log(changes[1])).tolist())
            comparison.append(
                {
                    "gamma": gamma,
                    "metric": metric,
                    "gain": None if gain is None else asdict(gain),
                    "roughness_ratio": None if ratio is None else asdict(ratio.map(_exp)),
                }
            )
    return comparison


def _mean_change(curves: np.ndarray) -> np.ndarray:
    """Mean absolute change from one pass to the next, one a seed; none where there is no next."""
    changes = np.abs(np.diff(curves))
    num_changes = changes.shape[1]
    # Each divided before the sum, which then cannot overflow.
    return (changes / num_changes).sum(1) if num_changes else np.empty(0)


def _exp(logarithm: float) -> float:
    return math.exp(min(logarithm, math.log(sys.float_info.max)))
