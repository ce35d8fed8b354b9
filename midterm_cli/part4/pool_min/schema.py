"""What `midterm pool min` is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from midterm_cli import experiment
from midterm_cli.experiment import Count, Matrix, NotNegative, Record, require_lengths
from midterm_cli.layers.sizes import PerAxis
from midterm_cli.part4.schema import AtLeastOne, PoolConfig, Steps
from midterm_cli.values import rows

MAX_INPUT = 64
"""Rows and columns of an input: its values and gradients are all in the results."""

Row = Annotated[
    list[Annotated[float, Field(ge=-1e100, le=1e100)]], Field(min_length=1, max_length=MAX_INPUT)
]


class Config(PoolConfig):
    """The windows, and an input with one channel."""

    GIVES_WAY: ClassVar[Mapping[str, Sequence[str]]] = {"size": ("input",)}

    size: PerAxis[Annotated[int, Field(ge=1, le=MAX_INPUT)]] | None = Field(
        description="of a random input: one number, or [height, width]; null with input"
    )
    input: Annotated[
        Annotated[list[Row], Field(min_length=1, max_length=MAX_INPUT)] | None,
        BeforeValidator(rows),
    ] = Field(description="rows of numbers, such as 3 1; 2 4, or null for a random input")


class Check(Record):
    """-maxpool(-x) against a direct minimum."""

    max_difference: NotNegative
    agrees: bool


class Checks(Record):
    """-maxpool(-x) against a direct minimum of each window."""

    values: Check
    gradient: Check


class Results(experiment.Results):
    """Matrices as lists of rows."""

    input: Matrix
    output_shape: list[AtLeastOne] = Field(min_length=2, max_length=2)
    values: AtLeastOne
    operations: Count
    max_pooled: Matrix
    min_pooled: Matrix
    upstream: Matrix = Field(description="weights of the outputs in the sum that is differentiated")
    gradient: Matrix = Field(description="of that sum with respect to the input")
    tied_windows: Count
    ties: str = Field(description="how a gradient is shared where inputs tie")
    steps: Steps
    checks: Checks

    @model_validator(mode="after")
    def _of_the_output_shape(self) -> Self:
        height, width = self.output_shape
        pooled = {
            "max_pooled": self.max_pooled,
            "min_pooled": self.min_pooled,
            "upstream": self.upstream,
        }
        require_lengths(height, pooled)
        require_lengths(width, {f"{key}[0]": matrix[0] for key, matrix in pooled.items()})
        return self
