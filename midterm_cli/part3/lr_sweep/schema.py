"""What `midterm lr-sweep` is asked, and what it answers."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from midterm_cli import experiment
from midterm_cli.experiment import Count, NotNegative, Positive, Record, Share
from midterm_cli.part3.outcome import Attempt
from midterm_cli.part3.schema import Outcome, ScheduleConfig

LOWEST_LR, HIGHEST_LR = 1e-12, 1e6
MAX_RATES = 1000
"""Learning rates of a sweep."""

Rate = Annotated[float, Field(ge=LOWEST_LR, le=HIGHEST_LR)]


def _spaced(low: float, high: float, num: int) -> list[float]:
    """Numbers from low to high with a common ratio, of 6 digits, the ends as they are."""
    if not (0 < low < high < math.inf and 2 <= num <= 1000):
        raise ValueError
    inner = (low * (high / low) ** (i / (num - 1)) for i in range(1, num - 1))
    return [low, *(float(f"{lr:.6g}") for lr in inner), high]


class Config(ScheduleConfig):
    """Keys of `midterm lr-sweep`."""

    start_lr: float = Field(
        ge=LOWEST_LR, le=HIGHEST_LR, description="where doubling, or halving, begins"
    )
    tolerance: float = Field(
        ge=1e-3, le=1, description="narrow the gap until its ends differ by at most this share"
    )
    max_rates: int = Field(
        ge=2,
        le=MAX_RATES,
        description="learning rates that the search may try, each with num_seeds runs",
    )
    rates: list[Rate] = Field(
        max_length=MAX_RATES,
        description="learning rates to try instead of a search, for a curve of failures",
    )
    degraded_share: float = Field(
        gt=0,
        lt=1,
        description="a run is degraded with less than this share of the information that the best "
        "learning rate gains",
    )
    max_failure_share: float = Field(
        gt=0,
        lt=1,
        description="a learning rate is reliable if fewer of the seeds fail, with 95 % confidence",
    )
    sharpness: bool = Field(
        description="measure the largest Hessian eigenvalue along a run at the recommended "
        "learning rate"
    )

    @field_validator("rates", mode="before")
    @classmethod
    def _range(cls, value: object) -> object:
        """LO:HI:N as N learning rates, evenly spaced in the logarithm; A,B,C as a list."""
        if isinstance(value, int | float):
            return [value]
        if not isinstance(value, str):
            return value
        try:
            if ":" not in value:
                return [float(part) for part in value.split(",")]
            low, high, num = value.split(":")
            return _spaced(float(low), float(high), int(num))
        except ValueError:
            raise ValueError(
                f"must be LO:HI:N with 0 < LO < HI and N from 2 to 1000, or numbers: got {value!r}"
            ) from None

    @field_validator("rates")
    @classmethod
    def _no_repeats(cls, value: list[float]) -> list[float]:
        if len(set(value)) < len(value):
            raise ValueError("has a learning rate twice")
        return value


class Trial(Record):
    """One run: a learning rate with a seed."""

    lr: Positive
    seed: Count
    outcome: Outcome
    train_loss: NotNegative | None = Field(
        description="in nats; of a model that cannot recover, when that was found"
    )
    train_accuracy: Share | None
    information: NotNegative | None = Field(
        None, description="about the labels of the training subset, in nats"
    )
    information_error: NotNegative | None = Field(None, description="its standard error")
    overconfident: bool = Field(
        False, description="it has learned, but its train loss is above that of a constant guess"
    )

    @property
    def attempt(self) -> Attempt:
        """The trial without its numbers."""
        return Attempt(self.lr, self.seed, self.outcome)


class FailureRate(Record):
    """How often training fails at a learning rate, with the 95 % interval of the share."""

    lr: Positive
    failed: Count = Field(description="not finite, collapsed or degraded")
    total: int = Field(ge=1)
    low: Share
    high: Share
    upper_limit: Share | None = Field(
        None, description="exact one-sided 95 % limit of the share (Clopper and Pearson)"
    )
    collapsed: Count = 0
    non_finite: Count = 0
    degraded: Count = 0
    untrained: Count = Field(0, description="no failure: the learning rate is too low")


class FailureThreshold(Record):
    """The learning rate at which half of the seeds fail, with its 95 % interval.

    An end is null where the trials do not bound it.
    """

    estimate: Positive
    low: Positive | None
    high: Positive | None


class Thresholds(Record):
    """The threshold by each definition of failure; null where the trials have none."""

    non_finite: FailureThreshold | None = Field(description="the loss or a weight is not finite")
    collapsed: FailureThreshold | None = Field(description="or the run collapsed")
    degraded: FailureThreshold | None = Field(description="or it is degraded: threshold_lr")


class SharpnessPoint(Record):
    """The sharpness at one moment of a run; null where there is no such number."""

    updates: Count
    sharpness: float | None
    two_over_sharpness: float | None


class Sharpness(Record):
    """The largest Hessian eigenvalue λ along a run; null where there is no such number."""

    lr: Positive
    seed: Count
    points: list[SharpnessPoint] = Field(min_length=1)
    max_sharpness: float | None = Field(description="over all points but the start")
    two_over_max: float | None
    two_over_start: float | None


class Results(experiment.Results):
    """Where training fails: null where it was not seen to fail, or not seen to succeed."""

    OBSERVATIONS = "trials"

    trials: list[Trial] = Field(min_length=1)
    rates: list[FailureRate] = Field(min_length=1, max_length=MAX_RATES)
    last_stable_lr: Positive | None = Field(
        description="the last of the doubled learning rates at which fewer than half of the seeds "
        "fail"
    )
    first_divergent_lr: Positive | None = Field(
        description="the first of the doubled learning rates at which half of the seeds fail"
    )
    threshold_lr: FailureThreshold | None
    recommended_lr: Positive | None = Field(
        description="a share of the threshold's estimate, at most reliable_lr; null where none is "
        "reliable, or where it is above best_lr and clearly less is learned there"
    )
    thresholds: Thresholds | None = None
    reliable_lr: Positive | None = Field(
        None,
        description="the highest learning rate up to which fewer than max_failure_share of the "
        "seeds fail, with 95 % confidence",
    )
    best_lr: Positive | None = Field(
        None, description="the lowest at which most is learned, by which runs are degraded"
    )
    falls_again: list[Positive] | None = Field(
        None,
        description="two learning rates between which the share of failures falls below one half "
        "again: there is no single threshold",
    )
    bracketed: bool | None = Field(
        None,
        description="whether last_stable_lr and first_divergent_lr were both found, and are "
        "neighbours",
    )
    non_monotone_seeds: list[Count] = Field(
        [], description="seeds that train at a learning rate above one at which they fail"
    )
    nan_rule_divergent_lr: Positive | None = Field(
        None, description="what a rule that knows only NaN calls the first divergent learning rate"
    )
    constant_guess_loss: Positive | None = Field(
        None, description="in nats, of predicting the class frequencies whatever the input"
    )
    sharpness: Sharpness | None = Field(
        None, description="null where it was not asked for, or nothing is recommended"
    )

    @model_validator(mode="after")
    def _rates_of_the_trials(self) -> Results:
        if sorted(rate.lr for rate in self.rates) != sorted({trial.lr for trial in self.trials}):
            raise ValueError("rates must have each learning rate of trials, once")
        if len({(trial.lr, trial.seed) for trial in self.trials}) < len(self.trials):
            raise ValueError("trials must have a learning rate and seed once")
        return self
