"""Files are written whole or not at all, and what a killed process left of one goes."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from midterm_cli import files
from midterm_cli.errors import UserError


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "new" / "x.png"
    files.replace_file(file, b"old")
    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(UserError, match=r"x\.png: No space left"):
        files.replace_file(file, b"new")

    assert names(file.parent) == {"x.png"}
    assert file.read_bytes() == b"old"


def test_a_new_file_has_the_rights_that_any_file_gets(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    files.replace(tmp_path / "x.png", b"new")

    assert (tmp_path / "x.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_a_killed_process_left_of_a_file_goes_with_the_next_writing(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    mine = [tmp_path / f".x.png.{gone.pid}.tmp", tmp_path / f".x.png.{2**31}.tmp"]
    others = [
        tmp_path / f".x.png.{os.getppid()}.tmp",  # of a process that is at work
        tmp_path / f".y.png.{gone.pid}.tmp",
        tmp_path / ".x.png.old.tmp",
    ]
    for file in (*mine, *others):
        file.touch()

    files.replace_file(tmp_path / "x.png", b"new")

    assert names(tmp_path) == {"x.png", *(file.name for file in others)}


def test_what_another_user_s_process_writes_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    (tmp_path / ".x.png.123.tmp").touch()

    files.replace_file(tmp_path / "x.png", b"new")

    assert names(tmp_path) == {"x.png", ".x.png.123.tmp"}


def test_a_file_on_its_way_is_known_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    write = files.write

    def watched(path: Path, content: bytes) -> None:
        seen.append(path)
        write(path, content)

    monkeypatch.setattr(files, "write", watched)
    files.replace(tmp_path / "x.png", b"new")

    assert [files.is_temporary(path) for path in seen] == [True]
    assert not files.is_temporary(tmp_path / "x.png")


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "x.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to("big/x.png")

    files.replace_file(tmp_path / "link.png", b"new")

    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "big" / "x.png").read_bytes() == b"new"
    assert names(tmp_path / "big") == {"x.png"}


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def link_nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


def link_in_a_loop(path: Path) -> None:
    path.symlink_to(path)


def link_to_a_device(path: Path) -> None:
    path.symlink_to(os.devnull)


IRREGULAR = [make_pipe, link_nowhere, link_in_a_loop, link_to_a_device, Path.mkdir]


@pytest.mark.parametrize("make", IRREGULAR)
def test_what_is_no_regular_file_is_never_replaced(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "x.yaml"
    make(path)
    before = path.lstat()

    with pytest.raises(UserError, match=r"x\.yaml is not a regular file: choose another name"):
        files.replace_file(path, b"new")

    assert path.lstat()[:3] == before[:3]  # mode, number and device
    assert names(tmp_path) == {"x.yaml"}


@pytest.mark.parametrize("make", [make_pipe, link_to_a_device])
def test_what_may_never_end_is_not_read(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "x")

    with pytest.raises(OSError, match="it is not a regular file"):
        files.require_regular(tmp_path / "x")
    with pytest.raises(OSError, match="it is not a regular file"):
        files.sha256([tmp_path / "x"])


def test_a_document_has_an_end(tmp_path: Path) -> None:
    """A file with a hole in it, which takes no room, may be longer than any memory."""
    (tmp_path / "x").write_bytes(b"whole")
    assert files.read(tmp_path / "x") == b"whole"
    os.truncate(tmp_path / "x", 2**42)

    with pytest.raises(OSError, match="larger than 1,024 MiB"):
        files.read(tmp_path / "x")


def test_a_document_that_grows_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def grown(path: Path, *arguments: Any, **options: Any) -> Any:
        with path_open(path, "ab") as file:
            file.write(b" and more")
        return path_open(path, *arguments, **options)

    path_open = Path.open
    (tmp_path / "x").write_bytes(b"whole")
    monkeypatch.setattr(files, "MAX_BYTES", 5)
    monkeypatch.setattr(Path, "open", grown)

    with pytest.raises(OSError, match="larger than"):
        files.read(tmp_path / "x")


def test_folders_that_were_made_are_those_that_are_removed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    made = files.make_folder(tmp_path / "a" / "b" / "c")
    assert made == [tmp_path / "a" / "b" / "c", tmp_path / "a" / "b"]
    assert files.make_folder(made[0]) == []

    (made[1] / "of others").touch()
    files.remove_empty(made)
    assert names(made[1]) == {"of others"}


def test_on_windows_no_process_is_asked_by_ctrl_c_and_no_folder_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    (tmp_path / ".x.png.123.tmp").touch()
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "kill", never)
    monkeypatch.setattr(os, "open", never)

    files.replace_file(tmp_path / "x.png", b"new")

    assert names(tmp_path) == {"x.png", ".x.png.123.tmp"}


@pytest.mark.parametrize("refused", [False, True])
def test_on_macos_the_disk_is_told_to_write(
    refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By F_FULLFSYNC; by fsync where the file system does not know that."""
    fcntl = pytest.importorskip("fcntl")
    asked: list[object] = []

    def full_fsync(descriptor: int, command: int) -> None:
        asked.append(command)
        if refused:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", full_fsync)
    monkeypatch.setattr(os, "fsync", lambda descriptor: asked.append("fsync"))

    files.write(tmp_path / "x", b"new")

    assert asked == ([51, "fsync"] if refused else [51])
    assert (tmp_path / "x").read_bytes() == b"new"
