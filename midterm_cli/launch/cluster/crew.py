"""The workers of a scheduler: who they are, whether they may compute, whether they live."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import distributed
import numpy as np
from distributed.scheduler import heartbeat_interval

from midterm_cli import terminal
from midterm_cli.data.datasets import Dataset, Split
from midterm_cli.errors import UserError
from midterm_cli.launch.cluster import remote
from midterm_cli.text import printable

_GO_ON = "what was finished is kept: the same command with --resume goes on from it"

# Names in a message, before it only counts.
_NAMED = 3

# Signs of life that a worker owes, when there are so many workers that these are rare.
_BEATS_MISSED = 5

# What a question to a scheduler that has gone, or hangs, ends in.
_NO_ANSWER = (TimeoutError, OSError, asyncio.CancelledError)


@dataclass(frozen=True)
class Bounds:
    """How long the driver waits, in seconds.

    Attributes:
        connect: for a scheduler to answer for the first time.
        ask: for the scheduler to answer a question.
        start: for the workers to say what they run: importing PyTorch can take them long.
        send: for the data to reach workers that lack it.
        watch: between two looks at the workers.
        silent: for a sign of life of a worker, or of the scheduler, before it counts as lost.
        no_workers: for a worker that may compute.
    """

    connect: float = 6
    ask: float = 10
    start: float = 60
    send: float = 300
    watch: float = 2
    silent: float = 30
    no_workers: float = 120


@dataclass
class _Worker:
    """What the driver knows of a worker.

    Attributes:
        name: for messages.
        threads: tasks that it runs at once.
        beat: its last sign of life, by the scheduler's clock.
        beat_at: when the driver saw it, by its own monotonic clock.
        question: what it has been asked, as long as it has not answered.
        refused: why it may not compute; empty if it may.
        sent_at: when the driver had sent it the data, by its monotonic clock; None if it has not.
    """

    name: str
    threads: int
    beat: float
    beat_at: float
    question: distributed.Future[str] | None
    refused: str = ""
    sent_at: float | None = None


class Crew:
    """The workers of a scheduler, as the driver saw them last.

    Args:
        client: connected to the scheduler.
        address: of the scheduler, for messages.
        bounds: of every wait.

    Attributes:
        facts: what the workers must have in common with the driver.
        usable: addresses of those that may compute and give signs of life.
        silent: addresses of those that the scheduler still counts on, but that hang.
    """

    def __init__(self, client: distributed.Client, address: str, bounds: Bounds) -> None:
        self.client, self.bounds = client, bounds
        self.facts = remote.facts()
        self.usable: frozenset[str] = frozenset()
        self.silent: frozenset[str] = frozenset()
        self._scheduler = address
        self._workers: dict[str, _Worker] = {}
        self._untold: list[_Worker] = []
        self._looked_at = time.monotonic()
        self._unheard_since: float | None = None
        self._unusable_since: float | None = None

    @property
    def num_threads(self) -> int:
        """Tasks that the usable workers run at once."""
        return sum(self._workers[address].threads for address in self.usable)

    @property
    def is_whole(self) -> bool:
        """Whether every worker that the scheduler may choose is usable."""
        return len(self.usable) == len(self._workers)

    def wait(self) -> None:
        """Wait for a worker that may compute, and for the answers of those that are there.

        Raises:
            UserError: there are workers, but none of them may; or none came.
        """
        begun = time.monotonic()
        self.look()
        if not self._workers:
            terminal.say(f"The Dask scheduler at {self._scheduler} has no workers yet: waiting")
        while not self.usable or (
            any(self._workers[address].question for address in self.usable)
            and time.monotonic() - begun < self.bounds.start
        ):
            if self._workers and all(worker.refused for worker in self._workers.values()):
                raise UserError("\n".join(_refusals(self._workers.values())[:2]))
            time.sleep(0.2)
            self.look()

    def look(self) -> None:
        """See which workers there are and that they live; ask those that are new.

        Raises:
            UserError: the scheduler, or every worker that may compute, was gone for too long.
        """
        if (found := self._identify()) is None:
            return
        now = self._looked_at = time.monotonic()
        known, self._workers = self._workers, {}
        for address, told in found.items():
            worker = known.get(address)
            if worker is None:
                worker = _Worker(
                    printable(told["id"]),
                    told["nthreads"],
                    told["last_seen"],
                    now,
                    self._ask(address),
                )
            elif worker.beat != told["last_seen"]:
                worker.beat, worker.beat_at = told["last_seen"], now
            self._workers[address] = worker
        self._hear()
        self._sort()
        if self.usable:
            self._unusable_since = None
            self._tell_refusals()
        elif self._unusable_since is None:
            self._unusable_since = now
        elif now - self._unusable_since > self.bounds.no_workers:
            why = _refusals(self._untold) or ["start some with `dask worker`"]
            raise UserError(
                f"the Dask scheduler at {self._scheduler} has had no worker that may compute for "
                f"{self.bounds.no_workers:g} s: {why[0]}\n{_GO_ON}"
            )

    def refuse(self, address: str, reason: str) -> None:
        """Give a worker no more work; the next look says so."""
        worker = self._workers.get(address)
        if worker is not None and not worker.refused:
            worker.refused = reason
            self._untold.append(worker)
            self._sort()

    def _tell_refusals(self) -> None:
        for text in _refusals(self._untold):
            terminal.say(f"Warning: {text}")
        self._untold.clear()

    def send(self, dataset: Dataset, lacking: Mapping[str, float]) -> None:
        """Send data to workers that have no copy of it, each once.

        Args:
            dataset: the data.
            lacking: for the address of each, when the task was handed out that found none.
        """
        there = {address: self._workers[address] for address in lacking if address in self._workers}
        for address, worker in there.items():
            if worker.sent_at is not None and lacking[address] > worker.sent_at:
                self.refuse(address, "no room for the data")
        new = [address for address, worker in there.items() if worker.sent_at is None]
        if not new:
            return
        with suppress(*_NO_ANSWER, AttributeError):  # the last: of a client without a scheduler
            self._sync(
                self.bounds.send,
                self.client.run,
                remote.keep_data,
                _in_memory(dataset),
                workers=new,
                on_error="return",
            )
        for address in new:
            there[address].sent_at = time.monotonic()

    def held_by_silent(self) -> Collection[Any]:
        """Keys of the tasks that workers hold which hang."""
        with suppress(*_NO_ANSWER):
            held = self._sync(self.bounds.ask, self._rpc().processing)
            return {key for address in self.silent for key in held.get(address, ())}
        return ()

    def _identify(self) -> dict[str, dict[str, Any]] | None:
        """What the scheduler says of its workers, by address; None if it says nothing now."""
        now = time.monotonic()
        try:
            told = self._sync(self.bounds.ask, self._rpc().identity, n_workers=-1)
        except _NO_ANSWER:
            if self._unheard_since is None:
                self._unheard_since = now
            if self.client.status == "closed" or now - self._unheard_since > self.bounds.silent:
                raise UserError(
                    f"the Dask scheduler at {self._scheduler} is gone: start it again\n{_GO_ON}"
                ) from None
            return None
        self._unheard_since = None
        workers: dict[str, dict[str, Any]] = told["workers"]
        return workers

    def _ask(self, address: str) -> distributed.Future[str]:
        """Ask a worker whether it may compute: a task, since it may have PyTorch to import first.

        One that does not answer says it with its first group.
        """
        return self.client.submit(
            remote.ask,
            self.facts,
            key=("midterm-ask", uuid.uuid4().hex),
            workers=[address],
            priority=1,
        )

    def _hear(self) -> None:
        """Take the answers that have come."""
        for address, worker in self._workers.items():
            if worker.question is None or not worker.question.done():
                continue
            try:
                if reason := worker.question.result(timeout=self.bounds.ask):
                    self.refuse(address, reason)
            except (ImportError, AttributeError) as error:
                self.refuse(address, f"no midterm like this one ({printable(error)})")
            except Exception:
                # The worker died, or the connection did: `look` sees to that.
                pass
            worker.question.release()
            worker.question = None

    def _sort(self) -> None:
        # The more workers there are, the less often each gives a sign of life.
        patience = max(self.bounds.silent, _BEATS_MISSED * heartbeat_interval(len(self._workers)))
        silent = {
            address
            for address, worker in self._workers.items()
            if self._looked_at - worker.beat_at >= patience
        }
        for address in silent - self.silent:
            terminal.say(
                f"Warning: worker {self._workers[address].name} has given no sign of life for "
                f"{patience:g} s: others compute its groups"
            )
        self.silent = frozenset(silent)
        self.usable = frozenset(
            address
            for address, worker in self._workers.items()
            if not worker.refused and address not in silent
        )

    def _rpc(self) -> Any:
        """The questions that a scheduler answers."""
        if self.client.scheduler is None:
            raise ConnectionError("the client is closed")
        return self.client.scheduler

    def _sync(
        self, seconds: float, question: Callable[..., Any], *args: Any, **options: Any
    ) -> Any:
        return self.client.sync(question, *args, callback_timeout=seconds, **options)


def _refusals(workers: Iterable[_Worker]) -> list[str]:
    """What to say of workers that are refused, a line for each reason."""
    names: dict[str, list[str]] = {}
    for worker in workers:
        names.setdefault(worker.refused, []).append(worker.name)
    return [
        f"no work for worker{'s' * (len(which) > 1)} {_in_words(which)} ({reason}): "
        "install there what is installed here, and start again"
        for reason, which in names.items()
    ]


def _in_words(names: Sequence[str]) -> str:
    """Some names, and how many more there are: "a, b, c and 4 more"."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _in_memory(dataset: Dataset) -> Dataset:
    """The same data with no array mapped from a file."""

    def copied(split: Split) -> Split:
        return Split(np.array(split.images), np.array(split.labels))

    return replace(dataset, train=copied(dataset.train), test=copied(dataset.test))
