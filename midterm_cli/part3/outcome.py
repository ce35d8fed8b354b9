"""The verdict on a training run: did it train, collapse, or become NaN or infinite?

A rule that looks for NaN alone misses the usual failure of a ReLU network, whose units die: its
loss is finite and stays at that of a constant guess. "Worse than at the start" misses it too, since
the inputs are not scaled and the loss starts far above ln(classes).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from midterm_cli.part3.schema import Outcome

# A model that gives this share of the examples one and the same class ignores its input, even if
# its loss is still a little below the constant guess. Where one class holds most of the labels,
# that says nothing.
_ONE_PREDICTION, _ONE_LABEL = 0.99, 0.9


class Attempt(NamedTuple):
    """One training run: its learning rate, its seed, and whether it failed."""

    lr: float
    seed: int
    failed: bool


def constant_guess_loss(class_counts: Sequence[int]) -> float:
    """Loss of predicting the class frequencies whatever the input: their entropy, in nats.

    It is the least loss of any constant prediction, so a model that ignores its input cannot be
    below it, and one that is below it has learnt something. For C equally frequent classes it is
    ln C.
    """
    total = sum(class_counts)
    shares = [count / total for count in class_counts if count]
    return -sum(share * math.log(share) for share in shares)


def classify(
    train_loss: float | None, predicted_counts: Sequence[int], class_counts: Sequence[int]
) -> Outcome:
    """The outcome of a run, from its state at the end, or when it was found that it cannot recover.

    Args:
        train_loss: mean cross-entropy over the training subset, in nats; None, NaN or infinite
            where it (or a weight) is not finite.
        predicted_counts: how often each class is predicted on the training subset.
        class_counts: how often each class occurs there.

    Returns:
        `non_finite`; `collapsed`, where the loss is no better than the constant guess or (nearly)
        all predictions are one class although the labels are many; or `trained`.
    """
    if train_loss is None or not math.isfinite(train_loss):
        return "non_finite"
    # Negated, so that a comparison with NaN counts as a failure.
    if not train_loss < constant_guess_loss(class_counts):
        return "collapsed"
    one_prediction = max(predicted_counts) >= _ONE_PREDICTION * sum(predicted_counts)
    one_label = max(class_counts) >= _ONE_LABEL * sum(class_counts)
    return "collapsed" if one_prediction and not one_label else "trained"


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of several runs together: that of the run that went worst."""
    severity: tuple[Outcome, ...] = ("trained", "collapsed", "non_finite")
    return max(outcomes, key=severity.index)
