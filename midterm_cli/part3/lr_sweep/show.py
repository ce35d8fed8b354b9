"""How a sweep is shown: tables, and the figure of what is learned, and how often training fails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from midterm_cli.experiment import Table
from midterm_cli.figure import LARGEST_DRAWN, log_scale
from midterm_cli.part3.curves import dataset_label, network_label, optimizer_label
from midterm_cli.part3.lr_sweep.schema import (
    Config,
    FailureRate,
    FailureThreshold,
    Results,
    Sharpness,
)
from midterm_cli.part3.outcome import FAILURES
from midterm_cli.part3.schema import Outcome
from midterm_cli.part3.search import Rates
from midterm_cli.part3.statistics import quartiles
from midterm_cli.part3.threshold import FEWEST_SEEDS, monotone_shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Marker, colour and label; shape and lightness both tell the outcomes apart.
_OUTCOMES: dict[Outcome, tuple[str, str, str]] = {
    "trained": ("o", "#0072B2", "trained"),
    "untrained": ("v", "#AAAAAA", "untrained: too low a learning rate"),
    "degraded": ("D", "#E69F00", "degraded"),
    "collapsed": ("X", "#D55E00", "collapsed"),
    "non_finite": ("^", "#000000", "not finite (drawn at the edge)"),
}

_TINY = 1 / LARGEST_DRAWN


def summarize(results: Results) -> list[Table | str]:
    """How often training fails at each learning rate, and the learning rates that follow."""
    lines: list[Table | str] = [_failures(results), _learned(results)]
    if table := _thresholds(results):
        lines.append(table)
    if results.bracketed:
        lines.append(
            f"Last stable {_lr(results.last_stable_lr)}, first divergent "
            f"{_lr(results.first_divergent_lr)}: of the doubled learning rates, or of those given, "
            "the neighbours between which half of the seeds begin to fail."
        )
    lines += _reliable(results)
    if results.recommended_lr is not None:
        lines.append(f"Recommended for training: {_lr(results.recommended_lr)}.")
    if sharpness := results.sharpness:
        lines.append(
            f"2/λ, λ the largest Hessian eigenvalue of seed {sharpness.seed} at the recommended "
            f"learning rate: {_lr(sharpness.two_over_start)} at the start, "
            f"{_lr(sharpness.two_over_max)} at the largest λ after it."
        )
    return lines + _remarks(results)


def _reliable(results: Results) -> list[Table | str]:
    for rate in results.rates:
        if rate.lr == results.reliable_lr and rate.upper_limit is not None:
            return [
                f"Reliable up to {_lr(rate.lr)}: fewer than {math.ceil(100 * rate.upper_limit)} % "
                "of the seeds fail there, with 95 % confidence."
            ]
    works = Rates([trial.attempt for trial in results.trials]).where("work")
    lowest = [rate for rate in results.rates if rate.lr in works[:1]]
    return [
        f"No learning rate is reliable: at {_lr(rate.lr)}, the lowest that works, up to "
        f"{100 * rate.upper_limit:.0f} % of the seeds may fail, with 95 % confidence."
        for rate in lowest
        if rate.upper_limit is not None
    ]


def _failures(results: Results) -> Table:
    rows = [
        [
            _lr(rate.lr),
            f"{rate.failed} of {rate.total}",
            f"[{rate.low:.2f}, {rate.high:.2f}]",
            str(rate.non_finite),
            str(rate.collapsed),
            str(rate.degraded),
            str(rate.untrained),
        ]
        for rate in results.rates
    ]
    outcomes = ["not finite", "collapsed", "degraded", "untrained"]
    return Table(
        "How often training fails: not finite, collapsed or degraded",
        ["learning rate", "failed", "95 % interval", *outcomes],
        rows,
    )


def _learned(results: Results) -> Table:
    return Table(
        "What is learned: quartiles over the seeds",
        ["learning rate", "train loss (nats)", "train accuracy", "information (nats)"],
        [
            [
                _lr(rate.lr),
                *(
                    " | ".join("–" if math.isnan(value) else form.format(value) for value in found)
                    for found, form in (
                        (_quartiles(results, rate.lr, "train_loss"), "{:.3g}"),
                        (_quartiles(results, rate.lr, "train_accuracy"), "{:.2f}"),
                        (_quartiles(results, rate.lr, "information"), "{:.2f}"),
                    )
                ),
            ]
            for rate in results.rates
        ],
    )


def _thresholds(results: Results) -> Table | None:
    """The threshold by each definition, the one that counts last."""
    total = results.rates[0].total
    if results.thresholds is None:
        if results.threshold_lr is None:
            return None
        rows = [["failed", _interval(results.threshold_lr, total)]]
    else:
        rows = [
            [label, _interval(found, total) if found else _outside(results, failures)]
            for found, label, failures in (
                (results.thresholds.non_finite, "not finite", FAILURES[:1]),
                (results.thresholds.collapsed, "or collapsed", FAILURES[:2]),
                (results.thresholds.degraded, "or degraded", FAILURES),
            )
        ]
    title = "At which learning rate half of the seeds fail (95 % interval)"
    return Table(title, ["definition of failure", "learning rate"], rows)


def _outside(results: Results, failures: Sequence[Outcome]) -> str:
    """Where a threshold lies that the learning rates tried do not hold."""
    rates = Rates([trial.attempt for trial in results.trials], failures)
    if not rates.where("work"):
        return "cannot tell: training works at none"
    if max(rates.shares.values()) < 0.5:
        return "above the highest tried"
    return "cannot tell: the share does not rise through one half"


def _interval(threshold: FailureThreshold, total: int) -> str:
    low, high = threshold.low, threshold.high
    if low is None and high is None and total < FEWEST_SEEDS:
        return f"{_lr(threshold.estimate)} (no bounds: too few seeds)"
    low_text = "below the lowest tried" if low is None else _lr(low)
    high_text = "above the highest tried" if high is None else _lr(high)
    return f"{_lr(threshold.estimate)} [{low_text}, {high_text}]"


def _remarks(results: Results) -> list[Table | str]:
    remarks: list[Table | str] = []
    if results.falls_again:
        low, high = results.falls_again
        remarks.append(
            f"The share of failures falls again between {_lr(low)} and {_lr(high)}: there is no "
            "single threshold."
        )
    best = [trial for trial in results.trials if trial.lr == results.best_lr]
    if overconfident := sum(trial.overconfident for trial in best):
        remarks.append(
            f"Overconfident: {overconfident} of {len(best)} seeds at {_lr(results.best_lr)}, the "
            "learning rate at which most is learned, have learned at a train loss above that of a "
            "constant guess. Scaled inputs (--normalize unit) may put that right."
        )
    if results.nan_rule_divergent_lr is None and results.first_divergent_lr is not None:
        remarks.append(
            "A rule that looks for NaN alone finds no divergent learning rate in these trials."
        )
    if seeds := results.non_monotone_seeds:
        total = len({trial.seed for trial in results.trials})
        names = "seed" if len(seeds) == 1 else "seeds"
        shown = ", ".join(map(str, seeds[:10])) + ("…" if len(seeds) > 10 else "")
        remarks.append(
            f"{len(seeds)} of {total} seeds ({names} {shown}) train at a learning rate above one "
            "at which they fail."
        )
    return remarks


def _lr(lr: float | None) -> str:
    return "none" if lr is None else f"{lr:.3g}"


def _quartiles(
    results: Results, lr: float, key: Literal["train_loss", "train_accuracy", "information"]
) -> list[float]:
    """Quartiles over the seeds of a learning rate; NaN for the worst, what is not finite."""
    worst = math.inf if key == "train_loss" else -math.inf
    values = [getattr(trial, key) for trial in results.trials if trial.lr == lr]
    found = quartiles([worst if value is None else value for value in values])
    return [value if math.isfinite(value) else math.nan for value in found]


def draw(config: Config, results: Results) -> dict[str, Figure]:
    """Losses, accuracies, the share of each outcome, and of failures, by learning rate."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, NullLocator

    figure = Figure(figsize=(9, 12), layout="constrained")
    losses, accuracies, outcomes, failures = figure.subplots(
        4, 1, sharex=True, height_ratios=(3, 2, 1.2, 2)
    )
    _draw_losses(losses, results)
    _draw_trials(accuracies, results, "train_accuracy", edge=0.0)
    accuracies.set_ylim(-0.03, 1.03)
    accuracies.set_ylabel("train accuracy")
    _draw_outcomes(outcomes, results)
    _draw_failures(failures, results.rates)
    for axis in (losses, accuracies, failures):
        _draw_marks(axis, results)
        axis.grid(alpha=0.3)
    lrs = _apart([rate.lr for rate in results.rates])
    failures.set_xscale("log")
    failures.set_xticks(lrs, [f"{lr:.3g}" for lr in lrs], rotation=45, ha="right")
    failures.xaxis.set_minor_locator(NullLocator())
    failures.xaxis.set_minor_formatter(NullFormatter())
    failures.set_xlabel("learning rate")
    epochs = "one epoch" if config.epochs == 1 else f"{config.epochs} epochs"
    num_seeds = len({trial.seed for trial in results.trials})
    seeds = "one seed" if num_seeds == 1 else f"{num_seeds} seeds"
    figure.suptitle(
        f"Where training fails: {dataset_label(config)}, {network_label(config)}, "
        f"{optimizer_label(config)}\n"
        f"{epochs}, {seeds} a learning rate",
        parse_math=False,  # a $ in the name of a folder is a $
    )
    handles, labels = losses.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small")
    return {"lr_sweep": figure}


