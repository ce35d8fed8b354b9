"""The looks of training curves: one figure has those of a run, another those of several runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from midterm_cli.figure import log_scale
from midterm_cli.part3.schema import METRICS, Metric, ProblemConfig
from midterm_cli.text import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


LINES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (3, 1, 1, 1)))
"""The line of the raw weights, then those of the averages."""

_SMALLEST_SHARE = 1e-15  # of the largest loss
_LOG_FROM = 20  # ratio of the losses from which a linear axis would hide the small ones


def weights_name(gamma: float | None) -> str:
    """What files and tables call a kind of weights: the raw ones, or the average with this γ."""
    return "raw" if gamma is None else f"ema_{gamma!r}"


def weights_label(gamma: float | None) -> str:
    """What people read for it."""
    return "raw weights" if gamma is None else f"average, γ = {gamma:g}"


def optimizer_label(config: ProblemConfig) -> str:
    """What people read for the optimiser."""
    names = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}
    name = names[config.optimizer]
    if config.momentum:
        name += f" with {'Nesterov ' if config.nesterov else ''}momentum {config.momentum:g}"
    return name


def dataset_label(config: ProblemConfig) -> str:
    """What people read for the dataset: its word, or the name of its file or folder."""
    return shortened(Path(config.dataset).name or config.dataset, 40)


def network_label(config: ProblemConfig) -> str:
    """What people read for the network: an MLP by its activation and sizes, others by name."""
    if isinstance(config.network, list):
        return f"{len(config.network)} layers"
    if config.network != "mlp":
        return config.network.rpartition(":")[2]
    if not config.hidden_sizes:
        return "no hidden layer"
    sizes = "-".join(map(str, config.hidden_sizes))
    return shortened(f"{config.activation} {sizes}", 40)


def panels(title: str, height: float) -> tuple[Figure, dict[Metric, Axes]]:
    """An empty 2 × 2 figure over the epochs: train and test side by side, loss above accuracy.

    Args:
        title: of the figure, taken literally: a $ in it is a $.
        height: in inches; the width is 10.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, height), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True)
    axes: dict[Metric, Axes] = dict(zip(METRICS, grid.T.flat, strict=True))
    for metric, axis in axes.items():
        axis.set_ylabel(METRICS[metric])
        axis.grid(alpha=0.3)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axis in grid[1]:
        axis.set_xlabel("epoch")
    figure.suptitle(title, parse_math=False)
    return figure, axes


def choose_scale(axes: Axes) -> None:
    """A logarithmic axis for losses of which a linear one would hide the small ones.

    With a loss of exactly 0 the axis is linear below the smallest other one, or below 1e-15 of the
    largest: what is smaller is drawn near 0.
    """
    (low, high), smallest = axes.dataLim.intervaly, axes.dataLim.minposy
    if high <= _LOG_FROM * smallest:
        return
    if low > 0:
        log_scale(axes, "y")
    else:
        linear_below = max(smallest, _SMALLEST_SHARE * high)
        axes.set_yscale("symlog", linthresh=linear_below)
        axes.set_ylim(bottom=-0.4 * linear_below)  # room for the marker of a 0
