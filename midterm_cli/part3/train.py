"""Part 3 C: train the MLP by SGD, follow averages of its weights, and compare them over seeds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field, field_validator

from midterm_cli import source
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Job, Output, Table
from midterm_cli.part3.averaging import METRICS, Row, compare, final_metrics, select
from midterm_cli.part3.mlp import split_layers
from midterm_cli.part3.outcome import classify, worst
from midterm_cli.part3.problem import Problem, ProblemConfig, arithmetic, computed_by
from midterm_cli.part3.sgd import Snapshot
from midterm_cli.part3.statistics import mean_and_sd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SAVE_EVERY_SECONDS = 1.0

Gamma = Annotated[float, Field(gt=0, le=1)]


class Config(ProblemConfig):
    """Keys of `midterm train`."""

    lr: float = Field(gt=0, le=1e6, description="learning rate of SGD")
    epochs: int = Field(ge=1, le=100_000, description="passes of round(n / batch_size) updates")
    ema_gamma: tuple[Gamma, ...] = Field(
        max_length=32,
        description="weight of the new value in each average of the weights, in (0, 1]",
    )
    skip_passes: int = Field(ge=0, description="passes that the figure leaves out at the start")

    @field_validator("ema_gamma", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list | tuple) else (value,)

    @field_validator("ema_gamma")
    @classmethod
    def _no_repeats(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"has a value twice: {', '.join(f'{gamma:g}' for gamma in value)}")
        return value


@dataclass(frozen=True)
class _Group:
    """Seeds that are trained together, and how far they are.

    Attributes:
        seeds: of the members.
        epoch: the last pass that was measured; -1 before the start was.
        active: weights of the members in training after that pass.
        frozen: of those that left the finite numbers.
        predicted: class histogram of the raw weights on the training subset, for each seed.
        history: rows of all passes up to `epoch`; in what a job says, those of its new passes.
        worker: who trained it; None for this process.
    """

    seeds: tuple[int, ...]
    epoch: int = -1
    active: Snapshot = field(default=Snapshot((), ()))
    frozen: Mapping[int, Snapshot] = field(default_factory=dict)
    predicted: Mapping[int, Sequence[int]] = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)
    worker: Mapping[str, str] | None = None


def run(config: Config, context: Context) -> Output:
    """Train all seeds; measure raw and averaged weights at the start and after every pass.

    Raises:
        UserError: the data is missing or damaged.
    """
    problem = Problem(config, context)
    if saved := context.state.load():
        problem.require_same_data(saved["data_sha256"])
        _require_same_code(saved.get("code"))
        groups = _unpack(saved["groups"])
    else:
        groups = [_Group(seeds) for seeds in problem.groups(config.seeds, context.workers)]
    made = [_updates(problem, group) for group in groups]
    total = config.num_seeds * config.epochs * problem.num_updates
    unfinished = [i for i, group in enumerate(groups) if group.epoch < config.epochs]
    overlap = not context.remote and len(groups) < context.workers
    jobs = [
        Job(_group_name(group), _train_group, problem, (config, group, overlap, context.remote))
        for group in (replace(groups[i], history=[]) for i in unfinished)
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
                    groups[at].history.extend(event.history)
                    groups[at] = replace(event, history=groups[at].history, worker=worker)
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


def _require_same_code(digest: str | None) -> None:
    """Refuse to go on with a run that other code has begun: its numbers may be others."""
    if digest != source.loaded():
        raise UserError(
            f"the run was begun by other code (digest {digest}, now {source.loaded()})\n"
            "leave out --resume to start again"
        )


def _updates(problem: Problem, group: _Group) -> int:
    """Updates that a group has made, over all its members."""
    return len(group.seeds) * max(0, group.epoch) * problem.num_updates


def _group_name(group: _Group) -> str:
    return f"seeds {', '.join(map(str, group.seeds))}"


def _save(problem: Problem, context: Context, groups: Sequence[_Group]) -> float:
    """Keep how far the groups are; returns the time of the monotonic clock for doing it again."""
    begun = time.monotonic()
    packed = _pack(groups)
    context.state.save(
        {"groups": packed, "data_sha256": problem.dataset.sha256, "code": source.loaded()}
    )
    # A long history takes long to save: never more than a twentieth of the time.
    return begun + max(_SAVE_EVERY_SECONDS, 20 * (time.monotonic() - begun))


def _progress_text(groups: Sequence[_Group], config: Config) -> str:
    epoch = min(group.epoch for group in groups)
    losses = [
        row["train_loss"]
        for group in groups
        for row in group.history[-len(group.seeds) * (1 + len(config.ema_gamma)) :]
        if row["weights"] == "raw" and row["train_loss"] is not None
    ]
    text = f"pass {min(epoch + 1, config.epochs)}/{config.epochs}"
    return f"{text}, train loss {_number(mean_and_sd(losses)[0], '.3f')}" if losses else text


def _train_group(
    problem: Problem, config: Config, group: _Group, overlap: bool, whole: bool
) -> Iterator[int | _Group]:
    """Train a group to the end; yields updates made (over all members), and how far it is.

    Args:
        problem: what is learned.
        config: of the run.
        group: where to go on from; its history is not needed.
        overlap: measure a pass while the next one is trained, on a core that is idle.
        whole: say the history of all passes each time, for those who hear only the last word.
    """
    history: list[Row] = []

    def said(measured: _Group) -> _Group:
        if not whole:
            return measured
        history.extend(measured.history)
        return replace(measured, history=history)

    ensemble = problem.ensemble(group.seeds, [config.lr] * len(group.seeds), config.ema_gamma)
    if group.epoch >= 0:
        ensemble.restore(group.active, group.frozen)
    pending: Future[_Group] | None = None
    with ThreadPoolExecutor(1) as helper:
        for epoch in range(group.epoch + 1, config.epochs + 1):
            before = 0
            for after in ensemble.train(epoch) if epoch > 0 else ():
                yield (after - before) * len(group.seeds)
                before = after
            if pending is not None:
                yield said(pending.result())
            reached = replace(
                group, epoch=epoch, active=ensemble.snapshot(), frozen=dict(ensemble.frozen)
            )
            pending = helper.submit(_measure, problem, config, reached)
            if not overlap or epoch == config.epochs:
                yield said(pending.result())
                pending = None


def _measure(problem: Problem, config: Config, group: _Group) -> _Group:
    """The pass that a group has reached, with its rows."""
    measured = problem.measure(group.active, group.seeds, ("train", "test"))
    nothing = dict.fromkeys(METRICS)
    history, predicted = [], {}
    for member, seed in enumerate(group.seeds):
        for i, gamma in enumerate((None, *config.ema_gamma)):
            row: Row = {
                "seed": seed,
                "epoch": group.epoch,
                "weights": "raw" if gamma is None else "ema",
                "gamma": gamma,
            }
            if member in measured:
                train, test = measured[member][i]["train"], measured[member][i]["test"]
                found = (train.loss, train.accuracy, test.loss, test.accuracy)
                row |= dict(zip(METRICS, found, strict=True))
            history.append(row | (nothing if member not in measured else {}))
        predicted[seed] = measured[member][0]["train"].predicted if member in measured else ()
    return replace(group, history=history, predicted=predicted)


def _pack(groups: Sequence[_Group]) -> list[dict[str, Any]]:
    """Groups as plain data and tensors."""
    return [
        {
            "seeds": group.seeds,
            "epoch": group.epoch,
            "active": (group.active.members, group.active.flats),
            "frozen": {i: (s.members, s.flats) for i, s in group.frozen.items()},
            "predicted": dict(group.predicted),
            "history": [*group.history],
            "worker": group.worker and dict(group.worker),
        }
        for group in groups
    ]


def _unpack(groups: Sequence[Mapping[str, Any]]) -> list[_Group]:
    return [
        _Group(
            seeds=saved["seeds"],
            epoch=saved["epoch"],
            active=Snapshot(*saved["active"]),
            frozen={i: Snapshot(*snapshot) for i, snapshot in saved["frozen"].items()},
            predicted=saved["predicted"],
            history=saved["history"],
            worker=saved.get("worker"),
        )
        for saved in groups
    ]


def _output(problem: Problem, config: Config, groups: Sequence[_Group], threads: int) -> Output:
    history = [row for group in groups for row in group.history]
    history.sort(key=lambda row: (row["seed"], row["epoch"]))  # stable: raw, then the averages
    outcomes = _outcomes(problem, groups, history, config)
    failed = [entry for entry in outcomes if entry["outcome"] != "trained"]
    results = {
        "history": history,
        "final": {
            "epoch": config.epochs,
            "weights": final_metrics(
                history, config.ema_gamma, problem.num_updates * config.epochs
            ),
        },
        "comparison": compare(history, config.ema_gamma, _first_shown(config)),
        "outcome": worst([entry["outcome"] for entry in outcomes]),
        "outcomes": outcomes,
        "num_updates": problem.num_updates,
        "num_parameters": problem.architecture.num_parameters,
    }
    warnings = [
        f"{len(failed)} of {len(outcomes)} seeds did not train: "
        + ", ".join(f"seed {entry['seed']} {entry['outcome']}" for entry in failed[:5])
        + ("…" if len(failed) > 5 else "")
    ]
    return Output(
        results,
        checkpoint=_checkpoint(problem, config, groups),
        provenance=problem.provenance
        | {"threads": threads}
        | computed_by("seeds", ((group.worker, group.seeds) for group in groups)),
        failed=bool(failed),
        warnings=warnings if failed else (),
    )


def _outcomes(
    problem: Problem, groups: Sequence[_Group], history: Sequence[Row], config: Config
) -> list[dict[str, Any]]:
    """The verdict on each seed's raw weights at the end."""
    losses = {
        row["seed"]: row["train_loss"]
        for row in history
        if row["epoch"] == config.epochs and row["weights"] == "raw"
    }
    predicted = {seed: counts for group in groups for seed, counts in group.predicted.items()}
    return [
        {
            "seed": seed,
            "outcome": classify(losses[seed], predicted[seed], problem.class_counts(seed)),
        }
        for seed in config.seeds
    ]


