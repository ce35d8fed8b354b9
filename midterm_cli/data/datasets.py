"""Fashion-MNIST and its like: read and checked; the strip of examples.

A dataset is four IDX files, images and labels, for training and for testing; or an .npz or a .csv
with the same (one_file.py). Fashion-MNIST lies where torchvision keeps it, in FashionMNIST/raw
below the data folder, and beside it a manifest of what was hashed and when: a file whose size and
times have not changed since is not hashed again.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

import numpy as np

from midterm_cli import files
from midterm_cli.data import idx, npz, one_file
from midterm_cli.errors import UserError
from midterm_cli.source import checkout
from midterm_cli.text import closest, printable, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"

FILES: Mapping[str, str] = {
    TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""The four files of Fashion-MNIST: name, and SHA-256 of the uncompressed content."""

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

FASHION_MNIST = "fashion_mnist"
SYNTHETIC = "synthetic"

RAW = Path("FashionMNIST", "raw")
"""Where Fashion-MNIST lies below the data folder."""


@dataclass(frozen=True)
class Known:
    """A dataset that torchvision keeps below the data folder.

    Attributes:
        folder: of its IDX files.
        prefix: of the names of its files.
        test: what stands for t10k in them.
        class_names: one a class.
        torchvision: how it is downloaded, but for the folder.
    """

    folder: Path
    prefix: str
    test: str
    class_names: tuple[str, ...]
    torchvision: str


KNOWN: Mapping[str, Known] = {
    "mnist": Known(Path("MNIST", "raw"), "", "t10k", tuple("0123456789"), "MNIST({})"),
    "kmnist": Known(
        Path("KMNIST", "raw"),
        "",
        "t10k",
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        "KMNIST({})",
    ),
    "emnist-letters": Known(
        Path("EMNIST", "raw"),
        "emnist-letters-",
        "test",
        tuple(ascii_lowercase),
        "EMNIST({}, split='letters')",
    ),
}
"""The words for datasets beside `FASHION_MNIST` and `SYNTHETIC`."""

MAX_BYTES = 4 * 2**30
"""What the four files of a dataset may hold together, uncompressed."""

_MANIFEST = "midterm-manifest.json"


@dataclass(frozen=True, eq=False)
class Split:
    """Examples to train or to test on.

    Attributes:
        images: uint8, (n, height, width), 0…255; mapped from the file where that is uncompressed.
            What is written into them stays in this process.
        labels: int64, (n,), 0…num_classes - 1.
    """

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification dataset of grey images.

    Attributes:
        name: the word or the folder's name.
        train: what to train on; every class occurs in it.
        test: what to test on, of the same image size.
        class_names: one name a class, at least 2.
        sha256: stands for the four files: the SHA-256 of what `sha256sum` prints for them,
            uncompressed, in the order of `FILES`. The same data has the same digest in every form.
        source: where the data comes from, in words.
        first_label: what class 0 is called there: 0, or 1 as in EMNIST's letters.
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    sha256: str
    source: str
    first_label: int = 0

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def note(self) -> str | None:
        """What its user should know of how it was read, or None."""
        if self.first_label == 0:
            return None
        last = self.first_label + self.num_classes - 1
        return (
            f"the labels of {printable(self.name)} are {self.first_label} to {last}: read as the "
            f"classes 0 to {self.num_classes - 1}"
        )

    def contents(self) -> dict[str, np.ndarray]:
        """The four IDX files that hold it, as `idx.read` gives them."""
        arrays = [
            array
            for split in (self.train, self.test)
            for array in (split.images, split.labels + self.first_label)
        ]
        return dict(zip(FILES, map(idx.from_values, arrays), strict=True))


@dataclass(frozen=True)
class Finding:
    """What `verify` found out about one file of Fashion-MNIST.

    Attributes:
        name: one of `FILES`.
        bytes: its size, or None if it could not be read.
        sha256: of its content, or None if it could not be read.
        problem: what is wrong with it, or None.
    """

    name: str
    bytes: int | None
    sha256: str | None
    problem: str | None

    @property
    def ok(self) -> bool:
        """Whether it is the true file."""
        return self.problem is None


# Load


