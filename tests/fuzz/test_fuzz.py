"""Wrong input of every kind ends in a message or in success: 1,300 cases, 260,000 under `slow`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from answer import Answer
from hypothesis import strategies as st

from fuzz import harness, strategies
from fuzz.harness import fuzz, midterm
from fuzz.strategies import EXPERIMENTS, NEVER, PLACES
from midterm_cli import cli
from midterm_cli.config import yaml
from midterm_cli.errors import UserError
from midterm_cli.experiment import Output
from midterm_cli.part1.parse import parse, parse_program
from midterm_cli.registry import EXPERIMENTS as TABLE
from midterm_cli.registry import Experiment
from midterm_cli.runner import document

pytestmark = pytest.mark.usefixtures("sandbox")


@pytest.fixture(
    params=[pytest.param(1, id="short"), pytest.param(200, id="long", marks=pytest.mark.slow)]
)
def fuzzed(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Fuzz with so many cases, always the same; for an hour, in the long form, with new ones."""
    times: int = request.param

    def run(cases: Any, check: Callable[[Any], None], number: int) -> None:
        fuzz(cases, check, number * times, fixed=times == 1)

    return run


Fuzzed = Callable[..., None]


def test_config_files(fuzzed: Fuzzed) -> None:
    def check(case: tuple[str, bytes]) -> None:
        experiment, content = case
        Path(f"{experiment}.yaml").write_bytes(content)
        if midterm("config", "validate", f"{experiment}.yaml").code == 0:
            # What is shown reads back to the same.
            shown = midterm("config", "show", experiment, "--config", f"{experiment}.yaml").out
            Path("again.yaml").write_text(shown, encoding="utf-8")
            again = midterm("config", "show", experiment, "--config", "again.yaml").out
            assert yaml.parse(again, "again") == yaml.parse(shown, "shown")

    fuzzed(strategies.config_files(), check, 250)


def test_assignments(fuzzed: Fuzzed) -> None:
    def check(case: tuple[str, list[str]]) -> None:
        experiment, given = case
        midterm("config", "show", experiment, *(word for text in given for word in ("--set", text)))

    fuzzed(strategies.assignments(), check, 300)


# Every command with its options


def commands() -> dict[str, Any]:
    """Every command by its words, with the parameters that it takes."""
    found: dict[str, Any] = {}

    def visit(command: Any, words: list[str]) -> None:
        for name, below in getattr(command, "commands", {}).items():
            visit(below, [*words, name])
        if not hasattr(command, "commands"):
            found[" ".join(words)] = command.params

    visit(typer.main.get_command(cli.app), [])
    del found["all"]  # the other commands, and the network
    return found


def experiment_of(command: str) -> str | None:
    name = command.replace(" ", "_").replace("-", "_")
    near = [e for e in EXPERIMENTS if e in (name, name.split("_")[0])]
    return near[-1] if near else None


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with up to three of its options, and values that may be good for one of them."""
    known = commands()
    command = draw(st.sampled_from(sorted(known)))
    experiment = experiment_of(command)
    words = command.split()
    options = [p for p in known[command] if p.param_type_name == "option"]
    options = [p for p in options if p.opts[0] not in NEVER]
    for option in draw(st.lists(st.sampled_from(options), max_size=3)) if options else []:
        words.append(draw(st.sampled_from([*option.opts, *option.secondary_opts])))
        if not option.is_flag:
            for _ in range(option.nargs):
                words.append(draw(_values(option.opts[0], experiment)))
    for argument in known[command]:
        if argument.param_type_name == "argument" and draw(st.integers(0, 9)):
            words.append(draw(_values(argument.name, experiment)))
    if "--set" in words and draw(st.booleans()):
        words += ["--set", draw(strategies.assignments())[1][0]]
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(words)))
        words.insert(place, draw(st.sampled_from(["--no-such", "-x", "extra", "--", "--help", ""])))
    if words[:2] == ["data", "fetch"]:
        words += ["--source", "folder"]  # never from the network
    return words


def _values(name: str, experiment: str | None) -> st.SearchStrategy[str]:
    if name in ("experiment", "preset", "--experiment"):
        others = ["reference/train", "lr-sweep", "trian", "", "../train"]
        return st.sampled_from([*EXPERIMENTS, *others])
    return strategies.option_values(experiment, name in PLACES)


@pytest.fixture
def nothing_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every experiment has its own config, and results that are there at once."""
    earlier = Path(__file__).parents[1] / "runs" / "version_0_1_0"
    results = {name: document.read(earlier / name).results for name in EXPERIMENTS}
    monkeypatch.setattr(Experiment, "load", lambda row: None)
    monkeypatch.setattr(Experiment, "run", lambda row, *_: Output(results[row.name]))
    monkeypatch.setattr(Experiment, "draw", lambda *_: {})
    monkeypatch.setattr(Experiment, "summarize", lambda *_: ["done"])


