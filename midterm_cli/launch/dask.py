"""Jobs on the workers of a Dask scheduler; imported only where `--launcher dask` is given.

A worker gets jobs only once it has shown that it runs the code of this process: it then announces
a resource that is named after the code, and every job requires that resource. The rest is Dask's:
it decides which worker runs which job, runs a job again when it has failed or its worker has died,
and gives up workers that hang (`distributed.scheduler.worker-ttl`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import pickle
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import distributed
from distributed.scheduler import KilledWorker
from distributed.security import Security

from midterm_cli import files, terminal
from midterm_cli.errors import UserError
from midterm_cli.experiment import Event, Job
from midterm_cli.launch import dask_worker
from midterm_cli.launch.options import Cluster
from midterm_cli.text import printable, shortened

# Seconds between two looks for results.
_POLL = 0.02

# Failed groups, and characters of the names of workers, that a message shows.
_SHOWN_GROUPS, _SHOWN_NAMES = 3, 60

_RESUME = "what was finished is kept: the same command with --resume continues from it"


@dataclass(frozen=True)
class Bounds:
    """How long the driver waits, in seconds.

    Attributes:
        connect: for a scheduler to answer for the first time.
        scheduler: for the scheduler to answer a question.
        worker: for a worker to say which code it runs.
        refresh: before it asks for the list of workers again.
        no_workers: for a worker that may compute.
    """

    connect: float = 6
    scheduler: float = 30
    worker: float = 10
    refresh: float = 2
    no_workers: float = 120


@contextmanager
def connected(cluster: Cluster, bounds: Bounds | None = None) -> Iterator[Dask]:
    """A launcher on a scheduler, for as long as the context lasts.

    Raises:
        UserError: no scheduler answers, or it has no worker that may compute.
    """
    bounds = bounds or Bounds()
    address = _address(cluster)
    for name in ("distributed", "distributed.client", "tornado"):  # we say what went wrong
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", distributed.versions.VersionMismatchWarning)
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        _require_scheduler(address, bounds.connect)
        client = distributed.Client(address, timeout=bounds.connect, set_as_default=False)
        try:
            dask = Dask(client, printable(address), cluster.retries, bounds)
            dask.wait_for_workers()
            yield dask
        finally:
            with suppress(TimeoutError, OSError):
                client.close(timeout=bounds.worker)


class Dask:
    """Launches jobs on the workers of a scheduler, one a thread of theirs.

    Args:
        client: connected to the scheduler.
        address: of the scheduler, for messages.
        retries: how often a job that failed is run again.
        bounds: of every wait.
    """

    remote = True
    forked = 0

    def __init__(
        self, client: distributed.Client, address: str, retries: int, bounds: Bounds
    ) -> None:
        self._client, self._address, self._retries = client, address, retries
        self._bounds = bounds
        self._versions = dask_worker.versions()
        digest = hashlib.sha256(json.dumps(self._versions).encode()).hexdigest()
        self._resource = f"midterm-{digest[:16]}"
        self._asked: set[str] = set()  # addresses of workers
        self._threads: dict[str, int] = {}  # of the workers that may compute, by address
        self._usable_at = self._refreshed_at = time.monotonic()
        self._problem: Any = None
        self._pickled: distributed.Future[bytes] | None = None  # the problem
        self._copies: dict[str, distributed.Future[Any]] = {}  # of the problem, by address

    @property
    def workers(self) -> int:
        """How many jobs run at once on the workers of the moment."""
        return sum(self._threads.values())

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Event]:
        """Run jobs; yields the result of each as it arrives.

        Closing the iterator releases what is in flight: the workers stop it at its next event.

        Raises:
            UserError: jobs failed, raised after all others were yielded; or the scheduler or all
                workers are gone.
        """
        if not jobs:
            return
        pending: dict[distributed.Future[Any], int] = {}
        completed = distributed.as_completed(
            loop=self._client.loop, with_results=True, raise_errors=False
        )
        failures: list[str] = []

        def submit(indices: Iterable[int]) -> None:
            for index in indices:
                future = self._submit(jobs[index])
                pending[future] = index
                completed.add(future)

        self._refresh_if_due()
        self._ship(jobs[0].problem)
        try:
            submit(range(len(jobs)))
            while pending:
                for future, result in completed.next_batch(block=False):
                    if (index := pending.pop(future, None)) is None:
                        continue  # submitted again meanwhile
                    if isinstance(result, dask_worker.Result):
                        future.release()
                        yield Event(index, result.value, result.worker)
                    elif isinstance(result, CancelledError):
                        raise self._is_gone()
                    else:
                        failures.append(f"{jobs[index].name}: {_reason(future.exception())}")
                        terminal.say(f"Warning: failed, {failures[-1]}")
                before = self._threads.keys()
                if self._refresh_if_due():
                    self._ship(jobs[0].problem)
                    # Jobs that no worker could run wait for one to join: Dask does not look at
                    # them again when one announces its resource.
                    if self._threads and self._threads.keys().isdisjoint(before):
                        indices = list(pending.values())
                        _release(pending)
                        submit(indices)
                    # as_completed loses a job that fails when it is run again because its result
                    # was lost on the way.
                    for future in pending:
                        if future.status in ("error", "cancelled"):
                            completed.add(future)
                time.sleep(_POLL)
        finally:
            _release(pending)
        if failures:
            raise _failed(failures, len(jobs))

    def _submit(self, job: Job) -> distributed.Future[Any]:
        assert self._pickled is not None
        return self._client.submit(
            dask_worker.run_job,
            str(self._pickled.key),
            pickle.dumps((job.work, job.arguments)),
            key=f"midterm-job-{uuid.uuid4().hex}",
            resources={self._resource: 1},
            retries=self._retries,
        )

    def _ship(self, problem: Any) -> None:
        """Give every worker that may compute a copy of the problem, once.

        A copy has a name of its own: Dask would take a second one of the same name for superfluous,
        drop it, and send it again.
        """
        if self._pickled is None or problem is not self._problem:
            self._problem, self._copies = problem, {}
            # A task, not scattered data: Dask runs it again when the workers that have it die.
            self._pickled = self._client.submit(
                bytes, pickle.dumps(problem), key=f"midterm-problem-{uuid.uuid4().hex}"
            )
        for address in self._copies.keys() - self._threads.keys():
            del self._copies[address]
        for address in self._threads.keys() - self._copies.keys():
            self._copies[address] = self._client.submit(
                dask_worker.unpickled,
                self._pickled,
                key=dask_worker.name_of_copy(str(self._pickled.key), address),
                workers=[address],
                resources={self._resource: 1},
                priority=1,
            )

    def wait_for_workers(self) -> None:
        """Wait for a worker that may compute.

        Raises:
            UserError: there are workers, but none of them may; or none came.
        """
        refusals = self.refresh()
        if not self._asked:
            terminal.say(f"The Dask scheduler at {self._address} has no workers yet: waiting")
        while not self._threads:
            if refusals:
                raise UserError("\n".join(refusals[:2]))
            time.sleep(self._bounds.refresh / 10)
            refusals = self.refresh()
        for refusal in refusals:
            terminal.say(f"Warning: {refusal}")

    def _refresh_if_due(self) -> bool:
        """Refresh now and then, and tell which workers may not compute; returns whether it did."""
        if time.monotonic() - self._refreshed_at < self._bounds.refresh:
            return False
        for refusal in self.refresh():
            terminal.say(f"Warning: {refusal}")
        return True

    def refresh(self) -> list[str]:
        """See which workers there are; ask those that are new which code they run.

        Returns:
            What to say of new workers that may not compute.

        Raises:
            UserError: the scheduler is gone, or all workers that may compute were for too long.
        """
        found = self._list_workers()
        refusals: list[str] = []
        if new := found.keys() - self._asked:
            refusals = self._ask({address: str(found[address]["name"]) for address in new})
            found = self._list_workers()
        self._asked = (self._asked | new) & found.keys()
        self._threads = {
            address: worker["nthreads"]
            for address, worker in found.items()
            if worker["resources"].get(self._resource)
        }
        self._refreshed_at = time.monotonic()
        if self._threads:
            self._usable_at = self._refreshed_at
        elif self._refreshed_at - self._usable_at > self._bounds.no_workers:
            raise UserError(
                f"the Dask scheduler at {self._address} has had no worker that may compute for "
                f"{self._bounds.no_workers:g} s: start some with `dask worker`\n{_RESUME}"
            )
        return refusals

    def _list_workers(self) -> Mapping[str, Any]:
        """What the scheduler knows of its workers, by address."""
        scheduler = self._client.scheduler
        if self._client.status != "running" or scheduler is None:
            raise self._is_gone()
        found: Mapping[str, Any] = self._sync(scheduler.identity, n_workers=-1)["workers"]
        return found

    def _ask(self, names: Mapping[str, str]) -> list[str]:
        """Let the workers that may compute announce it; returns a line for each other answer.

        Args:
            names: of the workers, by address.
        """

        async def ask(address: str) -> str:
            question = self._client.run(
                dask_worker.announce,
                self._versions,
                self._resource,
                workers=[address],
                on_error="return",
            )
            try:
                answer = (await asyncio.wait_for(question, self._bounds.worker))[address]
            except TimeoutError:
                return f"no answer within {self._bounds.worker:g} s"
            if isinstance(answer, OSError):
                return ""  # it has just gone
            if isinstance(answer, Exception):
                return f"no midterm like this one: {answer}"
            return str(answer)

        async def ask_all() -> list[str]:
            return await asyncio.gather(*map(ask, names))

        refused: dict[str, list[str]] = {}
        for name, answer in zip(names.values(), self._sync(ask_all), strict=True):
            if answer:
                refused.setdefault(printable(answer), []).append(printable(name))
        return [
            f"no work for worker{'s' * (len(which) > 1)} "
            f"{shortened(', '.join(sorted(which)), _SHOWN_NAMES)} ({answer}): "
            "install there what is installed here, and start again"
            for answer, which in refused.items()
        ]

    def _sync(self, question: Callable[..., Any], **arguments: Any) -> Any:
        """What the scheduler answers, within the bound."""
        bound = self._bounds.scheduler
        try:
            return self._client.sync(question, callback_timeout=bound, **arguments)
        except (TimeoutError, OSError, asyncio.CancelledError):
            raise self._is_gone() from None

    def _is_gone(self) -> UserError:
        return UserError(
            f"the Dask scheduler at {self._address} is gone: start it again\n{_RESUME}"
        )


def _release(pending: dict[distributed.Future[Any], int]) -> None:
    for future in pending:
        future.release()
    pending.clear()


def _reason(error: Exception) -> str:
    """Why a job failed."""
    if isinstance(error, KilledWorker):
        return "the workers that had it died, one after the other"
    name = "" if isinstance(error, dask_worker.JobError) else f"{type(error).__name__}: "
    return printable(f"{name}{error}")


def _failed(failures: Sequence[str], num_jobs: int) -> UserError:
    more = len(failures) - _SHOWN_GROUPS
    return UserError(
        f"{len(failures)} of {num_jobs} groups failed: {'; '.join(failures[:_SHOWN_GROUPS])}"
        + (f"; and {more} more" if more > 0 else "")
        + "\nthe others are kept: remove the cause, then --resume computes only what is missing"
    )


def _address(cluster: Cluster) -> str:
    """Where the scheduler is.

    Raises:
        UserError: the file that `dask scheduler --scheduler-file` writes cannot be read.
    """
    path = cluster.scheduler_file
    if path is None:
        return str(cluster.address)
    try:
        return str(json.loads(files.read(path))["address"])
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, RecursionError, KeyError, TypeError):  # no JSON, or no such key
        reason = "it holds no address"
    raise UserError(
        f"cannot read the scheduler file {printable(path)}: {reason}\n"
        "give the one that `dask scheduler --scheduler-file` writes"
    )


def _require_scheduler(address: str, seconds: float) -> None:
    """Ask who is there: a client waits for minutes for what hangs or is no scheduler.

    Raises:
        UserError: no scheduler answers in time.
    """

    async def ask() -> str:
        connection = Security().get_connection_args("client")
        async with distributed.rpc(address, timeout=seconds, connection_args=connection) as there:
            return str((await there.identity())["type"])

    try:
        found = asyncio.run(asyncio.wait_for(ask(), seconds))
        reason = "" if found == "Scheduler" else f"a {found} does"
    except TimeoutError:
        reason = f"within {seconds:g} s"
    except (OSError, ValueError, TypeError, ImportError) as error:  # Dask's, of an address
        reason = str(error).partition("\n")[0]
    except Exception:  # whatever comes of bytes that are not Dask's
        reason = "something else does"
    if reason:
        raise UserError(
            f"no Dask scheduler answers at {printable(address)} ({printable(reason)}): check the "
            "address, or start one with `dask scheduler`"
        )
