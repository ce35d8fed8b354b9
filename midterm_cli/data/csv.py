"""Datasets as CSV, as Kaggle has MNIST: a row an image, the label first, then its pixels."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from midterm_cli.data.arrays import to_images, to_labels
from midterm_cli.data.idx import Problem
from midterm_cli.text import printable, shown

_LONGEST_LINE = 2**22
_LABELS = ("label", "labels", "class", "target", "y")


def read(path: Path, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels.

    Args:
        path: the file: whole numbers 0…255, with a header line or without, in UTF-8 with a byte
            order mark or without.
        limit: how many bytes it may hold.

    Returns:
        Square images, uint8, (n, side, side), and labels, uint8, (n,).

    Raises:
        Problem: the file cannot be read, or is no such table.
    """
    has_header = False
    try:
        if (size := path.stat().st_size) > limit:
            raise Problem(f"it has {size:,} bytes, above the limit of {limit:,}")
        with path.open(encoding="utf-8-sig") as file:
            names = [name.strip().strip('"') for name in file.readline(_LONGEST_LINE).split(",")]
        has_header = _is_header(names)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # no row at all; a number with a decimal point
            table = np.loadtxt(
                path,
                np.uint8,
                comments=None,
                delimiter=",",
                skiprows=int(has_header),
                ndmin=2,
                encoding="utf-8-sig",
                quotechar='"',
            )
        if table.shape[1] < 2:
            raise Problem("has one column: its values are to be separated by commas")
        if has_header and table.shape[1] != len(names):
            columns = f"{table.shape[1]:,} columns, the header names {len(names):,}"
            raise Problem(f"has {columns}: a column of row numbers has to go")
        return to_images(table[:, 1:]), to_labels(table[:, 0])
    except Problem as problem:
        raise Problem(f"{path}: {problem}") from problem
    except UnicodeDecodeError as error:
        raise Problem(
            f"{path}: byte {error.start} is not UTF-8: save it as CSV in UTF-8"
        ) from error
    except OSError as error:
        raise Problem(f"{path}: cannot be read: {printable(str(error))}") from error
    except (ValueError, Warning) as error:
        reason = fault(path, "no whole number 0…255", _is_byte, num_skipped=int(has_header))
        raise Problem(f"{path}: {reason or printable(str(error))}") from error


def fault(
    file: Path,
    what: str,
    is_value: Callable[[str], bool],
    *,
    comment: str | None = None,
    num_skipped: int = 0,
) -> str | None:
    """Where a table has a row of another length than before, or a cell that is no value.

    Args:
        file: cells separated by commas.
        what: a cell is called that is no value.
        is_value: of a cell, without quotes and spaces around it.
        comment: what begins one.
        num_skipped: lines of a header.

    Returns:
        The line and the column, both counted from 1; None where there is no such place.
    """
    num_columns = None
    with file.open(encoding="utf-8-sig") as lines:
        for i, line in enumerate(lines, start=1):
            content = (line.partition(comment)[0] if comment else line).rstrip("\r\n")
            if i <= num_skipped or not content:
                continue
            if content.count('"') % 2:
                return f"line {i} has a quote that is not closed"
            cells = [cell.strip() for cell in content.split(",")]
            for j, cell in enumerate(cells, start=1):
                if is_value(cell.strip('"')):
                    continue
                if separator := next((it for it in ";\t" if it in cell), None):
                    return f"line {i} is separated by {separator!r}: write commas"
                problem = f"is {shown(cell)}, which is {what}" if cell else "is empty"
                return f"line {i}, column {j} {problem}"
            if num_columns not in (None, len(cells)):
                values = "1 value" if len(cells) == 1 else f"{len(cells)} values"
                return f"line {i} has {values}, those before have {num_columns}"
            num_columns = len(cells)
    return None if num_columns else "it has no row"


def _is_byte(cell: str) -> bool:
    return cell.isascii() and cell.isdecimal() and int(cell) <= 255


def _is_header(names: list[str]) -> bool:
    """Whether the first line names the columns; it must not name another than the first as label.

    The numbers 0, 1, 2, … are what pandas calls columns without a name.
    """
    lower = [name.lower() for name in names]
    if names == [str(i) for i in range(len(names))]:
        return True
    if not any(c.isalpha() for name in names for c in name):  # numbers, or what stands for them
        return False
    if len(names) == 1:  # which is refused, whatever its name
        return bool(names[0])
    place = next((i for i, name in enumerate(lower) if name in _LABELS), None)
    if place != 0:
        where = f"column {place + 1}" if place else f"not named (the first is {names[0]!r})"
        raise Problem(f"the label is {where}, and has to be the first")
    places = [re.search(r"\d{1,18}$", name) for name in lower[1:]]
    numbers = [int(match[0]) for match in places if match]
    # Not where the numbers repeat: 1x1, 1x2, …, 2x1, ….
    if len(set(numbers)) == len(places) and numbers != sorted(numbers):
        raise Problem("the pixels stand in another order than their names count")
    return True
