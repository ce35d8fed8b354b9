"""The sharpness of a model: the largest eigenvalue λ of the Hessian of its training loss.

Gradient descent on a quadratic of curvature λ diverges at every learning rate above 2/λ, which
makes 2/λ an estimate of the highest stable learning rate that needs no failed run. 2/λ of the
initial weights is too low: training soon moves to where the loss is flatter, also at a learning
rate that is unstable at the start. The largest λ after the start says more. It remains an estimate
for descent on the whole loss, from one path: minibatches have sharper losses, and another learning
rate takes another path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from midterm_cli.part3 import host
from midterm_cli.part3.ensemble import Ensemble
from midterm_cli.part3.lr_sweep.schema import Sharpness, SharpnessPoint
from midterm_cli.part3.network import Network
from midterm_cli.part3.problem import Problem

HessianVectorProduct = Callable[[Tensor], Tensor]

# Streams of a seed, beside those of sampling.py: the examples, and where the iteration starts.
_SAMPLE_STREAM, _START_STREAM = 3, 4

_MAX_EXAMPLES = 1000

# Some eigenvalue lies within this share of the one found, mostly much closer: the error of a
# Rayleigh quotient is of second order in that of its vector.
_NUM_ITERATIONS, _TOLERANCE = 200, 0.02


def along_run(
    problem: Problem, lr: float, seed: int, epochs: int, num_points: int
) -> list[SharpnessPoint]:
    """Sharpness at the start and at moments of a fresh training run.

    It is measured on a random sample of at most 1,000 of the seed's training examples, the same at
    every moment.

    Args:
        problem: what is learnt.
        lr: learning rate, one at which training works.
        seed: of the model.
        epochs: of the run.
        num_points: moments after the start, evenly spread over those at which the weights are
            checked, the last at the run's end; all of these if they are fewer.

    Returns:
        The points; those after a weight has become NaN or infinite are left out.
    """
    x, labels = _sample(problem, seed)

    def measure(updates: int, ensemble: Ensemble) -> SharpnessPoint:
        found = sharpness(
            problem.network,
            [block[0] for block in ensemble.parameters()],
            x,
            labels,
            num_iterations=_NUM_ITERATIONS,
            tolerance=_TOLERANCE,
            seed=seed,
        )
        return SharpnessPoint(
            updates=updates,
            sharpness=found if math.isfinite(found) else None,
            two_over_sharpness=2 / found if math.isfinite(found) and found > 0 else None,
        )

    ensemble = problem.ensemble([seed], [lr])
    wanted = _moments(ensemble, epochs, num_points)
    points = [measure(0, ensemble)]
    for updates in _train(ensemble, epochs):
        if updates in wanted:
            points.append(measure(updates, ensemble))
    return points


def sharpness_of_run(lr: float, seed: int, points: Sequence[SharpnessPoint]) -> Sharpness:
    """What the points of `along_run` say of the highest stable learning rate.

    The maximum is over all points but the start. λ falls steeply at first, so that it depends on
    how long after the start the second point was measured.
    """
    start, *later = points
    largest = max((p.sharpness for p in later if p.sharpness is not None), default=None)
    return Sharpness(
        lr=lr,
        seed=seed,
        points=list(points),
        max_sharpness=largest,
        two_over_max=2 / largest if largest else None,
        two_over_start=start.two_over_sharpness,
    )


def _sample(problem: Problem, seed: int) -> tuple[Tensor, Tensor]:
    """Centred inputs and labels of some of the examples that a seed trains on."""
    subset = problem.subset(seed)
    rng = np.random.default_rng([seed, _SAMPLE_STREAM])
    count = min(_MAX_EXAMPLES, len(subset.rows))
    images, labels = problem.train.images, problem.train.labels
    rows = torch.from_numpy(rng.choice(subset.rows, count, replace=False)).to(images.device)
    mean = torch.from_numpy(subset.mean).to(images.device, problem.dtype)
    return (images[rows].to(problem.dtype) - mean) * subset.factor, labels[rows]


def _moments(ensemble: Ensemble, epochs: int, num_points: int) -> set[int]:
    """Numbers of updates at which to measure: some of those at which the weights are checked."""
    per_epoch, every = ensemble.num_updates, ensemble.check_every
    checks = [
        epoch * per_epoch + min(done, per_epoch)
        for epoch in range(epochs)
        for done in range(every, per_epoch + every, every)
    ]
    num_points = min(num_points, len(checks))
    return {checks[-(-i * len(checks) // num_points) - 1] for i in range(1, num_points + 1)}


def _train(ensemble: Ensemble, epochs: int) -> Iterator[int]:
    """Train; yields the number of updates done in all, while the weights are finite."""
    for epoch in range(1, epochs + 1):
        for done in ensemble.train(epoch):
            if ensemble.models:
                yield (epoch - 1) * ensemble.num_updates + done


def sharpness(
    network: Network,
    model: Sequence[Tensor],
    x: Tensor,
    labels: Tensor,
    *,
    num_iterations: int,
    tolerance: float,
    seed: int,
) -> float:
    """Largest eigenvalue of the Hessian of the mean cross-entropy, by power iteration.

    Power iteration finds the eigenvalue of largest magnitude, which may be the most negative. If it
    is, or if it does not converge because two have opposite signs, it is repeated on H + |λ|·I,
    whose eigenvalues are not negative. Each result is a Rayleigh quotient, hence at most λ_max:
    the larger is taken. λ_max is never negative, since adding a constant to all of the last biases
    does not change the loss.

    Args:
        network: of the model. With ReLU: of the smooth pieces that the examples lie on.
        model: its parameters; the padding of an MLP has no part in the loss and adds eigenvalues
            that are zero.
        x: (n, pixels), centred and scaled, of the model's dtype.
        labels: (n,) int64.
        num_iterations: at most so many Hessian-vector products, in each of the two iterations.
        tolerance: stop when ‖Hv - λv‖ ≤ tolerance · |λ| for the unit vector v.
        seed: of the random start vector.

    Returns:
        λ_max in nats per unit of squared weight, from below if the iterations did not suffice; NaN
        where the loss or a weight is not finite.
    """
    hvp, start = _hessian(network, model, x, labels, seed)
    value, magnitude, converged = _power_iteration(hvp, start, 0.0, num_iterations, tolerance)
    if not math.isfinite(value):
        return math.nan
    if value < 0 or not converged:
        shifted = _power_iteration(hvp, start, magnitude, num_iterations, tolerance)
        value = max(value, shifted[0])
    return max(value, 0.0)


def _hessian(
    network: Network, model: Sequence[Tensor], x: Tensor, labels: Tensor, seed: int
) -> tuple[HessianVectorProduct, Tensor]:
    """The function v → H v, by differentiating the gradient again, and a random vector v."""
    # Copies, because a run's weights are inference tensors, which autograd does not follow.
    flat = torch.cat([weight.clone().flatten() for weight in model]).requires_grad_()
    blocks = flat.split([weight.numel() for weight in model])
    leaves = [block.view_as(weight) for block, weight in zip(blocks, model, strict=True)]
    loss = cross_entropy(network.logits(leaves, x), labels)
    (gradient,) = torch.autograd.grad(loss, flat, create_graph=True)

    def hvp(v: Tensor) -> Tensor:
        (product,) = torch.autograd.grad(gradient, flat, v, retain_graph=True)
        return product

    start = np.random.default_rng([seed, _START_STREAM]).standard_normal(len(flat))
    return hvp, torch.from_numpy(start).to(flat)


def _power_iteration(
    hvp: HessianVectorProduct, v: Tensor, shift: float, num_iterations: int, tolerance: float
) -> tuple[float, float, bool]:
    """Power iteration on H + shift · I.

    Returns:
        The Rayleigh quotient vᵀHv of the last unit vector v, ‖Hv‖, and whether v is an eigenvector
        up to the tolerance.
    """
    value, magnitude, converged = math.nan, math.nan, False
    for _ in range(num_iterations):
        v = v / v.norm()
        product = hvp(v)
        quotient = v @ product
        numbers = (quotient, product.norm(), (product - quotient * v).norm())
        value, magnitude, residual = host.read_all(numbers).tolist()
        converged = residual <= tolerance * abs(value)
        if converged or not math.isfinite(value):
            break
        v = product + shift * v
    return value, magnitude, converged
