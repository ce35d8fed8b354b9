import pytest

from midterm_cli.report import numerals
from midterm_cli.report.document import Code, Math, Plain, Strong, Table, as_text, prose


def test_marks_make_pieces() -> None:
    assert prose("Take $x^2$ of `midterm train`: **not** 1.") == (
        Plain("Take "),
        Math("x^2"),
        Plain(" of "),
        Code("midterm train"),
        Plain(": "),
        Strong("not"),
        Plain(" 1."),
    )


def test_punctuation_stays_with_mathematics() -> None:
    assert prose("small ($x$), then") == (
        Plain("small "),
        Math("x", before="(", after="),"),
        Plain(" then"),
    )


def test_marks_in_a_piece_mean_themselves() -> None:
    hostile = Plain("$x$ `y` **z**")
    assert prose("a ", hostile) == (Plain("a "), hostile)
    assert as_text(prose("($x$) ", hostile)) == "(x) $x$ `y` **z**"


@pytest.mark.parametrize(
    ("cells", "numeric"),
    [
        (["1", "−2.5", "1.3e-13", ""], True),
        (["0.031 [0.020, 0.041]", "1 ± 2", "–"], True),
        (["0 of 10", "10 of 10"], True),
        (["1", "agrees"], False),
        (["2.14.1+cu130"], False),
        (["16 collapse"], False),
    ],
)
def test_columns_of_numbers_are_told_apart(cells: list[str], numeric: bool) -> None:
    rows = [[prose("1"), prose(cell)] for cell in cells]
    table = Table(prose("t"), [prose("a"), prose("b")], rows)
    assert table.numeric == [False, numeric]  # the first column names the row


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (numerals.short(0.0161797), "0.0162"),
        (numerals.short(-5.762e-16, 2), "−5.8 × 10⁻¹⁶"),
        (numerals.short(854690.7), "8.55 × 10⁵"),
        (numerals.latex(-5.762e-16, 2), r"-5.8 \times 10^{-16}"),
        (numerals.latex(2.5349275489911096, 15), "2.53492754899111"),
        (numerals.fixed(-0.12345), "−0.123"),
        (numerals.fixed(-0.0001), "0.000"),
        (numerals.short(-0.0), "0"),
        (numerals.count(25982), "25,982"),
        (numerals.interval({"estimate": 1, "low": 0.5, "high": 2}, 1), "1.0 [0.5, 2.0]"),
        (
            numerals.interval({"estimate": 1, "low": None, "high": None}, 1),
            "1.0 (one seed: no interval)",
        ),
        (numerals.short_interval({"estimate": 0.01618, "low": 0.01429, "high": 0.02}),
         "0.0162 [0.0143, 0.02]"),
    ],
)  # fmt: skip
def test_numbers_as_text(found: str, expected: str) -> None:
    assert found == expected


@pytest.mark.parametrize("bad", ["1", "<b>", None, True, [1], float("inf"), float("nan")])
def test_what_is_no_number_is_refused(bad: object) -> None:
    for read in (numerals.short, numerals.latex, numerals.fixed, numerals.count):
        with pytest.raises(ValueError, match="not a"):
            read(bad)
