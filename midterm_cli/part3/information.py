"""What the outputs of a network tell about the labels, whatever the scale of its logits.

A loss measures learning and calibration at once: on inputs that are not scaled, a network that
classifies well can have a loss far above that of a constant guess. Information takes them apart:

    information = H(labels) - min over a ≥ 0 and b of the cross-entropy of softmax(a · logits + b)

in nats. The inverse temperature a takes away the scale of the logits, the class biases b any
preference for a class: constant outputs have information 0, perfect ones have H(labels). The fit
is convex, and at a = 0 the best b gives the entropy itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

# A fit ends where another step of Newton's method promises less than this, in nats. Half of it is
# what the step would gain, to second order; that is added, so that the error is far smaller.
_TOLERANCE = 2e-4

# Separable logits have no best temperature: each step divides what is left by e. A step is halved
# until the loss falls as promised; where rounding hides that it falls, the fit is at its end.
_MAX_STEPS, _SHORTEST_STEP = 100, 1e-9

# The fit of many examples begins on every eighth of them, at an eighth of the cost, and no more
# exactly than these can say.
_EVERY, _MANY, _ROUGH = 8, 2000, 3e-3

# Curvature along one number below which it changes nothing that can be told.
_FLATTEST = 1e-60

# Outputs that differ by fewer units in the last place than this are the same.
_ROUNDING = 8


@dataclass(frozen=True)
class Information:
    """What a network's outputs tell about the labels of a set.

    Attributes:
        value: in nats, from 0 to `entropy`.
        standard_error: of `value`, from its scatter over the examples.
        entropy: of the labels, in nats.
        num_examples: in the set.
        same: share of the examples that have the output of the middle one, in [0, 1].
    """

    value: float
    standard_error: float
    entropy: float
    num_examples: int
    same: float = 0.0

    @property
    def constant(self) -> bool:
        """Whether the outputs are the same for all examples."""
        return self.same == 1

    @property
    def missing(self) -> float:
        """Share of the entropy that the outputs leave unknown, in [0, 1]."""
        return 1 - self.value / self.entropy if self.entropy else 1.0

    @property
    def deviations(self) -> float:
        """How many standard errors the best inverse temperature is above 0.

        The entropy is itself a fit of the biases, so that the information has one fitted number
        more, a. For logits that are independent of the labels 2 · n · information is therefore χ²
        with one degree of freedom (Wilks), or 0 where a would be negative.
        """
        return math.sqrt(2 * self.num_examples * self.value)


def information(logits: np.ndarray, labels: np.ndarray, num_classes: int) -> Information | None:
    """Information that one network has about the labels.

    Args:
        logits: (n, num_classes), of any scale.
        labels: (n,) integers; not every class needs to occur.
        num_classes: of the problem.

    Returns:
        The same, to rounding, for a · logits + b + c with a > 0, b one number for each class and
        c one for each example. None if a logit is not finite.
    """
    num_examples = len(labels)
    counts = np.bincount(labels, minlength=num_classes)
    if not (occurs := counts > 0).all():
        # A class without labels gets no probability: its best bias is -inf.
        logits, counts = logits[:, occurs], counts[occurs]
        labels = (np.cumsum(occurs) - 1)[labels]
    shares = counts / num_examples
    entropy = -float(shares @ np.log(shares))
    if not np.isfinite(peak := np.abs(logits).max()):
        return None
    x, same = _scaled(logits, float(peak))
    if same == 1:
        return Information(0.0, 0.0, entropy, num_examples, same)
    of_label = x[labels, np.arange(num_examples)]
    if not of_label.mean() > shares @ x.mean(1):
        # At a = 0 the loss rises with a, and it is convex: 0 is the best.
        return Information(0.0, 0.0, entropy, num_examples, same)
    theta = _constant_guess(shares)
    if num_examples >= _MANY:
        theta = _begin(x, of_label, labels, shares)
    fit = _minimize(x, of_label, shares, theta, _TOLERANCE)
    gains = fit.theta[0] * of_label + (fit.theta[1:] - np.log(shares))[labels] - fit.normalizers
    value = float(gains.mean()) + fit.left
    standard_error = float(gains.std()) / math.sqrt(num_examples)
    return Information(min(max(0.0, value), entropy), standard_error, entropy, num_examples, same)


def _scaled(logits: np.ndarray, peak: float) -> tuple[np.ndarray, float]:
    """Logits as (classes, n) float64 in [-1, 1], 0 for the middle example, and the share that is 0.

    What is subtracted and divided by is what the fit is blind to.
    """
    x = np.array(logits.T, dtype=np.float64, order="C")
    x /= peak or 1.0  # before differences can overflow
    magnitude = np.abs(x).max(0)
    x -= x.mean(0)
    # A median, so that an example with huge logits does not blot out the others; if it is wrong, it
    # does so in the loss, at any temperature that is not next to 0.
    some = slice(None, None, -(-x.shape[1] // 100))
    x -= np.median(x[:, some], axis=1, keepdims=True)
    of_each = np.abs(x).max(0)
    rounding = _ROUNDING * np.finfo(logits.dtype).eps
    same = float(np.mean(of_each <= rounding * np.maximum(magnitude, np.median(magnitude[some]))))
    x /= of_each.max() or 1.0
    return x, same


def _constant_guess(shares: np.ndarray) -> np.ndarray:
    """The best theta with a = 0."""
    return np.concatenate([[0.0], np.log(shares)])


def _begin(
    x: np.ndarray, of_label: np.ndarray, labels: np.ndarray, shares: np.ndarray
) -> np.ndarray:
    """Theta of a part of the examples, near the best for all of them."""
    part = np.ascontiguousarray(x[:, ::_EVERY])
    counts = np.bincount(labels[::_EVERY], minlength=len(shares))
    # One more example, shared out over all classes, for those that are not in the part.
    of_part = (counts + shares) / (part.shape[1] + 1)
    return _minimize(part, of_label[::_EVERY], of_part, _constant_guess(of_part), _ROUGH).theta


class _Fit(NamedTuple):
    """Result of a fit.

    Attributes:
        theta: (1 + classes,) inverse temperature and biases.
        normalizers: (n,) log Σ exp(a · x + b) at theta.
        left: what the next step would gain, in nats.
    """

    theta: np.ndarray
    normalizers: np.ndarray
    left: float


def _minimize(
    x: np.ndarray, of_label: np.ndarray, shares: np.ndarray, theta: np.ndarray, tolerance: float
) -> _Fit:
    """Newton's method with backtracking for the cross-entropy of softmax(a · x + b).

    Args:
        x: (classes, n) logits.
        of_label: (n,) the logit of each example's label.
        shares: (classes,) label frequencies.
        theta: where to begin.
        tolerance: stop where the next step promises no more than this, in nats.
    """
    slope, p = of_label.mean(), np.empty_like(x)

    def evaluate(theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Cross-entropy and normalizers; the probabilities go into p."""
        np.multiply(x, theta[0], out=p)
        np.add(p, theta[1:, None], out=p)
        largest = p.max(0)
        np.subtract(p, largest, out=p)
        np.exp(p, out=p)
        total = p.sum(0)
        np.divide(p, total, out=p)
        normalizers = np.log(total) + largest
        return float(normalizers.mean() - theta[0] * slope - theta[1:] @ shares), normalizers

    loss, normalizers = evaluate(theta)
    if not loss < -shares @ np.log(shares):
        # No better than a constant guess, from where Newton's method is safe.
        theta = _constant_guess(shares)
        loss, normalizers = evaluate(theta)
    for _ in range(_MAX_STEPS):
        gradient, hessian = _derivatives(x, p, slope, shares)
        step = _solve(hessian, -gradient)
        promise = float(-gradient @ step)
        if not promise > tolerance:
            break
        size = 1.0
        while not (trial := evaluate(theta + size * step))[0] <= loss - size * promise / 4:
            size /= 2
            if size < _SHORTEST_STEP:
                return _Fit(theta, normalizers, 0.0)
        theta = theta + size * step
        loss, normalizers = trial
    return _Fit(theta, normalizers, promise / 2)


