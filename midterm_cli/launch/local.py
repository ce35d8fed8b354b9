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
class Done:
    """The end of a job, after its events.

    Attributes:
        error: what it raised, if it did.
    """

    error: BaseException | None = None


@dataclass(frozen=True)
class Cores:
    """Jobs on the cores of this machine: several in processes, a single one in a thread.

    Threads are used as well where a matmul is split over intra-op threads: these do not survive a
    fork, and matmuls so large seldom wait for the interpreter's lock.
    """

    threads: Threads
    processes: Processes
    remote: bool = False

    @property
    def workers(self) -> int:
        """How many jobs run at once."""
        return self.threads.workers

    @property
    def forked(self) -> int:
        """How many processes were forked so far."""
        return self.processes.forked

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Event]:
        """Run jobs; yields their events in order of arrival."""
        import torch

        use_processes = len(jobs) > 1 and torch.get_num_threads() == 1
        return self.processes(jobs) if use_processes else self.threads(jobs)


@dataclass(frozen=True)
class Threads:
    """Jobs side by side in this process: arithmetic releases the interpreter's lock.

    A single job has a thread of its own, too, so that the main thread is free to handle signals.
    """

    workers: int
    remote: bool = False
    forked: int = 0

    def __call__(self, jobs: Sequence[Callable[[], Iterator[Any]]]) -> Iterator[Event]:
        """Run jobs; yields their events in order of arrival.

        Closing the iterator, or an exception in a job, stops each job at its next event; the
        exception is raised here.
        """
        events: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        stop = threading.Event()

        def work(index: int, job: Callable[[], Iterator[Any]]) -> None:
            try:
                for event in job():
                    if stop.is_set():
                        return
                    events.put((index, event))
                events.put((index, Done()))
            except BaseException as error:  # raised in the main thread, whatever it is
                events.put((index, Done(error)))

        # Jobs that are stopped are not waited for: a step of a large network takes seconds.
        pool = ThreadPoolExecutor(self.workers)
        try:
            for index, job in enumerate(jobs):
                pool.submit(work, index, job)
            running = len(jobs)
            while running:
                index, event = events.get()
                if not isinstance(event, Done):
                    yield Event(index, event)
                elif event.error is not None:
                    raise event.error
                else:
                    running -= 1
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
