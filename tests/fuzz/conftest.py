"""Where the fuzzing runs: an empty folder, no data, nothing computed that need not be."""

import copy
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fuzz import harness
from midterm_cli.config import yaml
from midterm_cli.config.presets import configs_dir


def _packaged_once(load: Callable[[Path], dict[str, Any]]) -> Callable[[Path], dict[str, Any]]:
    """Read each packaged file once; any other file each time."""
    once = functools.cache(load)

    def load_file(path: Path) -> dict[str, Any]:
        packaged = path.is_relative_to(configs_dir())
        return copy.deepcopy(once(path)) if packaged else load(path)

    return load_file


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, bounded memory, and a terminal that is built once."""
    if sys.platform != "linux":
        pytest.skip("the bound on memory is read from /proc")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIDTERM_DATA_DIR", str(tmp_path / "no-data"))
    monkeypatch.setattr(yaml, "load_file", _packaged_once(yaml.load_file))
    peak = harness.peak_bytes()
    with harness.memory_limit():
        yield tmp_path
    assert harness.peak_bytes() - peak < harness.MEMORY_BYTES
