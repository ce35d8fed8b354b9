"""Try learning rates with all seeds, until it is known well enough at which half of them fail."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field
from torch import Tensor

from midterm_cli.experiment import Context, Job, Output, Record
from midterm_cli.part3 import host
from midterm_cli.part3.ensemble import CHECKS_PER_EPOCH, Ensemble, EnsembleState
from midterm_cli.part3.lr_sweep.schema import (
    HIGHEST_LR,
    Config,
    FailureRate,
    FailureThreshold,
    Results,
    Sharpness,
    Thresholds,
    Trial,
)
from midterm_cli.part3.outcome import (
    FAILURES,
    Attempt,
    best_lr,
    constant_guess_loss,
    is_overconfident,
    judge_sweep,
    median_information,
)
from midterm_cli.part3.problem import Problem, arithmetic, computed_by
from midterm_cli.part3.search import Bracket, Rates, next_lrs
from midterm_cli.part3.sharpness import along_run, sharpness_of_run
from midterm_cli.part3.statistics import upper_limit, wilson_interval
from midterm_cli.part3.threshold import estimate_threshold, falls_again

Model = tuple[float, int]  # learning rate and seed

# Moments of a run at which its sharpness is measured: all at which the weights are checked, if
# they are fewer.
_MAX_POINTS = 40

RECOMMENDED_SHARE = 1 / 4
"""Of the threshold's estimate, for training; docs/recommended_rate.md shows how it was chosen."""

_ENOUGH = 0.95  # of the most that is learned in the sweep


class _FinishedGroup(Record):
    """Models that were trained together: a record of the journal.

    Attributes:
        num_groups: among which the learning rates were divided.
        trials: one a model, with the outcome of each by itself.
        data_sha256: of the data.
        worker: who trained them; None for this process.
    """

    num_groups: Annotated[int, Field(ge=1)]
    trials: Annotated[list[Trial], Field(min_length=1)]
    data_sha256: str
    worker: dict[str, str] | None

    @property
    def models(self) -> tuple[Model, ...]:
        """Learning rate and seed of each."""
        return tuple((trial.lr, trial.seed) for trial in self.trials)


Finished = Mapping[tuple[Model, ...], _FinishedGroup]


def run(config: Config, context: Context) -> Output:
    """Try learning rates until the one at which half of the seeds fail is known well enough.

    Raises:
        UserError: the data is missing or damaged, or not that of the sweep that is resumed.
    """
    problem = Problem(config, context)
    finished = _read_journal(problem, context)
    done: list[_FinishedGroup] = []
    trials: list[Trial] = []
    threads = 1
    while lrs := _next_lrs(trials, config):
        text = "learning rate " + ", ".join(f"{lr:.3g}" for lr in lrs)
        groups = _groups(problem, config, context, lrs, finished)
        cores = len(groups) if context.remote else context.workers
        with arithmetic(problem.threads(len(groups), cores)) as of_each:
            threads = max(threads, of_each * min(len(groups), context.workers))
            for group in _run_groups(problem, config, context, groups, finished):
                done.append(group)
                trials += group.trials
                context.progress(len(trials), _expected_trials(trials, config), text)
    # What a constant guess scores, for the figure; nearly the same for every seed.
    guess = constant_guess_loss(problem.class_counts(config.seed))
    with arithmetic(problem.threads(1, context.workers)):
        results = results_of(trials, config, guess)
        if config.sharpness and results.recommended_lr is not None:
            sharpness = _sharpness(problem, config, results.recommended_lr)
            results = results.model_copy(update={"sharpness": sharpness})
    shares = ((group.worker, group.models) for group in done)
    return Output(
        results,
        provenance=problem.provenance | {"threads": threads} | computed_by("trials", shares),
        failed=not results.bracketed,
        warnings=_warnings(results, config),
        files=problem.files,
    )


def _next_lrs(trials: Sequence[Trial], config: Config) -> list[float]:
    if config.rates:
        return [] if trials else sorted(config.rates)
    trials, _ = judged(trials, config.degraded_share)
    attempts = [trial.attempt for trial in trials]
    learned = median_information(attempts, [trial.information for trial in trials])
    return next_lrs(attempts, learned, config.start_lr, config.tolerance, config.max_rates)


def _expected_trials(trials: Sequence[Trial], config: Config) -> int:
    """Trials in all, if training fails at the next learning rate that is not known to be stable."""
    if config.rates:
        return len(config.rates) * config.num_seeds
    num_lrs = len({trial.lr for trial in trials})
    missing = len(_next_lrs(trials, config))
    if not _is_bracketed(_bracket(judged(trials, config.degraded_share)[0], config), config):
        missing += math.ceil(math.log2(math.log(2) / math.log1p(config.tolerance)))
    return max(len(trials), (num_lrs + missing) * config.num_seeds)


