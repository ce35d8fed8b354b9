"""What `midterm train` is asked, and what it answers."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from midterm_cli import experiment
from midterm_cli.experiment import Count, FileName, NotNegative, Record, Share
from midterm_cli.files import run_folder
from midterm_cli.part3.schema import Interval, Metric, Outcome, ScheduleConfig
from midterm_cli.values import numbers

Gamma = Annotated[float, Field(gt=0, le=1)]
Weights = Literal["raw", "ema"]


class Config(ScheduleConfig):
    """Keys of `midterm train`."""

    lr: float = Field(gt=0, le=1e6, description="learning rate, or the peak of its schedule")
    ema_gamma: list[Gamma] = Field(
        max_length=32,
        description="weight of the new value in each average of the weights, in (0, 1]",
    )
    skip_passes: int = Field(ge=0, description="epochs that the figure leaves out at the start")
    log_every: int = Field(
        ge=0, description="updates between two records of the minibatch's loss; 0 for none"
    )
    init_from: FileName | None = Field(
        min_length=1,
        description="a training run whose raw weights each seed starts from, while its outcome is "
        "still measured against random ones; null for random ones",
    )

    @field_validator("ema_gamma", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        if value is None:
            raise ValueError("must be numbers, got null: write [] for no average")
        value = numbers(value)
        return value if isinstance(value, list) else [value]

    @field_validator("ema_gamma")
    @classmethod
    def _no_repeats(cls, value: list[float]) -> list[float]:
        if len(set(value)) < len(value):
            raise ValueError(f"has a value twice: {', '.join(f'{gamma:g}' for gamma in value)}")
        return value

    @field_validator("init_from")
    @classmethod
    def _its_folder(cls, value: str | None) -> str | None:
        return value and str(run_folder(Path(value)))

    @property
    def input_files(self) -> list[Path]:
        """The file of the network, and the weights to start from."""
        weights = [Path(self.init_from, "checkpoint.pt")] if self.init_from else []
        return [*super().input_files, *weights]

    @property
    def absolute(self) -> dict[str, str]:
        """The network, where it is a Python file, and the run to start from."""
        start = {"init_from": str(Path(self.init_from).absolute())} if self.init_from else {}
        return super().absolute | start

    def continues(self, earlier: Self) -> bool:
        """Whether it has more epochs, and no schedule that ends with them."""
        same = self.model_copy(update={"epochs": earlier.epochs})
        return self.schedule == "constant" and earlier.epochs < self.epochs and same == earlier

    @property
    def first_epoch_shown(self) -> int:
        """The first epoch of the figure: after the skipped ones, if there are any after them."""
        return min(self.skip_passes + 1, self.epochs)


class HistoryRow(Record):
    """One kind of weights of one seed after one epoch; null where they or a loss are not finite."""

    seed: Count
    epoch: Count = Field(description="0 is the start")
    weights: Weights
    gamma: float | None = Field(description="of the average; null for the raw weights")
    train_loss: NotNegative | None
    train_accuracy: Share | None
    test_loss: NotNegative | None
    test_accuracy: Share | None
    information: NotNegative | None = Field(
        None,
        description="about the labels of the training subset, in nats, at most their entropy; "
        "measured after the last epoch alone",
    )


class LoggedUpdate(Record):
    """A minibatch of one seed before an update; null where a number is not finite."""

    seed: Count
    update: Count = Field(description="made before it, over the run")
    lr: NotNegative = Field(description="of the update")
    loss: NotNegative | None = Field(description="of the minibatch, in evaluation, in nats")
    gradient_norm: NotNegative | None = Field(description="of that loss, over all parameters")


class OverSeeds(Record):
    """A metric over the seeds whose value is finite."""

    mean: float | None = Field(description="null where there is no such seed")
    sd: NotNegative | None = Field(description="of a sample; null for fewer than two seeds")
    total: Count = Field(description="seeds whose value is finite")


class FinalMetrics(Record):
    """One kind of weights after the last epoch."""

    weights: Weights
    gamma: float | None = Field(description="of the average; null for the raw weights")
    half_life: NotNegative | None = Field(None, description="of an average, in updates")
    weight_of_start: Share | None = Field(
        None, description="of the initial weights in an average, after the last update"
    )
    train_loss: OverSeeds
    train_accuracy: OverSeeds
    test_loss: OverSeeds
    test_accuracy: OverSeeds
    information: OverSeeds | None = None


class Final(Record):
    """What there is after the last epoch."""

    epoch: int = Field(ge=1)
    weights: list[FinalMetrics] = Field(
        min_length=1, description="the raw weights, then each average"
    )


class AveragingEffect(Record):
    """What an average changes in one metric; null where there is nothing to compare."""

    gamma: float
    metric: Metric
    gain: Interval | None = Field(
        description="after the last epoch, paired within each seed; positive where it is better"
    )
    roughness_ratio: Interval | None = Field(
        description="of the mean absolute second differences of the raw and the averaged curve, "
        "paired within each seed; above 1 where the average is smoother"
    )


class SeedOutcome(Record):
    """The verdict on one seed's raw weights after the last epoch."""

    seed: Count
    outcome: Outcome
    information: NotNegative | None = Field(
        None, description="about the labels of the training subset, in nats"
    )
    information_error: NotNegative | None = Field(None, description="its standard error")
    overconfident: bool = Field(
        False, description="it has learned, but its train loss is above that of a constant guess"
    )


