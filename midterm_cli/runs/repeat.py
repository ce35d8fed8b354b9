"""A finished run computed again, from its config alone."""

from __future__ import annotations

from pathlib import Path

from midterm_cli.config.resolve import Layer, Resolved, plain, resolve
from midterm_cli.errors import UserError
from midterm_cli.runner import document
from midterm_cli.runner.document import Run
from midterm_cli.text import printable


def config_of(run: Run, device: str | None, network: str | None) -> Resolved:
    """The config of a run, to be run again.

    Args:
        run: a finished one.
        device: to compute on; None for that of the run.
        network: the Python file with its network, which the user trusts.
    """
    options = [Layer(printable(run.folder / "metrics.json"), plain(run.config))]
    options += [Layer("--device", {"device": device})] * (device is not None)
    options += [Layer("--network", {"network": network})] * (network is not None)
    return resolve(run.experiment.name, options=options)


def folder_of(run: Run, output: Path | None, force: bool, resume: bool) -> Path:
    """Where the run is made again: outputs/repeat/EXPERIMENT/NAME, unless said.

    Raises:
        UserError: it was made again there before, and not `force`; it is the run itself; or both
            `force` and `resume` say what becomes of what is there.
    """
    if force and resume:
        raise UserError("--force starts again and --resume continues: leave one of them out")
    folder = output or Path("outputs", "repeat", run.experiment.name, run.folder.resolve().name)
    if not document.is_finished(folder):
        return folder
    name = printable(folder)
    if folder.samefile(run.folder):
        raise UserError(f"{name} is the run that is to be repeated: choose another --output")
    if not force:
        raise UserError(
            f"{name} holds a finished run: add --force to compute it again, or choose another "
            f"--output\nmidterm diff {run.name} {name} compares the two"
        )
    return folder
