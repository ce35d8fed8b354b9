"""Jobs side by side on the cores of this machine, in processes forked from this one.

Threads would share the interpreter's lock, which a training step takes for each of its operations:
with few small models a thread, a second thread gains little. A forked process has what this one
has in memory, so that nothing is imported, read or copied a second time.

The first jobs fork a process for each core. A process that is idle is sent a job (its function by
name, and its arguments; the problem it has from the fork) through a pipe, and sends back what the
job yields. It ends when the pipe is closed, whatever has become of this end.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, cast

from midterm_cli.errors import UserError
from midterm_cli.experiment import Event, Job
from midterm_cli.launch.local import Done

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Processes:
    """Runs jobs of one problem in forked processes, which live until `close`.

    Args:
        workers: how many at once.

    Attributes:
        forked: how many it took so far.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.forked = 0
        self._idle: list[_Worker] = []
        self._problem: Any = None

    def close(self) -> None:
        """End the processes."""
        _kill(self._idle)

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Event]:
        """Run jobs; yields their events in order of arrival.

        Closing the iterator, or an exception in a job, ends all of them at once; the exception is
        raised here.

        Raises:
            UserError: a process was killed from outside, as when memory runs out.
        """
        problem = jobs[0].problem
        if problem is not self._problem:
            _kill(self._idle)
            self._problem = problem
        while len(self._idle) < min(self.workers, len(jobs)):
            self._idle.append(_fork(problem))
            self.forked += 1
        waiting = deque(enumerate(jobs))
        working: dict[Connection, tuple[_Worker, int]] = {}
        try:
            while waiting or working:
                while waiting and self._idle:
                    index, job = waiting.popleft()
                    worker = self._idle.pop()
                    working[worker.connection] = worker, index
                    worker.connection.send_bytes(pickle.dumps((job.work, job.arguments)))
                for connection in cast(list[Connection], wait(list(working))):
                    worker, index = working[connection]
                    event = worker.receive(jobs[index].name)
                    if not isinstance(event, Done):
                        yield Event(index, event)
                    elif event.error is not None:
                        raise event.error
                    else:
                        self._idle.append(worker)
                        del working[connection]
        finally:
            _kill([worker for worker, _ in working.values()])


@dataclass(frozen=True)
class _Worker:
    """A forked process, and this end of the pipe to it."""

    process: ForkProcess
    connection: Connection

    def receive(self, job: str) -> Any:
        """Its next event, or the end of its job.

        Raises:
            UserError: it has died.
        """
        try:
            return pickle.loads(self.connection.recv_bytes())
        except (EOFError, ConnectionError):
            self.process.join()
            raise UserError(
                f"the process that computed {job} died ({_reason(self.process.exitcode)})\n"
                "if memory ran out, resume with --resume and fewer at once: OMP_NUM_THREADS=1"
            ) from None


def _reason(exit_code: int | None) -> str:
    if exit_code is None:  # this process was started with SIGCHLD ignored
        return "for a reason that was not kept"
    return signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"


def _kill(workers: list[_Worker]) -> None:
    """End processes, idle or at work: they hold nothing that has to be put in order."""
    for worker in workers:
        worker.process.kill()
        worker.process.join()
        worker.connection.close()
    workers.clear()


def _fork(problem: Any) -> _Worker:
    context = multiprocessing.get_context("fork")
    try:
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(problem, there), daemon=True)
        with _signals_deferred(), warnings.catch_warnings():
            # From Python 3.12 on: another thread might hold a lock at this moment, which would
            # stay locked in the new process. The one here draws the progress bar, unused there.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
    except OSError as error:
        raise UserError(
            f"cannot start a process for each of the cores: {error.strerror}\n"
            "use fewer: OMP_NUM_THREADS=1"
        ) from error
    there.close()
    return _Worker(process, here)


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """Handle the signals that arrive meanwhile in the end.

    Python drops what a handler raises while it forks; and the handlers here would raise in the new
    process, until that has its own. A mask does not do: it leaves signals to other threads, which
    have the handlers called here.
    """
    if threading.current_thread() is not threading.main_thread():  # no handler is called here
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def _serve(problem: Any, connection: Connection) -> None:
    """Run jobs, in the forked process, until the pipe is closed."""
    # Ctrl-C reaches every process of a terminal; the first process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Files of the first process: the lock of its run, the pipes to its other processes.
    for path in list(Path("/proc/self/fd").iterdir()):
        if (number := int(path.name)) > 2 and number != connection.fileno():
            with suppress(OSError):  # the listing itself has been closed
                os.close(number)
    with suppress(EOFError, OSError):  # the first process is gone
        while True:
            _run_job(problem, connection.recv_bytes(), connection)


def _run_job(problem: Any, job: bytes, connection: Connection) -> None:
    """Send the events of a job, and in the end `Done`."""
    try:
        work, arguments = pickle.loads(job)
        for event in work(problem, *arguments):
            connection.send_bytes(pickle.dumps(event))
        done = pickle.dumps(Done())
    except BaseException as error:  # raised in the first process, whatever it is
        error.add_note("".join(traceback.format_exception(error)))
        try:
            done = pickle.dumps(Done(error))
        except Exception:  # it cannot be sent; its text can
            done = pickle.dumps(Done(RuntimeError(repr(error))))
    connection.send_bytes(done)