def _first_shown(config: Config) -> int:
    """The first pass of the figure: after the skipped ones, if there are any after them."""
    return min(config.skip_passes + 1, config.epochs)


def _checkpoint(
    problem: Problem, config: Config, groups: Sequence[_Group]
) -> dict[str, torch.Tensor]:
    """All that is needed to use the networks, stacked over seeds.

    All on the CPU. Weights as torch.nn.Linear lays them out, (seeds, fan_out, fan_in), and the
    mean image, (seeds, pixels), which is to be subtracted from every input.
    """
    names = ["raw", *(f"ema_{gamma!r}" for gamma in config.ema_gamma)]
    sizes = problem.architecture.sizes
    by_seed: dict[int, list[list[torch.Tensor]]] = {}
    for group in groups:
        for snapshot in (group.active, *group.frozen.values()):
            stacks = [
                split_layers(flat.cpu(), problem.architecture, len(snapshot.members))
                for flat in snapshot.flats
            ]
            for i, member in enumerate(snapshot.members):
                by_seed[group.seeds[member]] = [[layer[i] for layer in s] for s in stacks]
    means = np.stack([problem.subset(seed).mean for seed in sorted(by_seed)])
    tensors = {"seeds": torch.tensor(sorted(by_seed)), "mean": torch.from_numpy(means)}
    for which, name in enumerate(names):
        for layer, fan_in in enumerate(sizes[:-1]):
            stacked = torch.stack([by_seed[seed][which][layer] for seed in sorted(by_seed)])
            tensors[f"{name}.{layer}.weight"] = stacked[:, :fan_in].mT.clone()
            tensors[f"{name}.{layer}.bias"] = stacked[:, fan_in].clone()
    return tensors


