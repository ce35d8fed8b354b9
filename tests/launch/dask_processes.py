"""A Dask scheduler and its workers as processes of their own, on loopback alone.

They run a copy of the package, as on another machine, so that files may be edited meanwhile.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import midterm_cli

_SECONDS = 60.0  # for a process to start or to end; it takes a few
_PATIENCE = 2.0  # seconds for one to end when it is asked to


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Wait for something that takes a moment."""
    end = time.monotonic() + _SECONDS
    while not holds():
        assert time.monotonic() < end, f"{what}: not within {_SECONDS:g} s"
        time.sleep(0.02)


def copy_package(folder: Path) -> Path:
    """Copy the package and its configs, as the wheel holds them; returns what to import it from."""
    package = Path(midterm_cli.__file__).parent
    shutil.copytree(package, folder / "midterm_cli", ignore=shutil.ignore_patterns("__pycache__"))
    if not (package / "configs").exists():
        shutil.copytree(package.parent / "configs", folder / "midterm_cli" / "configs")
    return folder


class Cluster:
    """Processes of one scheduler, each stopped by its own id in the end."""

    def __init__(self, folder: Path, package: Path) -> None:
        self.folder, self.package = folder, package
        self.scheduler_file = folder / "scheduler.json"
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        # It ends itself, and its workers with it, if nobody is left to stop it.
        self.scheduler = self._start(
            "scheduler", ["scheduler", "--port", "0", "--idle-timeout", "300"]
        )
        wait_until(self.scheduler_file.exists, "the scheduler")

    def _start(
        self, name: str, command: list[str], package: Path | None = None
    ) -> subprocess.Popen[bytes]:
        folder = self.folder / name
        folder.mkdir()
        with (folder / "log").open("wb") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    f"distributed.cli.dask_{command[0]}",
                    *command[1:],
                    "--host",
                    "127.0.0.1",
                    "--dashboard-address",
                    "127.0.0.1:0",
                    "--scheduler-file",
                    str(self.scheduler_file),
                ],
                cwd=folder,
                env=environment(package or self.package),
                stdout=log,
                stderr=log,
            )

    def start_worker(self, name: str, package: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a worker of one thread, without the nanny that would start it again.

        Args:
            name: of the worker.
            package: a folder with another midterm_cli, for the worker to import.
        """
        command = ["worker", "--name", name, "--nthreads", "1", "--no-nanny"]
        self.workers[name] = self._start(name, command, package)
        return self.workers[name]

    def log(self, name: str) -> str:
        """What a process has written so far."""
        return (self.folder / name / "log").read_text(errors="replace")

    def wait_for_workers(self) -> None:
        """Wait until all workers have found the scheduler."""
        wait_until(
            lambda: all("Registered to" in self.log(name) for name in self.workers), "the workers"
        )

    def processes(self) -> list[subprocess.Popen[bytes]]:
        """The scheduler and the workers."""
        return [self.scheduler, *self.workers.values()]

    def stop(self) -> None:
        """End all processes, those that hang too."""
        for process in reversed(self.processes()):
            process.terminate()  # a worker that ends by itself tells coverage what it ran
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
            process.kill()
            process.wait(_SECONDS)


def environment(package: Path) -> dict[str, str]:
    """Variables with which a process imports a copy of the package, and the jobs of the tests."""
    return os.environ | {"PYTHONPATH": f"{package}{os.pathsep}{Path(__file__).parent}"}


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
