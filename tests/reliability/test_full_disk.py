"""A disk that is full, a quota, a file system that is read-only: said so, and nothing is lost."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from answer import Answer
from child import Disturbance
from processes import assert_whole, commands, results_of, run, tree


@contextmanager
def disk(folder: Path, size: str) -> Iterator[None]:
    """A small file system in memory."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting needs root: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fill(file: Path, leave: int) -> None:
    """Take all space of a file system but so many bytes."""
    state = os.statvfs(file.parent)
    file.write_bytes(b"\0" * (state.f_bavail * state.f_frsize - leave))


def into(folder: str, command: Sequence[str]) -> list[str]:
    """The command with another run folder than "run"."""
    return [folder if word == "run" else word for word in command]


def assert_refused(answer: Answer, reason: str) -> None:
    assert (answer.code, answer.out) == (2, "")
    message, remedy = answer.err.splitlines()
    assert message.startswith("Error: cannot write ")
    assert message.endswith(f": {reason}")
    assert "another --output" in remedy


@pytest.mark.parametrize("name", ["train", "lr-sweep"])
def test_a_full_disk(name: str, tmp_path: Path) -> None:
    command = commands(tmp_path)[name]
    outcomes = []
    page = 4096
    with disk(tmp_path / "disk", "1m"):
        work = tmp_path / "disk" / "work"
        assert run(work, *command).code == 0
        results, files, before = results_of(work / "run"), tree(work), contents(work / "run")
        later = into("later", command)
        # The space that is left ends in the lock, the first state, a later one, the publication.
        for pages in (0, 1, 3, 12):
            fill(work / "ballast", pages * page)
            answer = run(work, *later)
            outcomes.append(answer.code)
            if answer.code:
                assert_refused(answer, "No space left on device")
                assert not (work / "later").exists()
                assert not list(work.rglob("*.tmp"))
                assert not (work / ".later.partial" / "run").exists()
            assert contents(work / "run") == before
            assert_whole(work)

            (work / "ballast").unlink()
            answer = run(work, *later, "--resume")
            assert (answer.code, answer.err) == (0, "")
            assert results_of(work / "later") == results
            assert tree(work) == files | {file.replace("run", "later", 1) for file in files}
            subprocess.run(["rm", "-r", work / "later"], check=True)
    assert outcomes[0] == 2
    assert outcomes[-1] == 0


def test_a_read_only_disk(tmp_path: Path) -> None:
    command = commands(tmp_path)["train"]
    with disk(tmp_path / "disk", "1m"):
        work = tmp_path / "disk" / "work"
        assert run(work, *command).code == 0
        before = contents(work)
        subprocess.run(["mount", "-o", "remount,ro", tmp_path / "disk"], check=True)
        elsewhere = tmp_path / "elsewhere"

        answer = run(elsewhere, *into(str(work / "other"), command))
        assert_refused(answer, "Read-only file system")
        # What is finished can be read all the same.
        resumed = run(elsewhere, *into(str(work / "run"), command), "--resume")
        assert (resumed.code, resumed.out, resumed.err) == (0, f"{work / 'run'}\n", "")
        assert contents(work) == before


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["train", "lr-sweep"])
def test_a_quota(name: str, step: int, tmp_path: Path) -> None:
    """A limit on the size of a file, which needs no root, stands in for it."""
    command = commands(tmp_path)[name]
    work = tmp_path / "work"
    assert run(work, *command).code == 0
    results, files, before = results_of(work / "run"), tree(work), contents(work)
    later = into("later", command)
    refused = 0
    sizes = sorted(len(content) for content in contents(work).values())
    # What the process says goes to a file as well.
    limits = [300, 600, 1000, *(size - 1 for size in sizes if size > 300), 1 << 20]
    for limit in limits[::step]:
        answer = run(work, *later, disturbance=Disturbance(file_size=limit))
        if answer.code:
            assert_refused(answer, "File too large")
            refused += 1
        assert not list(work.rglob("*.tmp"))
        assert before.items() <= contents(work).items()
        assert run(work, *later, "--resume").code == 0
        assert results_of(work / "later") == results
        assert tree(work) == files | {file.replace("run", "later", 1) for file in files}
        subprocess.run(["rm", "-r", work / "later"], check=True)
    assert refused >= 5 // step
