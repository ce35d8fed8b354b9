"""The derivation: its terms, what they are checked against, and its LaTeX."""

import math

import pytest
import torch
from torch import Tensor

from midterm_cli.part1 import derivation
from midterm_cli.part1.autodiff.schema import Term
from midterm_cli.part1.derivation import check_terms, to_align
from midterm_cli.part1.derivative import chain_rule, partial_derivatives
from midterm_cli.part1.parse import parse_program

PROGRAM = parse_program("u = x**2; v = u*x; w = 3; f = u + v*x + w")


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_terms_of_several_inputs_one_and_none() -> None:
    x = column(2.0, -1.0)
    partials = partial_derivatives(PROGRAM, x)
    terms = check_terms(
        PROGRAM, partials, chain_rule(PROGRAM, partials, x), x, torch.tensor([False, True])
    )
    assert [(term.term, term.formula, term.value) for term in terms] == [
        ("du/dx", "2 * x", [4, -2]),
        ("∂v/∂u", "x", [2, -1]),
        ("∂v/∂x", "u", [4, 1]),
        ("dv/dx", "∂v/∂u · du/dx + ∂v/∂x", [12, 3]),
        ("dw/dx", "0", [0, 0]),
        ("∂f/∂u", "1", [1, 1]),
        ("∂f/∂v", "x", [2, -1]),
        ("∂f/∂x", "v", [8, -1]),
        ("∂f/∂w", "1", [1, 1]),
        ("df/dx", "∂f/∂u · du/dx + ∂f/∂v · dv/dx + ∂f/∂x + ∂f/∂w · dw/dx", [36, -6]),
    ]
    assert all(term.autograd == term.value and term.agrees for term in terms)


def test_the_derivation_in_latex() -> None:
    assert to_align(PROGRAM, partial_derivatives(PROGRAM, column(2.0))).splitlines() == [
        r"\begin{align*}",
        r"u &= x^{2} \\",
        r"\frac{du}{dx} &= 2 x \\",
        r"v &= u \cdot x \\",
        r"\frac{dv}{dx} &= \left(x\right) \cdot \frac{du}{dx} + u \\",
        r"w &= 3 \\",
        r"\frac{dw}{dx} &= 0 \\",
        r"f &= u + v \cdot x + w \\",
        r"\frac{df}{dx} &= \frac{du}{dx} + \left(x\right) \cdot \frac{dv}{dx} + v"
        r" + \frac{dw}{dx}",
        r"\end{align*}",
    ]


@pytest.mark.parametrize(
    ("value", "autograd", "bound", "is_edge", "verdict"),
    [
        (2.0, 2.0, 0.25, False, "agrees"),
        (2.0, 2 + 8 * 0.25, 0.25, False, "agrees"),
        (2.0, 2 - 9 * 0.25, 0.25, False, "differs"),
        (1e308, -1e308, 0.25, False, "differs"),
        (0.0, 1e-17, 1e-17, False, "agrees"),
        # A tolerance above what it judges: even two equal numbers decide nothing.
        (2.0, 2.0, 0.26, False, "cannot tell"),
        (0.0, 0.0, math.inf, False, "cannot tell"),
        (0.0, -1.96e-22, math.inf, False, "cannot tell"),
        # Overflow; at the edge of a domain a slope may be infinite.
        (math.inf, math.inf, 0.25, False, "cannot tell"),
        (math.inf, math.inf, 0.25, True, "agrees"),
        (math.inf, -math.inf, 0.25, True, "cannot tell"),
        (math.nan, math.nan, 0.25, True, "cannot tell"),
        (2.0, math.nan, 0.25, False, "cannot tell"),
    ],
)
def test_a_term_agrees_up_to_eight_bounds(
    value: float, autograd: float, bound: float, is_edge: bool, verdict: str
) -> None:
    found, bounds = (column(1.0, value), column(1.0, autograd)), column(0.0, bound)
    term = derivation._term("a", "b", *found, bounds, torch.tensor([False, is_edge]))
    shown = [number if math.isfinite(number) else None for number in (value, autograd)]
    assert term == Term(
        term="a",
        formula="b",
        value=[1.0, shown[0]],
        autograd=[1.0, shown[1]],
        agrees=verdict == "agrees",
        undecided=verdict == "cannot tell",
    )
