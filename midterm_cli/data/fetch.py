"""Fashion-MNIST fetched: from a folder, the network or Debian's package, and only the true one.

The sources, in this order: already there; the one that was named, and then no other; Debian's
folder; torchvision's download; Debian's package, by apt, without root.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from midterm_cli import files
from midterm_cli.data import datasets, idx
from midterm_cli.errors import UserError

SOURCE_VARIABLE = "MIDTERM_DATA_SOURCE"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_PACKAGE = "dataset-fashion-mnist"

_MAX_BYTES = 2**26  # above the largest of the four files
# A file of torchvision's first mirror: only asked whether it is there, before torchvision is tried.
_PROBE_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz"
_PROBE_SECONDS = 6
_LISTS_SECONDS = 60
_DOWNLOAD_SECONDS = 300

Report = Callable[[str], None]


def _silent(line: str) -> None:
    """Report nothing."""


def fetch(data_dir: Path, source: Path | None = None, report: Report = _silent) -> str:
    """Put Fashion-MNIST into FashionMNIST/raw, from the first source that has it.

    Only files that are missing or damaged are replaced, and only by files with the true SHA-256.

    Args:
        data_dir: the folder that holds FashionMNIST/raw, made if need be.
        source: a folder with the four files, plain or .gz; None: the one that the environment
            variable MIDTERM_DATA_SOURCE names, if any.
        report: called with a line on what is done.

    Returns:
        A line that says where the data came from.

    Raises:
        UserError: no source has it, or the folder cannot be written to.
    """
    raw = data_dir / datasets.RAW
    bad = _bad_files(data_dir)
    made: list[Path] = []
    if not bad:
        return f"Fashion-MNIST is in {raw} already, and its SHA-256 is right"
    for finding in bad:
        if finding.problem != "missing":
            report(f"{raw / finding.name} will be replaced: {finding.problem}")
    try:
        made = files.make_folder(raw)
        origin = _replace_files(raw, [finding.name for finding in bad], source, report)
    except OSError as error:
        raise UserError(
            f"cannot write to {raw}: {error.strerror or error}\n"
            "make room there, or choose another data folder"
        ) from error
    finally:
        files.remove_empty(made)  # an empty folder is no data folder
    for finding in _bad_files(data_dir, origin):
        raise UserError(
            f"{raw / finding.name} is damaged, although it was just written: {finding.problem}\n"
            "another program writes there, or the disk is failing"
        )
    return f"Fashion-MNIST is in {raw}, from {origin}"


def _bad_files(data_dir: Path, origin: str | None = None) -> list[datasets.Finding]:
    return [finding for finding in datasets.verify(data_dir, origin) if not finding.ok]


def _replace_files(raw: Path, names: Sequence[str], source: Path | None, report: Report) -> str:
    """Get the named files, all of them before the first is written; where they come from."""
    with tempfile.TemporaryDirectory(prefix=".midterm-", dir=raw) as scratch:
        variable = os.environ.get(SOURCE_VARIABLE)
        if source is not None:
            origin, contents = _from_named(source, "the source that was named", names)
        elif variable:
            origin, contents = _from_named(Path(variable), SOURCE_VARIABLE, names)
        else:
            origin, contents = _from_first(names, Path(scratch), report)
        for name, content in contents.items():
            files.replace(raw / name, content.data)
    return origin


def _from_named(
    source: Path, named_by: str, names: Sequence[str]
) -> tuple[str, dict[str, np.ndarray]]:
    folder = Path(files.with_home(str(source)))
    try:
        return str(folder.resolve()), _read_true(folder, names)
    except idx.Problem as problem:
        raise UserError(
            f"Fashion-MNIST is not in {folder} ({named_by}): {problem}\n"
            "name a folder with the four files, plain or .gz, or none to try the other sources"
        ) from problem


def _from_first(
    names: Sequence[str], scratch: Path, report: Report
) -> tuple[str, dict[str, np.ndarray]]:
    sources: list[tuple[str, Callable[[Path], Path]]] = [
        (str(DEBIAN_FOLDER), lambda _: DEBIAN_FOLDER),
        ("torchvision's download", _download),
        (f"Debian's package {DEBIAN_PACKAGE}", _unpack_package),
    ]
    tried = []
    for origin, obtain in sources:
        report(f"trying {origin}")
        try:
            return origin, _read_true(obtain(scratch), names)
        except idx.Problem as problem:
            tried.append(f"{origin} ({problem})")
    raise UserError(
        f"Fashion-MNIST cannot be had from {', '.join(tried)}\n"
        "connect to the network, or copy the four files here and name their folder in "
        f"{SOURCE_VARIABLE}"
    )


def _read_true(folder: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The content of the named files of Fashion-MNIST, checked against their SHA-256."""
    try:
        if not folder.is_dir():
            raise idx.Problem("no such folder")
        paths = datasets.find_files(folder, names)
    except OSError as error:
        raise idx.Problem(error.strerror or str(error)) from error
    contents = {}
    for name, path in paths.items():
        contents[name] = idx.read(path, _MAX_BYTES)
        if mismatch := datasets.explain_mismatch(name, datasets.hash_content(contents[name])):
            raise idx.Problem(f"{path}: {mismatch}")
    return contents