def _derivatives(
    x: np.ndarray, p: np.ndarray, slope: float, shares: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and Hessian of the mean cross-entropy with respect to theta."""
    num_classes, num_examples = x.shape
    px = p * x
    mean_p, mean_x = p.mean(1), px.sum(0)
    gradient = np.concatenate([[mean_x.mean() - slope], mean_p - shares])
    # Not NumPy's BLAS, which would take all cores: torch keeps to the threads that the run has.
    tensor = torch.from_numpy(p)
    hessian = np.empty((1 + num_classes, 1 + num_classes))
    distance = x - mean_x  # first, since the difference of two sums of squares would cancel
    np.multiply(p, distance, out=px)
    hessian[0, 0] = np.einsum("cn,cn->", px, distance)
    hessian[0, 1:] = hessian[1:, 0] = px.sum(1)
    hessian[1:, 1:] = np.diag(num_examples * mean_p) - (tensor @ tensor.T).numpy()
    return gradient, hessian / num_examples


def _solve(hessian: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Newton's step, from the Hessian scaled to a unit diagonal."""
    scale = 1 / np.sqrt(np.maximum(hessian.diagonal(), _FLATTEST))
    scaled = hessian * scale * scale[:, None]
    # A ridge, since a common shift of all biases changes nothing.
    scaled += 1e-12 * np.eye(len(scale))
    return np.asarray(scale * np.linalg.solve(scaled, scale * right))
