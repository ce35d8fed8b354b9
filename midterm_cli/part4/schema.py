"""Config keys and parts of the results that several experiments of this part have."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from midterm_cli.experiment import Count, ExperimentConfig, Record
from midterm_cli.layers.arithmetic import Window, make_windows
from midterm_cli.layers.sizes import AtLeast0, AtLeast1, Channels, PerAxis

# Configs


class ConvConfig(ExperimentConfig):
    """A convolution over an image."""

    size: PerAxis[AtLeast1] = Field(description="of the input: one number, or [height, width]")
    in_channels: Channels = Field(description="channels of the input")
    out_channels: Channels = Field(description="channels of the output")
    kernel_size: PerAxis[AtLeast1] = Field(description="inputs that an output reads along an axis")
    padding: PerAxis[AtLeast0] = Field(description="zeros added on either side")


class PoolConfig(ExperimentConfig):
    """The windows of a pooling."""

    kernel_size: PerAxis[AtLeast1] = Field(description="inputs that an output reads along an axis")
    stride: PerAxis[AtLeast1] | None = Field(
        description="inputs from one window to the next; null for kernel_size"
    )
    padding: PerAxis[AtLeast0] = Field(description="positions added on either side")
    dilation: PerAxis[AtLeast1] = Field(description="inputs from one read to the next")
    ceil_mode: bool = Field(
        description="whether a last window may extend beyond the padding on the right"
    )

    def windows(self) -> tuple[Window, ...]:
        """The windows along height and width.

        Raises:
            UserError: a key has one number in a list.
        """
        return make_windows(
            2,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            ceil_mode=self.ceil_mode,
        )


# Results

AtLeastOne = Annotated[int, Field(ge=1)]
Shape = Annotated[list[AtLeastOne], Field(min_length=1)]
"""Channels and the size along each axis, or the number of values."""
ImageShape = Annotated[
    list[AtLeastOne], Field(min_length=3, max_length=3, description="[channels, height, width]")
]
Steps = Annotated[
    list[str], Field(min_length=1, description="the formulas with the numbers put in")
]


class Counts(Record):
    """What the formulas give for a layer, and what PyTorch finds."""

    output_shape: Shape
    parameters: Count
    macs: Count


class TorchCheck(Record):
    """Whether PyTorch agrees with the formulas."""

    how: str = Field(description="how PyTorch was asked")
    agrees: bool


def torch_verdict(how: str, agrees: bool) -> str:
    """A line for the terminal: whether PyTorch agrees, and how it was asked."""
    return f"PyTorch {'agrees' if agrees else 'DISAGREES'}: {how}"