def data_dir(chosen: Path | None = None) -> Path:
    """The folder that holds FashionMNIST/raw.

    The first that applies: the one chosen by the user; ./data where it holds a file of
    FashionMNIST; data/ of the checkout; midterm/ in the user's cache, so that an installed package
    finds its data again from any folder.
    """
    if chosen is not None:
        return chosen
    local = Path("data")
    if any((local / RAW).glob("*-ubyte*")):
        return local
    root = checkout()
    if root is not None:
        return root / "data"
    from platformdirs import user_cache_path

    return user_cache_path("midterm", appauthor=False)


def load(dataset: str, data_dir: Path) -> Dataset:
    """Read a dataset.

    Args:
        dataset: `fashion_mnist`, `synthetic` or one of `KNOWN`; an .npz or a .csv file; or a folder
            with four IDX files of the names in `FILES`, plain or .gz, flat or in torchvision's
            layout. Images may have any size, and classes be any number up to 256. (`./synthetic` is
            a folder of that name.)
        data_dir: the folder that holds FashionMNIST/raw, MNIST/raw and so on.

    Returns:
        The dataset. Fashion-MNIST is hashed again only if a file's size or times have changed since
        it was last hashed, so that decay of the disk is seen by `verify` alone; a folder is hashed
        each time.

    Raises:
        UserError: the data is missing or damaged, or `dataset` is no word, file or folder.
    """
    try:
        if dataset == SYNTHETIC:
            return _make_synthetic()
        if dataset == FASHION_MNIST:
            return _load_fashion_mnist(data_dir)
        if dataset in KNOWN:
            return _load_known(dataset, data_dir)
        path = Path(files.with_home(dataset))
        if path.suffix in one_file.ADVICE and not path.is_dir():
            return _load_file(path)
        return _load_folder(dataset)
    except OSError as error:
        raise UserError(
            f"cannot read the dataset {shortened(dataset, 200)}: {error.strerror or error}\n"
            "check its path and permissions"
        ) from error


def absolute(dataset: str) -> str:
    """A dataset as it can be named from any folder: a word, and what is not there, stay."""
    if dataset in (FASHION_MNIST, SYNTHETIC, *KNOWN):
        return dataset
    path = Path(files.with_home(dataset)).absolute()
    try:
        return str(path) if path.exists() else dataset
    except OSError:  # a name too long, a folder not readable: reading it will say so
        return dataset


def sha256(dataset: str, data_dir: Path) -> str:
    """`Dataset.sha256` as it is now, without the cost of the images where that can be spared.

    Raises:
        UserError: as for `load`.
    """
    if dataset == FASHION_MNIST:
        return _digest_of_hashes(FILES)  # nothing else is ever loaded under this name
    return load(dataset, data_dir).sha256


def fetch_command(data_dir: Path) -> str:
    """The command that gets Fashion-MNIST into a data folder."""
    name = str(data_dir)
    if not name.isprintable():  # a command is one line
        name = repr(name)[1:-1]
    return f"midterm data fetch --data-dir {shlex.quote(name)}"


def _make_synthetic() -> Dataset:
    from midterm_cli.data import synthetic

    train = Split(*synthetic.draw_shapes(6_000, seed=(0, 0)))
    test = Split(*synthetic.draw_shapes(1_000, seed=(0, 1)))
    source = "synthetic: made in code, seed 0"
    made = Dataset(SYNTHETIC, train, test, synthetic.CLASS_NAMES, "", source)
    return replace(made, sha256=_digest(made.contents()))


def _load_fashion_mnist(data_dir: Path) -> Dataset:
    raw = data_dir / RAW
    missing = [name for name in FILES if not (raw / name).is_file()]
    if missing:
        what = "is not there" if len(missing) == len(FILES) else f"lacks {', '.join(missing)}"
        raise UserError(
            f"Fashion-MNIST in {printable(raw)} {what}\nrun `{fetch_command(data_dir)}` to get it"
        )
    paths = {name: raw / name for name in FILES}
    try:
        train, test, _ = _splits(paths, _read_contents(paths), len(CLASS_NAMES))
        source = _check_hashes(data_dir)
    except idx.Problem as problem:
        raise UserError(f"{problem}\nrun `{fetch_command(data_dir)}` to replace it") from problem
    return Dataset(FASHION_MNIST, train, test, CLASS_NAMES, _digest_of_hashes(FILES), source)


