"""Expressions as text and as LaTeX."""

import pytest

from midterm_cli.part1.parse import parse
from midterm_cli.part1.printing import name_latex, to_latex


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("(1/(2*sqrt(y)) + cos(y)) * 3*x**2", None),
        ("-(x + 1)*2**x", r"\left(-\left(x + 1\right)\right) \cdot 2^{x}"),
        ("exp(x)**2", r"\left(e^{x}\right)^{2}"),
        ("2*3*x", r"2 \cdot 3 \cdot x"),
        ("x - (1 - x)", r"x - \left(1 - x\right)"),
        ("asin(u1)/pi", r"\frac{\arcsin\left(u_{1}\right)}{\pi}"),
        ("1e-05*x", r"1 \cdot 10^{-5} x"),
        ("(1e-05)**2", r"\left(1 \cdot 10^{-5}\right)^{2}"),
        ("e**2*pi", r"e^{2} \cdot \pi"),
        ("acos(x) - atan(x)", r"\arccos\left(x\right) - \arctan\left(x\right)"),
        ("2*(3*x)", r"2 \cdot 3 x"),
        ("2*3**x", r"2 \cdot 3^{x}"),
        ("2*sin(x)", r"2 \sin\left(x\right)"),
        ("-(x*y)", r"-x \cdot y"),
        ("-(x + y)", r"-\left(x + y\right)"),
        ("x*(y*u1)", r"x \cdot y \cdot u_{1}"),
        ("x - y + x*y", r"x - y + x \cdot y"),
    ],
)
def test_latex(text: str, latex: str | None) -> None:
    printed = to_latex(parse(text, ["x", "y", "u1"]))
    expected = r"\left(\frac{1}{2 \sqrt{y}} + \cos\left(y\right)\right) \cdot 3 \cdot x^{2}"
    assert printed == (latex or expected)


@pytest.mark.parametrize(
    ("name", "latex"),
    [
        ("y", "y"),
        ("X", "X"),
        ("u12", "u_{12}"),
        ("u_1", "u_{1}"),
        ("speed", r"\mathrm{speed}"),
        ("v_max2", r"\mathrm{v\_max}_{2}"),
    ],
)
def test_names_in_latex(name: str, latex: str) -> None:
    assert name_latex(name) == latex
