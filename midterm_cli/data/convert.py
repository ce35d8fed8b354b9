"""Datasets converted from any form that is read to IDX files or .npz, and split where need be."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np

from midterm_cli.data import datasets, idx, one_file
from midterm_cli.data.datasets import Dataset
from midterm_cli.data.npz import Pair
from midterm_cli.errors import UserError
from midterm_cli.files import exists, is_file, replace_file, with_home, writing
from midterm_cli.text import printable

_OF_OTHER_FILES = (".csv", ".gz", ".npy", ".png", ".zip")


def split(path: Path, test_share: float, seed: int) -> Dataset:
    """Read a file that has no test set, and draw one from it.

    Args:
        path: an .npz or a .csv file.
        test_share: of the examples, in (0, 1).
        seed: of which of them.

    Raises:
        UserError: it cannot be read, has a test set, or too few examples.
    """
    path = Path(with_home(str(path)))
    if path.suffix not in one_file.ADVICE or not is_file(path):
        raise UserError(f"only an .npz or a .csv file is split, got {printable(path)}")
    try:
        train, test, beside = one_file.read(path, datasets.MAX_BYTES)
    except idx.Problem as problem:
        raise UserError(f"{problem}\n{one_file.ADVICE[path.suffix]}") from problem
    if test is not None:
        raise UserError(f"{printable(beside)} has a test set: leave out --test-share")
    num_test = round(test_share * len(train[1]))
    if not 0 < num_test < len(train[1]):
        raise UserError(f"--test-share {test_share:g} of {len(train[1])} examples is {num_test}")
    # Of numpy's random numbers only the raw bits are the same in every version.
    order = np.argsort(np.random.PCG64(seed).random_raw(len(train[1])), kind="stable")
    how = f", {num_test:,} of {len(order):,} drawn for testing by seed {seed}"
    pairs = _take(train, order[num_test:]), _take(train, order[:num_test])
    return datasets.from_arrays(path.resolve(), pairs, path, how)


def _take(pair: Pair, rows: np.ndarray) -> Pair:
    images, labels = pair
    return images[rows], labels[rows]


def write(dataset: Dataset, destination: Path) -> None:
    """Write a dataset as .npz or as a folder of IDX files, with the labels that it came with.

    Raises:
        UserError: there is something already, or the file system refuses.
    """
    if destination.suffix in _OF_OTHER_FILES:
        raise UserError(
            f"an .npz or a folder of IDX files is written, and {printable(destination)} is named "
            "as another file"
        )
    if exists(destination):
        raise UserError(f"{printable(destination)} is already there: name another destination")
    contents = dataset.contents()
    if destination.suffix == ".npz":
        buffer = io.BytesIO()
        x_train, y_train, x_test, y_test = map(idx.values, contents.values())
        np.savez_compressed(
            buffer,
            x_train=x_train,
            y_train=y_train,
            x_test=x_test,
            y_test=y_test,
            source=np.array(dataset.source),
        )
        replace_file(destination, buffer.getbuffer())
        return
    with writing(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".midterm-", dir=destination.parent) as scratch:
            folder = Path(scratch, "dataset")
            folder.mkdir()
            for name, content in contents.items():
                (folder / name).write_bytes(content.data)
            (folder / "source.txt").write_text(f"{dataset.source}\n", encoding="utf-8")
            folder.rename(destination)
