"""Options that are read before the config sees them: texts from files, and folders."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from answer import Answer

from midterm_cli import cli
from midterm_cli.cli.options import folder as folder_option
from midterm_cli.errors import UserError

Midterm = Callable[..., Answer]


def formula(given: str) -> object:
    """The value of --formula."""
    group = typer.main.get_command(cli.app)
    command = group.commands["autodiff"]  # type: ignore[attr-defined]
    return command.make_context("autodiff", ["--formula", given]).params["formula"]


def test_a_formula_is_typed_or_read_from_a_file(folder: Path) -> None:
    Path("answer.txt").write_bytes(b"\xef\xbb\xbf3x\xc2\xb2\r\n  + 1\n")
    assert formula("3*x**2") == "3*x**2"
    assert formula("@answer.txt") == "3x²\r\n  + 1"


def test_a_formula_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("2·x\n".encode())))
    assert formula("-") == "2·x"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "answer.txt is not a file: name a text file after the @"),
        (b"", "answer.txt is empty: write a formula into it"),
        (b" \n", "answer.txt is empty: write a formula into it"),
        (b"\xff", "answer.txt is not UTF-8 text: invalid start byte"),
        (b"x" * 10_001, r"answer.txt is larger than 10,000 bytes: that is not a formula"),
    ],
)
def test_a_file_that_is_no_formula(content: bytes | None, message: str, folder: Path) -> None:
    if content is not None:
        Path("answer.txt").write_bytes(content)
    with pytest.raises(UserError, match=f"^{message}$"):
        formula("@answer.txt")


def test_only_regular_files_are_read(folder: Path) -> None:
    os.mkfifo("fifo")
    for name in ("fifo", "/dev/zero", "."):
        with pytest.raises(UserError, match="is not a file"):
            formula(f"@{name}")


@pytest.mark.usefixtures("unrendered")
def test_a_formula_over_several_lines_is_judged(folder: Path, midterm: Midterm) -> None:
    Path("answer.txt").write_text("\\frac{1}{2}\n  (2x)\n")
    options = ["--expression", "x²/2", "--x", "0.5", "--fail-on-failure", "--json"]
    assert midterm("autodiff", *options, "--formula", "@answer.txt").code == 0
    Path("answer.txt").write_text("\\frac{1}{2}\n  (3x)\n")
    assert midterm("autodiff", *options, "--formula", "@answer.txt").code == 3


@pytest.mark.parametrize("name", ["softt.png", "a/x.pdf", "x.SVG", "r.html", "m.json", "t.csv"])
@pytest.mark.parametrize("command", ["train", "softt", "report"])
def test_a_folder_is_not_named_as_a_file(
    name: str, command: str, folder: Path, midterm: Midterm
) -> None:
    answer = midterm(command, "--output", name)
    assert answer.code == 2
    assert answer.err == (
        f"Error: --output names a folder, and {name} a file: "
        f"write --output {name.rpartition('.')[0]}\n"
    )
    assert list(folder.iterdir()) == []


def test_other_names_are_folders(folder: Path) -> None:
    for name in ("lr=0.002", "run.1", "x.d", "png"):
        assert folder_option(name) == Path(name)
    Path("x.png").mkdir()
    assert folder_option("x.png") == Path("x.png")
