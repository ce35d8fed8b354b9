"""Schedules of the learning rate: by what the peak is multiplied at each update."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midterm_cli.part3.schema import ScheduleName

# The schedule `step`: from these shares of the updates on a tenth, and a hundredth.
_STEPS = (0.5, 0.75)


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a run, relative to its peak.

    Attributes:
        name: constant, linear (to 0), cosine (to 0: Loshchilov and Hutter, 2017), or step (a tenth
            after half of the updates, a hundredth after three quarters), all after the warm-up.
        warmup: updates over which the rate rises to its peak, linearly.
        total: updates of the run.
    """

    name: ScheduleName
    warmup: int
    total: int

    @property
    def is_constant(self) -> bool:
        """Whether the rate is the same at every update."""
        return self.name == "constant" and self.warmup == 0

    def factors(self, updates: np.ndarray) -> np.ndarray:
        """Of the peak, in [0, 1], at updates counted from 0."""
        done = np.maximum(0, updates - self.warmup) / max(1, self.total - self.warmup)
        match self.name:
            case "constant":
                after = np.ones(len(updates))
            case "linear":
                after = 1 - done
            case "cosine":
                after = (1 + np.cos(np.pi * done)) / 2
            case "step":
                after = 0.1 ** sum((done >= share).astype(float) for share in _STEPS)
        return np.asarray(after * np.minimum(1, (updates + 1) / max(1, self.warmup)))
