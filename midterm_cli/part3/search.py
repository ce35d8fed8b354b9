"""Which learning rates to try next, given the attempts so far.

Double the learning rate until training fails, go down where it fails at once, and up in larger
steps where nothing is learned yet; then narrow the gap around the rate at which half of the seeds
fail, and look for the ends of its interval. These are pure functions of the attempts: a resumed
sweep tries the same learning rates as an undisturbed one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from midterm_cli.part3.lr_sweep.schema import HIGHEST_LR, LOWEST_LR
from midterm_cli.part3.outcome import FAILURES, Attempt
from midterm_cli.part3.schema import Outcome
from midterm_cli.part3.threshold import FEWEST_SEEDS, LARGE_JUMP, clear_count

# Failure is measured by the most that is learned. More may be learned further down, unless it is
# less than this share of the most at the lowest learning rate, so many times below the best.
_CLEARLY_LESS, _STEP_DOWN = 0.9, 8

# The interval of a threshold ends where clearly fewer than half of the seeds fail, and where
# clearly more do. So many doublings beyond the bracket look for such rates.
_DOUBLINGS_BEYOND = 2


@dataclass(frozen=True)
class Bracket:
    """Neighbours on the doubling grid, by the published convention: double until it fails.

    Attributes:
        last_stable: the last learning rate of the grid below `first_divergent` at which training
            works; None if there is none.
        first_divergent: the first above one at which training works, at which half of the seeds
            or more fail.
    """

    last_stable: float | None
    first_divergent: float | None

    @property
    def closed(self) -> bool:
        """Whether both ends were found."""
        return self.last_stable is not None and self.first_divergent is not None


class Rates:
    """What the attempts say about each learning rate.

    Args:
        attempts: so far.
        failures: the outcomes that count as failed.

    Attributes:
        shares: of the seeds that fail, by rising learning rate.
    """

    def __init__(
        self, attempts: Sequence[Attempt], failures: Collection[Outcome] = FAILURES
    ) -> None:
        outcomes: dict[float, list[Outcome]] = {}
        for attempt in sorted(attempts):
            outcomes.setdefault(attempt.lr, []).append(attempt.outcome)
        self.shares = {
            lr: sum(outcome in failures for outcome in found) / len(found)
            for lr, found in outcomes.items()
        }
        self._untrained = {
            lr: found.count("untrained") / len(found) for lr, found in outcomes.items()
        }

    def where(self, what: Literal["fail", "learn nothing", "work"]) -> list[float]:
        """Learning rates, rising, at which most seeds do so.

        Half of the seeds are enough to fail, then to learn nothing yet; elsewhere training works.
        """
        return [lr for lr in self.shares if self._what(lr) == what]

    def _what(self, lr: float) -> str:
        if self.shares[lr] >= 0.5:
            return "fail"
        return "learn nothing" if self._untrained[lr] >= 0.5 else "work"

    def bracket(self, start: float | None = None) -> Bracket:
        """The bracket on the grid start · 2^k; among all learning rates where `start` is None."""
        working, failing = (
            [lr for lr in self.where(what) if start is None or _is_whole(_doublings(start, lr))]
            for what in ("work", "fail")
        )
        first = min((lr for lr in failing if working and lr > working[0]), default=None)
        stable = [lr for lr in working if first is None or lr < first]
        return Bracket(max(stable, default=None), first)


def _doublings(start: float, lr: float) -> float:
    return math.log2(lr / start)


def _is_whole(number: float) -> bool:
    return abs(number - round(number)) < 1e-6


def next_lrs(
    attempts: Sequence[Attempt],
    learned: Mapping[float, float],
    start: float,
    tolerance: float,
    max_rates: int,
) -> list[float]:
    """The next learning rates to try with all seeds; two at once where that is cheaper.

    Args:
        attempts: so far.
        learned: how much at each learning rate, in nats; empty where that is not known.
        start: where the doubling begins.
        tolerance: neighbours around half failures may differ by this share, e.g. 0.2.
        max_rates: budget of learning rates in all.

    Returns:
        Nothing when the gap is narrow enough or the budget is used up.
    """
    rates = Rates(attempts)
    num_seeds = len({attempt.seed for attempt in attempts})
    wanted = _wanted(rates, learned, start, tolerance, num_seeds)
    new = [
        lr
        for lr in dict.fromkeys(wanted)
        if lr not in rates.shares and LOWEST_LR <= lr <= HIGHEST_LR
    ]
    return new[: max_rates - len(rates.shares)]


def _wanted(
    rates: Rates,
    learned: Mapping[float, float],
    start: float,
    tolerance: float,
    num_seeds: int,
) -> list[float]:
    """Learning rates that would help, tried or not."""
    if not rates.shares:
        return [start, 2 * start]
    lowest, highest = min(rates.shares), max(rates.shares)
    if not rates.where("work"):
        return _towards_work(rates, start)
    best = max(learned, key=learned.__getitem__, default=lowest)
    below = [lowest / _STEP_DOWN] if learned and _may_be_better_below(rates, learned, best) else []
    bracket = rates.bracket(start)
    if bracket.last_stable is None or bracket.first_divergent is None:
        # Far below the threshold more is learned with every step up.
        step = 4 if learned and best == highest else 2
        return [*below, step * highest, step**2 * highest]
    if between := _between(start, bracket.last_stable, bracket.first_divergent):
        return [*below, *between]
    wanted = [*below, *_around_half(rates, bracket.first_divergent, tolerance)]
    if num_seeds >= FEWEST_SEEDS:
        margin = clear_count(num_seeds) / num_seeds
        wanted += _in_large_jumps(rates.shares, tolerance, margin)
        wanted += _beyond(rates.shares, bracket.last_stable, bracket.first_divergent, margin)
    return wanted


def _may_be_better_below(rates: Rates, learned: Mapping[float, float], best: float) -> bool:
    """Whether more may be learned below all learning rates tried."""
    lowest = min(learned)
    if lowest in rates.where("learn nothing"):
        return False
    is_far = lowest * _STEP_DOWN < 1.01 * best
    return not is_far or learned[lowest] >= _CLEARLY_LESS * learned[best]


def _towards_work(rates: Rates, start: float) -> list[float]:
    """Learning rates of the grid where training could work, if it does at none so far."""
    idle, failing = rates.where("learn nothing"), rates.where("fail")
    if idle and failing:
        above = min(failing)
        return _between(start, max((lr for lr in idle if lr < above), default=above), above)
    # In steps that grow, so that a start which is far off costs few of them.
    step = 2.0 ** max(1, len(rates.shares) - 1)
    if idle and step * max(idle) <= HIGHEST_LR:
        return [step * max(idle), step**2 * max(idle)]
    lowest = min(rates.shares)
    return [lowest / step, lowest / step**2]


def _between(start: float, low: float, high: float) -> list[float]:
    """The middle of the doubling grid between two of its rates; nothing between neighbours."""
    first, last = round(_doublings(start, low)), round(_doublings(start, high))
    return [start * 2.0 ** ((first + last) // 2)] if last - first > 1 else []


def _around_half(rates: Rates, first_divergent: float, tolerance: float) -> list[float]:
    # Shares need not be monotone: the gap is the one below the first failure.
    above = rates.bracket().first_divergent or first_divergent
    below = max(lr for lr in rates.shares if lr < above)
    return [math.sqrt(below * above)] if above / below > 1 + tolerance else []


def _in_large_jumps(shares: dict[float, float], tolerance: float, margin: float) -> list[float]:
    """Halves the gaps that the threshold's interval takes whole."""
    return [
        math.sqrt(lr * next_lr)
        for (lr, share), (next_lr, next_share) in pairwise(shares.items())
        if next_lr / lr > 1 + tolerance
        and next_share - share >= LARGE_JUMP
        and (share <= margin < next_share or share < 1 - margin <= next_share)
    ]


def _beyond(
    shares: dict[float, float], last_stable: float, first_divergent: float, margin: float
) -> list[float]:
    """Learning rates that may bound the threshold, where those tried do not."""
    lowest, highest = min(shares), max(shares)
    factor = 1.01 * 2**_DOUBLINGS_BEYOND
    wanted = []
    if shares[highest] < 1 - margin and 2 * highest < factor * first_divergent:
        wanted.append(2 * highest)
    if shares[lowest] > margin and lowest / 2 > last_stable / factor:
        wanted.append(lowest / 2)
    return wanted
