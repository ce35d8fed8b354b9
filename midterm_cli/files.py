"""Files that are written whole or not at all, and the errors where the file system refuses."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from midterm_cli.errors import UserError
from midterm_cli.text import printable

Content = bytes | memoryview

MAX_BYTES = 2**30
"""Of a document that `read` takes: four times a run of 10,000 seeds and 50 epochs.

It bounds the file. What is parsed from it may take several times as much memory.
"""


# Of any name, one too long for the file system included: what is then done with it says why it
# cannot be. Path's methods raise where these answer False.


def exists(path: Path) -> bool:
    """Whether something is there."""
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: Path) -> bool:
    """Whether a file is there."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Whether a folder is there."""
    return os.path.isdir(path)  # noqa: PTH112


def run_folder(path: Path) -> Path:
    """The folder of a run, which it names or its metrics.json does."""
    return path.parent if path.name == "metrics.json" else path


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
        sync(file)


def replace(path: Path, content: Content) -> None:
    """Write a file in place of what was there, whole or not at all; a link is followed.

    Raises:
        UserError: what is there is no regular file.
        OSError: the file system refuses; what was there is untouched.
    """
    require_replaceable(path)
    path = path.resolve() if path.is_symlink() else path
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


def with_home(name: str) -> str:
    """The name of a file with `~` or `~user` replaced by that home; as it is, if there is none."""
    return os.path.expanduser(name)  # noqa: PTH111 (pathlib raises where there is none)


def require_replaceable(path: Path) -> None:
    """Refuse to write over anything but a regular file, or a link to one.

    A device or a pipe would be lost, and so would a link that leads nowhere.

    Raises:
        UserError: there is something else.
    """
    if os.path.lexists(path) and not path.is_file():
        raise UserError(f"{printable(path)} is not a regular file: choose another name")


def require_regular(path: Path) -> None:
    """Refuse to read a pipe, which would be waited for, or a device, which may have no end.

    Raises:
        OSError: it is one, or cannot be asked. A folder is left to who opens it.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def read(path: Path) -> bytes:
    """Read a document: what it has when it is opened, up to `MAX_BYTES`.

    Raises:
        OSError: it is larger, or cannot be read.
    """
    require_regular(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise OSError(errno.EFBIG, f"it is larger than {MAX_BYTES >> 20:,} MiB", str(path))
        return file.read(size)


def make_folder(path: Path) -> list[Path]:
    """Make a folder and those above it; returns those that were not there, from the inside out.

    Raises:
        OSError: the file system refuses; none is left.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        remove_empty(made)
        raise
    return made


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, in this order, as far as they are empty."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def sha256(paths: Sequence[Path]) -> str:
    """One digest of the contents of files, in their order.

    Raises:
        OSError: one cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        require_regular(path)
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
    """Whether there is such a process; on Windows, where that cannot be asked, as if there were."""
    if sys.platform == "win32":  # os.kill(process, 0) is Ctrl-C there
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):  # no process has such a number, or can have
        return False
    except PermissionError:
        pass
    return True


def sync(file: BinaryIO) -> None:
    """Make what was written into a file survive a power cut."""
    file.flush()
    if sys.platform == "darwin":
        import fcntl

        # There fsync leaves it to the disk when to write. Some file systems know nothing else.
        with suppress(OSError):
            fcntl.fcntl(file.fileno(), fcntl.F_FULLFSYNC)
            return
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where a folder can be opened for that."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
