"""What a killed driver leaves, taken up by other code, with other workers, or by nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch

from midterm_cli import source
from midterm_cli.config import resolve as configs
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Event, Job
from midterm_cli.launch import local as launch
from midterm_cli.part3 import lr_sweep, train

CPU = torch.device("cpu")
TINY = (
    "dataset=synthetic",
    "train_fraction=0.1",
    "hidden_sizes=[16,8]",
    "activation=identity",
    "num_seeds=6",
    "device=cpu",
)


class Memory:
    """A journal or a state that a test can look into."""

    def __init__(self, kept: Sequence[Mapping[str, Any]] = ()) -> None:
        self.kept = [json.loads(json.dumps(record)) for record in kept]

    def records(self) -> list[dict[str, Any]]:
        return list(self.kept)

    def append(self, record: Mapping[str, Any]) -> None:
        self.kept.append(json.loads(json.dumps(record, allow_nan=False)))

    def trials(self) -> list[tuple[float, int]]:
        return sorted((row["lr"], row["seed"]) for kept in self.kept for row in kept["trials"])


def sweep(journal: Memory, workers: int) -> dict[str, Any]:
    config = configs.resolve("lr_sweep", None, TINY).config
    assert isinstance(config, lr_sweep.Config)
    context = Context(CPU, launch=launch.Threads(workers), workers=workers, journal=journal)
    return lr_sweep.run(config, context).results


def test_groups_that_other_code_made_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Memory()
    results = sweep(before, 2)
    monkeypatch.setattr(source, "loaded", lambda: "0123456789abcdef")
    after = Memory(before.kept)

    assert sweep(after, 2) == results
    assert len(after.kept) == 2 * len(before.kept)
    assert not {kept["key"] for kept in before.kept} & {
        kept["key"] for kept in after.kept[len(before.kept) :]
    }


@pytest.mark.parametrize("workers", [1, 5])
def test_rates_that_were_begun_go_on_in_their_groups_on_any_number_of_workers(
    workers: int,
) -> None:
    """One more worker would deal the members out anew, and half of the groups' rows be lost."""
    whole = Memory()
    results = sweep(whole, 3)
    continued = Memory(whole.kept[:4])

    assert sweep(continued, workers) == results
    assert continued.trials() == whole.trials()
    assert [kept["num_groups"] for kept in continued.kept[:6]] == [3] * 6


def test_a_lost_cluster_leaves_the_groups_that_it_had_finished() -> None:
    """`train` saves now and then; what finished since is saved when the workers are gone."""
    assignments = ("dataset=synthetic", "num_seeds=3", "epochs=2", "device=cpu")
    config = configs.resolve("train", None, assignments).config
    assert isinstance(config, train.Config)
    saved: list[Mapping[str, Any]] = []

    class State:
        def load(self) -> dict[str, Any] | None:
            return dict(saved[-1]) if saved else None

        def save(self, state: Mapping[str, Any]) -> None:
            saved.append(state)

    computed: list[str] = []

    def one_then_lost(jobs: Sequence[Job]) -> Iterator[Event]:
        computed.append(jobs[1].name)
        *_, last = jobs[1]()
        yield Event(1, last, {"worker": "ada", "host": "there"})
        raise UserError("all gone")

    def rest(jobs: Sequence[Job]) -> Iterator[Event]:
        for index, job in enumerate(jobs):
            computed.append(job.name)
            *_, last = job()
            yield Event(index, last, {"worker": "bob", "host": "there"})

    with pytest.raises(UserError, match="all gone"):
        train.run(config, Context(CPU, launch=one_then_lost, workers=3, remote=True, state=State()))
    output = train.run(config, Context(CPU, launch=rest, workers=3, remote=True, state=State()))

    assert computed == ["seeds 1", "seeds 0", "seeds 2"]
    assert output.provenance["computed_by"] == [
        {"worker": "ada", "host": "there", "seeds": [1]},
        {"worker": "bob", "host": "there", "seeds": [0, 2]},
    ]
    assert output.provenance["threads"] == 3
    here = train.run(config, Context(CPU, launch=launch.Threads(2), workers=2))
    assert json.dumps(output.results) == json.dumps(here.results)
