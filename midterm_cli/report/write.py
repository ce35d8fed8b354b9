"""The report: from runs to its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from midterm_cli import terminal
from midterm_cli.errors import UserError
from midterm_cli.files import replace_file
from midterm_cli.report import html, markdown, pdf
from midterm_cli.report.markdown import Form
from midterm_cli.report.runs import PARTS, find
from midterm_cli.runs.find import is_run
from midterm_cli.text import printable, shown


def write(paths: Sequence[Path], output: Path | None, form: Form, as_pdf: bool) -> list[Path]:
    """Write index.html and report.md, each whole or not at all; say what they lack on stderr.

    Args:
        paths: runs, and folders that hold some.
        output: the folder of the files, which are replaced; None for `folder_of`.
        form: what the report is like.
        as_pdf: whether report.pdf is written as well.

    Returns:
        The HTML file, and the PDF.

    Raises:
        UserError: there is no such folder of runs, the files cannot be written, or no PDF.
    """
    runs = find(paths, form.parts)
    output = output or folder_of(paths)
    text, pictures = markdown.render(runs, output, form)
    document = html.read(text)
    page = output / "index.html"
    replace_file(output / "report.md", text.encode())
    replace_file(page, html.render(document, pictures, short=form.short).encode())
    lines = [note for run in runs.all for note in run.notes]
    lines += html.notices(document)
    terminal.warn(map(printable, lines))
    if not as_pdf:
        return [page]
    printed = output / "report.pdf"
    replace_file(printed, pdf.to_pdf(page))
    return [page, printed]


def folder_of(paths: Sequence[Path]) -> Path:
    """Where a report lies: report/ in the folder of runs, where it is a single one; or outputs/."""
    is_folder_of_runs = len(paths) == 1 and not is_run(paths[0])
    return (paths[0] if is_folder_of_runs else Path("outputs")) / "report"


def parts(text: str) -> list[int]:
    """Read the parts of the exercise, such as 1,3.

    Raises:
        UserError: it is not a list of such numbers.
    """
    known = {str(part): part for part in PARTS}
    words = [word.strip() for word in text.split(",")]
    if not set(words) <= known.keys():
        raise UserError(f"--only must name parts, from 1 to 4, such as 1,3; got {shown(text)}")
    return sorted({known[word] for word in words})
