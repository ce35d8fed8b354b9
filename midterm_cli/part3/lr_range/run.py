"""Train all seeds once, at a learning rate that grows exponentially, and record every loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from midterm_cli.experiment import Context, Job, Output
from midterm_cli.part3 import host
from midterm_cli.part3.lr_range.schema import (
    MAX_RECORDS,
    Config,
    CurvePoint,
    Method,
    Reason,
    Results,
    SeedRecord,
    SeedSuggestions,
    Suggestion,
)
from midterm_cli.part3.lr_range.suggestions import Suggestions, smooth, suggest
from midterm_cli.part3.problem import Problem, arithmetic, computed_by
from midterm_cli.part3.statistics import quartiles

_REMEDIES: dict[Reason, str] = {
    "not_finite": "the loss is not finite within the first tenth of the updates: lower start_lr, "
    "or scale the inputs (normalize)",
    "diverges_at_once": "the loss diverges within the first tenth of the updates: lower start_lr",
    "does_not_fall": "the loss does not fall by more than its noise: choose another range, or "
    "raise num_updates",
    "still_falls": "the loss is lowest at end_lr, so that it has no minimum: raise end_lr",
}


def run(config: Config, context: Context) -> Output:
    """Record the loss of every seed before each update, and what it suggests.

    Raises:
        UserError: the data is missing or damaged, or the network cannot be trained.
    """
    problem = Problem(config, context)
    groups = problem.groups(config.seeds, context.workers)
    jobs = [
        Job(f"seeds {', '.join(map(str, group))}", _record, problem, (config, group))
        for group in groups
    ]
    lrs = learning_rates(config)
    losses = np.empty((config.num_seeds, config.num_updates))
    made = [0] * len(groups)
    shares = []
    cores = len(groups) if context.remote else context.workers
    with arithmetic(problem.threads(len(groups), cores)) as threads:
        for index, event, worker in context.launch(jobs):
            group = groups[index]
            if isinstance(event, int):
                made[index] = event * len(group)
            else:
                made[index] = config.num_updates * len(group)
                losses[[seed - config.seed for seed in group]] = event
                shares.append((worker, group))
            reached = lrs[max(1, sum(made) // config.num_seeds) - 1]
            context.progress(sum(made), losses.size, f"learning rate {reached:.3g}")
    results = results_of(losses, config)
    return Output(
        results,
        provenance=problem.provenance
        | {"threads": threads * min(len(groups), context.workers)}
        | computed_by("seeds", shares),
        failed=not any(suggestion.total for suggestion in results.suggestions),
        warnings=_warnings(results),
        files=problem.files,
    )


def _record(problem: Problem, config: Config, seeds: Sequence[int]) -> Iterator[int | np.ndarray]:
    """Train a group; yields the number of updates made, now and then, in the end all losses.

    These are (K, num_updates), each of a minibatch before its update, in evaluation; NaN where
    the model was out of training.
    """
    lrs, last = learning_rates(config), config.num_updates - 1
    ensemble = problem.ensemble(
        seeds, [1.0] * len(seeds), factors=lambda updates: lrs[np.minimum(updates, last)]
    )
    shape = (len(seeds), config.num_updates)
    losses = torch.full(shape, torch.nan, dtype=problem.dtype, device=problem.train.images.device)

    @torch.no_grad()
    def watch(update: int, x: Tensor, targets: Tensor) -> None:
        if update > last:
            return
        parameters = ensemble.parameters()
        for position, model in enumerate(ensemble.models):
            logits = problem.network.logits([block[position] for block in parameters], x[position])
            losses[model, update] = cross_entropy(logits, targets[position])

    num_epochs = -(-config.num_updates // problem.num_updates)
    for epoch in range(1, num_epochs + 1):
        before = (epoch - 1) * problem.num_updates
        for done in ensemble.train(epoch, watch):
            yield min(before + done, config.num_updates)
            if before + done > last:
                break
    yield host.read(losses.double())


def learning_rates(config: Config) -> np.ndarray:
    """(num_updates,) from start_lr to end_lr with a common ratio."""
    return np.geomspace(config.start_lr, config.end_lr, config.num_updates)


def results_of(losses: np.ndarray, config: Config) -> Results:
    """What the losses of all seeds say.

    Args:
        losses: (seeds, num_updates).
        config: of the test.
    """
    lrs = learning_rates(config)
    smoothed = smooth(losses, config.smoothing)
    found = [
        suggest(lrs, of_seed, smooth_of_seed, config.smoothing, config.stop_factor)
        for of_seed, smooth_of_seed in zip(losses, smoothed, strict=True)
    ]
    for row, suggestions in enumerate(found):
        if suggestions.diverged is not None:
            smoothed[row, suggestions.diverged :] = np.inf
    seeds = [_of_seed(*pair, lrs) for pair in zip(config.seeds, found, strict=True)]
    return Results(
        suggestions=[_over_seeds(cast(Method, name), seeds) for name in get_args(Method)],
        seeds=seeds,
        curve=[_point(float(lr), column) for lr, column in zip(lrs, smoothed.T, strict=True)],
        records=[
            SeedRecord(seed=seed, losses=row[np.isfinite(row)].tolist())
            for seed, row in zip(config.seeds[:MAX_RECORDS], smoothed, strict=False)
        ],
        sweep=config.sweep,
    )


def _of_seed(seed: int, found: Suggestions, lrs: np.ndarray) -> SeedSuggestions:
    return SeedSuggestions(
        seed=seed,
        diverged_lr=None if found.diverged is None else float(lrs[found.diverged]),
        steepest=found.steepest,
        tenth_of_minimum=found.tenth_of_minimum,
        valley=found.valley,
        reason=found.reason,
    )


def _over_seeds(method: Method, seeds: Sequence[SeedSuggestions]) -> Suggestion:
    known = [lr for entry in seeds if (lr := getattr(entry, method)) is not None]
    lower, median, upper = quartiles(known) if known else (None, None, None)
    return Suggestion(method=method, lower=lower, median=median, upper=upper, total=len(known))


def _point(lr: float, smoothed: np.ndarray) -> CurvePoint:
    lower, median, upper = (
        value if np.isfinite(value) else None for value in quartiles(smoothed.tolist())
    )
    diverged = int(np.isinf(smoothed).sum())
    return CurvePoint(lr=lr, lower=lower, median=median, upper=upper, diverged=diverged)


def _warnings(results: Results) -> list[str]:
    reasons = [entry.reason for entry in results.seeds]
    return [
        f"{reasons.count(reason)} of {len(reasons)} seeds: {text}"
        for reason, text in _REMEDIES.items()
        if reason in reasons
    ]
