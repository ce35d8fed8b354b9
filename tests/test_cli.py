"""The command line as its user meets it: exit codes, streams, help. Its words: messages.txt."""

import io
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from answer import Answer
from fake_experiment import run as fake_run
from fake_experiment.schema import DEFAULTS, Config, Results
from written_runs import write_sweep, write_train

import midterm_cli
from midterm_cli import cli
from midterm_cli.cli.program import print_path
from midterm_cli.config.presets import experiment_of, presets
from midterm_cli.config.resolve import resolve
from midterm_cli.data import datasets
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Output
from midterm_cli.registry import EXPERIMENTS
from midterm_cli.runner import make
from midterm_cli.runner.interrupt import Terminated

Midterm = Callable[..., Answer]


def is_told(answer: Answer, *parts: str) -> None:
    """A mistake of the user's: exit code 2 and one or two lines on stderr that say all this."""
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("Error: ")
    assert 1 <= len(answer.err.splitlines()) <= 2
    assert [part for part in parts if part not in answer.err] == []


@pytest.mark.usefixtures("fake_train")
@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--device", "cuda"], ["cuda", "--device cpu"]),
        (["--output", "file/run"], ["file/run", "--output"]),
        (["--output", "x" * 300], ["x" * 100, "--output"]),
        (["--output", ""], ["current folder", "--output"]),
        (["--output", "/", "--force"], ["/ holds '", "--output"]),
    ],
)
def test_a_mistake_leaves_nothing(
    arguments: list[str],
    parts: list[str],
    folder: Path,
    midterm: Midterm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (folder / "file").touch()

    is_told(midterm("train", *arguments), *parts)

    assert list(folder.iterdir()) == [folder / "file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.usefixtures("fake_train")
def test_a_folder_without_write_permission(folder: Path, midterm: Midterm) -> None:
    folder.chmod(0o500)

    is_told(midterm("train"), "outputs/train/default", "--output")

    folder.chmod(0o700)
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("fake_train")
def test_a_number_with_an_exponent_is_a_number(folder: Path, midterm: Midterm) -> None:
    Path("my.yaml").write_text("lr: 1e-2\n", encoding="utf-8")

    runs = [
        midterm("train", "--config", "my.yaml", "--output", "a", "--json"),
        midterm("train", "--set", "lr=1e-2", "--output", "b", "--json"),
        midterm("train", "--lr", "1e-2", "--output", "c", "--json"),
    ]

    assert [json.loads(run.out)["config"]["lr"] for run in runs] == [0.01, 0.01, 0.01]


@pytest.mark.usefixtures("fake_train")
def test_the_answer_goes_to_stdout_with_the_folder_last_and_talk_to_stderr(
    folder: Path, midterm: Midterm
) -> None:
    code, out, err = midterm("train", "--lr", "0.002", "--seed", "3", "--ema-gamma", "1", "--quiet")
    assert (code, err) == (0, "")
    assert out == "outputs/train/seed=3,lr=0.002,ema_gamma=1.0_\n"

    code, out, err = midterm("train")
    assert code == 0
    assert out.startswith("Weights\n")
    assert out.endswith("\noutputs/train/default\n")
    assert [line.split()[0] for line in err.splitlines()] == ["4/4"]
    preset = midterm("train", "--config", "reference/train", "-q")
    assert preset.out == "outputs/train/reference\n"


@pytest.mark.usefixtures("fake_train")
def test_json_is_the_metrics_document_and_nothing_else(folder: Path, midterm: Midterm) -> None:
    code, out, err = midterm("train", "--json", "--ema-gamma", "0.5", "--ema-gamma", "0.1")

    assert code == 0
    document = json.loads(out)
    assert document["config"]["ema_gamma"] == [0.5, 0.1]
    assert document["provenance"]["command"] == (
        "midterm train --json --ema-gamma 0.5 --ema-gamma 0.1"
    )
    assert out == next(folder.rglob("metrics.json")).read_text(encoding="utf-8")
    assert [line.split()[0] for line in err.splitlines()] == ["4/4"]


@pytest.mark.usefixtures("fake_train")
def test_a_failure_is_an_error_only_when_asked_and_recorded_all_the_same(
    folder: Path, midterm: Midterm
) -> None:
    failing = ["train", "--lr", "2", "--quiet"]

    assert midterm(*failing) == (0, "outputs/train/lr=2.0\n", "Warning: collapsed\n")
    code, out, _ = midterm(*failing, "--output", "run", "--fail-on-failure")
    assert (code, out) == (3, "run\n")
    assert (folder / "run" / "metrics.json").exists()
    assert midterm(*failing, "--output", "run", "--fail-on-failure", "--resume").code == 3
    assert midterm("train", "--fail-on-failure").code == 0


@pytest.mark.usefixtures("fake_train")
def test_the_same_command_has_the_same_answer(
    folder: Path, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = midterm("train", "--lr", "2")
    document = (folder / "outputs/train/lr=2.0/metrics.json").read_text(encoding="utf-8")

    code, out, err = midterm("train", "--lr", "2")
    assert (code, out) == (0, first.out)
    assert [line.split(" ")[0] for line in err.splitlines()] == ["outputs/train/lr=2.0", "Warning:"]
    assert "--force" in err
    for options in (["--json"], ["--json", "--resume"]):
        assert midterm("train", "--lr", "2", "-q", *options).out == document
    assert midterm("show", "outputs/train/lr=2.0") == (0, first.out, "Warning: collapsed\n")
    assert midterm("show", "outputs/train/lr=2.0", "--json").out == document
    computed: list[int] = []
    monkeypatch.setattr(fake_run, "on_epoch", computed.append)
    assert midterm("train", "--lr", "2").out == first.out
    assert computed == []
    assert midterm("train", "--lr", "2", "--force").out == first.out
    assert computed == [1, 2, 3, 4]
    other = ["train", "--output", "outputs/train/lr=2.0", "--lr", "1"]
    is_told(midterm(*other), "lr=2.0, not 1.0", "--force")


@pytest.mark.usefixtures("fake_train")
def test_a_run_is_repeated_and_compared(
    folder: Path, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    midterm("train", "--config", "reference/train", "--seed", "3", "--output", "first")

    code, out, _ = midterm("repeat", "first", "-q")
    assert code == 0
    assert out.splitlines()[0].startswith("The results are the same: ")
    assert out.endswith("\noutputs/repeat/train/first\n")
    is_told(midterm("repeat", "first"), "outputs/repeat/train/first", "--force", "midterm diff")
    is_told(midterm("repeat", "first", "--force", "--resume"), "leave one of them out")

    # A library that computes otherwise: one of the weights is another.
    run = fake_run.run

    def other(config: Config, context: Context) -> Output:
        output = run(config, context)
        assert isinstance(output.results, Results)
        weights = [2 * output.results.w[0], *output.results.w[1:]]
        return replace(output, results=output.results.model_copy(update={"w": weights}))

    monkeypatch.setattr(fake_run, "run", other)
    code, out, _ = midterm("repeat", "first", "--output", "second")
    assert code == 3
    assert "numbers by at most 0.5 of their size" in out
    assert out.endswith("\nsecond\n")
    compared = json.loads(midterm("diff", "first", "second", "--json").out)
    assert not compared["same"]
    assert [change["key"] for change in compared["results"]] == ["w[0]"]


@pytest.mark.usefixtures("fake_train")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_says_how_to_resume(
    number: signal.Signals,
    code: int,
    folder: Path,
    midterm: Midterm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fake_run, "on_epoch", lambda epoch: os.kill(os.getpid(), number))

    answer = midterm("train", "--quiet")

    assert (answer.code, answer.out) == (code, "")
    assert len(answer.err.splitlines()) == 1
    assert "--resume" in answer.err


@pytest.mark.usefixtures("fake_train")
def test_a_bug_keeps_its_traceback(
    folder: Path, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(fake_run, "run", fail)

    with pytest.raises(ZeroDivisionError):
        midterm("train")
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("fake_train")
def test_names_from_outside_cannot_reach_the_terminal(
    folder: Path, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UserError("no data in \x1b[2J\nfetch it")

    monkeypatch.setattr(fake_run, "run", fail)
    assert midterm("train").err == "Error: no data in \\x1b[2J\nfetch it\n"

    for arguments in (
        ["--config", "\x1b[2J.yaml"],
        ["--set", "\x1b[2J=1"],
        ["--set", 'dataset=["\\e[2J"]'],
        ["--activation", "\x1b[2J[red]"],
        ["--\x1b[2J"],
        ["\x1b[2J"],
    ):
        answer = midterm("train", *arguments)
        assert answer.code == 2
        assert "\x1b" not in answer.err


@pytest.mark.usefixtures("fake_train")
def test_an_output_folder_whose_name_is_not_text(folder: Path, midterm: Midterm) -> None:
    name = os.fsdecode(b"run-\xff")
    try:
        Path(name).mkdir()
    except OSError:
        pytest.skip("this file system takes only Unicode names")

    code, _, err = midterm("train", "--quiet", "--output", name)

    assert (code, err) == (0, "")
    json.loads((folder / name / "metrics.json").read_text(encoding="utf-8"))


def test_a_folder_is_printed_byte_by_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    stdout = io.TextIOWrapper(written, encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", stdout)

    print_path(Path(os.fsdecode(b"run-\xff")))

    assert written.getvalue() == b"run-\xff\n"


@pytest.mark.usefixtures("fake_train")
def test_draw_prints_the_figures(folder: Path, midterm: Midterm) -> None:
    midterm("train", "--output", "run")

    assert midterm("draw", "run") == (0, "run/weights.png\n", "")


# ---- config


@pytest.mark.usefixtures("fake_train")
def test_config_list_and_show(folder: Path, midterm: Midterm) -> None:
    code, out, err = midterm("config", "list")
    assert (code, err) == (0, "")
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    assert [line[0] for line in lines] == presets()
    assert ["train", "A recursion instead of training."] in lines

    code, out, err = midterm(
        "config", "show", "--config", "reference/train", "--set", "hidden_sizes=[4]"
    )
    assert (code, err) == (0, "")
    lines = [line.split(" # ") for line in out.splitlines()]
    shown = {line[0].strip(): line[1:] for line in lines}
    assert shown["activation: identity"] == ["reference/train"]
    assert shown["hidden_sizes: [4]"] == ["--set, default [32, 16]"]
    assert shown["seed: 0"] == []
    Path("shown.yaml").write_text(out, encoding="utf-8")
    assert midterm("config", "validate", "shown.yaml").code == 0
    as_json = midterm("config", "show", "shown.yaml", "--json").out
    assert json.loads(as_json)["hidden_sizes"] == [4]
    folder_of_a_run = midterm("train", "--config", "shown.yaml", "-q").out.strip()
    assert midterm("config", "show", folder_of_a_run, "--json").out == as_json


@pytest.mark.usefixtures("fake_train")
def test_a_key_that_is_gone_is_left_out_with_a_warning(folder: Path, midterm: Midterm) -> None:
    Path("train.yaml").write_text("momentum: 0.9\n", encoding="utf-8")

    for words in (
        ["train", "--config", "train.yaml", "--quiet"],
        ["config", "show", "--config", "train.yaml"],
        ["config", "validate", "train.yaml"],
    ):
        code, _, err = midterm(*words)
        assert code == 0
        assert err.startswith("Warning: momentum in train.yaml")


@pytest.mark.usefixtures("fake_train")
def test_config_validate(folder: Path, midterm: Midterm) -> None:
    Path("mine.yaml").write_text("lr: 1e-2\n", encoding="utf-8")
    Path("train.yaml").write_text("lr: -1\n", encoding="utf-8")

    is_told(midterm("config", "validate", "mine.yaml"), "mine.yaml", "train")
    code, out, err = midterm("config", "validate", "mine.yaml", "--experiment", "train")
    assert (code, err) == (0, "")
    assert "mine.yaml" in out
    assert midterm("config", "validate", "reference/train").code == 0
    is_told(midterm("config", "validate", "train.yaml"), "lr", "-1")


@pytest.mark.usefixtures("fake_train")
def test_config_copy_is_ready_to_be_edited(folder: Path, midterm: Midterm) -> None:
    assert midterm("config", "copy", "train") == (0, "train.yaml\n", "")
    assert Path("train.yaml").read_text(encoding="utf-8") == DEFAULTS
    Path("train.yaml").write_text("lr: 2\n", encoding="utf-8")

    is_told(midterm("config", "copy", "train"), "train.yaml", "--force")
    assert Path("train.yaml").read_text(encoding="utf-8") == "lr: 2\n"
    assert midterm("config", "copy", "train", "--force").code == 0
    assert midterm("config", "copy", "reference/train", "new/mine.yaml").out == "new/mine.yaml\n"
    assert midterm("config", "copy", "reference/train", "new").out == "new/reference/train.yaml\n"


# ---- the real thing


RIGHT = "3*x**2 * (2 + x**3)/(1 + x**3) * (1/(2*sqrt(y)) + cos(y))"
WRONG = RIGHT.replace("+ cos", "- cos")


@pytest.mark.usefixtures("unrendered")
def test_autodiff_gives_the_published_numbers(folder: Path, midterm: Midterm) -> None:
    code, out, _ = midterm("autodiff", "--json")
    assert code == 0
    results = json.loads(out)["results"]
    assert results["f"] == pytest.approx(2.53492754899111, abs=1e-12, rel=0)
    for method in ("chain_rule", "autograd", "autograd_forward", "symbolic"):
        assert results["derivative"][method] == pytest.approx(9.24847224944833, abs=1e-12, rel=0)
    assert midterm("autodiff", "--x", "1.432", "-q").out == "outputs/autodiff/default\n"

    code, out, _ = midterm("autodiff", "--config", "reference/autodiff")
    assert code == 0
    assert out.endswith("\noutputs/autodiff/reference\n")
    assert "2.5349" in out
    assert "9.2485" in out


@pytest.mark.usefixtures("unrendered")
def test_autodiff_at_one_point_gives_numbers_and_at_several_lists(
    folder: Path, midterm: Midterm
) -> None:
    one = json.loads(midterm("autodiff", "--x", "1", "--quiet", "--json").out)
    two = json.loads(midterm("autodiff", "--x", "1", "--x", "-0.5", "--quiet", "--json").out)

    assert (one["config"]["x"], two["config"]["x"]) == (1.0, [1.0, -0.5])
    assert two["results"]["f"][0] == one["results"]["f"]


@pytest.mark.usefixtures("unrendered")
def test_autodiff_judges_a_formula(folder: Path, midterm: Midterm) -> None:
    code, _, err = midterm("autodiff", "--formula", RIGHT, "--fail-on-failure", "--output", "a")
    assert code == 0
    assert "Warning" not in err

    code, out, err = midterm("autodiff", "--formula", WRONG, "--quiet", "--output", "b")
    assert (code, out) == (0, "b\n")
    (warning,) = err.splitlines()
    assert "wrong at 454 of 454 points" in warning
    assert "3 * x**2" in warning  # which is right with one sign changed
    assert midterm("autodiff", "--formula", WRONG, "--fail-on-failure", "--output", "c").code == 3


def test_softt_plot(folder: Path, midterm: Midterm) -> None:
    options = ["--threshold", "2", "--range", "-6", "6", "--second-derivative"]
    code, out, _ = midterm("softt", "plot", *options, "--output", "run", "--json")

    assert code == 0
    results = json.loads(out)["results"]
    assert (results["threshold"], results["y"][0], results["f"][0]) == (2.0, -6.0, -64.0)
    assert results["second_derivative"][-1] == 2
    assert Path("run/softt.png").exists()


@pytest.mark.usefixtures("unrendered")
def test_module_grad_takes_the_same_numbers_from_everywhere(
    folder: Path, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix, x = [[2.0, 0.0], [0.0, -1.0]], [4.0, 4.0]
    np.save("m.npy", np.array(matrix))
    np.save("x.npy", np.array(x))
    Path("m.csv").write_text("2,0\n0,-1\n", encoding="utf-8")
    Path("both.yaml").write_text("x: [4, 4]\nmatrix:\n- [2, 0]\n- [0, -1]\n", encoding="utf-8")
    given = [("m.npy", "x.npy"), ("m.csv", "[4, 4]"), ("both.yaml", "both.yaml")]

    documents = [
        json.loads(
            midterm(
                *("module", "grad", "--threshold", "1", "--matrix", m, "--x", x, "--json"),
                *("--quiet", "--output", str(i)),
            ).out
        )
        for i, (m, x) in enumerate(given)
    ]

    assert documents[0]["results"]["g"] == [24.5, 27.0]
    assert documents[0]["results"] == documents[1]["results"] == documents[2]["results"]
    files = [str(folder / name) for name in ("m.npy", "m.csv")]
    assert [document["config"]["matrix"] for document in documents] == [*files, matrix]
    same = ["module", "grad", "--threshold", "1", "--x", "x.npy", "--matrix"]
    assert midterm(*same, "m.npy", "--output", "0", "-q").out == "0\n"

    # The run repeats from any folder.
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    again = midterm("module", "grad", "--config", "../0/config.yaml", "--output", "b", "--json")
    assert json.loads(again.out)["results"] == documents[0]["results"]
    assert midterm("repeat", "../1").code == 0


def test_an_array_of_objects_is_refused(folder: Path, midterm: Midterm) -> None:
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)

    is_told(midterm("module", "grad", "--matrix", "objects.npy"), "objects.npy")
    assert not Path("outputs").exists()


SMALL = [
    *("--dataset", "synthetic", "--epochs", "2", "--seeds", "2", "--device", "cpu", "--quiet"),
    *("--set", "train_fraction=0.05", "--set", "hidden_sizes=[4]"),
]


def test_train_on_synthetic_images(folder: Path, midterm: Midterm) -> None:
    code, out, _ = midterm("train", *SMALL, "--output", "run")
    assert (code, out) == (0, "run\n")

    document = json.loads(Path("run/metrics.json").read_text(encoding="utf-8"))
    rows = [(row["seed"], row["epoch"], row["weights"]) for row in document["results"]["history"]]
    assert len(rows) == len(set(rows)) == 2 * 3 * 2
    assert len(document["provenance"]["data_sha256"]) == 64
    assert list(Path("run").glob("*.png"))

    again = midterm(
        "train", "--config", "run/config.yaml", "--output", "again", "--quiet", "--json"
    )
    assert json.loads(again.out)["results"] == document["results"]


def test_compare_prints_a_table_and_the_path_of_the_figure(folder: Path, midterm: Midterm) -> None:
    for lr in ("0.02", "0.003"):
        write_train(Path(lr), lr=float(lr))

    code, out, err = midterm("compare", "0.02", "0.003/metrics.json")
    assert (code, err) == (0, "")
    header, *rows, path = out.splitlines()
    assert header.split()[:3] == ["lr", "weights", "train_loss"]
    assert [row.split()[0] for row in rows] == ["0.003", "0.003", "0.02", "0.02"]
    assert path == "outputs/compare/curves.png"
    assert Path(path).read_bytes().startswith(b"\x89PNG")

    code, out, err = midterm(
        "compare", "0.02", "0.003", "--by", "seed", "--output", "new/a.png", "--json"
    )
    assert (code, err) == (0, "")
    assert len(json.loads(out)["rows"]) == 4
    assert Path("new/a.png").exists()


def test_an_empty_list_is_given(folder: Path, midterm: Midterm) -> None:
    """Softmax regression has no hidden layer; and a size of no number is a mistake."""
    small = ("--dataset", "synthetic", "--set", "train_fraction=0.01", "--epochs", "1", "--seeds=1")
    code, out, _ = midterm("train", "--hidden-sizes", "[]", *small, "--json")
    document = json.loads(out)
    assert (code, document["config"]["hidden_sizes"]) == (0, [])
    assert document["results"]["num_parameters"] == 785 * 10
    is_told(midterm("conv", "stack", "--size", "[]"), "size")


def test_compare_of_sweeps_draws_them(folder: Path, midterm: Midterm) -> None:
    write_sweep(Path("a"))

    code, out, err = midterm("compare", "a")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split()[0] == "last_stable_lr"
    assert out.splitlines()[1].split()[-1] == "a"
    assert out.splitlines()[-1] == "outputs/compare/sweeps.png"
    assert Path("outputs/compare/sweeps.png").read_bytes().startswith(b"\x89PNG")


def test_train_on_a_truncated_file_names_it(folder: Path, midterm: Midterm) -> None:
    digits = folder / "digits"
    digits.mkdir()
    for part, count in (("train", 20), ("t10k", 10)):
        sizes = np.array([count, 2, 2], dtype=">u4").tobytes()
        (digits / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes + b"\0" * count)
        labels = bytes(i % 10 for i in range(count))
        (digits / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + sizes[:4] + labels)

    is_told(midterm("train", "--dataset", "digits"), "train-images-idx3-ubyte")
    assert list(folder.iterdir()) == [digits]


def test_data_commands(folder: Path, midterm: Midterm) -> None:
    code, out, _ = midterm("data", "verify", "--data-dir", "here")
    assert code == 2
    assert [line.split()[0] for line in out.splitlines()] == ["BAD"] * 4

    shown = midterm("data", "show", "--dataset", "synthetic")
    assert shown == (0, "outputs/data/examples.png\n", "")
    assert Path("outputs/data/examples.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("signal", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_an_interrupted_download_says_how_to_resume(
    signal: type[BaseException],
    code: int,
    folder: Path,
    midterm: Midterm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> str:
        raise signal

    monkeypatch.setattr("midterm_cli.data.fetch.fetch", interrupted)
    answer = midterm("data", "fetch", "--data-dir", "here")
    assert (answer.code, answer.out) == (code, "")
    assert len(answer.err.splitlines()) == 1
    assert "midterm data fetch --data-dir here" in answer.err


def test_fetched_data_are_in_the_folder_on_stdout(
    folder: Path, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("midterm_cli.data.fetch.fetch", lambda folder, *_: f"it is in {folder}")
    assert midterm("data", "fetch", "--data-dir", "here") == (0, "here\n", "it is in here\n")


def test_true_data_are_verified(
    folder: Path, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = datasets.Finding("train-images-idx3-ubyte", 4, "ab" * 32, None)
    monkeypatch.setattr(datasets, "verify", lambda folder: [good])
    line = f"ok  {'ab' * 32} train-images-idx3-ubyte\n"
    assert midterm("data", "verify") == (0, line, "")


def test_an_interrupt_from_a_caller_s_own_handler(
    midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that calls `cli.main` handles signals as it likes; Python's way is an exception."""

    def interrupted(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets, "verify", interrupted)
    code, out, err = midterm("data", "verify")
    assert (code, out, err.strip()) == (130, "", "")


# ---- help


def commands(command: Any, path: tuple[str, ...] = ("midterm",)) -> Iterator[tuple[str, Any]]:
    yield " ".join(path), command
    for name, below in vars(command).get("commands", {}).items():
        yield from commands(below, (*path, name))


def test_every_command_and_every_option_has_help() -> None:
    found = dict(commands(typer.main.get_command(cli.app)))
    assert {"midterm train", "midterm draw", "midterm data fetch", "midterm config show"} <= set(
        found
    )

    silent = [path for path, command in found.items() if not command.help] + [
        f"{path} {parameter.name}"
        for path, command in found.items()
        for parameter in command.params
        if not getattr(parameter, "help", None)
    ]
    assert silent == []


class Reached(Exception):
    """A command line has come as far as the computation."""


def test_every_command_has_examples_that_can_be_typed(
    folder: Path, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached(*_: Any, **__: Any) -> None:
        raise Reached

    monkeypatch.setattr(make, "make", reached)
    write_sweep(Path("outputs/lr_sweep/default"))
    for path, command in commands(typer.main.get_command(cli.app)):
        if vars(command).get("commands"):
            continue
        assert len(command.examples) >= 2, path
        for example in command.examples:
            program, *words = shlex.split(example.partition(" | ")[0])
            assert [program, *words][: len(path.split())] == path.split()
            if command.experiment or path == "midterm grid":
                with pytest.raises(Reached):
                    midterm(*words)
            else:
                command.make_context(path, words[len(path.split()) - 1 :])


def test_help_shows_the_defaults_of_the_packaged_config(midterm: Midterm) -> None:
    shown = " ".join(midterm("train", "--help").out.split())

    config = resolve("train").config.model_dump()
    assert f"--lr NUMBER Learning rate. [default: {config['lr']}]" in shown
    assert f"[default: {config['hidden_sizes']}]" in shown
    assert shown.endswith("midterm config show train")


def test_every_long_name_has_its_short_one() -> None:
    short = {"--quiet": "-q", "--output": "-o", "--version": "-V", "--help": "-h"}
    for path, command in commands(typer.main.get_command(cli.app)):
        for parameter in command.params:
            names = parameter.opts
            assert [short[name] for name in names if name in short] == [
                name for name in names if name in short.values()
            ], f"{path} {names}"


def test_completion_of_a_line_that_would_be_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_MIDTERM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "midterm train --lr 1 --lr 2 --se")
    monkeypatch.setenv("COMP_CWORD", "6")

    assert cli.main([]) == 0

    assert capsys.readouterr().out.split() == ["--seeds", "--set", "--seed"]


@pytest.mark.usefixtures("fake_train")
def test_a_repetition_starts_at_the_start(
    folder: Path, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run beside it that could be gone on from might have the same fault."""
    monkeypatch.setattr(Config, "continues", lambda config, earlier: earlier.epochs < config.epochs)
    midterm("train", "--set", "epochs=2", "--output", "beside/short")
    midterm("train", "--set", "epochs=3", "--output", "first")
    again = midterm("train", "--set", "epochs=3", "--output", "beside/more", "--resume")
    assert "Goes on from the end of beside/short" in again.err

    code, _, err = midterm("repeat", "first", "--output", "beside/repeated", "--resume")

    assert code == 0
    assert "Goes on from" not in err


def test_measured_times_are_no_difference(folder: Path, midterm: Midterm) -> None:
    small = ["--dataset", "synthetic", "--size", "8", "--set", "repeats=1", "--output", "a", "-q"]
    assert midterm("conv", "stride", *small).code == 0

    assert midterm("repeat", "a").code == 0
    assert json.loads(midterm("diff", "a", "outputs/repeat/conv_stride/a", "--json").out)["same"]


LONG = "x" * 300


@pytest.mark.parametrize(
    "words",
    [
        ["compare", f"{LONG}*"],
        ["show", LONG],
        ["report", LONG],
        ["report", "--output", f"{LONG}.png"],
        ["autodiff", "--formula", f"@{LONG}"],
        ["softt", "plot", "--output", f"{LONG}.png"],
        ["config", "show", LONG],
        ["config", "validate", LONG],
        ["data", "convert", "synthetic", LONG],
        ["grid", "softt", "threshold=1", "--output", LONG],
        ["train", "--dataset", LONG],
        ["module", "grad", "--matrix", LONG],
    ],
)
def test_a_name_that_no_file_can_have(words: list[str], folder: Path, midterm: Midterm) -> None:
    answer = midterm(*words)

    assert (answer.code, answer.out) == (2, "")
    assert "Error: " in answer.err


def test_every_experiment_takes_the_options_of_the_contract() -> None:
    found = dict(commands(typer.main.get_command(cli.app)))

    for experiment in EXPERIMENTS.values():
        command = found[experiment.command]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {
            "--config",
            "--set",
            "--device",
            "--seed",
            "--output",
            "--json",
            "--quiet",
            "--force",
            "--resume",
        } <= options


@pytest.mark.parametrize("arguments", [["--help"], ["train", "-h"], ["data", "fetch", "--help"]])
def test_help(arguments: list[str], midterm: Midterm) -> None:
    code, out, err = midterm(*arguments)

    assert (code, err) == (0, "")
    assert out.startswith("Usage: midterm")


def test_version(midterm: Midterm) -> None:
    assert midterm("--version") == (0, f"midterm {midterm_cli.__version__}\n", "")


# ---- the packaged configs

SMALLEST = {
    "train": ["--dataset", "synthetic", "--seeds", "1", "--epochs", "1"],
    "lr_sweep": ["--dataset", "synthetic", "--seeds", "2", "--max-rates", "2"],
    "lr_range": ["--dataset", "synthetic", "--seeds", "2", "--updates", "20"],
    "conv_stride": ["--dataset", "synthetic", "--size", "16", "--repeats", "1"],
}


@pytest.mark.usefixtures("unrendered")
@pytest.mark.parametrize("preset", [name for name in presets() if "/" in name])
def test_every_packaged_preset_runs(preset: str, folder: Path, midterm: Midterm) -> None:
    experiment = EXPERIMENTS[experiment_of(preset)]
    words = experiment.command.split()[1:]

    answer = midterm(*words, "--config", preset, *SMALLEST.get(experiment.name, []), "--quiet")

    assert answer.code == 0
    assert (folder / answer.out.strip() / "metrics.json").is_file()


def test_given_learning_rates_take_the_place_of_the_search(midterm: Callable[..., Answer]) -> None:
    for option in (("--start-lr", "1e-3"), ("--max-rates", "5"), ("--tolerance", "0.2")):
        code, _, err = midterm("lr-sweep", "--rates", "1e-3,2e-3", *option)
        assert (code, err.count("\n")) == (2, 1)
        assert option[0] in err


@pytest.mark.parametrize("name", ["a\0b.csv", "\ud800.csv"])
def test_an_input_file_of_a_name_that_no_file_has(
    name: str, folder: Path, midterm: Callable[..., Answer]
) -> None:
    code, _, err = midterm("module", "grad", "--matrix", name)
    assert code == 2
    assert err.count("\n") == 1
    assert "no file has such a name" in err
