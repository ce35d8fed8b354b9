"""Fixtures that tests of the runner and of the command line share."""

from collections.abc import Callable
from pathlib import Path

import fake_experiment
import pytest
from answer import Answer

from midterm_cli import cli
from midterm_cli.data import datasets
from midterm_cli.data.fetch import fetch
from midterm_cli.errors import UserError
from midterm_cli.config import resolve as config
from midterm_cli import registry as experiments
from midterm_cli import paths


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def fake_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`train` is the fake experiment, with packaged presets of its own."""
    configs = tmp_path / "configs"
    (configs / "reference").mkdir(parents=True)
    (configs / "train.yaml").write_text(fake_experiment.DEFAULTS, encoding="utf-8")
    (configs / "reference" / "train.yaml").write_text("activation: identity\n", encoding="utf-8")
    monkeypatch.setitem(experiments.EXPERIMENTS, "train", "fake_experiment")
    monkeypatch.setattr(config, "configs_dir", lambda: configs)


@pytest.fixture
def midterm(capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run a command line in this process."""

    def run(*arguments: str | Path) -> Answer:
        capfd.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        return Answer(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def fashion_mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder with the real Fashion-MNIST; without any source of it the test fails."""
    folder = paths.data_dir()
    try:
        datasets.load(datasets.FASHION_MNIST, folder)
    except UserError:
        folder = tmp_path_factory.mktemp("data")
        fetch(folder)
    return folder
