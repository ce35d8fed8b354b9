"""Files are written whole or not at all, and what a killed process left of one goes."""

import errno
import os
import subprocess
from pathlib import Path

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
