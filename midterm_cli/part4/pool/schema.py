"""What `midterm pool cost` is asked, and what it answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from midterm_cli import experiment
from midterm_cli.experiment import Count, Record
from midterm_cli.layers.sizes import AtLeast1, Channels, PerAxis
from midterm_cli.part4.schema import AtLeastOne, ImageShape, PoolConfig, Shape, Steps


class Config(PoolConfig):
    """One pooling over an image."""

    kind: Literal["max", "average"] = Field(
        description="what is taken of each window: max or average"
    )
    size: PerAxis[AtLeast1] = Field(description="of the input: one number, or [height, width]")
    channels: Channels = Field(description="channels of the input, and of the output")


class PoolCounts(Record):
    """What the formulas give, and what PyTorch finds."""

    output_shape: Shape
    operations: Count


class TorchPoolCounts(PoolCounts):
    """What PyTorch finds."""

    how: str = Field(description="how PyTorch was asked")
    agrees: bool


class Results(experiment.Results):
    """Shape and operations of one pooling."""

    kind: str
    input_shape: ImageShape
    output_shape: ImageShape
    values: AtLeastOne
    operations: Count
    comparisons: Count = 0
    additions: Count = 0
    divisions: Count = 0
    counted: str = Field(description="what is counted")
    windows_in_padding: Count = Field(description="of one channel")
    steps: Steps
    torch: TorchPoolCounts
