"""The same config and seed give the same results, byte for byte, however they are computed."""

import os
import pty
import select
from pathlib import Path

import pytest
from child import Disturbance
from processes import UNDISTURBED, Running, commands, results_of, run


def without(word: str, command: list[str]) -> list[str]:
    return [argument for argument in command if argument != word]


def test_twice_and_in_every_manner_of_talking(tmp_path: Path) -> None:
    for name, command in list(commands(tmp_path).items())[1:]:  # those of several groups
        talking = without("--quiet", command)
        manners = {"first": command, "second": command, "json": [*talking, "--json"]}
        folders = [tmp_path / name / manner for manner in (*manners, "bar")]
        for folder, arguments in zip(folders, manners.values(), strict=False):
            assert run(folder, *arguments).code == 0
        assert b"\x1b[" in on_a_terminal(folders[-1], talking)

        results = [results_of(folder / "run") for folder in folders]
        assert results == [results[0]] * 4


def on_a_terminal(folder: Path, arguments: list[str]) -> bytes:
    """Run with a progress bar; returns what was written to the terminal."""
    terminal, stderr = pty.openpty()
    running = Running(folder, arguments, UNDISTURBED, stderr=os.ttyname(stderr))
    seen = b""
    while running.process.is_alive():
        while select.select([terminal], [], [], 0.05)[0]:
            seen += os.read(terminal, 4096)
    assert running.wait().code == 0
    os.close(stderr)
    os.close(terminal)
    return seen


@pytest.mark.parametrize(
    ("threads", "seeds"),
    [((1, 2), 3), pytest.param((1, 2, 3, 4, 5, 7, 8), 10, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("command", ["train", "lr-sweep"])
def test_the_exercise_on_any_number_of_cores(
    command: str, threads: tuple[int, ...], seeds: int, tmp_path: Path
) -> None:
    arguments = [
        *(command, "--dataset", "synthetic", "--seeds", str(seeds), "--epochs", "1"),
        *("--output", "run", "--quiet"),
    ]
    results = []
    for number in threads:
        folder = tmp_path / str(number)
        assert run(folder, *arguments, disturbance=Disturbance(threads=number)).code == 0
        results.append(results_of(folder / "run"))
    assert results == [results[0]] * len(threads)
