"""What `midterm conv shape` is asked, and what it answers."""

from __future__ import annotations

from pydantic import Field

from midterm_cli import experiment
from midterm_cli.experiment import Count
from midterm_cli.layers.arithmetic import Window, make_windows
from midterm_cli.layers.sizes import AtLeast1, Channels, PerAxis
from midterm_cli.part4.schema import AtLeastOne, ConvConfig, Counts, ImageShape, Steps


class Config(ConvConfig):
    """One convolution over an image."""

    stride: PerAxis[AtLeast1] = Field(description="inputs from one window to the next")
    dilation: PerAxis[AtLeast1] = Field(description="inputs from one read to the next")
    groups: Channels = Field(description="groups of channels that do not see each other")
    bias: bool = Field(description="whether each output channel has a bias")

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
        )


class TorchCounts(Counts):
    """What PyTorch finds."""

    how: str = Field(description="how PyTorch was asked")
    agrees: bool


class Results(experiment.Results):
    """Shape and costs of one convolution."""

    input_shape: ImageShape
    output_shape: ImageShape
    values: AtLeastOne
    parameters: Count
    bias: str = Field(description="where biases are counted")
    macs: Count
    flops: Count = Field(description="two a MAC")
    steps: Steps
    torch: TorchCounts
