"""Which learning rates to try next, given the trials so far.

Double the rate until training fails, halve it where it fails at once; then narrow the gap around
the rate at which half of the seeds fail. A pure function of the trials: a sweep that is continued
asks the same questions, and a test can ask them of a made-up failure curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from midterm_cli.part3.threshold import Trial

LOWEST_RATE, HIGHEST_RATE = 1e-12, 1e6

# A threshold is not to be extrapolated: above a first failure that could as well be half of the
# seeds by chance, one more rate is tried.
_CLEARLY_FAILING = 0.75


@dataclass(frozen=True)
class Bracket:
    """Neighbours on the doubling grid, by the published convention: double until it fails.

    Attributes:
        last_stable: the grid's last rate below `first_divergent` that trains; None if none does.
        first_divergent: its first rate, above one that trains, at which half of the seeds or more
            fail. A rate that is too low to learn in the passes that it is given does not count.
    """

    last_stable: float | None
    first_divergent: float | None

    @property
    def closed(self) -> bool:
        """Whether both ends were found."""
        return self.last_stable is not None and self.first_divergent is not None


def failure_shares(trials: Sequence[Trial]) -> dict[float, float]:
    """Share of the seeds that fail at each rate, by rising rate."""
    shares = {}
    for lr in sorted({trial.lr for trial in trials}):
        failures = [trial.failed for trial in trials if trial.lr == lr]
        shares[lr] = sum(failures) / len(failures)
    return shares


def find_bracket(trials: Sequence[Trial], start: float) -> Bracket:
    """The bracket on the grid start · 2^k; rates between the grid's are left out."""
    grid = {lr: share for lr, share in failure_shares(trials).items() if _on_grid(lr, start)}
    first = first_failing(grid)
    stable = [lr for lr, share in grid.items() if share < 0.5 and (first is None or lr < first)]
    return Bracket(max(stable, default=None), first)


def first_failing(shares: dict[float, float]) -> float | None:
    """The lowest rate at which half of the seeds fail, above one at which they do not."""
    lowest_stable = min((lr for lr, share in shares.items() if share < 0.5), default=math.inf)
    failing = [lr for lr, share in shares.items() if share >= 0.5 and lr > lowest_stable]
    return min(failing, default=None)


def _on_grid(lr: float, start: float) -> bool:
    steps = math.log2(lr / start)
    return abs(steps - round(steps)) < 1e-6


def next_rates(
    trials: Sequence[Trial], start: float, tolerance: float, max_rates: int
) -> list[float]:
    """The next rates to try, each with all seeds; two at once where that is cheaper than in turn.

    Args:
        trials: so far.
        start: where the doubling begins.
        tolerance: neighbours around half failures may differ by this share, e.g. 0.2.
        max_rates: budget of rates in all.

    Returns:
        Nothing when the gap is narrow enough or the budget is used up.
    """
    shares = failure_shares(trials)
    wanted = _wanted(shares, find_bracket(trials, start), start, tolerance)
    new = [lr for lr in wanted if lr not in shares and LOWEST_RATE <= lr <= HIGHEST_RATE]
    return new[: max_rates - len(shares)]


def _wanted(
    shares: dict[float, float], bracket: Bracket, start: float, tolerance: float
) -> list[float]:
    if not shares:
        return [start, 2 * start]
    lowest, highest = min(shares), max(shares)
    if bracket.last_stable is None:
        # Too high to be stable, or too low to learn anything? Only other rates can tell.
        return [lowest / 2, 2 * highest]
    if bracket.first_divergent is None:
        return [2 * highest, 4 * highest]
    # Shares need not rise steadily: the gap is the one below the first rate that fails.
    above = first_failing(shares) or bracket.first_divergent
    below = max(lr for lr in shares if lr < above)
    wanted = [math.sqrt(below * above)] if above / below > 1 + tolerance else []
    if highest == bracket.first_divergent and shares[highest] < _CLEARLY_FAILING:
        wanted.append(2 * highest)
    return wanted
