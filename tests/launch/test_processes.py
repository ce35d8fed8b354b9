"""Jobs in forked processes: what they say arrives, and none of them outlives its use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from midterm_cli.errors import UserError
from midterm_cli.experiment import Job, Event
from midterm_cli.part3.problem import arithmetic
from midterm_cli.launch.local import Cores, Threads
from midterm_cli.launch.processes import Processes

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere libraries do not survive a fork"
)


@pytest.fixture
def processes() -> Iterator[Processes]:
    with Processes(2) as found:
        yield found


def jobs(work: Callable[..., Iterator[Any]], *numbers: int, problem: Any = "p") -> list[Job]:
    return [Job(f"job {number}", work, problem, (number,)) for number in numbers]


def count_to(problem: str, number: int) -> Iterator[tuple[str, int]]:
    for i in range(number):
        yield problem, i


def test_every_job_is_heard_to_its_end_in_its_own_order(processes: Processes) -> None:
    numbers = (3, 0, 200, 1, 7)
    said = list(processes(jobs(count_to, *numbers)))
    for index, number in enumerate(numbers):
        assert [s.event for s in said if s.job == index] == [("p", i) for i in range(number)]
    assert all(s.worker is None for s in said)


def own_pid(problem: Any, number: int) -> Iterator[int]:
    time.sleep(0.05)  # until the other process has a job as well
    yield os.getpid()


def pids(said: Iterator[Event]) -> set[int]:
    return {s.event for s in said}


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
    with Processes(2) as processes:
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
    heard: set[int] = set()
    with pytest.raises(kind, match=message) as raised:
        heard.update(said.event for said in processes(jobs(fail, 0, number)))
    assert not any(map(is_alive, heard))
    if number == 2:  # where in the job it was, for those who look for the bug
        assert "in fail" in "".join(raised.value.__notes__)
    assert pids(processes(jobs(own_pid, 1, 2))) & heard == set()  # fresh ones do the next


def test_closing_the_iterator_ends_the_jobs(processes: Processes) -> None:
    said = processes(jobs(fail, 0, 0))
    heard = {next(said).event, next(said).event}
    said.close()  # type: ignore[attr-defined]  # a generator, which its type does not say
    assert not any(map(is_alive, heard))


def test_a_process_that_is_killed_is_named_with_a_remedy(processes: Processes) -> None:
    said = processes(jobs(fail, 0, 0))
    os.kill(next(said).event, signal.SIGKILL)
    with pytest.raises(UserError) as raised:
        list(said)
    first, second = str(raised.value).split("\n")
    assert first == "the process that computed job 0 died (SIGKILL)"  # both have that name
    assert "--resume" in second


def test_who_ignores_the_end_of_processes_gets_the_same(processes: Processes) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as some programs leave it to others
    try:
        said = processes(jobs(fail, 0, 0))
        os.kill(next(said).event, signal.SIGKILL)
        with pytest.raises(UserError, match="not kept"):
            list(said)
        assert len(pids(processes(jobs(own_pid, 1, 2)))) == 2
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_ctrl_c_is_left_to_the_first_process(processes: Processes) -> None:
    heard = set()
    for said in processes(jobs(count_a_little, 1, 2)):
        if said.event not in heard:
            os.kill(said.event, signal.SIGINT)
        heard.add(said.event)
    assert len(heard) == 2


def count_a_little(problem: Any, number: int) -> Iterator[int]:
    for _ in range(20):
        time.sleep(0.01)
        yield os.getpid()


# A process that holds a lock, forks, and prints the numbers of those that it forked.
_FIRST = """
import fcntl, os, sys, time
from midterm_cli.experiment import Job
from midterm_cli.launch.processes import Processes

def work(problem, number):
    while True:
        time.sleep(0.02)
        yield os.getpid()

if __name__ == "__main__":
    lock = open(sys.argv[1], "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    with Processes(2) as processes:
        seen = set()
        for said in processes([Job(str(i), work, None, (i,)) for i in range(2)]):
            if said.event not in seen:
                print(said.event, flush=True)
                seen.add(said.event)
"""


def test_when_the_first_process_is_killed_the_others_go_and_hold_no_lock(tmp_path: Path) -> None:
    import fcntl

    script, lock = tmp_path / "first.py", tmp_path / "lock"
    script.write_text(_FIRST)
    with subprocess.Popen(
        [sys.executable, script, lock], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        forked = [int(first.stdout.readline()) for _ in range(2)]
        first.kill()
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    wait_until(lambda: not any(map(is_alive, forked)))


def how_it_computes(problem: Any, number: int) -> Iterator[tuple[int, int, float]]:
    denormal = torch.tensor([1e-40]) * 1.0
    yield os.getpid(), torch.get_num_threads(), float(denormal)


def test_cores_fork_for_several_jobs_of_small_products_alone(processes: Processes) -> None:
    launch = Cores(Threads(2), processes)
    assert launch.workers == 2
    for threads, numbers, forked in ((1, (1, 2), True), (1, (1,), False), (2, (1, 2), False)):
        with arithmetic(threads):
            events = [said.event for said in launch(jobs(how_it_computes, *numbers))]
        assert [(pid != os.getpid(), *rest) for pid, *rest in events] == (
            [(forked, threads, 0.0)] * len(numbers)
        )
