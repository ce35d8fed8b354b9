"""What `midterm module grad` is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from midterm_cli import experiment
from midterm_cli.experiment import (
    ExperimentConfig,
    FileName,
    Matrix,
    NotNegative,
    Positive,
    Record,
    Vector,
    require_lengths,
)
from midterm_cli.part2.schema import MAX_DIMENSION, Threshold
from midterm_cli.values import rows, vector

_Numbers = Annotated[list[float], Field(min_length=1)]
MAX_ENTRIES = 64
"""Of a gradient, up to which a finite difference is taken for each."""
NUM_DIRECTIONS = 16
"""Random ones, of the finite differences where a gradient has more entries."""

_Rows = Annotated[list[list[float]], Field(min_length=1)]


def _or_file(read: Callable[[object], object]) -> Callable[[object], object]:
    """Read numbers, and refuse what is neither numbers nor the name of a file of them."""

    def read_or_file(value: object) -> object:
        found = read(value)
        if isinstance(found, str) and Path(found).suffix not in (".npy", ".csv"):
            raise ValueError(f"must be numbers, or a .npy or .csv file, got {found!r}")
        return found

    return read_or_file


class Config(ExperimentConfig):
    """Which threshold, M and x, and in which arithmetic."""

    GIVES_WAY: ClassVar[Mapping[str, Sequence[str]]] = {"dimension": ("matrix", "x")}

    dtype: Literal["float64", "float32"] = Field(description="arithmetic of the module")
    threshold: Threshold = Field(description="T of the soft-threshold")
    dimension: int | None = Field(
        ge=1, le=MAX_DIMENSION, description="d; null to take it from matrix or x"
    )
    max_condition_number: float = Field(
        ge=1, le=1e15, description="a random M stays within it, a given M above it is warned about"
    )
    matrix: Annotated[FileName | _Rows | None, BeforeValidator(_or_file(rows))] = Field(
        description="M: a .npy or .csv file, the rows themselves, such as 2 1; 1 -1, or null for a "
        "random one"
    )
    x: Annotated[FileName | _Numbers | None, BeforeValidator(_or_file(vector))] = Field(
        description="x: a .npy or .csv file, the values themselves, such as 3 4, or null for a "
        "random one"
    )

    @property
    def input_files(self) -> list[Path]:
        """The files of M and x."""
        return [Path(given) for given in (self.matrix, self.x) if isinstance(given, str)]

    @property
    def absolute(self) -> dict[str, str]:
        """The files of M and x."""
        given = {"matrix": self.matrix, "x": self.x}
        return {key: str(Path(it).absolute()) for key, it in given.items() if isinstance(it, str)}


class Check(Record):
    """A gradient by autograd against another way to compute it."""

    max_difference: NotNegative
    relative: NotNegative | None = Field(
        description="to the largest entry of the gradient; null where that is 0"
    )
    tolerance: NotNegative
    agrees: bool
    undecided: bool = Field(
        False, description="whether the tolerance allows the difference, but decides nothing"
    )


class GradientChecks(Record):
    """One gradient by autograd against each other way."""

    closed_form: Check
    finite_differences: Check
    double_precision: Check | None = Field(None, description="null where the dtype is float64")


class Checks(Record):
    """Each gradient by autograd against each other way."""

    grad_x: GradientChecks
    grad_M: GradientChecks
    grad_M_symmetric: GradientChecks

    def each(self) -> Iterator[tuple[str, str, Check]]:
        """The gradient, what it is checked against, and the check."""
        for gradient, checks in self:
            for way, check in checks:
                if check is not None:
                    yield gradient, way.replace("_", " "), check


class Results(experiment.Results):
    """Vectors of length d, and matrices as lists of d rows."""

    threshold: Positive
    dtype: Literal["float64", "float32"]
    x: Vector
    M: Matrix
    Mx: Vector
    g: Vector
    phi: NotNegative
    grad_x: Vector
    grad_M: Matrix = Field(description="M free")
    grad_M_symmetric: Matrix = Field(description="on symmetric matrices")
    condition_number: NotNegative
    checks: Checks

    @model_validator(mode="after")
    def _of_one_dimension(self) -> Self:
        dimension = len(self.x)
        matrices = {
            "M": self.M,
            "grad_M": self.grad_M,
            "grad_M_symmetric": self.grad_M_symmetric,
        }
        require_lengths(dimension, {"Mx": self.Mx, "g": self.g, "grad_x": self.grad_x})
        require_lengths(dimension, matrices)
        require_lengths(dimension, {f"{key}[0]": rows[0] for key, rows in matrices.items()})
        return self
