"""Many formulas in a file, one a line, each judged on its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from midterm_cli import files
from midterm_cli.errors import UserError
from midterm_cli.part1.autodiff.schema import JudgedLine
from midterm_cli.part1.exponents import with_whole_exponents
from midterm_cli.part1.judge import judge
from midterm_cli.part1.parse import parse_derivative
from midterm_cli.part1.reference import Reference
from midterm_cli.text import printable

_MAX_BYTES = 1_000_000
_MAX_LINES = 1_000


@dataclass(frozen=True)
class Line:
    """A formula as typed, and the number of its line, from 1."""

    number: int
    text: str


def read_lines(path: Path) -> list[Line]:
    """Read the formulas of a file; empty lines and those that begin with # are none.

    Raises:
        UserError: the file cannot be read, is no text, is too large, or holds no formula.
    """
    name = printable(path)
    try:
        if not path.is_file():
            raise UserError(f"{name} is not a file: give a text file with one formula a line")
        files.require_regular(path)
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise UserError(f"{name} is larger than {_MAX_BYTES:,} bytes: split it")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 text: {error.reason}") from error
    lines = [Line(i, line.strip()) for i, line in enumerate(re.split(r"\r\n|\n|\r", text), 1)]
    lines = [line for line in lines if line.text and not line.text.startswith("#")]
    if len(lines) > _MAX_LINES:
        raise UserError(f"{name} has more than {_MAX_LINES:,} formulas: split it")
    if not lines:
        raise UserError(f"{name} holds no formula: write one a line")
    return lines


def judge_line(
    line: Line, known: Sequence[str], reference: Reference, x: Tensor, at: Sequence[float]
) -> JudgedLine:
    """Judge a line; one that cannot be read is a result, too.

    Args:
        line: what was handed in.
        known: the names that a formula may use.
        reference: the function.
        x: as for `judge`.
        at: as for `judge`.

    Raises:
        UserError: f' is not defined at any point of `x`.
    """
    try:
        formula = with_whole_exponents(parse_derivative(line.text, known), reference.program[:-1])
    except UserError as error:
        return JudgedLine(
            line=line.number,
            formula=line.text,
            verdict="unreadable",
            meaning="; ".join(str(error).splitlines()),
        )
    judgement = judge(formula, reference, x, at)
    return JudgedLine(
        line=line.number,
        formula=line.text,
        verdict=judgement.verdict,
        num_points=judgement.num_points,
        num_bad=judgement.num_bad,
        first_bad=judgement.first_bad,
        meaning=judgement.meaning,
    )
