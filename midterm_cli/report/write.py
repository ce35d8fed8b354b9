"""The report: from a folder of runs to its two files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from midterm_cli import terminal
from midterm_cli.files import replace_file
from midterm_cli.report import html, markdown
from midterm_cli.report.answers import answer, once_per_heading
from midterm_cli.report.document import Block, Document, Notice, Paragraph, as_text, prose
from midterm_cli.report.part_convolution import convolution_in_brief, part4
from midterm_cli.report.part_derivatives import derivative_in_brief, part1, part2, softt_in_brief
from midterm_cli.report.part_learning import learning_in_brief, part3
from midterm_cli.report.part_provenance import provenance
from midterm_cli.report.part_published import comparison
from midterm_cli.report.runs import Runs, find
from midterm_cli.text import printable

TITLE = "A deep-learning midterm, answered and checked"


def write(runs_dir: Path, output: Path) -> Path:
    """Write index.html and report.md, each whole or not at all; say what they lack on stderr.

    Args:
        runs_dir: holds <experiment>/<name>/metrics.json.
        output: the folder of the two files, which are replaced.

    Returns:
        The HTML file.

    Raises:
        UserError: there is no such folder of runs, or the files cannot be written.
    """
    document = compose(find(runs_dir))
    page = output / "index.html"
    replace_file(output / "report.md", markdown.render(document, output).encode())
    replace_file(page, html.render(document).encode())
    for line in _notices(document):
        terminal.say(f"Warning: {line}")
    return page


def compose(runs: Runs) -> Document:
    """Answer every question, as far as there are runs."""
    return Document(
        TITLE,
        abstract=list(_abstract(runs)),
        sections=[
            replace(section, blocks=once_per_heading(section.blocks))
            for section in (
                part1(runs),
                part2(runs),
                part3(runs),
                part4(runs),
                comparison(runs),
                provenance(runs),
            )
        ],
    )


def _abstract(runs: Runs) -> Iterator[Block]:
    yield Paragraph(
        prose(
            "Four exercises, each answered by a computation that others can repeat: derivatives "
            "hold against independent methods, claims about training come with their spread over "
            "seeds, and every number of ours leads back to a command."
        )
    )
    yield from answer(runs, ["autodiff"], derivative_in_brief)
    yield from answer(runs, ["softt", "module"], softt_in_brief)
    yield from answer(runs, ["lr_sweep", "train"], learning_in_brief)
    yield from answer(runs, ["conv"], convolution_in_brief)


def _notices(document: Document) -> list[str]:
    """Each notice of the page once, as a line of text."""
    blocks = [block for section in document.sections for block in section.blocks]
    lines = [as_text(block.text) for block in blocks if isinstance(block, Notice)]
    return list(dict.fromkeys(map(printable, lines)))
