"""The one seam between an experiment and where its jobs are computed."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from midterm_cli.errors import UserError
from midterm_cli.experiment import Job, Said
from midterm_cli.runner.mistakes import shown

if TYPE_CHECKING:
    import torch

    from midterm_cli.runner.processes import Processes

_LAUNCHERS = ("local", "dask")
_RETRIES = 2


class Launcher(Protocol):
    """Runs independent jobs."""

    @property
    def workers(self) -> int:
        """How many at once."""

    @property
    def remote(self) -> bool:
        """Whether the workers are elsewhere: see `Context.remote`."""

    @property
    def forked(self) -> int:
        """How many processes of this machine have computed beside this one."""

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Said]:
        """Run jobs; yields what they say, or only their results, in order of arrival."""


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
        from midterm_cli.runner.cluster.connect import connected
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("dask", "distributed"):
            raise
        raise UserError(
            "--launcher dask needs Dask distributed: pip install 'midterm-cli[dask]'"
        ) from error
    with connected(cluster) as found:
        yield found


@contextmanager
def _cores(workers: int) -> Iterator[Launcher]:
    if workers == 1 or sys.platform != "linux":  # elsewhere libraries do not survive a fork
        yield Threads(workers)
        return
    from midterm_cli.runner.processes import Processes

    with Processes(workers) as processes:
        yield Cores(Threads(workers), processes)


def num_workers(device: torch.device) -> int:
    """Jobs that run side by side: one a core, or OMP_NUM_THREADS of them; one on CUDA."""
    import torch

    return torch.get_num_threads() if device.type == "cpu" else 1


@dataclass(frozen=True)
class Cores:
    """Jobs on the cores of this machine: several in processes, one in a thread.

    Threads compute as well where a product has threads of its own, which do not survive a fork, and
    whose products are so large that they seldom meet at the interpreter's lock.
    """

    threads: Threads
    processes: Processes
    remote: bool = False

    @property
    def workers(self) -> int:
        """How many at once."""
        return self.threads.workers

    @property
    def forked(self) -> int:
        """How many processes have computed."""
        return self.processes.forked

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Said]:
        """Run jobs; yields what they say, in order of arrival."""
        import torch

        forked = len(jobs) > 1 and torch.get_num_threads() == 1
        return self.processes(jobs) if forked else self.threads(jobs)


@dataclass(frozen=True)
class Threads:
    """Jobs side by side in this process; the arithmetic releases the interpreter's lock.

    Even a single job has a thread of its own: the one that signals reach is always free to hear
    them.
    """

    workers: int
    remote: bool = False
    forked: int = 0

    def __call__(self, jobs: Sequence[Callable[[], Iterator[Any]]]) -> Iterator[Said]:
        """Run jobs; yields what they say, in order of arrival.

        Closing the iterator, or an exception in a job, stops all jobs where they next say
        something; the exception of a job is raised here.
        """
        said: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        stop = threading.Event()

        def work(index: int, job: Callable[[], Iterator[Any]]) -> None:
            try:
                for event in job():
                    if stop.is_set():
                        return
                    said.put((index, event))
                said.put((index, _Done()))
            except BaseException as error:  # carried to the caller, whatever it is
                said.put((index, _Done(error)))

        # Jobs that are stopped are not waited for: a step of a large network takes seconds.
        pool = ThreadPoolExecutor(self.workers)
        try:
            for index, job in enumerate(jobs):
                pool.submit(work, index, job)
            running = len(jobs)
            while running:
                index, event = said.get()
                if not isinstance(event, _Done):
                    yield Said(index, event)
                    continue
                if event.error is not None:
                    raise event.error
                running -= 1
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class _Done:
    """The end of a job."""

    error: BaseException | None = None
