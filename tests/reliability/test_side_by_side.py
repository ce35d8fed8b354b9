"""Processes that work in one folder at the same time do not get in each other's way."""

from pathlib import Path

import pytest
from processes import UNDISTURBED, Running, commands, results_of, run, tree, watched


@pytest.mark.parametrize("count", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_several_rates_at_once(count: int, tmp_path: Path) -> None:
    rates = [f"{place}e-3" for place in range(1, count + 1)]
    command = commands(tmp_path)["train-groups"]
    at = command.index("--output")
    del command[at : at + 2]
    alone, together = tmp_path / "alone", tmp_path / "together"
    for rate in rates:
        assert run(alone, *command, "--lr", rate).code == 0

    with watched(together):
        racing = [Running(together, [*command, "--lr", rate], UNDISTURBED) for rate in rates]
        answers = [running.wait() for running in racing]

    assert [answer.code for answer in answers] == [0] * count
    folders = [answer.out.strip() for answer in answers]
    assert len(set(folders)) == count
    assert [results_of(together / folder) for folder in folders] == [
        results_of(alone / folder) for folder in folders
    ]
    assert tree(together) == tree(alone)


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_two_of_the_same_config(times: int, tmp_path: Path) -> None:
    command = commands(tmp_path)["train-groups"]
    for _ in range(times):
        work = tmp_path / "work"
        with watched(work):
            racing = [Running(work, [*command, "--force"], UNDISTURBED) for _ in range(2)]
            answers = sorted(running.wait() for running in racing)

        assert answers[0].code == 0
        # The second is told that the first is at work, unless it came when that was done.
        if answers[1].code:
            assert (answers[1].code, answers[1].out) == (2, "")
            assert f"another process is writing {work / 'run'}" in answers[1].err
        assert tree(work) == {"run"} | {f"run/{path.name}" for path in (work / "run").iterdir()}
