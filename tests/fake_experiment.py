"""An experiment in place of `train`: the same kind of keys, a recursion for a computation."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from matplotlib.figure import Figure
from pydantic import Field, field_validator

from midterm_cli.experiment import Context, ExperimentConfig, Output, Table

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


class Config(ExperimentConfig):
    dtype: Literal["float32", "float64"]
    dataset: str
    hidden_sizes: tuple[Annotated[int, Field(ge=1)], ...]
    activation: Literal["relu", "identity", "tanh"]
    lr: float = Field(gt=0, le=1e6)
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    ema_gamma: tuple[Annotated[float, Field(gt=0, le=1)], ...]
    num_seeds: int = Field(ge=1)
    gradients: Literal["closed_form", "autograd"]

    @field_validator("ema_gamma", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list | tuple) else (value,)


def on_epoch(epoch: int) -> None:
    """What a test wants to happen once a pass has been saved."""


def run(config: Config, context: Context) -> Output:
    state = context.state.load() or {"epoch": 0, "w": torch.zeros(2, dtype=torch.float64)}
    w = state["w"]
    for epoch in range(state["epoch"], config.epochs):
        w = 0.9 * w + config.lr * torch.tensor([epoch, config.seed], dtype=torch.float64).sin()
        context.state.save({"epoch": epoch + 1, "w": w})
        context.progress(epoch + 1, config.epochs, f"w = {w[0]:.3g}")
        on_epoch(epoch + 1)
    failed = config.lr > 1
    return Output(
        results={"w": w.tolist(), "outcome": "collapsed" if failed else "trained"},
        checkpoint={"w": w},
        provenance={"data_sha256": "0123"},
        failed=failed,
        warnings=["collapsed"] if failed else (),
    )


def draw(config: Config, results: Mapping[str, Any]) -> dict[str, Figure]:
    figure = Figure()
    figure.subplots().bar([0, 1], results["w"])
    return {"weights": figure}


def summarize(results: Mapping[str, Any]) -> Sequence[Table | str]:
    return [Table("Weights", ["", "w"], [[str(i), f"{w:.3g}"] for i, w in enumerate(results["w"])])]
