"""What `midterm lr-range-test` is asked, and what it answers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from midterm_cli import experiment
from midterm_cli.experiment import Count, NotNegative, Positive, Record
from midterm_cli.part3.lr_sweep.schema import FailureThreshold, Rate
from midterm_cli.part3.schema import ProblemConfig

MAX_LOSSES = 10_000_000  # of all seeds: 80 MB
MAX_RECORDS = 20

Method = Literal["steepest", "tenth_of_minimum", "valley"]
Reason = Literal["not_finite", "diverges_at_once", "does_not_fall", "still_falls"]


class Sweep(Record):
    """What a sweep found, to be compared with the suggestions."""

    name: str = Field(description="its run folder")
    num_seeds: int = Field(ge=1)
    threshold: FailureThreshold
    reliable: Positive | None
    recommended: Positive | None


class GivenSweep(Sweep):
    """The same in a config, where no key may be unknown."""

    model_config = ConfigDict(extra="forbid")


class Config(ProblemConfig):
    """Keys of `midterm lr-range-test`."""

    start_lr: Rate = Field(description="learning rate of the first update")
    end_lr: Rate = Field(description="learning rate of the last update; it grows exponentially")
    num_updates: int = Field(ge=2, le=10_000, description="from start_lr to end_lr")
    smoothing: float = Field(
        ge=0, lt=1, description="β of the moving average of the loss; 0 for none"
    )
    stop_factor: float = Field(
        gt=1, le=1e6, description="diverged: the smoothed loss is above so many times its best"
    )
    sweep: Annotated[GivenSweep | None, Field(description="what --sweep RUN has read")]

    @model_validator(mode="after")
    def _ends_in_order(self) -> Self:
        if self.start_lr >= self.end_lr:
            raise ValueError(
                f"start_lr must be below end_lr ({self.end_lr:g}), got {self.start_lr:g}"
            )
        if self.num_seeds * self.num_updates > MAX_LOSSES:
            raise ValueError(
                f"num_seeds and num_updates make {self.num_seeds * self.num_updates:,} losses: "
                f"at most {MAX_LOSSES:,} are allowed"
            )
        return self


class CurvePoint(Record):
    """The smoothed loss at one update: quartiles over all seeds, those diverged above all others.

    A quartile is null where so many have diverged.
    """

    lr: Positive
    lower: NotNegative | None
    median: NotNegative | None
    upper: NotNegative | None
    diverged: Count = Field(description="seeds, at this update or before")


class SeedRecord(Record):
    """The smoothed loss of one seed before each update, until it diverged."""

    seed: Count
    losses: list[NotNegative]


class SeedSuggestions(Record):
    """What one seed suggests, and where it diverged: learning rates; null where there is none."""

    seed: Count
    diverged_lr: Positive | None
    steepest: Positive | None
    tenth_of_minimum: Positive | None
    valley: Positive | None
    reason: Reason | None = Field(
        description="why one is null: at the start the loss is not finite or diverges; it does not "
        "fall by more than its noise; or, of tenth_of_minimum, it is lowest at end_lr"
    )


class Suggestion(Record):
    """What one rule suggests: quartiles over the seeds for which it does; null where none is."""

    method: Method
    lower: Positive | None
    median: Positive | None
    upper: Positive | None
    total: Count = Field(description="seeds that have one")


class Results(experiment.Results):
    """What a range test finds: losses of minibatches before the update, in nats."""

    OBSERVATIONS = "curve"
    OF_CONFIG = frozenset({"seed", "num_seeds", "num_updates"})

    suggestions: list[Suggestion] = Field(min_length=3, max_length=3)
    seeds: list[SeedSuggestions] = Field(min_length=1)
    curve: list[CurvePoint] = Field(min_length=2, description="a point for each update")
    records: list[SeedRecord] = Field(
        max_length=MAX_RECORDS,
        description=f"of the first {MAX_RECORDS} seeds; no other record is kept",
    )
    sweep: Sweep | None = Field(description="null where none was given")

    @model_validator(mode="after")
    def _records_of_the_curve(self) -> Self:
        if any(len(record.losses) > len(self.curve) for record in self.records):
            raise ValueError("records must have no more losses than curve has points")
        return self

    def require_of(self, config: experiment.ExperimentConfig) -> None:
        """Require the seeds and the updates of the config."""
        assert isinstance(config, Config)
        if [entry.seed for entry in self.seeds] != list(config.seeds):
            raise ValueError(f"seeds must be the {config.num_seeds} from {config.seed} on")
        if len(self.curve) != config.num_updates:
            raise ValueError(f"curve must have {config.num_updates} points, got {len(self.curve)}")
