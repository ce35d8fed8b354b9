"""What a terminal gets: lines without control characters, and not too many of them."""

import time

import pytest

from midterm_cli.experiment import Table
from midterm_cli.terminal import Progress, rendered, say, say_all


def test_markup_in_a_table_is_text() -> None:
    table = Table("[b]t[/b]", ["[i]c[/i]", "n"], [["\x1b[2J[/x]", "1"]])

    shown = rendered(["[red]a[/red] :smile:", table])

    for text in ("[red]a[/red] :smile:", "[b]t[/b]", "[i]c[/i]", r"\x1b[2J[/x]"):
        assert text in shown
    assert "\x1b" not in shown


def test_a_line_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    say_all(["a", "b", "a"])
    say("a")

    assert capsys.readouterr() == ("", "a\nb\na\n")


def test_a_long_line_is_not_broken() -> None:
    assert rendered(["word " * 100]).split("\n") == [("word " * 100).rstrip(), ""]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the module sees, to be set by the test."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def work(clock: list[float], seconds: float, total: int, quiet: bool = False) -> None:
    """Report `total` units of work, each of so many seconds."""
    with Progress(quiet) as progress:
        for done in range(1, total + 1):
            clock[0] += seconds
            progress(done, total, "loss 1.0")


@pytest.mark.parametrize(
    ("seconds", "total", "expected"),
    [
        (0.001, 1000, ["1000/1000"]),  # over in a second: the end alone
        (0.125, 100, [f"{done}/100" for done in (16, 32, 48, 64, 80, 96, 100)]),  # two seconds
        (1.0, 100, [f"{done}/100" for done in range(10, 101, 10)]),  # each tenth
        (3600.0, 4, ["1/4", "2/4", "3/4", "4/4"]),
        (10.0, 1000, [f"{done}/1000" for done in range(3, 1000, 3)] + ["1000/1000"]),  # 30 seconds
    ],
)
def test_a_log_gets_a_line_now_and_then_and_the_last(
    seconds: float,
    total: int,
    expected: list[str],
    clock: list[float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    work(clock, seconds, total)

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"{count} loss 1.0" for count in expected]


def test_the_last_line_is_said_once_with_what_was_reported_last(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress(quiet=False) as progress:
        for text in ("loss 3", "loss 2", "loss 1"):
            progress(4, 4, text)

    assert capsys.readouterr().err == "4/4 loss 1\n"


def test_quiet_says_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    work(clock, 100, 10, quiet=True)

    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_that_goes_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")

    def interrupted() -> None:
        with Progress(quiet=False) as progress:
            progress(1, 4, "[red]loss[/red] \x07")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    out, err = capsys.readouterr()
    assert out == ""
    assert "1/4" in err
    assert r"[red]loss[/red] \x07" in err
    assert "\x1b[?25h" in err  # the cursor is shown again