def _apart(lrs: list[float]) -> list[float]:
    """Those whose labels do not cover that of the one before."""
    apart = lrs[:1]
    for lr in lrs[1:]:
        if math.log(lr / apart[-1]) > math.log(lrs[-1] / lrs[0]) / 30:
            apart.append(lr)
    return apart


def _draw_losses(axis: Axes, results: Results) -> None:
    guess = results.constant_guess_loss
    losses = [trial.train_loss for trial in results.trials] + [guess]
    positive = [min(max(loss, _TINY), LARGEST_DRAWN) for loss in losses if loss] or [1.0]
    # A few losses that have exploded do not hide all others.
    usual = [
        guess or 1.0,
        *(_quartiles(results, rate.lr, "train_loss")[2] for rate in results.rates),
    ]
    typical = max(loss for loss in usual if not math.isnan(loss))
    bottom = min(positive) / 2
    top = 2 * max(bottom, min(max(positive), 100 * typical))
    _draw_trials(axis, results, "train_loss", edge=top, limits=(bottom, top))
    if guess is not None:
        axis.axhline(
            max(guess, _TINY), color="#444444", ls=":", label=f"constant guess ({guess:.3f})"
        )
    log_scale(axis, "y")
    axis.set_ylabel("train loss at the end,\nor when found dead (nats)")


