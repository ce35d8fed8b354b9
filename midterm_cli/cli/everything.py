"""`midterm all`: every run of the midterm, and the report on them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from midterm_cli import terminal
from midterm_cli.cli.exit_codes import DONE, MISTAKE
from midterm_cli.cli.program import app


class Section(StrEnum):
    """What can be made by itself."""

    PART1 = "part1"
    PART2 = "part2"
    PART3 = "part3"
    PART4 = "part4"
    REFERENCE = "reference"
    REPORT = "report"


_KEEP = "--resume --force"  # a finished run, unless its code or inputs have changed

LINES: Mapping[Section, Sequence[str]] = {
    Section.PART1: [f"autodiff {_KEEP}"],
    Section.PART2: [f"softt plot {_KEEP}", f"module grad {_KEEP}"],
    Section.PART3: [
        f"lr-sweep {_KEEP} --dataset {{dataset}}",
        f"train {_KEEP} --dataset {{dataset}}",
    ],
    Section.PART4: [
        f"conv shape {_KEEP}",
        f"conv stride {_KEEP} --dataset {{dataset}}",
        f"conv stack {_KEEP}",
        f"conv stack --config text/conv_stack {_KEEP}",
        f"pool cost {_KEEP}",
        f"pool min {_KEEP}",
    ],
    Section.REFERENCE: [
        f"autodiff --config reference/autodiff {_KEEP}",
        f"lr-sweep --config reference/lr_sweep {_KEEP} --dataset {{dataset}}",
        f"train --config reference/train {_KEEP} --dataset {{dataset}}",
    ],
    Section.REPORT: ["report"],
}
"""The command lines of each section, without the program's name."""

_SYNTHETIC = """
*** No Fashion-MNIST here: running on SYNTHETIC images instead. ***
*** The numbers below are not those of the exercise. ***
"""


@app.command("all")
def everything(
    only: Annotated[
        list[Section] | None,
        typer.Option(
            "--only",
            metavar="NAME",
            help=f"{', '.join(Section)}. Repeatable. Without it: all of them, in this order.",
        ),
    ] = None,
) -> int:
    """Get the data, run every part, write the report, as `make all` does.

    Each command is shown before it runs, and the first that fails ends it. Finished runs are kept,
    unless the code or the inputs have changed. Where Fashion-MNIST cannot be had, the runs are on
    synthetic images.

    Examples:
        midterm all
        midterm all --only part1 --only report
    """
    lines = [line for section in Section if not only or section in only for line in LINES[section]]
    dataset = "fashion_mnist"
    if any("{dataset}" in line for line in lines):
        code = _run("data fetch")
        if code == MISTAKE:
            terminal.say(_SYNTHETIC)
            dataset = "synthetic"
        elif code != DONE:
            return code
    for line in lines:
        code = _run(line.format(dataset=dataset))
        if code != DONE:
            return code
    return DONE


def _run(line: str) -> int:
    from midterm_cli import cli  # which imports this module

    terminal.say(f"$ midterm {line}")
    return cli.main(shlex.split(line))
