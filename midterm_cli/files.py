"""Files that are written whole or not at all, and the errors where the file system refuses."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from midterm_cli.errors import UserError
from midterm_cli.text import printable

Content = bytes | memoryview


@contextmanager
def writing(path: Path, remedy: str = "make room or give write permission there") -> Iterator[None]:
    """Turn what the file system refuses into a UserError: the path, the reason, what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write {printable(path)}: {reason}\n{remedy}") from error


def write(path: Path, content: Content) -> None:
    """Write a new file, down to the disk.

    Raises:
        OSError: the file system refuses; part of the file may be there.
    """
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, content: Content) -> None:
    """Write a file in place of what was there, whole or not at all.

    Raises:
        OSError: the file system refuses; what was there is untouched.
    """
    owner = f"{threading.get_ident()}.{os.getpid()}"
    temporary = path.with_name(f".{path.name}.{owner}.tmp")
    _remove_abandoned(path)
    try:
        write(temporary, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def replace_file(path: Path, content: Content) -> None:
    """Like `replace`, in a folder that is made if need be.

    Raises:
        UserError: the file system refuses.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, content)


def sha256(paths: Sequence[Path]) -> str:
    """One digest of the contents of files, in their order.

    Raises:
        OSError: one cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def is_temporary(path: Path) -> bool:
    """Whether a file is named as `replace` names what it writes, on its way to its place."""
    return re.fullmatch(r"\..+\.\d+\.tmp", path.name) is not None


def _remove_abandoned(path: Path) -> None:
    """Remove what processes that were killed in `replace` left of a file."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if is_temporary(temporary) and not _is_running(int(temporary.name.split(".")[-2])):
            temporary.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):  # no process has such a number, or can have
        return False
    except PermissionError:
        pass
    return True


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
