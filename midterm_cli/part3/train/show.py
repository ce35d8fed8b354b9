"""How a training run is shown: tables, and the 2 × 2 figure of the exercise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from midterm_cli.experiment import Table
from midterm_cli.figure import LARGEST_DRAWN, log_scale
from midterm_cli.part3.averaging import better_from, select
from midterm_cli.part3.curves import (
    LINES,
    choose_scale,
    dataset_label,
    network_label,
    optimizer_label,
    panels,
    weights_label,
)
from midterm_cli.part3.schema import METRICS, Interval, Metric
from midterm_cli.part3.train.schema import (
    Config,
    HistoryRow,
    LoggedUpdate,
    OverSeeds,
    Results,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours of Okabe and Ito, told apart in grey by lightness and by the line itself.
_COLOURS = ("#666666", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
_MARKERS = "os^DvP"
_LEGEND_INSIDE = 4  # entries; more of them would hide the curves


def summarize(results: Results) -> list[Table | str]:
    """Final metrics, and what averaging gained, as tables."""
    total = len({row.seed for row in results.history})
    tables: list[Table | str] = [
        Table(
            f"After epoch {results.final.epoch}, {_over(total)}",
            ["", *METRICS.values(), "information (nats)"],
            [
                [
                    weights_label(entry.gamma),
                    *(_mean_sd(getattr(entry, metric), total) for metric in METRICS),
                    _mean_sd(entry.information, total) if entry.information else "–",
                ]
                for entry in results.final.weights
            ],
        )
    ]
    if overconfident := sum(entry.overconfident for entry in results.outcomes):
        tables.append(
            f"Overconfident: {overconfident} of {total} seeds have learned at a train loss above "
            "that of a constant guess. Scaled inputs (--normalize unit) may put that right."
        )
    if results.comparison:
        tables.append(
            Table(
                "What averaging gains over the raw weights of the same seed (95 % interval)"
                + _smoothness(results),
                ["", "metric", "gain at the end", "times smoother"],
                [
                    [
                        weights_label(effect.gamma),
                        METRICS[effect.metric],
                        _interval(effect.gain, "+.4f"),
                        _interval(effect.roughness_ratio, ".2f"),
                    ]
                    for effect in results.comparison
                ],
            )
        )
    for entry in results.final.weights:
        if entry.gamma and entry.half_life is not None and entry.weight_of_start is not None:
            tables.append(
                f"γ = {entry.gamma:g}: half-life {entry.half_life:.0f} updates; the initial "
                f"weights still weigh {entry.weight_of_start:.2g} at the end. "
                + _since_when(results.history, entry.gamma)
            )
    return tables


def _over(num_seeds: int) -> str:
    return f"mean ± standard deviation over {num_seeds} seeds" if num_seeds > 1 else "one seed"


def _since_when(history: Sequence[HistoryRow], gamma: float) -> str:
    epoch = better_from(history, gamma)
    if epoch is None:
        return "Not better in all four metrics at the end (means over seeds)."
    return f"Better in all four metrics from epoch {epoch} on (means over seeds)."


def _smoothness(results: Results) -> str:
    """How smoothness was measured; runs of earlier versions, without information, differ."""
    return "; smoothness by second differences" if results.final.weights[0].information else ""


def _mean_sd(entry: OverSeeds, total: int) -> str:
    if entry.mean is None:
        return "not finite"
    text = _number(entry.mean, ".4f")
    if entry.sd is not None:
        text += f" ± {_number(entry.sd, '.4f')}"
    return text if entry.total == total else f"{text} ({entry.total} of {total} seeds)"


def _interval(interval: Interval | None, form: str) -> str:
    if interval is None:
        return "–"
    text = _number(interval.estimate, form)
    if interval.low is None or interval.high is None:
        return f"{text} (one seed: no interval)"
    return f"{text} [{_number(interval.low, form)}, {_number(interval.high, form)}]"


def _number(value: float, form: str) -> str:
    """A number in a fixed format; in powers of ten where that would be too long."""
    return format(value, form if abs(value) < 1e6 else form.replace("f", "e"))


def draw(config: Config, results: Results) -> dict[str, Figure]:
    """The exercise's 2 × 2 figure: train and test, loss and accuracy, raw and averaged weights."""
    figure, axes = panels(
        f"{optimizer_label(config)}, averaged weights, on {dataset_label(config)}, "
        f"{network_label(config)}\nlr = {config.lr:g} ({_seeds(config, results)})",
        height=7,
    )
    for metric, axis in axes.items():
        _draw_metric(axis, config, results.history, metric)
    first = axes["train_loss"]
    if len(config.ema_gamma) < _LEGEND_INSIDE:
        first.legend()
    else:
        figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return {"curves": figure, **({"updates": _draw_log(results.log)} if results.log else {})}


