"""Dask workers that sleep instead of computing: many in one process, as a scheduler sees them.

    python -m benchmarks.sleeping SCHEDULER_FILE NAME COUNT

The check of the code, the task as it travels and the answer are those of a real group.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

from distributed import Worker


def sleep(problem: Any, seconds: float) -> Iterator[dict[str, float]]:
    """A group that takes so long; its result is as large as that of a few models."""
    if seconds:
        time.sleep(seconds)
    yield {f"model {i}": seconds for i in range(16)}


async def host(scheduler_file: str, name: str, count: int) -> None:
    """Be so many workers of one thread, until the scheduler goes away."""
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            workers = [
                await stack.enter_async_context(
                    Worker(
                        scheduler_file=scheduler_file,
                        name=f"{name}-{i}",
                        host="127.0.0.1",
                        dashboard_address="127.0.0.1:0",
                        nthreads=1,
                        memory_limit=0,
                        local_directory=folder,
                    )
                )
                for i in range(count)
            ]
            await asyncio.gather(*(worker.finished() for worker in workers))


if __name__ == "__main__":
    asyncio.run(host(sys.argv[1], sys.argv[2], int(sys.argv[3])))
