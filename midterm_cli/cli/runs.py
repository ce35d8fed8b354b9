"""Commands on finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midterm_cli.cli.program import app, print_path, require_png
from midterm_cli.errors import UserError


@app.command("draw")
def draw(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
) -> None:
    """Draw the figures of a finished run again, without computing it again."""
    from midterm_cli.runner import run as runner

    for path in runner.draw(run):
        print_path(path)


@app.command("compare")
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN", help="Folders of finished runs, all of train or all of lr-sweep."
        ),
    ],
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="KEY",
            help="Config key to sort by. Without it: the key in which the runs differ, if it is "
            "a single one.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="PNG",
            help="The figure's file; it is replaced. Without it, for runs of train: "
            "outputs/compare/curves.png.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the table as JSON, and nothing else.")
    ] = False,
) -> None:
    """Put finished runs side by side: a table, and the curves of training in one figure.

    The table and then the figure's path are printed; means are over seeds, ± standard deviation.
    """
    from midterm_cli.runner import compare as comparing
    from midterm_cli.runner import record

    comparison = comparing.compare(runs, by)
    if comparison.has_curves:
        output = output or Path("outputs/compare/curves.png")
        require_png(output)
        record.replace_file(output, record.to_png(comparing.draw(comparison)))
    elif output is not None:
        raise UserError("--output is for the curves of runs of train, and here are none")
    if json:
        typer.echo(record.to_json(comparison.document()), nl=False)
        return
    typer.echo(comparison.table(), nl=False)
    if output is not None:
        print_path(output)