def _draw_trials(
    axis: Axes,
    results: Results,
    key: Literal["train_loss", "train_accuracy"],
    edge: float,
    limits: tuple[float, float] = (0.0, math.inf),
) -> None:
    """Every trial, and the quartiles over the seeds.

    What is not finite is drawn at the edge; what is outside of the limits, such as a loss of 0 on a
    logarithmic axis, at the nearer of them.
    """
    low, high = limits
    seeds = sorted({trial.seed for trial in results.trials})
    for outcome, (marker, colour, label) in _OUTCOMES.items():
        trials = [trial for trial in results.trials if trial.outcome == outcome]
        if not trials:
            continue
        # A seed has the same small offset at every learning rate, so that dots do not hide dots.
        middle = (len(seeds) - 1) / 2
        shifts = [1.04 ** ((seeds.index(t.seed) - middle) / max(1, middle)) for t in trials]
        values = [getattr(trial, key) for trial in trials]
        axis.scatter(
            [trial.lr * shift for trial, shift in zip(trials, shifts, strict=True)],
            [edge if value is None else min(max(value, low), high) for value in values],
            marker=marker,
            s=28,
            color=colour,
            alpha=0.6,
            linewidths=0,
            label=f"one seed, {label}",
        )
    lrs = [rate.lr for rate in results.rates]
    lower, median, upper = np.clip([_quartiles(results, lr, key) for lr in lrs], low, high).T
    axis.plot(lrs, median, color="#444444", label="median" if len(seeds) > 1 else None)
    if len(seeds) > 1:
        axis.fill_between(lrs, lower, upper, color="#444444", alpha=0.15, lw=0, label="quartiles")


