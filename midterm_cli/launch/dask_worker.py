"""What runs on a Dask worker: which code it has, and one job at a time.

The scheduler imports this module too, to pass tasks on, so nothing here imports torch at the top.
"""

from __future__ import annotations

import logging
import pickle
import platform
import socket
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

from distributed import Reschedule, Worker, get_worker
from distributed.core import Status

import midterm_cli
from midterm_cli import source
from midterm_cli.errors import UserError

# Seconds that a job waits for the problem before it goes back to the scheduler.
_PAUSE = 0.1


class JobError(Exception):
    """A job failed; says how, and on which worker."""


class Result(NamedTuple):
    """What a job comes to.

    Attributes:
        value: its last event.
        worker: name and host of the worker.
    """

    value: Any
    worker: Mapping[str, str]


def versions() -> dict[str, str]:
    """What has to be the same on both sides for the same numbers: midterm, and what computes."""
    loaded = source.loaded()
    return {
        "midterm": midterm_cli.__version__,
        # What a process has not imported yet would come from the files that are there now.
        "code": loaded if source.digest() == loaded else f"{loaded} (changed on disk since)",
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "torch": version("torch"),
        "numpy": version("numpy"),
    }


async def announce(expected: Mapping[str, str], resource: str, dask_worker: Worker) -> str:
    """Announce the resource that jobs require, if this worker has the versions of the driver.

    Returns:
        What differs; empty if nothing does.
    """
    mine = versions()
    differences = [
        f"{name} {mine[name]} instead of {value}"
        for name, value in expected.items()
        if mine[name] != value
    ]
    await dask_worker.set_resources(**{resource: 0 if differences else dask_worker.state.nthreads})
    return ", ".join(differences)


def name_of_copy(problem: str, address: str) -> str:
    """Under which a worker keeps its copy of a problem."""
    return f"{problem}-{address}"


def unpickled(problem: bytes) -> Any:
    """A problem, for the jobs of this worker; a JobError for them to raise if it cannot be read."""
    try:
        return pickle.loads(problem)
    except Exception as error:  # whatever it is, the driver is told
        return _job_error(error)


def run_job(problem: str, job: bytes) -> Result:
    """Run a job to its end.

    Args:
        problem: its name.
        job: its function and its arguments, pickled.

    Raises:
        JobError: the job failed.
        Reschedule: this worker has not got its copy of the problem yet.
    """
    worker = get_worker()
    try:
        copy = worker.data[name_of_copy(problem, worker.address)]
    except KeyError:
        time.sleep(_PAUSE)
        raise Reschedule from None
    if isinstance(copy, JobError):
        raise copy
    try:
        work, arguments = pickle.loads(job)
        last = _last_event(work(copy, *arguments))
    except Exception as error:  # whatever a job raises goes to the driver, as text
        raise _job_error(error) from None
    return Result(last, {"worker": str(worker.name), "host": socket.gethostname()})


def _job_error(error: Exception) -> JobError:
    # The traceback stays in the log of the worker.
    logging.getLogger(__name__).error("a job failed", exc_info=error)
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return JobError(f"{reason} (on worker {get_worker().name})")


def _last_event(events: Iterator[Any]) -> Any:
    """Run to the end on one thread a matmul, with denormal numbers taken as zero."""
    import torch

    # Never set back: another thread of this worker may be in the middle of a job.
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    last = None
    try:
        for event in events:
            last = event
            if _is_cancelled():
                break
    finally:
        torch.set_flush_denormal(False)
    return last


def _is_cancelled() -> bool:
    """Whether nobody waits for the job of this thread: its driver or the scheduler is gone."""
    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    is_closing = worker.status in (Status.closing, Status.closed)
    return is_closing or task is None or task.state == "cancelled"
