"""Steps captured in CUDA graphs: one launch in place of some twenty a step.

A step of small networks takes a GPU less time than Python takes to launch it. A graph repeats what
was launched once, on the same memory, so all that changes between chunks lies in fixed buffers.
See https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from midterm_cli.errors import UserError


class Graphs:
    """A graph for each length of a chunk, captured when it is first needed.

    Args:
        steps: steps(num) launches so many steps, always on the same buffers.
    """

    def __init__(self, steps: Callable[[int], None]) -> None:
        self._steps = steps
        self._is_warm = False
        self._captured: dict[int, torch.cuda.CUDAGraph | None] = {}

    def run(self, num: int) -> None:
        """Make so many steps; one by one where they cannot be captured."""
        if not self._is_warm:
            # Libraries allocate what they need at their first call, which cannot be captured.
            self._steps(num)
            self._is_warm = True
            return
        if num not in self._captured:
            self._captured[num] = self._capture(num)
        if (graph := self._captured[num]) is None:
            self._steps(num)
        else:
            graph.replay()

    def _capture(self, num: int) -> torch.cuda.CUDAGraph | None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._steps(num)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, UserError):  # a module of the user's may ask the device for a value
            return None
        return graph
