"""Train the seeds in groups, evaluate raw and averaged weights after every epoch, compare them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import ConfigDict, TypeAdapter

from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Job, Output, Parent
from midterm_cli.part3.averaging import averaging_effects, final_metrics
from midterm_cli.part3.checkpoint import Checkpoint, State, read, stacked
from midterm_cli.part3.ensemble import Ensemble, EnsembleState, Watch
from midterm_cli.part3.evaluate import Evaluation
from midterm_cli.part3.outcome import is_overconfident, worst
from midterm_cli.part3.problem import Problem, SetName, arithmetic, computed_by
from midterm_cli.part3.statistics import mean_and_sd
from midterm_cli.part3.train.schema import (
    Config,
    Final,
    HistoryRow,
    LoggedUpdate,
    Results,
    SeedOutcome,
)
from midterm_cli.part3.watch import loss_and_gradient_norm

_SAVE_EVERY_SECONDS = 1.0
_MAX_LOG = 100_000  # rows, about 15 MB of JSON


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
        log: of the minibatches, in the same way.
        worker: who trained it; None for this process.
    """

    seeds: tuple[int, ...]
    epoch: int = -1
    state: EnsembleState | None = None
    frozen: Mapping[int, EnsembleState] = field(default_factory=dict)
    outcomes: dict[int, SeedOutcome] = field(default_factory=dict)
    history: dict[int, list[HistoryRow]] = field(default_factory=dict)
    log: dict[int, list[LoggedUpdate]] = field(default_factory=dict)
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
    _check_log(problem, config)
    start = read(Path(config.init_from, "checkpoint.pt")) if config.init_from else None
    groups, parent = _begun_groups(problem, config, context)
    made = [_updates(problem, group) for group in groups]
    total = config.num_seeds * config.epochs * problem.num_updates
    unfinished = [i for i, group in enumerate(groups) if group.epoch < config.epochs]
    overlap = not context.remote and len(groups) < context.workers
    jobs = [
        Job(
            group.name,
            _train_group,
            problem,
            (config, replace(group, history={}, log={}), _start(problem, start, group), overlap),
        )
        for group in (groups[i] for i in unfinished)
    ]
    save = partial(_save, problem, context, groups, parent)
    save_at = time.monotonic() + _SAVE_EVERY_SECONDS
    cores = len(groups) if context.remote else context.workers
    with arithmetic(problem.threads(len(groups), cores)) as threads:
        try:
            for index, event, worker in context.launch(jobs):
                at = unfinished[index]
                if isinstance(event, int):
                    made[at] += event
                else:
                    history, log = groups[at].history, groups[at].log
                    history.update(event.history)
                    log.update(event.log)
                    groups[at] = replace(event, history=history, log=log, worker=worker)
                    made[at] = max(made[at], _updates(problem, event))
                    if time.monotonic() > save_at:
                        save_at = save()
                context.progress(sum(made), total, _progress_text(groups, config))
        except UserError:
            if any(group.epoch >= 0 for group in groups):
                save()
            raise
    threads *= min(len(groups) + overlap, context.workers)
    output = _output(problem, config, groups, threads, parent)
    notes = _other_scale(problem, config, start)
    return replace(output, warnings=[*notes, *output.warnings])