def _furnish() -> None:
    """Files that the words of a command line may name."""
    Path("folder").mkdir()
    Path("here.json").write_text("{}", encoding="utf-8")
    Path("x.npy").write_bytes(b"\x93NUMPY")


@pytest.mark.usefixtures("nothing_computed")
def test_options_of_every_command(fuzzed: Fuzzed) -> None:
    def check(words: list[str]) -> None:
        _furnish()
        midterm(*words)

    fuzzed(command_lines(), check, 250)


# What the parts read


def test_formulas_are_read_or_refused(fuzzed: Fuzzed) -> None:
    def check(text: str) -> None:
        try:
            parse_program(text)
            parse(text, ["x", "u"])
        except UserError as error:
            harness.check_contract(Answer(2, "", f"Error: {error}"), [text])

    texts = strategies.damaged(st.one_of(strategies.programs(), strategies.nested()))
    fuzzed(texts, check, 400)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the figures."""
    monkeypatch.setattr(Experiment, "draw", lambda *_: {})


# Where a float64 or a float32 ends, and where functions of theirs do.
POINTS = [
    *("0.7", "0", "1", "-1", "2.5", "1e-9", "-300", "257.7319587628865", "709.8", "-745.2", "1e13"),
    *("5e-324", "1e-310", "1e-100", "1e-46", "-1e-39", "3.4e38", "-1e39", "1e100", "-1e100"),
]
RANGES = [
    *(("0", "1"), ("-9", "9"), ("-1000", "1000"), ("1e-9", "1e-7"), ("-1e100", "1e100")),
    *(("0", "5e-324"), ("1e-300", "1"), ("-1e-310", "1e-310"), ("1e99", "1e100")),
    *(("1", "1.0000000000000002"), ("-3.5e38", "-3.4e38")),
]


@st.composite
def autodiff_lines(draw: st.DrawFn) -> list[str]:
    program = draw(strategies.damaged(st.one_of(strategies.programs(), strategies.nested())))
    words = ["autodiff", "--expression", program, "--set", "num_points=11"]
    words += ["--x", draw(st.sampled_from(POINTS))]
    words += ["--dtype", draw(st.sampled_from(["float64", "float32"]))]
    if draw(st.booleans()):
        words += ["--formula", draw(strategies.damaged(strategies.expressions(("x", "u"))))]
    if draw(st.booleans()):
        words += ["--range", *draw(st.sampled_from(RANGES))]
    return [word.replace("\0", "") for word in words]


@pytest.mark.usefixtures("undrawn")
def test_autodiff(fuzzed: Fuzzed) -> None:
    def check(words: list[str]) -> None:
        json.loads(midterm(*words, "--json", "--quiet").out or "null", parse_constant=pytest.fail)

    fuzzed(autodiff_lines(), check, 50)


@st.composite
def softt_lines(draw: st.DrawFn) -> list[str]:
    words = ["softt", "plot", "--set", "num_points=11", "--second-derivative"]
    sizes = st.sampled_from(["1e-100", "1e-9", "1", "2.81", "6e4", "1e39", "1e100"])
    words += ["--threshold", draw(sizes), "--range", f"-{draw(sizes)}", draw(sizes)]
    return [*words, "--dtype", draw(st.sampled_from(["float64", "float32", "float16", "bfloat16"]))]


def test_figures(fuzzed: Fuzzed) -> None:
    def check(words: list[str]) -> None:
        midterm(*words)

    fuzzed(st.one_of(autodiff_lines(), softt_lines()), check, 10)


@st.composite
def module_lines(draw: st.DrawFn) -> tuple[list[str], dict[str, bytes]]:
    """`module grad` on matrices and vectors, typed or in files."""
    words = ["module", "grad", "--json", "--quiet"]
    files = {}
    for option in draw(st.sampled_from([["--matrix"], ["--x"], ["--matrix", "--x"]])):
        name, content = draw(strategies.arrays())
        if draw(st.booleans()):
            name = f"{option[2]}{name}"
            files[name] = content
            words += [option, name]
        else:
            text = draw(st.sampled_from(["[[2, 1], [1, 3]]", "[1, 2]", "[[1e200]]", "[]", "[[]]"]))
            words += [option, strategies.edit(draw, text)]
    if draw(st.booleans()):
        words += ["--threshold", draw(st.sampled_from(["1", "1e-100", "1e100", "0", "2.81"]))]
    if draw(st.booleans()):
        words += ["--dtype", draw(st.sampled_from(["float64", "float32"]))]
    return [word.replace("\0", "") for word in words], files


@pytest.mark.usefixtures("undrawn")
def test_module(fuzzed: Fuzzed) -> None:
    def check(case: tuple[list[str], dict[str, bytes]]) -> None:
        words, files = case
        for name, content in files.items():
            Path(name).write_bytes(content)
        json.loads(midterm(*words).out or "null", parse_constant=pytest.fail)

    fuzzed(module_lines(), check, 60)


@st.composite
def part4_lines(draw: st.DrawFn) -> list[str]:
    experiment = draw(st.sampled_from([e for e in EXPERIMENTS if e.startswith(("conv", "pool"))]))
    command = next(name for name in commands() if experiment_of(name) == experiment)
    words = [*command.split(), "--json", "--quiet"]
    if "repeats" in strategies.defaults(experiment):
        words += ["--set", "dataset=synthetic", "--repeats", "1"]
    limits = st.sampled_from(strategies.bounds(experiment))
    sizes = st.one_of(st.integers(-1, 9), st.integers(0, 300), limits).map(lambda n: f"{n:g}")
    for key in draw(st.lists(st.sampled_from(sorted(strategies.defaults(experiment))), max_size=3)):
        value = draw(
            st.one_of(sizes, st.lists(sizes, max_size=3).map(lambda n: f"[{', '.join(n)}]"))
        )
        words += ["--set", f"{key}={value}"]
    return words


@pytest.mark.usefixtures("undrawn")
def test_part4(fuzzed: Fuzzed) -> None:
    def check(words: list[str]) -> None:
        json.loads(midterm(*words).out or "null", parse_constant=pytest.fail)

    fuzzed(part4_lines(), check, 60)


# Training, on a dozen images


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four IDX files with a dozen images of 2 × 3 pixels, of three classes."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, count in (("train", 12), ("t10k", 6)):
        pixels = np.random.default_rng(0).integers(0, 256, count * 6, np.uint8).tobytes()
        sizes = b"".join(size.to_bytes(4, "big") for size in (count, 2, 3))
        labels = bytes(i % 3 for i in range(count))
        (folder / f"{name}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes + pixels)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + sizes[:4] + labels)
    return folder


TRAINING: dict[str, list[Any]] = {
    "num_seeds": [1, 2, 3],
    "epochs": [1, 2],
    "dtype": ["float32", "float64"],
    "batch_size": [1, 3, 8, 64, 65_536],
    "hidden_sizes": [[], [1], [2, 3], [17], [1] * 10, [65_536, 65_536]],
    "activation": ["relu", "identity", "tanh"],
    "train_fraction": [1e-9, 0.3, 0.5, 1],
    "sampling": ["replacement", "shuffle"],
    "gradients": ["closed_form", "autograd"],
    "seed": [0, 2**32 - 1],
}
RATES = [1e-12, 1e-3, 1, 1e6]
OWN: dict[str, dict[str, list[Any]]] = {
    "train": {"lr": RATES, "ema_gamma": [[], [1], [1e-3, 5e-324]], "skip_passes": [0, 1, 10**9]},
    "lr_sweep": {"start_lr": RATES, "tolerance": [1e-3, 1], "max_rates": [2, 5]},
    "lr_range": {
        "start_lr": RATES,
        "end_lr": RATES,
        "num_updates": [2, 3, 10, 11, 50],
        "smoothing": [0, 0.98, 1 - 1e-16],
        "stop_factor": [1 + 1e-15, 1e6],
    },
}


@st.composite
def training_lines(draw: st.DrawFn) -> list[str]:
    experiment = draw(st.sampled_from(sorted(OWN)))
    words = [*TABLE[experiment].command.split()[1:], "--json", "--quiet"]
    keys = TRAINING | OWN[experiment]
    chosen: dict[str, Any] = {"num_seeds": 1, "hidden_sizes": [2], "train_fraction": 1}
    if experiment == "lr_sweep":
        chosen["max_rates"] = 3
    if experiment == "lr_range":
        del keys["epochs"]
    else:
        chosen["epochs"] = 1
    for key in draw(st.lists(st.sampled_from(sorted(keys)), max_size=5)):
        chosen[key] = draw(st.sampled_from(keys[key]))
    for key, value in chosen.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    return words


@pytest.mark.usefixtures("undrawn")
def test_training(fuzzed: Fuzzed, images: Path) -> None:
    def check(words: list[str]) -> None:
        json.loads(
            midterm(*words, "--dataset", str(images)).out or "null", parse_constant=pytest.fail
        )

    fuzzed(training_lines(), check, 30)


# Finished runs that somebody damaged


@pytest.fixture
def documents(images: Path, sandbox: Path) -> dict[str, Any]:
    """The metrics document of a small run of each experiment."""
    learn = f"--seeds 2 --set train_fraction=1 --dataset {images}"
    small = {
        "autodiff": "autodiff --set num_points=11",
        "softt": "softt plot --set num_points=11",
        "module": "module grad --dimension 2",
        "train": f"train --epochs 3 {learn}",
        "lr_sweep": f"lr-sweep --max-rates 4 {learn}",
        "lr_range": f"lr-range-test --updates 12 {learn}",
        "conv": "conv shape",
    }
    found = {}
    with harness.own_folder():
        for name, words in small.items():
            found[name] = json.loads(midterm(*words.split(), "--json", "--quiet").out)
    return found


@pytest.mark.usefixtures("unrendered")
def test_damaged_runs(fuzzed: Fuzzed, documents: dict[str, Any]) -> None:
    def check(case: tuple[str, bytes]) -> None:
        name, content = case
        for folder, written in (("run", content), ("whole", json.dumps(documents[name]).encode())):
            Path(folder).mkdir()
            Path(folder, "metrics.json").write_bytes(written)
        midterm("draw", "run")
        if name in ("train", "lr_sweep"):
            midterm("compare", "run", "whole", "--json")
        if name == "lr_sweep":
            midterm("train", "--lr-from", "run", "--set", "dataset=missing")
            midterm("lr-range-test", "--sweep", "run", "--set", "dataset=missing")
        midterm("check", "run")

    cases = st.sampled_from(sorted(documents)).flatmap(
        lambda name: strategies.damaged_json(documents[name]).map(lambda content: (name, content))
    )
    fuzzed(cases, check, 40)
