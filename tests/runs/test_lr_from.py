"""The learning rate that a sweep recommends, taken by a training run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answer import Answer
from written_runs import THRESHOLDS, write_sweep, write_train

from midterm_cli.errors import UserError
from midterm_cli.runs import lr_from

Midterm = Callable[..., Answer]

SAME: dict[str, Any] = {"dataset": "synthetic", "hidden_sizes": [32, 16]}  # as the fake experiment


def test_it_is_read_by_the_run_s_folder_or_its_file(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep")

    found = lr_from.read(sweep)

    assert found.layer.values == {"lr": THRESHOLDS["recommended_lr"]}
    assert found.name == str(sweep)
    assert lr_from.read(sweep / "metrics.json").layer.values == found.layer.values


def test_a_sweep_that_recommends_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sweep recommends no learning rate"):
        lr_from.read(write_sweep(tmp_path / "sweep", {"last_stable_lr": 0.1}))


def test_a_run_that_is_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a is a run of train, .* lr-sweep"):
        lr_from.read(write_train(tmp_path / "a"))
    with pytest.raises(UserError, match=r"no finished run in .*none"):
        lr_from.read(tmp_path / "none")


@pytest.mark.usefixtures("fake_train")
def test_it_wins_over_file_and_set(folder: Path, midterm: Midterm) -> None:
    write_sweep(Path("sweep"), dtype="float64", epochs=9, **SAME)
    Path("my.yaml").write_text("lr: 0.5\n", encoding="utf-8")

    code, out, err = midterm(
        "train", "--lr-from", "sweep", "--config", "my.yaml", "--set", "lr=1", "--json"
    )

    assert code == 0
    document = json.loads(out)
    assert document["config"]["lr"] == THRESHOLDS["recommended_lr"]
    assert document["provenance"]["command"].startswith("midterm train --lr-from sweep")
    assert "Warning" not in err
    assert midterm("train", "--lr-from", "sweep/metrics.json", "--resume").code == 0


@pytest.mark.usefixtures("fake_train")
def test_that_of_another_problem_is_taken_with_a_warning(folder: Path, midterm: Midterm) -> None:
    write_sweep(Path("sweep"), activation="identity", **SAME)

    code, _, err = midterm("train", "--lr-from", "sweep", "--quiet")

    assert code == 0
    [warning] = err.splitlines()
    assert "sweep" in warning
    assert "activation='identity', not 'relu'" in warning
    assert "dataset" not in warning


@pytest.mark.usefixtures("fake_train")
def test_a_rate_that_training_cannot_have_is_named_with_its_sweep(
    folder: Path, midterm: Midterm
) -> None:
    write_sweep(Path("sweep"), {"recommended_lr": 1e7})

    code, _, err = midterm("train", "--lr-from", "sweep")

    assert code == 2
    assert "got 10000000.0 (--lr-from sweep)" in err
    code, _, err = midterm("train", "--lr-from", "sweep", "--lr", "1")
    assert code == 2
    assert "--lr and --lr-from" in err
    assert not Path("outputs").exists()
