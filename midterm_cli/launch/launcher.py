"""Chooses where the jobs of a run are computed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Protocol

from midterm_cli.errors import UserError
from midterm_cli.experiment import Event, Job
from midterm_cli.launch.local import Cores, Threads
from midterm_cli.launch.options import Cluster

if TYPE_CHECKING:
    import torch


class Launcher(Protocol):
    """Runs independent jobs."""

    @property
    def workers(self) -> int:
        """How many jobs run at once."""

    @property
    def remote(self) -> bool:
        """Whether the workers are on other machines: see `Context.remote`."""

    @property
    def forked(self) -> int:
        """How many processes were forked on this machine."""

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Event]:
        """Run jobs; yields their events, or only their results, in order of arrival."""


@contextmanager
def launcher(device: torch.device, cluster: Cluster | None) -> Iterator[Launcher]:
    """The launcher of a run, for as long as the context lasts.

    Raises:
        UserError: the cluster cannot be reached or used.
    """
    if cluster is None:
        with _cores(num_workers(device)) as found:
            yield found
        return
    try:
        from midterm_cli.launch.dask import connected
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("dask", "distributed"):
            raise
        raise UserError(
            "--launcher dask needs Dask distributed: pip install distributed"
        ) from error
    with connected(cluster) as found:
        yield found


@contextmanager
def _cores(workers: int) -> Iterator[Launcher]:
    if workers == 1 or sys.platform != "linux":  # elsewhere libraries do not survive a fork
        yield Threads(workers)
        return
    from midterm_cli.launch.processes import Processes

    with closing(Processes(workers)) as processes:
        yield Cores(Threads(workers), processes)


def num_workers(device: torch.device) -> int:
    """Jobs that run side by side: one a core, or OMP_NUM_THREADS of them; one on CUDA."""
    import torch

    return torch.get_num_threads() if device.type == "cpu" else 1
