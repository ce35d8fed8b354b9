"""Datasets as NumPy's .npz: arrays by name, of which nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from midterm_cli.data.arrays import to_images, to_labels
from midterm_cli.data.idx import Problem

Pair = tuple[np.ndarray, np.ndarray]

_TRAIN = (
    ("x_train", "y_train"),
    ("train_images", "train_labels"),
    ("images", "labels"),
    ("x", "y"),
)
_TEST = (("x_test", "y_test"), ("test_images", "test_labels"))

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read(path: Path, limit: int) -> tuple[Pair | None, Pair | None]:
    """Images and labels to train on, and to test on; None where the file has no such arrays.

    Args:
        path: the file. Its arrays are named x_train, y_train, x_test, y_test, as Keras names them;
            or train_images, …; or images, labels or x, y alone. Capitals do not matter.
        limit: how many bytes the arrays may hold together, uncompressed.

    Returns:
        Pairs of images, uint8, (n, height, width), and labels, uint8, (n,).

    Raises:
        Problem: the file cannot be read, or does not hold such arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {
                info.filename.removesuffix(".npy").lower(): info for info in archive.infolist()
            }
            found = [_names(known, members) for known in (_TRAIN, _TEST)]
            if not any(found):
                names = ", ".join(sorted(members)[:8]) or "nothing"
                raise Problem(f"has no arrays x_train and y_train, but {names}")
            wanted = [members[name] for pair in found for name in pair or ()]
            size = sum(info.file_size for info in wanted)
            if size > limit:
                raise Problem(f"its arrays have {size:,} bytes, above the limit of {limit:,}")
            train, test = (pair and _pair(archive, members, *pair) for pair in found)
    except Problem as problem:
        raise Problem(f"{path}: {problem}") from problem
    # RuntimeError: it is encrypted, or compressed in a way that this Python does not know.
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise Problem(f"{path}: cannot be read: {error}") from error
    return train, test


def _pair(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], images: str, labels: str
) -> Pair:
    arrays = [_array(archive, members[name]) for name in (images, labels)]
    return to_images(arrays[0]), to_labels(arrays[1])


def _names(
    known: tuple[tuple[str, str], ...], members: dict[str, zipfile.ZipInfo]
) -> tuple[str, str] | None:
    return next((pair for pair in known if members.keys() >= set(pair)), None)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """An array of the archive. Nothing is allocated on its header's word."""
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise Problem(f"{info.filename} is no plain array")
        shape, _, dtype = _HEADERS[version](file)
        if dtype.hasobject:
            raise Problem(f"{info.filename} holds Python objects, which are never read")
        size = file.tell() + math.prod(shape) * dtype.itemsize
        if size != info.file_size:
            raise Problem(
                f"the header of {info.filename} gives {size:,} bytes, but it has {info.file_size:,}"
            )
    with archive.open(info) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array
