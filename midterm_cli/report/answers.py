"""Blocks that every part is made of: what a run answers, or what stands in its place."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from midterm_cli.errors import UserError
from midterm_cli.experiment import Table as TerminalTable
from midterm_cli.registry import EXPERIMENTS
from midterm_cli.report.document import (
    Block,
    Code,
    Commands,
    Heading,
    Inline,
    Items,
    Notice,
    Plain,
    Prose,
    Strong,
    Table,
    prose,
)
from midterm_cli.report.runs import Run, Runs, command, experiment_of

# What reading the results of a file that somebody has changed may raise.
_DAMAGE = (UserError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


def answer(
    runs: Runs, presets: Sequence[str], build: Callable[..., Iterable[Block]]
) -> list[Block]:
    """What the runs of some presets answer together; where one is missing, its command.

    Args:
        runs: all that there are.
        presets: whose runs are needed.
        build: called with these runs, in this order.
    """
    missing = [preset for preset in presets if preset in runs.missing]
    if missing:
        return [_missing(preset) for preset in missing]
    found = [runs.by_preset[preset] for preset in presets]
    try:
        blocks = list(build(*found))
    except _DAMAGE as error:
        reservations = [notice for run in found for notice in _reservations(run)]
        if any(run.document.get("failed") for run in found):
            # Networks that leave the finite numbers have no loss, and leave no mean over seeds.
            missing_numbers = "**Not shown:** what is asked here, a failed run cannot tell."
            return [*reservations, Notice(prose(missing_numbers))]
        names = [Code(str(run.folder / "metrics.json")) for run in found]
        return [
            Notice(
                prose("**Damaged or incomplete:** ", *_listed(names), f" ({type(error).__name__})")
            )
        ]
    return [*(notice for run in found for notice in _reservations(run)), *blocks]


def _missing(preset: str) -> Notice:
    return Notice(prose("**Not computed yet.** Make it with ", Code(command(preset))))


def _listed(pieces: Sequence[Inline]) -> list[Inline]:
    """Pieces with commas between them."""
    return [part for piece in pieces for part in (Plain(", "), piece)][1:]


def _reservations(run: Run) -> list[Notice]:
    """What the reader must know before the numbers."""
    notices = []
    where = prose(" (", Code(str(run.folder)), ")")
    if "dataset" in run.changes:
        found = Code(str(run.changes["dataset"][1]))
        loud = Strong("Not the exercise's data:")
        notices.append(Notice(prose(loud, " these numbers come from dataset = ", found, *where)))
    if others := {key: pair for key, pair in run.changes.items() if key != "dataset"}:
        pieces = [Code(f"{key} = {found}, not {wanted}") for key, (wanted, found) in others.items()]
        text = prose("This run stands in for the exercise's: ", *_listed(pieces), *where)
        notices.append(Notice(text))
    if run.document.get("failed"):
        what = "**This run failed:** it diverged, or its own checks do not agree"
        notices.append(Notice(prose(what, *where)))
    return notices


def once_per_heading(blocks: Iterable[Block]) -> list[Block]:
    """Drop a notice that has been given since the last heading."""
    kept: list[Block] = []
    given: set[Prose] = set()
    for block in blocks:
        if isinstance(block, Heading):
            given.clear()
        if isinstance(block, Notice):
            if block.text in given:
                continue
            given.add(block.text)
        kept.append(block)
    return kept


def numbers(run: Run) -> list[Block]:
    """What the experiment itself shows on the terminal: tables, and lists of lines."""
    shown = EXPERIMENTS[experiment_of(run.preset)].summarize(run.results)
    blocks: list[Block] = []
    for is_line, group in itertools.groupby(shown, lambda item: isinstance(item, str)):
        if is_line:
            blocks.append(Items([(Plain(str(line)),) for line in group]))
        else:
            blocks += [_table(table) for table in group if not isinstance(table, str)]
    return blocks


def _table(table: TerminalTable) -> Table:
    return Table(
        caption=(Plain(table.title[:1].upper() + table.title[1:]),),
        columns=[_cell(column) for column in table.columns],
        rows=[[_cell(cell) for cell in row] for row in table.rows],
    )


def _cell(text: str) -> Prose:
    return (Plain(text),) if text else ()


def again(*presets: str) -> Commands:
    """The commands that make the numbers above again."""
    return Commands("Make it again", [command(preset) for preset in presets])
