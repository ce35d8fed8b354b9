"""What a training run says of the claim that averaged weights are better and smoother."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from midterm_cli.part3.schema import Interval
from midterm_cli.part3.train.schema import AveragingEffect


class Claim(NamedTuple):
    """One claim on one metric.

    Attributes:
        text: the claim.
        interval: of the quantity that it is about; None where no seed has it.
        neutral: the value of that quantity where there is no difference.
    """

    text: str
    interval: Interval | None
    neutral: float

    @property
    def places(self) -> int:
        """Decimal places that its numbers are shown with."""
        return 3 if self.neutral == 0 else 2

    @property
    def verdict(self) -> str:
        """Whether the whole interval is on the claim's side."""
        if self.interval is None or self.interval.low is None or self.interval.high is None:
            return "no interval"
        if self.interval.low > self.neutral:
            return "holds"
        return "the opposite holds" if self.interval.high < self.neutral else "not shown"


def claims(comparison: Sequence[AveragingEffect]) -> list[Claim]:
    """The claims that the exercise asks about, two for each metric."""
    found = list[Claim]()
    for entry in comparison:
        name = entry.metric.replace("_", " ")
        better = "lower" if name.endswith("loss") else "higher"
        found += [
            Claim(f"{better} {name}, by", entry.gain, 0.0),
            Claim(f"smoother {name}, times", entry.roughness_ratio, 1.0),
        ]
    return found
