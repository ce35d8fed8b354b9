"""`--launcher dask` on processes that are killed, stopped, or run other code."""

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
from typing import Any, TypeVar

import dask_jobs
import pytest
import torch
from answer import Answer
from dask_cluster import Cluster, environment, listening_addresses, wait_until

import midterm_cli
from midterm_cli.config import presets, resolve
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Job
from midterm_cli.launch.dask import Bounds, Dask, connected
from midterm_cli.launch.local import Threads
from midterm_cli.launch.options import Cluster as Address
from midterm_cli.part3.lr_sweep import run as lr_sweep
from midterm_cli.part3.lr_sweep.schema import Config, Results

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("_no_sockets_left"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

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

T = TypeVar("T")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler with two workers; a test that ends one starts another."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.start_worker("ada")
        made.start_worker("bob")
        made.wait_for_workers()
        yield made
    finally:
        made.stop()


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler without workers, at first."""
    (tmp_path / "bare").mkdir()
    made = Cluster(tmp_path / "bare")
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def launcher(cluster: Cluster, **bounds: float) -> Iterator[Dask]:
    """Connected, with waits that a test can wait for."""
    where = Address(None, cluster.scheduler_file, 0)
    with connected(where, Bounds(**{"refresh": 0.2, "no_workers": 30.0, **bounds})) as dask:
        yield dask


def sweep(journal: Any, launch: Any, remote: bool) -> Results:
    config = resolve.resolve("lr_sweep", None, SWEEP).config
    assert isinstance(config, Config)
    context = Context(CPU, launch=launch, workers=2, remote=remote, journal=journal)
    results = lr_sweep.run(config, context).results
    assert isinstance(results, Results)
    return results


class Watched:
    """A journal in memory; a test may act when a group has been kept."""

    def __init__(self, act: Callable[[Mapping[str, Any]], None] = lambda kept: None) -> None:
        self.kept: list[Mapping[str, Any]] = []
        self.act = act

    def records(self, read: Callable[[Any], T]) -> Sequence[T]:
        return ()

    def append(self, kept: Mapping[str, Any]) -> None:
        self.kept.append(kept)
        self.act(kept)

    def trials(self) -> list[tuple[float, int]]:
        return sorted((row["lr"], row["seed"]) for kept in self.kept for row in kept["trials"])


def every_trial(results: Results) -> list[tuple[float, int]]:
    return [(trial.lr, trial.seed) for trial in results.trials]


@pytest.fixture(scope="module")
def local() -> Results:
    """Results of the sweep on this machine's cores."""
    return sweep(Watched(), Threads(2), remote=False)


# ---- what goes wrong


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_hangs_is_done_without(
    end: signal.Signals, cluster: Cluster, local: Results
) -> None:
    ended: list[str] = []

    def act(kept: Mapping[str, Any]) -> None:
        """End the worker that is still at work when the first of two has finished."""
        if not ended:
            alive = {name for name, process in cluster.workers.items() if process.poll() is None}
            ended.extend(alive - {kept["worker"]["worker"]})
            cluster.workers[ended[0]].send_signal(end)

    journal = Watched(act)
    try:
        with launcher(cluster) as dask:
            results = sweep(journal, dask, remote=True)
    finally:
        cluster.workers[ended[0]].kill()
        cluster.start_worker(f"after {ended[0]}")
        cluster.wait_for_workers()

    assert results == local
    assert journal.trials() == every_trial(results)
    by_ended = [kept for kept in journal.kept if kept["worker"]["worker"] == ended[0]]
    assert len(by_ended) <= 1  # what had arrived just then


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_killed_or_interrupted_is_resumed(
    end: signal.Signals,
    cluster: Cluster,
    folder: Path,
    midterm: Callable[..., Answer],
    local: Results,
) -> None:
    arguments = ["lr-sweep", *(f"--set={assignment}" for assignment in SWEEP), "--output=run"]
    arguments += ["--launcher=dask", f"--scheduler-file={cluster.scheduler_file}"]
    journal = folder / ".run.partial" / "journal.jsonl"
    command = [sys.executable, "-m", "midterm_cli", *arguments]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as driver:
        wait_until(lambda: journal.exists() and b"\n" in journal.read_bytes(), "a first group")
        assert listening_addresses(driver.pid) == set()
        driver.send_signal(end)
    assert driver.returncode == -end
    kept = [json.loads(line) for line in journal.read_bytes().split(b"\n")[:-1]]

    answer = midterm(*arguments, "--resume", "--json")

    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    assert document["results"] == local.model_dump(mode="json")
    computed = document["provenance"]["computed_by"]
    trials = [tuple(trial) for entry in computed for trial in entry["trials"]]
    assert sorted(trials) == every_trial(local)
    assert 0 < sum(len(record["trials"]) for record in kept) < len(trials)
    assert not journal.exists()


@pytest.mark.parametrize("end", [signal.SIGSTOP, signal.SIGKILL])
def test_a_scheduler_that_hangs_or_dies_ends_the_run_and_it_says_how_to_resume(
    end: signal.Signals, bare: Cluster, tmp_path: Path
) -> None:
    bare.start_worker("ada")
    clock = tmp_path / "clock"

    def act() -> None:
        wait_until(clock.exists, "a job at work")
        bare.scheduler.send_signal(end)

    with launcher(bare, scheduler=1, worker=1) as dask:
        threading.Thread(target=act).start()
        with pytest.raises(UserError, match=r"is gone: start it again\n.*--resume"):
            list(dask([Job("job", dask_jobs.tick, None, (clock,))]))
    bare.scheduler.send_signal(signal.SIGCONT)


# ---- who may compute


def copy_package(folder: Path) -> Path:
    """Copy the package and its configs, as the wheel holds them; returns what to import it from."""
    package = Path(midterm_cli.__file__).parent
    ignore = shutil.ignore_patterns("__pycache__", "configs")
    shutil.copytree(package, folder / "midterm_cli", ignore=ignore)
    shutil.copytree(presets.configs_dir(), folder / "midterm_cli" / "configs")
    return folder


def test_a_worker_with_other_code_is_refused_by_name(
    bare: Cluster, folder: Path, tmp_path: Path, midterm: Callable[..., Answer]
) -> None:
    older = copy_package(tmp_path / "older")
    with (older / "midterm_cli" / "part3" / "search.py").open("a") as file:
        file.write("# an older state\n")
    bare.start_worker("old", older)
    bare.wait_for_workers()
    arguments = ("lr-sweep", *(f"--set={assignment}" for assignment in SWEEP), "--output=run")
    arguments += ("--launcher=dask", f"--scheduler-file={bare.scheduler_file}")

    alone = midterm(*arguments)
    assert alone.code == 2
    assert alone.err.startswith("Error: no work for worker old (code ")
    assert "install there what is installed here" in alone.err
    assert not list(folder.glob("*run*"))

    bare.start_worker("new", copy_package(tmp_path / "same"))
    bare.wait_for_workers()
    beside = midterm(*arguments, "--json")
    assert beside.code == 0
    assert "Warning: no work for worker old (code " in beside.err
    computed = json.loads(beside.out)["provenance"]["computed_by"]
    assert {entry["worker"] for entry in computed} == {"new"}


def test_a_worker_without_midterm_is_refused_by_name(bare: Cluster, tmp_path: Path) -> None:
    (tmp_path / "midterm_cli").mkdir()
    (tmp_path / "midterm_cli" / "__init__.py").touch()
    bare.start_worker("none", tmp_path)
    bare.wait_for_workers()
    with pytest.raises(UserError, match=r"worker none \(no midterm like this"), launcher(bare):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="sockets are read from /proc")
