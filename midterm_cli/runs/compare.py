"""Finished runs side by side: a table, and for training the curves in one figure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from midterm_cli.config.resolve import plain
from midterm_cli.errors import UserError
from midterm_cli.part3.averaging import METRICS
from midterm_cli.run import document
from midterm_cli.text import aligned, did_you_mean, printable, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABEL_LENGTH = 100  # characters that a legend as wide as the figure has room for

Row = dict[str, Any]


@dataclass(frozen=True)
class Curve:
    """Means over seeds, pass by pass, of one kind of weights of a run.

    Attributes:
        gamma: of the average; None for the raw weights.
        passes: at which it was measured.
        means: metric → a value a pass, over the seeds that are finite there; NaN where none is.
    """

    gamma: float | None
    passes: Sequence[int]
    means: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class ComparedRun:
    """What a comparison takes from a run.

    Attributes:
        name: its folder, ready to print.
        experiment: its name.
        config: plain data.
        rows: what it adds to the table: for training a row for each kind of weights, for a sweep
            one row.
        curves: for training: the raw weights, then each average, from the run's first shown pass.
    """

    name: str
    experiment: str
    config: Mapping[str, Any]
    rows: Sequence[Row]
    curves: Sequence[Curve]


@dataclass(frozen=True)
class Comparison:
    """Runs of one experiment.

    Attributes:
        runs: sorted by the key `by` if there is one, else in the order given.
        by: the key that the runs are compared by, or None.
        keys: `by`, then the config keys in which the runs differ.
    """

    runs: Sequence[ComparedRun]
    by: str | None
    keys: Sequence[str]

    @property
    def has_curves(self) -> bool:
        """Whether there is a figure to draw."""
        return any(run.curves for run in self.runs)

    def document(self) -> dict[str, Any]:
        """The table as plain data for JSON, with full precision."""
        return {
            "experiment": self.runs[0].experiment,
            "by": self.by,
            "rows": [
                {"run": run.name, "config": {key: run.config.get(key) for key in self.keys}, **row}
                for run in self.runs
                for row in run.rows
            ],
        }

    def table(self) -> str:
        """The table as aligned text; the run, which may be long, comes last."""
        header = [*map(printable, self.keys), *self.runs[0].rows[0], "run"]
        lines = [
            [
                *(_value(run.config.get(key)) for key in self.keys),
                *map(_cell, row.values()),
                run.name,
            ]
            for run in self.runs
            for row in run.rows
        ]
        return aligned([header, *lines], ">" * (len(header) - 1))

    def labels(self) -> list[str]:
        """A label for each run: what sets its config apart, or else its folder."""
        settings = [
            ", ".join(f"{printable(key)} = {_value(run.config.get(key))}" for key in self.keys)
            for run in self.runs
        ]
        fitting = [text if len(text) <= _LABEL_LENGTH else "" for text in settings]
        full = [
            text if text and fitting.count(text) == 1 else f"{text} run {run.name}".strip()
            for text, run in zip(fitting, self.runs, strict=True)
        ]
        return [
            text if len(text) <= _LABEL_LENGTH else f"…{text[-_LABEL_LENGTH:]}" for text in full
        ]


def compare(paths: Sequence[Path], by: str | None = None) -> Comparison:
    """Read finished runs and find out in what they differ.

    Args:
        paths: run folders, or their metrics.json; at least one.
        by: the config key to sort by and to show first. Without it: the one key in which the runs
            differ, if it is a single one.

    Raises:
        UserError: a run is not there, damaged, or of another experiment; no run has the key `by`.
    """
    runs = [_read(path) for path in paths]
    odd = next((run for run in runs if run.experiment != runs[0].experiment), None)
    if odd:
        raise UserError(
            f"{runs[0].name} is a run of {runs[0].experiment}, but {odd.name} of {odd.experiment}: "
            "compare runs of one experiment"
        )
    known = list(dict.fromkeys(key for run in runs for key in run.config))
    if by is not None and by not in known:
        raise UserError(f"no run has the key '{printable(by)}': {did_you_mean(by, known)}")
    differing = [
        key for key in known if any(run.config.get(key) != runs[0].config.get(key) for run in runs)
    ]
    if by is None and len(differing) == 1:
        by = differing[0]
    if by is not None:
        runs.sort(key=lambda run: _order(run.config.get(by)))
    keys = ([] if by is None else [by]) + [key for key in differing if key != by]
    return Comparison(runs, by, keys)


def _read(path: Path) -> ComparedRun:
    run = document.read(path)
    name, experiment = run.name, run.experiment.name
    if experiment not in _ROWS:
        raise UserError(
            f"{name} is a run of {shown(experiment)}: only runs of {' and '.join(_ROWS)} "
            "can be compared"
        )
    config, results = plain(run.config), run.document["results"]
    try:
        rows = _ROWS[experiment](results)
        if not rows:
            raise ValueError("it has no results")
        curves = _curves(config, results) if experiment == "train" else []
        return ComparedRun(name, experiment, dict(config), rows, curves)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Strict JSON, but not what a run of this experiment writes.
        raise UserError(
            f"{name} is damaged ({type(error).__name__}: {printable(error)})\n"
            "make the run again with --force"
        ) from error


def _train_rows(results: Mapping[str, Any]) -> list[Row]:
    """Mean, standard deviation and number of finite seeds of each metric after the last pass."""
    outcomes = [entry["outcome"] for entry in results["outcomes"]]
    verdict = {
        "outcome": str(results["outcome"]),
        "trained": f"{outcomes.count('trained')}/{len(outcomes)}",
    }
    return [
        {"weights": _weights_name(_number(entry["gamma"]))}
        | {metric: _statistic(entry[metric]) for metric in METRICS}
        | verdict
        for entry in results["final"]["weights"]
    ]


def _statistic(entry: Mapping[str, Any]) -> Row:
    return {key: _number(entry[key]) for key in ("mean", "sd", "total")}


def _number(value: Any) -> Any:
    """A number of a run's results, or null.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise TypeError(f"{shown(value)} is not a number")
    return value


