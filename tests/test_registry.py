"""Experiments are imported when they are asked for."""

import gc
from pathlib import Path

import pytest

from midterm_cli import registry as experiments


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(
    enabled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"imported_with_collector_{enabled}"
    (tmp_path / f"{name}.py").write_text("import gc\nCOLLECTS = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(experiments.EXPERIMENTS, "train", name)
    if not enabled:
        gc.disable()
    try:
        module = experiments.load("train")
        assert not vars(module)["COLLECTS"]
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