def _download(scratch: Path) -> Path:
    """Let torchvision download Fashion-MNIST; the folder that it is in.

    In processes of their own, for only those can be stopped: a name server that does not answer
    holds up a thread, and torchvision sets no time limit.
    """
    # -P: a student's random.py in the working folder must not stand in for Python's.
    python = [sys.executable, "-P", "-c"]
    probe = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5).close()"
    _execute([*python, probe, _PROBE_URL], scratch, _PROBE_SECONDS)
    call = f"import sys; from {__name__} import _torchvision as t; t(sys.argv[1])"
    _execute([*python, call, str(scratch.resolve())], scratch, _DOWNLOAD_SECONDS)
    return scratch / datasets.RAW


def _torchvision(folder: str) -> None:
    """Download with torchvision: the child process of `_download`."""
    from torchvision.datasets import FashionMNIST

    socket.setdefaulttimeout(20)
    FashionMNIST(folder, download=True)


def _unpack_package(scratch: Path) -> Path:
    """Download Debian's package and unpack it; the folder that it is in.

    With apt's lists and cache in the scratch folder, for that needs neither root nor lists that
    someone has fetched before (a container has none).
    """
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise idx.Problem(f"there is no {program} here")
    lists, cache = scratch.resolve() / "lists", scratch.resolve() / "cache"
    for folder in (lists, cache / "archives"):
        (folder / "partial").mkdir(parents=True)
    options = {
        "Dir::State::lists": lists,
        "Dir::Cache": cache,
        "Acquire::Languages": "none",
        "Acquire::Retries": 0,
        "Acquire::http::Timeout": 10,
        "Acquire::https::Timeout": 10,
    }
    apt = ["apt-get", *(f"-o{key}={value}" for key, value in options.items())]
    # It fails if any one of the machine's repositories does, which need not be the one that counts.
    with suppress(idx.Problem):
        _execute([*apt, "update"], scratch, _LISTS_SECONDS)
    _execute([*apt, "download", DEBIAN_PACKAGE], scratch, _DOWNLOAD_SECONDS)
    for package in scratch.glob("*.deb"):
        _execute(["dpkg-deb", "-x", package.name, "unpacked"], scratch, _DOWNLOAD_SECONDS)
    return scratch / "unpacked" / DEBIAN_FOLDER.relative_to("/")


def _execute(command: Sequence[str], folder: Path, seconds: float) -> None:
    """Run a program, in bounded time.

    Raises:
        Problem: it failed, with the last line of its stderr, or it took too long.
    """
    # To a file, not a pipe: a grandchild that lives on would hold a pipe open, and us with it.
    with tempfile.TemporaryFile() as log:
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise idx.Problem(f"no end after {seconds} s") from error
        except OSError as error:
            raise idx.Problem(f"{command[0]}: {error.strerror or error}") from error
        log.seek(0)
        lines = log.read().decode(errors="replace").split("\n")
    if done.returncode != 0:
        # apt's warnings (W:) may follow its errors.
        telling = [line.strip() for line in lines if line.strip() and not line.startswith("W:")]
        raise idx.Problem(telling[-1][:200] if telling else f"exit code {done.returncode}")
