"""Results as rows, as a data frame takes them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from written_runs import write_sweep, write_train

from midterm_cli.config.resolve import resolve
from midterm_cli.errors import UserError
from midterm_cli.runner import document, make
from midterm_cli.runs.rows import observations, tables, written


def test_each_row_of_the_history_has_its_run_and_what_sets_it_apart(tmp_path: Path) -> None:
    paths = [write_train(tmp_path / str(lr), lr=lr, gammas=()) for lr in (0.1, 0.2)]
    runs = [document.read(path) for path in paths]

    rows = list(csv.DictReader(written(observations(runs), "csv").splitlines()))

    assert len(rows) == 2 * 2 * 4  # runs, seeds, epochs
    for row in rows:
        losses = ((9, 3, 2, 1), (9, 5, 4, 3))
        assert float(row["train_loss"]) == losses[int(row["seed"])][int(row["epoch"])]
        assert row["run"] == str(tmp_path / row["config.lr"])
        assert (row["weights"], row["gamma"]) == ("raw", "")


def test_the_same_numbers_in_every_format(tmp_path: Path) -> None:
    run = document.read(write_sweep(tmp_path / "a,b|c"))

    rows = observations([run], "rates")

    assert [row["lr"] for row in rows] == [rate["lr"] for rate in run.document["results"]["rates"]]
    assert json.loads(written(rows, "json")) == rows
    [header, *cells] = csv.reader(written(rows, "csv").splitlines())
    assert header == list(rows[0])
    assert [[json.loads(cell) if cell else None for cell in line[1:]] for line in cells] == [
        list(row.values())[1:] for row in rows
    ]
    assert cells[0][0] == str(tmp_path / "a,b|c")
    assert written(rows, "md").count("\n") == len(rows) + 2
    assert "a,b\\|c" in written(rows, "md")


def test_equally_long_lists_are_columns(folder: Path) -> None:
    run = make.make(resolve("softt", None, ["num_points=5"]), command="", quiet=True)

    found = tables(run.results)

    assert list(found) == ["values", "one_sided", "results"]
    y, f = (np.array([row[key] for row in found["values"]]) for key in ("y", "f"))
    t = found["results"][0]["threshold"]
    assert len(y) >= 5
    expected = np.where(y > t, (y - t) ** 2, np.where(y < -t, (y + t) ** 3, 0))
    np.testing.assert_allclose(f, expected, rtol=1e-12)


def test_the_rows_of_several_runs_are_of_one_table(folder: Path) -> None:
    given = ("y=[]", "y=[1.5]")
    runs = [
        make.make(resolve("softt", None, ["num_points=5", y]), command="", quiet=True)
        for y in given
    ]

    rows = observations(runs)

    assert {tuple(row) for row in rows} == {("run", "config.y", *list(rows[0])[2:])}
    assert all(row["f"] is not None for row in rows)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    runs = [document.read(write_train(tmp_path / "a")), document.read(write_sweep(tmp_path / "b"))]

    with pytest.raises(UserError, match="did you mean 'history'"):
        observations(runs[:1], "histroy")
    with pytest.raises(UserError, match="of one experiment"):
        observations(runs)
