"""`--launcher dask` on a scheduler and workers in this process.

What only processes of their own can show, killed and stopped, is in test_dask_processes.py.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask_jobs
import distributed
import pytest
import torch
from answer import Answer

from midterm_cli import source
from midterm_cli.config import resolve
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Event, Job
from midterm_cli.launch import dask_worker
from midterm_cli.launch.dask import Bounds, Dask, connected
from midterm_cli.launch.local import Threads
from midterm_cli.launch.options import Cluster
from midterm_cli.part3.lr_sweep import run as lr_sweep
from midterm_cli.part3.lr_sweep.schema import Config

pytestmark = [
    pytest.mark.usefixtures("_no_sockets_left"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@contextmanager
def local_cluster(num_workers: int = 2) -> Iterator[distributed.LocalCluster]:
    with distributed.LocalCluster(
        n_workers=num_workers,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=60,
    ) as cluster:
        yield cluster


@pytest.fixture
def cluster() -> Iterator[distributed.LocalCluster]:
    """Two workers of one thread, named 0 and 1."""
    with local_cluster() as made:
        yield made


@contextmanager
def launcher(
    cluster: distributed.LocalCluster, retries: int = 0, **bounds: float
) -> Iterator[Dask]:
    """Connected, with waits that a test can wait for."""
    where = Cluster(cluster.scheduler_address, None, retries)
    with connected(where, Bounds(**{"refresh": 0.1, "no_workers": 20.0, **bounds})) as dask:
        yield dask


def run_jobs(
    dask: Dask, work: Callable[..., Iterator[Any]], arguments: Sequence[Any], problem: Any = None
) -> list[Event]:
    return list(dask([Job(f"job {i}", work, problem, given) for i, given in enumerate(arguments)]))


def wait_until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


# ---- jobs and their results


def test_only_the_result_of_a_job_arrives_each_once(cluster: distributed.LocalCluster) -> None:
    with launcher(cluster) as dask:
        assert (dask.workers, dask.remote, dask.forked) == (2, True, 0)
        events = run_jobs(dask, dask_jobs.double, [(n, 0.01) for n in range(20)])
        assert run_jobs(dask, dask_jobs.double, []) == []

    assert sorted((e.job, e.value) for e in events) == [(n, 2 * n) for n in range(20)]
    here = socket.gethostname()
    assert {(e.worker or {})["worker"] for e in events} == {"0", "1"}
    assert {(e.worker or {})["host"] for e in events} == {here}


def test_a_job_computes_on_one_thread_without_denormals(cluster: distributed.LocalCluster) -> None:
    with launcher(cluster) as dask:
        events = run_jobs(dask, dask_jobs.surroundings, [()], {"data": 3})

    assert [e.value for e in events] == [(1, 0.0, {"data": 3})]


def test_a_sweep_has_the_results_of_this_machine_alone(cluster: distributed.LocalCluster) -> None:
    assignments = ["dataset=synthetic", "num_seeds=3", "train_fraction=0.1", "max_rates=4"]
    assignments += ["hidden_sizes=[16]", "activation=identity"]
    config = resolve.resolve("lr_sweep", None, assignments).config
    assert isinstance(config, Config)
    here = Context(torch.device("cpu"), launch=Threads(2), workers=2)
    with launcher(cluster) as dask:
        there = Context(torch.device("cpu"), launch=dask, workers=dask.workers, remote=True)
        output = lr_sweep.run(config, there)

    assert output.results == lr_sweep.run(config, here).results
    assert {row["host"] for row in output.provenance["computed_by"]} == {socket.gethostname()}


def test_a_problem_is_sent_once_to_each_worker(
    cluster: distributed.LocalCluster, tmp_path: Path
) -> None:
    first = dask_jobs.Problem(tmp_path / "first", 20_000_000)
    second = dask_jobs.Problem(tmp_path / "second")
    with launcher(cluster) as dask:
        for _ in range(3):  # calls of one run
            run_jobs(dask, dask_jobs.double, [(n, 0.02) for n in range(10)], first)
        run_jobs(dask, dask_jobs.double, [(n, 0.02) for n in range(10)], second)

    assert first.unpickled.read_text() == second.unpickled.read_text() == "xx"


# ---- what goes wrong


def test_a_group_that_fails_is_named_and_the_others_are_kept(
    cluster: distributed.LocalCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = tmp_path / "tried"
    jobs = [Job(f"group {n}", dask_jobs.double, None, (n,)) for n in range(6)]
    jobs[2] = Job("group 2", dask_jobs.fail, None, (tried,))
    values: list[int] = []
    with launcher(cluster, retries=2) as dask, pytest.raises(UserError) as raised:
        values.extend(event.value for event in dask(jobs))

    assert sorted(values) == [0, 2, 6, 8, 10]
    assert tried.read_text() == "xxx"
    first, second = str(raised.value).split("\n")
    assert first.startswith(r"1 of 6 groups failed: group 2: ValueError: the disk is full\nof")
    assert "on worker " in first
    assert "--resume" in second
    assert "Warning: failed, group 2" in capsys.readouterr().err


def test_of_many_groups_that_fail_three_are_named(
    cluster: distributed.LocalCluster, tmp_path: Path
) -> None:
    with launcher(cluster) as dask, pytest.raises(UserError, match=r"5 of 5 .*; and 2 more\n"):
        run_jobs(dask, dask_jobs.fail, [(tmp_path / "tried",)] * 5)


def test_a_problem_that_cannot_be_read_there_fails_its_groups(
    cluster: distributed.LocalCluster,
) -> None:
    with launcher(cluster) as dask, pytest.raises(UserError, match="no room for the data"):
        run_jobs(dask, dask_jobs.double, [(1,)], dask_jobs.Unreadable())


def test_workers_that_leave_are_replaced_by_those_that_join(
    cluster: distributed.LocalCluster,
) -> None:
    with launcher(cluster) as dask:
        jobs = [Job("job", dask_jobs.double, None, (n, 0.05)) for n in range(20)]
        events = dask(jobs)
        values = [next(events).value]
        cluster.scale(0)
        wait_until(lambda: not cluster.scheduler_info["workers"])
        cluster.scale(1)
        rest = list(events)

    assert sorted(values + [event.value for event in rest]) == [2 * n for n in range(20)]


def test_a_worker_that_joins_later_computes_too(cluster: distributed.LocalCluster) -> None:
    with launcher(cluster) as dask:
        events = dask([Job("job", dask_jobs.double, None, (n, 0.1)) for n in range(30)])
        first = next(events)
        cluster.scale(3)
        workers = {(event.worker or {})["worker"] for event in (first, *events)}

    assert workers == {"0", "1", "2"}


def test_what_is_interrupted_stops_on_the_workers(
    cluster: distributed.LocalCluster, tmp_path: Path
) -> None:
    clocks = [tmp_path / "1", tmp_path / "2"]

    def interrupt() -> None:
        wait_until(lambda: all(clock.exists() for clock in clocks))
        os.kill(os.getpid(), signal.SIGINT)

    with launcher(cluster) as dask:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            run_jobs(dask, dask_jobs.tick, [(clock,) for clock in clocks])
        # Both workers are free again, long before the minute that the jobs would take.
        assert len(run_jobs(dask, dask_jobs.double, [(n,) for n in range(4)])) == 4
    times = [clock.read_text() for clock in clocks]
    time.sleep(0.2)
    assert [clock.read_text() for clock in clocks] == times


def test_a_scheduler_that_is_lost_ends_the_run_and_it_says_how_to_resume(
    cluster: distributed.LocalCluster,
) -> None:
    scheduler: Any = cluster.scheduler

    async def disconnect() -> None:
        for comm in scheduler.client_comms.values():
            comm.abort()

    with launcher(cluster) as dask:
        events = dask([Job("job", dask_jobs.double, None, (n, 0.1)) for n in range(20)])
        next(events)
        cluster.sync(disconnect)
        with pytest.raises(UserError, match=r"is gone: start it again\n.*--resume"):
            list(events)


# ---- who may compute


def test_without_workers_it_waits_a_bounded_time_and_names_the_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with local_cluster(0) as cluster:
        where = launcher(cluster, no_workers=0.5)
        with pytest.raises(UserError, match=r"no worker that may compute .*`dask worker`"), where:
            pass
    assert "has no workers yet: waiting" in capsys.readouterr().err


def test_it_waits_for_the_first_worker() -> None:
    with local_cluster(0) as cluster:
        threading.Timer(0.3, cluster.scale, (1,)).start()
        with launcher(cluster) as dask:
            assert dask.workers == 1


def run_other_code(monkeypatch: pytest.MonkeyPatch, *others: bool) -> None:
    """Make some of those that are asked run other code: first the driver, then the workers."""
    same, answers = dask_worker.versions(), iter(others)

    def versions() -> dict[str, str]:
        return {**same, "code": "0123456789abcdef"} if next(answers) else same

    monkeypatch.setattr(dask_worker, "versions", versions)


def test_a_worker_with_other_code_gets_no_work_and_is_named(
    cluster: distributed.LocalCluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_other_code(monkeypatch, False, True, False)
    with launcher(cluster) as dask:
        assert dask.workers == 1
        events = run_jobs(dask, dask_jobs.double, [(n, 0.01) for n in range(20)])

    (worker,) = {(event.worker or {})["worker"] for event in events}
    refused = {"0": "1", "1": "0"}[worker]
    warning = capsys.readouterr().err
    assert warning.startswith(f"Warning: no work for worker {refused} (code 0123456789abcdef inst")
    assert "install there what is installed here" in warning


def test_a_worker_with_other_code_that_joins_later_gets_no_work_either(
    cluster: distributed.LocalCluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_other_code(monkeypatch, False, False, False, True)
    with launcher(cluster) as dask:
        events = dask([Job("job", dask_jobs.double, None, (n, 0.1)) for n in range(20)])
        first = next(events)
        cluster.scale(3)
        workers = {(event.worker or {})["worker"] for event in (first, *events)}

    assert workers == {"0", "1"}
    assert "no work for worker 2 (code 0123456789abcdef instead" in capsys.readouterr().err


def test_if_all_workers_have_other_code_that_is_the_error(
    cluster: distributed.LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_other_code(monkeypatch, True, False, False)
    with pytest.raises(UserError) as raised, launcher(cluster):
        pass
    assert str(raised.value).startswith("no work for workers 0, 1 (code ")
    assert "instead of 0123456789abcdef" in str(raised.value)


def test_code_that_has_changed_on_the_disk_is_other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dask_worker.versions()
    monkeypatch.setattr(source, "digest", lambda: "0123456789abcdef")
    after = dask_worker.versions()

    assert before["code"] == source.loaded()
    assert {name for name in before if before[name] != after[name]} == {"code"}


# ---- where the scheduler is


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere", "tls://127.0.0.1:1"])
def test_a_dead_address_is_one_line(address: str) -> None:
    where = connected(Cluster(address), Bounds(connect=0.5))
    with pytest.raises(UserError) as raised, where:
        pass
    assert str(raised.value).startswith(f"no Dask scheduler answers at {address} (")
    assert "\n" not in str(raised.value)


def test_it_takes_seconds_to_find_that_no_scheduler_answers() -> None:
    assert Bounds().connect < 10


def test_what_is_there_may_be_something_else(cluster: distributed.LocalCluster) -> None:
    (worker, _) = cluster.scheduler_info["workers"]
    with pytest.raises(UserError, match=r"\(a Worker does\)"), connected(Cluster(worker)):
        pass


@pytest.mark.parametrize("content", ["", "[]", "{}", None])
def test_a_scheduler_file_without_an_address_is_named(content: str | None, folder: Path) -> None:
    if content is not None:
        Path("scheduler.json").write_text(content)
    where = connected(Cluster(None, Path("scheduler.json")))
    with pytest.raises(UserError, match=r"cannot read the scheduler file scheduler\.json: "), where:
        pass


def test_a_scheduler_file_names_the_scheduler(
    cluster: distributed.LocalCluster, folder: Path
) -> None:
    Path("scheduler.json").write_text(json.dumps({"address": cluster.scheduler_address}))
    with connected(Cluster(None, Path("scheduler.json"))) as dask:
        assert dask.workers == 2


def test_no_run_is_begun_where_no_scheduler_answers(
    folder: Path, midterm: Callable[..., Answer]
) -> None:
    answer = midterm("lr-sweep", "--launcher", "dask", "--address", "nowhere", "--output", "run")

    assert answer.code == 2
    assert answer.err.startswith("Error: no Dask scheduler answers at nowhere (")
    assert answer.err.count("\n") == 1
    assert list(folder.iterdir()) == []
