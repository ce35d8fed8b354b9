import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from idx_files import examples, flip, idx, refusal, write, write_stand_in

from midterm_cli import files
from midterm_cli.data import datasets, fetch
from midterm_cli.data.datasets import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from midterm_cli.errors import UserError

# Where it is


def test_data_is_looked_for_from_near_to_far(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "checkout", lambda: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert datasets.data_dir() == tmp_path / "cache" / "midterm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert datasets.data_dir() == tmp_path / ".cache" / "midterm"

    monkeypatch.setattr(datasets, "checkout", lambda: tmp_path / "checkout")
    assert datasets.data_dir() == tmp_path / "checkout" / "data"

    (folder / "data").mkdir()
    assert datasets.data_dir() == tmp_path / "checkout" / "data"  # ./data holds some other data
    raw = folder / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    assert datasets.data_dir() == tmp_path / "checkout" / "data"  # nor has it this
    (raw / f"{TRAIN_LABELS}.gz").touch()
    assert datasets.data_dir() == Path("data")

    assert datasets.data_dir(Path("chosen")) == Path("chosen")


# Read


@pytest.mark.parametrize("layout", [".", "raw", "Mine/raw"])
@pytest.mark.parametrize("compressed", [False, True])
def test_folder_gives_back_what_was_written(tmp_path: Path, layout: str, compressed: bool) -> None:
    arrays = examples()
    write(tmp_path / layout, arrays, compressed=compressed)
    read = datasets.load(str(tmp_path), Path("unused"))
    np.testing.assert_array_equal(read.train.images, arrays[TRAIN_IMAGES])
    np.testing.assert_array_equal(read.train.labels, arrays[TRAIN_LABELS])
    np.testing.assert_array_equal(read.test.images, arrays[TEST_IMAGES])
    np.testing.assert_array_equal(read.test.labels, arrays[TEST_LABELS])
    assert read.train.labels.dtype == np.int64  # uint8 would index torch tensors as a mask
    assert (read.num_classes, read.class_names) == (3, ("0", "1", "2"))


@pytest.fixture
def every_torch_warning() -> Iterator[None]:
    """Torch says some warnings once a process, and an earlier test may have been told."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


@pytest.mark.usefixtures("every_torch_warning")
@pytest.mark.parametrize("compressed", [False, True])
def test_images_go_to_torch_without_a_warning_and_never_to_the_file(
    tmp_path: Path, compressed: bool
) -> None:
    folder = write(tmp_path, examples(), compressed=compressed)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    images = datasets.load(str(folder), Path("unused")).train.images
    assert type(images) is np.ndarray
    torch.from_numpy(images).add_(1)
    np.testing.assert_array_equal(images, examples()[TRAIN_IMAGES] + np.uint8(1))
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@given(
    num_classes=st.integers(2, 256),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
@example(num_classes=256, height=1, width=1)
@settings(max_examples=10, deadline=None)
def test_any_size_and_any_number_of_classes(
    tmp_path_factory: pytest.TempPathFactory, num_classes: int, height: int, width: int
) -> None:
    arrays = examples(num_classes, height, width)
    read = datasets.load(str(write(tmp_path_factory.mktemp("any"), arrays)), Path("unused"))
    assert read.num_classes == num_classes
    np.testing.assert_array_equal(read.test.images, arrays[TEST_IMAGES])


def test_digest_is_that_of_sha256sum_in_every_form(tmp_path: Path) -> None:
    arrays = examples()
    listing = "".join(
        f"{hashlib.sha256(idx(values)).hexdigest()}  {name}\n" for name, values in arrays.items()
    )
    expected = hashlib.sha256(listing.encode()).hexdigest()
    plain = write(tmp_path / "plain", arrays)
    packed = write(tmp_path / "packed", arrays, compressed=True)
    assert datasets.load(str(plain), Path("unused")).sha256 == expected
    assert datasets.load(str(packed), Path("unused")).sha256 == expected
    arrays[TEST_LABELS][[0, 1]] = arrays[TEST_LABELS][[1, 0]]
    changed = write(tmp_path / "changed", arrays)
    assert datasets.load(str(changed), Path("unused")).sha256 != expected


IMAGES, LABELS = idx(np.zeros((12, 4, 5))), idx(np.arange(12) % 3)

DAMAGE = {
    "truncated": (TRAIN_IMAGES, IMAGES[:-1], "gives 256 bytes, but the file has 255"),
    "trailing": (TEST_LABELS, LABELS + b"\0", "gives 20 bytes, but the file has "),
    "no header": (TRAIN_LABELS, LABELS[:7], "too short for an IDX header, 7 bytes"),
    "empty file": (TRAIN_IMAGES, b"", "too short for an IDX header, 0 bytes"),
    "magic": (
        TRAIN_IMAGES,
        b"\x80" + IMAGES[1:],
        "starts with 0x80000803, not 0x00000803",
    ),
    "dtype": (TRAIN_LABELS, b"\0\0\x0d" + LABELS[3:], "dtype code 0x0d"),
    "dimensions": (TEST_IMAGES, LABELS, "the number of dimensions is 1, not 3"),
    "swapped": (TEST_LABELS, IMAGES, "the number of dimensions is 3, not 1"),
    "counts": (TRAIN_LABELS, idx(np.arange(11) % 3), "counts 12 images, but"),
    "size": (TEST_IMAGES, idx(np.zeros((6, 5, 4))), "images of 5 × 4 pixels, but"),
    "no image": (
        TRAIN_IMAGES,
        idx(np.zeros((0, 4, 5))),
        "says that it is empty: 0 × 4 × 5",
    ),
    "no pixel": (
        TRAIN_IMAGES,
        idx(np.zeros((12, 4, 0))),
        "says that it is empty: 12 × 4 × 0",
    ),
    "label": (
        TEST_LABELS,
        idx(np.array([0, 1, 2, 3, 0, 1])),
        "label 3 at index 3 is out of",
    ),
    "class": (TRAIN_LABELS, idx(np.arange(12) % 3 * 2), "class 1 has no example"),
    "one class": (TRAIN_LABELS, idx(np.zeros(12)), "at least 2 classes are needed"),
    "absurd": (
        TRAIN_IMAGES,
        IMAGES[:4] + b"\xff" * 12,
        "above the limit of 4,294,967,296",
    ),
    "large": (
        TRAIN_IMAGES,
        IMAGES[:4] + bytes([0, 0x80, 0, 0, 0, 0, 0, 16, 0, 0, 0, 16]),
        "gives 2,147,483,664 bytes, but the file has 16",
    ),
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_refused_by_name(tmp_path: Path, kind: str, compressed: bool) -> None:
    name, content, expected = DAMAGE[kind]
    write(tmp_path, examples(), compressed=compressed)
    path = tmp_path / (f"{name}.gz" if compressed else name)
    path.write_bytes(gzip.compress(content) if compressed else content)
    message = refusal(lambda: datasets.load(str(tmp_path), Path("unused")))
    assert expected in message
    assert str(path) in message


@pytest.mark.parametrize("kind", ["cut", "flipped", "not gzip"])
def test_damaged_gzip_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    write(tmp_path, examples(), compressed=True)
    path = tmp_path / f"{TRAIN_IMAGES}.gz"
    packed = path.read_bytes()
    wrong_crc = packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]
    path.write_bytes({"cut": packed[:-20], "flipped": wrong_crc, "not gzip": b"IDX"}[kind])
    message = refusal(lambda: datasets.load(str(tmp_path), Path("unused")))
    assert f"{path}: cannot be read" in message


def test_gzip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, examples(), compressed=True)
    path = tmp_path / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(gzip.compress(IMAGES + bytes(100_000), 1))
    read = []
    original = gzip.GzipFile.read

    def counted(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        read.append(original(self, size))
        return read[-1]

    monkeypatch.setattr("midterm_cli.data.idx._CHUNK", 100)
    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    message = refusal(lambda: datasets.load(str(tmp_path), Path("unused")))
    assert "gives 256 bytes, but the file has more" in message
    assert sum(map(len, read)) <= 256 + 100


def test_limit_counts_the_four_files_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, examples())
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    monkeypatch.setattr(datasets, "MAX_BYTES", total)
    datasets.load(str(tmp_path), Path("unused"))
    monkeypatch.setattr(datasets, "MAX_BYTES", total - 1)
    assert "above the limit" in refusal(lambda: datasets.load(str(tmp_path), Path("unused")))


@given(position=st.integers(0, 15), bit=st.integers(0, 7))
@settings(max_examples=30, deadline=None)
def test_no_flipped_bit_of_a_header_passes(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int
) -> None:
    folder = write(tmp_path_factory.mktemp("flip"), examples())
    path = folder / TRAIN_IMAGES
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)
    assert str(path) in refusal(lambda: datasets.load(str(folder), Path("unused")))


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("fashoin_mnist", "did you mean fashion_mnist?"),
        ("Fashion-MNIST", "did you mean fashion_mnist?"),
        ("syntetic", "did you mean synthetic?"),
        ("cifar", "there is no folder cifar, and the words are fashion_mnist, "),
        ("x" * 5_000, "File name too long"),
    ],
)
def test_unknown_dataset(
    dataset: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refusal(lambda: datasets.load(dataset, tmp_path))
    assert expected in message
    assert len(message) < 400


def test_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "mine", examples())
    assert datasets.load("~/mine", Path("unused")).name == "mine"
    message = refusal(lambda: datasets.load("~nobody-of-this-name/mine", Path("unused")))
    assert "no folder ~nobody-of-this-name/mine" in message


def test_folder_that_lacks_files(tmp_path: Path) -> None:
    assert "holds no IDX files" in refusal(lambda: datasets.load(str(tmp_path), tmp_path))
    write(tmp_path, examples())
    (tmp_path / TEST_LABELS).unlink()
    message = refusal(lambda: datasets.load(str(tmp_path), tmp_path))
    assert f"lacks {TEST_LABELS}" in message


def test_folder_of_several_datasets(tmp_path: Path) -> None:
    write(tmp_path / "A" / "raw", examples())
    write(tmp_path / "B" / "raw", examples())
    message = refusal(lambda: datasets.load(str(tmp_path), tmp_path))
    assert str(tmp_path / "A" / "raw") in message
    assert datasets.load(str(tmp_path / "B"), tmp_path).num_classes == 3


# Fashion-MNIST, as a small stand-in


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder as a fetch leaves it: with a manifest, which says that a friend had it."""
    write_stand_in(tmp_path / datasets.RAW, monkeypatch)
    datasets.verify(tmp_path, source="a friend")
    return tmp_path


def count_hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    hashed = []
    original = datasets._inspect

    def inspect(path: Path) -> datasets.Finding:
        hashed.append(path.name)
        return original(path)

    monkeypatch.setattr(datasets, "_inspect", inspect)
    return hashed


def test_fashion_mnist_is_what_was_written(data_dir: Path) -> None:
    read = datasets.load("fashion_mnist", data_dir)
    np.testing.assert_array_equal(read.train.images, examples(num_classes=10)[TRAIN_IMAGES])
    assert (read.class_names, read.source) == (datasets.CLASS_NAMES, "a friend")
    assert read.sha256 == datasets.load(str(data_dir), Path("unused")).sha256


def test_missing_data_names_the_command(data_dir: Path, tmp_path: Path) -> None:
    (data_dir / datasets.RAW / TEST_LABELS).unlink()
    message = refusal(lambda: datasets.load("fashion_mnist", data_dir))
    assert message.startswith(f"Fashion-MNIST in {data_dir / datasets.RAW} lacks {TEST_LABELS}")
    nowhere = tmp_path / "nowhere"
    message = refusal(lambda: datasets.load("fashion_mnist", nowhere))
    assert message.startswith(f"Fashion-MNIST in {nowhere / datasets.RAW} is not there")
    assert f"`{datasets.fetch_command(nowhere)}`" in message


def test_truncated_fashion_mnist_names_file_and_command(data_dir: Path) -> None:
    damaged = data_dir / datasets.RAW / TRAIN_IMAGES
    damaged.write_bytes(damaged.read_bytes()[:100])
    message = refusal(lambda: datasets.load("fashion_mnist", data_dir))
    assert f"{damaged}: the header gives" in message
    assert f"`{datasets.fetch_command(data_dir)}`" in message


# The manifest


def test_unchanged_files_are_not_hashed_again(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = count_hashes(monkeypatch)
    datasets.load("fashion_mnist", data_dir)
    assert hashed == []
    (data_dir / datasets.RAW / TEST_IMAGES).touch()
    assert datasets.load("fashion_mnist", data_dir).source == "a friend"
    assert hashed == list(datasets.FILES)
    assert datasets.load("fashion_mnist", data_dir).source == "a friend"
    assert len(hashed) == 4


def test_files_put_there_by_hand_are_hashed_once(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data_dir / datasets.RAW / "midterm-manifest.json").unlink()
    hashed = count_hashes(monkeypatch)
    assert datasets.load("fashion_mnist", data_dir).source == f"found in {data_dir / datasets.RAW}"
    datasets.load("fashion_mnist", data_dir)
    assert len(hashed) == 4


def test_altered_file_is_refused_even_with_its_old_time(data_dir: Path) -> None:
    path = data_dir / datasets.RAW / TEST_IMAGES
    before = path.stat()
    time.sleep(0.02)  # file times have the resolution of the kernel's tick, at most 10 ms
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    message = refusal(lambda: datasets.load("fashion_mnist", data_dir))
    assert f"{path}: SHA-256 is" in message
    assert f"`{datasets.fetch_command(data_dir)}`" in message


def test_decay_that_leaves_no_mark_is_seen_by_verify_and_then_by_load(data_dir: Path) -> None:
    path = data_dir / datasets.RAW / TEST_IMAGES
    flip(path)
    manifest_path = data_dir / datasets.RAW / "midterm-manifest.json"
    manifest = json.loads(manifest_path.read_text())
    manifest["files"][path.name] = datasets._entry(path)
    manifest_path.write_text(json.dumps(manifest))
    datasets.load("fashion_mnist", data_dir)
    findings = datasets.verify(data_dir)
    assert [finding.name for finding in findings if not finding.ok] == [path.name]
    assert findings[2].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert str(path) in refusal(lambda: datasets.load("fashion_mnist", data_dir))


def test_verify_of_missing_and_unreadable_files(data_dir: Path) -> None:
    nowhere = data_dir / "nowhere"
    assert [finding.problem for finding in datasets.verify(nowhere)] == ["missing"] * 4
    assert not nowhere.exists()
    impossible = data_dir / ("x" * 300)
    problem = "cannot be read: File name too long"
    assert [finding.problem for finding in datasets.verify(impossible)] == [problem] * 4
    (data_dir / datasets.RAW / TRAIN_IMAGES).unlink()
    (data_dir / datasets.RAW / TRAIN_IMAGES).mkdir()
    first, *others = datasets.verify(data_dir)
    assert (first.bytes, first.sha256, first.problem) == (
        None,
        None,
        "cannot be read: Is a directory",
    )
    assert all(finding.ok for finding in others)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"files": 1}', '{"files": {}}', "\udc80"]
)
def test_damaged_manifest_vouches_for_nothing(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    manifest = data_dir / datasets.RAW / "midterm-manifest.json"
    manifest.write_bytes(content.encode(errors="surrogateescape"))
    hashed = count_hashes(monkeypatch)
    datasets.load("fashion_mnist", data_dir)
    assert len(hashed) == 4


def test_folder_that_cannot_be_written_to_still_loads(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data_dir / datasets.RAW / "midterm-manifest.json").unlink()

    def read_only(path: Path, content: bytes) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(files, "replace", read_only)
    assert datasets.load("fashion_mnist", data_dir).num_classes == 10


@pytest.mark.parametrize("name", ["fashion_mnist", "synthetic", "mine"])
def test_the_digest_of_a_dataset_is_that_of_the_loaded_one(
    name: str, data_dir: Path, folder: Path
) -> None:
    write(folder / "mine", examples())
    assert datasets.sha256(name, data_dir) == datasets.load(name, data_dir).sha256


# Synthetic


def test_synthetic_has_the_same_bytes_everywhere() -> None:
    made = datasets.load("synthetic", Path("unused"))
    # A change here changes everyone's numbers on synthetic data.
    assert made.sha256 == "435e3fb009ca863e81be1267a976d3c003e9f240f7bcacadf497137f4e78d7e1"


def test_synthetic_written_to_a_folder_is_the_same_dataset(tmp_path: Path) -> None:
    made = datasets.load("synthetic", Path("unused"))
    splits = (made.train.images, made.train.labels, made.test.images, made.test.labels)
    write(tmp_path, dict(zip(datasets.FILES, splits, strict=True)))
    assert datasets.load(str(tmp_path), Path("unused")).sha256 == made.sha256


# Draw


def test_strip_shows_the_images_with_their_names() -> None:
    made = datasets.load("synthetic", Path("unused"))
    figure = datasets.draw_strip(made, indices=[7, 3])
    assert len(figure.axes) == 2
    for axes, index in zip(figure.axes, (7, 3), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), made.train.images[index])
        assert axes.get_xlabel() == made.class_names[made.train.labels[index]]
    assert len(datasets.draw_strip(made).axes) == 5


