"""Every stored document, with each of its fields dropped, shortened, retyped and enlarged.

Whatever reads it then succeeds, or says in exit code 2 what is wrong. What only draws is elsewhere:
test_hostile.py.
"""

import hashlib
import io
import json
import os
import shutil
import signal
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from answer import Answer
from child import Disturbance
from processes import UNDISTURBED, Running, commands, random_moments, run

from midterm_cli.config import yaml
from midterm_cli.data import datasets

VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0.5, 1e308, 10**400, "", "x" * 5_000, "\x1b[31m\u202e", "\ud800", "~"),
    *([], {}, [[]], [None], {"a": 1}),
)


def changes(document: Any) -> Iterator[Any]:
    """A document with each of its fields in turn dropped, shortened, retyped and enlarged.

    The first item of a list stands for the others.
    """
    if isinstance(document, dict):
        for key, value in document.items():
            yield {name: kept for name, kept in document.items() if name != key}
            yield from (document | {key: other} for other in changes(value))
    elif isinstance(document, list | tuple) and document:
        kind = type(document)
        yield document[:-1]
        yield document * 1_000
        yield from (kind([other, *document[1:]]) for other in changes(document[0]))
    elif isinstance(document, torch.Tensor):
        yield from (document[:0], document[None], document.flatten()[1:], document.to(torch.int8))
        yield from (document * torch.nan, document.repeat(2, *[1] * (document.ndim - 1)))
    elif isinstance(document, str):
        yield from (document[:-1], document * 1_000)
    yield from VALUES


@dataclass(frozen=True)
class Stored:
    """A kind of document.

    Attributes:
        path: in the folder of `furnished`.
        readers: command lines that read it.
        load: its bytes as plain data.
        dump: plain data as its bytes.
    """

    path: str
    readers: Sequence[str]
    load: Callable[[bytes], Any] = json.loads
    dump: Callable[[Any], bytes] = lambda document: json.dumps(document).encode()


def load_state(content: bytes) -> Any:
    return torch.load(io.BytesIO(content[32:]), weights_only=True)


def dump_tensors(document: Any) -> bytes:
    content = io.BytesIO()
    torch.save(document, content)
    return content.getvalue()


def dump_state(document: Any) -> bytes:
    content = dump_tensors(document)
    return hashlib.sha256(content).digest() + content


def load_record(content: bytes) -> Any:
    """The first line of a journal, without its checksum."""
    record = json.loads(content.splitlines()[0])
    del record["crc32"]
    return record


def dump_record(document: Any) -> bytes:
    if not isinstance(document, dict):
        return json.dumps(document).encode() + b"\n"
    checksum = zlib.crc32(json.dumps(document).encode())
    return json.dumps(document | {"crc32": checksum}).encode() + b"\n"


# {train} and {lr-sweep} are the command lines of the unfinished runs.
DOCUMENTS = {
    "config.yaml": Stored(
        "train/run/config.yaml",
        [
            "config validate train/run",
            "config show --config train/run/config.yaml",
            "train --config train/run/config.yaml --epochs 0",
        ],
        lambda content: yaml.parse(content.decode(), "config.yaml"),
    ),
    "metrics.json of train": Stored(
        "train/run/metrics.json",
        [
            *("show train/run", "show train/run --json", "check train/run"),
            *("diff train/run whole/run", "export train/run --format csv"),
            *("export train/run --table history --format md", "export train/run --output x.pt"),
            "{train} --init-from train/run --epochs 0",
            "repeat train/run --device cuda:99",
        ],
    ),
    "metrics.json of lr-sweep": Stored(
        "lr-sweep/run/metrics.json",
        [
            *("show lr-sweep/run", "check lr-sweep/run", "diff lr-sweep/run lr-sweep/run"),
            "export lr-sweep/run --format csv",
            "{train} --lr-from lr-sweep/run --epochs 0",
        ],
    ),
    "checkpoint.pt": Stored(
        "train/run/checkpoint.pt",
        ["export train/run --output x.pt", "{train} --init-from train/run --output again"],
        lambda content: torch.load(io.BytesIO(content), weights_only=True),
        dump_tensors,
    ),
    "begun.json of train": Stored("train/.begun.partial/begun.json", ["{train} --resume"]),
    "begun.json of lr-sweep": Stored("lr-sweep/.begun.partial/begun.json", ["{lr-sweep} --resume"]),
    "state.pt": Stored(
        "train/.begun.partial/state.pt", ["{train} --resume"], load_state, dump_state
    ),
    "journal.jsonl": Stored(
        "lr-sweep/.begun.partial/journal.jsonl", ["{lr-sweep} --resume"], load_record, dump_record
    ),
    "manifest": Stored(
        f"data/{datasets.RAW}/{datasets._MANIFEST}",
        ["data verify --data-dir data", "data show --data-dir data --output x.png"],
    ),
    "expectations": Stored(
        "expected.yaml",
        ["check lr-sweep/run train/run --expected expected.yaml"],
        lambda content: yaml.parse(content.decode(), "expected.yaml"),
    ),
}


