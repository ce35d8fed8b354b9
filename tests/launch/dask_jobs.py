"""Jobs that workers can import, each for one thing that may happen on a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch


class Problem:
    """A problem that writes down, in a file, each time that it is unpickled."""

    def __init__(self, unpickled: Path, size: int = 0) -> None:
        self.unpickled, self.content = unpickled, bytes(size)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with self.unpickled.open("a") as file:
            file.write("x")


class Unreadable:
    """A problem that no worker can unpickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise ValueError("no room for the data")


def double(problem: Any, number: int, seconds: float = 0.0) -> Iterator[int]:
    """Two events, of which the last is the result."""
    yield -1
    time.sleep(seconds)
    yield 2 * number


def surroundings(problem: Any) -> Iterator[tuple[int, float, Any]]:
    """How a job computes: intra-op threads, whether denormals are zero; and the problem."""
    denormal = torch.tensor(1e-39) * 1
    yield torch.get_num_threads(), float(denormal), problem


def fail(problem: Any, tried: Path) -> Iterator[int]:
    """Leave a mark for each time that it is tried."""
    with tried.open("a") as file:
        file.write("x")
    raise ValueError("the disk is full\nof something")
    yield 0


def tick(problem: Any, clock: Path) -> Iterator[float]:
    """Write down, for a minute, that it is at work."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.01)
        clock.write_text(str(time.monotonic()))
        yield 0.0
