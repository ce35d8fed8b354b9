"""Train the seeds in groups, evaluate raw and averaged weights after every epoch, compare them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict, TypeAdapter

from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Job, Output
from midterm_cli.part3.averaging import averaging_effects, final_metrics
from midterm_cli.part3.ensemble import EnsembleState
from midterm_cli.part3.evaluate import Evaluation
from midterm_cli.part3.network import split
from midterm_cli.part3.outcome import is_overconfident, worst
from midterm_cli.part3.problem import Problem, SetName, arithmetic, computed_by
from midterm_cli.part3.statistics import mean_and_sd
from midterm_cli.part3.train.schema import Config, Final, HistoryRow, Results, SeedOutcome

_SAVE_EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class _Group:
    """Seeds that are trained together, and how far they are.

    Attributes:
        seeds: of the models.
        epoch: the last epoch that was evaluated; -1 before the start was.
        state: of the models in training after that epoch; None before the start was evaluated.
        frozen: of those whose weights became NaN or infinite, by position among the seeds.
        outcomes: by seed, after the last epoch.
        history: rows by epoch. An event of a job has those of one epoch, its result those of all
            epochs of the job.
        worker: who trained it; None for this process.
    """

    seeds: tuple[int, ...]
    epoch: int = -1
    state: EnsembleState | None = None
    frozen: Mapping[int, EnsembleState] = field(default_factory=dict)
    outcomes: dict[int, SeedOutcome] = field(default_factory=dict)
    history: dict[int, list[HistoryRow]] = field(default_factory=dict)
    worker: Mapping[str, str] | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"seeds {', '.join(map(str, self.seeds))}"

    def states(self) -> list[EnsembleState]:
        """The weights of all models."""
        return [*([self.state] if self.state else []), *self.frozen.values()]


def run(config: Config, context: Context) -> Output:
    """Train all seeds; evaluate raw and averaged weights at the start and after every epoch.

    Raises:
        UserError: the data is missing or damaged, or not that of the run that is resumed.
    """
    problem = Problem(config, context)
    groups = _saved_groups(problem, context) or [
        _Group(seeds)
        for seeds in problem.groups(config.seeds, context.workers, len(config.ema_gamma))
    ]
    made = [_updates(problem, group) for group in groups]
    total = config.num_seeds * config.epochs * problem.num_updates
    unfinished = [i for i, group in enumerate(groups) if group.epoch < config.epochs]
    overlap = not context.remote and len(groups) < context.workers
    jobs = [
        Job(group.name, _train_group, problem, (config, replace(group, history={}), overlap))
        for group in (groups[i] for i in unfinished)
    ]
    save = partial(_save, problem, context, groups)
    save_at = time.monotonic() + _SAVE_EVERY_SECONDS
    cores = len(groups) if context.remote else context.workers
    with arithmetic(problem.threads(len(groups), cores)) as threads:
        try:
            for index, event, worker in context.launch(jobs):
                at = unfinished[index]
                if isinstance(event, int):
                    made[at] += event
                else:
                    history = groups[at].history
                    history.update(event.history)
                    groups[at] = replace(event, history=history, worker=worker)
                    made[at] = max(made[at], _updates(problem, event))
                    if time.monotonic() > save_at:
                        save_at = save()
                context.progress(sum(made), total, _progress_text(groups, config))
        except UserError:
            if any(group.epoch >= 0 for group in groups):
                save()
            raise
    threads *= min(len(groups) + overlap, context.workers)
    return _output(problem, config, groups, threads)


def _updates(problem: Problem, group: _Group) -> int:
    """Updates that a group has made, over all its models."""
    return len(group.seeds) * max(0, group.epoch) * problem.num_updates


def _progress_text(groups: Sequence[_Group], config: Config) -> str:
    epoch = min(group.epoch for group in groups)
    losses = [
        row.train_loss
        for group in groups
        for row in group.history.get(group.epoch, ())
        if row.weights == "raw" and row.train_loss is not None
    ]
    text = f"epoch {min(epoch + 1, config.epochs)}/{config.epochs}"
    return f"{text}, train loss {mean_and_sd(losses)[0]:.4g}" if losses else text


# ---- a group


def _train_group(
    problem: Problem, config: Config, group: _Group, overlap: bool
) -> Iterator[int | _Group]:
    """Train a group to the end.

    Args:
        problem: what is learned.
        config: of the run.
        group: where to continue from, without its history.
        overlap: evaluate an epoch while the next one is trained, on a core that is idle.

    Yields:
        The number of updates made (over all models), now and then; after each epoch the group
        with the rows of that epoch, at last with those of all epochs.
    """
    history: dict[int, list[HistoryRow]] = {}

    def event(evaluated: _Group) -> _Group:
        history.update(evaluated.history)
        is_last = evaluated.epoch == config.epochs
        return replace(evaluated, history=history) if is_last else evaluated

    ensemble = problem.ensemble(group.seeds, [config.lr] * len(group.seeds), config.ema_gamma)
    if group.state is not None:
        ensemble.restore(group.state, group.frozen)
    pending: Future[_Group] | None = None
    with ThreadPoolExecutor(1) as helper:
        for epoch in range(group.epoch + 1, config.epochs + 1):
            before = 0
            for after in ensemble.train(epoch) if epoch > 0 else ():
                yield (after - before) * len(group.seeds)
                before = after
            if pending is not None:
                yield event(pending.result())
            reached = replace(group, epoch=epoch, frozen=dict(ensemble.frozen))
            is_last = epoch == config.epochs
            pending = helper.submit(_evaluate, problem, ensemble.state.copied(), reached, is_last)
            if not overlap or is_last:
                yield event(pending.result())
                pending = None


_FROZEN: dict[SetName, Evaluation] = dict.fromkeys(("train", "test"), Evaluation(None, None))


def _evaluate(problem: Problem, state: EnsembleState, group: _Group, is_last: bool) -> _Group:
    """A group whose models in training have reached a state, with the rows of its epoch.

    After the last epoch with information, and with the outcome of each seed.
    """
    sets: tuple[SetName, ...] = ("train", "test")
    information_on = sets[:1] if is_last else ()
    evaluations = problem.evaluate(state, group.seeds, sets, information_on=information_on)
    group = replace(group, state=state, history={group.epoch: []}, outcomes={})
    for model, seed in enumerate(group.seeds):
        for gamma in state.by_gamma():
            found = evaluations[model][gamma] if model in evaluations else _FROZEN
            known = found["train"].information
            row = HistoryRow(
                seed=seed,
                epoch=group.epoch,
                weights="raw" if gamma is None else "ema",
                gamma=gamma,
                train_loss=found["train"].loss,
                train_accuracy=found["train"].accuracy,
                test_loss=found["test"].loss,
                test_accuracy=found["test"].accuracy,
                information=known.value if known else None,
            )
            group.history[group.epoch].append(row)
    if is_last:
        group.outcomes.update(_outcomes(problem, state, group.seeds, evaluations))
    return group


def _outcomes(
    problem: Problem,
    state: EnsembleState,
    seeds: Sequence[int],
    evaluations: Mapping[int, Mapping[float | None, Mapping[SetName, Evaluation]]],
) -> dict[int, SeedOutcome]:
    """The verdict on each seed's raw weights; those out of training are not finite."""
    raw = {model: found[None]["train"] for model, found in evaluations.items()}
    found = {seed: SeedOutcome(seed=seed, outcome="non_finite") for seed in seeds}
    for model, outcome in problem.outcomes(state, seeds, raw).items():
        known = None if outcome == "non_finite" else raw[model].information
        found[seeds[model]] = SeedOutcome(
            seed=seeds[model],
            outcome=outcome,
            information=known.value if known else None,
            information_error=known.standard_error if known else None,
            overconfident=outcome == "trained" and is_overconfident(raw[model].loss, known),
        )
    return found


