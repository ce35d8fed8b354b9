"""Mistakes as people read them: the key, what it must be, what it is, and where."""

from typing import Literal

import pytest
from fuzz.harness import cpu_limit
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from midterm_cli.config.explain import explain


class Layer(BaseModel):
    type: Literal["conv"]
    size: int = Field(ge=1)


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    x: float | list[float] | None = None
    name: str = Field("a", pattern="^[a-z]$", description="one small letter")
    kind: Literal["max", "average"] = "max"
    layers: list[Layer] = []
    rates: dict[str, float] = {}
    seed: int = 1

    @field_validator("seed")
    @classmethod
    def _odd(cls, seed: int) -> int:
        if seed % 2:
            return seed
        raise ValueError("must be odd" if seed == 0 else f"seed {seed} is not odd")


def mistakes(**values: object) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(values, strict=True)
    return explain(caught.value.errors(), Config, lambda keys: f"at {'.'.join(keys)}").splitlines()


@pytest.mark.parametrize(
    ("values", "mistake"),
    [
        ({"x": "a"}, "x must be a number or a list, got 'a' (at x)"),
        ({"x": [1, "a"]}, "x[1] must be a number, got 'a' (at x)"),
        ({"name": "AB"}, "name cannot be 'AB' (at name): one small letter"),
        ({"kind": "min"}, "kind must be 'max' or 'average', got 'min' (at kind)"),
        ({"nam": "b"}, "unknown key 'nam' (at nam): did you mean 'name'?"),
        ({"layers": [{"type": "conv", "size": 0}]}, "layers[0].size must be at least 1, got 0"),
        ({"layers": [{"type": "conv"}]}, "layers[0].size is missing"),
        ({"layers": [3]}, "layers[0] must hold KEY: VALUE lines, got 3 (at layers)"),
        ({"rates": {"a": "b"}}, "rates.a must be a number, got 'b' (at rates.a)"),
        # The message of a validator gets its key, unless it has it.
        ({"seed": 0}, "seed must be odd (at seed)"),
        ({"seed": 2}, "seed 2 is not odd (at seed)"),
    ],
)
def test_one_mistake_is_one_line(values: dict[str, object], mistake: str) -> None:
    [line] = mistakes(**values)
    assert line.startswith(mistake)


def test_all_are_told_at_once_up_to_a_screenful() -> None:
    assert len(mistakes(x="a", name="AB", seed=0)) == 3

    with cpu_limit():
        lines = mistakes(x=[None] * 30_000)
    assert lines[9].startswith("x[9] must be a number")
    assert lines[10:] == ["and 29,990 more mistakes"]
