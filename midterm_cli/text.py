"""Text for people: what may be printed, what was meant, how it is shortened and aligned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

_SHOWN_LENGTH = 60


def printable(text: object) -> str:
    r"""`text` on one line and without control characters: those become escapes such as \x1b.

    For whatever comes from outside (file names, keys, values) on its way to a terminal.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def shown(value: object) -> str:
    """A value as a message quotes it: as in YAML, on one line, not too long."""
    if value is None:
        return "null"
    value = list(value) if isinstance(value, tuple) else value
    text = str(value).lower() if isinstance(value, bool) else printable(repr(value))
    return shortened(text, _SHOWN_LENGTH)


def shortened(text: str, length: int) -> str:
    """At most `length` characters of a text, and … where there were more."""
    return text if len(text) <= length else f"{text[:length]}…"


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, or None."""
    words = sorted(known)
    with_it = [other for other in words if word in other.split("_")]
    if len(with_it) == 1 and len(word) > 2:
        return with_it[0]
    return next(iter(get_close_matches(word, words, n=1)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "did you mean 'x'?" for the closest known word, or name all that are known."""
    words = sorted(known)
    close = closest(word, words)
    return f"did you mean '{close}'?" if close else f"known are {', '.join(words)}"


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Name what differs, as "lr=0.1, not 0.2"; empty when nothing does."""
    return "; ".join(
        f"{printable(key)}={shown(old.get(key))}, not {shown(new.get(key))}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    )


def aligned(lines: Sequence[Sequence[str]], justify: str = "") -> str:
    """Lines of cells as columns, two spaces apart; the last column is not padded.

    Args:
        lines: the same number of cells in each.
        justify: for each column but the last "<" (flush left, also where none is given) or ">".
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)][:-1]
    sides = justify.ljust(len(widths), "<")
    rows = (
        "  ".join(
            [*(f"{cell:{s}{w}}" for cell, s, w in zip(line, sides, widths, strict=False)), line[-1]]
        )
        for line in lines
    )
    return "".join(f"{row.rstrip()}\n" for row in rows)
