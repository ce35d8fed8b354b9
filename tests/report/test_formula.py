import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midterm_cli.report.formula import to_mathml


def elements(mathml: str) -> list[str]:
    return [element.tag for element in ElementTree.fromstring(mathml).iter()]


def test_a_fraction_is_a_fraction() -> None:
    mathml = to_mathml(r"\frac{a}{b}", "block")
    assert mathml is not None
    assert elements(mathml)[:3] == ["math", "mrow", "mfrac"]
    assert mathml.startswith('<math display="block">')


def test_the_derivation_of_part_1_is_a_table_of_six_lines() -> None:
    lines = [r"u &= x^{3}", r"\frac{du}{dx} &= 3 x^{2}"]
    mathml = to_mathml(rf"\begin{{align*}}{lines[0]} \\ {lines[1]}\end{{align*}}", "block")
    assert mathml is not None
    assert elements(mathml).count("mtr") == 2


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        ("f'", "<mrow><mi>f</mi><mo>′</mo></mrow>"),
        ("f_T'", "<mrow><msub><mi>f</mi><mi>T</mi></msub><mo>′</mo></mrow>"),
        ("f''", "<mrow><mi>f</mi><mo>″</mo></mrow>"),
        ("f^2", "<msup><mi>f</mi><mn>2</mn></msup>"),
    ],
)
def test_a_prime_is_not_raised_twice(latex: str, expected: str) -> None:
    mathml = to_mathml(latex, "inline")
    assert mathml is not None
    assert expected in mathml


@pytest.mark.parametrize(
    "latex",
    [
        r"\href{javascript:alert(1)}{x}",
        r"\href{https://example.org}{x}",
        r"\style{position:fixed}{x}",
        r"\class{notice}{x}",
        r"\text{<script>alert(1)</script>}",
        r"\text{<img src=x onerror=alert(1)>}",
        r"\text{</math><script>alert(1)</script>}",
        r"\text{<mi onclick='alert(1)'>x</mi>}",
        "a\x00b",
        "a\x1bb",
        "\ud800",
        r"\frac{",
        r"\begin{align*}x",
        "x^2^3",
        "{" * 5000,
        r"\frac{1}{" * 3000 + "1" + "}" * 3000,
        "x" * 20_001,
    ],
)
def test_what_is_not_mathematics_alone_is_not_converted(latex: str) -> None:
    assert to_mathml(latex, "inline") is None


@given(st.text(alphabet="ab\\{}<>&;'\"$^_/ =hrefstylx:", max_size=40))
def test_no_text_becomes_anything_but_mathematics(latex: str) -> None:
    mathml = to_mathml(latex, "inline")
    if mathml is None:
        return
    assert not re.search(r"href|style=|class=|<(?!/?m)|on\w+=", re.sub(r">[^<]*<", "><", mathml))
    ElementTree.fromstring(mathml)
