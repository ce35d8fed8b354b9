"""Experiment runner for a deep-learning midterm whose answers can be checked."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from midterm_cli.errors import UserError

if TYPE_CHECKING:
    from midterm_cli.api import Run, load, run
    from midterm_cli.runs.weights import load_network

__version__ = "0.1.0"

__all__ = ["Run", "UserError", "__version__", "load", "load_network", "run"]

_HOMES = {
    "Run": "midterm_cli.api",
    "load": "midterm_cli.api",
    "load_network": "midterm_cli.runs.weights",
    "run": "midterm_cli.api",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import midterm_cli` does not wait for torch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
