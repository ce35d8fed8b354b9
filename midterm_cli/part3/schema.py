"""What the experiments of Part 3 are asked and answer, as far as they share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from midterm_cli.experiment import ExperimentConfig, FileName, Record
from midterm_cli.layers.reference import file_of, is_reference
from midterm_cli.layers.schema import MAX_LAYERS, Layer

Activation = Literal["relu", "identity", "tanh", "sigmoid", "leaky_relu", "gelu"]
OptimizerName = Literal["sgd", "adam", "adamw", "rmsprop"]
ScheduleName = Literal["constant", "linear", "cosine", "step"]
Normalize = Literal["none", "unit", "standard"]
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
Beta = Annotated[float, Field(ge=0, lt=1)]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _numbers(value: object) -> object:
    """Read 64 or "64,32" as a list."""
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    if isinstance(value, str) and all(part.strip().isdecimal() for part in value.split(",")):
        return [int(part) for part in value.split(",")]
    return value


def _which(value: object) -> str:
    return "name" if isinstance(value, str) else "layers"


class ProblemConfig(ExperimentConfig):
    """Keys of every experiment that trains networks."""

    BORROWED: ClassVar[Mapping[str, str]] = {"network": "layers"}

    num_seeds: int = Field(ge=1, le=10_000, description="models, seeded seed, seed + 1, …")
    dtype: Literal["float32", "float64"] = Field(description="of weights and arithmetic")
    dataset: str = Field(
        min_length=1,
        description="fashion_mnist, synthetic, mnist, kmnist or emnist-letters; an .npz or a .csv "
        "file; or a folder with four IDX files",
    )
    train_fraction: float = Field(
        gt=0, le=1, description="share of the training set that a seed draws, without replacement"
    )
    normalize: Normalize = Field(
        description="of the centred pixels, 0…255: none leaves them, unit divides them by 255, "
        "standard by their standard deviation"
    )
    network: Annotated[
        Annotated[FileName, Tag("name")]
        | Annotated[list[Layer], Field(min_length=1, max_length=MAX_LAYERS), Tag("layers")],
        Discriminator(_which),
    ] = Field(
        description="mlp; layers as those of midterm conv stack, or the name of a packaged config "
        "or YAML file that has some; or FILE.py:NAME, a torch.nn.Module"
    )
    hidden_sizes: Annotated[list[Width], BeforeValidator(_numbers)] = Field(
        max_length=64, description="of network mlp: widths of the hidden layers"
    )
    activation: Annotated[Activation, BeforeValidator(_lower)] = Field(
        description="of network mlp: after each hidden layer"
    )
    optimizer: Annotated[OptimizerName, BeforeValidator(_lower)] = Field(
        description="sgd, adam, adamw or rmsprop, as torch.optim has them"
    )
    momentum: float = Field(ge=0, lt=1, description="of sgd and rmsprop")
    nesterov: bool = Field(description="of sgd: Nesterov's momentum")
    weight_decay: float = Field(
        ge=0, le=1e6, description="added to the gradient; decoupled, of adamw"
    )
    betas: list[Beta] = Field(
        min_length=2, max_length=2, description="of adam and adamw: decay of the two averages"
    )
    alpha: float = Field(ge=0, lt=1, description="of rmsprop: decay of the average")
    eps: float = Field(gt=0, le=1, description="of adam, adamw and rmsprop: added to the root")
    batch_size: int = Field(ge=1, le=65_536, description="examples in a minibatch")
    sampling: Sampling = Field(
        description="minibatches drawn with replacement, or from a shuffle of the subset"
    )
    gradients: GradientMethod = Field(
        description="of network mlp: the backward pass in closed_form, or by autograd, the slow "
        "reference"
    )

    @field_validator("network")
    @classmethod
    def _is_known(cls, value: str | list[Layer]) -> str | list[Layer]:
        if isinstance(value, str) and value != "mlp" and not is_reference(value):
            raise ValueError(
                "must be mlp, a packaged config of conv_stack, a YAML file with layers, or "
                f"FILE.py:NAME, got {value!r}"
            )
        return value

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.optimizer == "sgd" and self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    @property
    def source_file(self) -> Path | None:
        """The Python file of a network of the user's own."""
        return (
            file_of(self.network)
            if isinstance(self.network, str) and self.network != "mlp"
            else None
        )

    @property
    def input_files(self) -> list[Path]:
        """The file of the network."""
        return [self.source_file] if self.source_file else []

    @property
    def absolute(self) -> dict[str, str]:
        """The network, where it is a Python file."""
        return {"network": str(Path(str(self.network)).absolute())} if self.source_file else {}

    @property
    def runs_code(self) -> list[str]:
        """The network, where it is a Python file."""
        return ["network"] if self.source_file else []

    def idle(self) -> dict[str, str]:
        """Keys of another network or optimiser than the one that is meant."""
        idle: dict[str, str] = {}
        if self.network != "mlp":
            idle |= dict.fromkeys(("hidden_sizes", "activation", "gradients"), "network: mlp")
        for key, owners in _OF_OPTIMIZERS.items():
            if self.optimizer not in owners:
                idle[key] = f"optimizer: {' or '.join(owners)}"
        return idle

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


_OF_OPTIMIZERS: Mapping[str, tuple[OptimizerName, ...]] = {
    "momentum": ("sgd", "rmsprop"),
    "nesterov": ("sgd",),
    "betas": ("adam", "adamw"),
    "alpha": ("rmsprop",),
    "eps": ("adam", "adamw", "rmsprop"),
}


class ScheduleConfig(ProblemConfig):
    """Keys of an experiment whose learning rate follows a schedule."""

    epochs: int = Field(ge=1, le=100_000, description="of round(n / batch_size) updates each")
    schedule: Annotated[ScheduleName, BeforeValidator(_lower)] = Field(
        description="of the learning rate after the warm-up: constant; linear or cosine to 0; "
        "step: a tenth after half of the updates, a hundredth after three quarters"
    )
    warmup: float = Field(ge=0, description="epochs over which the learning rate rises to its peak")

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.warmup > self.epochs:
            raise ValueError(f"warmup must be at most epochs ({self.epochs}), got {self.warmup:g}")
        return self


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
