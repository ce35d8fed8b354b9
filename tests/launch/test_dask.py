"""`--launcher dask` on a real scheduler, whose workers are killed, stopped, or run other code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cluster_jobs
import pytest
import torch
from answer import Answer
from cluster_processes import Cluster, copy_package, environment, listening_addresses, wait_until

from midterm_cli import source
from midterm_cli.data import idx, synthetic
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Job, NoJournal, Output
from midterm_cli.part3 import lr_sweep, train
from midterm_cli.part3.problem import Problem
from midterm_cli.config import resolve as configs
from midterm_cli.launch import local as launch
from midterm_cli.launch.cluster import remote
from midterm_cli.launch.cluster.connect import Dask, connected
from midterm_cli.launch.cluster.crew import Bounds

CPU = torch.device("cpu")

# A sweep of several rounds, some tenths of a second a group.
SWEEP = (
    "dataset=synthetic",
    "num_seeds=4",
    "start_lr=4e-3",
    "tolerance=0.2",
    "epochs=2",
    "device=cpu",
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workers import midterm_cli from."""
    return copy_package(tmp_path_factory.mktemp("package"))


@pytest.fixture(autouse=True)
def _same_code(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process counts as running the copy, even if a file was edited since it was started."""
    monkeypatch.setattr(remote, "_LOADED", source.digest(package / "midterm_cli"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Iterator[Cluster]:
    """A scheduler with two workers; a test that kills one starts another."""
    made = Cluster(tmp_path_factory.mktemp("cluster"), package)
    try:
        made.start_worker("ada")
        made.start_worker("bob")
        made.wait_for_workers()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Iterator[Cluster]:
    """A scheduler without workers, at first."""
    made = Cluster(tmp_path_factory.mktemp("bare"), package)
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def launcher(cluster: Cluster, retries: int = 0, **bounds: float) -> Iterator[Dask]:
    """Connected, with waits that a test can wait for."""
    short = Bounds(**{"watch": 0.2, "silent": 4.0, "no_workers": 30.0, **bounds})
    where = launch.Cluster(None, cluster.scheduler_file, retries)
    with connected(where, short) as dask:
        yield dask


def sweep_config(*assignments: str) -> lr_sweep.Config:
    made = configs.resolve("lr_sweep", None, (*SWEEP, *assignments)).config
    assert isinstance(made, lr_sweep.Config)
    return made


def sweep(dask: Dask, journal: Any = None, *assignments: str, **surroundings: Any) -> Output:
    context = Context(
        CPU,
        launch=dask,
        workers=2,
        remote=True,
        journal=journal or NoJournal(),
        **surroundings,
    )
    return lr_sweep.run(sweep_config(*assignments), context)


@pytest.fixture(scope="module")
def local() -> str:
    """Results of the sweep on this machine's cores."""
    context = Context(CPU, launch=launch.Threads(2), workers=2)
    return json.dumps(lr_sweep.run(sweep_config(), context).results)


class Watched:
    """A journal in memory; a test may act when a group has been kept."""

    def __init__(self, act: Callable[[Mapping[str, Any]], None] = lambda kept: None) -> None:
        self.kept: list[Mapping[str, Any]] = []
        self.act = act

    def records(self) -> Sequence[dict[str, Any]]:
        return ()

    def append(self, kept: Mapping[str, Any]) -> None:
        json.dumps(kept, allow_nan=False)
        self.kept.append(kept)
        self.act(kept)

    def trials(self) -> list[tuple[float, int]]:
        return [(row["lr"], row["seed"]) for kept in self.kept for row in kept["trials"]]


def other(cluster: Cluster, kept: Mapping[str, Any]) -> str:
    """The worker that is still at work when the first of two has finished."""
    alive = {name for name, process in cluster.workers.items() if process.poll() is None}
    (name,) = alive - {kept["worker"]["worker"]}
    return name


def every_trial(results: Mapping[str, Any]) -> list[tuple[float, int]]:
    return [(row["lr"], row["seed"]) for row in results["trials"]]


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem(sweep_config(), Context(CPU))


def run_jobs(
    dask: Dask, problem: Problem, work: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[int, Any, Any]]:
    jobs = [Job(f"job {args}", work, problem, args) for args in arguments]
    yield from dask(jobs)


# ---- the same numbers


@pytest.mark.real_data
def test_the_default_sweep_has_the_same_results_everywhere(
    cluster: Cluster, fashion_mnist: Path, tmp_path: Path, midterm: Callable[..., Answer]
) -> None:
    common = ("lr-sweep", "--json", "--data-dir", fashion_mnist, "--device", "cpu")
    here = json.loads(midterm(*common, "--output", tmp_path / "here").out)
    dask = ("--launcher", "dask", "--scheduler-file", cluster.scheduler_file)
    there = json.loads(midterm(*common, *dask, "--output", tmp_path / "there").out)

    assert json.dumps(there["results"]) == json.dumps(here["results"])
    assert there["config"] == here["config"]
    computed = there["provenance"]["computed_by"]
    assert {entry["worker"] for entry in computed} == {"ada", "bob"}
    assert all(entry["host"] for entry in computed)
    shared_out = sorted(tuple(trial) for entry in computed for trial in entry["trials"])
    assert shared_out == every_trial(there["results"])
    assert "computed_by" not in here["provenance"]


def test_train_has_the_same_results_and_weights(cluster: Cluster) -> None:
    assignments = ("dataset=synthetic", "num_seeds=3", "epochs=2", "device=cpu")
    config = configs.resolve("train", None, assignments).config
    assert isinstance(config, train.Config)
    here = train.run(config, Context(CPU, launch=launch.Threads(2), workers=2))
    told: list[tuple[int, int]] = []
    with launcher(cluster) as dask:
        context = Context(
            CPU,
            launch=dask,
            workers=dask.workers,
            remote=True,
            progress=lambda done, total, text: told.append((done, total)),
        )
        there = train.run(config, context)

    assert json.dumps(there.results) == json.dumps(here.results)
    assert there.checkpoint is not None
    assert here.checkpoint is not None
    assert there.checkpoint.keys() == here.checkpoint.keys()
    for name, tensor in here.checkpoint.items():
        assert torch.equal(there.checkpoint[name], tensor), name
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]
    shares = [entry["seeds"] for entry in there.provenance["computed_by"]]
    assert sorted(seed for share in shares for seed in share) == [0, 1, 2]


