"""The sweep: its results, its journal under fire, and the known answers on Fashion-MNIST."""

import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from answer import Answer
from matplotlib.collections import PathCollection

from midterm_cli.data import fetch
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Job, NoJournal, Output, Event, in_turn
from midterm_cli.part3 import lr_sweep
from midterm_cli.part3.search import find_bracket
from midterm_cli.part3.threshold import estimate_threshold
from midterm_cli.config import resolve as config
from midterm_cli.launch import local as launch
from midterm_cli.run import stage as record

Row = dict[str, Any]

# A sweep of a fifth of a second: linear networks on 600 images, all three outcomes, a seed that is
# not monotone.
TINY = (
    "dataset=synthetic",
    "train_fraction=0.1",
    "hidden_sizes=[16,8]",
    "activation=identity",
    "num_seeds=6",
    "device=cpu",
)


def config_of(*assignments: str, preset: str = "lr_sweep") -> lr_sweep.Config:
    made = config.resolve("lr_sweep", preset, assignments).config
    assert isinstance(made, lr_sweep.Config)
    return made


class Memory:
    """A journal that may begin with what a killed sweep left."""

    def __init__(self, kept: Sequence[Mapping[str, Any]] = ()) -> None:
        self.lines = [json.dumps(record) for record in kept]

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def append(self, record: Mapping[str, Any]) -> None:
        self.lines.append(json.dumps(record, allow_nan=False))


def sweep(*assignments: str, workers: int = 1, **surroundings: Any) -> Output:
    context = Context(
        torch.device("cpu"), launch=launch.Threads(workers), workers=workers, **surroundings
    )
    return lr_sweep.run(config_of(*TINY, *assignments), context)


@pytest.fixture(scope="module")
def tiny() -> dict[str, Any]:
    return sweep().results


# ---- results


def test_the_results_have_the_keys_of_the_contract(tiny: dict[str, Any]) -> None:
    assert {
        "trials",
        "rates",
        "last_stable_lr",
        "first_divergent_lr",
        "threshold_lr",
        "recommended_lr",
    } <= set(tiny)
    assert all(
        {"lr", "seed", "outcome", "train_loss", "train_accuracy"} <= set(row)
        for row in tiny["trials"]
    )
    assert {row["outcome"] for row in tiny["trials"]} <= {"trained", "collapsed", "non_finite"}
    for row in tiny["trials"]:
        numbers = [row["train_loss"], row["train_accuracy"]]
        assert (numbers == [None, None]) == (row["outcome"] == "non_finite")
    json.dumps(tiny, allow_nan=False)


def test_every_rate_is_tried_with_every_seed_once(tiny: dict[str, Any]) -> None:
    keys = [(row["lr"], row["seed"]) for row in tiny["trials"]]
    assert keys == [(rate["lr"], seed) for rate in tiny["rates"] for seed in range(6)]


def test_rates_count_their_trials_and_have_wilson_intervals(tiny: dict[str, Any]) -> None:
    z = 1.959963984540054
    for rate in tiny["rates"]:
        outcomes = [row["outcome"] for row in tiny["trials"] if row["lr"] == rate["lr"]]
        assert rate["total"] == len(outcomes) == 6
        assert rate["failed"] == rate["collapsed"] + rate["non_finite"]
        assert rate["failed"] == 6 - outcomes.count("trained")
        share = rate["failed"] / 6
        assert rate["low"] <= share <= rate["high"]
        # The ends are the probabilities p that lie z standard errors of p from the share.
        for end in (rate["low"], rate["high"]):
            assert (end - share) ** 2 == pytest.approx(z**2 * end * (1 - end) / 6, abs=1e-12)


def test_the_rates_that_matter_follow_from_the_trials(tiny: dict[str, Any]) -> None:
    trials = lr_sweep._trials(tiny["trials"])
    bracket = find_bracket(trials, 1e-3)
    threshold = estimate_threshold(trials)

    assert tiny["bracketed"]
    assert tiny["first_divergent_lr"] == bracket.first_divergent == 2 * tiny["last_stable_lr"]
    assert tiny["recommended_lr"] == tiny["last_stable_lr"] / 2
    assert threshold is not None
    assert tiny["threshold_lr"] == threshold._asdict()
    assert threshold.low < threshold.estimate < threshold.high


