"""A function and its derivative to any number of digits."""

import traceback

import pytest

from midterm_cli.part1.exact import UndefinedError
from midterm_cli.part1.parse import parse_program
from midterm_cli.part1.reference import Reference


def test_what_is_raised_again_does_not_grow() -> None:
    reference = Reference(parse_program("log(x)"))
    depths = []
    for _ in range(3):
        with pytest.raises(UndefinedError) as caught:
            reference.at(-1.0)
        depths.append(len(traceback.extract_tb(caught.value.__traceback__)))
    assert depths[1:] == depths[:1] * 2