def _weights_name(gamma: float | None) -> str:
    return "raw" if gamma is None else f"ema_{gamma!r}"


def _sweep_rows(results: Mapping[str, Any]) -> list[Row]:
    threshold = results["threshold_lr"] or dict.fromkeys(("estimate", "low", "high"))
    row = {
        "last_stable_lr": results["last_stable_lr"],
        "first_divergent_lr": results["first_divergent_lr"],
        "threshold_lr": threshold["estimate"],
        "threshold_low": threshold["low"],
        "threshold_high": threshold["high"],
        "recommended_lr": results["recommended_lr"],
    }
    return [{key: _number(value) for key, value in row.items()}]


_ROWS: dict[str, Callable[[Mapping[str, Any]], list[Row]]] = {
    "train": _train_rows,
    "lr_sweep": _sweep_rows,
}


def _curves(config: Mapping[str, Any], results: Mapping[str, Any]) -> list[Curve]:
    # As in the figure of the run itself: without its first passes, if there are any after them.
    first = min(config["skip_passes"] + 1, config["epochs"])
    shown_rows = [row for row in results["history"] if row["epoch"] >= first]
    passes = sorted({row["epoch"] for row in shown_rows})
    curves = []
    for gamma in dict.fromkeys(_number(row["gamma"]) for row in shown_rows):
        rows = [row for row in shown_rows if row["gamma"] == gamma]
        means = {
            metric: [
                _finite_mean(row[metric] for row in rows if row["epoch"] == epoch)
                for epoch in passes
            ]
            for metric in METRICS
        }
        curves.append(Curve(gamma, passes, means))
    return curves


def _finite_mean(values: Iterable[float | None]) -> float:
    finite = [value for value in values if value is not None]
    return fmean(finite) if finite else math.nan


# ---- text


