"""Commands that ask a finished run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midterm_cli import terminal
from midterm_cli.cli.exit_codes import DONE, FAILED
from midterm_cli.cli.options import DataDir, folder
from midterm_cli.cli.program import (
    app,
    print_answer,
    print_out,
    print_path,
)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")]


@app.command("show")
def show(
    run: Run,
    json: Annotated[
        bool, typer.Option("--json", help="Print the metrics document, and nothing else.")
    ] = False,
) -> None:
    """Print what a finished run found, as when it was made.

    Examples:
        midterm show outputs/train/default
        midterm show outputs/train/default --json
    """
    from midterm_cli.runner import document

    found = document.read(run)
    terminal.warn(found.notes)
    print_answer(found, json=json, quiet=False)


@app.command("repeat")
def repeat(
    ctx: typer.Context,
    run: Run,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            parser=folder,
            help="The new run folder. Without it: outputs/repeat/EXPERIMENT/NAME.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="Another than that of the run."),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            metavar="FILE.py:NAME",
            help="For a run of a network in a Python file: that file, whose code is run.",
        ),
    ] = None,
    data_dir: DataDir = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the run that was made there before.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue what was interrupted.")
    ] = False,
) -> int:
    """Make a finished run again, from its config, and say whether its numbers are the same.

    The exit code is 3 where a number differs. Measured times are not compared.

    Examples:
        midterm repeat outputs/train/default
        midterm repeat outputs/lr_sweep/default --output again
    """
    from midterm_cli.runner import document
    from midterm_cli.runner.make import make
    from midterm_cli.runs.difference import difference
    from midterm_cli.runs.repeat import config_of, folder_of

    first = document.read(run)
    folder = folder_of(first, output, force, resume)
    terminal.warn(first.notes)
    second = make(
        config_of(first, device, network),
        command=ctx.obj,
        output=folder,
        data_dir=data_dir,
        quiet=quiet,
        force=force,
        resume=resume,
        extend=False,
    )
    compared = difference(first, second)
    print_out(compared.text())
    print_path(second.folder)
    return DONE if compared.same else FAILED


@app.command("diff")
def diff(
    first: Run,
    second: Run,
    json: Annotated[
        bool, typer.Option("--json", help="Print the differences as JSON, and nothing else.")
    ] = False,
) -> None:
    """Say in what two finished runs of one experiment differ: config, provenance, results.

    Commands, times of day and measured times are not compared.

    Examples:
        midterm diff outputs/train/default outputs/train/lr=0.002
        midterm diff outputs/softt/default outputs/repeat/softt/default --json
    """
    from midterm_cli.runner import document
    from midterm_cli.runs.difference import difference

    runs = document.read(first), document.read(second)
    terminal.warn(note for run in runs for note in run.notes)
    compared = difference(*runs)
    text = document.to_json(compared.document()) if json else compared.text()
    print_out(text, is_json=json)
