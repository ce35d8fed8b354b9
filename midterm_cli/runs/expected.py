"""The expectations on finished runs: configs/reference/expected.yaml, or a file like it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from midterm_cli.config import yaml
from midterm_cli.config.explain import explain
from midterm_cli.config.presets import preset_path
from midterm_cli.errors import UserError
from midterm_cli.registry import EXPERIMENTS
from midterm_cli.text import did_you_mean, printable

Scalar = str | int | float | bool | None
Step = str | int | dict[str, Scalar]

EVERY = "*"
"""A step of a path that goes to every value of a mapping or a list."""

_KINDS = ("equals", "within", "near", "mean_over_seeds")

# Far from where arithmetic on them would overflow.
Number = Annotated[float, Field(ge=-1e100, le=1e100)]
Positive = Annotated[float, Field(gt=0, le=1e100)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Near(_Strict):
    """A number known to within a tolerance."""

    value: Number
    tolerance: Positive = Field(description="absolute")


class SeedMean(_Strict):
    """A mean over seeds, and how far one seed strays from another."""

    mean: Number
    seeds: int = Field(ge=1, description="behind the mean; 1 for a single published run")
    sd: Positive = Field(description="standard deviation of one seed")
    sd_seeds: int = Field(ge=2, description="behind the standard deviation")


class Check(_Strict):
    """One number or word of a run's results, and what it must be."""

    name: str = Field(min_length=1)
    at: list[Step] = Field(
        min_length=1,
        max_length=16,
        description="path in results: a key, an index, {key: value} for the rows of a list that "
        'have these values, or "*" for all',
    )
    source: str = Field(min_length=1, description="where the expectation comes from")
    equals: Scalar | list[Scalar] = None
    within: list[Number | None] | None = Field(
        None, min_length=2, max_length=2, description="[low, high]; null for an open end"
    )
    near: Near | None = None
    mean_over_seeds: SeedMean | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Check:
        # By what is written, not by what is null: `equals: null` expects a null.
        given = [kind for kind in _KINDS if kind in self.model_fields_set]
        if len(given) != 1:
            raise ValueError(f"must have one of {', '.join(_KINDS)}, got {given or 'none'}")
        if given != ["equals"] and getattr(self, given[0]) is None:
            raise ValueError(f"must have a value at {given[0]}, got null")
        if self.within is not None:
            low, high = self.within
            if low is None and high is None:
                raise ValueError("must have an end in within, got [null, null]")
            if low is not None and high is not None and low > high:
                raise ValueError(f"must have low below high in within, got [{low}, {high}]")
        return self


class Expectation(_Strict):
    """What is expected of each run of an experiment whose config has the given values."""

    name: str = Field(min_length=1)
    command: str = Field(min_length=1, description="makes such a run")
    experiment: str
    config: dict[str, Scalar | list[Scalar]]
    checks: list[Check] = Field(min_length=1)


class Expected(_Strict):
    """A whole file."""

    coverage: float = Field(
        ge=0.5, le=0.999999, description="of the intervals for means over seeds"
    )
    runs: list[Expectation] = Field(min_length=1)


def load(path: Path) -> Expected:
    """Read and validate a file of expectations.

    Raises:
        UserError: it cannot be read or used; every mistake in it on a line of its own.
    """
    values = yaml.load_file(path)
    try:
        expected = Expected.model_validate(values, strict=True)
    except ValidationError as error:
        origin = printable(path)
        raise UserError(explain(error.errors(), Expected, lambda keys: origin)) from None
    for expectation in expected.runs:
        _require_known(expectation, printable(path))
    return expected


def _require_known(expectation: Expectation, origin: str) -> None:
    """Refuse what no run can meet: such an expectation would never be checked."""
    where = f"'{printable(expectation.name)}' ({origin})"
    known = EXPERIMENTS
    if expectation.experiment not in known:
        raise UserError(
            f"no experiment is named '{printable(expectation.experiment)}' in {where}: "
            f"{did_you_mean(expectation.experiment, known)}"
        )
    keys: dict[str, Any] = yaml.load_file(preset_path(expectation.experiment))
    for key in expectation.config:
        if key not in keys:
            raise UserError(
                f"unknown key 'config.{printable(key)}' in {where}: {did_you_mean(key, keys)}"
            )
