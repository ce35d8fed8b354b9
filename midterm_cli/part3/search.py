"""Which learning rates to try next, given the attempts so far.

Double the learning rate until training fails, halve it where it fails at once; then narrow the gap
around the one at which half of the seeds fail. These are pure functions of the attempts: a resumed
sweep tries the same learning rates as an undisturbed one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from midterm_cli.part3.lr_sweep.schema import HIGHEST_LR, LOWEST_LR
from midterm_cli.part3.outcome import Attempt

# The threshold should not be extrapolated: where the share of failures at the highest learning rate
# is below this, it could be one half by chance, and one more learning rate is tried above it.
_CLEARLY_FAILING = 0.75


@dataclass(frozen=True)
class Bracket:
    """Neighbours on the doubling grid, by the published convention: double until it fails.

    Attributes:
        last_stable: the last learning rate of the grid below `first_divergent` at which training
            works; None if there is none.
        first_divergent: the first above one at which training works, at which half of the seeds
            or more fail. One that is too low to learn anything in the epochs given does not count.
    """

    last_stable: float | None
    first_divergent: float | None

    @property
    def closed(self) -> bool:
        """Whether both ends were found."""
        return self.last_stable is not None and self.first_divergent is not None


def failure_shares(attempts: Sequence[Attempt]) -> dict[float, float]:
    """Share of the seeds that fail at each learning rate, in rising order."""
    shares = {}
    for lr in sorted({attempt.lr for attempt in attempts}):
        failures = [attempt.failed for attempt in attempts if attempt.lr == lr]
        shares[lr] = sum(failures) / len(failures)
    return shares


def find_bracket(attempts: Sequence[Attempt], start: float) -> Bracket:
    """The bracket on the grid start · 2^k; learning rates between those are left out."""
    grid = {lr: share for lr, share in failure_shares(attempts).items() if _on_grid(lr, start)}
    first = first_failing(grid)
    stable = [lr for lr, share in grid.items() if share < 0.5 and (first is None or lr < first)]
    return Bracket(max(stable, default=None), first)


def first_failing(shares: dict[float, float]) -> float | None:
    """The lowest learning rate at which half of the seeds fail, above one at which they do not."""
    lowest_stable = min((lr for lr, share in shares.items() if share < 0.5), default=math.inf)
    failing = [lr for lr, share in shares.items() if share >= 0.5 and lr > lowest_stable]
    return min(failing, default=None)


def _on_grid(lr: float, start: float) -> bool:
    steps = math.log2(lr / start)
    return abs(steps - round(steps)) < 1e-6


def next_lrs(
    attempts: Sequence[Attempt], start: float, tolerance: float, max_rates: int
) -> list[float]:
    """The next learning rates to try with all seeds; two at once where that is cheaper.

    Args:
        attempts: so far.
        start: where the doubling begins.
        tolerance: neighbours around half failures may differ by this share, e.g. 0.2.
        max_rates: budget of learning rates in all.

    Returns:
        Nothing when the gap is narrow enough or the budget is used up.
    """
    shares = failure_shares(attempts)
    wanted = _wanted(shares, find_bracket(attempts, start), start, tolerance)
    new = [lr for lr in wanted if lr not in shares and LOWEST_LR <= lr <= HIGHEST_LR]
    return new[: max_rates - len(shares)]


def _wanted(
    shares: dict[float, float], bracket: Bracket, start: float, tolerance: float
) -> list[float]:
    if not shares:
        return [start, 2 * start]
    lowest, highest = min(shares), max(shares)
    if bracket.last_stable is None:
        # Too high to be stable, or too low to learn anything? Only other learning rates can tell.
        return [lowest / 2, 2 * highest]
    if bracket.first_divergent is None:
        return [2 * highest, 4 * highest]
    # Shares need not be monotone: the gap is the one below the first failure.
    above = first_failing(shares) or bracket.first_divergent
    below = max(lr for lr in shares if lr < above)
    wanted = [math.sqrt(below * above)] if above / below > 1 + tolerance else []
    if highest == bracket.first_divergent and shares[highest] < _CLEARLY_FAILING:
        wanted.append(2 * highest)
    return wanted
