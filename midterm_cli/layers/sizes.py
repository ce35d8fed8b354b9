"""Config values that are one number for every axis, or a number for each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BeforeValidator, Discriminator, Field, Tag

from midterm_cli.errors import UserError
from midterm_cli.text import shown

MAX_SIZE = 4096
"""Of an input, a kernel, a stride, a padding and a dilation, along one axis."""
MAX_CHANNELS = 65_536
"""With MAX_SIZE it keeps every count of weights and values below 2⁶³."""

AtLeast1 = Annotated[int, Field(ge=1, le=MAX_SIZE)]
AtLeast0 = Annotated[int, Field(ge=0, le=MAX_SIZE)]
Channels = Annotated[int, Field(ge=1, le=MAX_CHANNELS)]


def _split(value: Any) -> Any:
    """Read "20x30", "20,30" and "20 30" as [20, 30], and "20" as 20.

    Raises:
        ValueError: it is other text.
    """
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"\d{1,9}", value.strip()):
        return int(value)
    if pair := re.fullmatch(r"(\d{1,9})(?:\s*[x×,]\s*|\s+)(\d{1,9})", value.strip()):
        return [int(pair[1]), int(pair[2])]
    raise ValueError(f"must be a whole number, or two such as 20x30, got {shown(value)}")


def _kind(value: Any) -> str:
    return "each" if isinstance(value, list) else "all"


_T = TypeVar("_T")

# Told apart by hand: a plain union would report a wrong number in a list as no integer, too.
PerAxis: TypeAlias = Annotated[
    Annotated[_T, Tag("all")] | Annotated[list[_T], Field(min_length=1, max_length=2), Tag("each")],
    Discriminator(_kind),
    BeforeValidator(_split),
]
"""One number for every axis, or [h, w], also as the text hxw or h,w; [n] for a single axis."""


def per_axis(key: str, value: int | Sequence[int], num_axes: int) -> tuple[int, ...]:
    """The number for each axis.

    Args:
        key: what it is, for the message.
        value: one number, or one for each axis.
        num_axes: of the input.

    Raises:
        UserError: there are more numbers, or fewer, than axes.
    """
    if isinstance(value, int):
        return (value,) * num_axes
    if len(value) != num_axes:
        wanted = "a single number" if num_axes == 1 else "one number, or two as [h, w]"
        raise UserError(f"{key} is {list(value)}, but the input has {num_axes} axes: give {wanted}")
    return tuple(value)