def _seeds(config: Config, results: Results) -> str:
    if config.num_seeds == 1:
        return "one seed"
    finite = results.num_finite
    if finite == 0:
        return f"{config.num_seeds} seeds, none finite at the end"
    kept = "" if finite == config.num_seeds else f", {finite} of them finite at the end"
    return f"{config.num_seeds} seeds{kept}: mean and range"


def _draw_log(log: Sequence[LoggedUpdate]) -> Figure:
    """Loss, gradient norm and learning rate against the updates: a line a seed, and the median."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
    updates = sorted({row.update for row in log})
    seeds = sorted({row.seed for row in log})
    labels = ("minibatch loss (nats)", "norm of its gradient", "learning rate")
    keys = ("loss", "gradient_norm", "lr")
    for axis, key, label in zip(axes, keys, labels, strict=True):
        values = np.full((len(seeds), len(updates)), np.nan)
        for row in log:
            value = getattr(row, key)
            values[seeds.index(row.seed), np.searchsorted(updates, row.update)] = (
                np.nan if value is None else value
            )
        if key != "lr":
            axis.plot(updates, values.T, color=_COLOURS[0], lw=0.6, alpha=0.4)
            if (values > 0).any():
                log_scale(axis, "y")
        known = np.isfinite(values).any(0)
        median = np.nanmedian(values[:, known], axis=0)
        axis.plot(np.array(updates)[known], median, color=_COLOURS[1], label="median over seeds")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[0].legend()
    axes[-1].set_xlabel("updates made")
    figure.suptitle(f"{len(seeds)} seeds, each a thin line" if len(seeds) > 1 else "one seed")
    return figure


def _draw_metric(axis: Axes, config: Config, history: Sequence[HistoryRow], metric: Metric) -> None:
    is_single = config.first_epoch_shown == config.epochs
    gammas = (None, *config.ema_gamma)
    finite = 0
    for i, gamma in enumerate(gammas):
        epochs, curves = select(history, gamma, metric)
        is_shown = epochs >= config.first_epoch_shown
        values = np.ma.masked_invalid(np.minimum(curves[:, is_shown], LARGEST_DRAWN))
        colour = _COLOURS[i % len(_COLOURS)]
        # From the seventh on a colour is repeated with another line.
        line = LINES[(i + i // len(_COLOURS)) % len(LINES)]
        x = epochs[is_shown]
        axis.plot(
            x,
            values.mean(0),
            linestyle=line,
            marker=_MARKERS[i % len(_MARKERS)] if is_single else "",
            color=colour,
            label=weights_label(gamma),
        )
        if len(values) > 1:
            low, high = values.min(0), values.max(0)
            if is_single:
                # Wide below narrow: where ranges overlap, each can be seen.
                axis.vlines(x, low, high, color=colour, lw=6 - 4 * i / len(gammas), alpha=0.6)
            else:
                axis.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
        finite += values.count()
    if not finite:
        axis.text(0.5, 0.5, "not finite for any seed", transform=axis.transAxes, ha="center")
        axis.set_yticks([])
    elif metric.endswith("loss"):
        choose_scale(axis)
    margin = 0.5 if is_single else 0.05 * (config.epochs - config.first_epoch_shown + 1)
    axis.set_xlim(config.first_epoch_shown - margin, config.epochs + margin)