# What a person sees -----------------------------------------------------------------------------


def _name(gamma: float | None) -> str:
    return "raw weights" if gamma is None else f"average, γ = {gamma:g}"


def summarize(results: Mapping[str, Any]) -> list[Table | str]:
    """Final metrics, and what averaging gained, as tables."""
    final = results["final"]
    total = len(results["outcomes"])
    rows = [
        [_name(entry["gamma"]), *(_mean_sd(entry[metric], total) for metric in METRICS)]
        for entry in final["weights"]
    ]
    tables: list[Table | str] = [
        Table(
            f"After pass {final['epoch']}, mean ± standard deviation over {total} seeds",
            ["", *METRICS.values()],
            rows,
        )
    ]
    if results["comparison"]:
        tables.append(
            Table(
                "What averaging gains over the raw weights of the same seed (95 % interval)",
                ["", "metric", "gain at the end", "times smoother"],
                [
                    [
                        _name(entry["gamma"]),
                        METRICS[entry["metric"]],
                        _interval(entry["gain"], "+.4f"),
                        _interval(entry["roughness_ratio"], ".2f"),
                    ]
                    for entry in results["comparison"]
                ],
            )
        )
    for entry in final["weights"][1:]:
        tables.append(
            f"γ = {entry['gamma']:g}: half-life {entry['half_life']:.0f} updates; the initial "
            f"weights still weigh {entry['weight_of_start']:.2g} at the end."
        )
    return tables


