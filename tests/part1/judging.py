"""A formula judged at the points of the command, for the tests of its verdict."""

import torch

from midterm_cli.part1.autodiff.schema import Judgement
from midterm_cli.part1.domain import intervals
from midterm_cli.part1.judge import judge
from midterm_cli.part1.parse import parse, parse_program
from midterm_cli.part1.reference import Reference
from midterm_cli.part1.samples import near_ends, sample

MIDTERM = "u = x**3; y = 2 + u + log(1 + u); f = sqrt(y) + sin(y)"


def judged(
    expression: str,
    formula: str,
    low: float = -1.5,
    high: float = 2.5,
    num_points: int = 41,
    at: tuple[float, ...] = (),
) -> Judgement:
    program = parse_program(expression)
    known = ["x", *(step.name for step in program[:-1])]
    pieces = intervals(program, low, high, num_points)
    x = torch.cat([sample(pieces, num_points, 0), near_ends(pieces)]).sort().values
    return judge(parse(formula, known), Reference(program), x, at)
