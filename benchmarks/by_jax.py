"""The same training in JAX: vmap over the models, scan over the steps, jit over both, one core."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor


def jax_loop(
    x: Tensor,
    y: Tensor,
    sizes: tuple[int, ...],
    lr: float,
    gamma: float | None,
    batch_size: int,
    num_models: int,
) -> Callable[[int], Any]:
    """A function that makes so many steps of K models; each new number of steps is compiled.

    Raises:
        ModuleNotFoundError: JAX is not installed.
    """
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    jax: Any = import_module("jax")
    images, labels = jax.numpy.asarray(x.numpy()), jax.numpy.asarray(y.numpy())
    rng = np.random.default_rng(0)

    def loss(weights: Any, rows: Any) -> Any:
        h = images[rows]
        for layer, (weight, bias) in enumerate(weights):
            h = h @ weight + bias
            if layer < len(weights) - 1:
                h = jax.nn.relu(h)
        log_p = jax.nn.log_softmax(h)
        return -jax.numpy.take_along_axis(log_p, labels[rows][:, None], 1).mean()

    def step(state: Any, rows: Any) -> Any:
        weights, average = state
        gradients = jax.grad(loss)(weights, rows)
        weights = jax.tree.map(lambda w, g: w - lr * g, weights, gradients)
        if gamma is not None:
            average = jax.tree.map(lambda a, w: (1 - gamma) * a + gamma * w, average, weights)
        return (weights, average), None

    run = jax.jit(jax.vmap(lambda state, rows: jax.lax.scan(step, state, rows)[0]))
    weights = [
        (
            rng.uniform(-1, 1, (num_models, fan_in, fan_out)).astype("f4") / fan_in**0.5,
            np.zeros((num_models, fan_out), "f4"),
        )
        for fan_in, fan_out in pairwise(sizes)
    ]
    state = (weights, None if gamma is None else weights)

    def steps(num: int) -> Any:
        nonlocal state
        rows = rng.integers(len(x), size=(num_models, num, batch_size))
        state = jax.block_until_ready(run(state, rows))
        return state

    return steps
