"""What the course's published solution printed, as far as the page quotes it.

Its figures stand in configs/reference/expected.yaml, which `midterm check` holds runs against too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from midterm_cli.config.presets import expected_file
from midterm_cli.report.numerals import value
from midterm_cli.report.runs import command
from midterm_cli.runs.expected import Check, SeedMean, Step, load

SOURCE = "the course's published solution: its printed answers and training log"

OUTPUT_SIZE = "5.25 + 1"
"""What it arrives at along each axis in Part 4, 1a, before the floor."""


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
        last_stable_lr: the last rate that trained.
        nan_lr: the next one, whose loss was NaN.
        chosen_lr: the one taken for training.
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
    return Published(
        f=_number("reference/autodiff", "f"),
        derivative=_number("reference/autodiff", "derivative", "autograd"),
        last_stable_lr=_number("reference/lr_sweep", "last_stable_lr"),
        nan_lr=_number("reference/lr_sweep", "first_divergent_lr"),
        chosen_lr=_number("reference/lr_sweep", "recommended_lr"),
        training_log=tuple(_training_log()),
    )


def checks(preset: str) -> list[Check]:
    """What is expected of the run of a preset, in the order of the file."""
    [expectation] = [run for run in load(expected_file()).runs if run.command == command(preset)]
    return expectation.checks


def _training_log() -> Iterator[Logged]:
    for check in checks("reference/train"):
        match check.mean_over_seeds, check.at:
            # A mean of one seed is that of a single run.
            case SeedMean(seeds=1, mean=found), [_, {"epoch": int(epoch)}, str(metric)]:
                yield Logged(epoch, metric, found)


def _number(preset: str, *at: Step) -> float:
    [check] = [check for check in checks(preset) if check.at == list(at)]
    return value(check.near.value if check.near else check.equals)
