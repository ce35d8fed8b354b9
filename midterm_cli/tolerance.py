"""Whether a difference is what rounding may make of it, and whether that decides anything."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol


class Judged(NamedTuple):
    """What a tolerance says of a difference."""

    agrees: bool
    undecided: bool


def judge(difference: float, tolerance: float, compared: float, equal: float = 0.0) -> Judged:
    """Judge a difference.

    Args:
        difference: its size.
        tolerance: what rounding may make of it.
        compared: the size of what is compared; 0 counts as 1.
        equal: up to here two numbers are equal, whatever the tolerance.

    Returns:
        A tolerance larger than what it judges, or a difference of which no digit is the same,
        decides nothing.
    """
    if math.isnan(tolerance):  # no bound
        tolerance = math.inf
    size = compared or 1.0
    allowed = difference == 0 or difference <= tolerance
    undecided = allowed and difference > equal and (tolerance > size or difference > 0.1 * size)
    return Judged(allowed and not undecided, undecided)


class _Check(Protocol):
    @property
    def agrees(self) -> bool: ...
    @property
    def undecided(self) -> bool: ...


def in_words(check: _Check) -> str:
    """The verdict as it is printed."""
    if check.undecided:
        return "cannot tell"
    return "agrees" if check.agrees else "DIFFERS"
