"""A Dask scheduler and its workers as processes of their own, on loopback alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import midterm_cli

_SECONDS = 60.0  # for a process to start or to end; it takes a few
_PATIENCE = 2.0  # seconds for one to end when it is asked to
_PACKAGE = Path(midterm_cli.__file__).parents[1]


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Wait for something that takes a moment."""
    end = time.monotonic() + _SECONDS
    while not holds():
        assert time.monotonic() < end, f"{what}: not within {_SECONDS:g} s"
        time.sleep(0.02)


class Cluster:
    """Processes of one scheduler, each stopped by its own id in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scheduler_file = folder / "scheduler.json"
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        # It ends itself, and its workers with it, if nobody is left to stop it.
        self.scheduler = self._start("scheduler", "--port", "0", "--idle-timeout", "300")
        wait_until(self.scheduler_file.exists, "the scheduler")

    def _start(
        self, role: str, *options: str, name: str | None = None, package: Path = _PACKAGE
    ) -> subprocess.Popen[bytes]:
        folder = self.folder / (name or role)
        folder.mkdir()
        command = [sys.executable, "-m", f"distributed.cli.dask_{role}", *options]
        command += ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
        command += ["--scheduler-file", str(self.scheduler_file)]
        with (folder / "log").open("wb") as log:
            return subprocess.Popen(
                command, cwd=folder, env=environment(package), stdout=log, stderr=log
            )

    def start_worker(self, name: str, package: Path = _PACKAGE) -> None:
        """Start a worker of one thread, without the nanny that would start it again.

        Args:
            name: of the worker.
            package: the folder with the midterm_cli that it imports.
        """
        options = ("--name", name, "--nthreads", "1", "--no-nanny")
        self.workers[name] = self._start("worker", *options, name=name, package=package)

    def log(self, name: str) -> str:
        """What a process has written so far."""
        return (self.folder / name / "log").read_text(errors="replace")

    def wait_for_workers(self) -> None:
        """Wait until all workers have found the scheduler."""
        wait_until(
            lambda: all("Registered to" in self.log(name) for name in self.workers), "the workers"
        )

    def processes(self) -> list[subprocess.Popen[bytes]]:
        """The scheduler and the workers that live."""
        started = [self.scheduler, *self.workers.values()]
        return [process for process in started if process.poll() is None]

    def stop(self) -> None:
        """End all processes, those that hang too."""
        for process in reversed(self.processes()):
            process.terminate()  # a worker that ends by itself tells coverage what it ran
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
            process.kill()
            process.wait(_SECONDS)


def environment(package: Path = _PACKAGE) -> dict[str, str]:
    """Variables with which a process imports a package, and the jobs of the tests."""
    return os.environ | {
        "PYTHONPATH": f"{package}{os.pathsep}{Path(__file__).parent}",
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "5s",
    }


def listening_addresses(pid: int) -> set[str]:
    """Local addresses, in hexadecimal as the kernel writes them, on which a process listens."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            target = str(descriptor.readlink())
            sockets.add(target.removeprefix("socket:[").removesuffix("]"))
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:  # 0A: LISTEN
                addresses.add(fields[1].partition(":")[0])
    return addresses
