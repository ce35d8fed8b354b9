"""What a finished sweep gives to another run: a learning rate, or where training fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from midterm_cli.config.resolve import Layer, plain
from midterm_cli.errors import UserError
from midterm_cli.experiment import ExperimentConfig
from midterm_cli.part3.lr_range.schema import GivenSweep
from midterm_cli.part3.lr_sweep import schema as lr_sweep
from midterm_cli.runner import document
from midterm_cli.text import differing, printable

# Keys in which a run may differ from the sweep and still have the same learning problem; where a
# range of learning rates begins says nothing about it.
_MAY_DIFFER = {"seed", "num_seeds", "device", "dtype", "gradients", "epochs", "start_lr"}

# A run without a schedule is compared with a sweep of this one.
_NO_SCHEDULE = {"schedule": "constant", "warmup": 0.0}


class Taken(NamedTuple):
    """What was taken from a sweep, and what the sweep was of.

    Attributes:
        name: the sweep's run folder, ready to print.
        layer: of the other run's config.
        config: of the sweep.
        notes: on keys of its stored config, for the user.
    """

    name: str
    layer: Layer
    config: ExperimentConfig
    notes: Sequence[str]

    def other_problem(self, run: ExperimentConfig) -> str:
        """Name what the sweep had otherwise than another run, as "a=1, not 2"; or ""."""
        ours, theirs = plain(self.config), _NO_SCHEDULE | plain(run)
        shared = [key for key in theirs if key in ours and key not in _MAY_DIFFER]
        return differing({key: ours[key] for key in shared}, {key: theirs[key] for key in shared})


def read(sweep: Path) -> Taken:
    """Read the `recommended_lr` of a finished run of lr_sweep, as `lr`.

    Raises:
        UserError: there is no finished run, it is of another experiment, or it recommends nothing.
    """
    run, results = _sweep(sweep, "recommends no learning rate")
    name = printable(sweep)
    if results.recommended_lr is None:
        reason = "training never both succeeded and failed in it"
        if results.threshold_lr is not None:
            reason = "where training fails in it says nothing about a good one"
        raise UserError(
            f"{name} recommends no learning rate: {reason}\n"
            "sweep again from another start_lr or with more seeds, or give --lr"
        )
    layer = Layer(f"--lr-from {name}", {"lr": results.recommended_lr})
    return Taken(name, layer, run.config, run.notes)


def to_compare(sweep: Path) -> Taken:
    """Read where training fails in a finished run of lr_sweep, as `sweep` of a range test.

    Raises:
        UserError: there is no finished run, it is of another experiment, or it has no threshold.
    """
    run, results = _sweep(sweep, "has no failing learning rates")
    name = printable(sweep)
    if results.threshold_lr is None:
        raise UserError(
            f"{name} has no threshold: training never both succeeded and failed in it\n"
            "sweep again from another start_lr or with more seeds, or leave out --sweep"
        )
    found = GivenSweep(
        name=name,
        num_seeds=len({trial.seed for trial in results.trials}),
        threshold=results.threshold_lr,
        reliable=results.reliable_lr,
        recommended=results.recommended_lr,
    )
    layer = Layer(f"--sweep {name}", {"sweep": found.model_dump()})
    return Taken(name, layer, run.config, run.notes)


def _sweep(path: Path, lacks: str) -> tuple[document.Run, lr_sweep.Results]:
    """A finished run of lr_sweep; of another experiment the message says what it `lacks`."""
    run = document.read(path)
    if not isinstance(run.results, lr_sweep.Results):
        raise UserError(
            f"{printable(path)} is a run of {run.experiment.name}, which {lacks}: "
            "give a run of midterm lr-sweep"
        )
    return run, run.results
