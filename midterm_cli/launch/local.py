"""Jobs on the cores of this machine."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midterm_cli.experiment import Event, Job

if TYPE_CHECKING:
    from midterm_cli.launch.processes import Processes


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

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Event]:
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

    def __call__(self, jobs: Sequence[Callable[[], Iterator[Any]]]) -> Iterator[Event]:
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
                    yield Event(index, event)
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
