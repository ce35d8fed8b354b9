"""Whether a formula differs from a derivative only by the digits of its decimal constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from statistics import median

import mpmath
import numpy as np

from midterm_cli.part1.exact import (
    DIGITS,
    EXACT,
    UndefinedError,
    UnsureError,
    digits,
    shifted,
)
from midterm_cli.part1.expression import Expr, Number, evaluate, nodes
from midterm_cli.part1.reference import Reference

_SMALL = Decimal("1e-6")
"""Of the last digit: by so much a constant is moved to see what it changes."""


def literals(expr: Expr) -> list[str]:
    """The literals of an expression, each once."""
    return list(dict.fromkeys(node.text for node in nodes(expr) if isinstance(node, Number)))


def explained(
    formula: Expr,
    reference: Reference,
    points: Sequence[float],
    constants: Mapping[str, Decimal],
    *,
    above: float,
    share: float,
    left: float,
) -> bool:
    """Whether other constants that round to those of a formula make it f' at all points alike.

    What a constant changes is taken as linear, and the constants' shifts that fit best over all
    points are found by least squares.

    Args:
        formula: in x and the program's intermediates.
        reference: the function.
        points: where the formula differs from f'.
        constants: the literals that may have been rounded, each with a unit of its last digit.
        above: how far above a literal its number may lie, in units of the last digit; below, half.
        share: the largest difference that constants may explain, as a share of f'.
        left: the largest share of the difference that may remain.
    """
    rows = []
    with digits(DIGITS[-1]):
        for x in points:
            try:
                rows.append(_row(formula, reference, x, constants))
            except (UndefinedError, UnsureError):
                return False
    # f' counts as being at least as large as in the middle of the points. As a share of it, since
    # the numbers themselves may be beyond float64.
    middle = median(abs(slope) for slope, *_ in rows)
    if middle == 0:
        return False
    found = np.array(
        [[float(number / max(abs(slope), middle)) for number in rest] for slope, *rest in rows]
    )
    if not np.isfinite(found).all():
        return False
    difference, slopes = found[:, 0], found[:, 1:]
    largest = np.abs(difference).max()
    shifts = np.linalg.lstsq(slopes, -difference)[0]
    remaining = np.abs(difference + slopes @ shifts).max()
    return bool(
        largest <= share
        and remaining <= left * largest
        and (shifts >= -0.51).all()
        and (shifts <= above + 0.01).all()
    )


def _row(
    formula: Expr, reference: Reference, x: float, constants: Mapping[str, Decimal]
) -> list[mpmath.mpf]:
    """f', the formula's difference from it, and what one unit of each constant changes."""
    exact = reference.at(x)
    value = evaluate(formula, exact.values, EXACT)
    changes = []
    for text, unit in constants.items():
        moved = evaluate(formula, exact.values, shifted(text, _SMALL * unit))
        changes.append((moved - value) / str(_SMALL))
    return [mpmath.mpf(number.mid) for number in (exact.slope, value - exact.slope, *changes)]