def _order(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, then everything else by its text."""
    if isinstance(value, int | float):
        return False, value, ""
    return True, 0.0, _value(value)


def _value(value: Any) -> str:
    """A value of a config: text as it is, anything else as JSON without spaces."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return printable(text)


def _cell(value: Any) -> str:
    """A result: `-` for what is not there, a mean with its standard deviation."""
    if isinstance(value, Mapping):
        if value["mean"] is None:
            return "-"
        return _fixed(value["mean"]) + ("" if value["sd"] is None else f"±{_fixed(value['sd'])}")
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else _value(value)


def _fixed(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1e6 else f"{value:.3e}"


# ---- figure

_MARKERS = "os^DvPX*<>"
_AVERAGE_LINES = ("--", ":", "-.")
_TOP_OF_SCALE = 0.85  # the light end of a sequential scale cannot be seen on white
_LOG_FROM = 5  # ratio of the losses from which a linear axis would hide the small ones


def draw(comparison: Comparison) -> Figure:
    """Train and test, loss and accuracy, in one 2 × 2 figure.

    A colour and a marker a run, from dark to light in the order of the table; raw weights with
    solid lines and filled markers, averages with dashed lines and hollow ones.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    last = len(comparison.runs) - 1
    looks = [
        {
            "color": colormaps["viridis"](_TOP_OF_SCALE * place / max(1, last)),
            "marker": _MARKERS[place % len(_MARKERS)],
        }
        for place in range(last + 1)
    ]
    for axis, metric in zip(axes.T.flat, METRICS, strict=True):
        for place, (run, look) in enumerate(zip(comparison.runs, looks, strict=True)):
            _draw_run(axis, run, metric, look, place)
        _finish(axis, metric)
    for axis in axes[1]:
        axis.set_xlabel("pass")
    by = "" if comparison.by is None else f" by {printable(comparison.by)}"
    title = f"Training compared{by}: mean over the seeds that are finite"
    figure.suptitle(title, parse_math=False)
    _add_legend(figure, comparison, looks)
    return figure


def _draw_run(
    axis: Axes, run: ComparedRun, metric: str, look: Mapping[str, Any], place: int
) -> None:
    for which, curve in enumerate(run.curves):
        # Each run has its markers at other passes, so that they do not hide each other.
        step = max(1, len(curve.passes) // 5)
        every = (place % step, step)
        axis.plot(curve.passes, curve.means[metric], **look, **_style(which), markevery=every)


def _style(which: int) -> dict[str, Any]:
    """Line and marker of the raw weights (0) or of an average (1, 2, …)."""
    if which == 0:
        return {"linestyle": "-", "markersize": 5}
    line = _AVERAGE_LINES[(which - 1) % len(_AVERAGE_LINES)]
    return {"linestyle": line, "markersize": 5, "markerfacecolor": "white"}


def _finish(axis: Axes, metric: str) -> None:
    """Labels, grid and scales of a panel."""
    import numpy as np
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    axis.set_ylabel(METRICS[metric])
    axis.grid(alpha=0.3)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    drawn = [y for line in axis.lines for y in np.asarray(line.get_ydata()) if y > 0]  # no NaN
    if metric.endswith("loss") and drawn and max(drawn) > _LOG_FROM * min(drawn):
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())


def _add_legend(figure: Figure, comparison: Comparison, looks: Sequence[Mapping[str, Any]]) -> None:
    """Runs, then kinds of weights, below the panels, where they hide no data."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], **look, **_style(0), label=label)
        for look, label in zip(looks, comparison.labels(), strict=True)
    ]
    handles += [
        Line2D([], [], color="black", marker="o", **_style(which), label=label)
        for which, label in enumerate(_weights_labels(comparison.runs))
    ]
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(5, 110 // (longest + 8)))
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a $ in the name of a folder is a $


def _weights_labels(runs: Sequence[ComparedRun]) -> list[str]:
    """The raw weights, and each average with its γ where the runs share it."""
    labels = ["raw weights"]
    for which in range(1, max(len(run.curves) for run in runs)):
        gammas = {run.curves[which].gamma for run in runs if which < len(run.curves)}
        shared = f"γ = {gammas.pop():g}" if len(gammas) == 1 else f"the run's γ number {which}"
        labels.append(f"average, {shared}")
    return labels
