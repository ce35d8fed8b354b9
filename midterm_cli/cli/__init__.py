"""The terminal: parse, call, print. No mathematics, no files.

What the commands call is imported inside them, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import typer

# Each of these modules adds its commands to the app, in the order of --help.
from midterm_cli.cli import parts, grid, answers, runs, configs, data, everything  # isort: skip
from midterm_cli import terminal
from midterm_cli.cli.exit_codes import DONE, INTERRUPTED, MISTAKE
from midterm_cli.cli.program import app, not_printed
from midterm_cli.errors import UserError, exhausted
from midterm_cli.text import printable

__all__ = ["answers", "app", "configs", "data", "everything", "grid", "main", "parts", "runs"]

_LONGEST_LINE = 500


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; a mistake of the user's becomes one or two lines on stderr.

    Args:
        arguments: without the program's name; None for those of the process.

    Returns:
        The exit code: 0 done, 2 the user's mistake, 3 a failure that was to be an error, 130
        interrupted, 143 terminated.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        # typer wraps some version of click, its own or the real one: the base class of its
        # BadParameter is that version's UsageError.
        usage_error = cast("type[Exception]", typer.BadParameter.__base__)
        code = _command().main(
            arguments,
            prog_name="midterm",
            standalone_mode=False,
            obj=shlex.join(["midterm", *arguments]),
        )
        return code if isinstance(code, int) else DONE
    except UserError as error:
        _complain(str(error))
    except SystemExit as end:  # click's: after a completion, or the reader of stdout has gone
        return MISTAKE if end.code else DONE
    except typer.Abort:
        return INTERRUPTED
    except usage_error as error:
        _complain(_usage(error))
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        lacking = exhausted(error) or _not_printed(error) or _folder_gone()
        if lacking is None:
            raise
        _complain(lacking)
    return MISTAKE


@cache
def _command() -> Any:
    """The whole command line; building it takes longer than most commands."""
    return typer.main.get_command(app)


def _not_printed(error: BaseException) -> str | None:
    """The message where it is stdout that takes nothing, such as help for a full disk."""
    if not isinstance(error, OSError):
        return None
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return str(not_printed(error))
    return None


def _folder_gone() -> str | None:
    """The message where there is no current folder any more, to which relative names belong."""
    try:
        os.getcwd()  # noqa: PTH109 (what pathlib calls)
    except FileNotFoundError:
        return "the current folder has been removed: change to another one"
    return None


def _complain(message: str) -> None:
    lines = (_shortened(printable(line)) for line in message.split("\n"))
    terminal.say("Error: " + "\n".join(lines))


def _shortened(line: str) -> str:
    """A line without its middle, where what was typed is too long to be repeated."""
    half = _LONGEST_LINE // 2
    return line if len(line) <= _LONGEST_LINE else f"{line[:half]} … {line[-half:]}"


def _usage(error: Any) -> str:
    """A mistake in the command line itself, in one or two lines."""
    if error.ctx is None:
        return str(error.format_message())
    return f"{error.format_message()}\nsee {error.ctx.command_path} --help"