def _load_known(word: str, data_dir: Path) -> Dataset:
    known = KNOWN[word]
    raw = data_dir / known.folder
    names = {name: f"{known.prefix}{name.replace('t10k', known.test)}" for name in FILES}
    found = {name: _find(raw, file) for name, file in names.items()}
    paths = {name: path for name, path in found.items() if path is not None}
    if len(paths) < len(FILES):
        missing = next(file for name, file in names.items() if found[name] is None)
        call = known.torchvision.format(f"{str(data_dir)!r}, download=True")
        raise UserError(
            f"{word} is not there: {printable(raw)} lacks {missing}\nname the folder that holds "
            f"{known.folder} with --data-dir, or get it in Python: torchvision.datasets.{call}"
        )
    try:
        contents = _read_contents(paths)
        return _dataset(word, paths, contents, f"found in {raw}", known.class_names)
    except idx.Problem as problem:
        raise UserError(f"{problem}\nreplace this file by a whole copy") from problem


def _load_folder(dataset: str) -> Dataset:
    folder = Path(files.with_home(dataset))
    if not folder.is_dir():
        raise UserError(_unknown_dataset(dataset))
    try:
        paths = find_files(folder, list(FILES))
    except idx.Problem as problem:
        raise UserError(
            f"{problem}\na dataset's folder holds {', '.join(FILES)}, plain or .gz"
        ) from problem
    try:
        contents = _read_contents(paths)
        folder = folder.resolve()
        return _dataset(folder.name, paths, contents, str(folder))
    except idx.Problem as problem:
        raise UserError(f"{problem}\ncorrect this file, or replace it by a whole copy") from problem


def _load_file(path: Path) -> Dataset:
    if not path.is_file():
        raise UserError(f"dataset: there is no file {shortened(printable(path), 200)}")
    advice = one_file.ADVICE[path.suffix]
    try:
        train, test, beside = one_file.read(path, MAX_BYTES)
    except idx.Problem as problem:
        raise UserError(f"{problem}\n{advice}") from problem
    if test is None:
        raise UserError(
            f"{printable(path)} has no test set, and there is no {printable(beside)}\nput it "
            f"there, or split the file: midterm data convert {shlex.quote(str(path))} FOLDER "
            "--test-share 0.2"
        )
    return from_arrays(path.resolve(), (train, test), beside)


def from_arrays(
    path: Path, pairs: tuple[npz.Pair, npz.Pair], beside: Path, how: str = ""
) -> Dataset:
    """A dataset from the arrays of one file or two.

    Args:
        path: of the training set.
        pairs: images, uint8, (n, height, width), and labels, uint8, (n,), to train and to test on.
        beside: of the test set.
        how: what was done to them, for the source.

    Raises:
        UserError: they do not belong together.
    """
    arrays = [array for pair in pairs for array in pair]
    contents = dict(zip(FILES, map(idx.from_values, arrays), strict=True))
    paths = dict(zip(FILES, (path, path, beside, beside), strict=True))
    try:
        return _dataset(path.stem, paths, contents, f"{path}{how}")
    except idx.Problem as problem:
        raise UserError(f"{problem}\n{one_file.ADVICE[path.suffix]}") from problem


def _dataset(
    name: str,
    paths: Mapping[str, Path],
    contents: Mapping[str, np.ndarray],
    source: str,
    class_names: tuple[str, ...] | None = None,
) -> Dataset:
    """A dataset from its four files; where no names are given, the labels name the classes."""
    num_classes = None if class_names is None else len(class_names)
    train, test, first = _splits(paths, contents, num_classes)
    if class_names is None:
        class_names = tuple(str(first + label) for label in range(train.labels.max() + 1))
    if first:
        source += f" (labels {first} to {first + len(class_names) - 1})"
    return Dataset(name, train, test, class_names, _digest(contents), source, first)


def _unknown_dataset(dataset: str) -> str:
    words = (FASHION_MNIST, SYNTHETIC, *KNOWN)
    close = closest(dataset.lower().replace("-", "_"), words)
    advice = f"did you mean {close}?" if close else "name one, or an .npz or a .csv file"
    return (
        f"dataset: there is no folder {shortened(dataset, 200)}, "
        f"and the words are {', '.join(words)}: {advice}"
    )


def _digest(contents: Mapping[str, np.ndarray]) -> str:
    """One digest for a dataset: see `Dataset.sha256`."""
    return _digest_of_hashes({name: hash_content(contents[name]) for name in FILES})


