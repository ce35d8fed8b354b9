"""The training curves of several runs in one figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from midterm_cli.figure import LARGEST_DRAWN, own_style
from midterm_cli.part3.curves import LINES, choose_scale, panels
from midterm_cli.part3.schema import METRICS, Metric
from midterm_cli.part3.train import schema as train
from midterm_cli.runs import compare_sweeps
from midterm_cli.runs.compare import Comparison
from midterm_cli.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKERS = "os^DvPX*<>"
_TOP_OF_SCALE = 0.85  # the light end of a sequential scale cannot be seen on white


@dataclass(frozen=True)
class Curve:
    """Means over seeds, epoch by epoch, of one kind of weights of a run.

    Attributes:
        gamma: of the average; None for the raw weights.
        epochs: at which it was measured.
        means: metric → a value for each epoch, over the seeds that are finite there; NaN where
            none is.
    """

    gamma: float | None
    epochs: Sequence[int]
    means: Mapping[Metric, Sequence[float]]


def figure_of(comparison: Comparison) -> Figure:
    """The figure that shows the runs, whichever their experiment."""
    return draw(comparison) if comparison.trainings else compare_sweeps.draw(comparison)


@own_style()
def draw(comparison: Comparison) -> Figure:
    """Train and test, loss and accuracy, in one 2 × 2 figure.

    A colour and a marker for each run, from dark to light in the order of the table; raw weights
    with solid lines and filled markers, averages with dashed lines and hollow ones.
    """
    from matplotlib import colormaps

    by = "" if comparison.by is None else f" by {printable(comparison.by)}"
    title = f"Training compared{by}: mean over the seeds that are finite"
    figure, axes = panels(title, height=8)
    runs = [_curves(*training) for training in comparison.trainings]
    looks = [
        {
            "color": colormaps["viridis"](_TOP_OF_SCALE * place / max(1, len(runs) - 1)),
            "marker": _MARKERS[place % len(_MARKERS)],
        }
        for place in range(len(runs))
    ]
    for metric, axis in axes.items():
        for place, (curves, look) in enumerate(zip(runs, looks, strict=True)):
            for which, curve in enumerate(curves):
                # Each run has its markers at other epochs, so that they do not hide each other.
                step = max(1, len(curve.epochs) // 5)
                every = (place % step, step)
                style = {**look, **_style(which), "markevery": every}
                axis.plot(curve.epochs, curve.means[metric], **style)
        if metric.endswith("loss"):
            choose_scale(axis)
    labels = [
        f"{label}{_of_seeds(config, results)}"
        for label, (config, results) in zip(comparison.labels(), comparison.trainings, strict=True)
    ]
    _add_legend(figure, labels, looks, runs)
    return figure


def _curves(config: train.Config, results: train.Results) -> list[Curve]:
    """The raw weights, then each average, from the run's first shown epoch."""
    shown = [row for row in results.history if row.epoch >= config.first_epoch_shown]
    epochs = sorted({row.epoch for row in shown})
    curves = []
    for gamma in dict.fromkeys(row.gamma for row in shown):
        rows = [row for row in shown if row.gamma == gamma]
        means = {
            metric: [
                _finite_mean([getattr(row, metric) for row in rows if row.epoch == epoch])
                for epoch in epochs
            ]
            for metric in METRICS
        }
        curves.append(Curve(gamma, epochs, means))
    return curves


def _of_seeds(config: train.Config, results: train.Results) -> str:
    """How many seeds are averaged at the end, where not all are; as in the table, n."""
    total = results.num_finite
    return "" if total == config.num_seeds else f" ({total} of {config.num_seeds} seeds)"


def _finite_mean(values: Sequence[float | None]) -> float:
    finite = [min(value, LARGEST_DRAWN) for value in values if value is not None]
    return fmean(finite) if finite else math.nan


def _style(which: int) -> dict[str, Any]:
    """Line and marker of the raw weights (0) or of an average (1, 2, …)."""
    style: dict[str, Any] = {"linestyle": LINES[which % len(LINES)], "markersize": 5}
    return style if which == 0 else style | {"markerfacecolor": "white"}


def _add_legend(
    figure: Figure,
    labels: Sequence[str],
    looks: Sequence[Mapping[str, Any]],
    runs: Sequence[Sequence[Curve]],
) -> None:
    """Runs, then kinds of weights, below the panels, where they hide no data."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], **look, **_style(0), label=label)
        for look, label in zip(looks, labels, strict=True)
    ]
    handles += [
        Line2D([], [], color="black", marker="o", **_style(which), label=label)
        for which, label in enumerate(_weights_labels(runs))
    ]
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(5, 110 // (longest + 8)))
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a $ in the name of a folder is a $


def _weights_labels(runs: Sequence[Sequence[Curve]]) -> list[str]:
    """The raw weights, and each average with its γ where the runs share it."""
    labels = ["raw weights"]
    for which in range(1, max(map(len, runs))):
        gammas = {curves[which].gamma for curves in runs if which < len(curves)}
        shared = f"γ = {gammas.pop():g}" if len(gammas) == 1 else f"the run's γ number {which}"
        labels.append(f"average, {shared}")
    return labels
