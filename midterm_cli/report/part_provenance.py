"""Where the numbers come from: each run's program, machine and time, and how to repeat it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from midterm_cli.report.document import (
    Block,
    Code,
    Commands,
    Heading,
    Notice,
    Paragraph,
    Prose,
    Section,
    Table,
    prose,
)
from midterm_cli.report.runs import Run, Runs

_COLUMNS = {
    "git_commit": "commit",
    "torch": "torch",
    "device": "device",
    "threads": "threads",
    "data_sha256": "data, SHA-256",
    "started_at": "date (UTC)",
    "wall_time_s": "seconds",
}
_LONG = {"git_commit": 10, "data_sha256": 10, "started_at": 10}


def provenance(runs: Runs) -> Section:
    """The table of runs, what could not be read, and the commands."""
    return Section("provenance", "Where the numbers come from", list(_blocks(runs)))


def _blocks(runs: Runs) -> Iterator[Block]:
    yield Paragraph(
        prose(
            "Every number of ours on this page is read from the metrics.json of one of these runs, "
            "or computed from it; every figure is drawn from it."
        )
    )
    for broken in runs.unusable:
        reason = prose("**Not read:** ", Code(str(broken.folder)), ": ", Code(broken.reason))
        yield Notice(reason)
    found = list(runs.by_preset.values())
    if not found:
        return
    yield Table(
        prose("The runs"),
        [prose(column) for column in ("question", *_COLUMNS.values())],
        [_row(run) for run in found],
    )
    yield Paragraph(
        prose(
            "The same config, seed and number of cores give the same numbers again on one machine, "
            "measured times aside; on another, means and intervals compare, digits do not."
        )
    )
    yield Heading("typed", "As they were typed")
    yield Commands("Commands of the runs", [_typed(run) for run in found])
    yield Heading("repeat", "To repeat these very runs")
    yield Commands("From their own configs", [run.repeat for run in found])


def _row(run: Run) -> list[Prose]:
    return [(Code(run.preset),), *(_cell(key, run.provenance.get(key)) for key in _COLUMNS)]


def _cell(key: str, found: Any) -> Prose:
    """A fact, shortened; `-dirty` stays, since it says that the commit is not all."""
    if found is None:
        return ()
    text = str(found)
    length = _LONG.get(key, 60)
    dirty = "-dirty" if text.endswith("-dirty") and len(text) > length else ""
    return (Code(text[:length] + dirty),)


def _typed(run: Run) -> str:
    return str(run.provenance.get("command", "not recorded"))
