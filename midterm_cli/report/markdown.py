"""The report as Markdown: CommonMark with tables and $mathematics$, as GitHub shows it.

The templates are Markdown themselves. Text that they show is escaped, so that nothing that a run
holds is taken for Markdown, HTML or mathematics; what a filter or a macro has made of it is Markup,
and stays as it is. Anything else is refused: a filter says how a number is shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from midterm_cli.markdown import escaped
from midterm_cli.markdown import table as plain_table
from midterm_cli.part3.averaging import better_from, gains
from midterm_cli.part3.schema import METRICS
from midterm_cli.report import numerals, published
from midterm_cli.report.claims import claims, effects
from midterm_cli.report.figures import Picture, picture
from midterm_cli.report.formula import to_mathml
from midterm_cli.report.runs import Answer, Runs, command
from midterm_cli.text import printable

TITLE = "A deep-learning midterm, answered and checked"

# What a reader without mathematics would take for markup of its own.
_NOT_ONLY_MATHEMATICS = re.compile(r"[$`]|<(?!\s)|\]\s*[(\[:]|\n\s*\n")


def render(runs: Runs, folder: Path) -> tuple[str, Mapping[str, Picture]]:
    """Answer every question, as far as there are runs.

    Args:
        runs: the runs that answer.
        folder: where the report will lie; the figures of the run folders are referred to from
            there.

    Returns:
        The Markdown; and each figure that it refers to, drawn anew, by the path in it.
    """
    figures = _Figures(folder)
    environment = _environment()
    environment.globals["figure"] = figures
    text = environment.get_template("report.md").render(title=TITLE, runs=runs)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n", figures.drawn


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("midterm_cli.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_text,
    )
    environment.filters |= {
        "short": numerals.short,
        "fixed": numerals.fixed,
        "significant": numerals.significant,
        "count": numerals.count,
        "lr": numerals.lr,
        "shape": numerals.shape,
        "interval": numerals.interval,
        "short_interval": numerals.short_interval,
        "latex": lambda number, digits=3: Markup(numerals.latex(number, digits)),
        "formula": formula,
        "code": code,
        "cell": cell,
        "verbatim": verbatim,
        "table": table,
        "command": command,
        "effects": effects,
        "claims": claims,
        "gains": gains,
        "better_from": better_from,
        "one_more_run": published.one_more_run,
        "largest": largest,
    }
    environment.globals |= {
        "published": published.figures(),
        "metrics": METRICS,
        "through_inverse": published.through_inverse,
        "zip": zip,
    }
    return environment


class _Figures:
    """The figures that the templates show."""

    def __init__(self, folder: Path) -> None:
        self.drawn: dict[str, Picture] = {}
        self._folder = folder

    def __call__(self, run: Answer, stem: str) -> Markup:
        """The path of a run's figure; empty where it has none."""
        path = self._path(run, stem)
        if path not in self.drawn:
            figures = run.experiment.draw(run.config, run.results)
            self.drawn |= {self._path(run, name): picture(it) for name, it in figures.items()}
        return Markup(path if path in self.drawn else "")

    def _path(self, run: Answer, stem: str) -> str:
        return quote(os.fsencode(os.path.relpath(run.folder / f"{stem}.png", self._folder)))


# ---- text as Markdown


def _text(value: object) -> Markup:
    """A value that a template shows."""
    if isinstance(value, Markup):
        return value
    if not isinstance(value, str):
        raise TypeError(f"neither text nor Markdown: {value!r}")
    return Markup(escaped(value))


def code(value: object) -> Markup:
    """A code span, whose fence is longer than any run of backticks within."""
    text = printable(value)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    # A reader drops one space from either end where both have one.
    space = " " if text.strip() and {text[0], text[-1]} & {"`", " "} else ""
    return Markup(f"{fence}{space}{text}{space}{fence}")


def cell(value: object, length: int = 60) -> Markup:
    """A code span in a table, where even code may not hold a bare bar, of a value cut short."""
    if value in (None, ""):
        return Markup("")
    return Markup(re.sub(r"(?<!\\)\|", r"\\|", code(str(value)[:length])))


def verbatim(text: str) -> Markup:
    """A line of a code block."""
    return Markup(printable(text))


def formula(latex: str) -> Markup:
    """LaTeX on lines of its own; what is not mathematics alone is shown as code."""
    is_mathematics = (
        latex.replace("\n", "").isprintable()
        and not _NOT_ONLY_MATHEMATICS.search(latex)
        and to_mathml(latex, "block") is not None
    )
    return Markup(f"$$\n{latex.strip()}\n$$") if is_mathematics else code(latex)


def table(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> Markup:
    """A table of text: see `midterm_cli.markdown.table`."""
    return Markup(plain_table(rows, columns))


def largest(numbers: Sequence[float | None]) -> float | None:
    """The largest of the numbers that there are."""
    return max((number for number in numbers if number is not None), default=None)
