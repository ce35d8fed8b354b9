"""Parts of the results that several experiments of this part have."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from midterm_cli.experiment import Count, Record

AtLeastOne = Annotated[int, Field(ge=1)]
Shape = Annotated[list[AtLeastOne], Field(min_length=1)]
"""Channels and the size along each axis, or the number of values."""
Steps = Annotated[
    list[str], Field(min_length=1, description="the formulas with the numbers put in")
]


class Counts(Record):
    """What the formulas give for a layer, and what PyTorch finds."""

    output_shape: Shape
    parameters: Count
    macs: Count


class Operations(Record):
    """Operations that are no MACs."""

    comparisons: Count = 0
    additions: Count = 0
    divisions: Count = 0

    @property
    def total(self) -> int:
        """Of all kinds."""
        return self.comparisons + self.additions + self.divisions


class TorchCheck(Record):
    """Whether PyTorch agrees with the formulas."""

    how: str = Field(description="how PyTorch was asked")
    agrees: bool


def agreement(how: str, agrees: bool) -> str:
    """A line for the terminal: whether PyTorch agrees, and how it was asked."""
    return f"PyTorch {'agrees' if agrees else 'DISAGREES'}: {how}"
