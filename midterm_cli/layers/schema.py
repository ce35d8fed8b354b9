"""The layers of a network as a config lists them."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from midterm_cli.layers.sizes import AtLeast0, AtLeast1, Channels, PerAxis

# A layer is a short line of a config, so keys that are mostly left alone have defaults, PyTorch's
# own. (A list replaces the packaged one as a whole: its defaults cannot stand in a file of their
# own.)


class _Layer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Eps = Annotated[float, Field(ge=0, le=1)]


class Conv(_Layer):
    """A convolution along every axis of the input."""

    type: Literal["conv"]
    out_channels: Channels = Field(description="channels of the output")
    kernel_size: PerAxis[AtLeast1] = Field(description="inputs that an output reads along an axis")
    stride: PerAxis[AtLeast1] = Field(default=1, description="inputs from one window to the next")
    padding: PerAxis[AtLeast0] = Field(default=0, description="zeros added on either side")
    dilation: PerAxis[AtLeast1] = Field(default=1, description="inputs from one read to the next")
    groups: Channels = Field(default=1, description="groups of channels that do not see each other")
    bias: bool = Field(default=True, description="whether each output channel has a bias")


class Pool(_Layer):
    """A pooling along every axis of the input."""

    type: Literal["pool"]
    kind: Literal["max", "average"] = Field(default="max", description="max or average")
    kernel_size: PerAxis[AtLeast1] = Field(description="inputs that an output reads along an axis")
    stride: PerAxis[AtLeast1] | None = Field(
        default=None, description="inputs from one window to the next; null for kernel_size"
    )
    padding: PerAxis[AtLeast0] = Field(default=0, description="positions added on either side")
    dilation: PerAxis[AtLeast1] = Field(default=1, description="of max: inputs between reads")
    ceil_mode: bool = Field(
        default=False, description="whether a last window may extend beyond the padding"
    )


class GroupNorm(_Layer):
    """Each group of channels of an example less its mean, over its standard deviation."""

    type: Literal["group_norm"]
    num_groups: Channels = Field(description="into which the channels are divided")
    affine: bool = Field(default=True, description="whether each channel has a scale and a shift")
    eps: Eps = Field(default=1e-5, description="added to the variance")


class LayerNorm(_Layer):
    """All values of an example less their mean, over their standard deviation."""

    type: Literal["layer_norm"]
    affine: bool = Field(default=True, description="whether each value has a scale and a shift")
    eps: Eps = Field(default=1e-5, description="added to the variance")


class Dropout(_Layer):
    """In training each value is 0 with probability p, and otherwise divided by 1 - p."""

    type: Literal["dropout"]
    p: Annotated[float, Field(ge=0, lt=1)] = Field(description="share of the values that are 0")


class Relu(_Layer):
    """max(0, x) of each value."""

    type: Literal["relu"]


class LeakyRelu(_Layer):
    """max(0, x) + negative_slope · min(0, x) of each value."""

    type: Literal["leaky_relu"]
    negative_slope: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.01, description="of the values below 0"
    )


class Tanh(_Layer):
    """The hyperbolic tangent of each value."""

    type: Literal["tanh"]


class Sigmoid(_Layer):
    """1 / (1 + exp(-x)) of each value."""

    type: Literal["sigmoid"]


class Gelu(_Layer):
    """x Φ(x) of each value, with the distribution function of the normal distribution."""

    type: Literal["gelu"]


class Identity(_Layer):
    """Each value as it is."""

    type: Literal["identity"]


class Flatten(_Layer):
    """All values in one row."""

    type: Literal["flatten"]


class Linear(_Layer):
    """A linear layer on a row of values."""

    type: Literal["linear"]
    out_features: Channels = Field(description="values of the output")
    bias: bool = Field(default=True, description="whether each output has a bias")


Activation: TypeAlias = Relu | LeakyRelu | Tanh | Sigmoid | Gelu | Identity
Norm: TypeAlias = GroupNorm | LayerNorm
Layer: TypeAlias = Annotated[
    Conv | Pool | Norm | Dropout | Activation | Flatten | Linear, Field(discriminator="type")
]

MAX_LAYERS = 64
"""Of a network: VGG-16 has 37."""
