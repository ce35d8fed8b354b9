"""Finished runs that are written by hand, with the results that a test wants."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from midterm_cli.config.resolve import plain, resolve

METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")

PROVENANCE = {
    "version": "0.1.0",
    "command": "midterm",
    "git_commit": None,
    "python": "3.11.7",
    "torch": "2.14.1",
    "device": "cpu",
    "dtype": "float32",
    "threads": 1,
    "data_sha256": None,
    "started_at": "2026-01-31T12:00:00+00:00",
    "wall_time_s": 1.5,
}


def write(folder: Path, experiment: str, results: Any, **config: Any) -> Path:
    """A run with these results, and with a config that differs from the default in this."""
    document = {
        "schema_version": 1,
        "experiment": experiment,
        "status": "completed",
        "failed": False,
        "config": plain(resolve(experiment).config) | config,
        "results": results,
        "provenance": PROVENANCE,
    }
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def write_train(
    folder: Path,
    losses: Sequence[Sequence[float | None]] = ((9, 3, 2, 1), (9, 5, 4, 3)),
    gammas: Sequence[float] = (0.5,),
    **config: Any,
) -> Path:
    """A run of train, from a train loss for each seed and epoch.

    The losses of the averages are 2, 3, … times those of the raw weights; the test loss is the
    train loss + 1; accuracies are 1 / (1 + loss).
    """
    history, final = [], []
    for factor, gamma in enumerate((None, *gammas), start=1):
        kind: dict[str, Any] = {"weights": "raw" if gamma is None else "ema", "gamma": gamma}
        for seed, curve in enumerate(losses, start=config.get("seed", 0)):
            for epoch, loss in enumerate(curve):
                values = None if loss is None else (factor * loss, factor * loss + 1)
                history.append({"seed": seed, "epoch": epoch} | kind | _measured(values))
        over_seeds = {"mean": 0.25 * factor, "sd": 0.5, "total": 2}
        final.append(kind | dict.fromkeys(METRICS, over_seeds))
    outcomes = [{"seed": seed, "outcome": "trained"} for seed in range(len(losses))]
    outcomes[-1]["outcome"] = "collapsed"
    last = len(losses[0]) - 1
    results = {
        "history": history,
        "final": {"epoch": last, "weights": final},
        "outcome": "collapsed",
        "outcomes": outcomes,
    }
    given = {"num_seeds": len(losses), "epochs": last, "skip_passes": 1, "ema_gamma": list(gammas)}
    return write(folder, "train", results, **(given | config))


def _measured(losses: tuple[float, float] | None) -> dict[str, float | None]:
    if losses is None:
        return dict.fromkeys(METRICS)
    train, test = losses
    return dict(zip(METRICS, (train, 1 / (1 + train), test, 1 / (1 + test)), strict=True))


THRESHOLDS: Mapping[str, Any] = {
    "last_stable_lr": 0.002,
    "first_divergent_lr": 0.004,
    "threshold_lr": {"estimate": 0.00322, "low": 0.003, "high": 0.00345},
    "recommended_lr": 0.001,
}


def write_sweep(folder: Path, thresholds: Mapping[str, Any] = THRESHOLDS, **config: Any) -> Path:
    """A run of lr_sweep that found these thresholds; what it lacks was not found."""
    trial = {"seed": 0, "outcome": "trained", "train_loss": 0.5, "train_accuracy": 0.5}
    rate = {"failed": 0, "total": 1, "low": 0.0, "high": 0.5}
    results = {
        "trials": [{"lr": 0.002} | trial],
        "rates": [{"lr": 0.002} | rate],
        **dict.fromkeys(THRESHOLDS),
        **thresholds,
    }
    return write(folder, "lr_sweep", results, **config)
