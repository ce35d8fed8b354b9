"""What the experiments of Part 3 are asked and answer, as far as they share it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, field_validator

from midterm_cli.experiment import ExperimentConfig, Record

Activation = Literal["relu", "identity", "tanh"]
Sampling = Literal["replacement", "shuffle"]
GradientMethod = Literal["closed_form", "autograd"]
Outcome = Literal["trained", "degraded", "untrained", "collapsed", "non_finite"]
Metric = Literal["train_loss", "train_accuracy", "test_loss", "test_accuracy"]

METRICS: dict[Metric, str] = {
    "train_loss": "train loss (nats)",
    "train_accuracy": "train accuracy",
    "test_loss": "test loss (nats)",
    "test_accuracy": "test accuracy",
}
"""What is measured after each epoch: key of a row → label for people."""

Width = Annotated[int, Field(ge=1, le=65_536)]


class ProblemConfig(ExperimentConfig):
    """Keys of every experiment that trains networks."""

    num_seeds: int = Field(ge=1, le=10_000, description="models, seeded seed, seed + 1, …")
    dtype: Literal["float32", "float64"] = Field(description="of weights and arithmetic")
    dataset: str = Field(
        min_length=1,
        description="fashion_mnist, synthetic, or a folder with four IDX files",
    )
    train_fraction: float = Field(
        gt=0, le=1, description="share of the training set that a seed draws, without replacement"
    )
    hidden_sizes: list[Width] = Field(max_length=64, description="widths of the hidden layers")
    activation: Activation = Field(description="after each hidden layer")
    batch_size: int = Field(ge=1, le=65_536, description="examples in a minibatch")
    sampling: Sampling = Field(
        description="minibatches drawn with replacement, or from a shuffle of the subset"
    )
    gradients: GradientMethod = Field(
        description="the backward pass in closed_form, or by autograd, the slow reference"
    )

    @field_validator("dataset")
    @classmethod
    def _can_be_shown(cls, value: str) -> str:
        # It stands in titles and tables, where a line break or an escape would not be itself.
        if not value.isprintable():
            raise ValueError("has characters that cannot be printed: rename the folder")
        return value

    @property
    def seeds(self) -> range:
        """The seeds of the run."""
        return range(self.seed, self.seed + self.num_seeds)


class Interval(Record):
    """An estimate over seeds with its two-sided 95 % interval."""

    estimate: float
    low: float | None = Field(description="null for a single seed")
    high: float | None = Field(description="null for a single seed")
    total: int = Field(ge=1, description="seeds")

    def map(self, function: Callable[[float], float]) -> Interval:
        """The interval of an increasing function of the quantity, such as exp of a logarithm."""
        low, high = (None if end is None else function(end) for end in (self.low, self.high))
        return Interval(estimate=function(self.estimate), low=low, high=high, total=self.total)
