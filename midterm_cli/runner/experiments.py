"""The one table of experiments: where each lives, imported only when it is used."""

from __future__ import annotations

import gc
import importlib
import sys
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from midterm_cli.experiment import Experiment

EXPERIMENTS = {
    "autodiff": "midterm_cli.part1.autodiff",
    "softt": "midterm_cli.part2.softt",
    "module": "midterm_cli.part2.module",
    "train": "midterm_cli.part3.train",
    "lr_sweep": "midterm_cli.part3.lr_sweep",
    "conv": "midterm_cli.part4.conv",
    "conv_stride": "midterm_cli.part4.conv_stride",
    "conv_stack": "midterm_cli.part4.conv_stack",
    "pool": "midterm_cli.part4.pool",
    "pool_min": "midterm_cli.part4.pool_min",
}


def load(name: str) -> Experiment:
    """Import the module of an experiment.

    Raises:
        KeyError: `name` is not in the table.
    """
    path = EXPERIMENTS[name]
    if path not in sys.modules:
        _import_uncollected(path)
    return cast("Experiment", importlib.import_module(path))


def _import_uncollected(path: str) -> None:
    """Import a module, and PyTorch with it, without a pass of the garbage collector.

    All that imports leave lives to the end of the process. The collector would walk through it
    several times before they are done, a tenth of the whole, and again and again after that.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module(path)
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
