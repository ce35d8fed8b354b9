"""Jobs that workers can import, each for one thing that may happen on a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch


def double(problem: Any, number: int) -> Iterator[int]:
    """Two events, of which the last is the result."""
    yield -1
    yield 2 * number


def surroundings(problem: Any) -> Iterator[tuple[int, float, str]]:
    """How a job computes: threads a product, whether denormals are zero, the data."""
    time.sleep(0.05)  # so that one worker alone does not do them all
    denormal = torch.tensor(1e-39) * 1
    yield torch.get_num_threads(), float(denormal), problem.dataset.sha256


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
