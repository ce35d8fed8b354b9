"""Jobs in forked processes: their events arrive, and no process outlives its use."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from midterm_cli.errors import UserError
from midterm_cli.experiment import Event, Job
from midterm_cli.launch.local import Cores, Threads
from midterm_cli.launch.processes import Processes

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere libraries do not survive a fork"
)


@pytest.fixture
def processes() -> Iterator[Processes]:
    with closing(Processes(2)) as found:
        yield found


def jobs(work: Callable[..., Iterator[Any]], *numbers: int, problem: Any = "p") -> list[Job]:
    return [Job(f"job {number}", work, problem, (number,)) for number in numbers]


def count_to(problem: str, number: int) -> Iterator[tuple[str, int]]:
    for i in range(number):
        yield problem, i


def test_all_events_of_every_job_arrive_in_order(processes: Processes) -> None:
    numbers = (3, 0, 200, 1, 7)
    events = list(processes(jobs(count_to, *numbers)))
    for index, number in enumerate(numbers):
        assert [e.value for e in events if e.job == index] == [("p", i) for i in range(number)]
    assert all(e.worker is None for e in events)


def own_pid(problem: Any, number: int) -> Iterator[int]:
    time.sleep(0.05)  # until the other process has a job as well
    yield os.getpid()


def pids(events: Iterator[Event]) -> set[int]:
    return {event.value for event in events}


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_processes_are_kept_for_the_next_jobs_of_a_problem_and_no_longer() -> None:
    with closing(Processes(2)) as processes:
        first = pids(processes(jobs(own_pid, 1, 2, 3)))
        assert len(first) == 2
        assert os.getpid() not in first
        assert pids(processes(jobs(own_pid, 1, 2))) == first
        other = pids(processes(jobs(own_pid, 1, 2, problem="q")))
        assert not first & other
        assert not any(map(is_alive, first))
        assert all(map(is_alive, other))
    assert not any(map(is_alive, other))


def fail(problem: Any, number: int) -> Iterator[int]:
    yield os.getpid()
    if number == 1:
        raise UserError("the data is missing")
    if number == 2:
        raise ZeroDivisionError("a bug")
    if number == 3:
        raise Unpicklable(lambda: None)
    while True:
        time.sleep(0.01)
        yield os.getpid()


class Unpicklable(Exception):
    pass


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (1, UserError, "the data is missing"),
        (2, ZeroDivisionError, "a bug"),
        (3, RuntimeError, "Unpicklable"),
    ],
)
def test_what_a_job_raises_is_raised_here_and_ends_the_others(
    number: int, kind: type[Exception], message: str, processes: Processes
) -> None:
    seen: set[int] = set()
    with pytest.raises(kind, match=message) as raised:
        seen.update(event.value for event in processes(jobs(fail, 0, number)))
    assert not any(map(is_alive, seen))
    if number == 2:  # where in the job it was, for those who look for the bug
        assert "in fail" in "".join(raised.value.__notes__)
    assert pids(processes(jobs(own_pid, 1, 2))) & seen == set()  # fresh ones do the next


def test_closing_the_iterator_ends_the_jobs(processes: Processes) -> None:
    events = processes(jobs(fail, 0, 0))
    assert isinstance(events, Generator)
    seen = {next(events).value, next(events).value}
    events.close()
    assert not any(map(is_alive, seen))


def test_a_process_that_is_killed_is_named_with_a_remedy(processes: Processes) -> None:
    events = processes(jobs(fail, 0, 0))
    os.kill(next(events).value, signal.SIGKILL)
    with pytest.raises(UserError) as raised:
        list(events)
    first, second = str(raised.value).split("\n")
    assert first == "the process that computed job 0 died (SIGKILL)"  # both have that name
    assert "--resume" in second


def test_with_sigchld_ignored_only_the_reason_is_lost(processes: Processes) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # some programs start others like this
    try:
        events = processes(jobs(fail, 0, 0))
        os.kill(next(events).value, signal.SIGKILL)
        with pytest.raises(UserError, match="not kept"):
            list(events)
        assert len(pids(processes(jobs(own_pid, 1, 2)))) == 2
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_ctrl_c_is_left_to_the_first_process(processes: Processes) -> None:
    seen = set()
    for event in processes(jobs(count_a_little, 1, 2)):
        if event.value not in seen:
            os.kill(event.value, signal.SIGINT)
        seen.add(event.value)
    assert len(seen) == 2


def count_a_little(problem: Any, number: int) -> Iterator[int]:
    for _ in range(20):
        time.sleep(0.01)
        yield os.getpid()


def open_files(problem: Any, number: int) -> Iterator[list[str]]:
    names = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing itself
            if int(path.name) > 2:
                names.append(str(path.readlink()))
    yield names


def test_files_of_the_first_process_are_closed_in_the_others(
    processes: Processes, tmp_path: Path
) -> None:
    with (tmp_path / "lock").open("w"):
        for event in processes(jobs(open_files, 1, 2)):
            (name,) = event.value  # of the pipe to the first process
            assert name.startswith("socket:")


# A process that forks, and prints the ids of the processes that it forked.
_FIRST = """
import atexit, os, sys, time
from contextlib import closing
from midterm_cli.experiment import Job
from midterm_cli.launch.processes import Processes

