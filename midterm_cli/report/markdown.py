"""The report as Markdown: CommonMark with tables and $mathematics$, as GitHub shows it.

The templates are Markdown themselves. Text that they show is escaped, so that nothing that a run
holds is taken for Markdown, HTML or mathematics; what a filter or a macro has made of it is Markup,
and stays as it is. Anything else is refused: a filter says how a number is shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from midterm_cli.experiment import Table
from midterm_cli.markdown import escaped
from midterm_cli.markdown import table as plain_table
from midterm_cli.part3.averaging import better_from
from midterm_cli.part3.schema import METRICS
from midterm_cli.part3.train.schema import Results as TrainResults
from midterm_cli.report import numerals, published
from midterm_cli.report.claims import claims, early_gains, effects
from midterm_cli.report.figures import Picture, picture
from midterm_cli.report.formula import to_mathml
from midterm_cli.report.runs import PARTS, Change, Reported, Runs, command
from midterm_cli.text import printable, shortened

TITLE = "A deep-learning midterm, answered and checked"

# Beyond these a list is cut, and says by how much.
_MAX_ROWS = 40
_MAX_COLUMNS = 20
_MAX_LENGTH = 300
MOST_SHOWN = 12
"""Other runs with their tables and figures."""
MOST_LISTED = 200
"""Other runs in a table."""

# What a reader without mathematics would take for markup of its own.
_NOT_ONLY_MATHEMATICS = re.compile(r"[$`]|<(?!\s)|\]\s*[(\[:]|\n\s*\n")


@dataclass(frozen=True)
class Form:
    """What a report is like.

    Attributes:
        title: above it.
        author: below the title, where there is one.
        parts: of the exercise.
        short: whether derivations and tables are left out.
    """

    title: str = TITLE
    author: str | None = None
    parts: Sequence[int] = PARTS
    short: bool = False


def render(runs: Runs, folder: Path, form: Form) -> tuple[str, Mapping[str, Picture]]:
    """Answer every question, as far as there are runs.

    Args:
        runs: the runs that answer.
        folder: where the report will lie; the figures of the run folders are referred to from
            there.
        form: what the report is like.

    Returns:
        The Markdown; and each figure that it refers to, drawn anew, by the path in it.
    """
    figures = _Figures(folder)
    environment = _environment()
    environment.globals |= {"figure": figures, "runs": runs, "form": form}
    text = environment.get_template("report.md").render()
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
        "early_gains": early_gains,
        "difference": difference,
        "fewer_seeds": fewer_seeds,
        "summary": summary,
        "better_from": better_from,
        "one_more_run": published.one_more_run,
        "largest": largest,
    }
    environment.globals |= {
        "published": published.figures(),
        "metrics": METRICS,
        "through_inverse": published.through_inverse,
        "most_shown": MOST_SHOWN,
        "most_listed": MOST_LISTED,
        "zip": zip,
    }
    return environment


class _Figures:
    """The figures that the templates show."""

    def __init__(self, folder: Path) -> None:
        self.drawn: dict[str, Picture] = {}
        self._stems: dict[Path, list[str]] = {}
        self._folder = folder

    def __call__(self, run: Reported, stem: str) -> Markup:
        """The path of a run's figure; empty where it has none."""
        return Markup(self._path(run, stem) if stem in self.of(run) else "")

    def of(self, run: Reported) -> list[str]:
        """The names of a run's figures."""
        if run.folder not in self._stems:
            figures = run.experiment.draw(run.config, run.results)
            self.drawn |= {self._path(run, stem): picture(it) for stem, it in figures.items()}
            self._stems[run.folder] = list(figures)
        return self._stems[run.folder]

    def _path(self, run: Reported, stem: str) -> str:
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


def difference(change: Change) -> Markup:
    """In what a run differs from a preset: lr = 0.002, not 0.001."""
    found, wanted = (shortened(_plain(value), 60) for value in (change.found, change.wanted))
    return code(f"{change.key} = {found}, not {wanted}")


def _plain(value: object) -> str:
    return "null" if value is None else str(value)


def summary(run: Reported) -> list[Table | str]:
    """What the experiment itself shows on the terminal, cut where it is very long."""
    shown: list[Table | str] = []
    items = run.experiment.summarize(run.results)
    for item in items[:_MAX_ROWS]:
        if isinstance(item, str):
            shown.append(shortened(item, _MAX_LENGTH))
            continue
        rows = [
            [shortened(cell, _MAX_LENGTH) for cell in row[:_MAX_COLUMNS]]
            for row in item.rows[:_MAX_ROWS]
        ]
        shown.append(Table(item.title, item.columns[:_MAX_COLUMNS], rows))
        shown += [f"{hidden:,} more {kind}: see metrics.json" for hidden, kind in _cut(item)]
    if hidden := len(items[_MAX_ROWS:]):
        shown.append(f"{hidden:,} more lines: see metrics.json")
    return shown


def _cut(table: Table) -> Iterator[tuple[int, str]]:
    """How many rows and columns of a table are not shown."""
    if hidden := len(table.rows[_MAX_ROWS:]):
        yield hidden, "rows"
    if hidden := len(table.columns[_MAX_COLUMNS:]):
        yield hidden, "columns"


def fewer_seeds(run: Reported) -> str:
    """Over how many of its seeds a run of train has means, such as 5 of 6.

    Empty for all, and for none, of which there are no means.
    """
    results = run.results
    if not isinstance(results, TrainResults):
        return ""
    total = len({row.seed for row in results.history})
    fewest = min(
        getattr(weights, metric).total for weights in results.final.weights for metric in METRICS
    )
    return f"{fewest:,} of {total:,}" if 0 < fewest < total else ""


def largest(numbers: Sequence[float | None]) -> float | None:
    """The largest of the numbers that there are."""
    return max((number for number in numbers if number is not None), default=None)
