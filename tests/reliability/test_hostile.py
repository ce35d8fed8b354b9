"""Files of somebody who means harm: nothing in them is executed, none ends in a traceback."""

import copy
import errno
import hashlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from answer import Answer
from child import Disturbance
from matplotlib.figure import Figure
from processes import UNDISTURBED, Running, commands, random_moments, results_of, run
from written_runs import write_sweep

from midterm_cli import figure
from midterm_cli.data import datasets
from midterm_cli.registry import EXPERIMENTS
from midterm_cli.report import figures

Midterm = Callable[..., Answer]

ESCAPES = "\x1b]0;pwned\x07\x9b31m\u202e"  # a terminal's title, red, and text from right to left


def assert_harmless(answer: Answer) -> None:
    """An end in success, or in exit code 2 with a message; nothing that moves a cursor."""
    assert answer.code in (0, 2), answer
    said = answer.out + answer.err
    assert [c for c in said if not c.isprintable() and c != "\n"] == []
    if answer.code:
        assert answer.err.startswith("Error: ")


# ---- pickles


class Canary:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.file}",)


def test_a_pickle_in_the_place_of_a_state(tmp_path: Path) -> None:
    command = commands(tmp_path)["train"]
    work, canary = tmp_path / "work", tmp_path / "canary"
    first = Running(tmp_path / "undisturbed", command, UNDISTURBED)
    assert first.wait().code == 0
    last = Disturbance(signal.SIGINT, at=(first.operations - 10,))
    assert run(work, *command, disturbance=last).code == -signal.SIGINT
    state = work / ".run.partial" / "state.pt"
    content = io.BytesIO()
    torch.save({"groups": Canary(canary)}, content)
    # With the right checksum, which keeps out damage and no malice.
    digest = hashlib.sha256(content.getvalue()).digest()
    state.write_bytes(digest + content.getvalue())

    answer = run(work, *command, "--resume")

    assert_harmless(answer)
    assert answer.code == 2
    assert "state.pt is damaged (UnpicklingError)" in answer.err
    assert not canary.exists()


def test_a_pickle_in_the_place_of_an_array(folder: Path, midterm: Midterm) -> None:
    np.save("evil.npy", np.array([Canary(folder / "canary")], dtype=object), allow_pickle=True)

    answer = midterm("module", "grad", "--matrix", "evil.npy")

    assert_harmless(answer)
    assert answer.code == 2
    assert not Path("canary").exists()


# ---- names


@pytest.mark.parametrize(
    "experiment",
    ["os", "../../train", "midterm_cli.part3.train", ["train"], {}, None, ESCAPES],
)
def test_a_run_cannot_name_a_module_or_a_file_as_its_experiment(
    experiment: Any, folder: Path, midterm: Midterm
) -> None:
    metrics = write_sweep(Path("run")) / "metrics.json"
    document = json.loads(metrics.read_text(encoding="utf-8"))
    metrics.write_text(json.dumps(document | {"experiment": experiment}), encoding="utf-8")

    for command in (["draw", "run"], ["compare", "run"], ["train", "--lr-from", "run"]):
        answer = midterm(*command)
        assert_harmless(answer)
        assert answer.code == 2
        assert "experiment" in answer.err or "run is a run of" in answer.err


def test_no_name_leads_out_of_the_outputs(folder: Path, midterm: Midterm, tmp_path: Path) -> None:
    commands(tmp_path)
    (folder / "deep").mkdir()
    for dataset in ("deep/../../images", str(tmp_path / "images")):
        small = ["--set", "train_fraction=1", "--seeds", "1", "--epochs", "1", "--quiet"]
        answer = midterm("train", "--dataset", dataset, *small)
        assert answer.code == 0
        assert Path(answer.out.strip()).parent == Path("outputs/train")
    assert {path.name for path in tmp_path.iterdir()} == {"work", "images"}
    for preset in ("../train", "/etc/passwd", "reference/../../pyproject"):
        answer = midterm("config", "copy", preset)
        assert_harmless(answer)
        assert answer.code == 2


def test_a_dataset_that_is_named_like_a_formula(folder: Path, tmp_path: Path) -> None:
    """matplotlib would read it as one, and fail at the very end of a run."""
    command = commands(tmp_path)
    (tmp_path / "images").rename(tmp_path / "$x_{$")
    for name in ("train", "lr-sweep"):
        arguments = [word.replace("images", "$x_{$") for word in command[name]]
        answer = run(folder / name, *arguments, disturbance=Disturbance(real_figures=True))
        assert (answer.code, answer.err) == (0, "")
    (tmp_path / "$x_{$").rename(tmp_path / "a\x1b[2Jb")
    answer = run(folder, "train", "--dataset", str(tmp_path / "a\x1b[2Jb"), "--quiet")
    assert_harmless(answer)
    assert "dataset has characters that cannot be printed: rename the folder" in answer.err


