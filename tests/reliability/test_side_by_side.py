"""Processes that work in one folder at the same time do not get in each other's way."""

from pathlib import Path

from processes import UNDISTURBED, Running, commands, results_of, run, tree, watched

RATES = ["1e-3", "2e-3", "3e-3", "4e-3", "5e-3", "6e-3", "7e-3", "8e-3"]


def test_eight_rates_at_once(tmp_path: Path) -> None:
    command = commands(tmp_path)["train-groups"]
    at = command.index("--output")
    del command[at : at + 2]
    alone, together = tmp_path / "alone", tmp_path / "together"
    for rate in RATES:
        assert run(alone, *command, "--lr", rate).code == 0

    with watched(together):
        racing = [Running(together, [*command, "--lr", rate], UNDISTURBED) for rate in RATES]
        answers = [running.wait() for running in racing]

    assert [answer.code for answer in answers] == [0] * 8
    folders = [answer.out.strip() for answer in answers]
    assert len(set(folders)) == 8
    assert [results_of(together / folder) for folder in folders] == [
        results_of(alone / folder) for folder in folders
    ]
    assert tree(together) == tree(alone)


def test_two_of_the_same_config(tmp_path: Path) -> None:
    command = commands(tmp_path)["train-groups"]
    for _ in range(5):
        work = tmp_path / "work"
        with watched(work):
            racing = [Running(work, [*command, "--force"], UNDISTURBED) for _ in range(2)]
            answers = sorted(running.wait() for running in racing)

        assert answers[0].code == 0
        # The second is told that the first is at work, unless it came when that was done.
        if answers[1].code:
            assert answers[1] == (
                2,
                "",
                f"Error: another process is writing {work / 'run'}: "
                "wait for it, or choose another --output\n",
            )
        assert tree(work) == {"run"} | {f"run/{path.name}" for path in (work / "run").iterdir()}