def work(problem, endless):
    yield os.getpid()
    time.sleep(0.1)
    while endless:
        time.sleep(0.02)
        yield os.getpid()

if __name__ == "__main__":
    atexit.register(print, "the end", flush=True)
    with closing(Processes(2)) as processes:
        seen = set()
        jobs = [Job(str(i), work, None, (sys.argv[1] == "at work",)) for i in range(2)]
        for event in processes(jobs):
            if event.value not in seen:
                print(event.value, flush=True)
                seen.add(event.value)
        time.sleep(60)
"""


@pytest.mark.parametrize("when", ["at work", "idle"])
def test_when_the_first_process_is_killed_the_others_end_silently(
    when: str, tmp_path: Path
) -> None:
    script = tmp_path / "first.py"
    script.write_text(_FIRST)
    command = [sys.executable, str(script), when]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as first:
        assert first.stdout is not None
        forked = [int(first.stdout.readline()) for _ in range(2)]
        first.kill()
        wait_until(lambda: not any(map(is_alive, forked)))
        # Nor have they run what the first process has registered for its own end.
        assert first.stdout.read() == ""


def how_it_computes(problem: Any, number: int) -> Iterator[tuple[int, int, float]]:
    denormal = torch.tensor([1e-40]) * 1.0
    yield os.getpid(), torch.get_num_threads(), float(denormal)


@contextmanager
def arithmetic(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("threads", "num_jobs", "forks"), [(1, 2, True), (1, 1, False), (2, 2, False)]
)
def test_cores_fork_for_several_jobs_of_small_matmuls_alone(
    threads: int, num_jobs: int, forks: bool, processes: Processes
) -> None:
    cores = Cores(Threads(2), processes)
    with arithmetic(threads):
        values = [event.value for event in cores(jobs(how_it_computes, *range(num_jobs)))]
    assert cores.workers == 2
    assert cores.forked == (2 if forks else 0)
    assert [(pid != os.getpid(), *rest) for pid, *rest in values] == (
        [(forks, threads, 0.0)] * num_jobs
    )


# A Ctrl-C comes while the first process forks; another thread takes it from the system.
_INTERRUPTED = """
import os, signal, threading, time
from contextlib import closing
from midterm_cli.experiment import Job
from midterm_cli.launch.processes import Processes

def work(problem, number):
    yield number

def interrupt(number, frame):
    raise KeyboardInterrupt

def interrupt_soon():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, interrupt)
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    os.register_at_fork(after_in_parent=interrupt_soon)
    with closing(Processes(2)) as processes:
        try:
            for event in processes([Job(str(i), work, None, (i,)) for i in range(2)]):
                print(event)
        except KeyboardInterrupt:
            print("interrupted")
"""


def test_an_interrupt_in_the_moment_of_the_fork_is_not_lost(tmp_path: Path) -> None:
    script = tmp_path / "first.py"
    script.write_text(_INTERRUPTED)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_where_no_process_can_be_started_two_lines_say_so(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", no_more)
    with pytest.raises(UserError) as raised:
        list(processes(jobs(count_to, 1, 2)))
    first, second = str(raised.value).split("\n")
    assert first == (
        "cannot start a process for each of the cores: Resource temporarily unavailable"
    )
    assert "OMP_NUM_THREADS=1" in second
