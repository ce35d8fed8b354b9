"""The files that a run reads: what is continued and recorded is what was read."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from answer import Answer

from midterm_cli.experiment import Event, Job
from midterm_cli.launch import launcher
from midterm_cli.launch.local import Threads
from midterm_cli.runner import document

NET = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 4), nn.{}(), nn.Linear(4, 10))
"""
SMALL = ("--dataset", "synthetic", "--set", "train_fraction=0.02", "--seeds", "2", "--quiet")


class Interrupted(KeyboardInterrupt):
    pass


@pytest.mark.parametrize(
    "command", [("train", "--epochs", "3"), ("lr-sweep", "--rates", "1e-3:1e-1:10")]
)
def test_a_run_that_was_begun_with_other_code_is_not_continued(
    command: Sequence[str],
    folder: Path,
    midterm: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("net.py").write_text(NET.format("ReLU"))
    whole = Threads.__call__

    def cut_short(self: Threads, jobs: Sequence[Job]) -> Iterator[Event]:
        for event in whole(self, jobs):
            yield event
            if not isinstance(event.value, int | None):  # an epoch of a group, or all of it
                raise Interrupted

    monkeypatch.setattr("midterm_cli.part3.train.run._SAVE_EVERY_SECONDS", -1.0)
    monkeypatch.setattr(launcher, "num_workers", lambda device: 1)
    monkeypatch.setattr(Threads, "__call__", cut_short)
    arguments = (*command, *SMALL, "--network", "net.py:Net", "--output", "run")
    assert midterm(*arguments).code == 130
    monkeypatch.setattr(Threads, "__call__", whole)
    Path("net.py").write_text(NET.format("Tanh"))
    answer = midterm(*arguments, "--resume")
    assert answer.code == 2
    assert "other input files" in answer.err
    Path("net.py").write_text(NET.format("ReLU"))
    assert midterm(*arguments, "--resume").code == 0


def test_the_digest_is_that_of_the_code_that_was_read(
    folder: Path, midterm: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("net.py").write_text(NET.format("ReLU"))
    read = (folder / "net.py").read_bytes()
    whole = Threads.__call__

    def edited(self: Threads, jobs: Sequence[Job]) -> Iterator[object]:
        Path("net.py").write_text(NET.format("Tanh"))
        yield from whole(self, jobs)

    monkeypatch.setattr(launcher, "num_workers", lambda device: 1)
    monkeypatch.setattr(Threads, "__call__", edited)
    options = ("--epochs", "1", "--network", "net.py:Net", "--output", "run")
    assert midterm("train", *SMALL, *options).code == 0
    expected: Mapping[str, str | None] = {
        "inputs": hashlib.sha256(hashlib.sha256(read).digest()).hexdigest()
    }
    assert document.read(Path("run")).provenance.inputs_sha256 == expected["inputs"]
    assert Path("run/network.py").read_bytes() == read
