"""What `midterm softt plot` is asked, and what it answers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from midterm_cli import experiment
from midterm_cli.experiment import (
    Coordinate,
    ExperimentConfig,
    NotNegative,
    Positive,
    Range,
    Record,
    require_lengths,
)
from midterm_cli.part2.schema import Threshold
from midterm_cli.values import as_list

Values = list[float | None]
"""One for each y; null where it is beyond the largest number of the dtype."""
Sides = Annotated[list[float], Field(min_length=2, max_length=2)]


class Config(ExperimentConfig):
    """Which threshold, where, and in which arithmetic."""

    dtype: Literal["float64", "float32", "float16", "bfloat16"] = Field(
        description="arithmetic of the values"
    )
    threshold: Threshold = Field(description="T: the function is 0 on [-T, T]")
    y: Annotated[list[Coordinate], BeforeValidator(as_list)] = Field(
        max_length=100, description="points at which the values are printed, up to 100; [] for none"
    )
    range: Range = Field(description="[low, high] of y")
    num_points: int = Field(ge=2, le=100_001, description="evenly spaced values of y")
    second_derivative: bool = Field(description="whether the second derivative is shown as well")


class Point(Record):
    """The function and its derivative at one point; null beyond the largest number of the dtype."""

    y: float
    f: float | None
    derivative: float | None = Field(description="in closed form")
    derivative_autograd: float | None


class OneSided(Record):
    """Derivatives at one point from either side."""

    y: float
    derivative: Sides = Field(description="[from below, from above]")
    second_derivative: Sides = Field(description="[from below, from above]")


class Agreement(Record):
    """Whether a derivative by autograd agrees with its closed form to rounding."""

    max_relative_difference: NotNegative | None = Field(description="null where it is not finite")
    agrees: bool

    @property
    def extent(self) -> str:
        """How far they differ, in words."""
        largest = self.max_relative_difference
        return "where one is 0 or not finite" if largest is None else f"by up to {largest:.2g}"


class Checks(Record):
    """Each derivative by autograd against its closed form."""

    derivative: Agreement
    second_derivative: Agreement


class Results(experiment.Results):
    """The function and its derivatives: one value of each list for each y."""

    OBSERVATIONS = "values"

    threshold: Positive
    y: list[float] = Field(min_length=2)
    f: Values = Field(description="null where it is beyond the largest number of the dtype")
    derivative: Values = Field(description="in closed form")
    derivative_autograd: Values
    second_derivative: Values | None = Field(description="null where it was not asked for")
    points: list[Point] = Field([], description="the values at each y of the config")
    one_sided: list[OneSided] = Field(min_length=2, max_length=2, description="at -T and at +T")
    checks: Checks

    @model_validator(mode="after")
    def _one_for_each_y(self) -> Self:
        lists = {
            "f": self.f,
            "derivative": self.derivative,
            "derivative_autograd": self.derivative_autograd,
            "second_derivative": self.second_derivative,
        }
        require_lengths(len(self.y), lists)
        return self
