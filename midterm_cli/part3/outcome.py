"""What became of a training: trained, degraded, untrained, collapsed, or non_finite.

The verdict rests on the information that the network has about the labels of its training subset
(information.py), not on its loss, which measures calibration as well: a network can know the labels
at a loss of 76 nats, and ignore its input at the loss of a constant guess.

Even a fresh network has some information, since classes that look different give different outputs.
So a network has learned only if it knows more than its own initial weights did. One that has not is
still near them, where the learning rate is too low or the updates too few, or has left them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from midterm_cli.part3.schema import Outcome

if TYPE_CHECKING:
    from torch import Tensor

    from midterm_cli.part3.information import Information

SEVERITY: tuple[Outcome, ...] = ("trained", "degraded", "untrained", "collapsed", "non_finite")
"""All outcomes, from the best to the worst."""

FAILURES: tuple[Outcome, ...] = ("non_finite", "collapsed", "degraded")
"""The outcomes of a learning rate that is too high, from the plainest to the one that only a sweep
can tell; `untrained` is that of a learning rate that is too low."""

# Logits that are independent of the labels exceed it with a probability of 0.1 % (0.7 % for 12
# examples).
_DEVIATIONS = 3.0

# What counts as learned: this share of what the initial weights did not know. One update of a whole
# epoch at 1e-3 learns at most 0.049 of it in 100 networks.
_LEARNED = 0.05

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


def relative_move(weights: Sequence[Tensor], initial: Sequence[Tensor]) -> float:
    """How far a network is from its initial weights: ‖w - w₀‖ / ‖w₀‖ of the layer that moved most.

    Args:
        weights: one tensor a layer.
        initial: the same at the start.

    Returns:
        NaN or infinite where a weight is.
    """
    moves = []
    for layer, before in zip(weights, initial, strict=True):
        start = before.double()
        moves.append(float((layer.double() - start).norm() / start.norm()))
    return max(moves) if all(map(math.isfinite, moves)) else math.nan


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
        `non_finite`; `trained`, where the information is significant and at least 5 % of what was
        missing at the start has been learned; else `collapsed`, where the outputs are constant or
        the weights have moved away, or `untrained`.
    """
    if train_loss is None or known is None or not math.isfinite(train_loss + moved):
        return "non_finite"
    has_learned = known.missing <= (1 - _LEARNED) * known_at_start.missing
    if has_learned and known.deviations > _DEVIATIONS:
        return "trained"
    return "collapsed" if known.constant or moved > _MOVED else "untrained"


def is_overconfident(train_loss: float | None, known: Information | None) -> bool:
    """Whether a network has information, and yet a loss above that of a constant guess.

    Its logits are too large for what it knows, as those of inputs that are not scaled.
    """
    return train_loss is not None and known is not None and train_loss > known.entropy


def best_lr(
    attempts: Sequence[Attempt], information: Sequence[float | None]
) -> tuple[float, float] | None:
    """The learning rate at which most is learned, and how much: the median over its seeds, in nats.

    Args:
        attempts: with the outcome of each by itself.
        information: of each attempt, in nats; None where it is not finite, which counts as 0.

    Returns:
        None if no more than half of its seeds have learned anything.
    """
    known: dict[float, list[float]] = {}
    trained: dict[float, list[bool]] = {}
    for attempt, value in zip(attempts, information, strict=True):
        known.setdefault(attempt.lr, []).append(value or 0.0)
        trained.setdefault(attempt.lr, []).append(attempt.outcome == "trained")
    medians = {lr: median(values) for lr, values in sorted(known.items())}
    best = max(medians, key=medians.__getitem__)
    return (best, medians[best]) if sum(trained[best]) > len(trained[best]) / 2 else None


def judge_sweep(
    attempts: Sequence[Attempt], information: Sequence[float | None], degraded_share: float
) -> list[Outcome]:
    """The outcomes of a sweep's attempts, measured by the learning rate at which most is learned.

    A network with less than a share of the information gained there is `degraded` at that
    learning rate or a higher one, and `untrained` at a lower one.

    Args:
        attempts: with the outcome of each by itself.
        information: of each attempt, in nats; None where it is not finite.
        degraded_share: in [0, 1].
    """
    outcomes = [attempt.outcome for attempt in attempts]
    if (found := best_lr(attempts, information)) is None:
        return outcomes
    best, most = found
    return [
        outcome
        if outcome in ("collapsed", "non_finite") or (value or 0.0) >= degraded_share * most
        else "untrained"
        if attempt.lr < best
        else "degraded"
        for attempt, outcome, value in zip(attempts, outcomes, information, strict=True)
    ]


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of several trainings together: that of the one that went worst."""
    return max(outcomes, key=SEVERITY.index)
