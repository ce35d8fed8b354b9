"""What a page is made of. Text is data here: html and markdown escape it, each in its own way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

# ---- within a line


@dataclass(frozen=True)
class Plain:
    """Text that means itself."""

    text: str
    kind: ClassVar = "plain"


@dataclass(frozen=True)
class Code:
    """A command, a key, or whatever a run holds that is not a number."""

    text: str
    kind: ClassVar = "code"


@dataclass(frozen=True)
class Strong:
    """Text that must not be missed."""

    text: str
    kind: ClassVar = "strong"


@dataclass(frozen=True)
class Math:
    """LaTeX within a line, with the punctuation that no line break may part from it."""

    latex: str
    before: str = ""
    after: str = ""
    kind: ClassVar = "math"


Inline = Plain | Code | Strong | Math
Prose = tuple[Inline, ...]

_MARKS = re.compile(
    r"(?P<before>\(?)\$(?P<math>[^$]+)\$(?P<after>[.,;:?!)]*)|`(?P<code>[^`]+)`|\*\*(?P<strong>[^*]+)\*\*"
)


def prose(*parts: str | Inline) -> Prose:
    """Put a line together: strings with $mathematics$, `code` and **strong** text, and pieces.

    Strings are the report's own words and its own formatting of numbers. Text from a run is given
    as a piece, so that nothing in it is taken for a mark.
    """
    return tuple(piece for part in parts for piece in _pieces(part))


def _pieces(part: str | Inline) -> Iterator[Inline]:
    if not isinstance(part, str):
        yield part
        return
    end = 0
    for match in _MARKS.finditer(part):
        if match.start() > end:
            yield Plain(part[end : match.start()])
        end = match.end()
        if match["math"]:
            yield Math(match["math"], match["before"], match["after"])
        else:
            yield Code(match["code"]) if match["code"] else Strong(match["strong"])
    if end < len(part):
        yield Plain(part[end:])


def as_text(text: Prose) -> str:
    """Prose without its marks, for where there is only text."""
    return "".join(
        f"{piece.before}{piece.latex}{piece.after}" if isinstance(piece, Math) else piece.text
        for piece in text
    )


# ---- blocks


@dataclass(frozen=True)
class Heading:
    """The title of a question within a section; `anchor` is unique on the page."""

    anchor: str
    title: str
    kind: ClassVar = "heading"


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `label`, if any, says what it is: Question, Answer, Derivation."""

    text: Prose
    label: str = ""
    kind: ClassVar = "paragraph"


@dataclass(frozen=True)
class Formula:
    """LaTeX on lines of its own."""

    latex: str
    kind: ClassVar = "formula"


@dataclass(frozen=True)
class Items:
    """A list."""

    items: Sequence[Prose]
    kind: ClassVar = "items"


_NUMERIC = re.compile(r"[\d\s.,%±×⁻⁰¹²³⁴⁵⁶⁷⁸⁹\[\]−+e-]*|\d+ of \d+|–")


@dataclass(frozen=True)
class Table:
    """A table; the first column names the row."""

    caption: Prose
    columns: Sequence[Prose]
    rows: Sequence[Sequence[Prose]]
    kind: ClassVar = "table"

    @property
    def numeric(self) -> Sequence[bool]:
        """Of each column, whether it holds numbers, which are set flush right."""
        return [
            index > 0 and all(_NUMERIC.fullmatch(as_text(row[index])) for row in self.rows)
            for index in range(len(self.columns))
        ]


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        uri: its content, as a data: URI.
        path: the run's own file of the same figure, for the Markdown twin.
        width: in CSS pixels.
        height: in CSS pixels.
        alt: what is seen, for those who do not see it.
        caption: below it.
    """

    uri: str
    path: Path
    width: int
    height: int
    alt: str
    caption: Prose
    kind: ClassVar = "picture"


@dataclass(frozen=True)
class Commands:
    """Command lines, after a line that says what they are for."""

    label: str
    lines: Sequence[str]
    kind: ClassVar = "commands"


@dataclass(frozen=True)
class Notice:
    """What stands between the reader and the exercise's answer: missing, other data, damaged."""

    text: Prose
    kind: ClassVar = "notice"


Block = Heading | Paragraph | Formula | Items | Table | Picture | Commands | Notice


@dataclass(frozen=True)
class Section:
    """A part of the page; `anchor` is unique on it."""

    anchor: str
    title: str
    blocks: Sequence[Block]

    @property
    def headings(self) -> Sequence[Heading]:
        """The questions in it."""
        return [block for block in self.blocks if isinstance(block, Heading)]


@dataclass(frozen=True)
class Document:
    """The page."""

    title: str
    abstract: Sequence[Block]
    sections: Sequence[Section]
