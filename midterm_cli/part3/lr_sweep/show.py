"""How a sweep is shown: a table, and the figure of losses and failures against learning rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from midterm_cli.experiment import Table
from midterm_cli.part3.lr_sweep.schema import Config, FailureRate, Results, Sharpness

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Shape and lightness both tell the outcomes apart.
_MARKERS = {
    "trained": ("o", "#0072B2", "trained"),
    "collapsed": ("X", "#D55E00", "collapsed"),
    "non_finite": ("^", "#000000", "not finite (drawn at the top)"),
}


def summarize(results: Results) -> list[Table | str]:
    """How often training fails at each learning rate, and the learning rates that follow."""
    columns = ("learning rate", "failed", "95 % interval", "collapsed", "not finite", "median loss")
    rows = [
        [
            f"{rate.lr:.3g}",
            f"{rate.failed} of {rate.total}",
            f"[{rate.low:.2f}, {rate.high:.2f}]",
            str(rate.collapsed),
            str(rate.non_finite),
            _median_loss(results, rate.lr),
        ]
        for rate in results.rates
    ]
    lines: list[Table | str] = [Table("How often training fails", columns, rows)]
    if threshold := results.threshold_lr:
        lines.append(
            f"Last stable {_lr(results.last_stable_lr)}, first divergent "
            f"{_lr(results.first_divergent_lr)}; half of the seeds fail at "
            f"{threshold.estimate:.3g} [{threshold.low:.3g}, {threshold.high:.3g}]."
        )
        lines.append(f"Recommended for training: {_lr(results.recommended_lr)}.")
    if sharpness := results.sharpness:
        lines.append(
            f"2/λ, λ the largest Hessian eigenvalue of seed {sharpness.seed} at the recommended "
            f"learning rate: {_lr(sharpness.two_over_start)} at the start, "
            f"{_lr(sharpness.two_over_max)} at the largest λ after it."
        )
    if results.nan_rule_divergent_lr is None and results.first_divergent_lr is not None:
        lines.append(
            "A rule that looks for NaN alone finds no divergent learning rate in these trials."
        )
    if results.non_monotone_seeds:
        seeds = ", ".join(map(str, results.non_monotone_seeds))
        lines.append(f"Seeds that train above a learning rate at which they fail: {seeds}.")
    return lines


def _lr(lr: float | None) -> str:
    return "none" if lr is None else f"{lr:.3g}"


def _losses(results: Results, lr: float) -> list[float]:
    """Final train losses at a learning rate; infinite where not finite, so that they sort last."""
    losses = [trial.train_loss for trial in results.trials if trial.lr == lr]
    return [math.inf if loss is None else loss for loss in losses]


def _median_loss(results: Results, lr: float) -> str:
    median = quartiles(_losses(results, lr))[1]
    return "not finite" if math.isnan(median) else f"{median:.3f}"


def quartiles(losses: Sequence[float]) -> list[float]:
    """Quartiles, the median the usual one; NaN, a gap in the figure, where not finite.

    Each is the loss that a share of the seeds does not exceed; the mean of two where two divide
    the seeds so.
    """
    ranked = sorted(losses)
    found = []
    for share in (0.25, 0.5, 0.75):
        rank = share * len(ranked)
        quartile = ranked[math.ceil(rank) - 1] / 2 + ranked[math.floor(rank)] / 2
        found.append(quartile if math.isfinite(quartile) else math.nan)
    return found


def draw(config: Config, results: Results) -> dict[str, Figure]:
    """Final losses above, the share of failures with its interval below."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, NullLocator

    figure = Figure(figsize=(9, 8), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _draw_losses(upper, results)
    _draw_failures(lower, results.rates)
    for axis in (upper, lower):
        _draw_bracket(axis, results)
        axis.grid(alpha=0.3)
    lrs = {rate.lr for rate in results.rates}
    if results.recommended_lr is not None:
        lrs.add(results.recommended_lr)
    lower.set_xscale("log")
    lower.set_xticks(sorted(lrs), [f"{lr:.3g}" for lr in sorted(lrs)], rotation=45, ha="right")
    lower.xaxis.set_minor_locator(NullLocator())
    lower.xaxis.set_minor_formatter(NullFormatter())
    lower.set_xlabel("learning rate")
    epochs = "one epoch" if config.epochs == 1 else f"{config.epochs} epochs"
    figure.suptitle(
        f"Where training fails: {config.dataset}, {config.activation}, {epochs}, "
        f"{len({trial.seed for trial in results.trials})} seeds a learning rate",
        parse_math=False,  # a $ in the name of a folder is a $
    )
    handles, labels = upper.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small")
    return {"lr_sweep": figure}


def _draw_losses(axis: Axes, results: Results) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    guess = results.constant_guess_loss
    losses = [trial.train_loss for trial in results.trials] + [guess]
    top = 2 * max((loss for loss in losses if loss is not None), default=1.0)
    seeds = sorted({trial.seed for trial in results.trials})
    for outcome, (marker, colour, label) in _MARKERS.items():
        trials = [trial for trial in results.trials if trial.outcome == outcome]
        if not trials:
            continue
        # A seed has the same small offset at every learning rate, so that dots do not hide dots.
        shifts = [1.04 ** (2 * seeds.index(t.seed) / max(1, len(seeds) - 1) - 1) for t in trials]
        axis.scatter(
            [trial.lr * shift for trial, shift in zip(trials, shifts, strict=True)],
            [top if trial.train_loss is None else trial.train_loss for trial in trials],
            marker=marker,
            s=28,
            color=colour,
            alpha=0.6,
            linewidths=0,
            label=f"one seed, {label}",
        )
    lrs = [rate.lr for rate in results.rates]
    low, median, high = np.array([quartiles(_losses(results, lr)) for lr in lrs]).T
    axis.plot(lrs, median, color="#444444", label="median")
    axis.fill_between(lrs, low, high, color="#444444", alpha=0.15, lw=0, label="quartiles")
    if guess is not None:
        axis.axhline(guess, color="#444444", ls=":", label=f"constant guess ({guess:.3f})")
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_ylabel("train loss at the end,\nor when found dead (nats)")


def _draw_failures(axis: Axes, rates: Sequence[FailureRate]) -> None:
    shares = np.array([rate.failed / rate.total for rate in rates])
    ends = np.array([[rate.low, rate.high] for rate in rates]).T
    lrs = [rate.lr for rate in rates]
    axis.errorbar(lrs, shares, yerr=np.abs(ends - shares), fmt="s", color="#444444", capsize=4)
    axis.axhline(0.5, color="#444444", lw=0.8, ls=":")
    axis.set_ylim(-0.05, 1.05)
    axis.set_ylabel("share of seeds that fail\n(95 % interval)")


def _draw_bracket(axis: Axes, results: Results) -> None:
    """The bracket, the threshold with its interval, and the recommendation; 2/λ beside them."""
    threshold = results.threshold_lr
    if (
        threshold is None
        or results.last_stable_lr is None
        or results.first_divergent_lr is None
        or results.recommended_lr is None
    ):
        return
    axis.axvspan(
        results.last_stable_lr,
        results.first_divergent_lr,
        color="#e8e8e8",
        lw=0,
        zorder=0,
        label="last stable to first divergent",
    )
    axis.axvspan(threshold.low, threshold.high, color="#D55E00", alpha=0.25, lw=0)
    axis.axvline(
        threshold.estimate, color="#D55E00", label="half of the seeds fail (95 % interval)"
    )
    axis.axvline(results.recommended_lr, color="#009E73", ls="--", lw=2, label="recommended")
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
