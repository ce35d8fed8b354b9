"""Runs side by side: what differs, and the numbers of the table."""

import json
from pathlib import Path
from typing import Any

import pytest
from written_runs import METRICS, THRESHOLDS, write_sweep, write_train

from midterm_cli.config.resolve import resolve
from midterm_cli.errors import UserError
from midterm_cli.runner import make
from midterm_cli.runner.document import to_json
from midterm_cli.runs.compare import compare, sort


def words(table: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines()]


def table(paths: list[Path], by: str | None = None) -> str:
    comparison = compare(paths, by)
    return comparison.table(comparison.lines())


def names(folder: Path, *runs: str) -> list[str]:
    return [str(folder / run) for run in runs]


def test_the_one_key_that_differs_is_shown_first_and_sorts_by_size(tmp_path: Path) -> None:
    paths = [write_train(tmp_path / str(lr), lr=lr) for lr in (1.0, 1e-05, 0.02)]

    comparison = compare(paths)

    assert (comparison.by, comparison.keys) == ("lr", ["lr"])
    assert [run.name for run in comparison.runs] == names(tmp_path, "1e-05", "0.02", "1.0")


def test_several_keys_that_differ_are_shown_in_the_order_of_the_config(tmp_path: Path) -> None:
    a = write_train(tmp_path / "a", lr=0.2, activation="relu")
    b = write_train(tmp_path / "b", lr=0.1, activation="identity")

    given = compare([a, b])
    assert (given.by, given.keys) == (None, ["activation", "lr"])
    assert [run.name for run in given.runs] == names(tmp_path, "a", "b")

    by_number = compare([a, b], "lr")
    assert by_number.keys == ["lr", "activation"]
    assert [run.name for run in by_number.runs] == names(tmp_path, "b", "a")

    by_what_they_share = compare([a, b], "epochs")
    assert by_what_they_share.keys == ["epochs", "activation", "lr"]


def test_a_row_for_each_kind_of_weights(tmp_path: Path) -> None:
    paths = [
        write_train(tmp_path / "a", lr=0.1, gammas=()),
        write_train(tmp_path / "b", lr=0.02, gammas=(0.5, 0.001)),
    ]

    header, *rows = words(table(paths, "lr"))

    measured = [heading for metric in METRICS for heading in (metric, "sd")]
    assert header == ["lr", "ema_gamma", "weights", *measured, "n", "outcome", "trained", "run"]
    assert [row[1] for row in rows] == ["[0.5,0.001]"] * 3 + ["[]"]
    values = {(row[0], row[2]): row[3:5] for row in rows}
    assert values == {
        ("0.02", "raw"): ["0.25", "0.5"],
        ("0.02", "ema_0.5"): ["0.5", "0.5"],
        ("0.02", "ema_0.001"): ["0.75", "0.5"],
        ("0.1", "raw"): ["0.25", "0.5"],
    }
    assert [row[-4:] for row in rows] == [["2", "collapsed", "1/2", str(tmp_path / "b")]] * 3 + [
        ["2", "collapsed", "1/2", str(tmp_path / "a")]
    ]


def test_lines_sort_by_any_column_with_what_is_not_there_last(tmp_path: Path) -> None:
    paths = [write_train(tmp_path / str(lr), lr=lr, gammas=(0.5,)) for lr in (3.0, 0.02)]
    paths += [with_final(write_train(tmp_path / "x", lr=1, gammas=()), mean=None, sd=None, total=0)]
    lines = compare(paths).lines()

    by_loss = [(line["train_loss"], line["lr"]) for line in sort(lines, "-train_loss")]
    assert by_loss == [(0.5, 3.0), (0.5, 0.02), (0.25, 3.0), (0.25, 0.02), (None, 1)]
    assert [line["lr"] for line in sort(lines, "lr")] == [0.02, 0.02, 1, 3.0, 3.0]
    with pytest.raises(UserError, match="did you mean 'train_loss'"):
        sort(lines, "train_los")


def test_a_folder_stands_for_the_runs_in_it(tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        write_train(tmp_path / "some" / str(lr), lr=lr)
    write_train(tmp_path / "some" / ".unfinished.partial" / "run", lr=0.3)

    folders = [tmp_path / "some", tmp_path / "some" / "0.2", tmp_path / "some/../some/0.1"]
    assert [run.config.lr for run in compare(folders).runs] == [0.1, 0.2]  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"no finished run in .*nothing, nor below it"):
        compare([tmp_path / "nothing"])


def with_final(run: Path, **statistics: Any) -> Path:
    """A run whose final statistics are these, whatever the metric."""
    document = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    for entry in document["results"]["final"]["weights"]:
        entry.update(dict.fromkeys(METRICS, statistics))
    (run / "metrics.json").write_text(json.dumps(document), encoding="utf-8")
    return run


@pytest.mark.parametrize(
    ("statistics", "cell"),
    [
        ({"mean": None, "sd": None, "total": 0}, "-"),
        ({"mean": 0.5, "sd": None, "total": 1}, "0.5"),
        ({"mean": 1.4e21, "sd": None, "total": 1}, "1.4e+21"),
    ],
)
def test_a_number_that_is_not_there_is_a_dash_and_a_huge_one_is_short(
    statistics: dict[str, Any], cell: str, tmp_path: Path
) -> None:
    run = with_final(write_train(tmp_path / "a", gammas=()), **statistics)

    assert words(table([run]))[1][1:9] == [cell, "-"] * 4


