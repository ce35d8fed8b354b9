"""What `midterm autodiff` is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from midterm_cli import experiment
from midterm_cli.experiment import (
    Coordinate,
    Count,
    ExperimentConfig,
    FileName,
    NotNegative,
    Positive,
    Range,
    Record,
    require_lengths,
)
from midterm_cli.values import numbers

MAX_LENGTH = 1_000
"""Characters of an expression: far above any exercise, far below what could exhaust the parser."""
DIGITS = 100
"""Decimal digits in which the derivative by SymPy is evaluated: cancellation may take most."""

Values = list[float | None]
Piece = Annotated[list[float], Field(min_length=2, max_length=2)]


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
    x: Annotated[Coordinate | list[Coordinate], BeforeValidator(numbers)] = Field(
        description="one point, or a list of up to 100; pi/2 and 3,4 are read"
    )
    formula: str | None = Field(
        max_length=MAX_LENGTH,
        description="a derivative to be judged, in x and the intermediates; null for none",
    )
    formulas: FileName | None = Field(
        description="a file of such formulas, one a line, instead of one; null for none"
    )
    range: Range = Field(
        description="[low, high]: the figure's axis, and where a formula is judged"
    )
    num_points: int = Field(
        ge=11,
        le=10_001,
        description="points of the figure, and of the judgement of a formula",
    )

    @property
    def input_files(self) -> list[Path]:
        """The file of formulas, if there is one."""
        return [] if self.formulas is None else [Path(self.formulas)]

    @property
    def absolute(self) -> dict[str, str]:
        """The file of formulas."""
        return {} if self.formulas is None else {"formulas": str(Path(self.formulas).absolute())}

    @model_validator(mode="after")
    def _require_one_of_two(self) -> Self:
        if self.formula is not None and self.formulas is not None:
            raise ValueError("formula and formulas are both given: leave one of them out")
        return self

    @field_validator("x")
    @classmethod
    def _count_points(cls, x: float | list[float]) -> float | list[float]:
        if isinstance(x, list) and not 1 <= len(x) <= 100:
            raise ValueError(f"must hold 1 to 100 points, got {len(x)}")
        return x


class Derivative(Record):
    """The derivative by each method: a number for one x, a list for a list of x.

    Null where f' does not exist or the method cannot be applied.
    """

    chain_rule: float | Values | None
    autograd: float | Values | None = Field(description="reverse mode")
    autograd_forward: float | Values | None
    finite_difference: float | Values | None
    symbolic: float | Values | None = Field(description="by SymPy")


class PointDerivative(Record):
    """The derivative at one point; null where f' does not exist or a method cannot be applied."""

    chain_rule: float | None
    autograd: float | None = Field(description="reverse mode")
    autograd_forward: float | None
    finite_difference: float | None
    symbolic: float | None = Field(description="by SymPy")

    @property
    def taken(self) -> list[str]:
        """The methods that give a number here."""
        return [name for name, value in self if value is not None]


class Comparison(Record):
    """Whether a method agrees with the reference to rounding."""

    difference: NotNegative | None
    relative: NotNegative | None = Field(description="null where the reference is 0")
    tolerance: NotNegative | None
    agrees: bool
    undecided: bool = Field(
        False, description="whether the tolerance allows the difference, but f' no digit"
    )


class Comparisons(Record):
    """Each method against the reference; null for the reference and what was not applied."""

    chain_rule: Comparison | None = None
    autograd: Comparison | None = None
    autograd_forward: Comparison | None = None
    finite_difference: Comparison | None = None


class FiniteDifference(Record):
    """What the derivative by finite differences rests on."""

    step: Positive = Field(description="the smallest")
    error_estimate: NotNegative | None


