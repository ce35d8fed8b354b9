"""The command line as its user meets it: exit codes, streams, messages, help."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_experiment
import numpy as np
import pytest
import torch
import typer
from answer import Answer

import midterm_cli
from midterm_cli import cli
from midterm_cli.cli.program import print_path
from midterm_cli.data import datasets
from midterm_cli.errors import UserError
from midterm_cli.config import resolve as config
from midterm_cli import registry as experiments
from midterm_cli.run.interrupt import Terminated

Midterm = Callable[..., Answer]

FILES = {
    "misspelt.yaml": "lerning_rate: 1\nepoch: 2\n",
    "word.yaml": "lr: fast\n",
    "negative.yaml": "lr: -1\n",
    "gamma.yaml": "ema_gamma: 1.5\n",
    "list.yaml": "- lr\n",
    "empty.yaml": "",
    "syntax.yaml": "lr: 1\nepochs: [1\nseed: 3\n",
    "tag.yaml": "lr: !!python/object/apply:os.system ['touch pwned']\n",
    "width.yaml": "hidden_sizes: [32, 0]\n",
}

MISTAKES = {
    "misspelt.yaml": ["epoch", "misspelt.yaml", "did you mean 'epochs'?"],
    "word.yaml": ["lr must be a number, got 'fast'", "word.yaml"],
    "negative.yaml": ["lr must be greater than 0, got -1", "negative.yaml"],
    "gamma.yaml": ["ema_gamma", "must be at most 1, got 1.5", "gamma.yaml"],
    "list.yaml": ["list.yaml", "KEY: VALUE", "a list"],
    "empty.yaml": ["empty.yaml", "is empty", "leave it out"],
    "syntax.yaml": ["syntax.yaml, line 3", "seed: 3"],
    "tag.yaml": ["python/object/apply:os.system", "plain data"],
    "width.yaml": ["hidden_sizes[1] must be at least 1, got 0", "width.yaml"],
    "missing.yaml": ["missing.yaml", "No such file"],
    ".": ["is a folder"],
}


def is_told(answer: Answer, *parts: str) -> None:
    """A mistake of the user's: exit code 2 and one or two lines on stderr that say all this."""
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("Error: ")
    assert 1 <= len(answer.err.splitlines()) <= 2
    assert [part for part in parts if part not in answer.err] == []


@pytest.mark.usefixtures("fake_train")
@pytest.mark.parametrize("file", MISTAKES)
def test_a_mistake_in_a_file(file: str, folder: Path, midterm: Midterm) -> None:
    if file in FILES:
        Path(file).write_text(FILES[file], encoding="utf-8")
    before = set(folder.iterdir())

    is_told(midterm("train", "--config", file), *MISTAKES[file])

    assert set(folder.iterdir()) == before


