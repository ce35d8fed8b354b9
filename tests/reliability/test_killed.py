"""Killed at any moment, a run loses nothing: it goes on to the results of an undisturbed one."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from child import Disturbance
from processes import (
    UNDISTURBED,
    Running,
    assert_whole,
    commands,
    every,
    random_moments,
    results_of,
    run,
    tree,
    watched,
)

long = pytest.mark.slow


def undisturbed(folder: Path, command: list[str]) -> tuple[str, set[str], int]:
    """Results, files and number of file operations of a run that nothing happens to."""
    running = Running(folder, command, UNDISTURBED)
    answer = running.wait()
    assert (answer.code, answer.err) == (0, "")
    assert assert_whole(folder) == 1
    return results_of(folder / "run"), tree(folder), running.operations


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("train", 8),
        ("lr-sweep", 14),
        pytest.param("train-groups", 1, marks=long),
        pytest.param("lr-sweep", 1, marks=long),
    ],
)
def test_killed_at_every_file_operation(name: str, step: int, tmp_path: Path) -> None:
    command = commands(tmp_path)[name]
    results, files, operations = undisturbed(tmp_path / "undisturbed", command)
    continued = 0
    for at in every(step, operations):
        folder = tmp_path / str(at)
        killed = run(folder, *command, disturbance=Disturbance(at=(at,)))
        assert killed.code == -signal.SIGKILL
        assert_whole(folder)
        if (folder / "run").exists():
            assert results_of(folder / "run") == results
        continued += (folder / ".run.partial" / "begun.json").exists()

        answer = run(folder, *command, "--resume")

        assert (answer.code, answer.err) == (0, ""), at
        assert results_of(folder / "run") == results, at
        assert tree(folder) == files, at
    assert continued > operations // step // 2


@pytest.mark.parametrize("step", [15, pytest.param(1, marks=long)])
def test_killed_while_it_replaces_an_older_run(step: int, tmp_path: Path) -> None:
    """The older run is there until the newer one is, or comes back with the next command."""
    newer = [*commands(tmp_path)["train"], "--force"]
    older = [*newer, "--lr", "2e-3"]
    new, files, operations = undisturbed(tmp_path / "new", newer)
    old, *_ = undisturbed(tmp_path / "old", older)
    assert old != new
    for at in every(step, operations + 5):
        folder = tmp_path / str(at)
        assert run(folder, *older).code == 0
        killed = run(folder, *newer, disturbance=Disturbance(at=(at,)))
        if killed.code == 0:
            continue  # it has no so many operations
        assert_whole(folder)
        if (folder / "run").exists():
            assert results_of(folder / "run") in (old, new)
        else:
            assert results_of(folder / ".run.partial" / "old") == old

        answer = run(folder, *newer, "--resume")

        assert answer.code == 0
        assert results_of(folder / "run") == new
        assert tree(folder) == files, at


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("train-groups", 2),
        ("lr-sweep", 2),
        pytest.param("train-groups", 20, marks=long),
        pytest.param("lr-sweep", 20, marks=long),
    ],
)
def test_killed_at_random_again_and_again_until_it_gets_through(
    name: str, times: int, tmp_path: Path
) -> None:
    rng = random_moments()
    command = commands(tmp_path)[name]
    begun = time.monotonic()
    results, files, _ = undisturbed(tmp_path / "undisturbed", command)
    seconds = time.monotonic() - begun
    folder = tmp_path / "disturbed"
    with watched(folder):
        for _ in range(times):
            running = Running(folder, [*command, "--resume"], UNDISTURBED)
            time.sleep(rng.uniform(0, seconds))
            running.send(signal.SIGKILL)
            assert running.wait().code in (0, -signal.SIGKILL)
        assert run(folder, *command, "--resume").code == 0
    assert results_of(folder / "run") == results
    assert tree(folder) == files


# ---- the whole process, from the start of Python on


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "lr-sweep"])
def test_the_real_command_killed_at_random(command: str, tmp_path: Path) -> None:
    rng = random_moments()
    options = ["--epochs", "20"] if command == "train" else ["--epochs", "3", "--start-lr", "5e-4"]
    problem = ["--dataset", "synthetic", "--seeds", "4", "--set", "train_fraction=0.2"]
    arguments = [command, *problem, *options, "--quiet", "--resume", "--output", "run"]
    drawn = Disturbance(real_figures=True)
    assert run(tmp_path / "alone", *arguments, disturbance=drawn).code == 0
    folder = tmp_path / "disturbed"
    folder.mkdir()
    midterm = [sys.executable, "-m", "midterm_cli"]
    with watched(folder):
        for _ in range(20):
            with subprocess.Popen(
                [*midterm, *arguments], cwd=folder, stdout=subprocess.DEVNULL
            ) as process:
                # Now and then while it imports; else soon after it has begun.
                if rng.random() < 0.8:
                    while process.poll() is None and not (folder / ".run.partial").exists():
                        time.sleep(0.01)
                time.sleep(rng.uniform(0, 2))
                process.kill()
        subprocess.run([*midterm, *arguments], cwd=folder, stdout=subprocess.DEVNULL, check=True)
    assert results_of(folder / "run") == results_of(tmp_path / "alone" / "run")
    assert tree(folder) == tree(tmp_path / "alone")
