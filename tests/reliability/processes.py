"""`midterm` in processes of its own that cost little, and what they leave in their folders.

They are forked from a process that has imported everything: one takes hundredths of a second, so
that hundreds of them can be killed.
"""

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import child
import numpy as np
from answer import Answer

_WAIT = 120  # seconds after which a process hangs

# In the background of a script Ctrl-C is ignored, and what we start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    [
        "matplotlib.backends.backend_agg",
        "midterm_cli.cli",
        "midterm_cli.part3.lr_sweep.run",
        "midterm_cli.part3.lr_sweep.show",
        "midterm_cli.part3.train.run",
        "midterm_cli.part3.train.show",
        "midterm_cli.runs.compare_figure",
        "midterm_cli.runner.make",
        "rich.progress",
        "rich.table",
        "scipy.special",
    ]
)


UNDISTURBED = child.Disturbance()


class Running:
    """A process that works in a folder.

    Args:
        folder: made if need be.
        arguments: of `midterm`.
        disturbance: what happens to it.
        stderr: where what it says to stderr goes instead.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        disturbance: child.Disturbance,
        stderr: str | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._said = Path(tempfile.mkdtemp())  # not beside the folder, whose disk may be full
        weakref.finalize(self, shutil.rmtree, self._said)
        (self._said / "out").touch()
        if stderr is None:
            (self._said / "err").touch()
        else:
            (self._said / "err").symlink_to(stderr)
        self.process = _forks.Process(
            target=child.run, args=(folder, self._said, arguments, disturbance)
        )
        self.process.start()
        weakref.finalize(self, self.process.kill)

    def send(self, number: int) -> None:
        assert self.process.pid is not None
        if self.process.is_alive():
            os.kill(self.process.pid, number)

    def wait(self) -> Answer:
        self.process.join(_WAIT)
        code = self.process.exitcode
        self.process.kill()
        assert code is not None, f"still running after {_WAIT} s: {self.err}"
        return Answer(code, (self._said / "out").read_text(encoding="utf-8"), self.err)

    @property
    def err(self) -> str:
        file = self._said / "err"
        return "" if file.is_symlink() else file.read_text(encoding="utf-8")

    @property
    def operations(self) -> int:
        """File operations of a process that came to its end."""
        return int((self._said / "operations").read_text(encoding="utf-8"))


def run(folder: Path, *arguments: str, disturbance: child.Disturbance = UNDISTURBED) -> Answer:
    """Run a command line in a folder to its end."""
    return Running(folder, arguments, disturbance).wait()


def random_moments() -> random.Random:
    """Random numbers whose seed is shown where the test fails."""
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed of the moments: {seed}\n")
    return random.Random(seed)


def every(step: int, operations: int) -> range:
    """Every so many operations, from a random one on: in time, all of them."""
    return range(1 + random_moments().randrange(step), operations + 1, step)


# ---- what they work on


def commands(folder: Path) -> dict[str, list[str]]:
    """Command lines of runs that take an instant: a train, one of several groups, an lr-sweep.

    Args:
        folder: for their dataset: 3 × 3 pixels in three classes, which differ in brightness.
    """
    images = folder / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 48), ("t10k", 12)):
        labels = np.arange(count) % 3
        pixels = rng.integers(0, 60, (count, 3, 3)) + 90 * labels[:, None, None]
        (images / f"{prefix}-images-idx3-ubyte").write_bytes(_idx(pixels))
        (images / f"{prefix}-labels-idx1-ubyte").write_bytes(_idx(labels))
    problem = [
        *("--dataset", str(images), "--set", "train_fraction=1", "--set", "hidden_sizes=[4]"),
        *("--device", "cpu", "--quiet", "--output", "run"),
    ]
    return {
        "train": ["train", *problem, "--seeds", "1", "--epochs", "1"],
        "train-groups": ["train", *problem, "--seeds", "3", "--epochs", "3"],
        "lr-sweep": [
            *("lr-sweep", *problem, "--seeds", "4", "--epochs", "4", "--start-lr", "2e-3"),
            *("--set", "tolerance=1"),
        ],
    }


def _idx(values: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes()


# ---- what is found in a folder


def results_of(run_folder: Path) -> str:
    """The results of a finished run, as the text that the contract is about."""
    document = json.loads((run_folder / "metrics.json").read_bytes())
    return json.dumps(document["results"], allow_nan=False)


def tree(folder: Path) -> set[str]:
    """All files and folders below a folder, hidden ones too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def assert_whole(folder: Path) -> int:
    """Whatever claims to be a finished run, even on its way to its place, is one.

    Returns:
        How many there are.
    """
    found = 0
    # os.walk takes no offence at a folder that is gone before it is looked into.
    for parent in [parent for parent, _, files in os.walk(folder) if "metrics.json" in files]:
        metrics = Path(parent, "metrics.json")
        try:
            document = json.loads(metrics.read_bytes())
            beside = {path.name for path in metrics.parent.iterdir()}
        except FileNotFoundError:
            continue  # on its way to another place since
        if not metrics.exists():
            continue
        assert document["status"] == "completed"
        assert "config.yaml" in beside
        assert any(name.endswith(".png") for name in beside)
        assert document["experiment"] != "train" or "checkpoint.pt" in beside
        found += 1
    return found


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Somebody looks again and again for finished runs in a folder, and finds nothing else."""
    wrong: list[BaseException] = []
    over = Event()

    def look() -> None:
        while not over.wait(0.002):
            try:
                assert_whole(folder)
            except BaseException as error:  # raised below, in the test
                wrong.append(error)
                return

    reader = Thread(target=look)
    reader.start()
    try:
        yield
    finally:
        over.set()
        reader.join()
    if wrong:
        raise wrong[0]
