import pytest

from midterm_cli.part3.schema import Interval
from midterm_cli.report.claims import Claim


@pytest.mark.parametrize(
    ("ends", "neutral", "verdict"),
    [
        ((0.1, 0.3), 0.0, "holds"),
        ((-0.1, 0.3), 0.0, "not shown"),
        ((0.0, 0.3), 0.0, "not shown"),
        ((-0.3, -0.1), 0.0, "the opposite holds"),
        ((0.5, 0.9), 1.0, "the opposite holds"),
        ((None, None), 0.0, "no interval"),
        (None, 0.0, "no interval"),
    ],
)
def test_a_claim_holds_where_its_whole_interval_does(
    ends: tuple[float | None, float | None] | None, neutral: float, verdict: str
) -> None:
    interval = ends and Interval(estimate=0.2, low=ends[0], high=ends[1], total=3)
    assert Claim("better, by", interval, neutral).verdict == verdict
