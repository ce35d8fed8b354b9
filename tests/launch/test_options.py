"""Where a run is computed: the options, and what they name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from answer import Answer

from midterm_cli.errors import UserError
from midterm_cli.launch.launcher import launcher
from midterm_cli.launch.options import Cluster, choose

HERE, THERE = "tcp://10.0.0.1:8786", "tcp://10.0.0.2:8786"


@pytest.fixture(autouse=True)
def _no_scheduler_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)


def test_local_is_the_default_and_does_not_read_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", HERE)

    assert choose(None) is None
    assert choose("local") is None
    with launcher(torch.device("cpu"), None) as here:
        assert not here.remote


def test_dask_takes_an_address_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", HERE)

    assert choose("dask", THERE, retries=0) == Cluster(THERE, None, 0)
    assert choose("dask", None, Path("file")) == Cluster(None, Path("file"), 2)
    assert choose("dask") == Cluster(HERE, None, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"launcher": "ray"}, "--launcher must be local or dask, got 'ray'"),
        ({"launcher": None, "address": HERE}, "--address is for --launcher dask"),
        ({"launcher": "local", "retries": 0}, "--retries is for --launcher dask"),
        ({"launcher": None, "scheduler_file": Path("f")}, "--scheduler-file is for --launcher"),
        ({"launcher": "dask"}, "needs a scheduler: give --address or --scheduler-file"),
        (
            {"launcher": "dask", "address": HERE, "scheduler_file": Path("f")},
            "leave one out",
        ),
        ({"launcher": "dask", "address": HERE, "retries": -1}, "at least 0, got -1"),
        ({"launcher": "dask", "address": HERE, "retries": 1.5}, "at least 0, got 1.5"),
        ({"launcher": "dask", "address": HERE, "retries": True}, "at least 0, got"),
    ],
)
def test_options_that_do_not_fit_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        choose(**options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_the_extra_one_line_says_how_to_get_it(
    folder: Path, midterm: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.startswith(("midterm_cli.launch.dask", "distributed")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distributed", None)

    options = ("--set", "dataset=synthetic", "--launcher", "dask", "--address", HERE)
    answer = midterm("lr-sweep", *options)

    assert answer.code == 2
    assert answer.err.endswith("pip install distributed\n")
    assert answer.err.count("\n") == 1
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("command", ["lr-sweep", "train"])
def test_a_cluster_computes_on_cpus(
    command: str, folder: Path, midterm: Callable[..., Answer]
) -> None:
    answer = midterm(command, "--launcher", "dask", "--address", HERE, "--device", "cuda:1")

    assert answer.code == 2
    assert "on CPUs, not on cuda:1: use --device cpu" in answer.err


def test_the_options_are_those_of_the_two_commands_that_have_many_runs(
    midterm: Callable[..., Answer],
) -> None:
    for command in ("lr-sweep", "train"):
        for option in ("--launcher", "--address", "--scheduler-file", "--retries"):
            assert option in midterm(command, "--help").out
    assert "--launcher" not in midterm("autodiff", "--help").out
