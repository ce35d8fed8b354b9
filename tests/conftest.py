"""Fixtures that tests of several folders share."""

import gc
import os

# Tests run on two workers (pytest -n 2); with more threads than cores they would wait for each
# other. So torch has one thread, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from answer import Answer
from fake_experiment.schema import DEFAULTS

from midterm_cli import cli, figure, registry
from midterm_cli.config import presets
from midterm_cli.data import datasets
from midterm_cli.data.fetch import fetch
from midterm_cli.errors import UserError


def num_threads() -> int:
    """Threads of torch, which is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else 1


def environment() -> dict[str, str]:
    """The environment, without what pytest and torch themselves write there."""
    theirs = {"PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR"}
    return {key: value for key, value in os.environ.items() if key not in theirs}


@pytest.fixture(autouse=True)
def surroundings() -> Iterator[None]:
    """A test that leaves threads, folder or environment changed fails, and they are restored."""
    before = threads, folder, variables = num_threads(), Path.cwd(), environment()
    yield
    after = num_threads(), Path.cwd(), environment()
    if after != before:
        os.chdir(folder)
        for key in after[2]:
            del os.environ[key]
        os.environ.update(variables)
    if threads != after[0]:
        sys.modules["torch"].set_num_threads(threads)
    changed = variables.items() ^ after[2].items()  # not all of it: it may hold secrets
    assert (after[:2], changed) == (before[:2], set()), "a test has to restore what it changes"


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Torch has two threads, as on a machine with two cores: jobs run side by side."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _unsynced() -> Iterator[None]:
    """No test waits for the disk; those of what is synced count the calls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture(scope="session")
def fake_configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged configs, those of `train` replaced by configs of the fake experiment."""
    configs = tmp_path_factory.mktemp("packaged") / "configs"
    shutil.copytree(presets.configs_dir(), configs)
    (configs / "train.yaml").write_text(DEFAULTS, encoding="utf-8")
    (configs / "reference" / "train.yaml").write_text("activation: identity\n", encoding="utf-8")
    return configs


@pytest.fixture
def fake_train(fake_configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`train` is the fake experiment, with packaged presets of its own."""
    row = registry.Experiment("train", "fake_experiment", "midterm train", ("reference",))
    monkeypatch.setitem(registry.EXPERIMENTS, "train", row)
    monkeypatch.setattr(presets, "configs_dir", lambda: fake_configs)


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn, and not turned into pixels, which takes most of a short run's time."""
    monkeypatch.setattr(figure, "render", lambda *_: figure.SIGNATURES[".png"])
    monkeypatch.setattr(figure, "glyph_note", lambda _: [])


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
    folder = datasets.data_dir()
    try:
        datasets.load(datasets.FASHION_MNIST, folder)
    except UserError:
        folder = tmp_path_factory.mktemp("data")
        fetch(folder)
    return folder


@pytest.fixture
def _no_sockets_left() -> Iterator[None]:
    """Dask leaves a socket that was cut off to the garbage collector, here and not in other tests.

    For tests that ignore a ResourceWarning.
    """
    yield
    gc.collect()
