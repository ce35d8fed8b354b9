"""What runs on a Dask worker: the check that it may compute, the data, one group at a time."""

from __future__ import annotations

import logging
import pickle
import platform
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from distributed import get_worker

import midterm_cli
from midterm_cli import source
from midterm_cli.data import datasets
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Job
from midterm_cli.part3.problem import Problem, ProblemConfig

# What this process runs, as it was when it was imported: a worker lives longer than its files.
_LOADED = source.loaded()

# Problems kept in memory: their data can be large, and a run has one.
_MAX_PROBLEMS = 2


@dataclass(frozen=True)
class Task:
    """A job as it travels: the problem is named, not sent.

    Attributes:
        work: the job's function.
        config: of the problem.
        sha256: the digest of its data.
        dataset: what the config names, a folder as the driver's absolute path.
        data_dir: where the driver has Fashion-MNIST, absolute; the worker looks there first.
        arguments: of the job.
    """

    work: Callable[..., Iterator[Any]]
    config: ProblemConfig
    sha256: str
    dataset: str
    data_dir: Path
    arguments: tuple[Any, ...]


class Answer(NamedTuple):
    """What became of a task.

    Attributes:
        kind: `done`, with the job's last event; `raised` or `refused`, with the reason; `lacking`,
            without the data; `dropped`, because nobody waits for it any more.
        value: the event or the reason.
        address: of the worker, for Dask.
        worker: name and host, for the record.
    """

    kind: Literal["done", "raised", "refused", "lacking", "dropped"]
    value: Any
    address: str
    worker: Mapping[str, str]


def facts() -> dict[str, str]:
    """What has to be the same on both sides for the same numbers: midterm, and what computes."""
    return {
        "midterm": midterm_cli.__version__,
        "code": _LOADED,
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def refusal(expected: Mapping[str, str]) -> str:
    """Why this worker may not compute for a driver with these facts; empty if it may."""
    mine = facts()
    return ", ".join(
        f"{name} {mine.get(name)} instead of {value}"
        for name, value in expected.items()
        if mine.get(name) != value
    )


def ask(expected: Mapping[str, str]) -> str:
    """Like `refusal`, and whether the files are still those that this process was started from.

    What it has not imported yet would come from the new ones.
    """
    if reason := refusal(expected):
        return reason
    return "" if source.digest() == _LOADED else "code that has changed on its disk meanwhile"


def pickled(job: Job) -> bytes:
    """A job as a `Task`, for `run_group`."""
    problem: Problem = job.problem
    dataset = problem.config.dataset
    if dataset not in (datasets.FASHION_MNIST, datasets.SYNTHETIC):
        dataset = str(datasets.expand_home(Path(dataset)).absolute())
    return pickle.dumps(
        Task(
            job.work,
            problem.config,
            problem.dataset.sha256,
            dataset,
            problem.data_dir.absolute(),
            job.arguments,
        )
    )


def run_group(expected: Mapping[str, str], pickled: bytes) -> Answer:
    """Compute a group, unless this worker may not, or cannot yet.

    Args:
        expected: `facts` of the driver. They are held against this process each time: the worker
            may have joined after the driver asked all of them.
        pickled: a `Task`, unpickled only after that.
    """
    worker = get_worker()
    who = {"worker": str(worker.name), "host": socket.gethostname()}

    def answer(kind: Any, value: Any = None) -> Answer:
        return Answer(kind, value, worker.address, who)

    if reason := refusal(expected):
        return answer("refused", reason)
    try:
        task: Task = pickle.loads(pickled)
        problem = _problem(task)
        if problem is None:
            return answer("lacking")
        return answer("done", _last_event(task.work(problem, *task.arguments)))
    except _Dropped:
        return answer("dropped")
    except Exception as error:
        # Named here, where it is known who raised it; the traceback stays in the worker's log.
        logging.getLogger(__name__).exception("a group failed")
        return answer("raised", _in_words(error))


def keep_data(dataset: datasets.Dataset) -> None:
    """Hold data that the driver sends to a worker that has no copy of it."""
    with _lock:
        _sent.clear()
        _sent[dataset.sha256] = dataset


class _Dropped(Exception):
    """Nobody waits for the group any more."""


_lock = threading.Lock()
_sent: dict[str, datasets.Dataset] = {}
_problems: OrderedDict[tuple[str, str], Problem] = OrderedDict()


def _problem(task: Task) -> Problem | None:
    """The problem of a task, from memory or made; None if the data is nowhere to be had here."""
    key = (task.config.model_dump_json(), task.sha256)
    with _lock:
        if key not in _problems:
            dataset = _sent.get(task.sha256) or _from_disk(task)
            if dataset is None:
                return None
            context = Context(torch.device("cpu"), task.data_dir)
            _problems[key] = Problem(task.config, context, dataset)
        _problems.move_to_end(key)
        while len(_problems) > _MAX_PROBLEMS:
            _problems.popitem(last=False)
        return _problems[key]


def _from_disk(task: Task) -> datasets.Dataset | None:
    """The data from this machine's disk, if the right one is there: the digest decides."""
    for folder in (task.data_dir, datasets.data_dir()):
        with suppress(UserError):
            dataset = datasets.load(task.dataset, folder)
            if dataset.sha256 == task.sha256:
                return dataset
    return None


def _last_event(events: Iterator[Any]) -> Any:
    """Work to the end on one thread a product, with denormal numbers taken as zero."""
    # Never set back: another thread of this worker may be in the middle of a group.
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    last = None
    try:
        for event in events:
            last = event
            if _is_cancelled():
                raise _Dropped
    finally:
        torch.set_flush_denormal(False)
    return last


def _is_cancelled() -> bool:
    """Whether Dask has let go of the task of this thread: its driver has gone or given it up."""
    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    return task is None or task.state == "cancelled"


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