def _draw_outcomes(axis: Axes, results: Results) -> None:
    """The share of each outcome, stacked, around each learning rate."""
    lrs = np.array([rate.lr for rate in results.rates])
    # Each bar reaches halfway to its neighbours.
    middles = np.sqrt(lrs[1:] * lrs[:-1])
    ratio = middles[0] / lrs[0] if len(middles) else 1.2
    last = lrs[-1] / middles[-1] if len(middles) else 1.2
    edges = np.array([lrs[0] / ratio, *middles, lrs[-1] * last])
    bottom = np.zeros(len(lrs))
    for outcome, (_, colour, _) in _OUTCOMES.items():
        found = [[t.outcome for t in results.trials if t.lr == lr] for lr in lrs]
        shares = np.array([of_lr.count(outcome) / len(of_lr) for of_lr in found])
        axis.bar(
            edges[:-1],
            shares,
            np.diff(edges),
            bottom,
            align="edge",
            color=colour,
            edgecolor="#FFFFFF",
            linewidth=0.8,
        )
        bottom += shares
    axis.set_ylim(0, 1)
    axis.set_ylabel("share of\neach outcome")


def _draw_failures(axis: Axes, rates: list[FailureRate]) -> None:
    """The share that fails at each learning rate, and the monotone curve through them."""
    lrs = [rate.lr for rate in rates]
    failed = np.array([rate.failed for rate in rates])
    total = np.array([rate.total for rate in rates])
    ends = np.array([[rate.low, rate.high] for rate in rates]).T
    shares = failed / total
    axis.errorbar(lrs, shares, yerr=np.abs(ends - shares), fmt="s", color="#444444", capsize=4)
    axis.plot(lrs, monotone_shares(failed, total), color="#D55E00")
    # Where a share that never falls can lie, if each interval holds it.
    low, high = np.maximum.accumulate(ends[0]), np.minimum.accumulate(ends[1][::-1])[::-1]
    axis.fill_between(lrs, low, high, where=low <= high, color="#D55E00", alpha=0.12, lw=0)
    axis.axhline(0.5, color="#444444", lw=0.8, ls=":")
    axis.set_ylim(-0.05, 1.05)
    axis.set_ylabel("share of seeds that fail\n(95 % interval, monotone fit)")


def _draw_marks(axis: Axes, results: Results) -> None:
    """The bracket, the threshold with its interval, and the recommendation; 2/λ beside them."""
    if results.last_stable_lr is not None and results.first_divergent_lr is not None:
        axis.axvspan(
            results.last_stable_lr,
            results.first_divergent_lr,
            facecolor="none",
            edgecolor="#999999",
            hatch="///",
            lw=0,
            zorder=0,
            label="last stable to first divergent",
        )
    if threshold := results.threshold_lr:
        # An open end reaches to the last learning rate tried.
        low = results.rates[0].lr if threshold.low is None else threshold.low
        high = results.rates[-1].lr if threshold.high is None else threshold.high
        axis.axvspan(low, high, color="#D55E00", alpha=0.2, lw=0)
        label = f"half of the seeds fail ({threshold.estimate:.3g}), 95 % interval"
        axis.axvline(threshold.estimate, color="#D55E00", label=label)
    if results.recommended_lr is not None:
        label = f"recommended ({results.recommended_lr:.3g})"
        axis.axvline(results.recommended_lr, color="#009E73", ls="--", lw=2, label=label)
    if results.sharpness is not None:
        _draw_sharpness(axis, results.sharpness)


def _draw_sharpness(axis: Axes, sharpness: Sharpness) -> None:
    for lr, when, style in (
        (sharpness.two_over_start, "at the start", ":"),
        (sharpness.two_over_max, "at its largest λ after that", "-."),
    ):
        if lr is not None:
            label = f"2/λ {when} ({lr:.3g}), seed {sharpness.seed}"
            axis.axvline(lr, color="#000000", ls=style, lw=1.5, label=label)
