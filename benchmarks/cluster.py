"""What `--launcher dask` gains and costs, with everything on this machine and on loopback.

    python -m benchmarks.cluster [--workers N …] [--seconds S …] [--rounds N]

First a sweep with 40 seeds on one and on two cores, as threads of this process and as workers of a
scheduler, in turns: median [smallest, largest].

Then what it costs to hand out groups, from 1 to 1,000 workers that sleep instead of computing, many
in one process:

    scheduler, driver   processor time that a group costs them, when it is no work at all
    idle                share of a core that the scheduler needs when there is nothing to hand out
    bound               groups a second, at which the busier of the two has no time left
    for 90 %            length of a group at which so many workers ask for nine tenths of that
    efficiency          share of the workers' time that is spent in groups of S seconds, measured
                        here, where they share these cores with the scheduler

Writes outputs/bench/cluster.json as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console

from benchmarks.bench import Rows, as_table, race, spread
from benchmarks.sleeping import sleep
from midterm_cli.config.resolve import resolve
from midterm_cli.data.datasets import data_dir
from midterm_cli.experiment import Context, Job
from midterm_cli.launch.dask import Dask, connected
from midterm_cli.launch.launcher import Launcher
from midterm_cli.launch.local import Threads
from midterm_cli.launch.options import Cluster
from midterm_cli.part3.lr_sweep.run import run
from midterm_cli.part3.lr_sweep.schema import Config
from midterm_cli.part3.problem import Problem

_WORKERS_A_PROCESS = 250
_GOAL = 0.9
_IDLE_SECONDS = 10.0


@contextmanager
def cluster(num_workers: int, *, sleeping: bool) -> Iterator[tuple[Dask, psutil.Process]]:
    """A launcher on so many workers, and the scheduler; all processes are stopped in the end."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = Path(folder, "scheduler.json")
        local = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
        local += ["--scheduler-file", str(file)]
        scheduler = _start(stack, "distributed.cli.dask_scheduler", "--port", "0", *local)
        while not file.exists():
            time.sleep(0.05)
        if sleeping:
            for first in range(0, num_workers, _WORKERS_A_PROCESS):
                count = min(num_workers - first, _WORKERS_A_PROCESS)
                _start(stack, "benchmarks.sleeping", str(file), f"from{first}", str(count))
        else:
            for _ in range(num_workers):
                _start(
                    stack, "distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny", *local
                )
        with connected(Cluster(None, file)) as dask:
            while dask.workers < num_workers:
                time.sleep(1)
                dask.refresh()
            yield dask, psutil.Process(scheduler.pid)


def _start(stack: ExitStack, module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a module as a process; it is killed, by its id, when the stack is left."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def measure_speed(rounds: int) -> Rows:
    """Seconds of the sweep, and how many times faster it is than on one core."""
    config = resolve("lr_sweep", None, ["num_seeds=40"]).config
    assert isinstance(config, Config)
    with ExitStack() as stack:
        launchers: dict[str, Launcher] = {}
        for cores in (1, 2):
            launchers[f"local, cores: {cores}"] = Threads(cores)
            dask, _ = stack.enter_context(cluster(cores, sleeping=False))
            launchers[f"dask, workers: {cores}"] = dask

        def sweep(launcher: Launcher) -> int:
            context = Context(
                torch.device("cpu"),
                data_dir(),
                launch=launcher,
                workers=launcher.workers,
                remote=launcher.remote,
            )
            run(config, context)
            return 1

        contestants = {name: partial(sweep, launcher) for name, launcher in launchers.items()}
        seconds = race(contestants, rounds)
    alone = seconds["local, cores: 1"]
    return [
        {
            "name": name,
            "seconds": spread(values),
            "times_faster": spread([a / b for a, b in zip(alone, values, strict=True)]),
        }
        for name, values in seconds.items()
    ]


def seconds_for(dask: Dask, problem: Problem, num_groups: int, seconds: float) -> float:
    """Wall time of so many groups of so many seconds."""
    jobs = [Job(f"group {i}", sleep, problem, (seconds,)) for i in range(num_groups)]
    begun = time.perf_counter()
    if sum(1 for _ in dask(jobs)) != num_groups:
        raise RuntimeError("a group was lost")
    return time.perf_counter() - begun


def measure_overhead(num_workers: int, group_seconds: list[float]) -> dict[str, Any]:
    """What the table shows of a number of workers; times in seconds."""
    config = resolve("lr_sweep", None, ["dataset=synthetic"]).config
    assert isinstance(config, Config)
    problem = Problem(config, Context(torch.device("cpu")))
    with cluster(num_workers, sleeping=True) as (dask, scheduler):
        seconds_for(dask, problem, 4 * num_workers, 0)  # imports, data, connections
        idle = -_cpu(scheduler)
        time.sleep(_IDLE_SECONDS)
        idle = (idle + _cpu(scheduler)) / _IDLE_SECONDS
        num_groups = max(300, 2 * num_workers)
        before = _cpu(scheduler), time.process_time()
        wall = seconds_for(dask, problem, num_groups, 0)
        of_scheduler = (_cpu(scheduler) - before[0] - idle * wall) / num_groups
        of_driver = (time.process_time() - before[1]) / num_groups
        bound = min((1 - idle) / of_scheduler, 1 / of_driver)
        return {
            "workers": num_workers,
            "scheduler": of_scheduler,
            "driver": of_driver,
            "idle": idle,
            "bound": bound,
            "shortest_group": num_workers / bound / _GOAL,
            "efficiency": {
                str(seconds): 4 * seconds / seconds_for(dask, problem, 4 * num_workers, seconds)
                for seconds in group_seconds
            },
        }


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Measure, print what is measured as it comes, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 10, 100, 1000])
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 5.0])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    console = Console(width=120, highlight=False)
    speed = measure_speed(arguments.rounds) if arguments.rounds else []
    if speed:
        console.print(as_table("A sweep of 40 seeds", speed))
    columns = ["workers", "scheduler (ms)", "driver (ms)", "idle", "bound (1/s)"]
    columns += [f"for {_GOAL:.0%} (s)", *(f"efficiency, {s:g} s" for s in arguments.seconds)]
    console.print(" | ".join(columns))
    rows = []
    for num_workers in arguments.workers:
        row = measure_overhead(num_workers, arguments.seconds)
        rows.append(row)
        cells = [
            f"{num_workers:,}",
            f"{1e3 * row['scheduler']:.1f}",
            f"{1e3 * row['driver']:.1f}",
            f"{row['idle']:.1%}",
            f"{row['bound']:.0f}",
            f"{row['shortest_group']:.2g}",
            *(f"{efficiency:.0%}" for efficiency in row["efficiency"].values()),
        ]
        console.print(
            " | ".join(f"{cell:>{len(c)}}" for cell, c in zip(cells, columns, strict=True))
        )
    path = Path("outputs/bench/cluster.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    results = {"machine": machine, "speed": speed, "overhead": rows}
    path.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    console.print(str(path))


if __name__ == "__main__":
    main()
