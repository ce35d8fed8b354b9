"""What became of a training: trained, degraded, untrained, collapsed, or non_finite.

The verdict rests on the information that the network has about the labels of its training subset
(information.py), not on its loss, which measures calibration as well: a network can know the labels
at a loss of 76 nats, and ignore its input at the loss of a constant guess.

Even a fresh network has some information, since classes that look different give different
outputs. So a network has learned only if it knows more than its own initial weights did, or if its
loss tells so by itself. One that has not is still near them, where the learning rate is too low or
the updates too few, or has left them. Initial weights are the random ones of the seed, also where
a run starts from other weights: the verdict is on the network, not on the last run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from midterm_cli.part3.schema import Outcome

if TYPE_CHECKING:
    from midterm_cli.part3.information import Information

SEVERITY: tuple[Outcome, ...] = ("trained", "degraded", "untrained", "collapsed", "non_finite")
"""All outcomes, from the best to the worst."""

FAILURES: tuple[Outcome, ...] = ("non_finite", "collapsed", "degraded")
"""The outcomes of a learning rate that is too high, from the plainest to the one that only a sweep
can tell; `untrained` is that of a learning rate that is too low."""

# Logits that are independent of the labels exceed it with a probability of 0.1 % (0.7 % for 12
# examples).
_DEVIATIONS = 3.0

# What counts as learned: this share of what the initial weights did not know (one update of a
# whole epoch at 1e-3 learns at most 0.049 of it in 100 networks), or of a constant guess's loss.
_LEARNED = 0.05

# A network that gives this share of the examples one and the same output ignores its input.
_SAME = 0.5

# Information within this share of the most is as much: seeds differ by more.
_AS_GOOD = 0.98

# What counts as moved: a layer whose weights have changed by this share of their norm. On data that
# can be learned, networks without information have moved by at most 0.14 where the learning rate is
# too low, and by at least 0.3 where it is too high.
_MOVED = 0.25


class Attempt(NamedTuple):
    """One training run of a sweep."""

    lr: float
    seed: int
    outcome: Outcome


def constant_guess_loss(class_counts: Sequence[int]) -> float:
    """Loss of predicting the class frequencies whatever the input: their entropy, in nats.

    It is the least loss that a constant prediction can have; for C equally frequent classes, ln C.
    """
    total = sum(class_counts)
    shares = [count / total for count in class_counts if count]
    return -sum(share * math.log(share) for share in shares)


def classify(
    train_loss: float | None, known: Information | None, known_at_start: Information, moved: float
) -> Outcome:
    """The outcome of one training by itself; only a sweep can say `degraded`.

    Args:
        train_loss: mean cross-entropy over the training subset, in nats; None, NaN or infinite
            where it is not finite.
        known: information of the network about the labels of its training subset; None where an
            output is not finite.
        known_at_start: the same of its initial weights, or on a part of the subset.
        moved: `relative_move` of its weights.

    Returns:
        `non_finite`; `trained`, where the information is significant, and at least 5 % of what was
        missing at the start has been learned. Else `untrained`, if the weights are still near the
        start. Weights that have moved away have `collapsed` if the information is not significant;
        they have `trained` if the loss is 5 % below that of a constant guess; `collapsed`, if half
        of the outputs are the same; `trained`, on labels that can hardly be known, if they know
        significantly more than at the start; else `untrained`.
    """
    if train_loss is None or known is None or not math.isfinite(train_loss + moved):
        return "non_finite"
    if known.constant:
        return "collapsed"
    is_significant = known.deviations > _DEVIATIONS
    missing = known_at_start.missing
    if is_significant and known.missing <= (1 - _LEARNED) * missing and missing > 0:
        return "trained"
    if moved <= _MOVED:
        return "untrained"
    if not is_significant:
        return "collapsed"
    if train_loss <= (1 - _LEARNED) * known.entropy:
        return "trained"
    if known.same >= _SAME:
        return "collapsed"
    error = math.hypot(known.standard_error, known_at_start.standard_error)
    gain = known.value - known_at_start.value
    return "trained" if gain > _DEVIATIONS * error else "untrained"


def is_overconfident(train_loss: float | None, known: Information | None) -> bool:
    """Whether a network has information, and yet a loss above that of a constant guess.

    Its logits are too large for what it knows, as those of inputs that are not scaled.
    """
    return train_loss is not None and known is not None and train_loss > known.entropy


def best_lr(
    attempts: Sequence[Attempt], information: Sequence[float | None]
) -> tuple[float, float] | None:
    """The lowest learning rate at which no less is learned than at any other, and how much.

    Args:
        attempts: with the outcome of each by itself.
        information: of each attempt, in nats; None where it is not finite, which counts as 0.

    Returns:
        The learning rate, and the median information over the seeds at the best one, in nats; of
        those at which most seeds have trained. None if there is none.
    """
    trained: dict[float, list[bool]] = {}
    for attempt in attempts:
        trained.setdefault(attempt.lr, []).append(attempt.outcome == "trained")
    medians = {
        lr: value
        for lr, value in median_information(attempts, information).items()
        if sum(trained[lr]) > len(trained[lr]) / 2
    }
    if not medians:
        return None
    most = max(medians.values())
    return min(lr for lr, value in medians.items() if value >= _AS_GOOD * most), most


def median_information(
    attempts: Sequence[Attempt], information: Sequence[float | None]
) -> dict[float, float]:
    """Over the seeds of each learning rate, in nats; what is not finite counts as 0."""
    known: dict[float, list[float]] = {}
    for attempt, value in zip(attempts, information, strict=True):
        known.setdefault(attempt.lr, []).append(value or 0.0)
    return {lr: median(values) for lr, values in sorted(known.items())}


def judge_sweep(
    attempts: Sequence[Attempt], information: Sequence[float | None], degraded_share: float
) -> list[Outcome]:
    """The outcomes of a sweep's attempts, measured by the learning rate at which most is learned.

    A network that was not lost is `degraded` if it knows less than a share of what is known there,
    at that learning rate or a higher one.

    Args:
        attempts: with the outcome of each by itself.
        information: of each attempt, in nats; None where it is not finite.
        degraded_share: in [0, 1].
    """
    if (found := best_lr(attempts, information)) is None:
        return [attempt.outcome for attempt in attempts]
    best, most = found
    return [
        "degraded"
        if attempt.lr >= best
        and attempt.outcome in ("trained", "untrained")
        and (value or 0.0) < degraded_share * most
        else attempt.outcome
        for attempt, value in zip(attempts, information, strict=True)
    ]


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of several trainings together: that of the one that went worst."""
    return max(outcomes, key=SEVERITY.index)
