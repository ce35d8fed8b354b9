"""Where the package finds what it does not write: its checkout, the packaged configs, the data."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def checkout() -> Path | None:
    """The source checkout that the package runs from, or None for an installed package."""
    root = _PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "configs").is_dir() else None


def configs_dir() -> Path:
    """The folder of packaged configs: configs/ of the checkout, or the copy inside the wheel."""
    root = checkout()
    return _PACKAGE / "configs" if root is None else root / "configs"


def expected_file() -> Path:
    """What `midterm check` holds runs against, unless it is told otherwise."""
    return configs_dir() / "reference" / "expected.yaml"


def schema_dir() -> Path:
    """The folder with the JSON Schemas of metrics.json and of each experiment's results."""
    return _PACKAGE / "schema"


def data_dir(chosen: Path | None = None) -> Path:
    """The folder that holds FashionMNIST/raw.

    The first that applies: the one chosen by the user; ./data where it holds FashionMNIST; data/
    of the checkout; midterm/ in the user's cache, so that an installed package finds its data
    again from any folder.
    """
    if chosen is not None:
        return chosen
    local = Path("data")
    if (local / "FashionMNIST").is_dir():
        return local
    root = checkout()
    if root is not None:
        return root / "data"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "midterm"
