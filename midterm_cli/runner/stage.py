"""A run folder appears whole or not at all.

A run is staged in `.NAME.partial` beside its folder:

    lock    held while a process works on this run
    run/    the finished files, on their way to becoming NAME
    old/    with --force: the run that is being replaced, for an instant

and what an unfinished run has saved (saved.py).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

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


@dataclass(frozen=True)
class _Obstacle:
    """What is where a run folder is to be, and what to do about it."""

    what: str
    remedy: str = "choose another --output"


def require_free(folder: Path, force: bool) -> None:
    """Refuse a run folder that may not be written.

    With `force` a finished run may be replaced, but never anything that midterm did not write.

    Raises:
        UserError: something is in the way.
    """
    obstacle = _obstacle(folder, force)
    if obstacle:
        raise UserError(f"{printable(folder)} {obstacle.what}: {obstacle.remedy}")


def _obstacle(folder: Path, force: bool) -> _Obstacle | None:
    with writing(folder, _REMEDY):
        if not folder.exists():
            return None
        if not folder.is_dir():
            return _Obstacle("is a file, not a folder")
        entries = sorted(folder.iterdir())
        if folder.samefile(Path.cwd()):
            return _Obstacle("is the current folder")
    if not entries:
        return None
    foreign = [entry.name for entry in entries if not _is_run_file(entry)]
    if foreign or not is_finished(folder):
        what = f"'{printable(foreign[0])}', which" if foreign else "files that"
        return _Obstacle(f"holds {what} no run of midterm wrote")
    if not force:
        remedy = "add --force to replace it, or choose another --output"
        return _Obstacle("already holds a finished run", remedy)
    if not _is_ours(folder):
        return _Obstacle("holds a metrics.json that no run of midterm wrote")
    return None


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
        force: whether an older run may be replaced.
        published: whether the run folder is there, whole.
    """

    folder: Path
    partial: Path
    saved: Saved
    force: bool
    published: bool = False

    def publish(self, contents: Mapping[str, bytes]) -> None:
        """Make the run folder appear, with these files, in place of an older run.

        Raises:
            UserError: the file system refuses, or what is in the way by now may not be replaced;
                it is untouched.
        """
        with writing(self.folder, _RESUME if self.saved.exists() else _REMEDY):
            run = self.partial / "run"
            run.mkdir()
            for name, content in contents.items():
                if name != "metrics.json":
                    files.write(run / name, content)
            # Last, and whole: wherever a metrics.json is found, the rest is there as well.
            files.replace(run / "metrics.json", contents["metrics.json"])
            self._make_way()
            run.rename(self.folder)
            self.published = True
            files.sync_folder(self.folder.parent)

    def _make_way(self) -> None:
        """Take away the older run, or the empty folder, that the new one replaces.

        Raises:
            UserError: something else has come there since this run began.
        """
        obstacle = _obstacle(self.folder, self.force)
        if obstacle:
            kept = "--resume continues from what was saved" if self.saved.exists() else "run again"
            raise UserError(
                f"{printable(self.folder)} {obstacle.what}, which was not so when this run began\n"
                f"move that away, and {kept}"
            )
        if is_finished(self.folder):
            self.folder.rename(self.partial / "old")
        elif self.folder.exists():
            self.folder.rmdir()  # to rename over an empty folder is an error on Windows


@contextmanager
def stage(
    folder: Path, identity: Mapping[str, Any], started_at: str, *, force: bool, resume: bool
) -> Iterator[Stage]:
    """Hold the stage of a run; leave nothing behind but a finished run or what it has saved.

    Args:
        folder: the run folder to be.
        identity: config, device, and digests of code and inputs, as plain data.
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
        opened = Stage(folder, partial, saved, force)
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
    old, run = partial / "old", partial / "run"
    with writing(folder, _REMEDY):
        if old.exists() and not folder.exists():
            old.rename(folder)
        for leftover in filter(Path.exists, (old, run)):
            # First what says that the rest is there.
            (leftover / "metrics.json").unlink(missing_ok=True)
        if old.exists():
            for path in filter(_is_run_file, list(old.iterdir())):
                path.unlink()
            files.remove_empty([old])
            if old.exists():
                say(f"Warning: what no run wrote is kept in {printable(old)}")
        if run.exists():
            shutil.rmtree(run)
        for temporary in partial.glob(".*.tmp"):
            temporary.unlink()


@contextmanager
def _locked(partial: Path, folder: Path, saved: Saved) -> Iterator[None]:
    """Hold the lock of a stage; in the end remove the stage, unless something is saved in it."""
    lock = partial / "lock"
    with writing(folder, _REMEDY):
        made = files.make_folder(partial)
        try:
            descriptor = _lock(lock, folder)
        except OSError:
            files.remove_empty(made)
            raise
    try:
        with writing(folder, _REMEDY):
            for path in made:
                files.sync_folder(path.parent)
        yield
    finally:
        if saved.exists():
            os.close(descriptor)
        else:
            with suppress(OSError):
                saved.discard()
            _remove_lock(lock, descriptor)
            files.remove_empty(made or [partial])


def _lock(lock: Path, folder: Path) -> int:
    """Open and lock a file, which holds for as long as the descriptor is open."""
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                if not lock_descriptor(descriptor, blocking=False):
                    raise UserError(
                        f"another process is writing {printable(folder)}: "
                        "wait for it, or choose another --output"
                    )
                if os.path.samestat(os.fstat(descriptor), lock.stat()):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)


def _remove_lock(lock: Path, descriptor: int) -> None:
    """Remove the file of a lock that is held, and let go of it."""
    if sys.platform == "win32":
        # A file that is open cannot be removed: neither ours, nor that of a process that comes now.
        os.close(descriptor)
        with suppress(OSError):
            lock.unlink()
        return
    # While we hold it: a process that waits for it sees that its file is gone and takes a new one.
    with suppress(OSError):
        lock.unlink()
    os.close(descriptor)