class Point(Record):
    """Every method at one point."""

    x: float
    f: float = Field(description="the nearest float64, where the expression is known so closely")
    f_computed: float | None = Field(None, description="in the arithmetic of the run")
    intermediates: dict[str, float | None] = Field(
        description="by name, in order of evaluation; null where dtype has no such number"
    )
    derivative: PointDerivative
    finite_difference: FiniteDifference | None
    comparison: Comparisons
    note: str | None = Field(description="why f' is not computed here; null where it is")


class Term(Record):
    """A factor or a product of the chain rule: one number for each point where f' exists."""

    term: str
    formula: str
    value: Values
    autograd: Values
    agrees: bool
    undecided: bool = Field(
        False, description="whether rounding may leave no digit of it at one of the points"
    )


class Gradcheck(Record):
    """What torch.autograd.gradcheck says of f, in the dtype of the run."""

    passed: bool
    reason: str | None = Field(description="of a rejection")


class Counterexample(Record):
    """A point at which a formula is not the derivative; a number beyond float64 is null."""

    x: float
    formula: float | None = Field(description="null where it is undefined")
    derivative: float | None


class FormulaPoint(Counterexample):
    """A formula beside the derivative at one of the points x."""

    verdict: Literal["equal", "different", "undefined", "cannot tell", "not judged"] = Field(
        description="not judged where f' does not exist"
    )


class Judgement(Record):
    """Whether a formula is the derivative, at points sampled from the domain."""

    formula: str
    latex: str
    agrees: bool
    verdict: Literal["right", "wrong", "cannot tell"] | None = Field(
        None, description="null in runs of versions that knew only right and wrong"
    )
    num_points: Annotated[int, Field(ge=1)]
    num_bad: Count
    num_unsure: Count = Field(0, description="points where no number of digits decides")
    max_relative_difference: NotNegative | None
    first_bad: Counterexample | None
    meaning: str | None = Field(description="what the disagreement looks like")
    at: list[FormulaPoint] = Field([], description="the formula at each x")


class JudgedLine(Record):
    """A line of a file of formulas, and whether it is the derivative."""

    line: Annotated[int, Field(ge=1)]
    formula: str = Field(description="as typed")
    verdict: Literal["right", "wrong", "cannot tell", "unreadable"]
    num_points: Count = 0
    num_bad: Count = 0
    first_bad: Counterexample | None = None
    meaning: str | None = Field(description="what the disagreement looks like, or the mistake")


class Curve(Record):
    """The function over the pieces of its domain, with null between two of them."""

    x: Values
    f: Values
    derivative: Values
    formula: Values | None = Field(None, description="null where none is judged")

    @model_validator(mode="after")
    def _require_lengths(self) -> Self:
        lists = {"f": self.f, "derivative": self.derivative, "formula": self.formula}
        require_lengths(len(self.x), lists)
        return self


class Results(experiment.Results):
    """The derivative by every method; x and f are numbers for one x, lists for a list of x."""

    OBSERVATIONS = "points"

    expression: str
    dtype: Literal["float64", "float32"]
    reference: Literal["symbolic", "autograd"] = Field(
        "symbolic", description="the method that the others are compared with"
    )
    symbolic_note: str | None = Field(
        None, description="why SymPy does not give f'; null where it does"
    )
    x: float | list[float]
    f: float | list[float]
    derivative: Derivative
    max_relative_error: NotNegative | None
    latex: str = Field(description="the derivation as an align* environment")
    derivation: list[Term]
    points: list[Point] = Field(min_length=1)
    gradcheck: Gradcheck
    formula: Judgement | None
    formulas: list[JudgedLine] = Field([], description="those of a file, in its order")
    domain: list[Piece] = Field(
        description="pieces of the range on which f is defined, [low, high] each"
    )
    curve: Curve

    @model_validator(mode="after")
    def _require_a_value_for_each_point(self) -> Self:
        num_points = sum(point.note is None for point in self.points)
        for i, term in enumerate(self.derivation):
            lists = {"value": term.value, "autograd": term.autograd}
            require_lengths(
                num_points, {f"derivation[{i}].{key}": values for key, values in lists.items()}
            )
        return self
