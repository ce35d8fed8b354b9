"""Which share of the failure threshold is a good learning rate for training?

    python -m benchmarks.recommended [--device cuda] [--sweeps N] [--seeds N]

For each problem, sweeps with seeds of their own estimate the threshold. Networks are then trained
for 25 epochs at shares of each estimate and on a grid of learning rates, all with the same seeds. A
learning rate is good if the mean test loss of the averaged weights at the end is within 10 % of
that at the best learning rate of the grid. The same is asked of the calibrated loss: the entropy of
the labels minus the information, the test loss at the best temperature and class biases. Prints the
tables of docs/recommended_rate.md.

The sweeps run on the CPU, one a core; the trainings on the device, all of a problem as one ensemble
on a GPU (minutes), in groups on a CPU (hours).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple, cast

import numpy as np
import torch

from benchmarks.coverage import print_table
from midterm_cli.config import resolve
from midterm_cli.data.datasets import data_dir
from midterm_cli.experiment import Context, Job
from midterm_cli.launch.launcher import launcher
from midterm_cli.part3.evaluate import Evaluation
from midterm_cli.part3.lr_sweep import schema as sweep_schema
from midterm_cli.part3.lr_sweep.run import run as run_sweep
from midterm_cli.part3.problem import Problem, arithmetic
from midterm_cli.part3.train import schema as train_schema

PROBLEMS = {
    "ReLU": (),
    "identity": ("activation=identity",),
    "tanh": ("activation=tanh",),
    "width 256": ("hidden_sizes=[256]",),
    "batch 32": ("batch_size=32",),
}
SHARES = tuple(1 / divisor for divisor in (2, 3, 4, 6, 8, 16, 32, 36))
GRID = tuple(float(f"{1e-5 * 2 ** (k / 2):.4g}") for k in range(24))  # 1e-5 … 2.9e-2
GAMMA, EPOCHS, GOOD = 1e-3, 25, 1.1
FIRST_SWEEP_SEED, SEEDS_OF_A_SWEEP = 10_000, 10

Model = tuple[float, int]  # learning rate and seed


class Scores(NamedTuple):
    """Of the averaged weights at the end, on the test set."""

    loss: float = math.inf
    calibrated_loss: float = math.inf
    accuracy: float = 0.0


def threshold(assignments: Sequence[str], first_seed: int) -> float:
    """The estimate of a sweep with the defaults."""
    torch.set_num_threads(1)
    given = [*assignments, f"seed={first_seed}", f"num_seeds={SEEDS_OF_A_SWEEP}"]
    config = cast(sweep_schema.Config, resolve.resolve("lr_sweep", None, given).config)
    output = run_sweep(config, Context(torch.device("cpu"), data_dir()))
    found = cast(sweep_schema.Results, output.results).threshold_lr
    return math.nan if found is None else found.estimate


def train(problem: Problem, models: Sequence[Model]) -> Iterator[list[tuple[Model, Scores]] | None]:
    """Yields None while at work, in the end each model with its scores."""
    seeds = [seed for _, seed in models]
    ensemble = problem.ensemble(seeds, [lr for lr, _ in models], (GAMMA,))
    for epoch in range(1, EPOCHS + 1):
        for _ in ensemble.train(epoch):
            yield None
    evaluations = problem.evaluate(ensemble.state, seeds, ("test",), information_on=("test",))
    yield [
        (model, _scores(evaluations[index][GAMMA]["test"]) if index in evaluations else Scores())
        for index, model in enumerate(models)
    ]


def _scores(found: Evaluation) -> Scores:
    if found.loss is None or found.accuracy is None or found.information is None:
        return Scores()
    return Scores(found.loss, found.information.entropy - found.information.value, found.accuracy)


def mean_scores(
    assignments: Sequence[str], lrs: Sequence[float], num_seeds: int, device: torch.device
) -> dict[float, Scores]:
    """Mean scores over the seeds at each learning rate."""
    given = [*assignments, f"num_seeds={num_seeds}"]
    config = cast(train_schema.Config, resolve.resolve("train", None, given).config)
    problem = Problem(config, Context(device, data_dir()))
    models = [(lr, seed) for lr in sorted(set(lrs)) for seed in config.seeds]
    scores: dict[float, list[Scores]] = {}
    with launcher(device, None) as launch, arithmetic(1):
        groups = problem.groups(models, launch.workers)
        jobs = [Job(f"group {i}", train, problem, (group,)) for i, group in enumerate(groups)]
        for _, found, _ in launch(jobs):
            for (lr, _), of_model in found or ():
                scores.setdefault(lr, []).append(of_model)
    return {lr: Scores(*np.mean(of_lr, axis=0).tolist()) for lr, of_lr in scores.items()}


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sweeps", type=int, default=20, help="of each problem")
    parser.add_argument("--seeds", type=int, default=10, help="of each training")
    parser.add_argument("--only", choices=PROBLEMS, nargs="+", default=list(PROBLEMS))
    options = parser.parse_args()
    firsts = [FIRST_SWEEP_SEED + SEEDS_OF_A_SWEEP * i for i in range(options.sweeps)]
    estimates = {}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for name in options.only:
            given = [PROBLEMS[name]] * options.sweeps
            estimates[name] = list(pool.map(threshold, given, firsts))
    spreads: list[list[str]] = []
    tables: dict[str, list[list[str]]] = {"loss": [], "calibrated_loss": [], "accuracy": []}
    for name in options.only:
        found = estimates[name]
        lrs = [*GRID, *(share * estimate for share in SHARES for estimate in found)]
        scores = mean_scores(PROBLEMS[name], lrs, options.seeds, torch.device(options.device))
        rows = [
            [f"{lr:.3g}", f"{s.loss:.3f}", f"{s.calibrated_loss:.3f}", f"{s.accuracy:.3f}"]
            for lr, s in ((lr, scores[lr]) for lr in GRID)
        ]
        columns = ["learning rate", "test loss", "calibrated", "accuracy"]
        print_table(f"{name}: the grid", columns, rows)
        sys.stdout.flush()
        spreads.append(
            [
                name,
                f"{np.median(found):.3g}",
                f"{min(found):.3g} to {max(found):.3g}",
                f"{max(found) / min(found):.2f}",
            ]
        )
        for key, of_key in tables.items():
            at_shares = [
                [getattr(scores[share * estimate], key) for estimate in found] for share in SHARES
            ]
            on_grid = [getattr(scores[lr], key) for lr in GRID]
            if key == "accuracy":
                best = max(on_grid)
                cells = [f"{np.median(values) - best:+.3f}" for values in at_shares]
            else:
                best = min(on_grid)
                cells = [
                    f"{sum(value <= GOOD * best for value in values)}, "
                    f"{np.median(values) / best:.2f}"
                    for values in at_shares
                ]
            rate = GRID[on_grid.index(best)]
            of_key.append([name, f"{best:.3f} at {rate:.3g}", *cells])
    head = ["problem", "best of the grid", *(f"1/{1 / share:.0f}" for share in SHARES)]
    print_table(
        f"The threshold over {options.sweeps} sweeps of {SEEDS_OF_A_SWEEP} seeds",
        ["problem", "median", "range", "largest ÷ smallest"],
        spreads,
    )
    good = f"How many of {options.sweeps} are within 10 % of the best, and the median ratio to it"
    print_table(f"Test loss. {good}", head, tables["loss"])
    print_table(f"Calibrated test loss. {good}", head, tables["calibrated_loss"])
    print_table("Test accuracy: median difference to the best", head, tables["accuracy"])


if __name__ == "__main__":
    main()