# ---- runs of somebody else


def test_a_key_of_somebody_else_moves_no_cursor(folder: Path, midterm: Midterm) -> None:
    hostile: dict[str, Any] = {ESCAPES: ESCAPES}
    write_sweep(Path("a"), **hostile)
    write_sweep(Path("b"))

    for arguments, code in (([], 0), (["--json"], 0), (["--by", ESCAPES], 2)):
        answer = midterm("compare", "a", "b", *arguments)
        assert_harmless(answer)
        assert (answer.code, "pwned" in answer.err) == (code, True)


VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1e308, 5e-324, 10**29, 10**400, "", "x" * 5000, "$\\frac{$", "[red]x"),
    *([], {}, [[]], {"a": 1}, [None], ["x"], ESCAPES, "\nError: no error", "\ud800"),
)


def spoiling(name: str) -> Random:
    """Random numbers: the same each time, but others where `make test-all` asks for them."""
    return random_moments() if "MIDTERM_RANDOM" in os.environ else Random(name)


def spoilt(document: Any, rng: Random) -> Any:
    """A document with another value, another key, or a key less, at some place inside it."""
    if not isinstance(document, dict | list) or not document or rng.random() < 0.1:
        return rng.choice(VALUES)
    document = copy.copy(document)
    if isinstance(document, list):
        place = rng.randrange(len(document))
        document[place] = spoilt(document[place], rng)
        return document
    key = rng.choice(list(document))
    value = document.pop(key)
    what = rng.random()
    if what < 0.1:
        document[rng.choice((ESCAPES, "$x_{$", "[red]"))] = value
    elif what < 0.95:
        document[key] = spoilt(value, rng)
    return document


