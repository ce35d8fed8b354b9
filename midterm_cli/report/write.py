"""The report: from a folder of runs to its two files."""

from __future__ import annotations

from pathlib import Path

from midterm_cli import terminal
from midterm_cli.files import replace_file
from midterm_cli.report import html, markdown
from midterm_cli.report.runs import find
from midterm_cli.text import printable


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
    runs = find(runs_dir)
    text, pictures = markdown.render(runs, output)
    document = html.read(text)
    page = output / "index.html"
    replace_file(output / "report.md", text.encode())
    replace_file(page, html.render(document, pictures).encode())
    lines = [note for answer in runs.answers.values() for note in answer.notes]
    lines += html.notices(document)
    terminal.say_all(f"Warning: {printable(line)}" for line in lines)
    return page
