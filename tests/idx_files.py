"""Small datasets as IDX files, which the tests of reading and of fetching share."""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from midterm_cli.data import datasets
from midterm_cli.errors import UserError

Arrays = dict[str, np.ndarray]


def idx(values: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes, written from the format's description."""
    dims = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + dims + values.astype(np.uint8).tobytes()


def examples(num_classes: int = 3, height: int = 4, width: int = 5) -> Arrays:
    rng = np.random.default_rng(0)
    num_train, num_test = 4 * num_classes, 2 * num_classes
    return {
        datasets.TRAIN_IMAGES: rng.integers(0, 256, (num_train, height, width), np.uint8),
        datasets.TRAIN_LABELS: (np.arange(num_train) % num_classes).astype(np.uint8),
        datasets.TEST_IMAGES: rng.integers(0, 256, (num_test, height, width), np.uint8),
        datasets.TEST_LABELS: (np.arange(num_test) % num_classes).astype(np.uint8),
    }


def write(folder: Path, arrays: Arrays, *, compressed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(values)))
        else:
            (folder / name).write_bytes(idx(values))
    return folder


def write_stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a small "Fashion-MNIST", whose checksums take the place of the true ones."""
    arrays = examples(num_classes=10)
    hashes = {name: hashlib.sha256(idx(values)).hexdigest() for name, values in arrays.items()}
    monkeypatch.setattr(datasets, "FILES", hashes)
    return write(folder, arrays)


def flip(path: Path) -> None:
    """Change the last bit of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def refusal(call: Callable[[], object]) -> str:
    """The message of the UserError that the call must end in: one or two lines, with advice."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert len(message.splitlines()) <= 2
    return message
