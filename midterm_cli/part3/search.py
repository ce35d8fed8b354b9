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

# A threshold is not to be extrapolated: above a first failure that could as well be half of the
# seeds by chance, one more rate is tried.
_CLEARLY_FAILING = 0.75


@dataclass(frozen=True)
class Bracket:
    """Neighbours on the doubling grid, by the published convention: double until it fails.

    Attributes:
        last_stable: the grid's last rate below `first_divergent`; None if every rate failed.
        first_divergent: its first rate at which half of the seeds or more fail; None if none did.
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
    failing = [lr for lr, share in grid.items() if share >= 0.5]
    first = min(failing, default=None)
    below = [lr for lr in grid if first is None or lr < first]
    return Bracket(max(below, default=None), first)


def _on_grid(lr: float, start: float) -> bool:
    steps = math.log2(lr / start)
    return abs(steps - round(steps)) < 1e-6


def next_rate(
    trials: Sequence[Trial], start: float, tolerance: float, max_rates: int
) -> float | None:
    """The next rate to try with all seeds.

    Args:
        trials: so far.
        start: where the doubling begins.
        tolerance: neighbours around half failures may differ by this share, e.g. 0.2.
        max_rates: budget of rates in all.

    Returns:
        None when the gap is narrow enough or the budget is used up.
    """
    shares = failure_shares(trials)
    if len(shares) >= max_rates:
        return None
    if not shares:
        return start
    bracket = find_bracket(trials, start)
    if bracket.first_divergent is None:
        return max(shares) * 2
    if bracket.last_stable is None:
        return min(shares) / 2
    if max(shares) == bracket.first_divergent and shares[max(shares)] < _CLEARLY_FAILING:
        return max(shares) * 2
    # Shares need not rise steadily: the gap is the one below the first rate that fails.
    above = min(lr for lr, share in shares.items() if share >= 0.5)
    below = max(lr for lr in shares if lr < above)
    return math.sqrt(below * above) if above / below > 1 + tolerance else None
