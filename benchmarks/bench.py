"""Speed and memory, as ratios against plain PyTorch that are measured side by side in one run.

    python -m benchmarks.bench [--only SECTION …] [--rounds N]

Contestants take turns, round by round; a ratio is formed within each round, and the table gives
its median with the smallest and the largest. Writes outputs/bench/bench.json as well.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.by_jax import jax_loop
from benchmarks.plain import make_net, notebook_loop, optimizer_loop
from midterm_cli.config import resolve
from midterm_cli.data.datasets import data_dir
from midterm_cli.experiment import Context, Job
from midterm_cli.launch.launcher import Launcher, launcher, num_workers
from midterm_cli.part3.ensemble import Ensemble
from midterm_cli.part3.lr_sweep.run import run as run_sweep
from midterm_cli.part3.lr_sweep.schema import Config as SweepConfig
from midterm_cli.part3.network import MLP
from midterm_cli.part3.problem import Problem, arithmetic
from midterm_cli.part3.train.run import run as run_training
from midterm_cli.part3.train.schema import Config as TrainConfig
from midterm_cli.runner.provenance import now
from midterm_cli.source import git_commit

CPU = torch.device("cpu")
CORES = num_workers(CPU)
# A contestant does some work and returns how many units it was (models × steps).
Contestant = Callable[[], int]
Rows = list[dict[str, Any]]


def race(
    contestants: Mapping[str, Contestant], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds a unit for each contestant and round; every contestant runs once in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    if warm_up:  # of caches; nothing of ours compiles
        for contestant in contestants.values():
            contestant()
    for _ in range(rounds):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            units = contestant()
            seconds[name].append((time.perf_counter() - start) / units)
    return seconds


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def compared(seconds: Mapping[str, list[float]], baseline: str) -> Rows:
    """A row for each contestant: its time, and how many times faster than the baseline it is."""
    return [
        {
            "name": name,
            "microseconds": spread([1e6 * value for value in values]),
            "times_faster": spread(
                [base / value for base, value in zip(seconds[baseline], values, strict=True)]
            ),
        }
        for name, values in seconds.items()
    ]


def make_problem(*assignments: str) -> Problem:
    """The learning problem of `midterm train`, with some keys changed."""
    config = cast(TrainConfig, resolve.resolve("train", None, assignments).config)
    return Problem(config, Context(CPU, data_dir()))


def sizes_of(problem: Problem) -> tuple[int, ...]:
    """Of the perceptron."""
    assert isinstance(problem.network, MLP)
    return problem.network.sizes


def our_steps(ensemble: Ensemble, num: int) -> Contestant:
    """At least so many steps of an ensemble, the gathering of minibatches included."""

    def chunks() -> Iterator[int]:
        for epoch in count(1):
            before = 0
            for after in ensemble.train(epoch):
                yield after - before
                before = after

    made = chunks()

    def steps() -> int:
        total = 0
        while total < num:
            total += next(made)
        return total * len(ensemble.seeds)

    return steps


def plain_steps(steps: Callable[[int], object], num: int, num_models: int = 1) -> Contestant:
    """So many steps of a plain loop."""

    def run() -> int:
        steps(num)
        return num * num_models

    return run


def on_threads(threads: int, contestant: Contestant) -> Contestant:
    """A contestant with so many intra-op threads; PyTorch by itself takes all cores."""

    def run() -> int:
        with arithmetic(threads):
            return contestant()

    return run


def plain_data(problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    """Centred float32 images and labels of one seed's subset, as a plain loop holds them."""
    subset = problem.subset(0)
    rows = torch.from_numpy(subset.rows)
    x = problem.train.images[rows].float() - torch.from_numpy(subset.mean).float()
    x *= subset.factor
    return x, problem.train.labels[rows]


def bench_step(rounds: int) -> Rows:
    """One step of a model, with and without averages, for several K."""
    with launcher(CPU, None) as launch, arithmetic(1):
        return race_steps(launch, rounds)


