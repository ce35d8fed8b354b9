"""The program `midterm` itself: the commands below are added to it."""

from __future__ import annotations

import json as json_format
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand
from typer.models import CommandFunctionType

import midterm_cli
from midterm_cli import terminal
from midterm_cli.cli.help import Command
from midterm_cli.errors import UserError
from midterm_cli.text import printable

if TYPE_CHECKING:
    from midterm_cli.runner.document import Run

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _App(typer.Typer):
    """A group of commands, each with the help of `Command`."""

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = Command, **settings: Any
    ) -> Callable[[CommandFunctionType], CommandFunctionType]:
        return super().command(name, cls=cls, **settings)


def new_app(add_completion: bool = False, **settings: Any) -> typer.Typer:
    """Make a group of commands: plain help, since rich's panels would cost the import of rich."""
    return _App(
        add_completion=add_completion,
        context_settings=_SETTINGS,
        pretty_exceptions_enable=False,  # tracebacks show no locals
        rich_markup_mode=None,
        **settings,
    )


app = new_app(add_completion=True, help=midterm_cli.__doc__)


def _printed_version(wanted: bool) -> None:
    if wanted:
        print_out(f"midterm {midterm_cli.__version__}\n")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            callback=_printed_version,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    pass


def print_out(content: str | bytes, *, is_json: bool = False) -> None:
    """Print a result to stdout.

    Args:
        content: text, or bytes for a stdout that has a buffer.
        is_json: it is JSON: what a stdout of another encoding may not hold is escaped.

    Raises:
        UserError: stdout cannot take it. What was to be printed was computed and kept.
    """
    if is_json and isinstance(content, str) and not _holds_all():
        content = re.sub(r"[^\x00-\x7f]", lambda found: json_format.dumps(found[0])[1:-1], content)
    try:
        typer.echo(content, nl=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise not_printed(error) from error


def _holds_all() -> bool:
    """Whether stdout can hold every character."""
    return (sys.stdout.encoding or "utf-8").lower().startswith("utf")


def not_printed(error: OSError) -> UserError:
    """Give stdout up, and say why."""
    terminal.discard(sys.stdout)
    return UserError(
        f"cannot write to stdout: {error.strerror}\n"
        "make room where stdout goes; midterm show RUN prints a finished run again"
    )


def print_path(path: Path) -> None:
    """Print a path to stdout, as bytes where it takes them: a file name need not be valid text."""
    # The stdout of a notebook takes text alone.
    print_out(bytes(path) + b"\n" if hasattr(sys.stdout, "buffer") else f"{printable(path)}\n")


def print_answer(run: Run, *, json: bool, quiet: bool) -> None:
    """Print what a run found: its summary and its folder, or its document; warnings to stderr."""
    from midterm_cli.runner import summary

    terminal.warn(map(printable, run.warnings))
    if json:
        print_out(run.json, is_json=True)
        return
    if not quiet:
        print_out(summary.text(run))
    print_path(run.folder)


def require_png(output: Path) -> None:
    """Refuse a figure's file that is not named as what it will hold."""
    if output.suffix != ".png":
        name, stem = printable(output), printable(output.stem)
        raise UserError(f"--output must end in .png, got {name}: write {stem}.png")
