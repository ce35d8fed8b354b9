"""midterm from Python, as in a notebook."""

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from fake_experiment import run as fake_run

import midterm_cli as midterm
from midterm_cli import api, cli

pytestmark = pytest.mark.usefixtures("fake_train")


def test_a_run_and_the_same_call_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    monkeypatch.setattr(fake_run, "on_epoch", computed.append)

    run = midterm.run("train", lr=np.float64(0.002), hidden_sizes=(3,), quiet=True)
    again = midterm.run("train", lr=0.002, hidden_sizes=np.array([3]), quiet=True)

    assert computed == [1, 2, 3, 4]
    assert again.document == run.document == midterm.load(run.folder).document
    midterm.run("train", lr=0.002, hidden_sizes=[3], quiet=True, force=True)
    assert computed == 2 * [1, 2, 3, 4]
    assert run.folder == Path("outputs/train/hidden_sizes=3_,lr=0.002")
    assert run.provenance.command == "midterm.run('train', lr=0.002, hidden_sizes=[3])"
    assert list(run.figures()) == ["weights"]
    png = run._repr_png_()
    assert png is not None
    assert png.startswith(b"\x89PNG")


def test_a_config_file_or_values_stand_under_the_arguments(folder: Path) -> None:
    Path("my.yaml").write_text("lr: 0.5\nseed: 7\n", encoding="utf-8")

    for config in ("my.yaml", Path("my.yaml"), {"lr": 0.5, "seed": 7}):
        found = midterm.run("train", config=config, seed=8, quiet=True).document["config"]
        assert (found["lr"], found["seed"]) == (0.5, 8)


def test_errors_speak_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(midterm.UserError, match="did you mean 'hidden_sizes'"):
        midterm.run("train", hiden_sizes=[3])
    with pytest.raises(midterm.UserError, match="did you mean 'train'"):
        midterm.run("trian")
    midterm.run("train", output="run", quiet=True)
    with pytest.raises(midterm.UserError, match="choose another output, or add force=True"):
        midterm.run("train", lr=1.0, output="run")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(midterm.UserError, match='use device="cpu"'):
        midterm.run("train", device="cuda")


@pytest.mark.parametrize(
    ("told", "in_python"),
    [
        ("add --force to replace it", "add force=True to replace it"),
        ("use --device cpu", 'use device="cpu"'),
        ("leave out --lr-from, or --lr.", "leave out lr_from, or lr."),
        ("no run in a--output", "no run in a--output"),
        ("run `midterm data fetch --data-dir x`", "run `midterm data fetch --data-dir x`"),
        (
            "split it: midterm data convert a b --seed 1",
            "split it: midterm data convert a b --seed 1",
        ),
    ],
)
def test_options_are_arguments_in_messages_but_not_in_commands(told: str, in_python: str) -> None:
    assert api.in_python(told) == in_python


def test_a_run_in_a_thread(folder: Path) -> None:
    found = []
    thread = threading.Thread(target=lambda: found.append(midterm.run("train", quiet=True)))

    thread.start()
    thread.join()

    assert found[0].results == midterm.run("train").results


def test_an_interrupted_call_goes_on_when_it_is_made_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []

    def twice(epoch: int) -> None:
        computed.append(epoch)
        if computed == [1, 2]:
            # A notebook's process does not end by a second one.
            for _ in range(2):
                with pytest.raises(KeyboardInterrupt):
                    os.kill(os.getpid(), signal.SIGINT)
            raise KeyboardInterrupt

    monkeypatch.setattr(fake_run, "on_epoch", twice)

    with pytest.raises(KeyboardInterrupt):
        midterm.run("train", quiet=True)
    run = midterm.run("train", quiet=True)

    assert computed == [1, 2, 3, 4]
    assert run.results == midterm.run("train", output="whole", quiet=True).results


def test_a_table_is_a_data_frame_where_pandas_is_installed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = midterm.run("train", quiet=True)
    monkeypatch.setitem(sys.modules, "pandas", None)
    rows = run.table("results")

    class Pandas:
        DataFrame = staticmethod(lambda rows: ("a frame of", rows))

    monkeypatch.setitem(sys.modules, "pandas", Pandas)
    assert run.table("results") == ("a frame of", rows)
    with pytest.raises(midterm.UserError, match="no table 'histroy'"):
        run.table("histroy")


def test_a_command_line_in_a_notebook(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stdout takes text, and no bytes."""
    monkeypatch.setattr(sys, "stdout", shown := io.StringIO())

    assert cli.main(["train"]) == 0

    assert shown.getvalue().endswith("\noutputs/train/default\n")


def test_importing_says_nothing_and_waits_for_nothing(tmp_path: Path) -> None:
    code = "import sys, midterm_cli as m; m.run, m.load; sys.exit('torch' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
