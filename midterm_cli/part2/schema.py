"""Config values that both experiments of this part have."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from midterm_cli.values import number

MAX_DIMENSION = 256
"""The results hold three d × d lists of decimals, 4 MB at this d."""


def _require_room(threshold: float) -> float:
    if threshold < 1e-100:
        raise ValueError(f"must be at least 1e-100, for steps far below it, got {threshold:g}")
    return threshold


Threshold = Annotated[
    float, BeforeValidator(number), Field(gt=0, le=1e100), AfterValidator(_require_room)
]
"""T of the soft-threshold; its cube must not overflow."""
