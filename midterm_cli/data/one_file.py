"""Datasets in one file, or in two with the test set beside: which form, and which test set."""

from __future__ import annotations

import re
from pathlib import Path

from midterm_cli.data import csv, npz
from midterm_cli.data.idx import Problem
from midterm_cli.data.npz import Pair

ADVICE = {
    ".npz": "an .npz holds x_train, y_train, x_test and y_test: pixels 0…255, labels from 0 or 1",
    ".csv": "a .csv holds a row an image: its label, from 0 or 1, then its pixels, 0…255",
}
"""What is said of each form where a file cannot be read, by suffix."""


def read(path: Path, limit: int) -> tuple[Pair, Pair | None, Path]:
    """Read a dataset.

    Args:
        path: an .npz or a .csv file.
        limit: how many bytes it may hold, the test set included.

    Returns:
        The training and the test set, or None where there is none, and the file of the latter: the
        same, or the one named `*_test` beside it (mnist.csv and mnist_test.csv, or mnist_train.csv
        and mnist_test.csv).

    Raises:
        Problem: a file cannot be read, or is no such dataset.
    """
    train, test = _read(path, limit)
    if train is None:
        raise Problem(f"{path}: has no arrays x_train and y_train beside its test set")
    if test is not None:
        return train, test, path
    beside = test_file(path)
    if not beside.is_file():
        return train, None, beside
    # Its arrays may be named as of a test set, or as of one set alone.
    other, test = _read(beside, limit - sum(array.size for array in train))
    return train, test or other, beside


def test_file(path: Path) -> Path:
    """Where the test set of a file without one is looked for."""
    stem, found = re.subn(r"(^|[-_.])train(ing)?$", r"\1test", path.stem)
    return path.with_stem(stem if found else f"{stem}_test")


def _read(path: Path, limit: int) -> tuple[Pair | None, Pair | None]:
    return npz.read(path, limit) if path.suffix == ".npz" else (csv.read(path, limit), None)