# ---- what is saved, to resume from

# To plain data and tensors, and back.
_GROUPS = TypeAdapter(list[_Group], config=ConfigDict(arbitrary_types_allowed=True))


def _save(problem: Problem, context: Context, groups: Sequence[_Group]) -> float:
    """Save how far the groups are; returns the time of the monotonic clock for doing it again."""
    begun = time.monotonic()
    plain = _GROUPS.dump_python(list(groups))
    context.state.save({"groups": plain, "data_sha256": problem.dataset.sha256})
    # A long history takes long to save: never more than a twentieth of the time.
    return begun + max(_SAVE_EVERY_SECONDS, 20 * (time.monotonic() - begun))


def _saved_groups(problem: Problem, context: Context) -> list[_Group]:
    """The groups of the run that is resumed; none at a fresh start."""
    saved = context.state.load()
    if saved is None:
        return []
    problem.require_same_data(saved["data_sha256"])
    return _GROUPS.validate_python(saved["groups"])


# ---- what a run gives


def _output(problem: Problem, config: Config, groups: Sequence[_Group], threads: int) -> Output:
    history = [row for group in groups for rows in group.history.values() for row in rows]
    history.sort(key=lambda row: (row.seed, row.epoch))  # stable: raw, then the averages
    num_updates = problem.num_updates * config.epochs
    outcomes = sorted(
        (entry for group in groups for entry in group.outcomes.values()),
        key=lambda entry: entry.seed,
    )
    failed = [entry for entry in outcomes if entry.outcome != "trained"]
    results = Results(
        history=history,
        final=Final(
            epoch=config.epochs,
            weights=final_metrics(history, config.ema_gamma, num_updates),
        ),
        comparison=averaging_effects(history, config.ema_gamma, config.first_epoch_shown),
        outcome=worst([entry.outcome for entry in outcomes]),
        outcomes=outcomes,
        num_updates=problem.num_updates,
        num_parameters=problem.network.num_parameters,
    )
    warnings = [
        f"{len(failed)} of {len(outcomes)} seeds did not train: "
        + ", ".join(f"seed {entry.seed} {entry.outcome}" for entry in failed[:5])
        + ("…" if len(failed) > 5 else "")
    ]
    return Output(
        results,
        checkpoint=_checkpoint(problem, groups),
        provenance=problem.provenance
        | {"threads": threads}
        | computed_by("seeds", ((group.worker, group.seeds) for group in groups)),
        failed=bool(failed),
        warnings=warnings if failed else (),
        files=problem.files,
    )


