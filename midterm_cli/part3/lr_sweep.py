"""Part 3 B: the learning rate at which training fails, as a probability over seeds."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field
from torch import Tensor

from midterm_cli import source
from midterm_cli.experiment import Context, Job, Output, Table
from midterm_cli.part3.evaluate import Measured
from midterm_cli.part3.outcome import classify, constant_guess_loss
from midterm_cli.part3.problem import Problem, ProblemConfig, SetName, arithmetic, computed_by
from midterm_cli.part3.search import (
    HIGHEST_RATE,
    LOWEST_RATE,
    failure_shares,
    find_bracket,
    next_rates,
)
from midterm_cli.part3.sgd import CHECKS_PER_PASS, Ensemble
from midterm_cli.part3.sharpness import along_run, extremes
from midterm_cli.part3.statistics import wilson_interval
from midterm_cli.part3.threshold import Trial, estimate_threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]
Record = dict[str, Any]
Member = tuple[float, int]  # learning rate and seed

# Moments of a run at which its sharpness is measured: all those at which it stops, if it is short.
_MAX_POINTS = 40


class Config(ProblemConfig):
    """Keys of `midterm lr-sweep`."""

    start_lr: float = Field(
        ge=LOWEST_RATE, le=HIGHEST_RATE, description="where doubling, or halving, begins"
    )
    tolerance: float = Field(
        ge=1e-3, le=1, description="narrow the gap until its ends differ by at most this share"
    )
    max_rates: int = Field(ge=2, le=1000, description="rates in all, each with num_seeds runs")
    epochs: int = Field(ge=1, le=100_000, description="passes of a run")
    sharpness: bool = Field(
        description="measure the largest Hessian eigenvalue along a run at the recommended rate"
    )


def run(config: Config, context: Context) -> Output:
    """Try rates until the one at which half of the seeds fail is known well enough.

    Raises:
        UserError: the data is missing or damaged.
    """
    problem = Problem(config, context)
    finished = _finished_groups(problem, config, context)
    records: list[Record] = []
    rows: list[Row] = []
    threads = 1
    while lrs := _next_rates(rows, config):
        text = "learning rate " + ", ".join(f"{lr:.3g}" for lr in lrs)
        groups = _groups(problem, config, context, lrs, finished)
        cores = len(groups) if context.remote else context.workers
        with arithmetic(problem.threads(len(groups), cores)) as of_each:
            threads = max(threads, of_each * min(len(groups), context.workers))
            for record in _run_groups(problem, config, context, groups, finished):
                records.append(record)
                rows += record["trials"]
                context.progress(len(rows), _expected_runs(rows, config), text)
    rows.sort(key=lambda row: (row["lr"], row["seed"]))
    with arithmetic(problem.threads(1, context.workers)):
        results = _results(rows, config) | {
            # What a constant guess scores, for the figure; nearly the same for every seed.
            "constant_guess_loss": constant_guess_loss(problem.class_counts(config.seed)),
        }
        results["sharpness"] = _sharpness(problem, config, results["recommended_lr"])
    shares = ((record["worker"], _members(record)) for record in records)
    return Output(
        results,
        provenance=problem.provenance | {"threads": threads} | computed_by("trials", shares),
        failed=not results["bracketed"],
        warnings=_warnings(results, config),
    )


def _finished_groups(
    problem: Problem, config: Config, context: Context
) -> dict[tuple[Member, ...], Record]:
    """The groups in the journal that this code and config made."""
    finished = {}
    for record in context.journal.records():
        problem.require_same_data(record["data_sha256"])
        group = tuple(_members(record))
        if record.get("key") == _key(config, group):
            finished[group] = record
    return finished


def _members(record: Record) -> list[Member]:
    return [(row["lr"], row["seed"]) for row in record["trials"]]


def _key(config: Config, group: Sequence[Member]) -> str:
    """What the rows of a group depend on, besides the data."""
    parts = [source.loaded(), config.model_dump(mode="json"), group]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _trials(rows: Sequence[Row]) -> list[Trial]:
    return [Trial(row["lr"], row["seed"], row["outcome"] != "trained") for row in rows]


def _next_rates(rows: Sequence[Row], config: Config) -> list[float]:
    return next_rates(_trials(rows), config.start_lr, config.tolerance, config.max_rates)


def _expected_runs(rows: Sequence[Row], config: Config) -> int:
    """Runs in all, if training fails at the next rate that is not known to train."""
    num_rates = len({row["lr"] for row in rows})
    missing = len(_next_rates(rows, config))
    if not find_bracket(_trials(rows), config.start_lr).closed:
        missing += math.ceil(math.log2(math.log(2) / math.log1p(config.tolerance)))
    return max(len(rows), (num_rates + missing) * config.num_seeds)


def _groups(
    problem: Problem,
    config: Config,
    context: Context,
    lrs: Sequence[float],
    finished: Mapping[tuple[Member, ...], Record],
) -> list[tuple[Member, ...]]:
    """Rates with all seeds, shared out.

    Rates that were begun go on in the same groups, however many workers there are by now: the last
    bits of a member may depend on its group.
    """
    members = [(lr, seed) for lr in lrs for seed in config.seeds]
    new = set(members)
    begun = (record["num_groups"] for group, record in finished.items() if group[0] in new)
    return problem.groups(members, next(begun, context.workers))


def _run_groups(
    problem: Problem,
    config: Config,
    context: Context,
    groups: Sequence[tuple[Member, ...]],
    finished: Mapping[tuple[Member, ...], Record],
) -> Iterator[Record]:
    """Run groups; yields each as it is finished, those of the journal at once."""
    yield from (finished[group] for group in groups if group in finished)
    missing = [group for group in groups if group not in finished]
    jobs = [Job(_group_name(group), _run_group, problem, (config, group)) for group in missing]
    for index, event, worker in context.launch(jobs):
        if event is not None:
            record = {
                "key": _key(config, missing[index]),
                "num_groups": len(groups),
                "trials": event,
                "data_sha256": problem.dataset.sha256,
                "worker": worker,
            }
            context.journal.append(record)
            yield record


def _group_name(members: Sequence[Member]) -> str:
    lrs = ", ".join(f"{lr:.3g}" for lr in sorted({lr for lr, _ in members}))
    seeds = ", ".join(str(seed) for seed in sorted({seed for _, seed in members}))
    return f"learning rate {lrs}, seeds {seeds}"


def _run_group(
    problem: Problem, config: Config, members: Sequence[Member]
) -> Iterator[list[Row] | None]:
    """Fresh networks, one a member; yields None while at work, in the end their rows."""
    seeds = [seed for _, seed in members]
    ensemble = problem.ensemble(seeds, [lr for lr, _ in members])
    before = _first_layers(ensemble)
    for epoch in range(1, config.epochs + 1):
        for done in ensemble.train(epoch):
            yield None
            if done % ensemble.check_every == 0 and config.activation == "relu":
                ensemble.freeze(_dead(problem, ensemble, before))
                before = _first_layers(ensemble)
    measured: dict[int, list[dict[SetName, Measured]]] = {}
    for snapshot in (ensemble.snapshot(), *ensemble.frozen.values()):
        measured |= problem.measure(snapshot, seeds, ("train",))
    rows = []
    for position, (lr, seed) in enumerate(members):
        train = measured[position][0]["train"]
        rows.append(
            {
                "lr": lr,
                "seed": seed,
                "outcome": classify(train.loss, train.predicted, problem.class_counts(seed)),
                "train_loss": train.loss,
                "train_accuracy": train.accuracy,
            }
        )
    yield rows


def _first_layers(ensemble: Ensemble) -> tuple[tuple[int, ...], Tensor]:
    """The members in training, and the weights of their first layers, copied."""
    return ensemble.members, ensemble.layers()[0].clone()


def _dead(
    problem: Problem, ensemble: Ensemble, before: tuple[tuple[int, ...], Tensor]
) -> list[int]:
    """Positions of the members that are certain to have collapsed, long before the run's end.

    A first layer that has not moved at all since the last check is the cheap sign; the proof is a
    layer that is zero for every example of the member's training subset.
    """
    layers = ensemble.layers()
    members, earlier = before
    still_there = [members.index(member) for member in ensemble.members]
    # One question for all: each stops the queue of work of a GPU.
    is_still = (layers[0] == earlier[still_there]).flatten(1).all(1).tolist()
    return [
        position
        for position, member in enumerate(ensemble.members)
        if is_still[position]
        and problem.has_dead_layer(ensemble.seeds[member], [layer[position] for layer in layers])
    ]


def _sharpness(problem: Problem, config: Config, lr: float | None) -> Row | None:
    """Sharpness of the first seed along a run at a rate that trains; None where not asked for."""
    if not config.sharpness or lr is None:
        return None
    num_points = min(CHECKS_PER_PASS * config.epochs, _MAX_POINTS)
    points = along_run(problem, lr, config.seed, config.epochs, num_points)
    return {"lr": lr, "seed": config.seed, "points": points} | extremes(points)


def _results(rows: Sequence[Row], config: Config) -> dict[str, Any]:
    trials = _trials(rows)
    bracket = find_bracket(trials, config.start_lr)
    threshold = None
    if bracket.closed:
        # Rates that are too low to learn in so few passes say nothing about the upper end.
        lowest = min(lr for lr, share in failure_shares(trials).items() if share < 0.5)
        threshold = estimate_threshold([trial for trial in trials if trial.lr >= lowest])
    return {
        "trials": list(rows),
        "rates": [_rate(lr, rows) for lr in sorted({row["lr"] for row in rows})],
        "last_stable_lr": bracket.last_stable,
        "first_divergent_lr": bracket.first_divergent,
        "threshold_lr": threshold and threshold._asdict(),
        # Half the last rate that trains, as published; nothing to halve if none was seen to fail.
        "recommended_lr": bracket.last_stable / 2
        if bracket.last_stable and bracket.closed
        else None,
        "bracketed": bracket.closed,
        "non_monotone_seeds": _non_monotone_seeds(trials),
        "nan_rule_divergent_lr": _nan_rule(rows, config),
    }


def _rate(lr: float, rows: Sequence[Row]) -> Row:
    """How often a rate fails, with the Wilson interval, and in which ways."""
    outcomes = [row["outcome"] for row in rows if row["lr"] == lr]
    failed = sum(outcome != "trained" for outcome in outcomes)
    interval = wilson_interval(failed, len(outcomes))
    return {
        "lr": lr,
        "failed": failed,
        "total": len(outcomes),
        "low": interval.low,
        "high": interval.high,
        "collapsed": outcomes.count("collapsed"),
        "non_finite": outcomes.count("non_finite"),
    }


def _non_monotone_seeds(trials: Sequence[Trial]) -> list[int]:
    """Seeds that train at a rate above one at which they fail."""
    lowest_failure: dict[int, float] = {}
    flagged = set()
    for trial in sorted(trials):
        if trial.failed:
            lowest_failure.setdefault(trial.seed, trial.lr)
        elif trial.seed in lowest_failure:
            flagged.add(trial.seed)
    return sorted(flagged)


def _nan_rule(rows: Sequence[Row], config: Config) -> float | None:
    """What the usual rule, which knows only NaN, calls the first divergent rate."""
    nan_only = [Trial(r["lr"], r["seed"], r["outcome"] == "non_finite") for r in rows]
    return find_bracket(nan_only, config.start_lr).first_divergent


def _warnings(results: Mapping[str, Any], config: Config) -> list[str]:
    if results["bracketed"]:
        return []
    rates = [rate["lr"] for rate in results["rates"]]
    if results["last_stable_lr"] is None:
        found = f"training fails at every rate from {rates[0]:.3g} to {rates[-1]:.3g}"
    else:
        found = f"no rate up to {rates[-1]:.3g} is high enough to fail"
    remedy = f"choose another start_lr, or raise max_rates (now {config.max_rates})"
    return [f"no bracket: {found}: {remedy}"]


# What a person sees -----------------------------------------------------------------------------


def summarize(results: Mapping[str, Any]) -> list[Table | str]:
    """How often each rate fails, and the rates that follow from it."""
    rows = [
        [
            f"{rate['lr']:.3g}",
            f"{rate['failed']} of {rate['total']}",
            f"[{rate['low']:.2f}, {rate['high']:.2f}]",
            str(rate["collapsed"]),
            str(rate["non_finite"]),
            _median_loss(results, rate["lr"]),
        ]
        for rate in results["rates"]
    ]
    columns = ("learning rate", "failed", "95 % interval", "collapsed", "not finite", "median loss")
    lines: list[Table | str] = [Table("How often training fails", columns, rows)]
    if results["bracketed"]:
        threshold = results["threshold_lr"]
        lines.append(
            f"Last stable {results['last_stable_lr']:.3g}, first divergent "
            f"{results['first_divergent_lr']:.3g}; half of the seeds fail at "
            f"{threshold['estimate']:.3g} [{threshold['low']:.3g}, {threshold['high']:.3g}]."
        )
        lines.append(f"Recommended for training: {results['recommended_lr']:.3g}.")
    # Absent from runs that were made before it could be asked for.
    if sharpness := results.get("sharpness"):
        lines.append(
            f"2/λ, λ the largest Hessian eigenvalue of seed {sharpness['seed']} at the recommended "
            f"rate: {_rate_text(sharpness['two_over_start'])} at the start, "
            f"{_rate_text(sharpness['two_over_max'])} at the largest λ after it."
        )
    if results["nan_rule_divergent_lr"] is None and results["first_divergent_lr"] is not None:
        lines.append("A rule that looks for NaN alone finds no divergent rate in these trials.")
    if results["non_monotone_seeds"]:
        seeds = ", ".join(map(str, results["non_monotone_seeds"]))
        lines.append(f"Seeds that train above a rate at which they fail: {seeds}.")
    return lines


def _rate_text(lr: float | None) -> str:
    return "none" if lr is None else f"{lr:.3g}"


def _losses(results: Mapping[str, Any], lr: float) -> list[float]:
    """Final train losses at a rate; infinite where not finite, so that they sort last."""
    rows = [row for row in results["trials"] if row["lr"] == lr]
    return [math.inf if row["train_loss"] is None else row["train_loss"] for row in rows]


def _median_loss(results: Mapping[str, Any], lr: float) -> str:
    median = _quartiles(_losses(results, lr))[1]
    return "not finite" if math.isnan(median) else f"{median:.3f}"


def draw(config: Config, results: Mapping[str, Any]) -> dict[str, Figure]:
    """Final loss against the rate above, the share of failures with its interval below."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, NullLocator

    figure = Figure(figsize=(9, 8), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _draw_losses(upper, results)
    _draw_failures(lower, results)
    for axis in (upper, lower):
        _draw_rates(axis, results)
        axis.grid(alpha=0.3)
    rates = {rate["lr"] for rate in results["rates"]} | {results["recommended_lr"]} - {None}
    lower.set_xscale("log")
    lower.set_xticks(sorted(rates), [f"{lr:.3g}" for lr in sorted(rates)], rotation=45, ha="right")
    lower.xaxis.set_minor_locator(NullLocator())
    lower.xaxis.set_minor_formatter(NullFormatter())
    lower.set_xlabel("learning rate")
    passes = "one pass" if config.epochs == 1 else f"{config.epochs} passes"
    figure.suptitle(
        f"Where training fails: {config.dataset}, {config.activation}, {passes}, "
        f"{config.num_seeds} seeds a rate",
        parse_math=False,  # a $ in the name of a folder is a $
    )
    handles, labels = upper.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small")
    return {"lr_sweep": figure}


# Shape and lightness both tell the outcomes apart.
_MARKERS = {
    "trained": ("o", "#0072B2", "trained"),
    "collapsed": ("X", "#D55E00", "collapsed"),
    "non_finite": ("^", "#000000", "not finite (drawn at the top)"),
}


def _draw_losses(axis: Axes, results: Mapping[str, Any]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    finite = [row["train_loss"] for row in results["trials"] if row["train_loss"] is not None]
    guess = results["constant_guess_loss"]
    top = 2 * max([guess, *finite])
    seeds = sorted({row["seed"] for row in results["trials"]})
    for outcome, (marker, colour, label) in _MARKERS.items():
        rows = [row for row in results["trials"] if row["outcome"] == outcome]
        if not rows:
            continue
        # A seed stands at the same small offset at every rate, so that dots do not hide dots.
        shifts = [
            1.04 ** (2 * seeds.index(row["seed"]) / max(1, len(seeds) - 1) - 1) for row in rows
        ]
        axis.scatter(
            [row["lr"] * shift for row, shift in zip(rows, shifts, strict=True)],
            [top if row["train_loss"] is None else row["train_loss"] for row in rows],
            marker=marker,
            s=28,
            color=colour,
            alpha=0.6,
            linewidths=0,
            label=f"one seed, {label}",
        )
    rates = [rate["lr"] for rate in results["rates"]]
    quartiles = np.array([_quartiles(_losses(results, lr)) for lr in rates])
    axis.plot(rates, quartiles[:, 1], color="#444444", label="median")
    axis.fill_between(
        rates,
        quartiles[:, 0],
        quartiles[:, 2],
        color="#444444",
        alpha=0.15,
        lw=0,
        label="quartiles",
    )
    axis.axhline(guess, color="#444444", ls=":", label=f"constant guess ({guess:.3f})")
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_ylabel("train loss at the end,\nor when found dead (nats)")


def _quartiles(losses: Sequence[float]) -> list[float]:
    """Quartiles, the median the usual one; NaN, a gap in the figure, where not finite.

    Each is the loss that a share of the seeds does not exceed; the mean of two where two divide
    the seeds so.
    """
    ranked = sorted(losses)
    quartiles = []
    for share in (0.25, 0.5, 0.75):
        rank = share * len(ranked)
        quartile = ranked[math.ceil(rank) - 1] / 2 + ranked[math.floor(rank)] / 2
        quartiles.append(quartile if math.isfinite(quartile) else math.nan)
    return quartiles


def _draw_failures(axis: Axes, results: Mapping[str, Any]) -> None:
    rates = results["rates"]
    lrs = [rate["lr"] for rate in rates]
    shares = np.array([rate["failed"] / rate["total"] for rate in rates])
    ends = np.array([[rate["low"], rate["high"]] for rate in rates]).T
    axis.errorbar(
        lrs,
        shares,
        yerr=np.abs(ends - shares),
        fmt="s",
        color="#444444",
        capsize=4,
    )
    axis.axhline(0.5, color="#444444", lw=0.8, ls=":")
    axis.set_ylim(-0.05, 1.05)
    axis.set_ylabel("share of seeds that fail\n(95 % interval)")


def _draw_rates(axis: Axes, results: Mapping[str, Any]) -> None:
    """The bracket, the threshold with its interval, and the recommendation."""
    if not results["bracketed"]:
        return
    threshold = results["threshold_lr"]
    axis.axvspan(
        results["last_stable_lr"],
        results["first_divergent_lr"],
        color="#e8e8e8",
        lw=0,
        zorder=0,
        label="last stable to first divergent",
    )
    axis.axvspan(threshold["low"], threshold["high"], color="#D55E00", alpha=0.25, lw=0)
    axis.axvline(
        threshold["estimate"], color="#D55E00", label="half of the seeds fail (95 % interval)"
    )
    axis.axvline(results["recommended_lr"], color="#009E73", ls="--", lw=2, label="recommended")
    _draw_sharpness(axis, results)


def _draw_sharpness(axis: Axes, results: Mapping[str, Any]) -> None:
    """2/λ beside the threshold, where λ was measured."""
    sharpness = results.get("sharpness")
    if not sharpness:
        return
    for key, when, style in (
        ("two_over_start", "at the start", ":"),
        ("two_over_max", "at its largest λ after that", "-."),
    ):
        if (lr := sharpness[key]) is not None:
            label = f"2/λ {when} ({lr:.3g}), seed {sharpness['seed']}"
            axis.axvline(lr, color="#000000", ls=style, lw=1.5, label=label)
