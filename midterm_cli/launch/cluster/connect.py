"""To a Dask scheduler, within a bounded time."""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import distributed
from distributed.core import rpc
from distributed.security import Security

from midterm_cli.errors import UserError
from midterm_cli.experiment import Event, Job
from midterm_cli.launch.cluster.crew import Bounds, Crew
from midterm_cli.launch.cluster.rounds import Round
from midterm_cli.launch.options import Cluster
from midterm_cli.text import printable


@dataclass(frozen=True)
class Dask:
    """Launches jobs on the workers of a scheduler; one job a thread of theirs."""

    crew: Crew
    retries: int
    remote: bool = True
    forked: int = 0

    @property
    def workers(self) -> int:
        """How many jobs run at once on the workers of the moment."""
        return self.crew.num_threads

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Event]:
        """Run jobs; yields the result of each as it arrives.

        Closing the iterator lets go of what is in flight.

        Raises:
            UserError: jobs failed, raised after all others were yielded; or the scheduler or all
                workers are gone.
        """
        if jobs:
            with Round(self.crew, jobs, self.retries) as made:
                yield from made.results()


@contextmanager
def connected(cluster: Cluster, bounds: Bounds | None = None) -> Iterator[Dask]:
    """A launcher on a scheduler, for as long as the context lasts.

    Raises:
        UserError: no scheduler answers, or it has no worker that may compute.
    """
    bounds = bounds or Bounds()
    address = _address(cluster)
    _be_quiet()
    _require_scheduler(address, bounds.connect)
    client = distributed.Client(address, timeout=bounds.connect, set_as_default=False)
    try:
        crew = Crew(client, printable(address), bounds)
        crew.wait()
        yield Dask(crew, cluster.retries)
    finally:
        with suppress(TimeoutError, OSError):
            client.close(timeout=bounds.ask)


def _address(cluster: Cluster) -> str:
    if cluster.scheduler_file is not None:
        return _read_scheduler_file(cluster.scheduler_file)
    return str(cluster.address)


def _read_scheduler_file(path: Path) -> str:
    """The address in what `dask scheduler --scheduler-file` writes."""
    try:
        return str(json.loads(path.read_bytes())["address"])
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, KeyError, TypeError):
        reason = "it holds no address"
    raise UserError(
        f"cannot read the scheduler file {printable(path)}: {reason}\n"
        "give the one that `dask scheduler --scheduler-file` writes"
    )


def _require_scheduler(address: str, seconds: float) -> None:
    """Ask who is there. A client would take long to give up on what is no scheduler.

    Raises:
        UserError: no scheduler answers in time.
    """

    async def ask() -> str:
        connection = Security().get_connection_args("client")
        async with rpc(address, timeout=seconds, connection_args=connection) as there:
            return str((await there.identity())["type"])

    try:
        found = asyncio.run(asyncio.wait_for(ask(), seconds))
        reason = "" if found == "Scheduler" else f"a {found} does"
    except TimeoutError:
        reason = f"within {seconds:g} s"
    except (OSError, ValueError, TypeError, ImportError) as error:
        reason = str(error).partition("\n")[0]
    except Exception:  # whatever becomes of bytes that are not Dask's
        reason = "something else does"
    if reason:
        raise UserError(
            f"no Dask scheduler answers at {printable(address)} ({printable(reason)}): check the "
            "address, or start one with `dask scheduler`"
        )


def _be_quiet() -> None:
    """Leave it to us to say what went wrong, in a line."""
    for name in ("distributed", "distributed.client", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore", distributed.versions.VersionMismatchWarning)
