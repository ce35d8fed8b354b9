"""Where a formula is compared with f': all over the domain, and closely where its parts turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from midterm_cli.part1.expression import (
    Expr,
    Program,
    evaluate,
    evaluate_program,
    has_names,
    nodes,
    torch_arithmetic,
)

_PASSES = 10
"""Each cuts an interval in four: from 1e-2 they reach 1e-8."""
_MOST_TURNS = 20
"""Intervals of one part that a pass cuts; those of a rapid oscillation are spread over it."""
_MOST_POINTS = 600
_MOST_PIECES = 10
_ROUNDING = 1e-13
"""A part that changes by less, relative to its largest value, counts as level."""


def sample(pieces: Sequence[Sequence[float]], num_points: int, seed: int) -> Tensor:
    """Points of the domain, ascending: one at random in each of `num_points` equal parts.

    Random, because a grid can meet the zeros of a wrong term; kept 1e-6 of a piece away from its
    ends, where derivatives may be unbounded.
    """
    generator = torch.Generator().manual_seed(seed)
    jitter = torch.rand(num_points, dtype=torch.float64, generator=generator)
    position = (torch.arange(num_points) + jitter) / num_points
    lengths = torch.tensor([high - low for low, high in pieces], dtype=torch.float64)
    ends = (lengths / lengths.sum()).cumsum(0)
    piece = torch.searchsorted(ends, position).clamp(max=len(pieces) - 1)
    starts = torch.cat([torch.zeros(1, dtype=torch.float64), ends[:-1]])
    within = ((position - starts[piece]) / (ends - starts)[piece]).clamp(1e-6, 1 - 1e-6)
    low = torch.tensor([low for low, _ in pieces], dtype=torch.float64)
    return low[piece] + within * lengths[piece]


def near_ends(pieces: Sequence[Sequence[float]]) -> Tensor:
    """Points of each piece that come ever closer to its ends, by factors of 4 to 1e-16 of it.

    Of a function with many pieces, _MOST_PIECES that are spread over it.
    """
    # Odd shares, since at a round number a formula may have a hole that means nothing.
    shares = 0.3141592653589793 * 0.25 ** torch.arange(26, dtype=torch.float64)
    found = torch.empty(0, dtype=torch.float64)
    for low, high in pieces[:: 1 + len(pieces) // _MOST_PIECES]:
        x = torch.cat([low + (high - low) * shares, high - (high - low) * shares])
        found = torch.cat([found, x[(low < x) & (x < high)]])
    return found


def turning_points(exprs: Iterable[Expr], program: Program, x: Tensor) -> Tensor:
    """Points that come ever closer to where a part of an expression turns.

    A part turns where it changes its sign, rises after it fell, or begins to be defined. There lie
    the centre of a bump, the kinks of sqrt(z**2), and the edges of what holds on one side only: a
    difference between two points of `x` is found if a part turns at it.

    Args:
        exprs: in x and the steps of the program.
        program: the function.
        x: where to look, ascending, float64.

    Returns:
        Points between those of `x`, at most twice _MOST_POINTS, for each turn at distances that
        fall to rounding by factors of 4; of rapid oscillations, so near to some turns alone.
    """
    parts = list(dict.fromkeys(n for expr in exprs for n in nodes(expr) if has_names(n)))
    found, is_whole = _approached(parts, program, x, narrow=False)
    if not is_whole:
        found = torch.cat([found, _approached(parts, program, x, narrow=True)[0]]).unique()
    return found


def _approached(
    parts: Sequence[Expr], program: Program, x: Tensor, *, narrow: bool
) -> tuple[Tensor, bool]:
    """Points ever closer to turns, and whether all passes were made."""
    quarters = torch.tensor([[0.25], [0.5], [0.75]], dtype=torch.float64)
    found, grid = x[:0], x
    for _ in range(_PASSES):
        turning = _turning(parts, program, grid, narrow=narrow)
        low, high = grid[:-1][turning], grid[1:][turning]
        new = (low + (high - low) * quarters).flatten()
        if len(found) + len(new) > _MOST_POINTS:
            return found, False
        found = torch.cat([found, new])
        grid = torch.cat([grid, new]).unique()
    return found, True


def _turning(parts: Sequence[Expr], program: Program, x: Tensor, *, narrow: bool) -> Tensor:
    """In which of the intervals between the points of `x` a part turns: a mask, (len(x) - 1,).

    Args:
        parts: in x and the steps of the program.
        program: the function.
        x: ascending.
        narrow: whether of each part the first change of sign, maximum and minimum are all.
    """
    values = evaluate_program(program, x)
    turning = torch.zeros(len(x) - 1, dtype=torch.bool)
    for part in parts:
        value = evaluate(part, values, torch_arithmetic(x))
        sign = value.sign().nan_to_num(2)
        changes = sign[:-1] != sign[1:]
        rise = value.diff()
        largest = value.abs().nan_to_num(0, posinf=0).max()
        rises, falls = rise > _ROUNDING * largest, rise < -_ROUNDING * largest
        maxima, minima = rises[:-1] & falls[1:], falls[:-1] & rises[1:]
        turns = [changes, _beside(maxima), _beside(minima)]
        if narrow:
            for turn in turns:  # an extremum is seen on both sides of the highest point
                turning[turn.nonzero().flatten()[:2]] = True
        else:
            places = (turns[0] | turns[1] | turns[2]).nonzero().flatten()
            turning[places[:: 1 + len(places) // _MOST_TURNS]] = True
    return turning


def _beside(points: Tensor) -> Tensor:
    """The intervals on both sides of inner points, as masks."""
    none = points.new_zeros(1)
    return torch.cat([points, none]) | torch.cat([none, points])
