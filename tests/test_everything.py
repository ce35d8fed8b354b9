"""`midterm all`: which commands it runs, in which order, and when it stops."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from answer import Answer

from midterm_cli import cli
from midterm_cli.cli import everything
from midterm_cli.cli.everything import LINES, Section
from midterm_cli.config.presets import presets
from midterm_cli.registry import EXPERIMENTS

Midterm = Callable[..., Answer]
Recorded = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """The exit code of `midterm all`, and the command lines that it ran, which exit as told."""

    def run(*only: Section, codes: dict[str, int] | None = None) -> tuple[int, list[str]]:
        ran: list[str] = []

        def main(words: list[str]) -> int:
            ran.append(shlex.join(words))
            return (codes or {}).get(" ".join(words[:2]), 0)

        monkeypatch.setattr(cli, "main", main)
        return everything.everything(list(only) or None), ran

    return run


def test_all_runs_the_data_the_parts_and_in_the_end_the_report(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    code, ran = recorded()

    assert code == 0
    assert ran[0] == "data fetch"
    assert ran[-1] == "report"
    assert len(ran) == 1 + sum(map(len, LINES.values()))
    assert capsys.readouterr().err.splitlines() == [f"$ midterm {line}" for line in ran]
    assert sum("--dataset fashion_mnist" in line for line in ran) == 5


def test_every_packaged_config_of_the_exercise_is_run(recorded: Recorded) -> None:
    _, ran = recorded()
    commands = {row.command.removeprefix("midterm "): row.name for row in EXPERIMENTS.values()}

    run = set()
    for line in ran:
        words, _, config = line.partition(" --resume")[0].partition(" --config ")
        run.add(config or commands.get(words, words))

    # The range test is no question of the exercise.
    assert run - {"data fetch", "report"} == {*presets()} - {"lr_range"}


@pytest.mark.parametrize("section", Section)
def test_one_section_runs_alone_and_gets_data_only_where_it_reads_some(
    section: Section, recorded: Recorded
) -> None:
    _, ran = recorded(section)

    reads = section in (Section.PART3, Section.PART4, Section.REFERENCE)
    assert (ran[0] == "data fetch") == reads
    assert len(ran) == len(LINES[section]) + reads


def test_without_the_data_the_images_are_synthetic_and_it_is_said_loudly(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    code, ran = recorded(codes={"data fetch": 2})

    assert code == 0
    assert sum("--dataset synthetic" in line for line in ran) == 5
    assert not any("fashion_mnist" in line for line in ran)
    assert "*** No Fashion-MNIST here: running on SYNTHETIC" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("failing", "code", "last"),
    [("data fetch", 130, "data fetch"), ("module grad", 2, "module grad --resume --force")],
)
def test_the_first_command_that_fails_ends_it(
    failing: str, code: int, last: str, recorded: Recorded
) -> None:
    found, ran = recorded(codes={failing: code})
    assert (found, ran[-1]) == (code, last)


@pytest.mark.parametrize("line", [line for lines in LINES.values() for line in lines])
def test_every_line_is_a_command(line: str, folder: Path, midterm: Midterm) -> None:
    """Its words are understood, up to one that is wrong on purpose."""
    wrong = ["--set", "nonsense=1"] if line != "report" else ["--runs", "nowhere"]
    answer = midterm(*shlex.split(line.format(dataset="synthetic")), *wrong)

    assert answer.code == 2
    assert answer.err.startswith(("Error: unknown key 'nonsense'", "Error: no folder nowhere"))


@pytest.mark.usefixtures("unrendered")
def test_finished_runs_are_kept(folder: Path, midterm: Midterm) -> None:
    first = midterm("all", "--only", "part2")
    assert first.code == 0
    runs = [folder / "outputs" / name / "default" / "metrics.json" for name in ("softt", "module")]
    before = [run.read_bytes() for run in runs]

    assert midterm("all", "--only", "part2").code == 0
    assert [run.read_bytes() for run in runs] == before


# ---- make, which calls it

ROOT = Path(__file__).parent.parent
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


@needs_make
@pytest.mark.parametrize("target", ["all", *Section])
def test_make_runs_what_midterm_all_does(target: str) -> None:
    done = subprocess.run(
        ["make", "-j2", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True
    )
    only = "" if target == "all" else f" --only {target}"
    commands = [line for line in done.stdout.splitlines() if line.startswith(".venv/bin/midterm")]
    assert commands == [f".venv/bin/midterm all{only}"]


@pytest.fixture
def pythons(tmp_path: Path) -> Path:
    """A folder with the Makefile, a .venv of Python 3.11 and a Python 3.12."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for path, version in ((".venv/bin/python", "3.11.9"), ("python3.12", "3.12.4")):
        (tmp_path / path).write_text(f"#!/bin/sh\necho Python {version}\n", encoding="utf-8")
        (tmp_path / path).chmod(0o755)
    return tmp_path


@needs_make
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([], ""),
        (["PYTHON=.venv/bin/python"], ""),
        (["PYTHON=./python3.12"], ".venv is of Python 3.11.9, not of Python 3.12.4: make clean"),
    ],
)
def test_a_venv_of_another_python_than_the_one_asked_for_is_refused(
    asked: list[str], said: str, pythons: Path
) -> None:
    theirs = {"PYTHON", "MAKEFLAGS", "MAKEOVERRIDES"}  # of `make test PYTHON=…`
    environment = {key: value for key, value in os.environ.items() if key not in theirs}
    done = subprocess.run(
        ["make", "same-python", *asked],
        cwd=pythons,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (said == "")
    assert said in done.stdout
