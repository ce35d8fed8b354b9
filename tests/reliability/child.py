"""One `midterm` in a forked process, and what disturbs it; each imports this file anew."""

import io
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Disturbance:
    """What happens to a process.

    Attributes:
        number: of the signal that it gets.
        at: the file operations, counted from 1, before which it gets one; SIGKILL comes in the
            middle of a writing.
        stuck: whether a chunk of training never ends.
        real_figures: whether figures are drawn, which takes longer than all the rest.
        file_size: what a file may grow to, in bytes.
        threads: cores that PyTorch takes the machine to have: from two on, jobs are forked.
    """

    number: int = signal.SIGKILL
    at: tuple[int, ...] = ()
    stuck: bool = False
    real_figures: bool = False
    file_size: int | None = None
    threads: int = 2


def run(folder: Path, said: Path, arguments: Sequence[str], disturbance: Disturbance) -> None:
    from midterm_cli import __main__

    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(said / name, os.O_WRONLY | os.O_NOCTTY), number)
    sys.stdout, sys.stderr = (os.fdopen(fd, "w", 1, encoding="utf-8") for fd in (1, 2))
    sys.argv = ["midterm", *arguments]
    _hurry(disturbance)
    trap = _Trap(folder, disturbance)
    trap.set()
    code = 1
    try:
        code = __main__.main()
    finally:
        (said / "operations").write_text(str(trap.count), encoding="utf-8")
        if disturbance.file_size is not None:  # coverage writes at the very end what was run
            _limit_files(resource.RLIM_INFINITY)
    os._exit(code)


def _hurry(disturbance: Disturbance) -> None:
    """Save at every occasion, as a run of hours does; spend no time on figures and on git."""
    import torch

    from midterm_cli.part3 import ensemble
    from midterm_cli.part3.train import run as train
    from midterm_cli.runner import make, provenance

    torch.set_num_threads(disturbance.threads)
    save = train._save
    vars(train)["_SAVE_EVERY_SECONDS"] = -1.0
    vars(train)["_save"] = lambda *arguments: save(*arguments) - math.inf
    vars(provenance)["git_commit"] = lambda: None
    if not disturbance.real_figures:
        vars(make)["_figures"] = lambda *_: {"figure.png": b"Software\0midterm"}
    if disturbance.stuck:
        # By setattr: mypy allows no assignment to a method.
        setattr(ensemble.Ensemble, "_make_steps", lambda self, num: time.sleep(3600))  # noqa: B010
    if disturbance.file_size is not None:
        _limit_files(disturbance.file_size)


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class _Trap:
    """Counts the operations that change files in a folder; a signal comes at some of them."""

    def __init__(self, folder: Path, disturbance: Disturbance) -> None:
        self._folder, self._disturbance = folder.resolve(), disturbance
        self.count = 0

    def set(self) -> None:
        for name in ("mkdir", "rename", "replace", "unlink", "rmdir"):
            setattr(os, name, self._trapped(getattr(os, name)))
        # By setattr, as in the loop: mypy allows no assignment to a function of a module.
        setattr(os, "fsync", self._trapped(os.fsync, anywhere=True))  # noqa: B010
        setattr(io, "open", self._open(io.open))  # noqa: B010

    def spring(self, halfway: Callable[[], object] = lambda: None) -> None:
        self.count += 1
        if self.count in self._disturbance.at:
            if self._disturbance.number == signal.SIGKILL:
                halfway()
            os.kill(os.getpid(), self._disturbance.number)

    def _trapped(self, operation: Callable[..., Any], anywhere: bool = False) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if anywhere or "dir_fd" in options or self._is_inside(arguments[0]):
                self.spring()
            return operation(*arguments, **options)

        return call

    def _open(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if set(mode).isdisjoint("wa+") or not self._is_inside(file):
                return operation(file, mode, *arguments, **options)
            self.spring()
            raw = _TrappedFile(self, file, mode.replace("b", ""))
            return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)

        return call

    def _is_inside(self, path: Any) -> bool:
        return Path.cwd().joinpath(os.fsdecode(path)).is_relative_to(self._folder)


class _TrappedFile(io.FileIO):
    def __init__(self, trap: _Trap, path: Any, mode: str) -> None:
        super().__init__(path, mode)
        self._trap = trap

    def write(self, content: Any) -> int:
        middle = len(content) // 2
        self._trap.spring(lambda: super(_TrappedFile, self).write(bytes(content)[:middle]))
        return super().write(content)
