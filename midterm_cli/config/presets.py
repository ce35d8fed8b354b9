"""The packaged configs: the one home of the defaults."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from midterm_cli import files
from midterm_cli.errors import UserError
from midterm_cli.registry import EXPERIMENTS
from midterm_cli.source import PACKAGE, checkout
from midterm_cli.text import did_you_mean, printable


def configs_dir() -> Path:
    """The folder of packaged configs: configs/ of the checkout, or the copy inside the wheel."""
    root = checkout()
    return PACKAGE / "configs" if root is None else root / "configs"


def expected_file() -> Path:
    """What `midterm check` checks runs against by default."""
    return configs_dir() / "reference" / "expected.yaml"


def presets() -> list[str]:
    """Names of the packaged configs: those of the experiments, then their variants."""
    names = (preset for row in EXPERIMENTS.values() for preset in row.presets)
    return sorted(names, key=lambda name: (name.count("/"), name))


def experiment_of(preset: str) -> str:
    """The experiment that a packaged config is for."""
    return preset.rpartition("/")[2]


def preset_path(name: str) -> Path:
    """The file of a packaged config.

    Raises:
        UserError: there is none of this name.
    """
    if name not in presets():
        raise UserError(
            f"no packaged config is named '{printable(name)}': {did_you_mean(name, presets())}"
        )
    return configs_dir() / f"{name}.yaml"


def headline(preset: str) -> str:
    """What a packaged config says about itself: the first sentence of the comment at its top."""
    lines = preset_path(preset).read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("# "), lines)
    return " ".join(line[2:] for line in comment).partition(". ")[0]


def comments(preset: str) -> dict[str, str]:
    """What a packaged config says about its keys: the comments behind their values."""
    lines = preset_path(preset).read_text(encoding="utf-8").splitlines()
    found = (re.fullmatch(r"(\w+):.*?\s#\s(.*)", line) for line in lines)
    default = experiment_of(preset)
    own = {match[1]: match[2] for match in found if match}
    return own if preset == default else comments(default) | own


def copy_preset(preset: str, destination: Path | None, force: bool) -> Path:
    """Copy a packaged config to a file, for editing.

    Args:
        preset: its name.
        destination: a file, a folder to put PRESET.yaml into, or None for the current folder.
        force: replace an existing file.

    Returns:
        The file written.

    Raises:
        UserError: there is no such preset, or a file is in the way.
    """
    content = preset_path(preset).read_bytes()
    path = Path() if destination is None else destination
    with files.writing(path):
        if path.is_dir():
            path /= f"{preset}.yaml"
        files.require_replaceable(path)
        taken = path.exists()
    if taken and not force:
        raise UserError(f"{printable(path)} is already there: add --force to replace it")
    files.replace_file(path, content)
    return path
