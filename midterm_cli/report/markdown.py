"""The page as Markdown: CommonMark with tables and $mathematics$, as GitHub shows it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from midterm_cli.report.document import (
    Block,
    Code,
    Commands,
    Document,
    Formula,
    Heading,
    Inline,
    Items,
    Math,
    Notice,
    Paragraph,
    Picture,
    Prose,
    Strong,
    Table,
)
from midterm_cli.report.formula import to_mathml
from midterm_cli.text import printable

# What a reader without mathematics would take for markup of its own.
_NOT_ONLY_MATHEMATICS = re.compile(r"[$`]|<(?!\s)|\]\s*[(\[:]|\n\s*\n")
_SPECIAL = re.compile(r"([\\`*_\[\]<>|$&~])")


def render(document: Document, folder: Path) -> str:
    """Write the page.

    Args:
        document: the page.
        folder: where it will lie; figures are referred to from there.
    """
    lines = [f"# {_escaped(document.title)}"]
    for block in document.abstract:
        lines += _block(block, folder)
    for section in document.sections:
        lines.append(f"## {_escaped(section.title)}")
        for block in section.blocks:
            lines += _block(block, folder)
    return "\n\n".join(lines) + "\n"


def _block(block: Block, folder: Path) -> Iterator[str]:
    """Paragraphs of Markdown."""
    match block:
        case Heading():
            yield f"### {_escaped(block.title)}"
        case Paragraph():
            yield f"**{block.label}.** {_prose(block.text)}" if block.label else _prose(block.text)
        case Formula():
            yield _formula(block.latex)
        case Items():
            yield "\n".join(f"- {_prose(item)}" for item in block.items)
        case Table():
            yield f"*{_prose(block.caption)}*"
            yield _table(block)
        case Picture():
            path = quote(os.fsencode(os.path.relpath(block.path, folder)))
            yield f"![{_escaped(block.alt)}]({path})"
            if block.caption:
                yield f"*{_prose(block.caption)}*"
        case Commands():
            yield f"{block.label}:"
            yield "\n".join(f"    {printable(line)}" for line in block.lines)
        case Notice():
            yield f"> {_prose(block.text)}"


def _table(table: Table) -> str:
    def row(cells: list[str]) -> str:
        return f"| {' | '.join(cells)} |"

    header = [_cell(column) for column in table.columns]
    rows = [[_cell(cell) for cell in cells] for cells in table.rows]
    rule = ["---:" if numeric else "---" for numeric in table.numeric]
    return "\n".join(map(row, [header, rule, *rows]))


def _cell(text: Prose) -> str:
    """Prose in a table, where even code may not hold a bare bar."""
    return re.sub(r"(?<!\\)\|", r"\\|", _prose(text))


def _formula(latex: str) -> str:
    return f"$$\n{latex.strip()}\n$$" if _is_mathematics(latex) else _code(latex)


def _is_mathematics(latex: str) -> bool:
    return not _NOT_ONLY_MATHEMATICS.search(latex) and to_mathml(latex, "inline") is not None


def _prose(text: Prose) -> str:
    return "".join(map(_inline, text))


def _inline(piece: Inline) -> str:
    match piece:
        case Code():
            return _code(piece.text)
        case Strong():
            return f"**{_escaped(piece.text)}**"
        case Math():
            shown = f"${piece.latex}$" if _is_mathematics(piece.latex) else _code(piece.latex)
            return piece.before + shown + piece.after
    return _escaped(piece.text)


def _code(text: str) -> str:
    """A code span, whose fence is longer than any run of backticks within."""
    text = printable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", printable(text))
