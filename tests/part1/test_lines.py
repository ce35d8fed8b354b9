"""A file of formulas: each line judged, a mistake in one is a row, and what is printed."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from answer import Answer

from midterm_cli.errors import UserError
from midterm_cli.part1.lines import Line, read_lines

Midterm = Callable[..., Answer]

LINES = """\
# Part 1, derivative of f
(1/(2*sqrt(y)) + cos(y)) * 3*x**2 * (1 + 1/(1 + u))

  (1/(2*sqrt(y)) - cos(y)) * 3*x**2 * (1 + 1/(1 + u))
2(x+1
3*x**2*(2 + x**3)/(1 + x**3)*(0.5/sqrt(y) + cos(y))
(1/(2*sqrt(y)) + cos(y)) * 3*x**2 * (1 + 1/(1 + u)) + exp(-(x - 900)**2)
z, "quoted"
"""
VERDICTS = ["right", "wrong", "unreadable", "right", "cannot tell", "unreadable"]
NUMBERS = [2, 4, 5, 6, 7, 8]


def test_lines_are_numbered_as_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "formulas.txt"
    path.write_bytes("\ufeff# a comment\r\n\r\n 2*x \r\n#\r\n3*x".encode())
    assert read_lines(path) == [Line(3, "2*x"), Line(5, "3*x")]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "holds no formula: write one a line"),
        (b"# only\n\n", "holds no formula: write one a line"),
        (b"2*x\n\xff\xfe", "is not UTF-8 text"),
        (b"x\n" * 1001, "has more than 1,000 formulas"),
        (b"#" * 1_000_001, "is larger than 1,000,000 bytes: split it"),
        ("é".encode() * 500_001, "is larger than 1,000,000 bytes: split it"),  # cut inside an é
    ],
)
def test_a_file_that_holds_no_formulas(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "formulas.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=told):
        read_lines(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", Path("/dev/zero")):
        with pytest.raises(UserError, match="is not a file: give a text file with one formula"):
            read_lines(path)


def test_a_row_for_each_formula(folder: Path, midterm: Midterm) -> None:
    (folder / "class.txt").write_text(LINES, encoding="utf-8")
    answer = midterm("autodiff", "--formulas", "class.txt", "--set", "num_points=51")
    assert answer.code == 0
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert [row["verdict"] for row in rows] == VERDICTS
    assert [int(row["line"]) for row in rows] == NUMBERS
    assert [row["formula"] for row in rows] == [LINES.splitlines()[n - 1].strip() for n in NUMBERS]
    wrong = rows[1]
    assert wrong["meaning"].startswith("with one sign changed it agrees: (1 / (2 * sqrt(y)) + cos")
    assert int(wrong["num_bad"]) == int(wrong["num_points"]) > 51
    assert float(wrong["value"]) != float(wrong["derivative"])
    assert "unknown name 'z'" not in rows[2]["meaning"]
    assert "was never closed" in rows[2]["meaning"]
    assert "6 formulas: 2 right, 2 unreadable, 1 wrong, 1 cannot tell" in answer.err
    run = folder / "outputs" / "autodiff" / "formulas=class.txt,num_points=51"
    assert {path.name for path in run.iterdir()} == {"config.yaml", "metrics.json", "summary.md"}
    document = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert [row["verdict"] for row in document["results"]["formulas"]] == VERDICTS
    assert document["provenance"]["inputs_sha256"] is not None


def test_the_same_as_json_lines_and_as_a_document(folder: Path, midterm: Midterm) -> None:
    (folder / "class.txt").write_text(LINES, encoding="utf-8")
    command = "autodiff", "--formulas", "class.txt", "--set", "num_points=11", "--quiet"
    answer = midterm(*command, "--format", "jsonl")
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert [row["verdict"] for row in rows] == VERDICTS
    document = json.loads(midterm(*command, "--json").out)
    assert document["results"]["formulas"] == rows


def test_a_formula_that_is_not_right_can_be_made_an_error(folder: Path, midterm: Midterm) -> None:
    (folder / "good.txt").write_text("2*x\n2*sqrt(x**2)*x/sqrt(x**2)\n", encoding="utf-8")
    (folder / "bad.txt").write_text("2*x\n2*x\n2y\n", encoding="utf-8")
    command = "autodiff", "--expression", "x**2", "--fail-on-failure", "--set", "num_points=11"
    assert midterm(*command, "--formulas", "good.txt").code == 0
    assert midterm(*command, "--formulas", "bad.txt").code == 3


def test_a_formula_and_formulas(folder: Path, midterm: Midterm) -> None:
    answer = midterm("autodiff", "--formula", "x", "--formulas", "class.txt")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("Error: formula and formulas are both given")
    assert midterm("autodiff", "--formulas", "missing.txt").code == 2
    answer = midterm("autodiff", "--format", "csv")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        "Error: --format is of the rows of --formulas: give a file of them as well\n"
    )
    assert list(folder.iterdir()) == []


def test_rows_and_their_format_wherever_the_file_is_named(folder: Path, midterm: Midterm) -> None:
    (folder / "a.txt").write_text("2*x\n", encoding="utf-8")
    (folder / "c.yaml").write_text("formulas: a.txt\nnum_points: 11\n", encoding="utf-8")
    command = "autodiff", "--expression", "x**2", "--format", "jsonl", "--force"
    for named in (
        ("--formulas", "a.txt", "--set", "num_points=11"),
        ("--set", "formulas=a.txt", "--set", "num_points=11"),
        ("--config", "c.yaml"),
    ):
        answer = midterm(*command, *named)
        assert (answer.code, json.loads(answer.out)["verdict"]) == (0, "right")
        path = Path(answer.err.splitlines()[-1])  # since stdout does not have it
        assert (folder / path / "metrics.json").is_file()
    answer = midterm(*command, "--formulas", "a.txt", "--json", "--output", "other")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("Error: --json and --format both say what is printed")
    assert not (folder / "other").exists()
