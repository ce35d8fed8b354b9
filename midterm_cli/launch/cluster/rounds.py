"""Jobs handed out to workers, followed, and each answered for: a result once, or a failure."""

from __future__ import annotations

import asyncio
import queue
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

import distributed
from distributed.scheduler import KilledWorker

from midterm_cli import terminal
from midterm_cli.errors import UserError
from midterm_cli.experiment import Event, Job
from midterm_cli.launch.cluster import remote
from midterm_cli.launch.cluster.crew import Crew
from midterm_cli.text import printable

# Tasks in flight for each thread of a worker: one at work, one at hand. Where a task may not run
# anywhere it could end up waiting at a busy worker while another is idle: then only one.
_TASKS_A_THREAD, _RESTRICTED_TASKS_A_THREAD = 2, 1

# Failed groups that a message names.
_NAMED = 3

_Key = tuple[str, int]


@dataclass(frozen=True)
class _Task:
    """A job in flight.

    Attributes:
        index: of the job.
        future: of Dask.
        workers: those that it may run on; None for all.
        since: when it was handed out, by the monotonic clock.
    """

    index: int
    future: distributed.Future[Any]
    workers: frozenset[str] | None
    since: float


class Round:
    """One call of the launcher. Leaving it as a context lets go of everything in flight.

    Args:
        crew: who computes.
        jobs: at least one.
        retries: how often a job that failed is tried again, on another worker if there is one.
    """

    def __init__(self, crew: Crew, jobs: Sequence[Job], retries: int) -> None:
        self._crew, self._jobs, self._retries = crew, jobs, retries
        self._waiting = deque(range(len(jobs)))
        self._in_flight: dict[_Key, _Task] = {}
        self._arrived: queue.SimpleQueue[tuple[_Key, Any]] = queue.SimpleQueue()
        self._lacking_data: dict[str, float] = {}
        self._failed_on: defaultdict[int, list[str]] = defaultdict(list)
        self._failures: list[str] = []
        self._known_silent: frozenset[str] = frozenset()
        self._name = f"midterm-{uuid.uuid4().hex}"
        self._num_submitted = 0

    def __enter__(self) -> Round:
        """Nothing is handed out yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of what is in flight: its workers stop at its next event."""
        for task in self._in_flight.values():
            task.future.release()
        self._in_flight.clear()

    def results(self) -> Iterator[Event]:
        """The result of each job, as it arrives.

        Raises:
            UserError: jobs failed (raised in the end); or the scheduler or all workers are gone.
        """
        look_at = time.monotonic() + self._crew.bounds.watch
        while self._waiting or self._in_flight:
            self._send_data()
            self._submit()
            try:
                key, answer = self._arrived.get(timeout=max(0.0, look_at - time.monotonic()))
            except queue.Empty:
                pass
            else:
                if (said := self._take(key, answer)) is not None:
                    yield said
            if time.monotonic() >= look_at:
                self._crew.look()
                self._take_back()
                look_at = time.monotonic() + self._crew.bounds.watch
        if self._failures:
            raise self._failure()

    def _submit(self) -> None:
        """Hand out jobs, as many as the workers keep at hand."""
        crew = self._crew
        loop = cast("Any", crew.client.loop).asyncio_loop
        a_thread = _TASKS_A_THREAD if crew.is_whole else _RESTRICTED_TASKS_A_THREAD
        room = a_thread * crew.num_threads - len(self._in_flight)
        while self._waiting and room > 0 and crew.client.status == "running":
            index = self._waiting.popleft()
            # Naming workers costs the scheduler time: only where some must not be chosen.
            others = crew.usable - set(self._failed_on[index])
            free = crew.is_whole and len(others) == len(crew.usable)
            workers = None if free else others or crew.usable
            self._num_submitted += 1
            key = (self._name, self._num_submitted)
            future = crew.client.submit(
                remote.run_group,
                crew.facts,
                remote.pickled(self._jobs[index]),
                key=key,
                workers=workers and list(workers),
            )
            self._in_flight[key] = _Task(index, future, workers, time.monotonic())
            asyncio.run_coroutine_threadsafe(self._follow(key, future), loop)
            room -= 1

    async def _follow(self, key: _Key, future: distributed.Future[Any]) -> None:
        """Wait for a task, in the client's own thread, and fetch its answer or its error."""
        try:
            answer = await future
        except (Exception, CancelledError) as error:
            answer = error
        self._arrived.put((key, answer))

    def _take(self, key: _Key, answer: Any) -> Event | None:
        """See what became of a task, and let go of it."""
        task = self._in_flight.pop(key, None)
        if task is None:  # taken back before
            return None
        task.future.release()
        if isinstance(answer, remote.Answer):
            if answer.kind == "done":
                return Event(task.index, answer.value, answer.worker)
            if answer.kind == "raised":
                reason = f"{answer.value} (on worker {answer.worker['worker']})"
                self._fail(task.index, reason, answer.address)
                return None
            if answer.kind == "refused":
                self._crew.refuse(answer.address, answer.value)
            elif answer.kind == "lacking":
                self._lacking_data[answer.address] = task.since
            self._waiting.appendleft(task.index)
        elif isinstance(answer, CancelledError):  # the connection was lost, and with it the task
            self._waiting.append(task.index)
        elif isinstance(answer, KilledWorker):
            self._fail(task.index, "the workers that had it died, one after the other")
        else:
            before = self._crew.usable
            self._crew.look()
            if self._crew.usable == before:
                self._fail(task.index, f"{type(answer).__name__}: {answer}")
            else:  # a worker had joined that cannot even read the task
                self._waiting.appendleft(task.index)
        return None

    def _fail(self, index: int, reason: str, address: str = "") -> None:
        """Try a job again, or give it up and go on with the others."""
        self._failed_on[index].append(address)
        if len(self._failed_on[index]) <= self._retries:
            self._waiting.append(index)
            return
        self._failures.append(f"{self._jobs[index].name}: {printable(reason)}")
        terminal.say(f"Warning: failed, {self._failures[-1]}")

    def _take_back(self) -> None:
        """Take back tasks whose workers hang or have gone, to hand them out anew."""
        crew = self._crew
        stuck = {
            key
            for key, task in self._in_flight.items()
            if task.workers is not None and not task.workers & crew.usable
        }
        if crew.silent:
            stuck |= self._in_flight.keys() & crew.held_by_silent()
        if crew.silent - self._known_silent:
            # Results that were finished, but that are fetched together with one that hangs.
            stuck |= {
                key for key, task in self._in_flight.items() if task.future.status == "finished"
            }
        self._known_silent = crew.silent
        for key in stuck:
            task = self._in_flight.pop(key)
            task.future.release()
            self._waiting.appendleft(task.index)

    def _send_data(self) -> None:
        if self._lacking_data:
            self._crew.send(self._jobs[0].problem.dataset, self._lacking_data)
            self._lacking_data.clear()

    def _failure(self) -> UserError:
        shown = "; ".join(self._failures[:_NAMED])
        more = len(self._failures) - _NAMED
        return UserError(
            f"{len(self._failures)} of {len(self._jobs)} groups failed: {shown}"
            + (f"; and {more} more" if more > 0 else "")
            + "\nthe others are kept: remove the cause, then --resume computes only what is missing"
        )