@pytest.mark.usefixtures("fake_train")
@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--set", "lerning_rate=1"], ["unknown key 'lerning_rate' (--set)", "lr"]),
        (["--set", "lr=fast"], ["lr must be a number, got 'fast' (--set)"]),
        (["--set", "lr"], ["--set lr is not KEY=VALUE"]),
        (["--lr", "fast"], ["lr must be a number, got 'fast' (--lr)"]),
        (["--lr", "-1"], ["lr must be greater than 0, got -1 (--lr)"]),
        (["--lr", "nan"], ["lr must be a number, got 'nan' (--lr)"]),
        (["--lr", ""], ["lr must be a number, got '' (--lr)"]),
        (["--lr", "[1"], ["lr must be a number, got '[1' (--lr)"]),
        (["--seeds", "0"], ["num_seeds must be at least 1, got 0 (--seeds)"]),
        (["--epochs", "1.5"], ["epochs must be an integer, got 1.5 (--epochs)"]),
        (["--ema-gamma", "1.5"], ["ema_gamma[0] must be at most 1, got 1.5 (--ema-gamma)"]),
        (["--activation", "rely"], ["activation must be 'relu'", "got 'rely' (--activation)"]),
        (["--device", "gpu"], ["device cannot be 'gpu' (--device): auto, cpu, cuda or cuda:N"]),
        (["--device", "cuda"], ["cuda was asked for", "use --device cpu"]),
        (["--output", "file"], ["file is a file", "--output"]),
        (["--output", "file/run"], ["cannot write", "file/run: Not a directory", "--output"]),
        (["--output", "x" * 300], ["cannot write", "File name too long", "--output"]),
        (["--output", "."], [". is the current folder", "--output"]),
        (["--output", ""], [". is the current folder", "--output"]),
        (["--output", ".."], [".. holds '", "--output"]),
        (["--output", "/", "--force"], ["/ holds '", "--output"]),
        (["--learning-rate", "1"], ["--learning-rate", "midterm train --help"]),
        (["--lr"], ["--lr"]),
        (["extra"], ["extra", "midterm train --help"]),
    ],
)
def test_a_mistake_in_the_options(
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

    is_told(midterm("train"), "cannot write", "Permission denied", "--output")

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
def test_stdout_ends_with_the_run_folder_and_talk_goes_to_stderr(
    folder: Path, midterm: Midterm
) -> None:
    code, out, err = midterm("train", "--lr", "0.002", "--seed", "3", "--ema-gamma", "1", "--quiet")
    assert (code, err) == (0, "")
    assert out == "outputs/train/seed=3,lr=0.002,ema_gamma=1.0\n"

    code, out, err = midterm("train")
    assert (code, out) == (0, "outputs/train/default\n")
    assert "4/4" in err
    assert "Weights" in err


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
    assert "Weights" in err


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
def test_a_finished_run_is_kept(folder: Path, midterm: Midterm) -> None:
    first = midterm("train", "--json")

    is_told(midterm("train"), "outputs/train/default", "--force", "--resume", "--output")
    assert midterm("train", "--resume") == (0, "outputs/train/default\n", "")
    assert midterm("train", "--resume", "--json") == (0, first.out, "")
    assert midterm("train", "--force").code == 0
    is_told(
        midterm("train", "--output", "outputs/train/default", "--resume", "--lr", "2"),
        "lr=0.001, not 2.0",
        "--force",
    )


@pytest.mark.usefixtures("fake_train")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_says_how_to_go_on(
    number: signal.Signals,
    code: int,
    folder: Path,
    midterm: Midterm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fake_experiment, "on_epoch", lambda epoch: os.kill(os.getpid(), number))

    answer = midterm("train", "--quiet")

    assert (answer.code, answer.out) == (code, "")
    assert len(answer.err.splitlines()) == 1
    assert "--resume" in answer.err
    monkeypatch.undo()


@pytest.mark.usefixtures("fake_train")
def test_a_bug_keeps_its_traceback(
    folder: Path, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(fake_experiment, "run", fail)

    with pytest.raises(ZeroDivisionError):
        midterm("train")
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("fake_train")
def test_names_from_outside_cannot_reach_the_terminal(
    folder: Path, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UserError("no data in \x1b[2J\nfetch it")

    monkeypatch.setattr(fake_experiment, "run", fail)
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
    is_told(midterm("draw", "walk"), "no finished run in walk")


# ---- a rate from a sweep


def sweep(recommended_lr: object, experiment: str = "lr_sweep", activation: str = "relu") -> str:
    """A finished run that recommends a learning rate; the name of its folder."""
    document = {
        "schema_version": 1,
        "experiment": experiment,
        "config": {"activation": activation, "epochs": 1, "seed": 9, "tolerance": 0.2},
        "results": {"recommended_lr": recommended_lr},
    }
    Path("sweep").mkdir(exist_ok=True)
    Path("sweep/metrics.json").write_text(json.dumps(document), encoding="utf-8")
    return "sweep"


@pytest.mark.usefixtures("fake_train")
def test_the_rate_of_a_sweep_wins_over_file_and_set(folder: Path, midterm: Midterm) -> None:
    code, out, err = midterm("train", "--lr-from", sweep(0.004), "--set", "lr=1", "--json")

    assert code == 0
    document = json.loads(out)
    assert document["config"]["lr"] == 0.004
    assert document["provenance"]["command"].startswith("midterm train --lr-from sweep")
    assert "Warning" not in err
    assert midterm("train", "--lr-from", "sweep/metrics.json", "--resume").code == 0


@pytest.mark.usefixtures("fake_train")
def test_the_rate_of_another_problem_is_taken_with_a_warning(
    folder: Path, midterm: Midterm
) -> None:
    code, _, err = midterm("train", "--lr-from", sweep(0.004, activation="identity"), "--quiet")

    assert code == 0
    assert err == "Warning: the sweep sweep was made with activation='identity', not 'relu'\n"


@pytest.mark.usefixtures("fake_train")
def test_a_rate_that_cannot_be_taken_from_a_sweep(folder: Path, midterm: Midterm) -> None:
    is_told(midterm("train", "--lr-from", "none"), "no finished run in none")
    is_told(midterm("train", "--lr-from", sweep(None)), "sweep recommends no learning rate")
    is_told(midterm("train", "--lr-from", sweep(0.1, "train")), "a run of 'train'", "lr-sweep")
    is_told(midterm("train", "--lr-from", sweep(-1)), "greater than 0, got -1 (--lr-from sweep)")
    is_told(midterm("train", "--lr-from", sweep(0.1), "--lr", "1"), "--lr and --lr-from both set")
    Path("sweep/metrics.json").write_text(
        '{"schema_version": 1, "experiment": "lr_sweep", "config": {}, "results": {}}',
        encoding="utf-8",
    )
    is_told(midterm("train", "--lr-from", "sweep"), "sweep is damaged", "recommended_lr")
    assert not Path("outputs").exists()


# ---- config


def test_a_preset_of_another_experiment(midterm: Midterm) -> None:
    is_told(
        midterm("lr-sweep", "--config", "reference/train"),
        "'reference/train' is a packaged config of train, not of lr_sweep: "
        "its own are lr_sweep, reference/lr_sweep",
    )


@pytest.mark.usefixtures("fake_train")
def test_config_list_and_show(folder: Path, midterm: Midterm) -> None:
    code, out, err = midterm("config", "list")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "train            A recursion instead of training.",
        "reference/train",
    ]

    code, out, err = midterm(
        "config", "show", "--config", "reference/train", "--set", "hidden_sizes=[4]"
    )
    assert (code, err) == (0, "")
    assert "activation: identity  # reference/train\n" in out
    assert "hidden_sizes: [4]  # --set\n" in out
    assert "seed: 0  # default\n" in out

    is_told(midterm("config", "show"), "say which experiment", "train")
    is_told(midterm("config", "show", "trian"), "trian", "did you mean 'train'?")
    assert (
        "\nactivation: identity  # reference/train\n"
        in midterm("config", "show", "reference/train").out
    )
    is_told(midterm("config", "validate", "nope"), "cannot read nope: No such file")
    is_told(midterm("config", "show", "train", "--set", "lr=-1"), "lr must be greater than 0")


@pytest.mark.usefixtures("fake_train")
def test_config_validate(folder: Path, midterm: Midterm) -> None:
    Path("mine.yaml").write_text("lr: 1e-2\n", encoding="utf-8")
    Path("train.yaml").write_text("lr: -1\n", encoding="utf-8")

    is_told(midterm("config", "validate", "mine.yaml"), "mine.yaml", "name one of", "train")
    assert midterm("config", "validate", "mine.yaml", "--experiment", "train").code == 0
    assert midterm("config", "validate", "reference/train").code == 0
    is_told(midterm("config", "validate", "train.yaml"), "lr must be greater than 0, got -1")


@pytest.mark.usefixtures("fake_train")
def test_config_copy_is_ready_to_be_edited(folder: Path, midterm: Midterm) -> None:
    assert midterm("config", "copy", "train") == (0, "train.yaml\n", "")
    assert Path("train.yaml").read_text(encoding="utf-8") == fake_experiment.DEFAULTS
    Path("train.yaml").write_text("lr: 2\n", encoding="utf-8")

    is_told(midterm("config", "copy", "train"), "train.yaml is already there", "--force")
    assert Path("train.yaml").read_text(encoding="utf-8") == "lr: 2\n"
    assert midterm("config", "copy", "train", "--force").code == 0
    assert midterm("config", "copy", "reference/train", "new/mine.yaml").out == "new/mine.yaml\n"
    assert midterm("config", "copy", "reference/train", "new").out == "new/reference/train.yaml\n"
    is_told(midterm("config", "copy", "../etc/passwd"), "no packaged config is named")


# ---- the real thing


def test_every_packaged_config_is_valid_and_says_what_it_shows() -> None:
    presets = [name for name in config.presets() if Path(name).name in experiments.EXPERIMENTS]
    assert {"train", "reference/train"} <= set(presets)

    for name in presets:
        config.resolve(Path(name).name, name)
        assert config.headline(name)


RIGHT = "3*x**2 * (2 + x**3)/(1 + x**3) * (1/(2*sqrt(y)) + cos(y))"
WRONG = RIGHT.replace("+ cos", "- cos")


def test_autodiff_gives_the_published_numbers(folder: Path, midterm: Midterm) -> None:
    code, out, err = midterm("autodiff", "--json")
    assert code == 0
    results = json.loads(out)["results"]
    assert results["f"] == pytest.approx(2.53492754899111, abs=1e-12, rel=0)
    for method in ("chain_rule", "autograd", "autograd_forward", "symbolic"):
        assert results["derivative"][method] == pytest.approx(9.24847224944833, abs=1e-12, rel=0)
    assert "symbolic (sympy), 30 digits" in err
    assert midterm("autodiff", "--x", "1.432", "--resume").out == "outputs/autodiff/default\n"

    code, out, err = midterm("autodiff", "--config", "reference/autodiff")
    assert (code, out) == (0, "outputs/autodiff/dtype=float32\n")
    assert "f(1.432) = 2.5349   f'(1.432) = 9.2485" in err


def test_autodiff_records_who_differentiated(folder: Path, midterm: Midterm) -> None:
    _, out, err = midterm("autodiff", "--symbolic", "builtin", "--json")
    assert json.loads(out)["results"]["symbolic"] == "builtin"
    assert "symbolic (builtin), 30 digits" in err


def test_autodiff_at_one_point_gives_numbers_and_at_several_lists(
    folder: Path, midterm: Midterm
) -> None:
    one = json.loads(midterm("autodiff", "--x", "1", "--quiet", "--json").out)
    two = json.loads(midterm("autodiff", "--x", "1", "--x", "-0.5", "--quiet", "--json").out)

    assert (one["config"]["x"], two["config"]["x"]) == (1.0, [1.0, -0.5])
    assert two["results"]["f"][0] == one["results"]["f"]


def test_autodiff_judges_a_formula(folder: Path, midterm: Midterm) -> None:
    code, _, err = midterm("autodiff", "--formula", RIGHT, "--fail-on-failure", "--output", "a")
    assert code == 0
    assert "is the derivative at 401 points" in err

    code, out, err = midterm("autodiff", "--formula", WRONG, "--quiet", "--output", "b")
    assert (code, out) == (0, "b\n")
    (warning,) = err.splitlines()
    assert "wrong at 401 of 401 points of the domain, first at x = -0.88" in warning
    assert "; with one sign changed it agrees: 3 * x**2" in warning
    assert midterm("autodiff", "--formula", WRONG, "--fail-on-failure", "--output", "c").code == 3


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--expression", "__import__('os').system('ls')"], ["attribute access at column 1"]),
        (["--expression", "(" * 5000 + "x" + ")" * 5000], ["1000 characters", "(--expression)"]),
        (["--expression", "9**9**9"], ["an exponent comes to", "at most 100"]),
        (["--formula", "y.real"], ["attribute access"]),
        (["--x", "-0.95"], ["sqrt(y) needs y ≥ 0", "starts at x ≥ -0.89691762706285"]),
        (["--x", "near"], ["x must be a number or a list, got 'near' (--x)"]),
        (["--range", "1", "z"], ["range[1] must be a number, got 'z' (--range)"]),
        (["--range", "2", "1"], ["range must be [low, high]", "(--range)"]),
        (["--symbolic", "sympi"], ["symbolic must be 'builtin' or 'sympy'", "(--symbolic)"]),
    ],
)
def test_a_mistake_in_the_options_of_autodiff(
    arguments: list[str], parts: list[str], folder: Path, midterm: Midterm
) -> None:
    is_told(midterm("autodiff", *arguments), *parts)
    assert list(folder.iterdir()) == []


