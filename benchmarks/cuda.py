"""Microseconds a model and step on a CUDA device, beside the notebook loop on the same device.

    python -m benchmarks.cuda [--device cuda] [--data-dir DIR]

Contestants take turns, three rounds; each row is the median. What an update must at least move is
0.5 MB a model: the weights read forward, read and written backward, and the same of the average.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch

from benchmarks.plain import make_net, notebook_loop
from midterm_cli.config import resolve
from midterm_cli.data.datasets import data_dir
from midterm_cli.experiment import Context
from midterm_cli.part3.ensemble import Ensemble
from midterm_cli.part3.network import MLP
from midterm_cli.part3.problem import Problem
from midterm_cli.part3.train.schema import Config

ROUNDS = 3


def problem_of(device: torch.device, data: Path | None, *assignments: str) -> Problem:
    """The problem of `midterm train`, with some keys changed."""
    config = cast(Config, resolve.resolve("train", None, assignments).config)
    return Problem(config, Context(device, data_dir(data)))


def wait(device: torch.device) -> None:
    """Until all queued work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def an_epoch(ensemble: Ensemble) -> Callable[[], float]:
    """Microseconds a model and step over an epoch, the drawing of minibatches included."""
    device = ensemble.examples.images.device

    def run() -> float:
        wait(device)
        start = time.perf_counter()
        for _ in ensemble.train(1):
            pass
        wait(device)
        return 1e6 * (time.perf_counter() - start) / (ensemble.num_updates * len(ensemble.seeds))

    run()
    return run


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    on_cuda = device.type == "cuda"
    contestants: dict[str, Callable[[], float]] = {}
    problem = problem_of(device, arguments.data_dir)
    assert isinstance(problem.network, MLP)
    subset = problem.subset(0)
    rows = torch.from_numpy(subset.rows).to(device)
    x = problem.train.images[rows].float() - torch.from_numpy(subset.mean).float().to(device)
    with torch.device(device):
        loop = notebook_loop(
            x, problem.train.labels[rows], make_net(problem.network.sizes), 1e-3, 1e-3, 8
        )

    def notebook() -> float:
        wait(device)
        start = time.perf_counter()
        with torch.device(device):
            loop(200)
        wait(device)
        return 1e6 * (time.perf_counter() - start) / 200

    notebook()
    contestants["notebook loop, one model"] = notebook
    for num in (1, 10, 100, 1000, 4096) if on_cuda else (1, 10):
        ensemble = problem.ensemble(range(num), [1e-3] * num, (1e-3,))
        contestants[f"MLP, sgd, K = {num}"] = an_epoch(ensemble)
        if on_cuda:
            eager = problem.ensemble(range(num), [1e-3] * num, (1e-3,))
            eager.capture = False
            contestants[f"the same without graphs, K = {num}"] = an_epoch(eager)
    for optimizer in ("optimizer=sgd momentum=0.9", "optimizer=adam"):
        other = problem_of(device, arguments.data_dir, *optimizer.split())
        for num in (10, 1000) if on_cuda else (10,):
            ensemble = other.ensemble(range(num), [1e-3] * num, (1e-3,))
            contestants[f"MLP, {optimizer}, K = {num}"] = an_epoch(ensemble)
    for num in (1, 16, 128) if on_cuda else (1, 2):
        layers = problem_of(device, arguments.data_dir, "network=conv_stack", "normalize=unit")
        ensemble = layers.ensemble(range(num), [1e-3] * num, (1e-3,))
        how = getattr(layers.network, "how", "")
        contestants[f"conv_stack, {how}, K = {num}"] = an_epoch(ensemble)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            seconds[name].append(run())
    base = statistics.median(seconds["notebook loop, one model"])
    for name, values in seconds.items():
        found = statistics.median(values)
        print(f"{name:45s} {found:10.3f} µs {base / found:9.1f} ×")  # noqa: T201


if __name__ == "__main__":
    main()