# What NumPy says of numbers such as 1e308 is no concern of this test.
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("times", [8, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["train-groups", "lr-sweep"])
def test_a_spoilt_run(
    name: str,
    times: int,
    folder: Path,
    tmp_path: Path,
    midterm: Midterm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(folder, *commands(tmp_path)[name]).code == 0
    true = json.loads(Path("run/metrics.json").read_bytes())
    Path("spoilt").mkdir()
    rng = spoiling(name)
    drawn = rng.sample(range(times), times // 8)

    def render(drawing: Figure, *_: object) -> bytes:
        """Render some of the figures, coarsely; it is what takes the time."""
        if count in drawn:
            drawing.savefig(io.BytesIO(), format="png", dpi=20)
        return b"a figure"

    monkeypatch.setattr(figure, "render", render)
    for count in range(times):  # noqa: B007 (render asks for it)
        part = rng.choice(("experiment", "config", "results", "results"))
        text = json.dumps(true | {part: spoilt(true[part], rng)})
        Path("spoilt/metrics.json").write_text(text, encoding="utf-8")
        output = ["--output", "compared.png"] if name == "train-groups" else []
        for command in (
            *(["compare", "spoilt", "run", *more, *output] for more in ([], ["--json"])),
            ["draw", "spoilt"],
            # The rest of the command line ends it before any training.
            ["train", "--lr-from", "spoilt", "--set", "epochs=0"],
        ):
            assert_harmless(midterm(*command))


EARLIER = Path(__file__).parents[1] / "runs" / "version_0_1_0"


def resized(document: Any, rng: Random) -> Any:
    """A document with a list at some place inside it cut short, or made very long."""
    if isinstance(document, list) and (rng.random() < 0.5 or not document):
        return document[: rng.randrange(len(document) + 1)] * rng.choice((1, 2, 1000))
    document = copy.copy(document)
    keys = range(len(document)) if isinstance(document, list) else list(document)
    holding = [key for key in keys if isinstance(document[key], dict | list) and document[key]]
    if holding:
        key = rng.choice(holding)
        document[key] = resized(document[key], rng)
    return document


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("times", [3, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_spoilt_run_in_a_report(
    name: str, times: int, folder: Path, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported, or named as what could not be read."""
    monkeypatch.setattr(figures, "to_svg", lambda drawing: b"<svg/>")
    true = json.loads((EARLIER / name / "metrics.json").read_bytes())
    Path("spoilt").mkdir()
    rng = spoiling(name)
    for count in range(times):
        part = rng.choice(("config", "results", "results"))
        change = resized if count % 2 else spoilt
        text = json.dumps(true | {part: change(true[part], rng)})
        Path("spoilt/metrics.json").write_text(text, encoding="utf-8")
        answer = midterm("report", "spoilt")
        assert_harmless(answer)
        assert answer.code == 0
        page = Path("outputs/report/index.html").read_text(encoding="utf-8")
        assert "spoilt" in page


# ---- files that have no end

IRREGULAR = "is not a regular file"
ENDLESS: dict[str, tuple[list[str], str]] = {
    "x.yaml": (["train", "--config", "x.yaml"], IRREGULAR),
    "x.npy": (["module", "grad", "--matrix", "x.npy"], IRREGULAR),
    "x.csv": (["module", "grad", "--matrix", "x.csv"], IRREGULAR),
    "x.txt": (["autodiff", "--formulas", "x.txt"], IRREGULAR),
    "run/metrics.json": (["draw", "run"], IRREGULAR),
    "images/train-images-idx3-ubyte": (
        ["train", "--dataset", "images"],
        "images holds no IDX files",
    ),
    "x.json": (
        [
            *("train", "--dataset", "synthetic", "--launcher", "dask"),
            *("--scheduler-file", "x.json"),
        ],
        IRREGULAR,
    ),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: Path(path).symlink_to("/dev/zero")])
@pytest.mark.parametrize("name", ENDLESS)
def test_a_pipe_is_not_waited_for_and_a_device_not_read(
    name: str, make: Callable[[str], None], folder: Path, midterm: Midterm
) -> None:
    command, message = ENDLESS[name]
    Path(name).parent.mkdir(exist_ok=True)
    make(name)

    answer = midterm(*command)

    assert_harmless(answer)
    assert answer.code == 2
    assert message in answer.err


# ---- streams that take nothing

MIDTERM = f"{sys.executable} -m midterm_cli"


def test_no_run_is_lost_for_what_it_has_to_say(tmp_path: Path) -> None:
    """On a full disk, or where nobody listens."""
    command = shlex.join(word for word in commands(tmp_path)["train"] if word != "--quiet")
    shell = ["bash", "-c", f"{MIDTERM} {command} >&- 2> /dev/full"]
    subprocess.run(shell, cwd=tmp_path, check=True)

    results_of(tmp_path / "run")
    assert not (tmp_path / ".run.partial").exists()


def test_a_mistake_that_nobody_hears(tmp_path: Path) -> None:
    shell = ["bash", "-c", f"{MIDTERM} config show nothing 2>&-"]
    assert subprocess.run(shell, cwd=tmp_path, check=False).returncode == 2


@pytest.mark.parametrize(
    "arguments", ["config list", "--help", "--version", "train --help", "--show-completion bash"]
)
def test_results_that_cannot_be_printed(arguments: str, tmp_path: Path) -> None:
    command = ["bash", "-c", f"{MIDTERM} {arguments} > /dev/full"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr == (
        "Error: cannot write to stdout: No space left on device\n"
        "make room where stdout goes; midterm show RUN prints a finished run again\n"
    )


@pytest.mark.parametrize("arguments", ["schema train", "--help"])
def test_a_reader_that_has_gone_is_a_listed_exit_code(arguments: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [*shlex.split(MIDTERM), *arguments.split()]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (2, b"")


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "latin-1", "cp932"])
def test_a_stdout_of_another_encoding(encoding: str, folder: Path, midterm: Midterm) -> None:
    """What it does not hold is replaced, and escaped in JSON, which reads back to the same."""

    def printed(arguments: str) -> str:
        command = [*shlex.split(MIDTERM), *arguments.split()]
        surroundings = os.environ | {"PYTHONIOENCODING": encoding}
        done = subprocess.run(command, env=surroundings, capture_output=True, check=True)
        return done.stdout.decode(encoding)

    assert "lr-sweep" in printed("--help")
    assert "Draw 2/" in printed("lr-sweep --help")
    assert "pool_min" in printed("config list")
    assert json.loads(printed("schema train")) == json.loads(midterm("schema", "train").out)
    table = printed(f"show {EARLIER / 'softt'}").splitlines()
    assert "jumps" in "".join(table)
    assert {"+", "|"} == {line[0] for line in table[1:-4]}  # boxes of what every encoding has


@pytest.mark.parametrize(
    ("shell", "message"),
    [
        ("mkdir gone; cd gone; rmdir ../gone; {} softt plot", "current folder has been removed"),
        ("{} softt plot --output " + "n" * 255, "File name too long"),
        ("{} autodiff --formula - <&-", "stdin"),
    ],
)
def test_surroundings_that_are_gone(shell: str, message: str, folder: Path) -> None:
    command = ["bash", "-c", shell.format(MIDTERM)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert_harmless(Answer(done.returncode, done.stdout, done.stderr))
    assert done.returncode == 2
    assert message in done.stderr


# ---- a machine that has no more

MEMORY = "there is not enough memory"
THREADS = "no more processes or threads can be started"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), MEMORY),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), MEMORY),
        (RuntimeError("can't start new thread"), THREADS),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), THREADS),
    ],
)
def test_what_the_machine_has_run_out_of(
    error: Exception, told: str, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verify(folder: Path) -> None:
        raise error

    monkeypatch.setattr("midterm_cli.data.datasets.verify", verify)
    answer = midterm("data", "verify")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"Error: {told}\n")


WITHOUT_THREADS = """\
import os, resource, sys, threading
def start(thread):
    raise RuntimeError("can't start new thread")
threading.Thread.start = start
limit = int(sys.argv[1])
resource.getrlimit = lambda which: (limit, limit)
from midterm_cli import __main__
sys.argv = ["midterm", "conv", "shape", "--quiet"]
code = __main__.main()
import torch
assert int(os.environ["OPENBLAS_NUM_THREADS"]) == torch.get_num_threads()
sys.exit(code or 100 + torch.get_num_threads())
"""


@pytest.mark.parametrize(("limit", "num_threads"), [(4095, 1), (4096, 2), (-1, 2)])
def test_where_no_thread_can_be_started_one_computes(
    limit: int, num_threads: int, folder: Path
) -> None:
    """The libraries would end the process themselves, as if by Ctrl-C or with exit code 1.

    Where `ulimit -u` is far, no thread is started to see whether one can be.
    """
    command = [sys.executable, "-c", WITHOUT_THREADS, str(limit)]
    surroundings = os.environ | {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    told = (100 + num_threads, "outputs/conv/default\n", "")
    assert (done.returncode, done.stdout, done.stderr) == told


def test_another_error_is_a_bug(midterm: Midterm, monkeypatch: pytest.MonkeyPatch) -> None:
    def verify(folder: Path) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr("midterm_cli.data.datasets.verify", verify)
    with pytest.raises(RuntimeError, match="shapes"):
        midterm("data", "verify")


# ---- JSON that is nested deeper than it can be read


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("content", [DEEP, '{"a":' * 100_000 + "1" + "}" * 100_000])
@pytest.mark.parametrize("command", ["check", "compare", "draw", "show", "report --runs"])
def test_a_document_nested_without_end(
    command: str, content: str, folder: Path, midterm: Midterm
) -> None:
    run = Path("outputs", "train", "run")
    run.mkdir(parents=True)
    (run / "metrics.json").write_text(content, encoding="utf-8")
    answer = midterm(*command.split(), "outputs" if command.startswith("report") else run)
    if command.startswith("report"):  # names it on its page
        assert "is damaged" in Path("outputs/report/report.md").read_text(encoding="utf-8")
    else:
        assert_harmless(answer)
        assert "metrics.json is damaged: maximum recursion depth" in answer.err


@pytest.mark.parametrize("name", ["begun.json", "journal.jsonl"])
def test_what_a_sweep_has_saved_nested_without_end(
    name: str, tmp_path: Path, folder: Path, midterm: Midterm
) -> None:
    command = commands(tmp_path)["lr-sweep"]
    first = Running(tmp_path / "undisturbed", command, UNDISTURBED)
    assert first.wait().code == 0
    last = Disturbance(signal.SIGINT, at=(first.operations - 10,))
    assert run(folder, *command, disturbance=last).code == -signal.SIGINT
    Path(".run.partial", name).write_text(f"{DEEP}\n", encoding="utf-8")

    answer = midterm(*command, "--resume")

    assert_harmless(answer)
    assert f"{name} is damaged (" in answer.err


def test_a_manifest_nested_without_end_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / datasets._MANIFEST).write_text(DEEP, encoding="utf-8")
    assert datasets._read_manifest(tmp_path)["files"] == {}


def test_the_config_of_something_else(folder: Path, midterm: Midterm) -> None:
    metrics = write_sweep(Path("run")) / "metrics.json"
    document = json.loads(metrics.read_text(encoding="utf-8"))
    document["config"] = {f"key{i}": i for i in range(10_000)}
    metrics.write_text(json.dumps(document), encoding="utf-8")
    assert midterm("draw", "run").err == (
        "Error: run/metrics.json is no run of this midterm: "
        "it knows none of 10,000 keys of its config\n"
    )
