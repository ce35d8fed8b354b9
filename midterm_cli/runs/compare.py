"""Finished runs side by side: what they have in common, in what they differ, and their results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from midterm_cli.config.resolve import plain
from midterm_cli.errors import UserError
from midterm_cli.markdown import table
from midterm_cli.part3.curves import weights_name
from midterm_cli.part3.lr_sweep import schema as lr_sweep
from midterm_cli.part3.schema import METRICS
from midterm_cli.part3.train import schema as train
from midterm_cli.runner import document
from midterm_cli.runner.document import Run
from midterm_cli.runs.find import expand
from midterm_cli.runs.rows import differing_keys
from midterm_cli.text import aligned, did_you_mean, printable

_LABEL_LENGTH = 100  # characters that a legend as wide as the figure has room for

Cell = train.OverSeeds | float | str | None
Row = Mapping[str, Cell]
_Line = TypeVar("_Line", bound=Mapping[str, Any])


@dataclass(frozen=True)
class Comparison:
    """Runs of one experiment.

    Attributes:
        runs: sorted by the key `by` if there is one, else in the order given.
        rows: for each run what it adds to the table: for training a row for each kind of weights,
            for a sweep one row.
        by: the key that the runs are compared by, or None.
        keys: `by`, then the config keys in which the runs differ.
    """

    runs: Sequence[Run]
    rows: Sequence[Sequence[Row]]
    by: str | None
    keys: Sequence[str]

    @property
    def trainings(self) -> list[tuple[train.Config, train.Results]]:
        """Config and results of the runs that have training curves."""
        return [
            (run.config, run.results)
            for run in self.runs
            if isinstance(run.config, train.Config) and isinstance(run.results, train.Results)
        ]

    def document(self) -> dict[str, Any]:
        """The table as plain data for JSON, with full precision."""
        return {
            "experiment": self.runs[0].experiment.name,
            "by": self.by,
            "rows": [
                {"run": run.name, "config": self._settings(run)}
                | {
                    key: cell.model_dump() if isinstance(cell, train.OverSeeds) else cell
                    for key, cell in row.items()
                }
                for run, rows in zip(self.runs, self.rows, strict=True)
                for row in rows
            ],
        }

    def lines(self) -> list[dict[str, Any]]:
        """The table with a column for each number: mean, standard deviation, number of seeds."""
        return [
            {"run": str(run.folder)} | self._settings(run) | _columns(row)
            for run, rows in zip(self.runs, self.rows, strict=True)
            for row in rows
        ]

    def table(self, lines: Sequence[Mapping[str, Any]]) -> str:
        """Lines as aligned text."""
        columns, cells = self._cells(lines)
        return aligned([columns, *cells], ">" * (len(columns) - 1))

    def markdown(self, lines: Sequence[Mapping[str, Any]]) -> str:
        """Lines as a table of Markdown."""
        columns, cells = self._cells(lines)
        return table(cells, columns) + "\n"

    def _cells(self, lines: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
        """Headings and cells for people; the run, which may be long, comes last."""
        shown = [_narrowed(line) for line in lines]
        columns = [key for key in shown[0] if key != "run"]
        header = ["sd" if key.endswith("_sd") else printable(key) for key in columns]
        cells = [
            [
                *(_value(line[key]) if key in self.keys else _cell(line[key]) for key in columns),
                printable(line["run"]),
            ]
            for line in shown
        ]
        return [*header, "run"], cells

    def labels(self) -> list[str]:
        """A label for each run: what sets its config apart, or else its folder."""
        settings = [
            ", ".join(
                f"{printable(key)} = {_value(value)}"
                for key, value in self._settings(run).items()
                if key not in run.config.idle()
            )
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

    def _settings(self, run: Run) -> dict[str, Any]:
        """The values of `keys` in the config of a run."""
        config = plain(run.config)
        return {key: config[key] for key in self.keys}


def compare(paths: Sequence[Path], by: str | None = None) -> Comparison:
    """Read finished runs and find out in what they differ.

    Args:
        paths: run folders, their metrics.json, or folders that hold some; at least one.
        by: the config key to sort by and to show first. Without it: the one key in which the runs
            differ, if it is a single one.

    Raises:
        UserError: a run is not there, damaged, or of another experiment; no run has the key `by`.
    """
    return compare_runs([document.read(path) for path in expand(paths)], by)


def compare_runs(runs: Sequence[Run], by: str | None = None) -> Comparison:
    """Find out in what runs differ: see `compare`."""
    compared = [(run, _rows(run)) for run in runs]
    differing = differing_keys(runs)
    known = plain(runs[0].config)
    if by is not None and by not in known:
        raise UserError(f"no run has the key '{printable(by)}': {did_you_mean(by, known)}")
    if by is None and len(differing) == 1:
        by = differing[0]
    if by is not None:
        compared.sort(key=lambda pair: _order(plain(pair[0].config)[by]))
    keys = ([] if by is None else [by]) + [key for key in differing if key != by]
    sorted_runs, rows = zip(*compared, strict=True)
    return Comparison(sorted_runs, rows, by, keys)


def is_comparable(run: Run) -> bool:
    """Whether a run is of an experiment whose runs can be compared."""
    return isinstance(run.results, train.Results | lr_sweep.Results)


def _rows(run: Run) -> list[Row]:
    if isinstance(run.results, train.Results):
        return _train_rows(run.results)
    if isinstance(run.results, lr_sweep.Results):
        return [_sweep_row(run.results)]
    raise UserError(
        f"{run.name} is a run of {run.experiment.name}: only runs of train and lr_sweep can be "
        "compared"
    )


def _train_rows(results: train.Results) -> list[Row]:
    """Mean, standard deviation and number of finite seeds of each metric after the last epoch."""
    outcomes = [entry.outcome for entry in results.outcomes]
    verdict: Row = {
        "outcome": results.outcome,
        "trained": f"{outcomes.count('trained')}/{len(outcomes)}",
    }
    return [
        {
            "weights": weights_name(entry.gamma),
            **{metric: getattr(entry, metric) for metric in METRICS},
            **verdict,
        }
        for entry in results.final.weights
    ]


def _sweep_row(results: lr_sweep.Results) -> Row:
    threshold = results.threshold_lr
    return {
        "last_stable_lr": results.last_stable_lr,
        "first_divergent_lr": results.first_divergent_lr,
        "threshold_lr": threshold.estimate if threshold else None,
        "threshold_low": threshold.low if threshold else None,
        "threshold_high": threshold.high if threshold else None,
        "recommended_lr": results.recommended_lr,
    }


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


def sort(lines: Sequence[_Line], key: str) -> list[_Line]:
    """Lines by a column, those without a value last.

    Args:
        lines: with the same keys.
        key: of the column; with a minus before it, the largest comes first.

    Raises:
        UserError: there is no such column.
    """
    name = key.removeprefix("-")
    name = "train_loss_n" if name == "n" and "train_loss_n" in lines[0] else name
    if name not in lines[0]:
        raise UserError(f"no column '{printable(name)}': {did_you_mean(name, lines[0])}")
    known = [line for line in lines if line[name] is not None]
    rest = [line for line in lines if line[name] is None]
    return sorted(known, key=lambda line: _order(line[name]), reverse=key.startswith("-")) + rest


def _columns(row: Row) -> dict[str, float | str | None]:
    """A row with a column for each number."""
    columns: dict[str, float | str | None] = {}
    for key, cell in row.items():
        if isinstance(cell, train.OverSeeds):
            columns |= {key: cell.mean, f"{key}_sd": cell.sd, f"{key}_n": cell.total}
        else:
            columns[key] = cell
    return columns


def _narrowed(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line with one number of seeds, n, where it is the same for each mean."""
    counts = [value for key, value in line.items() if key.endswith("_n")]
    if not counts:
        return dict(line)
    n = counts[0] if len(set(counts)) == 1 else ", ".join(map(str, counts))
    narrow = {key: value for key, value in line.items() if not key.endswith("_n")}
    place = list(narrow).index("outcome")
    items = list(narrow.items())
    return dict([*items[:place], ("n", n), *items[place:]])


def _cell(cell: Any) -> str:
    """A result: `-` for what is not there."""
    match cell:
        case None:
            return "-"
        case float():
            return f"{cell:.4g}"
    return printable(cell)
