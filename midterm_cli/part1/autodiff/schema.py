"""What `midterm autodiff` is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from midterm_cli import experiment
from midterm_cli.experiment import (
    Coordinate,
    Count,
    ExperimentConfig,
    NotNegative,
    Positive,
    Range,
    Record,
)

MAX_LENGTH = 1_000
"""Characters of an expression: far above any exercise, far below what could exhaust the reader."""

DIGITS = 30
"""Decimal digits of the reference: the methods are checked against it."""

METHODS = {
    "chain_rule": "chain rule",
    "autograd": "autograd, reverse",
    "autograd_forward": "autograd, forward",
    "finite_difference": "finite differences",
    "symbolic": "symbolic",
}
"""The methods by key, each with its name for people."""

Piece = Annotated[list[float], Field(min_length=2, max_length=2)]
"""[low, high]."""


class Config(ExperimentConfig):
    """What is differentiated, where, and in which arithmetic."""

    GONE: ClassVar[Mapping[str, str]] = {"symbolic": "SymPy is the one symbolic method"}

    dtype: Literal["float64", "float32"] = Field(
        description="arithmetic of every method but the symbolic one"
    )
    expression: str = Field(
        max_length=MAX_LENGTH,
        description="function of x; named intermediates before it, separated by semicolons",
    )
    x: Coordinate | list[Coordinate] = Field(description="one point, or a list of up to 100")
    formula: str | None = Field(
        max_length=MAX_LENGTH,
        description="a derivative to be judged, in x and the intermediates; null for none",
    )
    range: Range = Field(
        description="[low, high]: the figure's axis, and where a formula is judged"
    )
    num_points: int = Field(
        ge=11,
        le=10_001,
        description="points of the figure, and of the judgement of a formula",
    )

    @field_validator("x")
    @classmethod
    def _count_points(cls, x: float | list[float]) -> float | list[float]:
        if isinstance(x, list) and not 1 <= len(x) <= 100:
            raise ValueError(f"must hold 1 to 100 points, got {len(x)}")
        return x


class PointDerivative(Record):
    """f' at a point by each method; null where it does not exist or the method has no room."""

    chain_rule: float | None = None
    autograd: float | None = None
    autograd_forward: float | None = None
    finite_difference: float | None = None
    symbolic: float | None = None

    @property
    def taken(self) -> list[str]:
        """The methods that give a number here."""
        return [name for name in METHODS if getattr(self, name) is not None]


class Derivative(Record):
    """f' by each method: a number for one x, a list for a list of x; null as for a point."""

    chain_rule: float | list[float | None] | None
    autograd: float | list[float | None] | None
    autograd_forward: float | list[float | None] | None
    finite_difference: float | list[float | None] | None
    symbolic: float | list[float | None] | None


class FiniteDifference(Record):
    """What an extrapolated finite difference rests on."""

    step: Positive = Field(description="the smallest")
    error_estimate: NotNegative | None


class Agreement(Record):
    """The derivative by one method against the reference; null where one of them is missing."""

    difference: NotNegative | None
    relative: NotNegative | None
    tolerance: NotNegative | None
    agrees: bool


class Point(Record):
    """Every method at one x."""

    x: float
    f: float
    intermediates: dict[str, float]
    derivative: PointDerivative
    finite_difference: FiniteDifference | None
    comparison: dict[str, Agreement] = Field(description="by method")
    note: str | None = Field(description="why f' is not taken here")
    reference: float | None = Field(
        None, description="that the methods are checked against where SymPy does not finish"
    )


class Term(Record):
    """A factor or a product of the chain rule; a value for each point."""

    term: str
    formula: str
    value: list[float | None]
    autograd: list[float | None]
    agrees: bool


class Gradcheck(Record):
    """What torch.autograd.gradcheck says of f."""

    passed: bool
    reason: str | None


class BadPoint(Record):
    """A point at which a formula is wrong."""

    x: float
    formula: float | None = Field(description="null where it is undefined")
    derivative: float


class Judgement(Record):
    """Whether a formula is the derivative."""

    formula: str
    latex: str | None = None
    agrees: bool
    num_points: int = Field(ge=1)
    num_bad: Count
    max_relative_difference: NotNegative | None
    first_bad: BadPoint | None
    meaning: str | None = Field(description="what the disagreement looks like")


class Curve(Record):
    """f and f' over the range; null between two pieces of the domain."""

    x: list[float | None]
    f: list[float | None]
    derivative: list[float | None]


class Results(experiment.Results):
    """The derivative: numbers for one x, lists for a list of x; in `points` always a list."""

    expression: str
    dtype: Literal["float64", "float32"]
    x: float | list[float]
    f: float | list[float]
    derivative: Derivative
    max_relative_error: NotNegative | None
    latex: str = Field(description="the derivation as an align* environment")
    derivation: list[Term]
    points: list[Point] = Field(min_length=1)
    gradcheck: Gradcheck
    formula: Judgement | None
    domain: list[Piece] = Field(description="pieces of the range on which f is defined")
    curve: Curve
