"""The sharpness of a network: the largest eigenvalue λ of the Hessian of its training loss.

Gradient descent on a quadratic of curvature λ diverges at every rate above 2/λ, which makes 2/λ an
estimate of the highest stable rate that needs no failed run. 2/λ of the initial weights is too low:
training soon moves to where the loss is flatter, also at a rate that is unstable at the start. The
largest λ that it meets after that says more. It remains an estimate for descent on the whole loss,
from one path: minibatches have sharper losses, and another rate takes another path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from midterm_cli.part3.mlp import Activation, forward
from midterm_cli.part3.problem import Problem
from midterm_cli.part3.sgd import Ensemble

Row = dict[str, Any]
Product = Callable[[Tensor], Tensor]

# Streams of a seed beside those of sgd.py: the examples, and the start of the power iteration.
_SAMPLE_STREAM, _START_STREAM = 3, 4

_MAX_EXAMPLES = 1000

# Some eigenvalue lies within this share of the one found, mostly much closer: the error of a
# Rayleigh quotient is of second order in that of its vector.
_NUM_ITERATIONS, _TOLERANCE = 200, 0.02


def along_run(problem: Problem, lr: float, seed: int, epochs: int, num_points: int) -> list[Row]:
    """Sharpness at the start and at moments of a fresh training run.

    It is measured on a random sample of at most 1,000 of the seed's training examples, the same at
    every moment.

    Args:
        problem: what is learnt.
        lr: learning rate, one that trains.
        seed: of the network.
        epochs: passes of the run.
        num_points: moments after the start, evenly spread over those at which a pass can be
            stopped, the last at the run's end; all of these if they are fewer.

    Returns:
        Rows {updates, sharpness, two_over_sharpness}; None where there is no such number. A run
        whose weights leave the finite numbers has no further rows.
    """
    x, labels = _sample(problem, seed)

    def measure(updates: int, ensemble: Ensemble) -> Row:
        network = [layer[0] for layer in ensemble.layers()]
        found = sharpness(
            network,
            x,
            labels,
            problem.config.activation,
            num_iterations=_NUM_ITERATIONS,
            tolerance=_TOLERANCE,
            seed=seed,
        )
        return {
            "updates": updates,
            "sharpness": found if math.isfinite(found) else None,
            "two_over_sharpness": 2 / found if math.isfinite(found) and found > 0 else None,
        }

    ensemble = problem.ensemble([seed], [lr])
    wanted = _moments(ensemble, epochs, num_points)
    rows = [measure(0, ensemble)]
    for updates in _train(ensemble, epochs):
        if updates in wanted:
            rows.append(measure(updates, ensemble))
    return rows


def extremes(points: Sequence[Row]) -> Row:
    """What the rows of `along_run` say of the highest stable rate.

    Returns:
        {max_sharpness, two_over_max, two_over_start}, the maximum over all rows but the start;
        None where there is no such number. λ falls steeply at first, so that the maximum depends
        on how long after the start the second row was measured.
    """
    start, *later = points
    largest = max((row["sharpness"] for row in later if row["sharpness"] is not None), default=None)
    return {
        "max_sharpness": largest,
        "two_over_max": 2 / largest if largest else None,
        "two_over_start": start["two_over_sharpness"],
    }


def _sample(problem: Problem, seed: int) -> tuple[Tensor, Tensor]:
    """Centred inputs and labels of some of the examples that a seed trains on."""
    subset = problem.subset(seed)
    rng = np.random.default_rng([seed, _SAMPLE_STREAM])
    count = min(_MAX_EXAMPLES, len(subset.rows))
    images, labels = problem.train.images, problem.train.labels
    rows = torch.from_numpy(rng.choice(subset.rows, count, replace=False)).to(images.device)
    mean = torch.from_numpy(subset.mean).to(images.device, problem.dtype)
    return images[rows].to(problem.dtype) - mean, labels[rows]


def _moments(ensemble: Ensemble, epochs: int, num_points: int) -> set[int]:
    """Numbers of updates at which to measure: some of those at which every pass stops."""
    per_pass, every = ensemble.num_updates, ensemble.check_every
    stops = [
        epoch * per_pass + min(done, per_pass)
        for epoch in range(epochs)
        for done in range(every, per_pass + every, every)
    ]
    num_points = min(num_points, len(stops))
    return {stops[-(-i * len(stops) // num_points) - 1] for i in range(1, num_points + 1)}


def _train(ensemble: Ensemble, epochs: int) -> Iterator[int]:
    """Train; yields the number of updates done in all, while the weights are finite."""
    for epoch in range(1, epochs + 1):
        for done in ensemble.train(epoch):
            if ensemble.members:
                yield (epoch - 1) * ensemble.num_updates + done


def sharpness(
    network: Sequence[Tensor],
    x: Tensor,
    labels: Tensor,
    activation: Activation,
    *,
    num_iterations: int,
    tolerance: float,
    seed: int,
) -> float:
    """Largest eigenvalue of the Hessian of the mean cross-entropy, by power iteration.

    Power iteration finds the eigenvalue of largest magnitude, which may be the most negative. If it
    is, or if two of opposite signs keep the iteration from settling, it is done again on H + |λ|·I,
    whose eigenvalues are not negative. Each result is a Rayleigh quotient, hence at most λ_max:
    the larger is taken. λ_max is never negative, since adding a constant to all logits by way of
    the last biases leaves the loss as it is.

    Args:
        network: one (rows, fan_out) matrix a layer, with its bias and its padding; the padding
            has no part in the loss and adds eigenvalues that are zero.
        x: (n, inputs), centred, of the network's dtype.
        labels: (n,) int64.
        activation: of the network. With relu: of the smooth pieces that the examples lie on.
        num_iterations: at most so many Hessian-vector products, in each of the two.
        tolerance: stop when ‖Hv - λv‖ ≤ tolerance · |λ| for the unit vector v.
        seed: of the random vector to begin with.

    Returns:
        λ_max in nats per unit of squared weight, from below if the iterations did not suffice; NaN
        where the loss or a weight is not finite.
    """
    product, start = _hessian(network, x, labels, activation, seed)
    value, magnitude, settled = _power_iteration(product, start, 0.0, num_iterations, tolerance)
    if not math.isfinite(value):
        return math.nan
    if value < 0 or not settled:
        shifted = _power_iteration(product, start, magnitude, num_iterations, tolerance)
        value = max(value, shifted[0])
    return max(value, 0.0)


def _hessian(
    network: Sequence[Tensor], x: Tensor, labels: Tensor, activation: Activation, seed: int
) -> tuple[Product, Tensor]:
    """The function v → H v, by differentiating the gradient again, and a random vector v."""
    # Copies, because a run's weights are inference tensors, which autograd does not follow.
    flat = torch.cat([weight.clone().flatten() for weight in network]).requires_grad_()
    blocks = flat.split([weight.numel() for weight in network])
    leaves = [block.view_as(weight) for block, weight in zip(blocks, network, strict=True)]
    loss = cross_entropy(forward(leaves, x, activation), labels)
    (gradient,) = torch.autograd.grad(loss, flat, create_graph=True)

    def product(v: Tensor) -> Tensor:
        (image,) = torch.autograd.grad(gradient, flat, v, retain_graph=True)
        return image

    start = np.random.default_rng([seed, _START_STREAM]).standard_normal(len(flat))
    return product, torch.from_numpy(start).to(flat)


def _power_iteration(
    product: Product, v: Tensor, shift: float, num_iterations: int, tolerance: float
) -> tuple[float, float, bool]:
    """Power iteration on H + shift · I.

    Returns:
        The Rayleigh quotient vᵀHv of the last unit vector v, ‖Hv‖, and whether v is an eigenvector
        up to the tolerance.
    """
    value, magnitude, settled = math.nan, math.nan, False
    for _ in range(num_iterations):
        v = v / v.norm()
        image = product(v)
        value, magnitude = float(v @ image), float(image.norm())
        settled = float((image - value * v).norm()) <= tolerance * abs(value)
        if settled or not math.isfinite(value):
            break
        v = image + shift * v
    return value, magnitude, settled
