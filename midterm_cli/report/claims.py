"""What a training run says of the claim that averaged weights are better and smoother."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from midterm_cli.part3.averaging import averaging_effects, gains
from midterm_cli.part3.schema import METRICS, Interval
from midterm_cli.part3.train.schema import AveragingEffect, Config, Results
from midterm_cli.runner.document import Run

LEVEL = 0.05
"""Probability of at least one wrong verdict among the claims on one run, where nothing is true."""


class Claim(NamedTuple):
    """One claim on one metric.

    Attributes:
        text: the claim.
        interval: of the quantity that it is about; None where no seed has it.
        neutral: the value of that quantity where there is no difference: 0 of a difference, 1 of a
            ratio.
        p_value: corrected for the number of claims; 1 where nothing can be told.
    """

    text: str
    interval: Interval | None
    neutral: float
    p_value: float

    @property
    def places(self) -> int:
        """Decimal places that its numbers are shown with."""
        return 3 if self.neutral == 0 else 2

    @property
    def verdict(self) -> str:
        """Whether it holds, as far as the runs can tell."""
        if self.interval is None or not self.p_value < LEVEL:
            return "cannot tell"
        return "holds" if self.interval.estimate > self.neutral else "the opposite holds"


def effects(run: Run) -> Sequence[AveragingEffect]:
    """What the first average of a run of train changes, by today's measure of smoothness.

    Runs of earlier versions, which have no information, hold that of first differences.
    """
    assert isinstance(run.config, Config)
    assert isinstance(run.results, Results)
    gamma, config = run.config.ema_gamma[0], run.config
    if run.results.final.weights[0].information is not None:
        return [effect for effect in run.results.comparison if effect.gamma == gamma]
    return averaging_effects(run.results.history, [gamma], config.first_epoch_shown)


def early_gains(run: Run, most: int = 10) -> list[tuple[int, list[Interval | None]]]:
    """By epoch, what the first average gains in each metric, in the epochs that figures leave out.

    Args:
        run: of train.
        most: epochs, at most.
    """
    assert isinstance(run.config, Config)
    assert isinstance(run.results, Results)
    by_metric = [gains(run.results.history, run.config.ema_gamma[0], it) for it in METRICS]
    epochs = range(1, run.config.first_epoch_shown)[:most]
    return [(epoch, [by_epoch.get(epoch) for by_epoch in by_metric]) for epoch in epochs]


def claims(comparison: Sequence[AveragingEffect]) -> list[Claim]:
    """The claims that the exercise asks about, two for each metric."""
    made = list[tuple[str, Interval | None, float]]()
    for entry in comparison:
        name = entry.metric.replace("_", " ")
        better = "lower" if name.endswith("loss") else "higher"
        made += [
            (f"{better} {name}, by", entry.gain, 0.0),
            (f"smoother {name}, times", entry.roughness_ratio, 1.0),
        ]
    p_values = holm([p_value(interval, neutral) for _, interval, neutral in made])
    return [Claim(*claim, p) for claim, p in zip(made, p_values, strict=True)]


def p_value(interval: Interval | None, neutral: float) -> float:
    """Two-sided p-value of Student's t test of an estimate, from its 95 % interval.

    Args:
        interval: symmetric where `neutral` is 0, and on a logarithmic scale where it is 1.
        neutral: the value under the null hypothesis.

    Returns:
        1 where the interval does not tell: there is none, it is of one seed, or an end of it is not
        known.
    """
    from scipy.special import stdtr, stdtrit

    if interval is None or interval.total < 2 or interval.low is None or interval.high is None:
        return 1.0
    low, high = interval.low, interval.high
    if neutral == 1:
        if min(low, high) <= 0:  # the exponential of a number far below 0
            return 1.0
        low, high = math.log(low), math.log(high)
    # Halved before the sum, which then cannot overflow.
    estimate, half_width = low / 2 + high / 2, high / 2 - low / 2
    if estimate == 0:
        return 1.0
    if half_width == 0:
        return 0.0
    t = abs(estimate) / half_width * float(stdtrit(interval.total - 1, 0.975))
    return 2 * float(stdtr(interval.total - 1, -t))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number: the chance of any false rejection stays below the level.

    Source: Holm (1979), Scandinavian Journal of Statistics 6, 65-70. It holds however the tests
    depend on each other.
    """
    corrected = [1.0] * len(p_values)
    least = 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for place, index in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = least
    return corrected