# ---- groups of models


def _read_journal(problem: Problem, context: Context) -> Finished:
    """The groups that a sweep that is resumed has finished."""
    groups = context.journal.records(_FinishedGroup.model_validate)
    for group in groups:
        problem.require_same_data(group.data_sha256)
    return {group.models: group for group in groups}


def _groups(
    problem: Problem, config: Config, context: Context, lrs: Sequence[float], finished: Finished
) -> list[tuple[Model, ...]]:
    """Learning rates with all seeds, divided into groups.

    Those that were begun continue in the same groups, however many workers there are by now: the
    last bits of a model may depend on its group.
    """
    models = [(lr, seed) for lr in lrs for seed in config.seeds]
    new = set(models)
    begun = (group.num_groups for group in finished.values() if group.models[0] in new)
    return problem.groups(models, next(begun, context.workers))


def _run_groups(
    problem: Problem,
    config: Config,
    context: Context,
    groups: Sequence[tuple[Model, ...]],
    finished: Finished,
) -> Iterator[_FinishedGroup]:
    """Run groups; yields each when it is finished, those of the journal at once."""
    yield from (finished[group] for group in groups if group in finished)
    missing = [group for group in groups if group not in finished]
    jobs = [Job(_group_name(group), _run_group, problem, (config, group)) for group in missing]
    for _, trials, worker in context.launch(jobs):
        if trials is not None:
            group = _FinishedGroup(
                num_groups=len(groups),
                trials=trials,
                data_sha256=problem.dataset.sha256,
                worker=worker and dict(worker),
            )
            context.journal.append(group.model_dump(mode="json"))
            yield group


def _group_name(models: Sequence[Model]) -> str:
    lrs = ", ".join(f"{lr:.3g}" for lr in sorted({lr for lr, _ in models}))
    seeds = ", ".join(str(seed) for seed in sorted({seed for _, seed in models}))
    return f"learning rate {lrs}, seeds {seeds}"


def _run_group(
    problem: Problem, config: Config, models: Sequence[Model]
) -> Iterator[list[Trial] | None]:
    """Train fresh models; yields None while at work, in the end a trial for each model."""
    seeds = [seed for _, seed in models]
    ensemble = problem.ensemble(seeds, [lr for lr, _ in models])
    before = _first_layers(ensemble) if problem.looks_for_the_dead else None
    for epoch in range(1, config.epochs + 1):
        for done in ensemble.train(epoch):
            yield None
            if before is not None and done % ensemble.check_every == 0:
                ensemble.freeze(_dead(problem, ensemble, before))
                before = _first_layers(ensemble)
    trials: dict[int, Trial] = {}
    for state in (ensemble.state, *ensemble.frozen.values()):
        trials |= _trials(problem, state, models)
    yield [trials[model] for model in range(len(models))]


def _trials(problem: Problem, state: EnsembleState, models: Sequence[Model]) -> dict[int, Trial]:
    """A trial for each model of a state, with its outcome by itself."""
    seeds = [seed for _, seed in models]
    evaluations = problem.evaluate(state, seeds, ("train",), information_on=("train",))
    found = {model: of_model[None]["train"] for model, of_model in evaluations.items()}
    trials = {}
    for model, outcome in problem.outcomes(state, seeds, found).items():
        train, (lr, seed) = found[model], models[model]
        known = None if outcome == "non_finite" else train.information
        trials[model] = Trial(
            lr=lr,
            seed=seed,
            outcome=outcome,
            train_loss=train.loss,
            train_accuracy=train.accuracy,
            information=known.value if known else None,
            information_error=known.standard_error if known else None,
            overconfident=outcome == "trained" and is_overconfident(train.loss, known),
        )
    return trials


def _first_layers(ensemble: Ensemble) -> tuple[tuple[int, ...], Tensor]:
    """The models in training, and the weights of their first layers, copied."""
    return ensemble.models, ensemble.parameters()[0].clone()


def _dead(
    problem: Problem, ensemble: Ensemble, before: tuple[tuple[int, ...], Tensor]
) -> list[int]:
    """Positions of the models that are certain to have collapsed, long before the run's end.

    A first layer that has not moved at all since the last check is the cheap sign; the proof is a
    layer that is zero for every example of the model's training subset.
    """
    layers = ensemble.parameters()
    models, earlier = before
    still_there = [models.index(model) for model in ensemble.models]
    is_still = host.read((layers[0] == earlier[still_there]).flatten(1).all(1))
    return [
        position
        for position, model in enumerate(ensemble.models)
        if is_still[position]
        and problem.has_dead_layer(ensemble.seeds[model], [layer[position] for layer in layers])
    ]


