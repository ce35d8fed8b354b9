"""One command line in this process, and what must hold however wrong it was."""

import contextlib
import io
import itertools
import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TypeVar

from answer import Answer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from midterm_cli import cli

HANG_SECONDS = 60
"""CPU time of one case; the slowest takes a fifth of it."""
MEMORY_BYTES = 2 * 2**30
"""What one process may take beyond what it has when the fuzzing starts."""
MAX_MISTAKES = 11
"""Lines of a message: one or two, or one for each mistake in a config, up to a cap."""

_folders = itertools.count()


class Hang(BaseException):
    """A case took longer than HANG_SECONDS; no `except Exception` may swallow it."""


def midterm(*arguments: str) -> Answer:
    """Run a command line and check its answer against the contract."""
    answer = _run(arguments)
    check_contract(answer, arguments)
    return answer


def _run(arguments: Sequence[str]) -> Answer:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), no_stdin(), cpu_limit():
        code = cli.main(arguments)
    texts = []
    for stream in (out, err):
        stream.seek(0)
        # A path is printed as the bytes that it is, which need not be UTF-8.
        texts.append(stream.buffer.read().decode("utf-8", errors="surrogateescape"))
    return Answer(code, *texts)


def check_contract(answer: Answer, arguments: Sequence[str]) -> None:
    """Assert what any command line has to keep to: exit codes, and messages of one or two lines."""
    told = f"{arguments}\n{answer}"
    assert answer.code in (0, 2, 3), told
    lines = answer.err.splitlines()
    assert all(line.isprintable() for line in lines), told
    if answer.code == 2:
        message = answer.err[answer.err.index("Error: ") :]
        lines = message.rstrip("\n").split("\n")
        assert len(lines) <= 2 or (len(lines) <= MAX_MISTAKES and names_mistakes(lines)), told
        assert all(0 < len(line) <= 2_000 for line in lines), told


def names_mistakes(lines: Sequence[str]) -> bool:
    """Whether these are lines of a config's mistakes, each with the key's origin in brackets."""
    return all(re.search(r"\(.+\)|is missing|more mistakes", line) for line in lines)


@contextlib.contextmanager
def no_stdin() -> Iterator[None]:
    """Let a word - read nothing."""
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO())
    try:
        yield
    finally:
        sys.stdin = before


@contextlib.contextmanager
def cpu_limit() -> Iterator[None]:
    """Raise Hang in what takes more than HANG_SECONDS of CPU time."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang(f"more than {HANG_SECONDS} s of CPU time")

    previous = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


@contextlib.contextmanager
def memory_limit() -> Iterator[None]:
    """Let an allocation beyond MEMORY_BYTES fail, as on a machine that has no more."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def peak_bytes() -> int:
    """The most memory that this process has had in use."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """An empty folder to run one case in, below the one of the test."""
    above = Path.cwd()
    folder = above / f"case{next(_folders)}"
    folder.mkdir()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(above)


T = TypeVar("T")


def fuzz(cases: SearchStrategy[T], check: Callable[[T], None], number: int, fixed: bool) -> None:
    """Run `check` on a number of cases.

    Args:
        cases: where they come from.
        check: run in an empty folder for each.
        number: of cases.
        fixed: the same cases each time, as a pull request needs; else new ones.
    """

    def in_own_folder(case: T) -> None:
        with own_folder():
            check(case)

    settings(
        max_examples=number,
        derandomize=fixed,
        deadline=None,  # Hang stops what does not end
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )(given(cases)(in_own_folder))()
