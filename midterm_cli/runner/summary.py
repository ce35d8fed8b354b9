"""What a run found, in words and tables: for a terminal, and as Markdown."""

from __future__ import annotations

from midterm_cli import terminal
from midterm_cli.markdown import escaped, table
from midterm_cli.runner.document import Run


def text(run: Run) -> str:
    """The summary of a run for stdout."""
    return terminal.rendered(run.experiment.summarize(run.results))


def markdown(run: Run) -> str:
    """The summary of a run as a page of its own."""
    facts = run.provenance
    blocks = [f"# {escaped(run.experiment.command)}: {escaped(run.folder.name)}"]
    for item in run.experiment.summarize(run.results):
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
