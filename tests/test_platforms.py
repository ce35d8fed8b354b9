"""The commands as on Windows, as far as another system can pretend to be it.

The process has no fcntl, no fork and no /proc, and its file system refuses what that of Windows
refuses: to rename a folder over another, to remove, rename or open again what is open, to open a
folder, names that Windows does not take. The paths are those of this system.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows need not be pretended")

# Runs command lines, one after the other, and prints their exit codes.
PROGRAM = """\
import builtins, errno, importlib, json, os, re, shutil, stat, sys

# What libraries choose by the platform they choose before.
for name in (
    "filelock", "jinja2", "latex2mathml.converter", "markdown_it", "mdit_py_plugins",
    "matplotlib.backends.backend_agg", "matplotlib.figure", "multiprocessing.connection", "numpy",
    "platformdirs", "pydantic", "rich.progress", "rich.table", "scipy.special", "sympy", "torch",
    "torch._dynamo", "typer", "typer.main", "yaml",
):
    importlib.import_module(name)
for name in [name for name in sys.modules if name.startswith("midterm_cli")]:
    raise AssertionError(name)

def refuse(number, path):
    raise OSError(number, os.strerror(number), str(path))

def is_open(path):
    try:
        status = os.lstat(path)
    except OSError:
        return False
    for descriptor in range(3, 64):
        try:
            if os.path.samestat(os.fstat(descriptor), status):
                return True
        except OSError:
            pass
    return False

RESERVED = re.compile(r'[<>:"|?*]|[. ]$|^(con|prn|aux|nul|com[0-9]|lpt[0-9])([.]|$)', re.IGNORECASE)

def as_windows(event, arguments):
    path = arguments[0] if arguments else None
    if event in ("os.fork", "os.forkpty", "os.kill", "os.posix_spawn"):
        raise AssertionError(event)
    if not isinstance(path, (str, bytes, os.PathLike)):
        return
    path = os.fsdecode(path)
    if event in ("open", "os.listdir", "os.scandir") and path.startswith(("/proc", "/sys")):
        refuse(errno.ENOENT, path)
    if event == "open" and arguments[1] is None and os.path.isdir(path):
        refuse(errno.EACCES, path)
    if event in ("os.remove", "os.rename", "os.rmdir") and is_open(path):
        refuse(errno.EACCES, path)
    if event == "os.rename" and os.path.isdir(arguments[1]):
        refuse(errno.EEXIST, arguments[1])
    made = [os.fsdecode(arguments[1])] if event == "os.rename" else [path] * (event == "os.mkdir")
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT:
        made = [path]
    for name in made:
        if RESERVED.search(os.path.basename(name)):
            refuse(errno.EINVAL, name)

os.makedirs("home")
os.environ["HOME"] = os.path.abspath("home")
sys.modules["fcntl"] = sys.modules["resource"] = sys.modules["termios"] = None
for name in ("fork", "sched_getaffinity", "mkfifo", "killpg", "O_NONBLOCK"):
    delattr(os, name)
shutil._use_fd_functions = False
sys.platform = "win32"
sys.addaudithook(as_windows)

from midterm_cli.cli import main

stdout = os.dup(1)
os.dup2(2, 1)
codes = [main(line) for line in json.loads(sys.argv[1])]
os.write(stdout, json.dumps(codes).encode())
"""

SMALL = [
    *("--dataset", "synthetic", "--set", "train_fraction=0.02", "--set", "hidden_sizes=[8]"),
    *("--seeds", "2", "--epochs", "1", "--device", "cpu"),
]
TRAIN = ["train", *SMALL, "--output", "outputs/train/default"]


def as_on_windows(folder: Path, *lines: Sequence[str]) -> str:
    """Run command lines, which must succeed; returns stderr, with stdout in it."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(lines)],
        cwd=folder,
        # Two threads: elsewhere than on Linux, jobs side by side are no processes.
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [0] * len(lines), done.stderr
    return done.stderr


def results(folder: Path) -> object:
    return json.loads((folder / "metrics.json").read_bytes())["results"]


def test_an_experiment_runs_as_on_windows(tmp_path: Path) -> None:
    (tmp_path / "an empty folder").mkdir()
    as_on_windows(
        tmp_path,
        ["softt", "plot", "--output", "run"],
        ["softt", "plot", "--output", "run", "--force"],
        ["module", "grad", "--output", "an empty folder"],
        ["draw", "run"],
        ["config", "copy", "train"],
    )

    assert {path.name for path in tmp_path.iterdir()} == {
        *("home", "run", "an empty folder", "train.yaml")
    }


@pytest.mark.slow
def test_every_command_runs_as_on_windows_with_the_same_results(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    sweep = ["lr-sweep", *SMALL, "--set", "tolerance=1", "--output", "sweep"]
    said = as_on_windows(
        there,
        TRAIN,
        [*TRAIN, "--resume"],
        [*TRAIN, "--force"],
        ["train", *SMALL, "--lr", "2e-3", "--output", "outputs/train/other"],
        sweep,
        ["autodiff"],
        ["conv", "shape"],
        ["conv", "stack"],
        ["conv", "stack", "--config", "text/conv_stack"],
        ["pool", "cost"],
        ["pool", "min"],
        ["all", "--only", "part2"],
        ["compare", "outputs/train/*"],
        ["check", "outputs/soft*/*"],
        ["export", "outputs/train/default", "--output", "weights.pt"],
        ["report"],
        ["data", "show", "--dataset", "synthetic"],
    )

    assert "Traceback" not in said
    assert not list(there.rglob(".*.partial"))
    here.mkdir()
    for line in (TRAIN, sweep):
        command = [sys.executable, "-m", "midterm_cli", *line]
        environment = os.environ | {"OMP_NUM_THREADS": "2"}
        subprocess.run(command, cwd=here, env=environment, check=True, capture_output=True)
    for name in ("outputs/train/default", "sweep"):
        assert results(there / name) == results(here / name)
