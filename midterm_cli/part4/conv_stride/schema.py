"""What `midterm conv stride` is asked, and what it answers."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from midterm_cli import experiment
from midterm_cli.experiment import Count, Matrix, NotNegative, Positive, Record, require_lengths
from midterm_cli.layers.sizes import AtLeast1, PerAxis, per_axis
from midterm_cli.part4.schema import AtLeastOne, ConvConfig, ImageShape, Shape, Steps, TorchCheck

MAX_STRIDES = 16


class Config(ConvConfig):
    """One convolution, under several strides, and an image to show them on."""

    strides: list[PerAxis[AtLeast1]] = Field(
        min_length=1, max_length=MAX_STRIDES, description="strides to compare, each with stride 1"
    )
    repeats: int = Field(ge=1, le=1000, description="a time is the median of so many")
    dataset: str = Field(description="as of train: a word, an .npz or .csv file, or a folder")
    image: int = Field(ge=0, description="index of the training image that is drawn")

    @field_validator("strides", mode="before")
    @classmethod
    def _no_comma(cls, value: object) -> object:
        for stride in value if isinstance(value, list) else [value]:
            if isinstance(stride, str) and "," in stride:
                parts = stride.strip("[] ").split(",")
                each = " and ".join(part.strip() for part in parts)
                pair = f"{parts[0].strip()}x{parts[1].strip()} for one, or " * (len(parts) == 2)
                raise ValueError(f"has {stride!r}: write {pair}{each}, each by itself")
        return value

    @field_validator("strides")
    @classmethod
    def _no_repeats(cls, value: list[int | list[int]]) -> list[int | list[int]]:
        if len({per_axis("strides", stride, 2) for stride in value}) < len(value):
            raise ValueError("has a stride twice")
        return value


class StrideCost(Record):
    """The convolution under one stride."""

    output_shape: Shape
    values: AtLeastOne
    macs: Count
    steps: Steps
    stride: list[AtLeastOne] = Field(min_length=2, max_length=2)
    product_of_strides: AtLeastOne
    mac_factor: Positive = Field(description="MACs of stride 1 over these")
    seconds: NotNegative
    time_factor: Positive = Field(description="seconds of stride 1 over these")


class Image(Record):
    """Rows of grey levels, 0…255, by a kernel of 3 × 3 with padding 1."""

    name: str = Field(description="of its class")
    strides: list[AtLeastOne] = Field(max_length=MAX_STRIDES + 1)
    copied: list[Matrix] = Field(description="the middle of each window, for each stride")
    averaged: list[Matrix] = Field(description="the mean of each window, for each stride")

    @model_validator(mode="after")
    def _one_for_each_stride(self) -> Self:
        require_lengths(len(self.strides), {"copied": self.copied, "averaged": self.averaged})
        return self


class Results(experiment.Results):
    """The convolution under stride 1, and in `strides` under each stride that was asked for."""

    OBSERVATIONS = "strides"
    MEASURED = frozenset({"seconds", "time_factor", "times"})

    input_shape: ImageShape
    output_shape: ImageShape
    values: AtLeastOne
    macs: Count
    seconds: NotNegative = Field(description="measured; it varies")
    times: str = Field(description="how the times were measured")
    strides: list[StrideCost] = Field(min_length=1, max_length=MAX_STRIDES)
    steps: Steps
    torch: TorchCheck
    image: Image = Field(description="what the figure shows of one image")