def _sharpness(problem: Problem, config: Config, lr: float) -> Sharpness:
    """Sharpness of the first seed along a run."""
    num_points = min(CHECKS_PER_EPOCH * config.epochs, _MAX_POINTS)
    points = along_run(problem, lr, config.seed, config.epochs, num_points)
    return sharpness_of_run(lr, config.seed, points)


# ---- what the trials say


def judged(trials: Sequence[Trial], degraded_share: float) -> tuple[list[Trial], float | None]:
    """Trials by learning rate and seed, with their outcomes in the sweep, and its best rate.

    Args:
        trials: with the outcome of each by itself.
        degraded_share: of the information that the best learning rate gains.
    """
    trials = sorted(trials, key=lambda trial: (trial.lr, trial.seed))
    attempts, known = [trial.attempt for trial in trials], [trial.information for trial in trials]
    outcomes = judge_sweep(attempts, known, degraded_share) if trials else []
    best = best_lr(attempts, known) if trials else None
    return [
        trial.model_copy(
            update={
                "outcome": outcome,
                "overconfident": trial.overconfident and outcome == "trained",
            }
        )
        for trial, outcome in zip(trials, outcomes, strict=True)
    ], best and best[0]


def results_of(trials: Sequence[Trial], config: Config, guess: float) -> Results:
    """What the trials of a sweep say, all but the sharpness.

    Args:
        trials: with the outcome of each by itself.
        config: of the sweep.
        guess: loss of a constant guess, in nats.
    """
    trials, best = judged(trials, config.degraded_share)
    attempts = [trial.attempt for trial in trials]
    bracket = _bracket(trials, config)
    thresholds = _thresholds(attempts)
    rates = [_failure_rate(lr, trials) for lr in sorted({trial.lr for trial in trials})]
    reliable = _reliable(rates, config.max_failure_share)
    learned = median_information(attempts, [trial.information for trial in trials])
    # What the usual rule, which knows only NaN, calls the first divergent learning rate.
    nan_rule = Rates(attempts, FAILURES[:1]).bracket(_start(config)).first_divergent
    return Results(
        trials=trials,
        rates=rates,
        last_stable_lr=bracket.last_stable,
        first_divergent_lr=bracket.first_divergent,
        threshold_lr=thresholds.degraded,
        recommended_lr=_recommended(
            thresholds.degraded,
            reliable if _can_tell_reliable(rates, config) else bracket.last_stable,
            best,
            {lr: value for lr, value in learned.items() if lr in Rates(attempts).where("work")},
        ),
        thresholds=thresholds,
        reliable_lr=reliable,
        best_lr=best,
        falls_again=falls_again(attempts),
        bracketed=_is_bracketed(bracket, config),
        non_monotone_seeds=_non_monotone_seeds(attempts),
        nan_rule_divergent_lr=nan_rule,
        constant_guess_loss=guess,
    )


def _recommended(
    threshold: FailureThreshold | None,
    highest: float | None,
    best: float | None,
    learned: Mapping[float, float],
) -> float | None:
    """A share of the threshold, between the lowest at which training works and the reliable ones.

    None if none is reliable, or if it is above the best learning rate and clearly less is learned
    there: where training fails then says nothing about a good one.

    Args:
        threshold: of the sweep.
        highest: that is reliable, or the last stable one where the seeds are too few to tell.
        best: learning rate of the sweep.
        learned: at each learning rate at which training works, in nats.
    """
    if threshold is None or highest is None or best is None:
        return None
    lr = min(max(RECOMMENDED_SHARE * threshold.estimate, min(learned)), highest)
    there = np.interp(math.log(lr), np.log(list(learned)), list(learned.values()))
    return lr if lr <= best or there >= _ENOUGH * max(learned.values()) else None


def _can_tell_reliable(rates: Sequence[FailureRate], config: Config) -> bool:
    """Whether there are seeds enough for a learning rate at which none fails to be reliable."""
    return upper_limit(0, rates[0].total) < config.max_failure_share


def _is_bracketed(bracket: Bracket, config: Config) -> bool:
    """Whether both ends were found, and are neighbours on the doubling grid."""
    if bracket.last_stable is None or bracket.first_divergent is None:
        return False
    return bool(config.rates) or bracket.first_divergent < 2.01 * bracket.last_stable


def _start(config: Config) -> float | None:
    """Where the doubling began; None for learning rates that were given."""
    return None if config.rates else config.start_lr


def _bracket(trials: Sequence[Trial], config: Config) -> Bracket:
    return Rates([trial.attempt for trial in trials]).bracket(_start(config))


