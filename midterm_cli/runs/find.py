"""Which finished runs the paths of a command line name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from midterm_cli.errors import UserError
from midterm_cli.files import run_folder
from midterm_cli.runner import document
from midterm_cli.text import printable


def is_run(path: Path) -> bool:
    """Whether a path names a run, and not a folder that may hold some."""
    return document.is_finished(run_folder(path))


def expand(paths: Sequence[Path]) -> list[Path]:
    """The run folders that are named, and those at any depth of a folder that is none, each once.

    Raises:
        UserError: a path names no run, and has none below it.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        runs = [path] if is_run(path) else runs_below(path)
        if not runs:
            raise UserError(f"no finished run in {printable(path)}, nor below it")
        for run in runs:
            found.setdefault(run_folder(run).resolve(), run)
    return list(found.values())


def runs_below(folder: Path) -> list[Path]:
    """Folders with a metrics.json, but not those of unfinished runs, whose names have a dot.

    Links are followed, each folder is looked into once.

    Raises:
        UserError: a folder cannot be read.
    """
    found, seen = [], set()
    for root, folders, files in os.walk(folder, onerror=_refuse_unreadable, followlinks=True):
        if (real := Path(root).resolve()) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if "metrics.json" in files:
            found.append(Path(root))
    return found


def _refuse_unreadable(error: OSError) -> None:
    # A run that is passed over would pass for one that is as expected. No folder is no run.
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise UserError(f"cannot read {printable(error.filename)}: {error.strerror}") from None
