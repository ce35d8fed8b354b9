"""The one seam between an experiment and where its jobs are computed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midterm_cli.experiment import Job, in_turn

if TYPE_CHECKING:
    import torch


def num_workers(device: torch.device) -> int:
    """Jobs that run side by side: one a core, or OMP_NUM_THREADS of them; one on CUDA."""
    import torch

    return torch.get_num_threads() if device.type == "cpu" else 1


@dataclass(frozen=True)
class Threads:
    """Jobs side by side in this process; the arithmetic releases the interpreter's lock.

    Threads win over processes here: nothing is imported, loaded or copied a second time.
    """

    workers: int

    def __call__(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Any]]:
        """Run jobs; yields (index of the job, what it said), in order of arrival.

        Closing the iterator, or an exception in a job, stops all jobs where they next say
        something; the exception of a job is raised here.
        """
        if self.workers == 1 or len(jobs) == 1:
            yield from in_turn(jobs)
            return
        said: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        stop = threading.Event()

        def work(index: int, job: Job) -> None:
            try:
                for event in job():
                    if stop.is_set():
                        return
                    said.put((index, event))
                said.put((index, _Done()))
            except BaseException as error:  # carried to the caller, whatever it is
                said.put((index, _Done(error)))

        with ThreadPoolExecutor(self.workers) as pool:
            try:
                for index, job in enumerate(jobs):
                    pool.submit(work, index, job)
                running = len(jobs)
                while running:
                    index, event = said.get()
                    if not isinstance(event, _Done):
                        yield index, event
                        continue
                    if event.error is not None:
                        raise event.error
                    running -= 1
            finally:
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class _Done:
    """The end of a job."""

    error: BaseException | None = None
