"""The loops of examples/, once with midterm itself and often with a stand-in that exits as told."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPT = EXAMPLES / "lr_loop.sh"

# Writes down how it was called; prints a run folder named after the rate; exits with the code that
# is in a file of the rate's name, and 130 at an interrupt while a file named `slow` is there.
STAND_IN = """\
#!/usr/bin/env bash
trap 'exit 130' INT
echo "$*" >> calls
[[ $1 == train ]] || exit 0
lr=$(sed 's/.*--lr \\([^ ]*\\).*/\\1/' <<< "$*")
while [[ -e slow ]]; do sleep 0.02; done
echo "a summary"
echo "outputs/train/lr=$lr"
exit "$(cat "$lr" 2> /dev/null || echo 0)"
"""


def environment(programs: Path) -> dict[str, str]:
    return os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def stand_in(tmp_path: Path) -> dict[str, str]:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "midterm").write_text(STAND_IN, encoding="utf-8")
    (programs / "midterm").chmod(0o755)
    return environment(programs)


def loop(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments], env=env, capture_output=True, text=True, check=False, timeout=60
    )


def rates(calls: Sequence[str]) -> list[str]:
    return [call.partition(" --lr ")[2].split()[0] for call in calls if call.startswith("train")]


def calls() -> list[str]:
    return Path("calls").read_text(encoding="utf-8").splitlines()


def test_five_rates_and_then_the_table(folder: Path, stand_in: dict[str, str]) -> None:
    assert loop(stand_in).returncode == 0

    made = calls()
    assert rates(made) == ["5e-4", "1e-3", "2e-3", "4e-3", "8e-3"]
    assert all("--resume" in call for call in made[:-1])
    assert made[-1] == " ".join(
        ["compare", *(f"outputs/train/lr={lr}" for lr in rates(made)), "--by lr"]
    )


def test_rates_and_options_of_ones_own(folder: Path, stand_in: dict[str, str]) -> None:
    assert loop(stand_in, "0.1", "--", "--set", "dataset=my images").returncode == 0
    assert loop(stand_in, "--", "--epochs", "1").returncode == 0

    made = calls()
    assert rates(made)[:2] == ["0.1", "5e-4"]
    # An option wins over --set, and --lr stays the loop's own.
    assert made[0].index("--set epochs=5") < made[0].index("--set dataset=my images --lr 0.1")
    assert "--set epochs=5 --epochs 1 --lr" in made[2]


def test_a_training_that_fails_does_not_stop_the_loop(
    folder: Path, stand_in: dict[str, str]
) -> None:
    Path("1").write_text("3", encoding="utf-8")

    done = loop(stand_in, "1", "2")

    assert done.returncode == 0
    assert "lr 1: training failed" in done.stderr
    assert calls()[-1] == "compare outputs/train/lr=1 outputs/train/lr=2 --by lr"


@pytest.mark.parametrize("code", [1, 2, 130])
def test_anything_else_does(code: int, folder: Path, stand_in: dict[str, str]) -> None:
    Path("1").write_text(str(code), encoding="utf-8")

    assert loop(stand_in, "1", "2").returncode == code
    assert rates(calls()) == ["1"]
    assert len(calls()) == 1


def test_an_interrupt_ends_the_loop_and_it_can_be_started_again(
    folder: Path, stand_in: dict[str, str]
) -> None:
    Path("slow").touch()
    # As in a terminal: Ctrl-C goes to the whole group of processes.
    with subprocess.Popen(
        [SCRIPT, "1", "2"], env=stand_in, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        while not Path("calls").exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        # 130, or ended by the signal itself, which a shell reports as 130.
        assert process.wait(timeout=20) in (130, -signal.SIGINT)
    assert rates(calls()) == ["1"]

    Path("slow").unlink()
    assert loop(stand_in, "1", "2").returncode == 0
    assert rates(calls()) == ["1", "1", "2"]


@pytest.mark.slow
def test_the_real_loop_twice(folder: Path) -> None:
    env = environment(Path(sys.executable).parent)
    options = ["--dataset", "synthetic", "--set", "train_fraction=0.1", "--set", "hidden_sizes=[8]"]
    arguments = ["2e-3", "4e-1", "--", *options, "--seeds", "1", "--epochs", "1", "--quiet"]

    first = loop(env, *arguments)
    assert first.returncode == 0, first.stderr
    header, *rows, figure = first.stdout.splitlines()
    assert header.split()[0] == "lr"
    assert [row.split()[:2] for row in rows] == [
        ["0.002", "raw"],
        ["0.002", "ema_0.001"],
        ["0.4", "raw"],
        ["0.4", "ema_0.001"],
    ]
    assert "lr 4e-1: training failed" in first.stderr
    assert Path(figure).read_bytes().startswith(b"\x89PNG")
    times = {path: path.stat().st_mtime_ns for path in Path("outputs/train").rglob("*.json")}
    assert len(times) == 2

    again = loop(env, *arguments)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert {path: path.stat().st_mtime_ns for path in times} == times


# ---- examples/optimizers.sh


@pytest.mark.slow
def test_the_loop_over_optimizers_ends_in_one_figure(folder: Path) -> None:
    env = environment(Path(sys.executable).parent)
    options = ["--dataset", "synthetic", "--set", "train_fraction=0.02", "--hidden-sizes", "8"]
    done = subprocess.run(
        [EXAMPLES / "optimizers.sh", *options, "--seeds", "3", "--max-rates", "4", "--quiet"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    header, *rows, figure = done.stdout.splitlines()
    assert header.split()[:2] == ["optimizer", "momentum"]
    assert [row.split()[:2] for row in rows] == [["sgd", "0.0"], ["sgd", "0.9"], ["adam", "0.0"]]
    assert Path(figure).read_bytes().startswith(b"\x89PNG")