def test_a_worker_computes_on_one_thread_without_denormals_on_the_right_data(
    cluster: Cluster, problem: Problem
) -> None:
    with launcher(cluster) as dask:
        said = list(run_jobs(dask, problem, cluster_jobs.surroundings, [(), ()]))

    assert [tuple(event) for _, event, _ in said] == [(1, 0.0, problem.dataset.sha256)] * 2


def test_only_the_result_of_a_job_travels_each_once(cluster: Cluster, problem: Problem) -> None:
    with launcher(cluster) as dask:
        assert dask.workers == 2
        said = list(run_jobs(dask, problem, cluster_jobs.double, [(n,) for n in range(40)]))

    assert sorted((index, event) for index, event, _ in said) == [(n, 2 * n) for n in range(40)]
    assert {worker["worker"] for _, _, worker in said} == {"ada", "bob"}


def test_data_that_the_workers_do_not_have_is_sent_to_them(cluster: Cluster, folder: Path) -> None:
    mine = folder / "mine"
    mine.mkdir()
    for name, (n, seed) in {"train": (200, 5), "t10k": (50, 6)}.items():
        images, labels = synthetic.draw_shapes(n, (seed,))
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            (mine / f"{name}-{kind}-ubyte").write_bytes(idx.from_values(values).tobytes())
    problem = Problem(sweep_config("dataset=mine"), Context(CPU))
    shutil.rmtree(mine)
    with launcher(cluster) as dask:
        said = list(run_jobs(dask, problem, cluster_jobs.surroundings, [()] * 12))

    assert {event[2] for _, event, _ in said} == {problem.dataset.sha256}
    assert {worker["worker"] for _, _, worker in said} == {"ada", "bob"}


# ---- what goes wrong


def test_a_worker_that_hangs_is_not_waited_for(cluster: Cluster, local: str) -> None:
    hanging: list[str] = []

    def stop(kept: Mapping[str, Any]) -> None:
        if not hanging:
            hanging.append(other(cluster, kept))
            cluster.workers[hanging[0]].send_signal(signal.SIGSTOP)

    journal = Watched(stop)
    try:
        with launcher(cluster) as dask:
            results = sweep(dask, journal).results
    finally:
        cluster.workers[hanging[0]].send_signal(signal.SIGCONT)

    assert json.dumps(results) == local
    assert sorted(journal.trials()) == every_trial(results)
    by_hanging = [kept for kept in journal.kept if kept["worker"]["worker"] == hanging[0]]
    assert len(by_hanging) <= 1  # what had arrived just then


