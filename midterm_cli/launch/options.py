"""Where to compute, from the options of the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midterm_cli.errors import UserError
from midterm_cli.text import shown

_LAUNCHERS = ("local", "dask")
_RETRIES = 2


@dataclass(frozen=True)
class Cluster:
    """The Dask scheduler whose workers are to compute.

    Attributes:
        address: such as tcp://10.0.0.1:8786; None where there is a file.
        scheduler_file: that `dask scheduler --scheduler-file` writes; it holds the address.
        retries: how often a group that failed is computed again.
    """

    address: str | None
    scheduler_file: Path | None = None
    retries: int = _RETRIES


def choose(
    launcher: str | None,
    address: str | None = None,
    scheduler_file: Path | None = None,
    retries: Any = None,
) -> Cluster | None:
    """Where to compute, from the options; None for the cores of this machine.

    DASK_SCHEDULER_ADDRESS stands in for an address, with the launcher dask alone.

    Raises:
        UserError: an option has no such value, does not go with another, or is missing.
    """
    if launcher not in (None, *_LAUNCHERS):
        raise UserError(f"--launcher must be {' or '.join(_LAUNCHERS)}, got {shown(launcher)}")
    if launcher != "dask":
        given = {"--address": address, "--scheduler-file": scheduler_file, "--retries": retries}
        for name, value in given.items():
            if value is not None:
                raise UserError(f"{name} is for --launcher dask: add that, or leave it out")
        return None
    if address is not None and scheduler_file is not None:
        raise UserError("--address and --scheduler-file both name a scheduler: leave one out")
    if address is None and scheduler_file is None:
        address = os.environ.get("DASK_SCHEDULER_ADDRESS") or None
        if address is None:
            raise UserError(
                "--launcher dask needs a scheduler: give --address or --scheduler-file, or set "
                "DASK_SCHEDULER_ADDRESS"
            )
    retries = _RETRIES if retries is None else retries
    if type(retries) is not int or retries < 0:
        raise UserError(f"--retries must be a whole number, at least 0, got {shown(retries)}")
    return Cluster(address, scheduler_file, retries)