def _check_log(problem: Problem, config: Config) -> None:
    """Refuse a log that no file should hold."""
    if config.log_every == 0:
        return
    total = config.epochs * problem.num_updates
    if (rows := config.num_seeds * -(-total // config.log_every)) > _MAX_LOG:
        raise UserError(
            f"log_every {config.log_every} makes {rows:,} rows, and up to {_MAX_LOG:,} are kept: "
            f"raise it to {-(-config.num_seeds * total // _MAX_LOG):,}"
        )


def _other_scale(problem: Problem, config: Config, start: Checkpoint | None) -> list[str]:
    """A line where the weights to start from were trained on inputs of another scale."""
    if start is None:
        return []
    there = float(start.factor[start.position(config.seed)])
    here = problem.subset(config.seed).factor
    if math.isclose(there, here, rel_tol=0.1):
        return []
    return [
        f"the weights of {config.init_from} were trained on pixels times {there:.3g}, not "
        f"{here:.3g}: give the same normalize"
    ]


def _start(problem: Problem, checkpoint: Checkpoint | None, group: _Group) -> torch.Tensor | None:
    """Weights to start a group from; None for those of its seeds."""
    if checkpoint is None or group.state is not None:
        return None
    flat = checkpoint.flat(checkpoint.raw, problem.network, group.seeds)
    return flat.to(problem.train.images.device, problem.dtype)


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
    problem: Problem, config: Config, group: _Group, start: torch.Tensor | None, overlap: bool
) -> Iterator[int | _Group]:
    """Train a group to the end.

    Args:
        problem: what is learned.
        config: of the run.
        group: where to continue from, without its history and log.
        start: weights to start from; None for those of the seeds, or of the group's state.
        overlap: evaluate an epoch while the next one is trained, on a core that is idle.

    Yields:
        The number of updates made (over all models), now and then; after each epoch the group
        with the rows of that epoch, at last with those of all epochs.
    """
    history: dict[int, list[HistoryRow]] = {}
    log: dict[int, list[LoggedUpdate]] = {}

    def event(evaluated: _Group) -> _Group:
        history.update(evaluated.history)
        log.update(evaluated.log)
        is_last = evaluated.epoch == config.epochs
        return replace(evaluated, history=history, log=log) if is_last else evaluated

    lrs = [config.lr] * len(group.seeds)
    ensemble = problem.ensemble(group.seeds, lrs, config.ema_gamma, start=start)
    if group.state is not None:
        ensemble.restore(group.state, group.frozen)
    pending: Future[_Group] | None = None
    with ThreadPoolExecutor(1) as helper:
        for epoch in range(group.epoch + 1, config.epochs + 1):
            before = 0
            rows: list[LoggedUpdate] = []
            watch = _logging(ensemble, rows) if config.log_every else None
            for after in ensemble.train(epoch, watch, config.log_every) if epoch > 0 else ():
                yield (after - before) * len(group.seeds)
                before = after
            if pending is not None:
                yield event(pending.result())
            logged = {epoch: rows} if rows else {}
            reached = replace(group, epoch=epoch, frozen=dict(ensemble.frozen), log=logged)
            is_last = epoch == config.epochs
            pending = helper.submit(_evaluate, problem, ensemble.state.copied(), reached, is_last)
            if not overlap or is_last:
                yield event(pending.result())
                pending = None


def _logging(ensemble: Ensemble, rows: list[LoggedUpdate]) -> Watch:
    """A watch that writes a row for each model in training."""

    def watch(update: int, x: torch.Tensor, targets: torch.Tensor) -> None:
        found = loss_and_gradient_norm(ensemble.network, ensemble.parameters(), x, targets)
        lrs = ensemble.rates(update)
        for model, lr, (loss, norm) in zip(ensemble.models, lrs, found, strict=True):
            rows.append(
                LoggedUpdate(
                    seed=ensemble.seeds[model],
                    update=update,
                    lr=float(lr),
                    loss=loss if math.isfinite(loss) else None,
                    gradient_norm=norm if math.isfinite(norm) else None,
                )
            )

    return watch


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


@dataclass(frozen=True)
class _Saved:
    """What is saved.

    Attributes:
        groups: how far they are.
        data_sha256: of the data that they learn from.
        parent: the finished run that is continued, if there is one.
    """

    __pydantic_config__: ClassVar[ConfigDict] = {"arbitrary_types_allowed": True}

    groups: list[_Group]
    data_sha256: str
    parent: str | None


_SAVED = TypeAdapter(_Saved)  # to plain data and tensors, and back


def _save(
    problem: Problem, context: Context, groups: Sequence[_Group], parent: str | None
) -> float:
    """Save how far the groups are; returns the time of the monotonic clock for doing it again."""
    begun = time.monotonic()
    saved = _Saved(list(groups), problem.dataset.sha256, parent)
    context.state.save(_SAVED.dump_python(saved))
    # A long history takes long to save: never more than a twentieth of the time.
    return begun + max(_SAVE_EVERY_SECONDS, 20 * (time.monotonic() - begun))


def _begun_groups(
    problem: Problem, config: Config, context: Context
) -> tuple[list[_Group], str | None]:
    """The groups of the run that is resumed or continued, or fresh ones; and the run continued."""
    if (saved := context.state.load(partial(_read, problem, config))) is not None:
        return saved.groups, saved.parent
    groups = [
        _Group(seeds)
        for seeds in problem.groups(config.seeds, context.workers, len(config.ema_gamma))
    ]
    if context.parent is None:
        return groups, None
    parent = context.parent
    return [_continued(problem, group, parent) for group in groups], str(parent.folder.resolve())


def _read(problem: Problem, config: Config, content: object) -> _Saved:
    """What was saved of this very run.

    Raises:
        ValueError: it is something else.
        UserError: it was begun on other data.
    """
    saved = _SAVED.validate_python(content)
    problem.require_same_data(saved.data_sha256)
    if sorted(seed for group in saved.groups for seed in group.seeds) != list(config.seeds):
        raise ValueError("other seeds")
    for group in saved.groups:
        if not -1 <= group.epoch <= config.epochs or set(group.history) != set(
            range(group.epoch + 1)
        ):
            raise ValueError("other epochs")
        kinds = (None, *config.ema_gamma)
        for epoch, rows in group.history.items():
            wanted = set(product(group.seeds, [epoch], kinds))
            found = {(row.seed, row.epoch, row.gamma) for row in rows}
            if found != wanted or len(rows) != len(wanted):
                raise ValueError("other rows")
        judged = [entry.seed for entry in group.outcomes.values()]
        if group.epoch == config.epochs and sorted(judged) != sorted(group.seeds):
            raise ValueError("other outcomes")
        if group.epoch >= 0:
            _require_states(problem, config, group)
    return saved


def _require_states(problem: Problem, config: Config, group: _Group) -> None:
    """Require the weights of a group to be those of its models.

    Raises:
        ValueError: they are not.
    """
    models = [model for state in group.states() for model in state.models]
    if sorted(models) != list(range(len(group.seeds))) or group.state is None:
        raise ValueError("other models")
    size = sum(map(math.prod, problem.network.shapes))
    for state in group.states():
        if set(state.averages) != set(config.ema_gamma):
            raise ValueError("other averages")
        if set(state.optimizer) != set(problem.rule.buffers):
            raise ValueError("another optimizer")
        for flat in (state.raw, *state.averages.values(), *state.optimizer.values()):
            if flat.shape != (len(state.models) * size,) or flat.dtype != problem.dtype:
                raise ValueError("weights of another network")


def _continued(problem: Problem, group: _Group, parent: Parent) -> _Group:
    """A group at the end of a finished run."""
    results = parent.results
    assert isinstance(results, Results)
    checkpoint = read(parent.folder / "checkpoint.pt")

    def flat(state: State, seeds: Sequence[int]) -> torch.Tensor:
        return checkpoint.flat(state, problem.network, seeds)

    def of(models: Sequence[int]) -> EnsembleState:
        seeds = [group.seeds[model] for model in models]
        return EnsembleState(
            tuple(models),
            flat(checkpoint.raw, seeds),
            {gamma: flat(state, seeds) for gamma, state in checkpoint.averages.items()},
            {name: flat(state, seeds) for name, state in checkpoint.optimizer.items()},
        )

    models = range(len(group.seeds))
    alive = [m for m in models if flat(checkpoint.raw, [group.seeds[m]]).isfinite().all()]
    history: dict[int, list[HistoryRow]] = {}
    for row in results.history:
        if row.seed in group.seeds:
            # It is measured after the last epoch alone, which is another now.
            known = row.model_copy(update={"information": None})
            history.setdefault(row.epoch, []).append(known)
    log: dict[int, list[LoggedUpdate]] = {}
    for logged in results.log or ():
        if logged.seed in group.seeds:
            log.setdefault(1 + logged.update // problem.num_updates, []).append(logged)
    return replace(
        group,
        epoch=results.final.epoch,
        state=of(alive),
        frozen={model: of([model]) for model in models if model not in alive},
        history=history,
        log=log,
    )


# ---- what a run gives


def _output(
    problem: Problem, config: Config, groups: Sequence[_Group], threads: int, parent: str | None
) -> Output:
    history = [row for group in groups for rows in group.history.values() for row in rows]
    history.sort(key=lambda row: (row.seed, row.epoch))  # stable: raw, then the averages
    log = [row for group in groups for rows in group.log.values() for row in rows]
    log.sort(key=lambda row: (row.seed, row.update))
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
        log=log if config.log_every else None,
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
        checkpoint=_checkpoint(problem, groups).plain(),
        provenance=problem.provenance
        | {"threads": threads}
        | ({"parent": parent} if parent else {})
        | computed_by("seeds", ((group.worker, group.seeds) for group in groups)),
        failed=bool(failed),
        warnings=warnings if failed else (),
        files=problem.files,
    )


def _checkpoint(problem: Problem, groups: Sequence[_Group]) -> Checkpoint:
    all_states = [(group, state) for group in groups for state in group.states() if state.models]
    seeds = [group.seeds[model] for group, state in all_states for model in state.models]
    states = [state for _, state in all_states]
    order = np.argsort(seeds).tolist()
    subsets = [problem.subset(seed) for seed in sorted(seeds)]
    nums = [len(state.models) for state in states]

    def together(flats: Sequence[torch.Tensor]) -> State:
        return stacked(problem.network, list(zip(nums, flats, strict=True)), order)

    return Checkpoint(
        seeds=torch.tensor(sorted(seeds)),
        mean=torch.from_numpy(np.stack([subset.mean for subset in subsets])),
        factor=torch.tensor([subset.factor for subset in subsets], dtype=torch.float64),
        in_shape=problem.in_shape,
        num_classes=problem.dataset.num_classes,
        raw=together([state.raw for state in states]),
        averages={
            gamma: together([state.averages[gamma] for state in states])
            for gamma in states[0].averages
        },
        optimizer={
            name: together([state.optimizer[name] for state in states])
            for name in states[0].optimizer
        },
    )