def test_a_worker_that_is_killed_is_replaced_by_the_others(cluster: Cluster, local: str) -> None:
    killed: list[str] = []

    def kill(kept: Mapping[str, Any]) -> None:
        if not killed:
            killed.append(other(cluster, kept))
            cluster.workers[killed[0]].kill()

    journal = Watched(kill)
    with launcher(cluster) as dask:
        results = sweep(dask, journal).results
    cluster.start_worker("cyd")

    assert json.dumps(results) == local
    assert sorted(journal.trials()) == every_trial(results)
    by_killed = [kept for kept in journal.kept if kept["worker"]["worker"] == killed[0]]
    assert len(by_killed) <= 1  # what had arrived just then


def test_a_driver_that_is_killed_is_continued(
    cluster: Cluster, folder: Path, midterm: Callable[..., Answer], local: str
) -> None:
    cluster.wait_for_workers()
    arguments = ["lr-sweep", *(f"--set={assignment}" for assignment in SWEEP), "--output=run"]
    arguments += ["--launcher=dask", f"--scheduler-file={cluster.scheduler_file}"]
    journal = folder / ".run.partial" / "journal.jsonl"
    command = [sys.executable, "-m", "midterm_cli", *arguments]
    with subprocess.Popen(
        command,
        env=environment(cluster.package),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as driver:
        wait_until(lambda: journal.exists() and b"\n" in journal.read_bytes(), "a first group")
        assert listening_addresses(driver.pid) == set()
        driver.kill()
    kept = [json.loads(line) for line in journal.read_bytes().split(b"\n")[:-1]]
    with journal.open("ab") as file:
        file.write(b'{"key": "torn')

    answer = midterm(*arguments, "--resume", "--json")

    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    assert json.dumps(document["results"]) == local
    computed = document["provenance"]["computed_by"]
    shared_out = [tuple(trial) for entry in computed for trial in entry["trials"]]
    assert sorted(shared_out) == every_trial(document["results"])
    assert 0 < len(kept) < len(shared_out)
    assert not journal.exists()


def test_a_group_that_fails_is_named_and_the_others_go_on(
    cluster: Cluster, problem: Problem, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = tmp_path / "tried"
    jobs = [Job(f"group {n}", cluster_jobs.double, problem, (n,)) for n in range(6)]
    jobs[2] = Job("group 2", cluster_jobs.fail, problem, (tried,))
    said: list[int] = []
    with launcher(cluster, retries=2) as dask, pytest.raises(UserError) as raised:
        said.extend(event for _, event, _ in dask(jobs))

    assert sorted(said) == [0, 2, 6, 8, 10]
    assert tried.read_text() == "xxx"
    first, second = str(raised.value).split("\n")
    assert first.startswith(r"1 of 6 groups failed: group 2: ValueError: the disk is full\nof")
    assert "on worker " in first
    assert "--resume" in second
    assert "Warning: failed, group 2" in capsys.readouterr().err


def test_what_is_let_go_of_stops_on_the_worker(
    cluster: Cluster, problem: Problem, tmp_path: Path
) -> None:
    cluster.wait_for_workers()
    clocks = [tmp_path / "1", tmp_path / "2"]
    with launcher(cluster) as dask:
        jobs = [Job("group", cluster_jobs.tick, problem, (clock,)) for clock in clocks]
        when(
            lambda: all(clock.exists() for clock in clocks),
            lambda: os.kill(os.getpid(), signal.SIGINT),
        )
        with pytest.raises(KeyboardInterrupt):
            next(dask(jobs))
        # Both workers are free again, long before the minute that the groups would take.
        after = list(run_jobs(dask, problem, cluster_jobs.double, [(n,) for n in range(4)]))

    assert len(after) == 4
    times = [clock.read_text() for clock in clocks]
    time.sleep(0.2)
    assert [clock.read_text() for clock in clocks] == times


def when(holds: Callable[[], object], act: Callable[[], object]) -> None:
    """Act, from another thread, once something holds."""

    def wait() -> None:
        wait_until(holds, "groups at work")
        act()

    threading.Thread(target=wait).start()


# ---- who may compute


def test_a_worker_that_joins_with_other_versions_computes_nothing(
    cluster: Cluster, problem: Problem, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check in each task: it holds for workers that were never asked."""
    with launcher(cluster, no_workers=0.5) as dask:
        dask.crew.facts["torch"] = "0.4"
        with pytest.raises(UserError, match="no worker that may compute"):
            list(run_jobs(dask, problem, cluster_jobs.double, [(1,)]))


def test_without_workers_it_waits_a_bounded_time_and_names_the_remedy(
    bare: Cluster, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="dask worker"), launcher(bare, no_workers=0.5):
        pass
    assert "no workers yet: waiting" in capsys.readouterr().err


def test_a_worker_with_other_code_is_refused_by_name(
    bare: Cluster, problem: Problem, folder: Path, tmp_path: Path, midterm: Callable[..., Answer]
) -> None:
    older = copy_package(tmp_path / "older")
    with (older / "midterm_cli" / "part3" / "sgd.py").open("a") as file:
        file.write("# an older state\n")
    bare.start_worker("old", older)
    bare.wait_for_workers()
    arguments = ("lr-sweep", "--set=dataset=synthetic", "--output=run", "--launcher=dask")

    alone = midterm(*arguments, "--scheduler-file", bare.scheduler_file)
    assert alone.code == 2
    assert alone.err.startswith("Error: no work for worker old (code ")
    assert "install there what is installed here" in alone.err
    assert not list(folder.glob("*run*"))

    bare.start_worker("new")
    bare.wait_for_workers()
    with launcher(bare) as dask:
        assert dask.workers == 1
        said = list(run_jobs(dask, problem, cluster_jobs.double, [(n,) for n in range(8)]))
    assert {worker["worker"] for _, _, worker in said} == {"new"}


@pytest.mark.parametrize("end", [signal.SIGSTOP, signal.SIGKILL])
def test_a_scheduler_that_hangs_or_dies_ends_the_run_and_says_how_to_go_on(
    end: signal.Signals, bare: Cluster, problem: Problem, tmp_path: Path
) -> None:
    if "new" not in bare.workers:
        bare.start_worker("new")
    bare.wait_for_workers()
    clock = tmp_path / "clock"
    with launcher(bare) as dask:
        dask.crew.bounds = Bounds(ask=0.5, watch=0.2, silent=1)
        said = dask([Job("group", cluster_jobs.tick, problem, (clock,))])
        when(clock.exists, lambda: bare.scheduler.send_signal(end))
        with pytest.raises(UserError) as raised:
            next(said)
    bare.scheduler.send_signal(signal.SIGCONT)

    assert "is gone: start it again" in str(raised.value)
    assert "--resume" in str(raised.value)


# ---- where it is


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere", "tls://127.0.0.1:1"])
def test_a_dead_address_is_one_line(
    address: str, folder: Path, midterm: Callable[..., Answer]
) -> None:
    assert Bounds().connect < 10
    answer = midterm("lr-sweep", "--launcher", "dask", "--address", address, "--output", "run")

    assert answer.code == 2
    assert answer.err.startswith(f"Error: no Dask scheduler answers at {address} (")
    assert answer.err.count("\n") == 1
    assert list(folder.iterdir()) == []


def test_the_address_of_a_worker_is_not_that_of_a_scheduler(cluster: Cluster) -> None:
    with launcher(cluster) as dask:
        worker = next(iter(dask.crew.usable))
    with pytest.raises(UserError, match=r"\(a Worker does\)"), connected(launch.Cluster(worker)):
        pass


@pytest.mark.parametrize("content", ["", "[]", "{}", None])
def test_a_scheduler_file_without_an_address_is_named(content: str | None, folder: Path) -> None:
    path = folder / "scheduler.json"
    if content is not None:
        path.write_text(content)
    where = connected(launch.Cluster(None, Path("scheduler.json")))
    with pytest.raises(UserError, match=r"cannot read the scheduler file scheduler\.json: "), where:
        pass


def test_nothing_listens_outside_loopback(cluster: Cluster) -> None:
    addresses = set()
    for process in [*cluster.processes(), None]:
        if process is None or process.poll() is None:
            addresses |= listening_addresses(os.getpid() if process is None else process.pid)
    assert addresses == {"0100007F"}  # 127.0.0.1, as the kernel writes it
