"""Vectors and matrices of the user: reading them from files, and checking them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from midterm_cli import files
from midterm_cli.data import csv
from midterm_cli.errors import UserError
from midterm_cli.part2.schema import MAX_DIMENSION
from midterm_cli.text import printable

MAX_BYTES = 16 * 2**20
"""Of a file; a matrix of the largest dimension takes 0.5 MB as .npy and under 2 MB as text."""


def read_array(key: str, path: str) -> Tensor:
    """Read numbers from a .npy file, or another that is read as .csv.

    Args:
        key: what it is, for the messages.
        path: the file.

    Returns:
        float64, finite, of the shape that the file has; a .csv always has two axes.

    Raises:
        UserError: there is no such file, or it has no numbers, more than MAX_DIMENSION², or one
            that is not finite.
    """
    what = f"{key} file {printable(path)}"
    array = _load(Path(path), what)
    if array.dtype.kind not in "iuf":
        raise UserError(f"{what} holds {array.dtype}: save it as real numbers")
    if array.size == 0:
        raise UserError(f"{what} holds no numbers: write some into it")
    if array.size > MAX_DIMENSION**2:
        raise UserError(
            f"{what} has shape {array.shape}, dimensions up to {MAX_DIMENSION} are taken"
        )
    return _finite(what, torch.from_numpy(np.array(array, dtype=np.float64)))


def _load(file: Path, what: str) -> np.ndarray:
    try:
        files.require_regular(file)
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise UserError(f"{what} has {size:,} bytes, at most {MAX_BYTES:,} are read")
        if file.suffix == ".npy":
            return _load_npy(file)
        return _load_csv(file)
    except OSError as error:
        raise UserError(f"cannot read {what}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"cannot read {what}: byte {error.start} is not UTF-8: save it as CSV in UTF-8"
        ) from None
    except (ValueError, EOFError) as error:
        if file.suffix == ".npy":
            reason = "it is not a .npy file of plain numbers"
        else:
            reason = f"{error}\nput a row on each line, its numbers separated by commas"
        raise UserError(f"cannot read {what}: {reason}") from None


def _load_csv(file: Path) -> np.ndarray:
    """Load rows of numbers; what follows a # is a comment.

    Raises:
        ValueError: names the line, and the column, counted from 1.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no numbers: the caller refuses that
        try:
            return np.loadtxt(file, delimiter=",", ndmin=2, encoding="utf-8-sig", quotechar='"')
        except ValueError as error:
            raise ValueError(
                csv.fault(file, "no number", _is_number, comment="#") or str(error)
            ) from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell  # float reads 1_000, and digits of any script


def _load_npy(file: Path) -> np.ndarray:
    """Load one plain array.

    Raises:
        ValueError: the file holds something else, or is damaged; the caller words the message.
    """
    try:
        # Memory-mapped, so that a header that promises too much allocates nothing.
        loaded = np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:
        # np.load reads the header as Python, and raises whatever the damage happens to hit.
        raise ValueError from error
    if isinstance(loaded, np.ndarray):
        return loaded
    loaded.close()
    raise ValueError  # an archive of several arrays


def _finite(what: str, values: Tensor) -> Tensor:
    bad = (~values.isfinite()).nonzero()
    if len(bad):
        place = tuple(bad[0].tolist())
        raise UserError(f"{what}: the value at {list(place)} is {float(values[place])}: replace it")
    return values


def to_vector(x: Tensor) -> Tensor:
    """A single row or column as a vector.

    Raises:
        UserError: it is neither, or too long.
    """
    if x.numel() == 0 or x.ndim > 2 or x.numel() != max(x.shape, default=0):
        raise UserError(f"x must be one vector, got shape {tuple(x.shape)}: give d values")
    if x.numel() > MAX_DIMENSION:
        raise UserError(f"x has dimension {x.numel()}, at most {MAX_DIMENSION} is taken")
    return x.reshape(-1)


def check_matrix(matrix: Tensor) -> None:
    """Refuse a matrix that is not square, symmetric and invertible to the precision of its dtype.

    Raises:
        UserError: what is wrong, and where.
    """
    shape = tuple(matrix.shape)
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise UserError(f"M must be square, got shape {shape}: give d rows of d values")
    if shape[0] > MAX_DIMENSION:
        raise UserError(f"M has dimension {shape[0]}, at most {MAX_DIMENSION} is taken")
    dtype = matrix.dtype
    eps = torch.finfo(dtype).eps
    matrix = _finite("M", matrix.detach()).double()
    asymmetry = (matrix - matrix.mT).abs()
    if bool((asymmetry > 64 * eps * matrix.abs().max()).any()):
        i, j = divmod(int(asymmetry.argmax()), shape[0])
        raise UserError(
            f"M must be symmetric, got M[{i}][{j}] = {float(matrix[i, j]):.10g} and "
            f"M[{j}][{i}] = {float(matrix[j, i]):.10g}: make them equal"
        )
    singular = torch.linalg.svdvals(matrix)
    if bool(singular[-1] <= shape[0] * eps * singular[0]):
        name = str(dtype).removeprefix("torch.")
        raise UserError(
            f"M is singular to the precision of {name}: its smallest singular value is "
            f"{float(singular[-1]):.3g} and its largest {float(singular[0]):.3g}\n"
            "give an invertible M"
        )