class Results(experiment.Results):
    """What training gives: losses in nats, accuracies in [0, 1]."""

    OBSERVATIONS = "history"
    OF_CONFIG = frozenset({"seed", "num_seeds", "epochs", "ema_gamma"})

    history: list[HistoryRow] = Field(
        min_length=1, description="a row for each seed, epoch and kind of weights"
    )
    final: Final
    comparison: list[AveragingEffect] = Field([], description="for each average and metric")
    outcome: Outcome = Field(description="the worst of all seeds")
    outcomes: list[SeedOutcome] = Field([], description="of each seed")
    log: list[LoggedUpdate] | None = Field(
        None, description="a row for each seed and each update that log_every asks for"
    )
    num_updates: int | None = Field(
        None, ge=1, description="in one epoch, not in all: epochs times as many are made"
    )
    num_parameters: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _a_row_for_each_kind_of_weights(self) -> Self:
        """Every seed has every epoch, once for each kind of weights."""
        rows = {(row.seed, row.epoch, row.gamma) for row in self.history}
        whole = math.prod(len(set(values)) for values in zip(*rows, strict=True))
        if not len(self.history) == len(rows) == whole:
            raise ValueError("history must have one row for each seed, epoch and kind of weights")
        return self

    @property
    def num_finite(self) -> int:
        """Seeds whose losses are finite at the end, for every kind of weights."""
        return min(entry.train_loss.total for entry in self.final.weights)

    def require_of(self, config: experiment.ExperimentConfig) -> None:
        """Require a row for each seed, epoch and kind of weights of the config, and no other."""
        assert isinstance(config, Config)
        kinds = (None, *config.ema_gamma)
        total = config.num_seeds * (config.epochs + 1) * len(kinds)
        if len(self.history) != total:
            raise ValueError(f"history must have {total} rows, got {len(self.history)}")
        rows = {(row.seed, row.epoch, row.gamma) for row in self.history}
        for row in product(config.seeds, range(config.epochs + 1), kinds):
            if row not in rows:
                raise ValueError("history must have seed {}, epoch {}, γ {}".format(*row))
        if [entry.gamma for entry in self.final.weights] != list(kinds):
            raise ValueError("final.weights must have the raw weights and each ema_gamma")
        if any(effect.gamma not in config.ema_gamma for effect in self.comparison):
            raise ValueError("comparison must have no gamma that ema_gamma has not")
        effects = [(effect.gamma, effect.metric) for effect in self.comparison]
        if len(set(effects)) < len(effects):
            raise ValueError("comparison must have a gamma and metric once")
