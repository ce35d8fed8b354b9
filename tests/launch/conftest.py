"""What tests with sockets of Dask need."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def _no_sockets_left() -> Iterator[None]:
    """Dask leaves a socket that was cut off to the garbage collector, here and not in other tests.

    For tests that ignore a ResourceWarning.
    """
    yield
    gc.collect()
