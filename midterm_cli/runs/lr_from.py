"""The learning rate that a finished sweep recommends, for a training run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from midterm_cli.config.resolve import Layer, plain
from midterm_cli.errors import UserError
from midterm_cli.experiment import ExperimentConfig
from midterm_cli.part3.lr_sweep import schema as lr_sweep
from midterm_cli.run import document
from midterm_cli.text import differing, printable

# Keys in which training may differ from the sweep and still be the same learning problem.
_MAY_DIFFER = {"seed", "num_seeds", "device", "dtype", "gradients", "epochs"}


class Recommendation(NamedTuple):
    """What a sweep recommends, and for what.

    Attributes:
        name: the sweep's run folder, ready to print.
        lr: the learning rate.
        config: of the sweep.
        notes: on keys of its stored config, for the user.
    """

    name: str
    lr: float
    config: ExperimentConfig
    notes: Sequence[str]

    def layer(self) -> Layer:
        """The learning rate as a layer of a training run's config."""
        return Layer(f"--lr-from {self.name}", {"lr": self.lr})

    def other_problem(self, training: ExperimentConfig) -> str:
        """Name what the sweep had otherwise than a training run, as "a=1, not 2"; or ""."""
        ours, theirs = plain(self.config), plain(training)
        shared = [key for key in theirs if key in ours and key not in _MAY_DIFFER]
        return differing({key: ours[key] for key in shared}, {key: theirs[key] for key in shared})


def read(sweep: Path) -> Recommendation:
    """Read the `recommended_lr` of a finished run of lr_sweep.

    Raises:
        UserError: there is no finished run, it is of another experiment, or it recommends nothing.
    """
    run = document.read(sweep)
    name = printable(sweep)
    if not isinstance(run.results, lr_sweep.Results):
        raise UserError(
            f"{name} is a run of {run.experiment.name}, which recommends no learning "
            "rate: give a run of midterm lr-sweep"
        )
    lr = run.results.recommended_lr
    if lr is None:
        reason = "training never both succeeded and failed in it"
        if run.results.threshold_lr is not None:
            reason = "where training fails in it says nothing about a good one"
        raise UserError(
            f"{name} recommends no learning rate: {reason}\n"
            "sweep again from another start_lr or with more seeds, or give --lr"
        )
    return Recommendation(name, lr, run.config, run.notes)
