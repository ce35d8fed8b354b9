"""What a run found, in words and tables: for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from midterm_cli import terminal
from midterm_cli.experiment import Table
from midterm_cli.markdown import escaped, table
from midterm_cli.runner.document import Run

_MOST_ROWS = 1_000  # of a table; those of a run have fewer


def text(run: Run) -> str:
    """The summary of a run for stdout."""
    return terminal.rendered(_summarized(run))


def _summarized(run: Run) -> Iterator[Table | str]:
    """The summary of a run, a very long table cut."""
    for item in run.experiment.summarize(run.results):
        if isinstance(item, str) or len(item.rows) <= _MOST_ROWS:
            yield item
        else:
            yield replace(item, rows=item.rows[:_MOST_ROWS])
            yield f"{len(item.rows) - _MOST_ROWS:,} more rows are left out: --json has them all"


def markdown(run: Run) -> str:
    """The summary of a run as a page of its own."""
    facts = run.provenance
    blocks = [f"# {escaped(run.experiment.command)}: {escaped(run.folder.name)}"]
    for item in _summarized(run):
        if isinstance(item, str):
            blocks.append(escaped(item))
        else:
            blocks += [f"**{escaped(item.title)}**"] * bool(item.title)
            blocks.append(table(item.rows, item.columns))
    blocks += [f"Warning: {escaped(warning)}" for warning in run.warnings]
    blocks.append(
        f"midterm {escaped(facts.version)}, PyTorch {escaped(facts.torch)}, "
        f"{escaped(facts.device)}, {facts.started_at}. config.yaml repeats the run."
    )
    return "\n\n".join(blocks) + "\n"
