"""Ctrl-C and SIGTERM at any moment: the end comes at once, and a line says how to resume."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from answer import Answer
from child import Disturbance
from processes import UNDISTURBED, Running, assert_whole, commands, every, results_of, run, tree

long = pytest.mark.slow

CODES = {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 143}
"""A shell reports the first as 130. A process that exits with 130 would not end its loop."""


def is_line(text: str) -> bool:
    """Whether it is the one line that an interrupted process writes."""
    return text.startswith("Interrupted") and text.endswith("\n") and text.count("\n") == 1


def assert_told(answer: Answer, number: signal.Signals) -> None:
    assert answer.code == CODES[number], answer
    assert is_line(answer.err), answer
    assert answer.out == ""


@pytest.mark.parametrize(
    ("name", "number", "step"),
    [
        ("train", signal.SIGINT, 8),
        ("lr-sweep", signal.SIGTERM, 20),
        *(
            pytest.param(name, number, 1, marks=long)
            for name in ("train-groups", "lr-sweep")
            for number in CODES
        ),
    ],
)
def test_at_every_file_operation(
    name: str, number: signal.Signals, step: int, tmp_path: Path
) -> None:
    command = commands(tmp_path)[name]
    first = Running(tmp_path / "undisturbed", command, UNDISTURBED)
    assert first.wait().code == 0
    results, files = results_of(tmp_path / "undisturbed" / "run"), tree(tmp_path / "undisturbed")
    for at in every(step, first.operations):
        folder = tmp_path / str(at)
        answer = run(folder, *command, disturbance=Disturbance(number, at=(at,)))
        assert_told(answer, number)
        assert_whole(folder)
        saved = any((folder / ".run.partial").glob("[sj]*"))  # state, journal
        finished = (folder / "run").exists()
        assert ("is whole" in answer.err) == finished, at
        assert ("--resume" in answer.err) == (saved and not finished), at
        assert finished or saved or tree(folder) <= {".run.partial"}, at

        answer = run(folder, *command, "--resume")

        assert (answer.code, answer.err) == (0, "")
        assert results_of(folder / "run") == results
        assert tree(folder) == files


@pytest.mark.parametrize("step", [15, pytest.param(1, marks=long)])
def test_a_second_one_while_the_first_is_put_in_order(step: int, tmp_path: Path) -> None:
    command = commands(tmp_path)["train"]
    first = Running(tmp_path / "undisturbed", command, UNDISTURBED)
    assert first.wait().code == 0
    for at in every(step, first.operations):
        folder = tmp_path / str(at)
        twice = Disturbance(signal.SIGINT, at=(at, at + 1))
        answer = run(folder, *command, disturbance=twice)
        assert answer.code == -signal.SIGINT
        assert answer.err == "" or is_line(answer.err)

        assert run(folder, *command, "--resume").code == 0
        assert results_of(folder / "run") == results_of(tmp_path / "undisturbed" / "run")
        assert tree(folder) == tree(tmp_path / "undisturbed")


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("name", ["train", "train-groups", "lr-sweep"])
def test_no_computation_is_waited_for(name: str, number: signal.Signals, tmp_path: Path) -> None:
    """A chunk of training takes for ever here, as it may for seconds in a large network."""
    running = Running(tmp_path / "work", commands(tmp_path)[name], Disturbance(stuck=True))
    lock, deadline = tmp_path / "work" / ".run.partial" / "lock", time.monotonic() + 60
    while not lock.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.2)
    running.send(number)

    assert_told(running.wait(), number)


# ---- the whole process

MIDTERM = [sys.executable, "-m", "midterm_cli"]
SMALL = ["--dataset", "synthetic", "--seeds", "2", "--quiet"]

# Sends a signal when so many modules have been looked for.
WHILE_IMPORTING = """\
import os, runpy, sys
number, at = int(sys.argv[1]), int(sys.argv[2])
class Finder:
    count = 0
    def find_spec(self, name, path, target=None):
        self.count += 1
        if self.count == at:
            os.kill(os.getpid(), number)
sys.meta_path.insert(0, Finder())
sys.argv = ["midterm", *sys.argv[3:]]
runpy.run_module("midterm_cli", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("number", "moments"),
    [
        (signal.SIGINT, (700,)),
        (signal.SIGTERM, (1100,)),
        pytest.param(signal.SIGINT, range(30, 1200, 60), marks=long),
        pytest.param(signal.SIGTERM, range(60, 1200, 60), marks=long),
    ],
)
def test_while_importing(number: signal.Signals, moments: Sequence[int], tmp_path: Path) -> None:
    for at in moments:
        done = subprocess.run(
            [sys.executable, "-c", WHILE_IMPORTING, str(int(number)), str(at), "train", *SMALL],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert_told(Answer(done.returncode, done.stdout, done.stderr), number)
        assert tree(tmp_path) == set(), at


@pytest.mark.slow
def test_a_loop_that_somebody_typed_ends_with_the_command(tmp_path: Path) -> None:
    """Without `|| exit`: a shell ends its loop when the command in it died of SIGINT."""
    train = " ".join([*MIDTERM, "train", *SMALL, "--epochs", "1000"])
    with subprocess.Popen(
        ["bash", "-c", f"for lr in 1e-3 2e-3; do echo $lr; {train} --lr $lr; done; echo after"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as shell:
        while not list(tmp_path.glob("outputs/train/.*/state.pt")):
            assert shell.poll() is None
            time.sleep(0.05)
        os.killpg(shell.pid, signal.SIGINT)
        out, err = shell.communicate(timeout=120)

    assert shell.returncode == -signal.SIGINT
    assert out == "1e-3\n"
    assert "--resume" in err


@pytest.mark.slow
def test_where_signals_are_ignored_they_stay_ignored(tmp_path: Path) -> None:
    """In the background of a script, Ctrl-C is not meant for us."""
    with subprocess.Popen(
        ["bash", "-c", f"trap '' INT; {' '.join([*MIDTERM, 'train', *SMALL])} --epochs 5"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as shell:
        while not list(tmp_path.glob("outputs/train/.*")):
            assert shell.poll() is None
            time.sleep(0.05)
        os.killpg(shell.pid, signal.SIGINT)
        out, _ = shell.communicate(timeout=120)

    assert shell.returncode == 0
    assert (tmp_path / out.strip() / "metrics.json").exists()
