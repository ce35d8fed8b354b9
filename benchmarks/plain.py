"""The same training in plain PyTorch, as in a notebook or a first script."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel


def make_net(sizes: tuple[int, ...]) -> nn.Sequential:
    """An MLP with ReLU between its layers."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def notebook_loop(
    x: Tensor, y: Tensor, net: nn.Module, lr: float, gamma: float | None, batch_size: int
) -> Callable[[int], nn.Module]:
    """A function that makes so many steps: autograd.grad, then in-place updates one by one."""
    weights = list(net.parameters())
    averages = [weight.detach().clone() for weight in weights]

    def steps(num: int) -> nn.Module:
        for _ in range(num):
            batch = torch.randint(len(x), (batch_size,))
            loss = cross_entropy(net(x[batch]), y[batch])
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.sub_(lr * gradient)
                if gamma is not None:
                    for average, weight in zip(averages, weights, strict=True):
                        average.mul_(1 - gamma).add_(gamma * weight)
        return net

    return steps


def optimizer_loop(
    x: Tensor,
    y: Tensor,
    net: nn.Module,
    lr: float,
    gamma: float | None,
    batch_size: int,
    make_optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
) -> Callable[[int], nn.Module]:
    """The same with an optimiser of torch.optim and, for averages, torch's AveragedModel."""
    optimizer = make_optimizer(net.parameters(), lr=lr)
    average = None
    if gamma is not None:
        average = AveragedModel(net, avg_fn=lambda old, new, _: (1 - gamma) * old + gamma * new)

    def steps(num: int) -> nn.Module:
        for _ in range(num):
            batch = torch.randint(len(x), (batch_size,))
            loss = cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if average is not None:
                average.update_parameters(net)
        return net

    return steps