def _thresholds(attempts: Sequence[Attempt]) -> Thresholds:
    """By each definition of failure, from the learning rates at which something is learned."""
    # Learning rates that are too low say nothing about the upper end.
    lowest = min(Rates(attempts).where("work"), default=math.inf)
    tried = [attempt for attempt in attempts if attempt.lr >= lowest]
    non_finite, collapsed, degraded = (
        estimate_threshold(tried, FAILURES[:num]) for num in (1, 2, 3)
    )
    return Thresholds(non_finite=non_finite, collapsed=collapsed, degraded=degraded)


def _failure_rate(lr: float, trials: Sequence[Trial]) -> FailureRate:
    outcomes = [trial.outcome for trial in trials if trial.lr == lr]
    failed = sum(outcome in FAILURES for outcome in outcomes)
    low, high = wilson_interval(failed, len(outcomes))
    return FailureRate(
        lr=lr,
        failed=failed,
        total=len(outcomes),
        low=low,
        high=high,
        upper_limit=upper_limit(failed, len(outcomes)),
        collapsed=outcomes.count("collapsed"),
        non_finite=outcomes.count("non_finite"),
        degraded=outcomes.count("degraded"),
        untrained=outcomes.count("untrained"),
    )


def _reliable(rates: Sequence[FailureRate], max_share: float) -> float | None:
    """The highest of the reliable learning rates, going up from where training begins to work.

    Each is tested only if the one below it passed, so that no correction for many is needed.
    """
    reliable = None
    for rate in rates:
        if 2 * rate.untrained >= rate.total and reliable is None:
            continue  # too low to learn anything
        if rate.upper_limit is None or rate.upper_limit >= max_share:
            break
        reliable = rate.lr
    return reliable


def _non_monotone_seeds(attempts: Sequence[Attempt]) -> list[int]:
    """Seeds that train at a learning rate above one at which they fail."""
    has_failed, flagged = set[int](), set[int]()
    for attempt in sorted(attempts):
        if attempt.outcome in FAILURES:
            has_failed.add(attempt.seed)
        elif attempt.outcome == "trained" and attempt.seed in has_failed:
            flagged.add(attempt.seed)
    return sorted(flagged)


def _warnings(results: Results, config: Config) -> list[str]:
    warnings = []
    if results.falls_again:
        low, high = results.falls_again
        warnings.append(
            f"the share of failures falls again between {low:.3g} and {high:.3g}: there is no "
            "single threshold"
        )
    if not results.bracketed:
        warnings.append(f"no bracket: {_why_not_bracketed(results)}{_remedy(results, config)}")
    elif results.threshold_lr is None:
        warnings.append(
            "no threshold: the share of failures, made monotone, does not rise through one half"
        )
    elif results.reliable_lr is None and _can_tell_reliable(results.rates, config):
        warnings.append("no learning rate is recommended: none is reliable")
    elif results.recommended_lr is None:
        warnings.append(
            f"no learning rate is recommended: half of the seeds fail at "
            f"{results.threshold_lr.estimate:.3g}, but far below that clearly less is learned than "
            "at the best: failure says nothing about a good one"
        )
    if results.sharpness is not None and (config.optimizer, config.momentum) != ("sgd", 0):
        warnings.append(
            "2/λ is the bound of plain gradient descent, not of this optimiser: momentum and "
            "adaptive rates change it"
        )
    if config.sharpness and results.recommended_lr is None:
        warnings.append("the sharpness was not measured, since no learning rate is recommended")
    return warnings


def _why_not_bracketed(results: Results) -> str:
    lrs = [rate.lr for rate in results.rates]
    rates = Rates([trial.attempt for trial in results.trials])
    span = f"from {lrs[0]:.3g} to {lrs[-1]:.3g}" if len(lrs) > 1 else f"{lrs[0]:.3g}"
    if results.last_stable_lr is not None and results.first_divergent_lr is not None:
        return (
            f"between {results.last_stable_lr:.3g}, where training works, and "
            f"{results.first_divergent_lr:.3g}, where it fails, not all doubled learning rates "
            "were tried"
        )
    if results.last_stable_lr is not None:
        return f"no learning rate up to {lrs[-1]:.3g} is high enough to fail"
    if not rates.where("fail"):
        return f"nothing is learned at any learning rate {span}"
    if not rates.where("learn nothing"):
        return f"training fails at every learning rate {span}"
    return f"training works at no learning rate {span}"


def _remedy(results: Results, config: Config) -> str:
    """What may help, as far as anything does."""
    if config.rates:
        return ""
    if len(results.rates) >= config.max_rates:
        return f": choose another start_lr, or raise max_rates (now {config.max_rates})"
    lrs = [rate.lr for rate in results.rates]
    if results.last_stable_lr is not None and 2 * lrs[-1] > HIGHEST_LR:
        return f": learning rates end at {HIGHEST_LR:g}"
    return ": more epochs, other data or another network may help"
