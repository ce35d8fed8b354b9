from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from midterm_cli import experiment

DEFAULTS = """\
# A recursion instead of training.
seed: 0
device: cpu
dtype: float32
dataset: synthetic
hidden_sizes: [32, 16]
activation: relu
lr: 1e-3
epochs: 4
batch_size: 8
ema_gamma: 1e-3
num_seeds: 1
gradients: closed_form
"""


class Config(experiment.ExperimentConfig):
    GONE: ClassVar[Mapping[str, str]] = {"momentum": "nothing was done with it"}

    dtype: Literal["float32", "float64"]
    dataset: str
    hidden_sizes: list[Annotated[int, Field(ge=1)]]
    activation: Literal["relu", "identity", "tanh"]
    lr: float = Field(gt=0, le=1e6)
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    ema_gamma: list[Annotated[float, Field(gt=0, le=1)]]
    num_seeds: int = Field(ge=1)
    gradients: Literal["closed_form", "autograd"]

    @field_validator("ema_gamma", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return value if isinstance(value, list) else [value]


class Results(experiment.Results):
    w: list[float] = Field(min_length=2, max_length=2)
    outcome: Literal["trained", "collapsed"]