def test_softt_plot(folder: Path, midterm: Midterm) -> None:
    options = ["--threshold", "2", "--range", "-6", "6", "--second-derivative"]
    code, out, _ = midterm("softt", "plot", *options, "--output", "run", "--json")

    assert code == 0
    results = json.loads(out)["results"]
    assert (results["threshold"], results["y"][0], results["f"][0]) == (2.0, -6.0, -64.0)
    assert results["second_derivative"][-1] == 2
    assert Path("run/softt.png").exists()
    is_told(midterm("softt", "plot", "--threshold", "0"), "greater than 0, got 0 (--threshold)")
    is_told(midterm("softt", "plot", "--threshold", "1e-320"), "at least 1e-100, for steps")


def test_module_grad_takes_the_same_numbers_from_everywhere(folder: Path, midterm: Midterm) -> None:
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
    assert [document["config"]["matrix"] for document in documents] == ["m.npy", "m.csv", matrix]
    again = midterm("module", "grad", "--config", "1/config.yaml", "--output", "b", "--json")
    assert json.loads(again.out)["results"] == documents[1]["results"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--matrix", "[[1, 2], [3, 4]]"], ["M[0][1] = 2 and M[1][0] = 3"]),
        (["--matrix", "[[1, 2], [2, 4]]"], ["M is singular"]),
        (["--matrix", "[[1, 2]]"], ["M must be square, got shape (1, 2)"]),
        (["--matrix", "[[1, 2], [2, 1]]", "--x", "[1]"], ["matrix has 2, x has 1"]),
        (["--x", "[1, 2, 3]", "--dimension", "4"], ["dimension has 4, x has 3"]),
        (["--matrix", "none.npy"], ["none.npy", "No such file"]),
        (["--matrix", "none.yaml"], ["none.yaml", "No such file"]),
        (["--matrix", "m.yaml"], ["m.yaml has no key matrix", "under matrix"]),
        (["--matrix", "[[1, 2], [2"], ["cannot read matrix file [[1, 2], [2"]),
        (["--matrix", "objects.npy"], ["objects.npy", "plain numbers"]),
        (["--dimension", "0"], ["dimension must be at least 1, got 0 (--dimension)"]),
    ],
)
def test_a_mistake_in_the_options_of_module_grad(
    arguments: list[str], parts: list[str], folder: Path, midterm: Midterm
) -> None:
    Path("m.yaml").write_text("M: [[1]]\n", encoding="utf-8")
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)

    is_told(midterm("module", "grad", *arguments), *parts)
    assert not Path("outputs").exists()


