"""One step of K models, each at its own learning rate: gradient, then the rule of an optimiser.

The rules are those of torch.optim (https://docs.pytorch.org/docs/stable/optim.html), on the flat
parameters of all models. With the gradient g, the learning rate η and the update number t from 1:

    sgd       v ← μ v + g,   w ← w - η v                     nesterov: w ← w - η (g + μ v)
    adam      m ← β₁ m + (1 - β₁) g,   v ← β₂ v + (1 - β₂) g²
              w ← w - η (m / (1 - β₁ᵗ)) / (sqrt(v / (1 - β₂ᵗ)) + ε)
    adamw     the same after w ← (1 - η λ) w
    rmsprop   v ← α v + (1 - α) g²,   d = g / (sqrt(v) + ε),   b ← μ b + d,   w ← w - η b

The weight decay λ of all but adamw is added to the gradient: g + λ w.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from midterm_cli.part3.gradients import closed_form, make_gradient
from midterm_cli.part3.module_network import ModuleNetwork, Streams
from midterm_cli.part3.network import MLP, Network, split
from midterm_cli.part3.schema import GradientMethod, OptimizerName

Coefficients = Sequence[Sequence[Tensor]]
"""For each coefficient of a rule, and each parameter, (K, 1, …): as it multiplies the parameter."""

Step = Callable[[Tensor, Tensor, Tensor, Coefficients], None]
"""step(x, x_transposed, targets, coefficients): moves K models by one update.