def test_rates_too_low_to_learn_say_nothing_about_the_threshold() -> None:
    failures = {1e-3: 0, 2e-3: 1, 4e-3: 4, 8e-3: 6}

    def rows(failures: Mapping[float, int]) -> list[dict[str, Any]]:
        return [
            {
                "lr": lr,
                "seed": seed,
                "outcome": "collapsed" if seed < failed else "trained",
                "train_loss": 1.0,
                "train_accuracy": 0.5,
            }
            for lr, failed in sorted(failures.items())
            for seed in range(6)
        ]

    config = config_of("start_lr=1e-3", "num_seeds=6")
    found = lr_sweep._results(rows(failures), config)["threshold_lr"]
    with_low = lr_sweep._results(rows({1e-6: 6, 1e-5: 5} | failures), config)["threshold_lr"]
    assert found is not None
    assert found == with_low


@pytest.mark.parametrize(
    ("losses", "quartiles"),
    [
        ([3.0], [3, 3, 3]),
        ([1.0, 3.0], [1, 2, 3]),
        ([4.0, 1.0, 3.0, 2.0], [1.5, 2.5, 3.5]),
        ([5.0, 4.0, 3.0, 2.0, 1.0], [2, 3, 4]),
        ([math.inf, 1.0, 3.0, 2.0], [1.5, 2.5, math.nan]),
        ([math.inf, 1.0, math.inf, 2.0], [1.5, math.nan, math.nan]),
    ],
)
def test_quartiles_of_the_figure(losses: list[float], quartiles: list[float]) -> None:
    np.testing.assert_array_equal(lr_sweep._quartiles(losses), quartiles)


def test_a_sweep_of_few_wide_networks_computes_on_all_cores() -> None:
    shares: set[tuple[int, int]] = set()

    def launching(jobs: Sequence[Job]) -> Iterator[Event]:
        shares.add((len(jobs), torch.get_num_threads()))
        yield from in_turn(jobs)

    wide = ("hidden_sizes=[700]", "train_fraction=0.002", "num_seeds=1", "max_rates=3")
    context = Context(torch.device("cpu"), launch=launching, workers=4)
    output = lr_sweep.run(config_of(*TINY, *wide), context)

    assert shares <= {(1, 4), (2, 2), (3, 1)}
    assert shares & {(1, 4), (2, 2)}
    assert output.provenance["threads"] == max(groups * threads for groups, threads in shares)


def test_a_seed_sees_the_same_at_a_rate_whatever_else_is_tried(tiny: dict[str, Any]) -> None:
    """Fresh networks at each rate, with the initial weights and minibatches of their seed."""
    other = sweep("start_lr=0.004", "seed=2", "num_seeds=3", workers=2).results
    first = {(row["lr"], row["seed"]): row for row in tiny["trials"]}
    second = {(row["lr"], row["seed"]): row for row in other["trials"]}
    shared = sorted(first.keys() & second.keys())

    assert len({lr for lr, _ in shared}) >= 3
    assert {seed for _, seed in shared} == {2, 3, 4}
    assert [first[key] for key in shared] == [second[key] for key in shared]
    # Not all alike by chance: seeds and rates do make a difference.
    losses = {first[key]["train_loss"] for key in shared} - {None}
    assert len(losses) == sum(first[key]["train_loss"] is not None for key in shared) > 3


def row(lr: float, seed: int, outcome: str) -> Row:
    loss = {"trained": 0.5, "collapsed": 2.31, "non_finite": None}[outcome]
    return {"lr": lr, "seed": seed, "outcome": outcome, "train_loss": loss, "train_accuracy": loss}


def test_seeds_that_train_above_a_rate_at_which_they_fail_are_flagged() -> None:
    words = {"t": "trained", "c": "collapsed", "n": "non_finite"}
    courses = {0: "tttt", 1: "ttnn", 2: "tctn", 3: "nnnt", 4: "cccc", 5: "tttn"}
    rows = [
        row(lr, seed, words[course[i]])
        for i, lr in reversed(list(enumerate((1e-3, 2e-3, 4e-3, 8e-3))))
        for seed, course in courses.items()
    ]

    assert lr_sweep._non_monotone_seeds(lr_sweep._trials(rows)) == [2, 3]


@pytest.mark.parametrize(
    ("failure", "found"), [("collapsed", None), ("non_finite", 4e-3), ("both", 8e-3)]
)
def test_a_rule_that_knows_only_nan_does_not_see_a_collapse(
    failure: str, found: float | None
) -> None:
    kinds = {4e-3: "collapsed", 8e-3: "non_finite"} if failure == "both" else {}
    rows = [
        row(lr, seed, "trained" if lr < 3e-3 else kinds.get(lr, failure))
        for lr in (1e-3, 2e-3, 4e-3, 8e-3)
        for seed in range(4)
    ]

    results = lr_sweep._results(rows, config_of(*TINY))

    assert results["first_divergent_lr"] == 4e-3
    assert results["nan_rule_divergent_lr"] == found
    said = any("NaN alone" in str(line) for line in lr_sweep.summarize(results))
    assert said == (found is None)