def test_nothing_listens_outside_loopback(cluster: Cluster) -> None:
    with launcher(cluster):
        pids = [os.getpid(), *(process.pid for process in cluster.processes())]
        addresses = set[str]().union(*map(listening_addresses, pids))
    assert addresses == {"0100007F"}  # 127.0.0.1, as the kernel writes it


def test_jobs_of_a_driver_that_is_killed_stop(cluster: Cluster, tmp_path: Path) -> None:
    clock, script = tmp_path / "clock", tmp_path / "driver.py"
    script.write_text(
        "import sys, dask_jobs\n"
        "from pathlib import Path\n"
        "from midterm_cli.experiment import Job\n"
        "from midterm_cli.launch.dask import connected\n"
        "from midterm_cli.launch.options import Cluster\n"
        "with connected(Cluster(None, Path(sys.argv[1]))) as dask:\n"
        "    list(dask([Job('job', dask_jobs.tick, None, (Path(sys.argv[2]),))]))\n"
    )
    command = [sys.executable, str(script), str(cluster.scheduler_file), str(clock)]
    with subprocess.Popen(command, env=environment()) as driver:
        wait_until(clock.exists, "a job at work")
        driver.kill()

    def stands_still() -> bool:
        before = clock.read_text()
        time.sleep(0.5)
        return clock.read_text() == before

    wait_until(stands_still, "the end of the job")