x is (K, batch_size, width), a minibatch for each model; x_transposed = x.mT, a view that is made
once; targets (K, batch_size, classes), one-hot.
"""


@dataclass(frozen=True)
class Rule:
    """An optimiser with its constants; those that it does not have are left out of account."""

    optimizer: OptimizerName = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    alpha: float = 0.99

    @property
    def is_plain(self) -> bool:
        """Whether it is SGD and nothing else."""
        return self.optimizer == "sgd" and self.momentum == self.weight_decay == 0

    @property
    def buffers(self) -> tuple[str, ...]:
        """Names of its buffers, as torch.optim has them, each as large as the parameters."""
        if self.optimizer in ("adam", "adamw"):
            return ("exp_avg", "exp_avg_sq")
        momentum = ("momentum_buffer",) if self.momentum else ()
        return (*momentum, "square_avg") if self.optimizer == "rmsprop" else momentum

    @property
    def changes_rates(self) -> bool:
        """Whether the coefficients depend on the number of the update, at a constant rate."""
        return self.optimizer in ("adam", "adamw")

    def coefficients(self, rates: np.ndarray, first: int) -> np.ndarray:
        """What multiplies parameters, for some updates.

        Args:
            rates: (updates, K) learning rates.
            first: number of the first update, from 1.

        Returns:
            (coefficients, updates, K): what the direction is multiplied by; for adam and adamw
            then ε, and for adamw what multiplies the weights.
        """
        if not self.changes_rates:
            return -rates[None]
        number = np.arange(first, first + len(rates))[:, None]
        # With s = sqrt(1 - β₂ᵗ) the fraction is m · s / (sqrt(v) + ε s).
        root = np.sqrt(-np.expm1(number * np.log(self.betas[1]))) if self.betas[1] else 1.0
        correction = 1 - np.power(self.betas[0], number, dtype=float)
        found = [-rates * root / correction, np.broadcast_to(self.eps * root, rates.shape)]
        if self.optimizer == "adamw":
            found.append(1 - rates * self.weight_decay)
        return np.stack(found)


def make_step(
    network: Network,
    method: GradientMethod,
    rule: Rule,
    raw: Tensor,
    buffers: Mapping[str, Tensor],
    batch_size: int,
    models: Sequence[int],
    lrs: Sequence[float],
    streams: Streams,
) -> tuple[Step, float]:
    """A function that moves `raw` by one update, and by what its first coefficient is divided.

    Args:
        network: of the models.
        method: of the gradient of an MLP.
        rule: of the optimiser.
        raw: flat parameters of K models; changed in place.
        buffers: of the optimiser, laid out alike; changed in place.
        batch_size: rows of a minibatch.
        models: keys of the K models in `streams`.
        lrs: of the K models, at the peak of the schedule.
        streams: where their random numbers come from, if they draw any.
    """
    num_models = len(models)
    weights = split(raw, network, num_models)
    if method == "closed_form" and isinstance(network, MLP):
        if rule.is_plain:
            # The gradient of a layer and its update are a single `baddbmm_`.
            descend = closed_form(weights, weights, network, batch_size, keep=1.0)

            def plain(x: Tensor, xt: Tensor, targets: Tensor, coefficients: Coefficients) -> None:
                descend(x, xt, targets, coefficients[0][0])

            return plain, float(batch_size)
        if rule.optimizer == "sgd" and rule.momentum and not rule.nesterov:
            momentum = split(buffers["momentum_buffer"], network, num_models)
            return _heavy_ball(network, rule, weights, momentum, batch_size), 1.0
    if isinstance(network, ModuleNetwork) and network.how == "loop" and rule.is_plain:
        move_all = network.make_descent(weights, models, streams)
        return lambda x, _, targets, coefficients: move_all(
            x, targets, coefficients[0][0].flatten()
        ), 1.0
    gradient = torch.zeros_like(raw)
    into = split(gradient, network, num_models)
    compute = make_gradient(network, method, weights, into, batch_size, models, streams)
    decay = rule.optimizer == "adamw" and rule.weight_decay > 0
    if rule.changes_rates and isinstance(network, MLP) and raw.device.type == "cpu":
        move = _fused_adam(rule, network, lrs, raw, gradient, buffers)
    else:
        move = _by_direction(rule, network, raw, gradient, buffers, num_models)

    def step(x: Tensor, xt: Tensor, targets: Tensor, coefficients: Coefficients) -> None:
        compute(x, xt, targets)
        if decay:
            for weight, factor in zip(weights, coefficients[2], strict=True):
                weight.mul_(factor)
        move(coefficients)

    return step, 1.0


def _heavy_ball(
    network: MLP,
    rule: Rule,
    weights: Sequence[Tensor],
    momentum: Sequence[Tensor],
    batch_size: int,
) -> Step:
    """SGD with momentum: the gradient is added to the buffer as it is computed."""
    accumulate = closed_form(weights, momentum, network, batch_size, keep=rule.momentum)
    scale = weights[0].new_full((), 1 / batch_size)

    def step(x: Tensor, xt: Tensor, targets: Tensor, coefficients: Coefficients) -> None:
        accumulate(x, xt, targets, scale)
        for weight, block, factor in zip(weights, momentum, coefficients[0], strict=True):
            if rule.weight_decay:
                block.add_(weight, alpha=rule.weight_decay)
            weight.addcmul_(block, factor)

    return step


def _fused_adam(
    rule: Rule,
    network: MLP,
    lrs: Sequence[float],
    raw: Tensor,
    gradient: Tensor,
    buffers: Mapping[str, Tensor],
) -> Callable[[Coefficients], None]:
    """Adam by the kernel of torch.optim, which reads and writes every number once.

    It takes one learning rate a call: a call moves all models, or one where their rates differ.
    """
    flats = [raw, gradient, buffers["exp_avg"], buffers["exp_avg_sq"]]
    if len(set(lrs)) == 1:
        calls = [[[flat] for flat in flats]]
    else:
        blocks = [split(flat, network, len(lrs)) for flat in flats]
        calls = [[[block[k] for block in of_flat] for of_flat in blocks] for k in range(len(lrs))]
    decay = rule.weight_decay if rule.optimizer == "adam" else 0.0
    # The coefficients correct the bias of the averages: to the kernel all updates are late ones.
    late = [torch.tensor(1e30)] * len(calls[0][0])

    def move(coefficients: Coefficients) -> None:
        rates, eps = (coefficient[0].flatten().tolist() for coefficient in coefficients[:2])
        for (weights, gradients, means, squares), rate in zip(calls, rates, strict=False):
            torch._fused_adam_(
                weights,
                gradients,
                means,
                squares,
                [],
                late,
                lr=-rate,
                beta1=rule.betas[0],
                beta2=rule.betas[1],
                weight_decay=decay,
                eps=eps[0],
                amsgrad=False,
                maximize=False,
            )

    return move


def _by_direction(
    rule: Rule,
    network: Network,
    raw: Tensor,
    gradient: Tensor,
    buffers: Mapping[str, Tensor],
    num_models: int,
) -> Callable[[Coefficients], None]:
    """The gradient becomes a direction, in which each parameter then moves."""
    turn, direction = _direction(rule, raw, gradient, buffers)
    weights, blocks = split(raw, network, num_models), split(direction, network, num_models)

    def move(coefficients: Coefficients) -> None:
        turn(coefficients)
        for weight, block, factor in zip(weights, blocks, coefficients[0], strict=True):
            weight.addcmul_(block, factor)

    return move


def _direction(
    rule: Rule, raw: Tensor, gradient: Tensor, buffers: Mapping[str, Tensor]
) -> tuple[Callable[[Coefficients], object], Tensor]:
    """A function that turns the gradient into the direction of the step, and where it puts it."""
    adds_decay = rule.weight_decay > 0 and rule.optimizer != "adamw"
    momentum, square = buffers.get("momentum_buffer"), buffers.get("square_avg")

    def decayed() -> Tensor:
        return gradient.add_(raw, alpha=rule.weight_decay) if adds_decay else gradient

    if rule.optimizer == "sgd":
        if momentum is None:
            return lambda _: decayed(), gradient

        def sgd(coefficients: Coefficients) -> None:
            momentum.mul_(rule.momentum).add_(decayed())
            if rule.nesterov:
                gradient.add_(momentum, alpha=rule.momentum)

        return sgd, gradient if rule.nesterov else momentum

    scratch = torch.empty_like(raw)
    if square is not None:

        def rmsprop(coefficients: Coefficients) -> None:
            g = decayed()
            square.mul_(rule.alpha).addcmul_(g, g, value=1 - rule.alpha)
            torch.sqrt(square, out=scratch).add_(rule.eps)
            torch.div(g, scratch, out=scratch)
            if momentum is not None:
                momentum.mul_(rule.momentum).add_(scratch)

        return rmsprop, scratch if momentum is None else momentum

    mean, square_mean = buffers["exp_avg"], buffers["exp_avg_sq"]

    def adam(coefficients: Coefficients) -> None:
        g = decayed()
        mean.lerp_(g, 1 - rule.betas[0])
        square_mean.mul_(rule.betas[1]).addcmul_(g, g, value=1 - rule.betas[1])
        # ε s is the same for all models: that of the first serves for the flat tensor.
        torch.sqrt(square_mean, out=scratch).add_(coefficients[1][0].flatten()[:1])
        torch.div(mean, scratch, out=scratch)

    return adam, scratch