def _mean_sd(entry: Mapping[str, Any], total: int) -> str:
    if entry["mean"] is None:
        return "not finite"
    text = _number(entry["mean"], ".4f")
    if entry["sd"] is not None:
        text += f" ± {_number(entry['sd'], '.4f')}"
    return text if entry["total"] == total else f"{text} ({entry['total']} of {total} seeds)"


def _interval(entry: Mapping[str, Any] | None, form: str) -> str:
    if entry is None:
        return "–"
    text = _number(entry["estimate"], form)
    if entry["low"] is None:
        return f"{text} (one seed: no interval)"
    return f"{text} [{_number(entry['low'], form)}, {_number(entry['high'], form)}]"


def _number(value: float, form: str) -> str:
    """A number in a fixed format, or where it would be as long as it is large, in powers of ten."""
    return format(value, form if abs(value) < 1e6 else form.replace("f", "e"))


# Colours of Okabe and Ito, told apart in grey by lightness and by the line itself.
_COLOURS = ("#666666", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
_LINES = ("--", "-", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
_LEGEND_INSIDE = 4  # entries; more of them would hide the curves


def draw(config: Config, results: Mapping[str, Any]) -> dict[str, Figure]:
    """The exercise's 2 × 2 figure: train and test, loss and accuracy, raw and averaged weights."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    for axis, metric in zip(axes.T.flat, METRICS, strict=True):
        _draw_metric(axis, config, results["history"], metric)
    for axis in axes[1]:
        axis.set_xlabel("pass")
    if len(config.ema_gamma) < _LEGEND_INSIDE:
        axes[0, 0].legend()
    else:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    seeds = f"{config.num_seeds} seeds: mean and range" if config.num_seeds > 1 else "one seed"
    figure.suptitle(
        f"SGD with averaged weights on {config.dataset}, {config.activation}, "
        f"lr = {config.lr:g} ({seeds})",
        parse_math=False,  # a $ in the name of a folder is a $
    )
    return {"curves": figure}


def _draw_metric(axis: Axes, config: Config, history: Sequence[Row], metric: str) -> None:
    from matplotlib.ticker import MaxNLocator

    first = _first_shown(config)
    passes = np.arange(first, config.epochs + 1)
    is_single = len(passes) == 1
    gammas = (None, *config.ema_gamma)
    finite = 0
    for i, gamma in enumerate(gammas):
        values = np.ma.masked_invalid(select(history, gamma, metric)[:, first:])
        colour = _COLOURS[i % len(_COLOURS)]
        # From the seventh on a colour comes back with another line.
        line = _LINES[(i + i // len(_COLOURS)) % len(_LINES)]
        # Marks of a single pass stand side by side.
        x = passes + (0.5 * (i + 0.5) / len(gammas) - 0.25 if is_single else 0)
        axis.plot(
            x,
            values.mean(0),
            linestyle=line,
            marker="o" if is_single else "",
            color=colour,
            label=_name(gamma),
        )
        if len(values) > 1:
            low, high = values.min(0), values.max(0)
            if is_single:
                axis.vlines(x, low, high, color=colour)
            else:
                axis.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
        finite += values.count()
    if not finite:
        axis.text(0.5, 0.5, "not finite for any seed", transform=axis.transAxes, ha="center")
        axis.set_yticks([])
    margin = 0.5 if is_single else 0.05 * len(passes)
    axis.set_xlim(first - margin, config.epochs + margin)
    axis.set_ylabel(METRICS[metric])
    axis.grid(alpha=0.3)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
