"""Small runs of the presets, and reports written from them."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from midterm_cli import figure
from midterm_cli.config import presets
from midterm_cli.config.presets import experiment_of
from midterm_cli.config.resolve import resolve
from midterm_cli.report import figures, html, markdown
from midterm_cli.report.markdown import Form
from midterm_cli.report.runs import command, find
from midterm_cli.runner.make import make

# What makes the packaged presets small, for the tests of the report alone.
_LEARNING = {"dataset": "synthetic", "num_seeds": 3, "device": "cpu"}
SMALL: dict[str, dict[str, Any]] = {
    "autodiff": {"num_points": 41},
    "softt": {"num_points": 41},
    "lr_sweep": _LEARNING | {"train_fraction": 0.1, "hidden_sizes": [16, 8]},
    "train": _LEARNING | {"train_fraction": 0.02, "hidden_sizes": [6], "batch_size": 16},
    "conv_stride": {"size": 8, "repeats": 1, "dataset": "synthetic"},
}

WHOLE = Form()


@contextmanager
def small_presets(folder: Path, **changes: dict[str, Any]) -> Iterator[None]:
    """Put the packaged presets into a folder, with the sizes of SMALL, and have them used.

    Args:
        folder: an empty one.
        changes: by experiment, more values that replace those of its default.
    """
    shutil.copytree(presets.configs_dir(), folder, dirs_exist_ok=True)
    for experiment in SMALL.keys() | changes.keys():
        path = folder / f"{experiment}.yaml"
        preset = yaml.safe_load(path.read_text(encoding="utf-8"))
        preset |= SMALL.get(experiment, {}) | changes.get(experiment, {})
        path.write_text(yaml.safe_dump(preset), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "configs_dir", lambda: folder)
        yield


def make_run(preset: str, folder: Path, *assignments: str) -> Path:
    """Make the run of a preset in FOLDER/EXPERIMENT, where the report looks for it."""
    experiment = experiment_of(preset)
    file = None if preset == experiment else preset
    name = "default" if file is None else preset.replace("/", "-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure, "render", lambda *_: b"")  # only takes time
        run = make(
            resolve(experiment, file, assignments),
            command=command(preset),
            output=folder / experiment / name,
            quiet=True,
        )
    return run.folder


@contextmanager
def without_figures() -> Iterator[None]:
    """Leave figures empty: to draw them takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "to_svg", lambda figure: b"<svg/>")
        yield


def pages(runs: Path, with_figures: bool = False, form: Form = WHOLE) -> tuple[str, str]:
    """The report on a folder of runs, as HTML and as Markdown; its figures empty, to save time."""
    with nullcontext() if with_figures else without_figures():
        twin, pictures = markdown.render(find([runs], form.parts), runs / "report", form)
    return html.render(html.read(twin), pictures, short=form.short), twin


def edit(run: Path, change: Callable[[Any], None]) -> None:
    """Change the metrics document of a run."""
    file = run / "metrics.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    change(document)
    file.write_text(json.dumps(document), encoding="utf-8")
