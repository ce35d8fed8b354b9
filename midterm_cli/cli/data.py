"""The commands of `midterm data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midterm_cli.cli.options import DataDir
from midterm_cli.cli.program import (
    DONE,
    INTERRUPTED,
    TERMINATED,
    app,
    new_app,
    print_out,
    print_path,
    require_png,
)
from midterm_cli.errors import UserError
from midterm_cli.text import printable

data_app = new_app(help="Get, check and look at Fashion-MNIST.")
app.add_typer(data_app, name="data")


@data_app.command("fetch")
def data_fetch(
    source: Annotated[
        Path | None,
        typer.Option(
            "--source",
            metavar="DIR",
            help="Folder with the four IDX files, .gz or not. Without it: the first place that "
            "has them, the network last.",
        ),
    ] = None,
    data_dir: DataDir = None,
) -> int:
    """Get Fashion-MNIST, unless it is already there, and check it."""
    from midterm_cli import terminal
    from midterm_cli.data import datasets
    from midterm_cli.data.fetch import fetch
    from midterm_cli.runner import interrupt

    folder = datasets.data_dir(data_dir)
    try:
        with interrupt.unwinding():  # a download is in a temporary folder
            terminal.say(fetch(folder, source, terminal.say))
    except KeyboardInterrupt as signal:
        terminal.say(
            f"Interrupted: {datasets.fetch_command(folder)} starts again with what is missing"
        )
        return TERMINATED if isinstance(signal, interrupt.Terminated) else INTERRUPTED
    print_path(folder)
    return DONE


@data_app.command("verify")
def data_verify(data_dir: DataDir = None) -> int:
    """Hash the four files and compare with what they must be."""
    from midterm_cli.data import datasets

    folder = datasets.data_dir(data_dir)
    findings = datasets.verify(folder)
    for finding in findings:
        print_out(f"{'ok ' if finding.ok else 'BAD'} {finding.sha256 or '-':64} {finding.name}\n")
    bad = [finding for finding in findings if not finding.ok]
    if bad:
        first, command = bad[0], datasets.fetch_command(folder)
        raise UserError(
            f"{len(bad)} of {len(findings)} files in {printable(folder)} are bad: "
            f"{first.name}: {first.problem}\nget them again with: {command}"
        )
    return DONE


@data_app.command("show")
def data_show(
    dataset: Annotated[
        str, typer.Option(metavar="NAME", help="As in the config of train.")
    ] = "fashion_mnist",
    output: Annotated[
        Path, typer.Option("--output", metavar="PNG", help="The figure's file; it is replaced.")
    ] = Path("outputs/data/examples.png"),
    data_dir: DataDir = None,
) -> None:
    """Draw the first five training images with their labels."""
    from midterm_cli.data import datasets
    from midterm_cli.figure import to_png
    from midterm_cli.files import replace_file

    require_png(output)
    loaded = datasets.load(dataset, datasets.data_dir(data_dir))
    replace_file(output, to_png(datasets.draw_strip(loaded)))
    print_path(output)
