"""Several sweeps in one figure: how often training fails, and where half of the seeds do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from midterm_cli.figure import log_scale, plain
from midterm_cli.part3.lr_sweep.schema import FailureThreshold, Results
from midterm_cli.part3.threshold import monotone_shares
from midterm_cli.runs.compare import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "os^DvPX*<>"
_TOP_OF_SCALE = 0.85  # the light end of a sequential scale cannot be seen on white


@plain()
def draw(comparison: Comparison) -> Figure:
    """Above, the share of seeds that fail; below, the thresholds with their 95 % intervals.

    A colour and a marker for each sweep, from dark to light in the order of the table. An end of an
    interval that the trials leave open has no cap, and reaches to the last learning rate tried.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    found = [run.results for run in comparison.runs if isinstance(run.results, Results)]
    labels = comparison.labels()
    figure = Figure(figsize=(10, 5 + 0.35 * len(found)), layout="constrained")
    shares, thresholds = figure.subplots(
        2, 1, sharex=True, height_ratios=(4, 0.8 + 0.35 * len(found))
    )
    for place, results in enumerate(found):
        colour = colormaps["viridis"](_TOP_OF_SCALE * place / max(1, len(found) - 1))
        marker = _MARKERS[place % len(_MARKERS)]
        lrs = [rate.lr for rate in results.rates]
        failed = np.array([rate.failed for rate in results.rates])
        total = np.array([rate.total for rate in results.rates])
        shares.plot(lrs, failed / total, linestyle="none", marker=marker, color=colour)
        shares.plot(lrs, monotone_shares(failed, total), color=colour)
        _draw_threshold(thresholds, place, results.threshold_lr, lrs, colour, marker)
    shares.axhline(0.5, color="#444444", lw=0.8, ls=":")
    shares.set(ylim=(-0.05, 1.05), ylabel="share of seeds that fail")
    thresholds.set_yticks(range(len(found)), labels, parse_math=False)
    thresholds.set(
        ylim=(len(found) - 0.5, -0.5), xlabel="learning rate: half of the seeds fail there (95 %)"
    )
    log_scale(thresholds, "x")
    for axis in (shares, thresholds):
        axis.grid(alpha=0.3)
    figure.suptitle("Where training fails: shares, and the monotone curve through them")
    return figure


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
