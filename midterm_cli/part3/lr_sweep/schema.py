"""What `midterm lr-sweep` is asked, and what it answers."""

from __future__ import annotations

from pydantic import Field, model_validator

from midterm_cli import experiment
from midterm_cli.experiment import Count, NotNegative, Positive, Record, Share
from midterm_cli.part3.outcome import Attempt
from midterm_cli.part3.schema import Outcome, ProblemConfig

LOWEST_LR, HIGHEST_LR = 1e-12, 1e6


class Config(ProblemConfig):
    """Keys of `midterm lr-sweep`."""

    start_lr: float = Field(
        ge=LOWEST_LR, le=HIGHEST_LR, description="where doubling, or halving, begins"
    )
    tolerance: float = Field(
        ge=1e-3, le=1, description="narrow the gap until its ends differ by at most this share"
    )
    max_rates: int = Field(
        ge=2, le=1000, description="learning rates in all, each with num_seeds runs"
    )
    epochs: int = Field(ge=1, le=100_000, description="of a run")
    sharpness: bool = Field(
        description="measure the largest Hessian eigenvalue along a run at the recommended "
        "learning rate"
    )


class Trial(Record):
    """One run: a learning rate with a seed."""

    lr: Positive
    seed: Count
    outcome: Outcome
    train_loss: NotNegative | None = Field(
        description="in nats; of a model that cannot recover, when that was found"
    )
    train_accuracy: Share | None

    @property
    def attempt(self) -> Attempt:
        """The trial without its numbers."""
        return Attempt(self.lr, self.seed, self.outcome != "trained")


class FailureRate(Record):
    """How often training fails at a learning rate, with the 95 % interval of the share."""

    lr: Positive
    failed: Count
    total: int = Field(ge=1)
    low: Share
    high: Share
    collapsed: Count = 0
    non_finite: Count = 0


class FailureThreshold(Record):
    """The learning rate at which half of the seeds fail, with its 95 % interval."""

    estimate: Positive
    low: Positive
    high: Positive


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

    trials: list[Trial] = Field(min_length=1)
    rates: list[FailureRate] = Field(min_length=1)
    last_stable_lr: Positive | None
    first_divergent_lr: Positive | None
    threshold_lr: FailureThreshold | None
    recommended_lr: Positive | None
    bracketed: bool | None = Field(
        None, description="whether last_stable_lr and first_divergent_lr were both found"
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
    sharpness: Sharpness | None = Field(None, description="null where it was not asked for")

    @model_validator(mode="after")
    def _rates_of_the_trials(self) -> Results:
        if {rate.lr for rate in self.rates} != {trial.lr for trial in self.trials}:
            raise ValueError("rates must have the learning rates of trials")
        return self
