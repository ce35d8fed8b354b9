"""Runs side by side: what differs, the numbers of the table, the curves of the figure."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from midterm_cli.errors import UserError
from midterm_cli.runs import compare
from midterm_cli.config import resolve as config
from midterm_cli.run import stage as record
from midterm_cli.run import make as runner

METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


def write(folder: Path, experiment: str, values: Mapping[str, Any], results: Any) -> Path:
    document = {
        "schema_version": 1,
        "experiment": experiment,
        "config": values,
        "results": results,
    }
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def train_run(
    folder: Path,
    lr: float = 0.1,
    losses: Sequence[Sequence[float | None]] = ((9, 3, 2, 1), (9, 5, 4, 3)),
    gammas: Sequence[float] = (0.5,),
    **changes: Any,
) -> Path:
    """A finished run, from a train loss for each seed and pass.

    The losses of the averages are 2, 3, … times those of the raw weights; the other metrics are
    the loss + 1, + 2 and + 3.
    """
    epochs = len(losses[0]) - 1
    history, final = [], []
    for factor, gamma in enumerate((None, *gammas), start=1):
        for seed, curve in enumerate(losses):
            for epoch, loss in enumerate(curve):
                row: dict[str, Any] = {"seed": seed, "epoch": epoch, "gamma": gamma}
                row["weights"] = "raw" if gamma is None else "ema"
                for shift, metric in enumerate(METRICS):
                    row[metric] = None if loss is None else factor * loss + shift
                history.append(row)
        final.append(
            {"gamma": gamma}
            | {metric: {"mean": 0.25 * factor, "sd": 0.5, "total": 2} for metric in METRICS}
        )
    outcomes = [{"seed": seed, "outcome": "trained"} for seed in range(len(losses))]
    outcomes[-1]["outcome"] = "collapsed"
    results = {
        "history": history,
        "final": {"weights": final},
        "outcome": "collapsed",
        "outcomes": outcomes,
    }
    values = {"seed": 0, "lr": lr, "epochs": epochs, "skip_passes": 1, "activation": "relu"}
    return write(folder, "train", values | changes, results)


SWEEP = {
    "last_stable_lr": 0.002,
    "first_divergent_lr": 0.004,
    "threshold_lr": {"estimate": 0.00322, "low": 0.003, "high": 0.00345},
    "recommended_lr": 0.001,
}
NO_BRACKET = dict.fromkeys(SWEEP) | {"last_stable_lr": 0.002}


def words(table: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines()]


def curves(figure: Figure, panel: int) -> list[list[float]]:
    return [np.asarray(line.get_ydata()).tolist() for line in figure.axes[panel].lines]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


# ---- the table


def test_the_one_key_that_differs_is_shown_first_and_sorts_by_size(tmp_path: Path) -> None:
    paths = [train_run(tmp_path / str(lr), lr) for lr in (1, 1e-05, 0.02)]

    comparison = compare.compare(paths)

    assert (comparison.by, comparison.keys) == ("lr", ["lr"])
    assert [run.config["lr"] for run in comparison.runs] == [1e-05, 0.02, 1]


def test_several_keys_that_differ_are_shown_in_the_order_of_the_config(tmp_path: Path) -> None:
    a = train_run(tmp_path / "a", 0.2, activation="relu")
    b = train_run(tmp_path / "b", 0.1, activation="identity")

    given = compare.compare([a, b])
    assert (given.by, given.keys) == (None, ["lr", "activation"])
    assert [run.name for run in given.runs] == [str(a), str(b)]

    by_word = compare.compare([a, b], "activation")
    assert by_word.keys == ["activation", "lr"]
    assert [run.name for run in by_word.runs] == [str(b), str(a)]

    by_what_they_share = compare.compare([a, b], "epochs")
    assert by_what_they_share.keys == ["epochs", "lr", "activation"]


def test_a_row_for_each_kind_of_weights(tmp_path: Path) -> None:
    paths = [
        train_run(tmp_path / "a", 0.1, gammas=()),
        train_run(tmp_path / "b", 0.02, gammas=(0.5, 0.001)),
    ]

    header, *rows = words(compare.compare(paths).table())

    assert header == ["lr", "weights", *METRICS, "outcome", "trained", "run"]
    values = {(row[0], row[1]): row[2] for row in rows}
    assert values == {
        ("0.02", "raw"): "0.2500±0.5000",
        ("0.02", "ema_0.5"): "0.5000±0.5000",
        ("0.02", "ema_0.001"): "0.7500±0.5000",
        ("0.1", "raw"): "0.2500±0.5000",
    }
    assert [row[-3:] for row in rows] == [["collapsed", "1/2", str(tmp_path / "b")]] * 3 + [
        ["collapsed", "1/2", str(tmp_path / "a")]
    ]


def test_a_number_that_is_not_there_is_a_dash_and_a_huge_one_is_short() -> None:
    nothing = {"mean": None, "sd": None, "total": 0}
    single = {"mean": 1.4e21, "sd": None, "total": 1}
    assert compare._cell(nothing) == compare._cell(None) == "-"
    assert compare._cell(single) == "1.400e+21"


def test_columns_are_aligned(tmp_path: Path) -> None:
    paths = [
        train_run(tmp_path / "a", dataset="my images", hidden_sizes=[32, 16]),
        train_run(tmp_path / "b", dataset="x", hidden_sizes=[]),
    ]

    table = compare.compare(paths).table()

    lines = table.splitlines()
    assert "[32,16]" in table
    assert {line.index("  /") for line in lines[1:]} == {lines[0].index("  run")}


def test_sweeps(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "a", "lr_sweep", {"activation": "relu"}, NO_BRACKET),
        write(tmp_path / "b", "lr_sweep", {"activation": "identity"}, SWEEP),
    ]

    comparison = compare.compare(paths)

    assert not comparison.has_curves
    assert [row[:-1] for row in words(comparison.table())[1:]] == [
        ["identity", "0.002", "0.004", "0.00322", "0.003", "0.00345", "0.001"],
        ["relu", "0.002", "-", "-", "-", "-", "-"],
    ]


def test_the_document_has_the_table_in_full(tmp_path: Path) -> None:
    run = train_run(tmp_path / "a", 0.1)

    document = compare.compare([run, run], "lr").document()

    assert json.loads(record.to_json(document)) == document
    assert (document["experiment"], document["by"]) == ("train", "lr")
    assert len(document["rows"]) == 4
    assert document["rows"][0] == document["rows"][2]
    first = document["rows"][0]
    assert (first["run"], first["config"], first["weights"]) == (str(run), {"lr": 0.1}, "raw")
    assert first["test_loss"] == {"mean": 0.25, "sd": 0.5, "total": 2}


def test_a_run_by_its_metrics_file(tmp_path: Path) -> None:
    run = train_run(tmp_path / "a")
    assert compare.compare([run / "metrics.json"]) == compare.compare([run])


# ---- the figure


def test_curves_are_means_over_seeds_from_the_first_shown_pass(tmp_path: Path) -> None:
    figure = compare.draw(compare.compare([train_run(tmp_path / "a")]))

    assert [axis.get_ylabel().split(" (")[0] for axis in figure.axes] == [
        "train loss",
        "test loss",
        "train accuracy",
        "test accuracy",
    ]
    assert curves(figure, 0) == [[3, 2], [6, 4]]
    assert curves(figure, 1) == [[5, 4], [8, 6]]
    assert curves(figure, 2) == [[4, 3], [7, 5]]
    assert np.asarray(figure.axes[0].lines[0].get_xdata()).tolist() == [2, 3]
    assert [line.get_linestyle() for line in figure.axes[0].lines] == ["-", "--"]
    assert legend(figure)[1:] == ["raw weights", "average, γ = 0.5"]


def test_seeds_that_are_not_finite_are_left_out_of_a_mean(tmp_path: Path) -> None:
    losses = ((9, 1, 2, None), (9, 1, None, None))
    run = train_run(tmp_path / "a", losses=losses, gammas=(), skip_passes=0)

    raw = curves(compare.draw(compare.compare([run])), 0)[0]

    assert raw[:2] == [1, 2]
    assert math.isnan(raw[2])


@pytest.mark.parametrize("skip_passes", [3, 100])
def test_the_last_pass_is_always_shown(skip_passes: int, tmp_path: Path) -> None:
    run = train_run(tmp_path / "a", skip_passes=skip_passes)
    figure = compare.draw(compare.compare([run]))
    assert curves(figure, 0) == [[2], [4]]
    record.to_png(figure)


def test_shades_go_from_dark_to_light_with_the_key_and_the_legend_covers_nothing(
    tmp_path: Path,
) -> None:
    rates = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1)
    paths = [train_run(tmp_path / str(lr), lr) for lr in reversed(rates)]

    figure = compare.draw(compare.compare(paths))
    figure.draw_without_rendering()

    assert legend(figure)[:10] == [f"lr = {json.dumps(lr)}" for lr in rates]
    raw = [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]
    grey = [
        sum(w * c for w, c in zip((0.299, 0.587, 0.114), to_rgb(line.get_color()), strict=True))
        for line in raw
    ]
    assert len(raw) == 10
    assert all(b - a > 0.02 for a, b in pairwise(grey))
    box = figure.legends[0].get_window_extent()
    panels = [axis.get_tightbbox() for axis in figure.axes]
    assert not any(panel is None or box.overlaps(panel) for panel in panels)
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1


def test_losses_far_apart_are_drawn_on_a_logarithmic_axis(tmp_path: Path) -> None:
    small = train_run(tmp_path / "a", 0.1, losses=((1, 0.1, 0.1, 0.1),))
    same = train_run(tmp_path / "b", 0.1, losses=((1, 0.2, 0.2, 0.2),))
    large = train_run(tmp_path / "c", 0.2, losses=((1, 9e5, 9e5, None),))

    def scale(*paths: Path) -> tuple[str, str]:
        axes = compare.draw(compare.compare(paths)).axes
        return axes[0].get_yscale(), axes[2].get_yscale()

    assert scale(small, same) == ("linear", "linear")
    assert scale(small, large) == ("log", "linear")


def test_runs_of_one_config_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    paths = [train_run(tmp_path / name) for name in ("_a", "b$x$y$")]

    figure = compare.draw(compare.compare([*paths, paths[0]]))
    record.to_png(figure)

    assert legend(figure)[:3] == [f"run {path}" for path in (*paths, paths[0])]
    assert not any(text.get_parse_math() for text in figure.legends[0].get_texts())

    other = train_run(tmp_path / "c", 0.2)
    labels = compare.compare([*paths, other]).labels()
    assert labels == [*(f"lr = 0.1 run {path}" for path in paths), "lr = 0.2"]


def test_runs_that_differ_in_more_than_a_label_holds_are_told_apart_by_their_folder(
    tmp_path: Path,
) -> None:
    keys: dict[str, Any] = {f"key_number_{i}": "of many that differ" for i in range(10)}
    paths = [train_run(tmp_path / str(i), first=i, **keys) for i in range(2)]
    paths.append(train_run(tmp_path / "other"))

    labels = compare.compare(paths).labels()

    assert labels == [f"run {path}"[-compare._LABEL_LENGTH :] for path in paths]


def test_averages_that_runs_do_not_share_are_named_by_their_place(tmp_path: Path) -> None:
    paths = [train_run(tmp_path / str(gammas), gammas=gammas) for gammas in ((0.5, 0.1), (0.2,))]

    figure = compare.draw(compare.compare(paths))

    assert legend(figure)[2:] == [
        "raw weights",
        "average, the run's γ number 1",
        "average, γ = 0.1",
    ]


# ---- mistakes


def test_runs_of_different_experiments(tmp_path: Path) -> None:
    paths = [train_run(tmp_path / "a"), write(tmp_path / "b", "lr_sweep", {}, SWEEP)]
    with pytest.raises(UserError, match=r"/a is a run of train, but .*/b of lr_sweep: compare"):
        compare.compare(paths)


def test_an_experiment_that_has_nothing_to_compare(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "autodiff", {}, {})
    with pytest.raises(UserError, match="run of 'autodiff': only runs of train and lr_sweep can"):
        compare.compare([path])


def test_a_run_that_is_not_finished(tmp_path: Path) -> None:
    run = train_run(tmp_path / "a")
    with pytest.raises(UserError, match=r"no finished run in .*/b"):
        compare.compare([run, tmp_path / "b"])


@pytest.mark.parametrize(
    ("experiment", "values", "results"),
    [
        ("train", {}, {}),
        ("train", {}, None),
        ("train", {"epochs": 1}, {"outcomes": [], "outcome": "trained", "final": {"weights": []}}),
        ("train", {}, {"outcomes": [{}], "outcome": "trained"}),
        ("lr_sweep", {}, []),
        ("lr_sweep", [1], SWEEP),
        ("lr_sweep", {}, SWEEP | {"threshold_lr": {"estimate": 1.0}}),
        ("lr_sweep", {}, SWEEP | {"last_stable_lr": "1e-3"}),
    ],
)
def test_a_damaged_run_is_named(experiment: str, values: Any, results: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a", experiment, values, results)
    with pytest.raises(UserError, match=r"is damaged.*\nmake the run again"):
        compare.compare([path])


def test_an_unknown_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run has the key 'lrr': did you mean 'lr'"):
        compare.compare([train_run(tmp_path / "a")], "lrr")


# ---- the real thing


def test_real_runs_of_both_experiments(folder: Path) -> None:
    """What train and lr_sweep write is what compare reads."""
    torch.set_num_threads(1)
    tiny = ["dataset=synthetic", "train_fraction=0.05", "hidden_sizes=[4]", "num_seeds=2"]
    made: dict[str, list[Path]] = {"train": [], "lr_sweep": []}
    for experiment, key in (("train", "epochs"), ("lr_sweep", "max_rates")):
        for number in (2, 3):
            resolved = config.resolve(experiment, None, [*tiny, f"{key}={number}"])
            run = runner.run(experiment, resolved, runner.Request("midterm", quiet=True))
            made[experiment].append(run.folder)

    trained = compare.compare(made["train"])
    results = record.read_run(made["train"][0])["results"]
    assert trained.document()["rows"][0]["test_loss"] == results["final"]["weights"][0]["test_loss"]
    last = [curve.means["test_loss"][-1] for curve in trained.runs[0].curves]
    means = [entry["test_loss"]["mean"] for entry in results["final"]["weights"]]
    assert last == pytest.approx(means)
    assert len(compare.compare(made["lr_sweep"]).document()["rows"]) == 2
