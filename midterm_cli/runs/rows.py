"""Results as rows, one an observation, for a spreadsheet or a data frame."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from midterm_cli import markdown
from midterm_cli.config.resolve import plain
from midterm_cli.errors import UserError
from midterm_cli.experiment import Record, Results
from midterm_cli.runner.document import Run, to_json
from midterm_cli.text import aligned, did_you_mean, printable

Row = Mapping[str, Any]

SCALARS = "results"
"""The table that every run has: its single numbers, in one row."""


_WIDEST = 20  # characters of a cell


def tables(results: Results) -> dict[str, list[Row]]:
    """The tables in results, by name, that of the experiment's observations first.

    A list of records is a table, such as `history`; so are lists of numbers that are equally long
    (`values`: y, f, derivative, …), and the single numbers and words (`results`, one row).
    """
    found: dict[str, list[Row]] = {}
    columns: dict[str, list[Any]] = {}
    single: dict[str, Any] = {}
    for key, value in results:
        if isinstance(value, list) and value and all(isinstance(it, Record) for it in value):
            found[key] = [dict(_flat(record.model_dump(mode="json"))) for record in value]
        elif isinstance(value, list) and len(value) > 1 and all(map(_is_number, value)):
            columns[key] = value
        elif not isinstance(value, list | Record):
            single[key] = value
    longest = max(map(len, columns.values()), default=0)
    alike = {key: values for key, values in columns.items() if len(values) == longest}
    if len(alike) > 1:
        found["values"] = [
            dict(zip(alike, row, strict=True)) for row in zip(*alike.values(), strict=True)
        ]
    found[SCALARS] = [single]
    first = results.OBSERVATIONS
    return {first: found.pop(first), **found} if first in found else found


def observations(runs: Sequence[Run], table: str | None = None) -> list[Row]:
    """The rows of one table of each run, in one.

    Args:
        runs: of one experiment, at least one.
        table: its name; None for the first of the first run.

    Returns:
        Rows with the same keys: `run`, then `config.KEY` for each key in which the runs differ,
        then those of the table; None where a row has none.

    Raises:
        UserError: the runs are of several experiments, or one has no such table.
    """
    differing = differing_keys(runs)
    rows: list[Row] = []
    name = next(iter(tables(runs[0].results))) if table is None else table
    for run in runs:
        found = tables(run.results)
        if name not in found:
            raise UserError(
                f"{run.name} has no table '{printable(name)}': {did_you_mean(name, found)}"
            )
        config = plain(run.config)
        own: dict[str, Any] = {"run": str(run.folder)} | {
            f"config.{key}": config[key] for key in differing
        }
        rows += [own | dict(row) for row in found[name]]
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return [{key: row.get(key) for key in keys} for row in rows]


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """The config keys in which runs of one experiment differ, in the order of the config.

    Raises:
        UserError: they are of several experiments.
    """
    first = runs[0]
    odd = next((run for run in runs if run.experiment != first.experiment), None)
    if odd:
        raise UserError(
            f"{first.name} is a run of {first.experiment.name}, but {odd.name} of "
            f"{odd.experiment.name}: give runs of one experiment"
        )
    configs = [plain(run.config) for run in runs]
    return [key for key in configs[0] if any(it[key] != configs[0][key] for it in configs)]


def written(rows: Sequence[Row], form: Literal["csv", "json", "md"]) -> str:
    """Rows with the same keys as text.

    In CSV and Markdown null is empty, and a list or mapping is JSON on one line.
    """
    if form == "json":
        return to_json([dict(row) for row in rows])
    columns = list(rows[0]) if rows else []
    cells = [[_cell(row[key]) for key in columns] for row in rows]
    if form == "md":
        return markdown.table(cells, columns) + "\n"
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([columns, *cells])
    return out.getvalue()


def text(rows: Sequence[Row]) -> str:
    """Rows with the same keys as aligned text.

    Columns that are too wide for it are left out, but for those in which the runs differ.
    """
    cells = {key: [_short(row[key]) for row in rows] for key in rows[0] if key != "run"}
    narrow = {
        key: column
        for key, column in cells.items()
        if key.startswith("config.") or max(map(len, column)) <= _WIDEST
    }
    lines = [[printable(key) for key in narrow], *map(list, zip(*narrow.values(), strict=True))]
    names = ["run", *(printable(row["run"]) for row in rows)]
    return aligned(
        [[*line, name] for line, name in zip(lines, names, strict=True)], ">" * len(narrow)
    )


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else _cell(value) or "-"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | dict):
        return to_json(value, one_line=True)
    if isinstance(value, bool):
        return str(value).lower()
    return printable(value)


def _flat(values: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted keys."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{within}{key}.")
        else:
            yield within + key, value


def _is_number(value: object) -> bool:
    """Whether it is a number, or stands for one that is not finite."""
    return value is None or isinstance(value, int | float)
