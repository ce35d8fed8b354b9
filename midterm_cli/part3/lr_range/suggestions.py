"""The learning rates that a range test suggests, from the losses of one seed.

The rules are those of the finders in use, on their smoothed loss against the logarithm of the rate:

    fastai      fastai/callback/schedule.py: LRFinder, steep, minimum, valley
    Lightning   src/lightning/pytorch/tuner/lr_finder.py: _LRCallback, _LRFinder.suggestion

Both smooth with β = 0.98, stop where the smoothed loss is above 4 times its best, and leave out
what comes first (fastai a tenth, Lightning 10 updates). Three things differ:

- A suggestion is None where the losses give none: theirs is the least value of whatever there is.
- The descent is measured over a tenth of the range: between neighbours its largest value is noise.
- What comes after the lowest loss is left out: there the average falls after every spike.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from midterm_cli.part3.lr_range.schema import Reason

# At the start few losses are averaged. The share of the updates that fastai leaves out.
_SKIPPED = 0.1

# The share of the updates over which the descent is measured.
_SPAN = 0.1

# Standard deviations of the smoothed loss that a fall must exceed. Of records of independent losses
# (normal, exponential, |t₃|; up to 5,000 updates) 0.3 % fall so far with β = 0.98, 2 % with any β.
_DEVIATIONS = 6.0


@dataclass(frozen=True)
class Suggestions:
    """What the record of one seed suggests.

    Attributes:
        diverged: the update at which it diverged; None if it did not.
        steepest: learning rate; None where there is none, as the others.
        tenth_of_minimum: likewise.
        valley: likewise.
        reason: why one is None; None if none is.
    """

    diverged: int | None
    steepest: float | None = None
    tenth_of_minimum: float | None = None
    valley: float | None = None
    reason: Reason | None = None


def suggest(
    lrs: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, beta: float, stop_factor: float
) -> Suggestions:
    """All suggestions of one seed. What comes after its divergence is not used.

    Args:
        lrs: (n,) rising, evenly spaced in the logarithm.
        losses: (n,) of the minibatch at each, before the update; NaN or infinite where they are.
        smoothed: (n,) by `smooth`.
        beta: of the smoothing.
        stop_factor: see `divergence`.
    """
    diverged = divergence(losses, smoothed, stop_factor)
    begin, end = math.floor(_SKIPPED * len(lrs)), len(lrs) if diverged is None else diverged
    if end - begin < 2:
        is_finite = diverged is None or np.isfinite(losses[diverged])
        return Suggestions(diverged, reason="diverges_at_once" if is_finite else "not_finite")
    if not falls(losses[:end], smoothed[:end], begin, beta):
        return Suggestions(diverged, reason="does_not_fall")
    lowest = begin + int(np.argmin(smoothed[begin:end]))
    falling = slice(begin, lowest + 1)
    still_falls = lowest == len(lrs) - 1  # the end of the range is no minimum
    return Suggestions(
        diverged,
        steepest(lrs[falling], smoothed[falling], max(1, math.floor(_SPAN * len(lrs)))),
        None if still_falls else tenth_of_minimum(lrs[falling], smoothed[falling]),
        valley(lrs[falling], smoothed[falling]),
        "still_falls" if still_falls else None,
    )


def smooth(losses: np.ndarray, beta: float) -> np.ndarray:
    """The exponential moving average with its bias corrected, as Adam's (Kingma and Ba, 2015).

    Args:
        losses: (…, n), averaged along the last axis.
        beta: in [0, 1), what remains of the average at each update; 0 changes nothing.

    Returns:
        (…, n) Σ βⁱ⁻ʲ losses_j / Σ βⁱ⁻ʲ over j ≤ i; not finite from the first loss on that is not.
    """
    smoothed = np.empty(losses.shape)
    average = np.zeros(losses.shape[:-1])
    with np.errstate(invalid="ignore"):
        for i in range(losses.shape[-1]):
            average = beta * average + (1 - beta) * losses[..., i]
            smoothed[..., i] = average / (1 - beta ** (i + 1))
    return smoothed


def divergence(losses: np.ndarray, smoothed: np.ndarray, stop_factor: float) -> int | None:
    """The first update at which a record has diverged; None if it never does.

    It has where the loss is not finite, or its smoothed value is above `stop_factor` times the
    lowest before it.
    """
    with np.errstate(invalid="ignore"):
        best = np.minimum.accumulate(smoothed)
        has_diverged = ~np.isfinite(losses) | ~(smoothed <= stop_factor * best)
    return int(np.argmax(has_diverged)) if has_diverged.any() else None


def falls(losses: np.ndarray, smoothed: np.ndarray, begin: int, beta: float) -> bool:
    """Whether the smoothed loss falls from `begin` on by more than its noise.

    The variance σ² of a loss is half of the mean squared difference of neighbours (von Neumann,
    1941), up to the lowest; that of an average of n, corrected for its bias, is

        σ² (1 - β) (1 + βⁿ) / ((1 + β) (1 - βⁿ)).
    """
    lowest = begin + int(np.argmin(smoothed[begin:]))
    if lowest == begin:
        return False
    variance = float(np.mean(np.diff(losses[: lowest + 1]) ** 2)) / 2
    kept = beta ** (begin + 1)
    variance *= (1 - beta) * (1 + kept) / ((1 + beta) * (1 - kept))
    return bool(smoothed[begin] - smoothed[lowest] > _DEVIATIONS * math.sqrt(variance))


def steepest(lrs: np.ndarray, losses: np.ndarray, span: int) -> float | None:
    """The learning rate at which the loss falls fastest against its logarithm.

    Args:
        lrs: (n,) rising, evenly spaced in the logarithm.
        losses: (n,) finite.
        span: updates over which the fall is measured, at most as many as there are to the lowest
            loss; with 1 this is the rule of fastai, with 2 the central differences of Lightning.

    Returns:
        The middle of the steepest span. None where the loss never falls.
    """
    if len(lrs) == 0 or (lowest := int(np.argmin(losses))) == 0:
        return None
    span = min(span, lowest)
    return float(lrs[np.argmax(losses[:-span] - losses[span:]) + span // 2])


def tenth_of_minimum(lrs: np.ndarray, losses: np.ndarray) -> float | None:
    """A tenth of the learning rate at which the loss is lowest; None where it never falls.

    Args:
        lrs: (n,) rising.
        losses: (n,) finite.
    """
    if len(lrs) == 0 or (at := int(np.argmin(losses))) == 0:
        return None
    return float(lrs[at]) / 10


def valley(lrs: np.ndarray, losses: np.ndarray) -> float | None:
    """The middle of the longest valley, as fastai has it.

    The valley is the longest strictly falling subsequence of the losses, and where several are as
    long, the one that ends first. If it has L losses and ends at index e, the suggestion is the
    rate at index e - L + ⌊L / 3⌋ + ⌊L / 6⌋; at index 0 where that is negative, which fastai reads
    from the end.

    Args:
        lrs: (n,) rising.
        losses: (n,) finite.

    Returns:
        None where the loss never falls.
    """
    lasts: list[float] = []  # of the subsequences of 1, 2, … losses, the highest last one, negated
    length = end = 0
    for i, loss in enumerate(losses.tolist()):
        position = bisect_left(lasts, -loss)
        lasts[position : position + 1] = [-loss]
        if position + 1 > length:
            length, end = position + 1, i
    if length < 2:
        return None
    return float(lrs[max(0, end - length + length // 3 + length // 6)])