EXPECTED = """\
coverage: 0.95
runs:
- name: a sweep
  command: midterm lr-sweep
  experiment: lr_sweep
  config: {epochs: 4, dtype: float32, ema: [1]}
  checks:
  - {name: a, at: [trials, {seed: 0}, outcome], source: it, equals: trained}
  - {name: b, at: [rates, "*", failed], source: it, within: [0, null]}
- name: a training
  command: midterm train
  experiment: train
  config: {epochs: 1}
  checks:
  - {name: c, at: [final, weights, 0, test_loss, mean], source: it, near: {value: 1, tolerance: 1}}
  - name: d
    at: [final, weights, 0, test_loss, mean]
    source: it
    mean_over_seeds: {mean: 1, seeds: 2, sd: 1, sd_seeds: 3}
"""


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with every stored document, and the command lines of its unfinished runs."""
    above = tmp_path_factory.mktemp("stored")
    folder = above / "furnished"
    lines = {}
    for name in ("train", "lr-sweep"):
        (above / name).mkdir()
        command = commands(above / name)[name]
        first = Running(folder / name, command, UNDISTURBED)
        assert first.wait().code == 0
        command[command.index("run")] = "begun"
        last = Disturbance(signal.SIGINT, at=(first.operations // 2,))
        assert run(folder / name, *command, disturbance=last).code == -signal.SIGINT
        command[command.index("begun")] = f"{name}/begun"
        lines[name] = " ".join(command)
    shutil.copytree(folder / "train", folder / "whole")
    metrics = folder / "train" / "run" / "metrics.json"
    document = json.loads(metrics.read_bytes())
    # As in runs of earlier versions: a digest would keep out whatever a checkpoint says else.
    del document["provenance"]["checkpoint_sha256"]
    metrics.write_text(json.dumps(document), encoding="utf-8")
    (folder / "expected.yaml").write_text(EXPECTED, encoding="utf-8")
    manifest = folder / DOCUMENTS["manifest"].path
    manifest.parent.mkdir(parents=True)
    entry = {"bytes": 1, "mtime_ns": 1, "ctime_ns": 1, "sha256": "a"}
    files = dict.fromkeys(datasets.FILES, entry)
    manifest.write_text(json.dumps({"source": "here", "files": files}), encoding="utf-8")
    return folder, lines


def assert_told(answer: Answer, told: str) -> None:
    """Success, a check that fails, or a mistake in a few lines; nothing that moves a cursor."""
    assert answer.code in (0, 2, 3), told
    assert [c for c in answer.out + answer.err if not c.isprintable() and c != "\n"] == [], told
    if answer.code == 2:
        _, error, message = answer.err.partition("Error: ")
        assert error, told
        assert message.count("\n") <= 11, told


@pytest.mark.usefixtures("unrendered")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("times", [4, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_field_of_it_in_turn(
    name: str,
    times: int | None,
    furnished: tuple[Path, dict[str, str]],
    folder: Path,
    midterm: Callable[..., Answer],
) -> None:
    stored, (source, lines) = DOCUMENTS[name], furnished
    true = stored.load((source / stored.path).read_bytes())
    cases = list(changes(true))
    for number in range(len(cases)) if times is None else sample(name, len(cases), times):
        shutil.copytree(source, folder, dirs_exist_ok=True)
        Path(stored.path).write_bytes(stored.dump(cases[number]))
        for reader in stored.readers if times else in_turn(stored.readers, number):
            answer = midterm(*reader.format_map(lines).split(" "))
            assert_told(answer, f"{reader}, case {number}: {str(cases[number])[:1000]}\n{answer}")
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def in_turn(readers: Sequence[str], number: int) -> set[str]:
    """Two readers for a case: the 16 cases and more of a field go to each several times."""
    return {readers[(number + i) % len(readers)] for i in range(2)}


def sample(name: str, total: int, count: int) -> list[int]:
    """Some of so many cases: the same each time, but others where `make test-all` asks for them."""
    rng = random_moments() if "MIDTERM_RANDOM" in os.environ else Random(name)
    return rng.sample(range(total), count)
