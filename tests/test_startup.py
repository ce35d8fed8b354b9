"""What does not compute never waits for the libraries that do."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from idx_files import examples, write

from midterm_cli.registry import EXPERIMENTS

EARLIER = Path(__file__).parent / "runs" / "version_0_1_0"

# Runs command lines one after the other; says how each ended and which libraries were there then.
PROGRAM = """\
import json, os, sys
from midterm_cli import figure
from midterm_cli.cli import main
figure.render = lambda *_: figure.SIGNATURES[".png"]  # figures are drawn, which is quick
heavy = (
    "torch", "sympy", "scipy", "matplotlib", "numpy", "pydantic", "yaml", "rich", "distributed"
)
answers = []
stdout = os.dup(1)
os.dup2(2, 1)
for line in json.loads(sys.argv[1]):
    answers.append([main(line), [name for name in heavy if name in sys.modules]])
os.write(stdout, json.dumps(answers).encode())
"""


def answers(*lines: Sequence[str]) -> list[tuple[int, list[str]]]:
    """The exit code of each command line, and the libraries that are imported after it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(lines)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(code, libraries) for code, libraries in json.loads(done.stdout)]


def resumed(name: str) -> list[str]:
    words = EXPERIMENTS[name].command.split()[1:]
    return [*words, "--config", f"{name}/config.yaml", "--output", name, "--resume", "--quiet"]


# Command line → exit code, in groups that share a process.
GROUPS: Mapping[str, list[tuple[list[str], int]]] = {
    "mistakes": [
        (["train", "--set", "lr=fast"], 2),
        (["train", "--lerning-rate", "1"], 2),
        (["lr-sweep", "--config", "nowhere.yaml"], 2),
        (["autodiff", "--range", "2", "1"], 2),
        (["module", "grad", "--dimension", "0"], 2),
        (["conv", "stack", "--set", "layers=3"], 2),
        (["conv", "stack", "--network", "nowhere.py:Net"], 2),
        (["pool", "cost", "--kind", "minimum"], 2),
        (["train", "--dataset", "nowhere"], 2),
        (["lr-sweep", "--data-dir", "nowhere"], 2),
        (["module", "grad", "--matrix", "nowhere.npy"], 2),
        (["train", "--dataset", "synthetic", "--output", "begun"], 2),
    ],
    "configs": [
        (["config", "list"], 0),
        *((["config", "show", name], 0) for name in EXPERIMENTS),
        (["config", "validate", "reference/train"], 0),
        (["config", "copy", "train"], 0),
    ],
    "schema": [(["schema"], 0)],
    "resumed": [(resumed(name), 0) for name in EXPERIMENTS],
    "finished runs": [
        (["compare", "softt"], 2),
        (["check", "softt", "conv"], 0),
        (["check", "train"], 2),
        (["train", "--lr-from", "lr_sweep", "--epochs", "0"], 2),
    ],
}


@pytest.mark.parametrize("group", GROUPS)
def test_what_does_not_compute_imports_no_torch_and_nothing_that_draws(
    group: str, folder: Path
) -> None:
    shutil.copytree(EARLIER, folder, dirs_exist_ok=True)
    write(folder / "images", examples(3, 4, 4))  # the dataset of the run of conv_stride
    (folder / ".begun.partial").mkdir()
    (folder / ".begun.partial" / "state.pt").touch()

    found = answers(*(line for line, _ in GROUPS[group]))

    heavy = {"torch", "sympy", "matplotlib", "distributed"}
    loaded = {
        " ".join(line): sorted(heavy & set(libraries))
        for (line, _), (_, libraries) in zip(GROUPS[group], found, strict=True)
    }
    assert {line: names for line, names in loaded.items() if names} == {}
    assert [code for code, _ in found] == [code for _, code in GROUPS[group]]


def test_what_draws_imports_no_torch(folder: Path) -> None:
    shutil.copytree(EARLIER, folder / "outputs")

    draw = [["draw", f"outputs/{name}"] for name in EXPERIMENTS]
    compare = [["compare", "outputs/train"], ["compare", "outputs/lr_sweep"]]
    found = answers(*draw, *compare, ["report"])

    assert [code for code, _ in found] == [0] * (len(EXPERIMENTS) + 3)
    assert [
        line[-1] for line, (_, libraries) in zip(draw, found, strict=False) if "torch" in libraries
    ] == []
    assert "torch" not in found[-1][1]


def test_help_imports_nothing_heavy() -> None:
    assert answers(["--help"], ["--version"]) == [(0, [])] * 2