def _checkpoint(problem: Problem, groups: Sequence[_Group]) -> dict[str, Any]:
    """All that is needed to use the models and to train them further, stacked over seeds.

    All on the CPU: `seeds`; the mean image, (seeds, pixels), which is to be subtracted from every
    input, and the factor, (seeds,), by which it is then to be multiplied; under `raw`, under
    `averages` for each γ, and under `optimizer` for each of its buffers, tensors named and laid out
    as the network's state_dict has them, (seeds, …).
    """
    states = [
        ([group.seeds[model] for model in state.models], state.copied(torch.device("cpu")))
        for group in groups
        for state in group.states()
    ]
    order = np.argsort([seed for seeds, _ in states for seed in seeds]).tolist()
    seeds = sorted(seed for seeds, _ in states for seed in seeds)

    def stacked(flats: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        parts = [
            problem.network.to_state(split(flat, problem.network, len(state.models)))
            for flat, (_, state) in zip(flats, states, strict=True)
        ]
        return {name: torch.cat([part[name].cpu() for part in parts])[order] for name in parts[0]}

    subsets = [problem.subset(seed) for seed in seeds]
    first = states[0][1]
    return {
        "seeds": torch.tensor(seeds),
        "mean": torch.from_numpy(np.stack([subset.mean for subset in subsets])),
        "factor": torch.tensor([subset.factor for subset in subsets], dtype=torch.float64),
        "raw": stacked([state.raw for _, state in states]),
        "averages": {
            gamma: stacked([state.averages[gamma] for _, state in states])
            for gamma in first.averages
        },
        "optimizer": {
            name: stacked([state.optimizer[name] for _, state in states])
            for name in first.optimizer
        },
    }