@pytest.mark.parametrize(
    ("assignments", "parts"),
    [
        (
            ["start_lr=0.05", "max_rates=3"],
            ["fails at every rate from 0.025 to 0.1", "another start_lr", "(now 3)"],
        ),
        (
            ["start_lr=5e-4", "max_rates=2"],
            ["no rate up to 0.001 is high enough", "another start_lr", "(now 2)"],
        ),
    ],
)
def test_without_a_bracket_it_says_so_and_recommends_nothing(
    assignments: list[str], parts: list[str]
) -> None:
    output = sweep(*assignments)

    assert output.results["bracketed"] is False
    assert output.results["recommended_lr"] is None
    assert output.results["threshold_lr"] is None
    (warning,) = output.warnings
    assert [part for part in parts if part not in warning] == []
    assert not any("Recommended" in str(line) for line in lr_sweep.summarize(output.results))
    lr_sweep.draw(config_of(*TINY, *assignments), output.results)


def test_progress_counts_runs_and_ends_at_its_total() -> None:
    told: list[tuple[int, int]] = []

    results = sweep(progress=lambda done, total, text: told.append((done, total))).results

    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert all(done <= total for done, total in told)
    assert told[-1] == (len(results["trials"]), len(results["trials"]))


def test_the_figure_shows_every_trial_and_the_rates_that_matter(tiny: dict[str, Any]) -> None:
    upper, lower = lr_sweep.draw(config_of(*TINY), tiny)["lr_sweep"].axes

    dots = [dots for dots in upper.collections if isinstance(dots, PathCollection)]
    assert sum(len(np.asarray(kind.get_offsets())) for kind in dots) == len(tiny["trials"])
    for axis in (upper, lower):
        at = [np.asarray(line.get_xdata()).tolist() for line in axis.lines]
        assert [tiny["threshold_lr"]["estimate"]] * 2 in at
        assert [tiny["recommended_lr"]] * 2 in at


