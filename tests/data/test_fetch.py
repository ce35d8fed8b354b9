import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from idx_files import examples, flip, refusal, write, write_stand_in

from midterm_cli.data import datasets, fetch, idx
from midterm_cli.data.datasets import RAW, TEST_IMAGES, TRAIN_IMAGES, TRAIN_LABELS


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small "Fashion-MNIST", the only one that counts as true; no other source."""
    monkeypatch.delenv(fetch.SOURCE_VARIABLE, raising=False)
    monkeypatch.setattr(fetch, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr(fetch, "_download", unavailable("no network"))
    monkeypatch.setattr(fetch, "_unpack_package", unavailable("no apt-get"))
    return write_stand_in(tmp_path / "true", monkeypatch)


def unavailable(reason: str) -> Callable[[Path], Path]:
    def obtain(scratch: Path) -> Path:
        raise idx.Problem(reason)

    return obtain


def ignoring_scratch(folder: Path) -> Callable[[Path], Path]:
    return lambda scratch: folder


def test_fetched_data_is_the_source_s_and_readable_by_all(small: Path, tmp_path: Path) -> None:
    line = fetch.fetch(tmp_path, small)
    assert str(small) in line
    read = datasets.load("fashion_mnist", tmp_path)
    np.testing.assert_array_equal(read.train.images, examples(num_classes=10)[TRAIN_IMAGES])
    assert read.source == str(small)
    names = {path.name for path in (tmp_path / RAW).iterdir()}
    assert names == {*datasets.FILES, "midterm-manifest.json"}
    (tmp_path / "plain").touch()
    for path in (tmp_path / RAW).iterdir():  # not the 0600 of a temporary file
        assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_order_of_the_sources(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched_from(folder: str) -> str:
        return fetch.fetch(tmp_path / folder).rpartition(", from ")[2]

    arrays = examples(num_classes=10)
    package = write(tmp_path / "unpacked", arrays, compressed=True)
    monkeypatch.setattr(fetch, "_unpack_package", ignoring_scratch(package))
    assert "dataset-fashion-mnist" in fetched_from("1")
    download = write(tmp_path / "download" / RAW, arrays)
    monkeypatch.setattr(fetch, "_download", ignoring_scratch(download))
    assert "torchvision" in fetched_from("2")
    write(tmp_path / "debian", arrays, compressed=True)
    assert fetched_from("3") == str(tmp_path / "debian")
    monkeypatch.setenv(fetch.SOURCE_VARIABLE, str(write(tmp_path / "by variable", arrays)))
    assert fetched_from("4") == str(tmp_path / "by variable")
    assert str(small) in fetch.fetch(tmp_path / "5", small)
    assert "already" in fetch.fetch(tmp_path / "5", tmp_path / "nowhere")


def test_source_with_wrong_content_is_passed_over_unless_named(small: Path, tmp_path: Path) -> None:
    debian = write(tmp_path / "debian", examples(num_classes=10))
    flip(debian / TEST_IMAGES)
    message = refusal(lambda: fetch.fetch(tmp_path))
    assert f"{debian / TEST_IMAGES}: SHA-256" in message
    message = refusal(lambda: fetch.fetch(tmp_path, debian))
    assert "(the source that was named)" in message
    assert f"{debian / TEST_IMAGES}: SHA-256" in message
    assert not (tmp_path / RAW.parent).exists()


@pytest.mark.parametrize("named", ["argument", "variable"])
def test_named_source_is_the_only_one(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    write(tmp_path / "debian", examples(num_classes=10))
    nowhere = tmp_path / "nowhere"
    if named == "variable":
        monkeypatch.setenv(fetch.SOURCE_VARIABLE, str(nowhere))
    message = refusal(lambda: fetch.fetch(tmp_path, nowhere if named == "argument" else None))
    assert f"Fashion-MNIST is not in {nowhere}" in message
    assert "no such folder" in message
    assert (fetch.SOURCE_VARIABLE in message) == (named == "variable")


def test_failure_says_what_was_tried_and_what_to_do(small: Path, tmp_path: Path) -> None:
    said: list[str] = []
    tried, advice = refusal(lambda: fetch.fetch(tmp_path, report=said.append)).splitlines()
    for reason in ("(no such folder)", "(no network)", "(no apt-get)"):
        assert reason in tried
    assert fetch.SOURCE_VARIABLE in advice
    assert len(said) == 3


def test_what_cannot_be_fetched_leaves_no_folder_that_hides_other_data(
    small: Path, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "checkout", lambda: tmp_path)
    refusal(lambda: fetch.fetch(Path("data")))
    assert not Path("data").exists()

    Path("data").mkdir()
    refusal(lambda: fetch.fetch(Path("data")))
    assert list(Path("data").iterdir()) == []  # it was there, and stays
    assert datasets.data_dir() == tmp_path / "data"


def test_damaged_file_alone_is_replaced_and_named(small: Path, tmp_path: Path) -> None:
    fetch.fetch(tmp_path, small)
    kept = (tmp_path / RAW / TRAIN_LABELS).stat().st_ino
    damaged = tmp_path / RAW / TRAIN_IMAGES
    damaged.write_bytes(damaged.read_bytes()[:100])
    said: list[str] = []
    fetch.fetch(tmp_path, small, said.append)
    assert len(said) == 1
    assert str(damaged) in said[0]
    assert damaged.read_bytes() == (small / TRAIN_IMAGES).read_bytes()
    assert (tmp_path / RAW / TRAIN_LABELS).stat().st_ino == kept


def test_failed_write_leaves_no_trace(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / RAW / TRAIN_LABELS
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    message = refusal(lambda: fetch.fetch(tmp_path, small))
    assert f"cannot write to {tmp_path / RAW}: No space left on device" in message
    assert [path.name for path in (tmp_path / RAW).iterdir()] == [damaged.name]
    assert damaged.read_bytes() == b"old"


def test_failed_rename_leaves_only_whole_files(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if target.name == TEST_IMAGES:
            raise PermissionError(13, "Permission denied")
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    assert "Permission denied" in refusal(lambda: fetch.fetch(tmp_path, small))
    left = sorted(path.name for path in (tmp_path / RAW).iterdir())
    assert left == sorted([TRAIN_IMAGES, TRAIN_LABELS])
    assert all((tmp_path / RAW / name).read_bytes() == (small / name).read_bytes() for name in left)
    monkeypatch.undo()


@pytest.mark.parametrize("name", ["file", "x" * 300])
def test_data_folder_that_cannot_be_one(small: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert "cannot write to" in refusal(lambda: fetch.fetch(tmp_path / name, small))


def test_source_that_no_folder_can_be(small: Path, tmp_path: Path) -> None:
    message = refusal(lambda: fetch.fetch(tmp_path, Path("x" * 300)))
    assert message.startswith("Fashion-MNIST is not in xxx")
    assert "File name too long" in message


def test_what_another_program_writes_over_is_found(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_files = fetch._replace_files

    def replaced_and_damaged(raw: Path, *arguments: Any) -> str:
        origin = replace_files(raw, *arguments)
        flip(raw / TRAIN_LABELS)
        return origin

    monkeypatch.setattr(fetch, "_replace_files", replaced_and_damaged)
    message = refusal(lambda: fetch.fetch(tmp_path, small))
    assert f"{tmp_path / RAW / TRAIN_LABELS} is damaged, although it was just written" in message


def test_two_fetches_at_once(small: Path, tmp_path: Path) -> None:
    forks = multiprocessing.get_context("fork")  # which have the small data in place of the true
    start = forks.Barrier(4)

    def run() -> None:
        start.wait()
        fetch.fetch(tmp_path, small)

    processes = [forks.Process(target=run) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert all(finding.ok for finding in datasets.verify(tmp_path))
    assert len(list((tmp_path / RAW).iterdir())) == 5


# Programs that fetch


def test_program_that_fails_gives_its_last_line(tmp_path: Path) -> None:
    script = "import sys; sys.stderr.write('E: first\\nE: telling\\nW: warning\\n\\n'); sys.exit(1)"
    with pytest.raises(idx.Problem, match=r"^E: telling$"):
        fetch._execute([sys.executable, "-c", script], tmp_path, 60)
    with pytest.raises(idx.Problem, match=r"^exit code 3$"):
        fetch._execute([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, 60)
    with pytest.raises(idx.Problem, match="No such file"):
        fetch._execute([str(tmp_path / "none")], tmp_path, 60)


def test_program_that_hangs_is_stopped(tmp_path: Path) -> None:
    script = "import time; time.sleep(20)"
    with pytest.raises(idx.Problem, match=r"no end after 0\.2 s"):
        fetch._execute([sys.executable, "-c", script], tmp_path, 0.2)


def test_torchvision_is_not_tried_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []

    def execute(command: list[str], folder: Path, seconds: float) -> None:
        commands.append(command)
        raise idx.Problem("no network")

    monkeypatch.setattr(fetch, "_execute", execute)
    with pytest.raises(idx.Problem, match="no network"):
        fetch._download(tmp_path)
    assert len(commands) == 1
    assert "torchvision" not in " ".join(commands[0])


def test_probe_fails_where_nothing_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_PROBE_URL", "http://127.0.0.1:9/none")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(idx.Problem, match="refused"):
        fetch._download(tmp_path)


def test_torchvision_child_downloads_into_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a torchvision of ours, for the network is none of a test's business."""
    package = tmp_path / "fake" / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "datasets.py").write_text(
        "from pathlib import Path\n"
        "def FashionMNIST(root, download):\n"
        "    raw = Path(root, 'FashionMNIST', 'raw'); raw.mkdir(parents=True)\n"
        "    (raw / 'downloaded').write_text(str(download))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    original = fetch._execute
    calls = []

    def execute(command: list[str], folder: Path, seconds: float) -> None:
        calls.append(command)
        if len(calls) == 2:  # the first is the probe
            original(command, folder, seconds)

    monkeypatch.setattr(fetch, "_execute", execute)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert (fetch._download(scratch) / "downloaded").read_text() == "True"


def test_package_is_fetched_without_root_and_in_spite_of_a_failed_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []

    def execute(command: list[str], folder: Path, seconds: float) -> None:
        commands.append(command)
        if command[-1] == "update":
            raise idx.Problem("a repository of a third party is down")
        if "download" in command:
            (folder / "fashion.deb").touch()

    monkeypatch.setattr(fetch, "_execute", execute)
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    folder = fetch._unpack_package(tmp_path)
    assert folder == tmp_path / "unpacked/usr/share/datasets/fashion-mnist"
    assert [command[0] for command in commands] == ["apt-get", "apt-get", "dpkg-deb"]
    assert commands[2][1:] == ["-x", "fashion.deb", "unpacked"]
    assert f"-oDir::State::lists={tmp_path / 'lists'}" in commands[0]


def test_no_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(idx.Problem, match="there is no apt-get here"):
        fetch._unpack_package(tmp_path)
