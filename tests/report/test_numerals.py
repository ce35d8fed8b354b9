import pytest

from midterm_cli.part3.lr_sweep.schema import FailureThreshold
from midterm_cli.part3.schema import Interval
from midterm_cli.report import numerals

THRESHOLD = FailureThreshold(estimate=0.01618, low=0.01429, high=0.02)
ONE_SEED = Interval(estimate=1, low=None, high=None, total=1)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (numerals.short(0.0161797), "0.0162"),
        (numerals.short(-5.762e-16, 2), "−5.8 × 10⁻¹⁶"),
        (numerals.short(854690.7), "8.55 × 10⁵"),
        (numerals.short(-0.0), "0"),
        (numerals.significant(0.56), "0.560"),
        (numerals.significant(12.3), "12.3"),
        (numerals.significant(-123.4), "−123"),
        (numerals.significant(854690.7), "8.55 × 10⁵"),
        (numerals.significant(None), "–"),
        (numerals.latex(-5.762e-16, 2), r"-5.8 \times 10^{-16}"),
        (numerals.latex(2.5349275489911096, 15), "2.53492754899111"),
        (numerals.fixed(-0.12345), "−0.123"),
        (numerals.fixed(-0.0001), "0.000"),
        (numerals.count(25982), "25,982"),
        (numerals.shape([16, 6, 1200]), "16 × 6 × 1,200"),
        (numerals.lr(None), "none of the learning rates tried"),
        (numerals.interval(Interval(estimate=1, low=0.5, high=2, total=9), 1), "1.0 [0.5, 2.0]"),
        (numerals.interval(ONE_SEED, 1), "1.0 (one seed: no interval)"),
        (
            numerals.short_interval(THRESHOLD),
            "0.0162 [0.0143, 0.02]",
        ),
    ],
)
def test_numbers_as_text(found: str, expected: str) -> None:
    assert found == expected


def test_a_number_that_a_run_does_not_have_is_a_dash() -> None:
    assert numerals.short(None) == numerals.fixed(None) == numerals.count(None) == "–"
    assert numerals.interval(None) == numerals.short_interval(None) == "–"
    assert numerals.latex(None) == r"\text{–}"