def test_columns_are_aligned(tmp_path: Path) -> None:
    paths = [
        write_train(tmp_path / "a", dataset="my images", hidden_sizes=[32, 16]),
        write_train(tmp_path / "b", dataset="x", hidden_sizes=[]),
    ]

    text = table(paths)

    lines = text.splitlines()
    assert "[32,16]" in text
    assert {line.index("  /") for line in lines[1:]} == {lines[0].index("  run")}


def test_sweeps(tmp_path: Path) -> None:
    paths = [
        write_sweep(tmp_path / "a", {"last_stable_lr": 0.002}, activation="relu"),
        write_sweep(tmp_path / "b", activation="identity"),
    ]

    comparison = compare(paths)

    assert comparison.trainings == []
    assert [row[:-1] for row in words(comparison.table(comparison.lines()))[1:]] == [
        ["identity", "0.002", "0.004", "0.00322", "0.003", "0.00345", "0.001"],
        ["relu", "0.002", "-", "-", "-", "-", "-"],
    ]
    full = comparison.document()["rows"][0]
    assert full["threshold_lr"] == THRESHOLDS["threshold_lr"]["estimate"]


def test_the_document_has_the_table_in_full(tmp_path: Path) -> None:
    run = write_train(tmp_path / "a", lr=0.1)
    alike = write_train(tmp_path / "b", lr=0.1)

    document = compare([run, alike, run], "lr").document()

    assert json.loads(to_json(document)) == document
    assert (document["experiment"], document["by"]) == ("train", "lr")
    assert len(document["rows"]) == 4
    assert document["rows"][0] | {"run": str(alike)} == document["rows"][2]
    first = document["rows"][0]
    assert (first["run"], first["config"], first["weights"]) == (str(run), {"lr": 0.1}, "raw")
    assert first["test_loss"] == {"mean": 0.25, "sd": 0.5, "total": 2}


def test_a_run_by_its_metrics_file(tmp_path: Path) -> None:
    run = write_train(tmp_path / "a")
    assert compare([run / "metrics.json"]) == compare([run])


def test_runs_of_one_config_are_labelled_by_their_folder(tmp_path: Path) -> None:
    paths = [write_train(tmp_path / name, lr=0.1) for name in ("a", "b")]
    paths.append(write_train(tmp_path / "c", lr=0.2))

    assert compare(paths).labels() == [
        f"lr = 0.1 run {paths[0]}",
        f"lr = 0.1 run {paths[1]}",
        "lr = 0.2",
    ]


def test_runs_that_differ_in_more_than_a_label_holds_are_labelled_by_their_folder(
    tmp_path: Path,
) -> None:
    paths = [write_train(tmp_path / str(i), dataset=200 * "x", seed=i) for i in range(2)]
    paths.append(write_train(tmp_path / "other"))

    labels = compare(paths).labels()

    assert [label[-100:] for label in labels[:2]] == [f"run {path}"[-100:] for path in paths[:2]]
    assert labels[2].startswith("seed = 0, dataset = ")


# ---- mistakes


def test_runs_of_different_experiments(tmp_path: Path) -> None:
    paths = [write_train(tmp_path / "a"), write_sweep(tmp_path / "b")]
    with pytest.raises(UserError, match=r"/a is a run of train, but .*/b of lr_sweep"):
        compare(paths)


def test_an_experiment_that_has_nothing_to_compare(tmp_path: Path) -> None:
    earlier = Path(__file__).parent / "version_0_1_0" / "softt"
    with pytest.raises(UserError, match="run of softt"):
        compare([earlier])


def test_a_run_that_is_not_finished(tmp_path: Path) -> None:
    run = write_train(tmp_path / "a")
    with pytest.raises(UserError, match=r"no finished run in .*/b"):
        compare([run, tmp_path / "b"])


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"trials": []}, "results.trials"),
        ({"last_stable_lr": "1e-3"}, "results.last_stable_lr"),
        ({"threshold_lr": {"estimate": 1.0, "low": 0.5}}, "results.threshold_lr.high"),
        ({"rates": [{"lr": 1.0}]}, r"results.rates\[0\].failed"),
    ],
)
def test_a_damaged_run_is_named_with_the_key(
    changes: dict[str, Any], key: str, tmp_path: Path
) -> None:
    path = write_sweep(tmp_path / "a", changes)
    with pytest.raises(UserError, match=rf"a/metrics\.json is damaged: {key}"):
        compare([path])


def test_an_unknown_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'lrr': did you mean 'lr'"):
        compare([write_train(tmp_path / "a")], "lrr")


# ---- the real thing


@pytest.mark.usefixtures("unrendered")
def test_real_runs_of_both_experiments(folder: Path) -> None:
    """What train and lr_sweep write is what compare reads."""
    tiny = ["dataset=synthetic", "train_fraction=0.05", "hidden_sizes=[4]", "num_seeds=2"]

    def made(experiment: str, assignment: str) -> Path:
        resolved = resolve(experiment, None, [*tiny, assignment])
        return make.make(resolved, command="midterm", quiet=True).folder

    trained = compare([made("train", f"epochs={number}") for number in (2, 3)])
    assert [row["config"]["epochs"] for row in trained.document()["rows"]] == [2, 2, 3, 3]
    first = trained.runs[0].document["results"]["final"]["weights"][0]
    assert trained.document()["rows"][0]["test_loss"] == first["test_loss"]
    swept = compare([made("lr_sweep", f"max_rates={number}") for number in (2, 3)])
    assert len(swept.document()["rows"]) == 2