def race_steps(launch: Launcher, rounds: int) -> Rows:
    """The race of `bench_step`."""
    problem = make_problem()
    x, y = plain_data(problem)
    sizes = sizes_of(problem)
    contestants: dict[str, Contestant] = {}
    for text, gamma in (("with an average", 1e-3), ("without", None)):
        gammas = () if gamma is None else (gamma,)
        for name, loop in (("notebook loop", notebook_loop), ("torch.optim.SGD", optimizer_loop)):
            steps = loop(x, y, make_net(sizes), 1e-3, gamma, 8)
            contestants[f"{name}, {text}"] = on_threads(CORES, plain_steps(steps, 400))
        for num in (1, 4, 16):
            ensemble = problem.ensemble(range(num), [1e-3] * num, gammas)
            contestants[f"ours, K = {num}, one core, {text}"] = our_steps(ensemble, 1600 // num)
        for num in (16, 32, 64):
            contestants[f"ours, K = {num}, all cores, {text}"] = on_all_cores(
                launch, problem, num, gammas
            )
    for cores, name in ((1, "one core"), (CORES, "all cores")):
        contestants[f"bound: speed of a large matmul, {name}"] = on_cores(launch, problem, cores)
    seconds = race(contestants, rounds)
    rows = compared(seconds, "notebook loop, with an average")
    for row in rows:
        name = "all cores" if "all cores" in row["name"] else "one core"
        bound = seconds[f"bound: speed of a large matmul, {name}"]
        both = zip(bound, seconds[row["name"]], strict=True)
        row["share_of_bound"] = spread([least / ours for least, ours in both])
    return rows


def on_all_cores(
    launch: Launcher, problem: Problem, num: int, gammas: tuple[float, ...]
) -> Contestant:
    """An epoch of K fresh models in groups, launched as `train` and `lr-sweep` launch theirs."""
    jobs = [
        Job(f"seeds {seeds}", one_epoch, problem, (seeds, gammas))
        for seeds in problem.groups(range(num), launch.workers)
    ]

    def run() -> int:
        for _ in launch(jobs):
            pass
        return num * problem.num_updates

    return run


def one_epoch(
    problem: Problem, seeds: tuple[int, ...], gammas: tuple[float, ...]
) -> Iterator[None]:
    """Train a group for an epoch."""
    for _ in problem.ensemble(seeds, [1e-3] * len(seeds), gammas).train(1):
        yield None


SIDE, REPEATS = 1024, 20


def on_cores(launch: Launcher, problem: Problem, cores: int) -> Contestant:
    """The multiplications of many steps as large matmuls, on so many cores at once.

    What the cores of a machine give together is often less than what one gives, times their number.
    """
    sizes = sizes_of(problem)
    # Forward, gradient of the weights, and gradient of the inputs but for the first layer.
    weights = [fan_in * fan_out for fan_in, fan_out in pairwise(sizes)]
    flops = 2 * 8 * (3 * sum(weights) - weights[0])
    jobs = [Job(f"core {i}", large_matmuls, problem, ()) for i in range(cores)]

    def run() -> int:
        for _ in launch(jobs):
            pass
        return max(1, round(cores * REPEATS * 2 * SIDE**3 / flops))

    return run


def large_matmuls(problem: Problem) -> Iterator[None]:
    """Multiply large matrices."""
    a, b, out = torch.ones(3, SIDE, SIDE).unbind()
    for _ in range(REPEATS):
        torch.mm(a, b, out=out)
    yield None


OPTIMIZERS: dict[str, tuple[list[str], Callable[..., torch.optim.Optimizer]]] = {
    "sgd": ([], torch.optim.SGD),
    "momentum": (["momentum=0.9"], partial(torch.optim.SGD, momentum=0.9)),
    "adam": (["optimizer=adam"], torch.optim.Adam),
}


def bench_optimizers(rounds: int) -> Rows:
    """One step of a model under each optimiser, without average, on one core."""
    problem = make_problem()
    x, y = plain_data(problem)
    contestants: dict[str, Contestant] = {}
    for name, (keys, make_optimizer) in OPTIMIZERS.items():
        net = make_net(sizes_of(problem))
        loop = optimizer_loop(x, y, net, 1e-4, None, 8, make_optimizer)
        contestants[f"{name}, torch.optim"] = plain_steps(loop, 400)
        for num in (1, 16):
            ensemble = make_problem(*keys).ensemble(range(num), [1e-4] * num)
            contestants[f"{name}, ours, K = {num}"] = our_steps(ensemble, 1600 // num)
    with arithmetic(1):
        seconds = race(contestants, rounds)
    rows = compared(seconds, "sgd, torch.optim")
    for row in rows:
        name, _, who = row["name"].partition(", ")
        own, plain = seconds[row["name"]], seconds[f"sgd, {who}"]
        loop_of_it = seconds[f"{name}, torch.optim"]
        row["times_faster"] = spread([b / a for a, b in zip(own, loop_of_it, strict=True)])
        row["times_sgd"] = spread([a / b for a, b in zip(own, plain, strict=True)])
    return rows


def bench_modules(rounds: int) -> Rows:
    """One step of LeNet and of a user's module, without average, on one core."""
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "residual.py"
        file.write_text(_RESIDUAL, encoding="utf-8")
        for name, network in (("LeNet", "conv_stack"), ("a user's module", f"{file}:Residual")):
            problem = make_problem(f"network={network}", "normalize=unit")
            x, y = plain_data(problem)
            x = x.view(-1, 1, *problem.dataset.train.images.shape[1:])
            contestants: dict[str, Contestant] = {}
            for text, loop in (("notebook loop", notebook_loop), ("torch.optim", optimizer_loop)):
                steps = loop(x, y, problem.network.module().train(), 1e-3, None, 8)
                contestants[f"{name}, {text}"] = plain_steps(steps, 100)
            for num in (1, 16):
                ensemble = problem.ensemble(range(num), [1e-3] * num)
                contestants[f"{name}, ours, K = {num}"] = our_steps(ensemble, max(8, 100 // num))
            with arithmetic(1):
                rows += compared(race(contestants, rounds), f"{name}, notebook loop")
    return rows


_RESIDUAL = """
from torch import nn

class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.inner = nn.Linear(784, 64), nn.Linear(64, 64)
        self.norm, self.last = nn.LayerNorm(64), nn.Linear(64, 10)

    def forward(self, images):
        h = self.first(images.flatten(1)).relu()
        return self.last(h + self.inner(self.norm(h)).relu())
"""


def bench_jax(rounds: int) -> Rows:
    """One step of a model with an average against JAX, where it is installed, on one core."""
    problem = make_problem()
    x, y = plain_data(problem)
    contestants: dict[str, Contestant] = {}
    for num in (1, 16):
        try:
            loop = jax_loop(x, y, sizes_of(problem), 1e-3, 1e-3, 8, num)
        except ModuleNotFoundError:
            return []
        contestants[f"JAX, K = {num}"] = plain_steps(loop, 1600 // num, num)
        ensemble = problem.ensemble(range(num), [1e-3] * num, (1e-3,))
        contestants[f"ours, K = {num}"] = our_steps(ensemble, 1600 // num)
    with arithmetic(1):
        return compared(race(contestants, rounds), "JAX, K = 1")


def bench_growth(rounds: int) -> Rows:
    """One model without average against torch.optim.SGD, as data and width grow."""
    rows: Rows = []
    changes = [f"train_fraction={share}" for share in (0.1, 0.3, 1.0)]
    changes += [f"hidden_sizes=[{width}, 16, 12]" for width in (128, 512, 1024)]
    changes += ["hidden_sizes=[1024, 1024]"]
    for change in changes:
        problem = make_problem(change)
        x, y = plain_data(problem)
        num = 400 if problem.network.num_parameters < 200_000 else 60
        ensemble = problem.ensemble([0], [1e-4])
        with arithmetic(problem.threads(1, CORES)) as threads:
            loop = optimizer_loop(x, y, make_net(sizes_of(problem)), 1e-4, None, 8)
            contestants = {
                "torch.optim.SGD": on_threads(CORES, plain_steps(loop, num)),
                "ours": on_threads(threads, our_steps(ensemble, num)),
            }
            found = compared(race(contestants, rounds), "torch.optim.SGD")
        rows += [row | {"name": f"{row['name']}, {change}"} for row in found]
    return rows


def bench_evaluation(rounds: int) -> Rows:
    """A training run of one seed with its evaluation after every epoch, against training alone."""
    epochs = 25
    config = cast(
        TrainConfig, resolve.resolve("train", None, ["num_seeds=1", f"epochs={epochs}"]).config
    )

    def training_alone() -> int:
        ensemble = make_problem("num_seeds=1").ensemble([0], [1e-3], (1e-3,))
        with arithmetic(1):
            for epoch in range(1, epochs + 1):
                for _ in ensemble.train(epoch):
                    pass
        return epochs

    def whole_run() -> int:
        with launcher(CPU, None) as launch:
            run_training(config, Context(CPU, data_dir(), launch=launch, workers=CORES))
        return epochs

    contestants = {
        "training alone, an epoch": training_alone,
        "with evaluation, an epoch": whole_run,
    }
    return compared(race(contestants, rounds), "training alone, an epoch")


def bench_evaluation_alone(rounds: int) -> Rows:
    """Raw and averaged weights of five seeds on both sets, one core, a model's image."""
    problem, seeds = make_problem(), range(5)
    ensemble = problem.ensemble(seeds, [1e-3] * len(seeds), (1e-3,))
    num_images = len(seeds) * (len(problem.test.labels) + len(problem.subset(0).rows))
    sizes = sizes_of(problem)
    flops = 2 * 2 * sum(fan_in * fan_out for fan_in, fan_out in pairwise(sizes))

    def evaluation() -> int:
        problem.evaluate(ensemble.state, seeds, ("train", "test"))
        return num_images

    def bound() -> int:
        for _ in large_matmuls(problem):
            pass
        return round(REPEATS * 2 * SIDE**3 / flops)

    contestants = {"its multiplications, as large matmuls": bound, "evaluation": evaluation}
    with arithmetic(1):
        return compared(race(contestants, rounds), "its multiplications, as large matmuls")


def bench_sweep(rounds: int) -> Rows:
    """The default lr-sweep against three single runs of one epoch of the notebook loop."""
    config = cast(SweepConfig, resolve.resolve("lr_sweep").config)
    problem = make_problem()
    x, y = plain_data(problem)

    def three_runs() -> int:
        for lr in (1e-3, 2e-3, 4e-3):
            loop = notebook_loop(x, y, make_net(sizes_of(problem)), lr, None, 8)
            loop(problem.num_updates)
        return 1

    def sweep() -> int:
        with launcher(CPU, None) as launch:
            run_sweep(config, Context(CPU, data_dir(), launch=launch, workers=CORES))
        return 1

    contestants = {"three plain runs of one epoch": three_runs, "default lr-sweep": sweep}
    return compared(race(contestants, rounds), "three plain runs of one epoch")


def bench_command(rounds: int) -> Rows:
    """Whole processes: `midterm train` against a plain script that does the same job."""
    rows: Rows = []
    data = data_dir()
    with tempfile.TemporaryDirectory() as folder:
        for seeds in (1, 10):
            ours = [sys.executable, "-m", "midterm_cli", "train", "--seeds", str(seeds)]
            ours += ["--data-dir", str(data), "--output", f"{folder}/run", "--force", "--quiet"]
            plain = [sys.executable, "-m", "benchmarks.plain_script", str(data), str(seeds)]
            contestants = {
                f"plain script, {seeds} seeds": as_process([*plain, f"{folder}/figure.png"]),
                f"midterm train, {seeds} seeds": as_process(ours),
            }
            found = race(contestants, min(3, rounds), warm_up=False)
            rows += compared(found, f"plain script, {seeds} seeds")
    return rows


def as_process(command: list[str]) -> Contestant:
    """Run a command to its end."""

    def run() -> int:
        subprocess.run(command, check=True, capture_output=True)
        return 1

    return run


_HOLD_DATA = """
import numpy, time, torch
from pathlib import Path
from matplotlib.figure import Figure
import matplotlib.backends.backend_agg
raw = Path({data!r}) / "FashionMNIST" / "raw"
held = [torch.from_numpy(numpy.fromfile(raw / f"{{part}}-images-idx3-ubyte", numpy.uint8))
        for part in ("train", "t10k")]
time.sleep(0.5)
"""
_TRAIN = """
from midterm_cli.cli import main
main(["train", "--data-dir", {data!r}, "--output", {output!r}, "--force", "--quiet"])
"""


def bench_memory(rounds: int) -> Rows:
    """Peak memory of `midterm train` against a process that imports and holds the data."""
    data = str(data_dir())
    rounds = min(3, rounds)
    with tempfile.TemporaryDirectory() as folder:
        ours = _TRAIN.format(data=data, output=f"{folder}/run")
        base_peaks = [peak_megabytes(_HOLD_DATA.format(data=data)) for _ in range(rounds)]
        our_peaks = [peak_megabytes(ours) for _ in range(rounds)]
    ratios = [a / b for a, b in zip(our_peaks, base_peaks, strict=True)]
    return [
        {"name": "imports torch and matplotlib, holds the data", "megabytes": spread(base_peaks)},
        {"name": "midterm train, with the processes it forks", "megabytes": spread(our_peaks)},
        {"name": "ratio", "times_as_much": spread(ratios)},
    ]


def peak_megabytes(code: str) -> float:
    """Largest memory of a Python program, in MB, sampled every few milliseconds.

    A page that several processes share counts in parts (Pss), so that the processes that a program
    forks add up to what it takes from the machine.
    """
    peak = 0
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL) as program:
        while program.poll() is None:
            peak = max(peak, sum(map(pss, [program.pid, *children(program.pid)])))
            time.sleep(0.01)
    if program.returncode:
        raise subprocess.CalledProcessError(program.returncode, program.args)
    return peak / 1024


def children(pid: int) -> list[int]:
    """Processes that a process has started, or forked, and that are still there."""
    with suppress(OSError):
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def pss(pid: int) -> int:
    """A process's share of the memory, in kB; 0 if it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


SECTIONS: dict[str, Callable[[int], Rows]] = {
    "step": bench_step,
    "optimizers": bench_optimizers,
    "modules": bench_modules,
    "evaluation": bench_evaluation,
    "evaluation_alone": bench_evaluation_alone,
    "growth": bench_growth,
    "sweep": bench_sweep,
    "memory": bench_memory,
    "command": bench_command,
    "jax": bench_jax,  # last, since it starts threads that other sections would fork
}


def main() -> None:
    """Run the sections, print a table of each, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    console = Console(width=120)
    results: dict[str, Any] = {
        "machine": f"{platform.machine()}, {CORES} cores, torch {torch.__version__}",
        "git_commit": git_commit(),
        "started_at": now(),
        "rounds": arguments.rounds,
    }
    console.print(results["machine"])
    for name in arguments.only:
        section = SECTIONS[name]
        rows = section(arguments.rounds)
        results[name] = rows
        console.print(as_table(str(section.__doc__), rows))
    path = Path("outputs/bench/bench.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    console.print(f"{path}")


def as_table(title: str, rows: Rows) -> Table:
    """Median [smallest, largest] of every quantity."""
    quantities = list(dict.fromkeys(key for row in rows for key in row if key != "name"))
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for quantity in quantities:
        table.add_column(quantity.replace("_", " "), justify="right")
    for row in rows:
        cells = [row.get(quantity) for quantity in quantities]
        table.add_row(
            row["name"],
            *(f"{c['median']:.4g} [{c['min']:.4g}, {c['max']:.4g}]" if c else "" for c in cells),
        )
    return table


if __name__ == "__main__":
    main()
