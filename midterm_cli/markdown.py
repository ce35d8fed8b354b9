"""Text and tables as Markdown, CommonMark with tables: nothing in a text is taken for markup."""

from __future__ import annotations

import re
from collections.abc import Sequence

from midterm_cli.text import printable

_SPECIAL = re.compile(r"([\\`*_\[\]<>|$&~])")
# What begins a heading or an item, or underlines a heading, where it stands first on a line.
_AT_START = re.compile(r"^(\d*)([-+=#.)])(?!\d)")
_NUMERIC = re.compile(r"[\d\s.,%±×⁻⁰¹²³⁴⁵⁶⁷⁸⁹\[\]−+e-]*|\d+ of \d+|–")


def escaped(text: str) -> str:
    """Markdown that shows a text as it is, also at the start of a line."""
    return _AT_START.sub(r"\1\\\2", _within(text).lstrip(" "))


def _within(text: str) -> str:
    """Markdown that shows a text as it is, further on in a line."""
    return _SPECIAL.sub(r"\\\1", printable(text))


def table(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    """A table of text; a column of numbers is flush right, but for the first, which names the row.

    Args:
        rows: a cell for each column.
        columns: their headings.
    """
    numeric = [
        index > 0 and all(_NUMERIC.fullmatch(row[index]) for row in rows)
        for index in range(len(columns))
    ]
    rule = ["---:" if is_numeric else "---" for is_numeric in numeric]
    lines = [map(_within, columns), rule, *(map(_within, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
