"""The one table of experiments: where each lives, imported only when it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from midterm_cli.experiment import Experiment

EXPERIMENTS = {
    "autodiff": "midterm_cli.part1.autodiff",
    "softt": "midterm_cli.part2.softt",
    "module": "midterm_cli.part2.module",
    "train": "midterm_cli.part3.train",
    "lr_sweep": "midterm_cli.part3.lr_sweep",
}


def load(name: str) -> Experiment:
    """Import the module of an experiment.

    Raises:
        KeyError: `name` is not in the table.
    """
    return cast("Experiment", importlib.import_module(EXPERIMENTS[name]))