def test_dead_networks_stop_early_and_no_outcome_depends_on_it(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[int] = []
    find = lr_sweep._dead

    def counting(*arguments: Any) -> list[int]:
        stopped.extend(found := find(*arguments))
        return found

    settings = ("activation=relu", "train_fraction=1.0", "start_lr=0.02", "max_rates=4")
    monkeypatch.setattr(lr_sweep, "_dead", counting)
    early = sweep(*settings).results["trials"]
    assert len(stopped) > 3
    monkeypatch.setattr(lr_sweep, "_dead", lambda *arguments: [])
    late = sweep(*settings).results["trials"]
    assert [row["outcome"] for row in early] == [row["outcome"] for row in late]
    assert [row for row in early if row["outcome"] == "trained"] == [
        row for row in late if row["outcome"] == "trained"
    ]


def test_sharpness_is_measured_along_the_recommended_run_when_asked_for(
    tiny: dict[str, Any],
) -> None:
    assert tiny["sharpness"] is None
    results = sweep("sharpness=true").results
    found = results["sharpness"]
    assert found["lr"] == results["recommended_lr"]
    later = [point["sharpness"] for point in found["points"][1:]]
    assert found["two_over_max"] == pytest.approx(2 / max(later))
    assert found["two_over_start"] == pytest.approx(2 / found["points"][0]["sharpness"])
    figure = lr_sweep.draw(config_of(*TINY, "sharpness=true"), results)["lr_sweep"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sum(label.startswith("2/λ") for label in labels) == 2
    assert any("2/λ" in str(line) for line in lr_sweep.summarize(results))


# ---- the journal


def computed_runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """Rate and seed of every run that is computed from here on."""
    computed: list[tuple[float, int]] = []

    def counting(name: str, work: Any, problem: Any, arguments: tuple[Any, Any]) -> Job:
        computed.extend(arguments[1])
        return Job(name, work, problem, arguments)

    monkeypatch.setattr(lr_sweep, "Job", counting)
    return computed


def test_a_journal_that_holds_a_part_is_continued(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Memory()
    assert sweep(journal=whole, workers=2).results == tiny
    records = whole.records()
    assert len(records) >= 4
    expected = json.dumps(tiny)
    computed = computed_runs(monkeypatch)
    # A group, three groups, later groups without the earlier ones, all.
    for kept in (records[:1], records[:3], records[2:4], records):
        computed.clear()
        journal = Memory(kept)

        results = sweep(journal=journal, workers=2).results

        assert json.dumps(results) == expected
        known = [(row["lr"], row["seed"]) for record in kept for row in record["trials"]]
        every = [(row["lr"], row["seed"]) for row in tiny["trials"]]
        assert sorted(known + computed) == every
        written = [(r["lr"], r["seed"]) for line in journal.records() for r in line["trials"]]
        assert sorted(written) == every


def test_a_journal_that_was_begun_on_other_data_is_refused() -> None:
    other = Memory([{"trials": [], "data_sha256": "0123456789abcdef"}])
    with pytest.raises(UserError, match="other data"):
        sweep(journal=other)


def test_a_group_is_in_the_journal_before_it_counts() -> None:
    """Killed inside the journal, a sweep has not yet used what it could not keep."""

    class Killed(Exception):
        pass

    class Fatal(NoJournal):
        def append(self, record: Mapping[str, Any]) -> None:
            raise Killed

    told: list[int] = []
    with pytest.raises(Killed):
        sweep(journal=Fatal(), progress=lambda done, total, text: told.append(done))
    assert set(told) <= {0}


def journal_rows(path: Path) -> list[tuple[float, int]]:
    """Rate and seed of each trial in a journal; a last line that was cut short is not there."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [(row["lr"], row["seed"]) for line in lines for row in json.loads(line)["trials"]]


def kill_in_the_middle(command: Sequence[str], journal: Path, latest: float) -> None:
    """Start a sweep, let it get on by a group at least, and kill it in the `latest` s after."""
    before = len(journal_rows(journal))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        try:
            while len(journal_rows(journal)) == before:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.005)
            time.sleep(random.uniform(0, latest))
        finally:
            process.kill()


def test_killed_five_times_it_ends_as_if_undisturbed(
    folder: Path, midterm: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two passes over all images and a fine tolerance: some 14 rates of a fifth of a second each.
    settings = ["train_fraction=1.0", "epochs=2", "start_lr=1e-4", "tolerance=0.01"]
    begun = time.monotonic()
    undisturbed = sweep(*settings, workers=2).results
    a_rate = (time.monotonic() - begun) / len(undisturbed["rates"])
    options = [f"--set={assignment}" for assignment in (*TINY, *settings)]
    arguments = ["lr-sweep", *options, "--output", "run", "--resume", "--quiet"]
    journal = folder / ".run.partial" / "journal.jsonl"

    for _ in range(5):
        kill_in_the_middle([sys.executable, "-m", "midterm_cli", *arguments], journal, a_rate)
        kept = journal_rows(journal)
        assert len(kept) == len(set(kept))

    computed = computed_runs(monkeypatch)
    assert midterm(*arguments).code == 0

    results = record.read_run(folder / "run")["results"]
    assert json.dumps(results) == json.dumps(undisturbed)
    every = [(row["lr"], row["seed"]) for row in undisturbed["trials"]]
    assert sorted(kept + computed) == every
    assert not journal.exists()


# ---- the known answers


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    fetch.fetch(folder)
    return folder


def real_sweep(preset: str, data_dir: Path) -> dict[str, Any]:
    context = Context(torch.device("cpu"), data_dir, launch=launch.Threads(2), workers=2)
    results = lr_sweep.run(config_of("device=cpu", preset=preset), context).results
    assert results["bracketed"]
    return results


@pytest.mark.real_data
def test_the_published_network_diverges_where_it_was_published_to(real: Path) -> None:
    results = real_sweep("reference/lr_sweep", real)

    assert results["last_stable_lr"] == 2e-3
    assert results["first_divergent_lr"] == results["nan_rule_divergent_lr"] == 4e-3
    assert results["recommended_lr"] == 1e-3
    assert {row["outcome"] for row in results["trials"]} == {"trained", "non_finite"}
    assert 2.8e-3 < results["threshold_lr"]["estimate"] < 4.5e-3


@pytest.mark.real_data
def test_the_relu_network_collapses_without_a_nan(real: Path) -> None:
    results = real_sweep("lr_sweep", real)

    assert {row["outcome"] for row in results["trials"]} == {"trained", "collapsed"}
    assert results["nan_rule_divergent_lr"] is None
    assert 8e-3 < results["threshold_lr"]["estimate"] < 2.3e-2
    assert results["first_divergent_lr"] == 2 * results["last_stable_lr"]
