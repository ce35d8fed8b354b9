"""Jobs side by side on the cores of this machine, in processes forked from this one.

Threads would share the interpreter's lock, which a step takes for each of its operations: with few
small networks a thread, a second thread gains little. A forked process has what this one has in
memory, so that nothing is imported, read or copied a second time.

The first jobs fork a process for each core. Each that is idle is handed a job, its function by name
and its arguments (the problem it has from the fork), and says what the job yields through a pipe.
When the pipe is closed, whatever became of this end, it is gone.
"""

from __future__ import annotations

import os
import pickle
import signal
import traceback
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from midterm_cli.errors import UserError
from midterm_cli.experiment import Event, Job


class Processes:
    """Runs jobs of one problem in forked processes, which live until the context ends.

    Args:
        workers: how many at once.

    Attributes:
        forked: how many it took so far.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._idle: list[_Worker] = []
        self._problem: Any = None
        self.forked = 0

    def __enter__(self) -> Processes:
        """Nothing is forked yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes."""
        self._end(self._idle)

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Event]:
        """Run jobs; yields what they say, in order of arrival.

        Closing the iterator, or an exception in a job, ends all of them at once; the exception is
        raised here.

        Raises:
            UserError: a process was killed from outside, as for want of memory.
        """
        problem = jobs[0].problem
        if problem is not self._problem:
            self._end(self._idle)
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
                    event = worker.hear(jobs[index].name)
                    if not isinstance(event, _Done):
                        yield Event(index, event)
                    elif event.error is not None:
                        raise event.error
                    else:
                        self._idle.append(worker)
                        del working[connection]
        finally:
            self._end([worker for worker, _ in working.values()])

    @staticmethod
    def _end(workers: list[_Worker]) -> None:
        """Kill processes, idle or at work: they hold nothing that has to be put in order."""
        for worker in workers:
            worker.kill()
        workers.clear()


class _Worker:
    """A forked process, and this end of the pipe to it."""

    def __init__(self, pid: int, connection: Connection) -> None:
        self.pid, self.connection = pid, connection
        self._is_gone = False

    def hear(self, job: str) -> Any:
        """Wait for what it says next.

        Raises:
            UserError: it has died.
        """
        try:
            return pickle.loads(self.connection.recv_bytes())
        except (EOFError, ConnectionError):
            raise UserError(
                f"the process that computed {job} died ({self._bury()})\n"
                "if memory ran out, go on with --resume and fewer at once: OMP_NUM_THREADS=1"
            ) from None

    def kill(self) -> None:
        """End it, if it has not died already."""
        if not self._is_gone:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._bury()
        self.connection.close()

    def _bury(self) -> str:
        """Wait for its end; returns why it ended, in words."""
        self._is_gone = True
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:  # we were started with SIGCHLD ignored
            return "for a reason that was not kept"
        code = os.waitstatus_to_exitcode(status)
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


@dataclass(frozen=True)
class _Done:
    """The end of a job."""

    error: BaseException | None = None


def _fork(problem: Any) -> _Worker:
    here, there = Pipe()
    with warnings.catch_warnings():
        # From Python 3.12 on: another thread might hold a lock at this moment, which nobody would
        # release over there. The one beside us draws the progress bar, which is not touched there.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            _serve(problem, there)
        finally:
            # Past what is done at the end of a program: this is not the end of that one.
            os._exit(1)
    there.close()
    return _Worker(pid, here)


def _serve(problem: Any, connection: Connection) -> None:
    """Work, in the forked process, for as long as there is somebody to work for."""
    # Ctrl-C reaches every process of a terminal; what it means, the first one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Files of the first process: the lock of its run, the pipes to its other processes.
    for path in list(Path("/proc/self/fd").iterdir()):
        if (number := int(path.name)) > 2 and number != connection.fileno():
            with suppress(OSError):  # the listing itself has been closed
                os.close(number)
    try:
        while True:
            connection.send_bytes(_last_words(problem, connection.recv_bytes(), connection))
    except (EOFError, OSError):  # nobody is there any more
        return


def _last_words(problem: Any, task: bytes, connection: Connection) -> bytes:
    """Do a job, saying what it yields, up to what is to be said at its end."""
    try:
        work, arguments = pickle.loads(task)
        for event in work(problem, *arguments):
            connection.send_bytes(pickle.dumps(event))
        return pickle.dumps(_Done())
    except ConnectionError:
        raise
    except BaseException as error:  # carried to the first process, whatever it is
        error.add_note("".join(traceback.format_exception(error)))
        try:
            return pickle.dumps(_Done(error))
        except Exception:  # it does not travel; what it says does
            return pickle.dumps(_Done(RuntimeError(repr(error))))
