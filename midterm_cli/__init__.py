"""Experiment runner for a deep-learning midterm whose answers can be checked."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from midterm_cli.runs.weights import load_network

__version__ = "0.1.0"

__all__ = ["__version__", "load_network"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import midterm_cli` does not wait for torch."""
    if name == "load_network":
        return import_module("midterm_cli.runs.weights").load_network
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
