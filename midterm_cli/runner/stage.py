"""A run folder appears whole or not at all.

A run is staged in `.NAME.partial` beside its folder:

    lock    held while a process works on this run
    run/    the finished files, on their way to becoming NAME
    old/    with --force: the folder that is being replaced, for an instant

and what an unfinished run has saved (saved.py).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midterm_cli import figure, files
from midterm_cli.errors import UserError
from midterm_cli.files import writing
from midterm_cli.runner import document
from midterm_cli.runner.document import is_finished
from midterm_cli.runner.saved import Saved
from midterm_cli.terminal import say
from midterm_cli.text import printable

CONFIG_HEADER = "# The config of one run of "
"""How config.yaml begins."""

_RUN_FILES = ("config.yaml", "metrics.json", "summary.md", "checkpoint.pt", "network.py")
_REMEDY = "make room or give write permission there, or choose another --output"
_RESUME = "make room there and continue with --resume, or choose another --output"


# ---- where a run may go


def require_free(folder: Path, force: bool) -> None:
    """Refuse a run folder that may not be written.

    With `force` a finished run may be replaced, but never anything that midterm did not write.

    Raises:
        UserError: something is in the way.
    """
    name = printable(folder)
    with writing(folder, _REMEDY):
        if not folder.exists():
            return
        if not folder.is_dir():
            raise UserError(f"{name} is a file, not a folder: choose another --output")
        entries = sorted(folder.iterdir())
        if folder.samefile(Path.cwd()):
            raise UserError(f"{name} is the current folder: choose another --output")
    if not entries:
        return
    foreign = [entry.name for entry in entries if not _is_run_file(entry)]
    if foreign or not is_finished(folder):
        what = f"'{printable(foreign[0])}', which" if foreign else "files that"
        raise UserError(f"{name} holds {what} no run of midterm wrote: choose another --output")
    if not force:
        raise UserError(
            f"{name} already holds a finished run: add --force to replace it, or choose another "
            "--output"
        )
    if not _is_ours(folder):
        raise UserError(
            f"{name} holds a metrics.json that no run of midterm wrote: choose another --output"
        )


def require_not_begun(folder: Path) -> None:
    """Refuse a run folder of which an unfinished run has saved something.

    Raises:
        UserError: it has, and the user has to say what becomes of it; or another process is
            writing it.
    """
    partial = _partial(folder)
    saved = Saved(partial, {}, "")
    if saved.exists():
        with _locked(partial, folder, saved):
            _refuse_unfinished(folder, saved)


def _refuse_unfinished(folder: Path, saved: Saved) -> None:
    if saved.exists():
        raise UserError(
            f"{printable(folder)} was begun and is not finished: add --resume to continue it, or "
            "--force to start again"
        )


def _is_ours(folder: Path) -> bool:
    """Whether midterm wrote a run folder; its metrics.json may be damaged since."""
    signs = {"metrics.json": b'"schema_version"', "config.yaml": CONFIG_HEADER.encode()}
    with writing(folder, _REMEDY):
        return any(
            sign in path.read_bytes()[:200]
            for name, sign in signs.items()
            if (path := folder / name).is_file()
        )


def _is_run_file(path: Path) -> bool:
    if not path.is_file():
        return False
    known = path.name in _RUN_FILES or files.is_temporary(path)
    return known or (path.suffix in figure.SIGNATURES and _is_figure(path))


def _is_figure(path: Path) -> bool:
    """Whether a figure says that midterm wrote it: see `figure.render`."""
    with suppress(OSError):
        return figure.SIGNATURES[path.suffix] in path.read_bytes()
    return False


# ---- the stage of a run


@dataclass
class Stage:
    """A run that is being made: what it has saved, and how its folder appears.

    Attributes:
        folder: of the run.
        partial: the stage's own.
        saved: what the run has saved so far.
        published: whether the run folder is there, whole.
    """

    folder: Path
    partial: Path
    saved: Saved
    published: bool = False

    def publish(self, contents: Mapping[str, bytes]) -> None:
        """Make the run folder appear, with these files, in place of an older run.

        Raises:
            UserError: the file system refuses; the older run is untouched.
        """
        with writing(self.folder, _RESUME if self.saved.exists() else _REMEDY):
            run = self.partial / "run"
            run.mkdir()
            for name, content in contents.items():
                if name != "metrics.json":
                    files.write(run / name, content)
            # Last, and whole: wherever a metrics.json is found, the rest is there as well.
            files.replace(run / "metrics.json", contents["metrics.json"])
            if is_finished(self.folder):
                self.folder.rename(self.partial / "old")
            run.rename(self.folder)
            self.published = True
            files.sync_folder(self.folder.parent)


@contextmanager
def stage(
    folder: Path, identity: Mapping[str, Any], started_at: str, *, force: bool, resume: bool
) -> Iterator[Stage]:
    """Hold the stage of a run; leave nothing behind but a finished run or what it has saved.

    Args:
        folder: the run folder to be.
        identity: config and device, as plain data.
        started_at: the time, for a run that is not a continued one.
        force: replace a finished run when the new one is whole, and discard what an unfinished
            one has saved; with `resume`, only what cannot be continued.
        resume: continue from what an earlier process saved.

    Raises:
        UserError: the folder may not be written, another process is writing it, what was saved
            cannot be continued, or neither `force` nor `resume` says what becomes of it.
    """
    require_free(folder, force)
    folder = Path(os.path.realpath(folder))
    partial = _partial(folder)
    saved = Saved(partial, identity, started_at)
    with _locked(partial, folder, saved):
        _settle(partial, folder)
        require_free(folder, force)  # what another process finished since
        if resume:
            _resume(saved, force)
        elif not force:
            _refuse_unfinished(folder, saved)
        elif saved.exists():
            say(f"Discarded what an unfinished run had saved in {printable(partial)}")
            with writing(folder, _REMEDY):
                saved.discard()
        opened = Stage(folder, partial, saved)
        try:
            yield opened
        finally:
            _settle(partial, folder)
            if opened.published:
                with writing(folder, _REMEDY):
                    saved.discard()


def _resume(saved: Saved, force: bool) -> None:
    """Take up what was saved; with `force`, discard what cannot be continued."""
    try:
        saved.resume()
    except UserError as error:
        if not force:
            raise
        say(f"{str(error).splitlines()[0]}: started again")
        saved.discard()


def is_begun(folder: Path) -> bool:
    """Whether an unfinished run of a folder has saved something to continue from."""
    return Saved(_partial(folder), {}, "").exists()


def drop_leftovers(run: document.Run) -> None:
    """Remove what is left of the stage of a finished run, whose process died at the very end.

    What another process works on, and what was saved of a run that is to replace this one, stays.
    """
    folder, partial = run.folder, _partial(run.folder)
    if not partial.exists():
        return
    saved = Saved(partial, {}, "")
    # What cannot be read or removed is left to the next run of this folder.
    with suppress(OSError, UserError), _locked(partial, folder, saved):
        _settle(partial, folder)
        if saved.begun_at() == run.provenance.started_at:
            saved.discard()


def _partial(folder: Path) -> Path:
    """The stage of a run folder; a link is followed: the run belongs where it points."""
    folder = Path(os.path.realpath(folder))
    return folder.with_name(f".{folder.name}.partial")


def _settle(partial: Path, folder: Path) -> None:
    """Undo a publication that was cut short, and drop what is left of one."""
    old = partial / "old"
    with writing(folder, _REMEDY):
        if old.exists() and not folder.exists():
            old.rename(folder)
        for leftover in (old, partial / "run"):
            if leftover.exists():
                # First what says that the rest is there.
                (leftover / "metrics.json").unlink(missing_ok=True)
                shutil.rmtree(leftover)
        for temporary in partial.glob(".*.tmp"):
            temporary.unlink()


@contextmanager
def _locked(partial: Path, folder: Path, saved: Saved) -> Iterator[None]:
    """Hold the lock of a stage; in the end remove the stage, unless something is saved in it."""
    lock = partial / "lock"
    with writing(folder, _REMEDY):
        made = [path for path in (partial, *partial.parents) if not path.exists()]
        try:
            descriptor = _lock(lock, folder)
        except OSError:
            _remove_empty(made)
            raise
    try:
        with writing(folder, _REMEDY):
            for path in made:
                files.sync_folder(path.parent)
        yield
    finally:
        if not saved.exists():
            # Our lock is removed while we hold it: a process that waits for it sees that its
            # file is gone and takes a new one.
            with suppress(OSError):
                saved.discard()
                lock.unlink()
            _remove_empty(made or [partial])
        os.close(descriptor)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove the folders made for a stage, from the inside out, as far as they are empty."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _lock(lock: Path, folder: Path) -> int:
    """Open and lock a file, which holds for as long as the descriptor is open."""
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), lock.stat()):
                    return descriptor
            except BlockingIOError:
                os.close(descriptor)
                raise UserError(
                    f"another process is writing {printable(folder)}: "
                    "wait for it, or choose another --output"
                ) from None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