SMALL = ["--dataset", "synthetic", "--epochs", "2", "--seeds", "2", "--device", "cpu", "--quiet"]


def test_train_on_synthetic_images(folder: Path, midterm: Midterm) -> None:
    code, out, err = midterm("train", *SMALL, "--output", "run")
    assert (code, out, err) == (0, "run\n", "")

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
        midterm("train", *SMALL, "--lr", lr, "--output", lr)

    code, out, err = midterm("compare", "0.02", "0.003/metrics.json")
    assert (code, err) == (0, "")
    header, *rows, path = out.splitlines()
    assert header.split()[:3] == ["lr", "weights", "train_loss"]
    assert [row.split()[0] for row in rows] == ["0.003", "0.003", "0.02", "0.02"]
    assert path == "outputs/compare/curves.png"
    assert Path(path).read_bytes().startswith(b"\x89PNG")

    code, out, err = midterm(
        "compare", "0.02", "0.02", "--by", "seed", "--output", "new/a.png", "--json"
    )
    assert (code, err) == (0, "")
    assert len(json.loads(out)["rows"]) == 4
    assert Path("new/a.png").exists()


def test_compare_of_sweeps_has_no_figure(folder: Path, midterm: Midterm) -> None:
    midterm("lr-sweep", *SMALL, "--max-rates", "2", "--output", "a")

    code, out, err = midterm("compare", "a")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split()[0] == "last_stable_lr"
    assert out.splitlines()[1].split()[-1] == "a"
    is_told(midterm("compare", "a", "--output", "a.png"), "--output is for the curves")
    assert set(folder.iterdir()) == {folder / "a"}


