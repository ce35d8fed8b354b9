from typing import NamedTuple

import pytest

from midterm_cli.report.claims import Claim


class Interval(NamedTuple):
    low: float | None
    high: float | None
    estimate: float = 0.2


@pytest.mark.parametrize(
    ("interval", "neutral", "verdict"),
    [
        (Interval(0.1, 0.3), 0.0, "holds"),
        (Interval(-0.1, 0.3), 0.0, "not shown"),
        (Interval(0.0, 0.3), 0.0, "not shown"),
        (Interval(-0.3, -0.1), 0.0, "the opposite holds"),
        (Interval(0.5, 0.9), 1.0, "the opposite holds"),
        (Interval(None, None), 0.0, "no interval"),
        (None, 0.0, "no interval"),
    ],
)
def test_a_claim_holds_where_its_whole_interval_does(
    interval: Interval | None, neutral: float, verdict: str
) -> None:
    assert Claim("better, by", interval, neutral).verdict == verdict
