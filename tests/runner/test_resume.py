"""--resume of real experiments: by the digests of what computes and of what is read."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import idx_files
import pytest
from answer import Answer

from midterm_cli import source
from midterm_cli.data import datasets
from midterm_cli.part3.train import run as training
from midterm_cli.runner.saved import SavedJournal, SavedState

Midterm = Callable[..., Answer]

SMALL = ("--set", "train_fraction=0.02", "--set", "hidden_sizes=[4]", "--seeds", "2", "--quiet")
COMMANDS: Mapping[str, Sequence[str]] = {
    "train": ("train", *SMALL, "--epochs", "2"),
    "lr_sweep": ("lr-sweep", *SMALL, "--start-lr", "0.01"),
}
LONG_AGO = "2000-01-01T00:00:00+00:00"


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """A copy of the package is what is hashed; it is changed by this, in part3/ensemble.py."""
    package = tmp_path / "midterm_cli"
    for path in [*source.PACKAGE.glob("part3/**/*.py"), *source.PACKAGE.glob("data/*.py")]:
        copy = package / path.relative_to(source.PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    digest = source.code_sha256.__wrapped__

    def digest_of_copy(experiment: str) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(source, "PACKAGE", package)
            return digest(experiment)

    monkeypatch.setattr(source, "code_sha256", digest_of_copy)

    def change(old: str, new: str) -> None:
        path = package / "part3" / "ensemble.py"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def interrupted(midterm: Midterm, arguments: Sequence[str]) -> None:
    """An unfinished run in the folder `run`, begun long ago."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_SAVE_EVERY_SECONDS", 0.0)
        for kind, name in ((SavedState, "save"), (SavedJournal, "append")):
            patch.setattr(kind, name, then_interrupt(getattr(kind, name)))
        assert midterm(*arguments).code == 130
    file = Path(".run.partial/begun.json")
    begun = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(begun | {"started_at": LONG_AGO}), encoding="utf-8")


def then_interrupt(save: Callable[..., None]) -> Callable[..., None]:
    def saved(self: Any, content: Any) -> None:
        save(self, content)
        raise KeyboardInterrupt

    return saved


def started_at() -> str:
    document = json.loads(Path("run/metrics.json").read_text(encoding="utf-8"))
    return str(document["provenance"]["started_at"])


@pytest.mark.parametrize("experiment", COMMANDS)
def test_an_unfinished_run(
    experiment: str, code: Callable[[str, str], None], folder: Path, midterm: Midterm
) -> None:
    """A docstring does not count, code does; neither is mixed or computed again without a word."""
    arguments = (*COMMANDS[experiment], "--dataset", "synthetic", "--output", "run")
    interrupted(midterm, arguments)
    saved = {path.name for path in Path(".run.partial").iterdir()}

    for options, told in (
        ([], "was begun and is not finished: add --resume to continue it, or --force to start"),
        (["--resume", "--seed", "7"], "was begun with seed=0, not 7"),
    ):
        answer = midterm(*arguments, *options)
        assert (answer.code, answer.out) == (2, "")
        assert told in answer.err
    assert {path.name for path in Path(".run.partial").iterdir()} == saved

    code('"""', '"""Other words: ')
    assert midterm(*arguments, "--resume").code == 0
    assert started_at() == LONG_AGO
    resumed = json.loads(Path("run/metrics.json").read_text(encoding="utf-8"))["results"]

    shutil.rmtree("run")
    interrupted(midterm, arguments)
    code("import torch\n", "import torch as other\n")
    answer = midterm(*arguments, "--resume")
    assert (answer.code, answer.out) == (2, "")
    assert "was begun with other code" in answer.err
    answer = midterm(*arguments, "--resume", "--force")
    assert answer.code == 0
    assert "was begun with other code: started again" in answer.err
    assert started_at() != LONG_AGO
    again = json.loads(Path("run/metrics.json").read_text(encoding="utf-8"))["results"]
    assert again == resumed


@pytest.mark.parametrize("experiment", COMMANDS)
def test_an_unfinished_run_whose_data_changed(
    experiment: str, folder: Path, midterm: Midterm
) -> None:
    data = idx_files.write(folder / "images", idx_files.examples())
    fraction = ("--set", "train_fraction=1", "--set", "batch_size=2")
    arguments = (*COMMANDS[experiment], *fraction, "--dataset", "images", "--output", "run")
    interrupted(midterm, arguments)
    idx_files.flip(data / datasets.TRAIN_IMAGES)

    assert "was begun with other data" in midterm(*arguments, "--resume").err
    answer = midterm(*arguments, "--resume", "--force")
    assert answer.code == 0
    assert "was begun with other data: started again" in answer.err
    assert started_at() != LONG_AGO

    # And of a finished one.
    assert midterm(*arguments, "--resume").code == 0
    idx_files.flip(data / datasets.TRAIN_LABELS)
    answer = midterm(*arguments, "--resume")
    assert (answer.code, answer.out) == (2, "")
    assert "run was made with another content of the dataset images" in answer.err


def test_an_unfinished_run_whose_data_are_named_otherwise(folder: Path, midterm: Midterm) -> None:
    """The same files by another path are the same question."""
    data = idx_files.write(folder / "images", idx_files.examples())
    arguments = (*COMMANDS["train"], "--set", "train_fraction=1", "--output", "run")
    interrupted(midterm, (*arguments, "--dataset", "images"))

    assert midterm(*arguments, "--dataset", str(data), "--resume").code == 0
    assert started_at() == LONG_AGO


def test_a_finished_run_whose_matrix_changed(folder: Path, midterm: Midterm) -> None:
    Path("m.csv").write_text("2,1\n1,-1\n", encoding="utf-8")
    arguments = ("module", "grad", "--matrix", "m.csv", "--quiet", "--output", "run")
    assert midterm(*arguments).code == 0
    assert midterm(*arguments, "--resume").code == 0
    Path("m.csv").write_text("2,1\n1,-2\n", encoding="utf-8")

    answer = midterm(*arguments, "--resume")
    assert (answer.code, answer.out) == (2, "")
    assert "run was made with another content of m.csv" in answer.err
    answer = midterm(*arguments, "--resume", "--force")
    assert answer.code == 0
    assert "another content of m.csv: computed again" in answer.err
    results = json.loads(Path("run/metrics.json").read_text(encoding="utf-8"))["results"]
    assert results["M"] == [[2, 1], [1, -2]]
