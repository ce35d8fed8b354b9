"""Two runs compared value by value."""

import math
from pathlib import Path

import pytest
from written_runs import write_sweep, write_train

from midterm_cli.errors import UserError
from midterm_cli.part3.train.schema import Results
from midterm_cli.runner import document
from midterm_cli.runs.difference import Change, difference


def test_equal_runs_are_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_train(tmp_path / name)

    found = difference(document.read(tmp_path / "a"), document.read(tmp_path / "b"))

    assert (found.same, found.config, found.provenance, found.largest) == (True, [], [], None)
    assert found.num_values > 20


def test_each_value_that_differs_is_found_at_its_place(tmp_path: Path) -> None:
    write_train(tmp_path / "a", lr=1e-3)
    write_train(tmp_path / "b", lr=2e-3)
    first, second = (document.read(tmp_path / name) for name in "ab")
    assert isinstance(first.results, Results)
    rows = list(first.results.history)
    rows[1] = rows[1].model_copy(update={"train_loss": 0.75 * (rows[1].train_loss or 0)})
    changed = first.results.model_copy(update={"history": rows})
    assert second.results == first.results
    second = document.Run(**(vars(second) | {"results": changed}))

    found = difference(first, second)

    assert found.config == [Change("lr", 1e-3, 2e-3)]
    assert [change.key for change in found.results] == ["history[1].train_loss"]
    assert found.largest == pytest.approx(0.25, abs=1e-12)
    assert "history[1].train_loss" in found.text()
    assert not found.same


def test_a_number_that_became_none_is_no_small_difference() -> None:
    assert math.isinf(Change("loss", 1.0, None).relative)
    assert math.isinf(Change("loss", True, 1).relative)
    assert Change("loss", 1e308, -1e308).relative == 2
    assert Change("loss", 5e-324, 1e-323).relative == pytest.approx(0.5)


def test_runs_of_two_experiments_are_not_compared(tmp_path: Path) -> None:
    write_train(tmp_path / "a")
    write_sweep(tmp_path / "b")

    with pytest.raises(UserError, match="of one experiment"):
        difference(document.read(tmp_path / "a"), document.read(tmp_path / "b"))


def test_runs_that_differ_in_no_number(tmp_path: Path) -> None:
    write_sweep(tmp_path / "a", {})
    write_sweep(tmp_path / "b", {"last_stable_lr": 0.002})

    found = difference(document.read(tmp_path / "a"), document.read(tmp_path / "b"))

    assert found.largest is None
    assert found.verdict().endswith("values of the results differ, 1 not as numbers.")
