"""Talk on stderr, progress and lines, and what a summary looks like on stdout."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from midterm_cli.text import printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from midterm_cli.experiment import Table

# Where no terminal says how wide it is, a table is wider than rich's 80 columns before it wraps.
_LOG_WIDTH = 120


def say(text: str) -> None:
    """Write a line, or two, to stderr."""
    with _talk():
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def say_all(lines: Iterable[str]) -> None:
    """Write lines to stderr, each once."""
    for line in dict.fromkeys(lines):
        say(line)


def warn(lines: Iterable[str]) -> None:
    """Write warnings to stderr, each once."""
    say_all(f"Warning: {line}" for line in lines)


@contextmanager
def _talk() -> Iterator[None]:
    """Ignore write errors on stderr, so that logging cannot end a run."""
    try:
        yield
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Send a stream that cannot be written to nowhere.

    Python would otherwise try to flush it once more at its exit, and exit with 120.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def rendered(summary: Iterable[Table | str]) -> str:
    """Tables and lines as text for stdout: no markup in them is interpreted."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    on_terminal = sys.stdout.isatty()
    console = Console(
        file=sys.stdout,  # nothing is written: it says whether it holds the lines of a table
        width=shutil.get_terminal_size().columns if on_terminal else _LOG_WIDTH,
        force_terminal=on_terminal,
    )
    with console.capture() as captured:
        for item in summary:
            if isinstance(item, str):
                console.print(Text(printable(item)), soft_wrap=True)
                continue
            table = RichTable(title=Text(printable(item.title)), title_justify="left")
            for index, column in enumerate(item.columns):
                table.add_column(Text(printable(column)), justify="left" if index == 0 else "right")
            for row in item.rows:
                table.add_row(*(Text(printable(cell)) for cell in row))
            console.print(table)
    # A title is as wide as its table.
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


class Progress(AbstractContextManager["Progress"]):
    """Progress of a run: a bar on a terminal, now and then a line elsewhere, nothing when quiet.

    An instance is called as progress(done, total, text), like `Context.progress`.
    """

    def __init__(self, quiet: bool) -> None:
        """Choose how to report, by what stderr is."""
        self._bar = self._bar_on_terminal() if sys.stderr.isatty() and not quiet else None
        self._lines = None if quiet or self._bar else _Lines()
        self._task: TaskID | None = None

    @staticmethod
    def _bar_on_terminal() -> Bar:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        return Bar(
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(file=sys.stderr),
            transient=True,
        )

    def __enter__(self) -> Progress:
        """Start the bar."""
        if self._bar:
            with _talk():
                self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away, whatever happened; say how it ended in a log."""
        if self._bar:
            with _talk():
                self._bar.stop()
        if self._lines and kind is None:
            self._lines.finish()

    def __call__(self, done: int, total: int, text: str) -> None:
        """Report that `done` of `total` units of work are done."""
        if self._lines:
            self._lines.report(done, total, printable(text))
        if self._bar:
            if self._task is None:
                self._task = self._bar.add_task("", total=total)
            self._bar.update(self._task, completed=done, total=total, description=printable(text))


class _Lines:
    """Plain lines for logs: a line a tenth of the work, or one each half minute, and the last.

    The last one is said in the end: work that is all done may still be evaluated.
    """

    MIN_SECONDS = 2.0
    MAX_SECONDS = 30.0

    def __init__(self) -> None:
        self._last_done = 0
        self._last_time = time.monotonic()
        self._end: str | None = None

    def report(self, done: int, total: int, text: str) -> None:
        waited = time.monotonic() - self._last_time
        tenth = 10 * (done - self._last_done) >= total and waited >= self.MIN_SECONDS
        if done == total:
            self._end = f"{done}/{total} {text}"
        elif tenth or waited >= self.MAX_SECONDS:
            say(f"{done}/{total} {text}")
            self._last_done, self._last_time = done, time.monotonic()

    def finish(self) -> None:
        if self._end is not None:
            say(self._end)
