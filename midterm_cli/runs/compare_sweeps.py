"""Several sweeps in one figure: how often training fails, and where half of the seeds do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from midterm_cli.config.resolve import plain
from midterm_cli.figure import log_scale, own_style
from midterm_cli.part3.lr_sweep.schema import FailureThreshold, Results
from midterm_cli.part3.threshold import monotone_shares
from midterm_cli.runs.compare import Comparison
from midterm_cli.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "os^DvPX*<>"
_MOST_TICKS = 12
_LOG_FROM = 5  # ratio of the numbers from which a linear axis would hide the small ones
_TOP_OF_SCALE = 0.85  # the light end of a sequential scale cannot be seen on white


@own_style()
def draw(comparison: Comparison) -> Figure:
    """Above, the share of seeds that fail; below, the thresholds with their 95 % intervals.

    A colour and a marker for each sweep, from dark to light in the order of the table. An end of an
    interval that the trials leave open has no cap, and reaches to the last learning rate tried.
    Where the sweeps are compared by a number, their thresholds are drawn against it as well.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    sweeps = [(run, run.results) for run in comparison.runs if isinstance(run.results, Results)]
    numbers = _numbers(comparison)
    heights = [4, 0.8 + 0.35 * len(sweeps), *([3] if numbers else [])]
    figure = Figure(figsize=(10, 0.3 + sum(heights)), layout="constrained")
    shares, thresholds, *against = figure.subplots(len(heights), 1, height_ratios=heights)
    shares.sharex(thresholds)
    for place, (_, results) in enumerate(sweeps):
        colour = colormaps["viridis"](_TOP_OF_SCALE * place / max(1, len(sweeps) - 1))
        marker = _MARKERS[place % len(_MARKERS)]
        lrs = [rate.lr for rate in results.rates]
        failed = np.array([rate.failed for rate in results.rates])
        total = np.array([rate.total for rate in results.rates])
        shares.plot(lrs, failed / total, linestyle="none", marker=marker, color=colour)
        shares.plot(lrs, monotone_shares(failed, total), color=colour)
        _draw_threshold(thresholds, place, results.threshold_lr, lrs, colour, marker)
        if numbers and results.threshold_lr:
            _draw_against(against[0], numbers[place], results.threshold_lr, lrs, colour, marker)
    shares.axhline(0.5, color="#444444", lw=0.8, ls=":")
    shares.set(ylim=(-0.05, 1.05), ylabel="share of seeds that fail")
    shares.tick_params(labelbottom=False)
    thresholds.set_yticks(range(len(sweeps)), comparison.labels(), parse_math=False)
    thresholds.set(
        ylim=(len(sweeps) - 0.5, -0.5), xlabel="learning rate: half of the seeds fail there (95 %)"
    )
    log_scale(thresholds, "x")
    for axis in against:
        axis.set_ylabel("half of the seeds\nfail there (95 %)")
        axis.set_xlabel(printable(comparison.by), parse_math=False)
        log_scale(axis, "y")
        if min(numbers) > 0 and max(numbers) > _LOG_FROM * min(numbers):
            log_scale(axis, "x")
        if len(set(numbers)) <= _MOST_TICKS:
            axis.set_xticks(numbers, [f"{number:g}" for number in numbers])
            axis.set_xticks([], minor=True)
    for axis in figure.axes:
        axis.grid(alpha=0.3)
    figure.suptitle("Where training fails: shares, and the monotone curve through them")
    return figure


def _numbers(comparison: Comparison) -> list[float]:
    """The values of the key that the sweeps are compared by; none where they are no numbers."""
    if comparison.by is None or len(comparison.runs) < 2:
        return []
    values = [plain(run.config)[comparison.by] for run in comparison.runs]
    are_numbers = all(isinstance(it, int | float) and not isinstance(it, bool) for it in values)
    return values if are_numbers and len(set(values)) > 1 else []


def _draw_against(
    axis: Axes,
    x: float,
    threshold: FailureThreshold,
    lrs: Sequence[float],
    colour: tuple[float, float, float, float],
    marker: str,
) -> None:
    low = lrs[0] if threshold.low is None else threshold.low
    high = lrs[-1] if threshold.high is None else threshold.high
    axis.plot([x, x], [low, high], color=colour)
    caps = [end for end in (threshold.low, threshold.high) if end is not None]
    axis.plot([x] * len(caps), caps, linestyle="none", marker="_", ms=12, color=colour)
    axis.plot(x, threshold.estimate, marker=marker, color=colour)


def _draw_threshold(
    axis: Axes,
    place: int,
    threshold: FailureThreshold | None,
    lrs: Sequence[float],
    colour: tuple[float, float, float, float],
    marker: str,
) -> None:
    if threshold is None:
        axis.plot(lrs[-1], place, linestyle="none")
        axis.annotate("no threshold", (lrs[-1], place), ha="right", va="center", color=colour)
        return
    low = lrs[0] if threshold.low is None else threshold.low
    high = lrs[-1] if threshold.high is None else threshold.high
    axis.plot([low, high], [place, place], color=colour)
    caps = [end for end in (threshold.low, threshold.high) if end is not None]
    axis.plot(caps, [place] * len(caps), linestyle="none", marker="|", ms=12, color=colour)
    axis.plot(threshold.estimate, place, marker=marker, color=colour)