def test_strip_out_of_range() -> None:
    made = datasets.load("synthetic", Path("unused"))
    assert "no training image 6000" in refusal(lambda: datasets.draw_strip(made, [0, 6_000]))
    assert "no training image -1" in refusal(lambda: datasets.draw_strip(made, [-1]))
    assert "no training image 6000" in refusal(lambda: datasets.draw_strip(made, count=6_001))
    assert "nothing to draw" in refusal(lambda: datasets.draw_strip(made, count=0))


# The true data


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    fetch.fetch(folder)
    return folder


@pytest.mark.real_data
def test_real_data(real: Path) -> None:
    read = datasets.load("fashion_mnist", real)
    assert read.train.images.shape == (60_000, 28, 28)
    assert read.test.images.shape == (10_000, 28, 28)
    assert np.bincount(read.train.labels).tolist() == [6_000] * 10
    assert np.bincount(read.test.labels).tolist() == [1_000] * 10
    assert datasets.CLASS_NAMES[read.train.labels[0]] == "Ankle boot"
    # The mean and standard deviation that the literature normalises with.
    assert read.train.images.mean() / 255 == pytest.approx(0.2860, abs=5e-5)
    assert read.train.images.std() / 255 == pytest.approx(0.3530, abs=5e-5)
    assert all(finding.ok for finding in datasets.verify(real))


