"""How a range test is shown: what it suggests, and the figure of the loss by learning rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from midterm_cli.experiment import Table
from midterm_cli.figure import log_scale
from midterm_cli.part3.curves import dataset_label, network_label, optimizer_label
from midterm_cli.part3.lr_range.schema import MAX_RECORDS, Config, Method, Results
from midterm_cli.part3.statistics import quartiles
from midterm_cli.text import printable, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colour and line of each: lightness and line tell them apart in grey.
_METHODS: dict[Method, tuple[str, str, str]] = {
    "steepest": ("steepest descent", "#E69F00", "--"),
    "tenth_of_minimum": ("a tenth of the minimum", "#009E73", "-."),
    "valley": ("valley", "#0072B2", ":"),
}


def summarize(results: Results) -> list[Table | str]:
    """The suggestions over the seeds, beside the sweep, and where the seeds diverged."""
    total = len(results.seeds)
    columns = ["", "lower quartile", "median", "upper quartile", "seeds that have one"]
    columns += ["median, of the threshold"] * (results.sweep is not None)
    rows = []
    for suggestion in results.suggestions:
        spread = suggestion.lower, suggestion.median, suggestion.upper
        row = [_METHODS[suggestion.method][0], *map(_lr, spread), f"{suggestion.total} of {total}"]
        if results.sweep is not None:
            row.append(_ratio(suggestion.median, results.sweep.threshold.estimate))
        rows.append(row)
    return [
        Table("Suggested learning rates, over the seeds", columns, rows),
        *_sweep(results),
        _diverged(results),
    ]


def _sweep(results: Results) -> list[str]:
    if results.sweep is None:
        return []
    threshold = results.sweep.threshold
    recommended = results.sweep.recommended
    return [
        f"In the sweep {printable(results.sweep.name)} half of {results.sweep.num_seeds} seeds "
        f"fail at {_lr(threshold.estimate)}"
        + (f"; it recommends {_lr(recommended)}." if recommended else ".")
    ]


def _diverged(results: Results) -> str:
    lrs = [entry.diverged_lr for entry in results.seeds if entry.diverged_lr is not None]
    text = f"Diverged: {len(lrs)} of {len(results.seeds)} seeds"
    if not lrs:
        return f"{text}."
    median = quartiles(lrs)[1]
    text += f", at a learning rate of {_lr(median)} (median)"
    if results.sweep is not None:
        text += f", {_ratio(median, results.sweep.threshold.estimate)} times the threshold"
    return f"{text}."


def _lr(lr: float | None) -> str:
    return "none" if lr is None else f"{lr:.3g}"


def _ratio(lr: float | None, threshold: float) -> str:
    return "–" if lr is None else f"{lr / threshold:.3g}"


def draw(config: Config, results: Results) -> dict[str, Figure]:
    """The smoothed loss by learning rate, the suggestions, and where training fails in a sweep."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axis = figure.subplots()
    _draw_losses(axis, config, results)
    _draw_sweep(axis, results)
    _draw_suggestions(axis, results)
    axis.set_xscale("log")
    axis.set_xlim(results.curve[0].lr, results.curve[-1].lr)
    axis.set_xlabel("learning rate")
    axis.set_ylabel("smoothed loss of the minibatch (nats)")
    axis.grid(alpha=0.3)
    seeds = "one seed" if len(results.seeds) == 1 else f"{len(results.seeds)} seeds"
    problem = f"{dataset_label(config)}, {shortened(network_label(config), 40)}"
    figure.suptitle(
        f"Learning rate range test of {optimizer_label(config)} on {problem} ({seeds})",
        parse_math=False,  # a $ in the name of a folder is a $
    )
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    return {"lr_range": figure}


def _draw_losses(axis: Axes, config: Config, results: Results) -> None:
    lrs = [point.lr for point in results.curve]
    lower, median, upper = (
        [math.nan if value is None else value for value in values]
        for values in zip(*((p.lower, p.median, p.upper) for p in results.curve), strict=True)
    )
    some = f" of the first {MAX_RECORDS}" if len(results.seeds) > MAX_RECORDS else ""
    for i, record in enumerate(results.records):
        num = len(record.losses)
        axis.plot(
            lrs[:num],
            record.losses,
            color="#999999",
            lw=0.5 if len(results.seeds) > 1 else 1.5,
            marker="x" if 0 < num < len(lrs) else "",
            markevery=[num - 1],
            label=f"one seed{some}, until it diverges (×)" if i == 0 else None,
        )
    if len(results.seeds) > 1:
        label = "quartiles over the seeds, until a quarter has diverged"
        axis.fill_between(lrs, lower, upper, color="#444444", alpha=0.2, lw=0, label=label)
        label = f"median over the seeds (β = {config.smoothing:g})"
        axis.plot(lrs, median, color="#000000", label=label)
    losses = [loss for record in results.records for loss in record.losses if loss > 0]
    if losses:
        # A few that have exploded do not hide all others.
        bottom, top = min(losses), float(np.quantile(losses, 0.99))
        if top > 10 * bottom:
            axis.set_ylim(bottom / 1.2, 1.2 * top)
            log_scale(axis, "y")
        else:
            margin = 0.1 * top - 0.1 * bottom or 0.1 * top
            axis.set_ylim(bottom - margin, top + margin)


def _draw_sweep(axis: Axes, results: Results) -> None:
    if results.sweep is None:
        return
    threshold, recommended = results.sweep.threshold, results.sweep.recommended
    # An open end of the interval reaches to the end of the range.
    low = results.curve[0].lr if threshold.low is None else threshold.low
    high = results.curve[-1].lr if threshold.high is None else threshold.high
    axis.axvspan(low, high, color="#D55E00", alpha=0.2, lw=0)
    label = f"the sweep: half of the seeds fail ({threshold.estimate:.3g}), 95 % interval"
    axis.axvline(threshold.estimate, color="#D55E00", lw=2.5, label=label)
    if recommended is not None:
        label = f"the sweep: recommended ({recommended:.3g})"
        axis.axvline(recommended, color="#CC79A7", lw=1.2, label=label)


def _draw_suggestions(axis: Axes, results: Results) -> None:
    for suggestion in results.suggestions:
        label, colour, line = _METHODS[suggestion.method]
        if suggestion.lower is None or suggestion.median is None or suggestion.upper is None:
            continue
        axis.axvspan(suggestion.lower, suggestion.upper, color=colour, alpha=0.15, lw=0)
        label = f"{label} ({suggestion.median:.3g})"
        label += ", quartiles" if len(results.seeds) > 1 else ""
        axis.axvline(suggestion.median, color=colour, ls=line, lw=2, label=label)