def _digest_of_hashes(hashes: Mapping[str, str]) -> str:
    listing = "".join(f"{hashes[name]}  {name}\n" for name in FILES)
    return hashlib.sha256(listing.encode()).hexdigest()


def hash_content(content: np.ndarray) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    return hashlib.sha256(content.data).hexdigest()


# Find files


def find_files(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Find files of a dataset, plain (preferred) or .gz.

    Args:
        folder: has them, or has a folder raw or NAME/raw that has them.
        names: which, of `FILES`.

    Raises:
        idx.Problem: there is none, or more than one dataset, or a file is missing.
    """
    places = [folder, folder / "raw", *sorted(folder.glob("*/raw"))]
    holding = [place for place in places if any(_find(place, name) for name in FILES)]
    if not holding:
        raise idx.Problem(f"{folder} holds no IDX files")
    if len(holding) > 1:
        raise idx.Problem(f"{folder} holds several datasets: name {holding[0]} or {holding[1]}")
    paths = {}
    for name in names:
        if (path := _find(holding[0], name)) is None:
            raise idx.Problem(f"{holding[0]} lacks {name}")
        paths[name] = path
    return paths


def _find(folder: Path, name: str) -> Path | None:
    """The file of that name, also with the dot that some copies have: train-images.idx3-ubyte."""
    names = (name, name.replace("-idx", ".idx"))
    forms = [folder / f"{form}{end}" for form in names for end in ("", ".gz")]
    return next((path for path in forms if path.is_file()), None)


# From the four files to two splits


def _read_contents(paths: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """What `idx.read` gives for each of `FILES`, within `MAX_BYTES` together."""
    contents: dict[str, np.ndarray] = {}
    left = MAX_BYTES
    for name, path in paths.items():
        contents[name] = idx.read(path, left)
        left -= contents[name].size
    return contents


def _splits(
    paths: Mapping[str, Path],
    contents: Mapping[str, np.ndarray],
    num_classes: int | None = None,
) -> tuple[Split, Split, int]:
    """Check that the four files belong together.

    Args:
        paths: where each of `FILES` lies, for messages.
        contents: what `idx.read` gave for each.
        num_classes: how many classes there must be, or None: as many as the training labels show.

    Returns:
        The training and the test split, and the label of class 0: 0, or 1 where no training label
        is 0, but all others have examples.
    """
    train = _split(TRAIN_IMAGES, TRAIN_LABELS, paths, contents)
    test = _split(TEST_IMAGES, TEST_LABELS, paths, contents)
    if test.images.shape[1:] != train.images.shape[1:]:
        raise idx.Problem(
            f"{paths[TEST_IMAGES]}: images of {idx.times(test.images.shape[1:])} pixels, but the "
            f"training images have {idx.times(train.images.shape[1:])}"
        )
    first = int(train.labels.min() == 1)
    num_classes = num_classes or int(train.labels.max()) + 1 - first
    train, test = (Split(split.images, split.labels - first) for split in (train, test))
    _check_range(train.labels, paths[TRAIN_LABELS], num_classes, first)
    _check_every_class(train.labels, paths[TRAIN_LABELS], num_classes, first)
    _check_range(test.labels, paths[TEST_LABELS], num_classes, first)
    return train, test, first


def _split(
    images: str, labels: str, paths: Mapping[str, Path], contents: Mapping[str, np.ndarray]
) -> Split:
    split = Split(idx.values(contents[images]), idx.values(contents[labels]).astype(np.int64))
    if len(split.images) != len(split.labels):
        raise idx.Problem(
            f"{paths[images]} counts {len(split.images):,} images, but "
            f"{paths[labels]} {len(split.labels):,} labels"
        )
    return split


def _check_range(labels: np.ndarray, path: Path, num_classes: int, first: int) -> None:
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if outside.size:
        raise idx.Problem(
            f"{path}: label {labels[outside[0]] + first} at index {outside[0]:,} is out of range, "
            f"the classes are {first} to {first + num_classes - 1}"
        )


def _check_every_class(labels: np.ndarray, path: Path, num_classes: int, first: int) -> None:
    if num_classes < 2:
        raise idx.Problem(f"{path}: all labels are {first}, and at least 2 classes are needed")
    absent = np.flatnonzero(np.bincount(labels, minlength=num_classes) == 0)
    if absent.size:
        raise idx.Problem(
            f"{path}: class {absent[0] + first} has no example, and the classes are {first} to "
            f"{first + num_classes - 1}"
        )


# Verify Fashion-MNIST: the full hashes, and the manifest that spares them


def verify(data_dir: Path, source: str | None = None) -> list[Finding]:
    """Hash the four files of Fashion-MNIST, whatever the manifest says, and renew the manifest.

    Args:
        data_dir: the folder that holds FashionMNIST/raw.
        source: where the files come from, for the manifest; None keeps what it says.

    Returns:
        One finding a file, in the order of `FILES`.
    """
    raw = data_dir / RAW
    findings = []
    entries = {}
    for name in FILES:
        # Stamped first: a file that changes while it is hashed no longer has this stamp.
        entry = _entry(raw / name)
        findings.append(_inspect(raw / name))
        if findings[-1].ok:
            entries[name] = entry
    manifest = {"source": source or _read_manifest(raw)["source"], "files": entries}
    # A folder that cannot be written to is hashed at each load, and no worse off.
    with suppress(OSError):
        if entries or (raw / _MANIFEST).exists():
            files.replace(raw / _MANIFEST, json.dumps(manifest, indent=2).encode())
    return findings


def explain_mismatch(name: str, sha256: str) -> str | None:
    """What to say of content with this SHA-256, if it is not that file of Fashion-MNIST."""
    if sha256 == FILES[name]:
        return None
    return f"SHA-256 is {sha256[:16]}…, not {FILES[name][:16]}…"


def _inspect(path: Path) -> Finding:
    try:
        files.require_regular(path)
        size = path.stat().st_size
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return Finding(path.name, None, None, "missing")
    except OSError as error:
        return Finding(path.name, None, None, f"cannot be read: {error.strerror or error}")
    mismatch = explain_mismatch(path.name, sha256)
    return Finding(path.name, size, sha256, mismatch and f"{mismatch}, at {size:,} bytes")


def _check_hashes(data_dir: Path) -> str:
    """Hash Fashion-MNIST unless it is unchanged since its manifest; return where it is from.

    Besides the size and the time of the last change of the content, which a copy may carry over,
    the manifest holds the time of the last change of the file's state (ctime), which no program
    can set.
    """
    raw = data_dir / RAW
    manifest = _read_manifest(raw)
    if not all(manifest["files"].get(name) == _entry(raw / name) for name in FILES):
        for finding in verify(data_dir):
            if not finding.ok:
                raise idx.Problem(f"{raw / finding.name}: {finding.problem}")
    return str(manifest["source"])


def _entry(path: Path) -> dict[str, Any] | None:
    """What the manifest says of a file that is the true one as it stands; None if there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return {
        "bytes": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "ctime_ns": stat.st_ctime_ns,
        "sha256": FILES[path.name],
    }


def _read_manifest(raw: Path) -> dict[str, Any]:
    """The manifest; an empty one if there is none, or none that can be read."""
    manifest: Any = None
    with suppress(OSError, ValueError, RecursionError):
        manifest = json.loads(files.read(raw / _MANIFEST))
    if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict):
        return {"source": f"found in {raw}", **manifest}
    return {"source": f"found in {raw}", "files": {}}


# Draw


def draw_strip(dataset: Dataset, indices: Sequence[int] | None = None, count: int = 5) -> Figure:
    """A row of training images, each with the name of its class below.

    Args:
        dataset: where the images come from.
        indices: which training images; None: the first `count`.
        count: how many, if no indices are given.

    Raises:
        UserError: there is nothing to draw, or an index is out of range.
    """
    from matplotlib.figure import Figure

    indices = range(count) if indices is None else indices
    n = len(dataset.train.labels)
    outside = [index for index in indices if not 0 <= index < n]
    if outside:
        raise UserError(f"there is no training image {outside[0]}: {dataset.name} has 0 to {n - 1}")
    if len(indices) == 0:
        raise UserError("there is nothing to draw: ask for at least one image")
    figure = Figure(figsize=(1.6 * len(indices), 1.85), layout="constrained")
    row = figure.subplots(1, len(indices), squeeze=False)[0]
    for axes, index in zip(row, indices, strict=True):
        axes.imshow(dataset.train.images[index], cmap="gray", vmin=0, vmax=255)
        axes.set(xticks=[], yticks=[], xlabel=dataset.class_names[dataset.train.labels[index]])
    return figure