def test_compare_names_the_run_that_it_cannot_take(folder: Path, midterm: Midterm) -> None:
    midterm("train", *SMALL, "--output", "a")
    Path("b").mkdir()

    is_told(midterm("compare"), "RUN", "midterm compare --help")
    is_told(midterm("compare", "a", "b"), "no finished run in b")
    is_told(midterm("compare", "a", "--by", "lrr"), "'lrr'", "did you mean 'lr'?")
    is_told(midterm("compare", "a", "--output", "a.pdf"), ".png, got a.pdf")
    Path("b/metrics.json").write_text('{"schema_version"', encoding="utf-8")
    is_told(midterm("compare", "a", "b"), "b/metrics.json is damaged")
    assert set(folder.iterdir()) == {folder / "a", folder / "b"}


def test_train_without_its_data_leaves_nothing(folder: Path, midterm: Midterm) -> None:
    is_told(midterm("train", "--data-dir", "nowhere"), "nowhere", "midterm data fetch")
    assert list(folder.iterdir()) == []


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
    code, out, err = midterm("data", "verify", "--data-dir", "here")
    assert code == 2
    assert [line.split()[0] for line in out.splitlines()] == ["BAD"] * 4
    assert err.startswith("Error: 4 of 4 files in here are bad: train-images-idx3-ubyte: missing\n")
    is_told(midterm("data", "fetch", "--source", "nowhere", "--data-dir", "here"), "nowhere")
    command = "midterm data fetch --data-dir 'over there'"
    is_told(midterm("data", "show", "--data-dir", "over there"), f"run `{command}`")
    assert midterm("data", "verify", "--data-dir", "over there").err.endswith(f": {command}\n")
    is_told(
        midterm("data", "show", "--dataset", "synthetic", "--output", "a.tex"), ".png, got a.tex"
    )

    assert midterm("data", "show", "--dataset", "synthetic") == (
        0,
        "outputs/data/examples.png\n",
        "",
    )
    assert Path("outputs/data/examples.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("signal", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_an_interrupted_download_says_how_to_go_on(
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
    command = "midterm data fetch --data-dir here"
    assert answer.err == f"Interrupted: {command} starts again with what is missing\n"


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


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """As in `midterm schema | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "midterm_cli", "schema"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.stderr == b""


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


def test_every_experiment_takes_the_options_of_the_contract() -> None:
    found = dict(commands(typer.main.get_command(cli.app)))

    for name in experiments.EXPERIMENTS:
        command = found[" ".join(["midterm", *WORDS.get(name, [name])])]
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


@pytest.mark.parametrize("arguments", [[], ["config"], ["trian"]])
def test_no_such_command(arguments: list[str], midterm: Midterm) -> None:
    is_told(midterm(*arguments), "--help")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from midterm_cli.cli import main\n"
        "assert main(['--help']) == 0\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'pydantic', 'yaml', 'rich', 'sympy'}\n"
        "sys.exit(str(sorted(heavy & set(sys.modules))) if heavy & set(sys.modules) else 0)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


# ---- the packaged configs

SMALLEST = {
    "train": ["--dataset", "synthetic", "--seeds", "1", "--epochs", "1"],
    "lr_sweep": ["--dataset", "synthetic", "--seeds", "2", "--max-rates", "2"],
    "conv_stride": ["--dataset", "synthetic", "--size", "16", "--repeats", "1"],
}
WORDS = {
    "softt": ["softt", "plot"],
    "module": ["module", "grad"],
    "lr_sweep": ["lr-sweep"],
    "conv": ["conv", "shape"],
    "conv_stride": ["conv", "stride"],
    "conv_stack": ["conv", "stack"],
    "pool": ["pool", "cost"],
    "pool_min": ["pool", "min"],
}


@pytest.mark.parametrize("preset", config.presets())
def test_every_packaged_config_is_valid_and_runs(
    preset: str, folder: Path, midterm: Midterm
) -> None:
    experiment = preset.rpartition("/")[2]
    assert midterm("config", "validate", preset).code == 0
    words = WORDS.get(experiment, [experiment])
    answer = midterm(*words, "--config", preset, *SMALLEST.get(experiment, []), "--quiet")
    assert answer.code == 0
    assert (folder / answer.out.strip() / "metrics.json").is_file()