@pytest.mark.real_data
def test_loading_real_data_imports_nothing_heavy_and_maps_the_images(real: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from midterm_cli.data import datasets\n"
        "read = datasets.load('fashion_mnist', Path(sys.argv[1]))\n"
        "heavy = {'torch', 'torchvision', 'matplotlib', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "maps = Path('/proc/self/maps')\n"
        "assert not maps.exists() or 'train-images-idx3-ubyte' in maps.read_text()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(real)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.real_data
def test_torchvision_reads_the_same(real: Path) -> None:
    from torchvision.datasets import FashionMNIST

    theirs = FashionMNIST(str(real), train=False)
    ours = datasets.load("fashion_mnist", real)
    np.testing.assert_array_equal(theirs.data.numpy(), ours.test.images)
    np.testing.assert_array_equal(theirs.targets.numpy(), ours.test.labels)
    assert theirs.classes == list(datasets.CLASS_NAMES)


def test_a_message_stays_on_its_lines_whatever_the_folder_is_called() -> None:
    with pytest.raises(UserError) as caught:
        datasets.load(datasets.FASHION_MNIST, Path("a\nb"))
    first, second = str(caught.value).splitlines()
    assert r"in a\nb/FashionMNIST/raw is not there" in first
    assert "data fetch" in second
