"""What the course's published solution printed, as far as the report quotes it, and ours beside it.

Its figures stand in configs/reference/expected.yaml, which `midterm check` checks runs against too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np

from midterm_cli.config.presets import expected_file
from midterm_cli.part3.statistics import prediction_interval
from midterm_cli.part3.train.schema import HistoryRow
from midterm_cli.report.runs import command
from midterm_cli.runs.expected import Check, Expected, SeedMean, Step, load


class Logged(NamedTuple):
    """A figure of the published training log: one run, its raw weights, unseeded."""

    epoch: int
    metric: str
    value: float


@dataclass(frozen=True)
class Published:
    """The figures.

    Attributes:
        f: at x = 1.432, in float32.
        derivative: there.
        last_stable_lr: the last learning rate that trained.
        nan_lr: the next one, whose loss was NaN.
        chosen_lr: the one taken for training, half of the last that trained.
        training_log: of the linear network.
    """

    f: float
    derivative: float
    last_stable_lr: float
    nan_lr: float
    chosen_lr: float
    training_log: tuple[Logged, ...]


@cache
def figures() -> Published:
    """Read the figures."""
    last_stable_lr = _number("reference/lr_sweep", "last_stable_lr")
    return Published(
        f=_number("reference/autodiff", "f"),
        derivative=_number("reference/autodiff", "derivative", "autograd"),
        last_stable_lr=last_stable_lr,
        nan_lr=_number("reference/lr_sweep", "first_divergent_lr"),
        chosen_lr=last_stable_lr / 2,
        training_log=tuple(_training_log()),
    )


def checks(preset: str) -> list[Check]:
    """What is expected of the run of a preset, in the order of the file."""
    runs = _packaged(expected_file()).runs
    [expectation] = [run for run in runs if run.command == command(preset)]
    return expectation.checks


@cache
def _packaged(file: Path) -> Expected:
    return load(file)


def _training_log() -> Iterator[Logged]:
    for check in checks("reference/train"):
        match check.mean_over_seeds, check.at:
            # A mean of one seed is that of a single run.
            case SeedMean(seeds=1, mean=found), [_, {"epoch": int(epoch)}, str(metric)]:
                yield Logged(epoch, metric, found)


def _number(preset: str, *at: Step) -> float:
    [check] = [check for check in checks(preset) if check.at == list(at)]
    number = check.near.value if check.near else check.equals
    assert isinstance(number, float)
    return number


class OneMore(NamedTuple):
    """A published figure, and where one more run beside our seeds would have it.

    Attributes:
        logged: the figure.
        mean: of our seeds.
        low: end of the 95 % prediction interval.
        high: its other end.
    """

    logged: Logged
    mean: float
    low: float
    high: float

    @property
    def inside(self) -> bool:
        """Whether the published run may have been one of ours."""
        return self.low <= self.logged.value <= self.high


def one_more_run(history: Sequence[HistoryRow]) -> list[OneMore] | None:
    """Of each figure of the published training log, the prediction interval of one more run.

    Returns:
        None where our seeds do not tell: fewer than two, or one that has diverged.
    """
    found = []
    for logged in figures().training_log:
        seeds = [
            getattr(row, logged.metric)
            for row in history
            if row.epoch == logged.epoch and row.weights == "raw"
        ]
        if len(seeds) < 2 or None in seeds:
            return None
        mean, total = fmean(seeds), len(seeds)
        interval = prediction_interval(mean, total, stdev(seeds), total, 1, 0.95)
        found.append(OneMore(logged, mean, *interval))
    return found


def through_inverse(
    matrix: Sequence[Sequence[float]], x: Sequence[float], g: Sequence[float]
) -> float:
    """The largest entry of 2 v gᵀ, v = M⁻ᵀ (x - g): the part of ∂φ/∂M that a kept inverse lacks."""
    v = np.linalg.solve(np.transpose(matrix), np.subtract(x, g))
    return float(2 * np.abs(np.outer(v, g)).max())
