"""The layers of a network as a config writes them, and the walk through them, shape by shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Key

from midterm_cli.errors import UserError
from midterm_cli.part4.arithmetic import (
    Field,
    Window,
    average_pool_operations,
    check_groups,
    conv_cost,
    field_steps,
    linear_cost,
    max_pool_operations,
    output_size_steps,
    output_sizes,
    pool_steps,
    product_step,
)
from midterm_cli.part4.sizes import AtLeast0, AtLeast1, Channels, PerAxis, per_axis

MAX_MAP = 16_384
"""Positions of a map along an axis: PyTorch counts the bytes of what follows in 64 bits."""
MAX_READS = 2**22
"""Inputs that all windows along an axis read: each of them is traced, in every layer."""

# A layer is a short line of a config, so what is mostly left alone has a default, PyTorch's own.
# (A list replaces the packaged one as a whole: its defaults cannot stand in a file of their own.)


class _Layer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Conv(_Layer):
    """A convolution along every axis of the input."""

    type: Literal["conv"]
    out_channels: Channels = Key(description="channels of the output")
    kernel_size: PerAxis[AtLeast1] = Key(description="inputs that an output reads along an axis")
    stride: PerAxis[AtLeast1] = Key(default=1, description="inputs from one window to the next")
    padding: PerAxis[AtLeast0] = Key(default=0, description="zeros added on either side")
    dilation: PerAxis[AtLeast1] = Key(default=1, description="inputs from one read to the next")
    groups: Channels = Key(default=1, description="groups of channels that do not see each other")
    bias: bool = Key(default=True, description="whether each output channel has a bias")


class Pool(_Layer):
    """A pooling along every axis of the input."""

    type: Literal["pool"]
    kind: Literal["max", "average"] = Key(default="max", description="max or average")
    kernel_size: PerAxis[AtLeast1] = Key(description="inputs that an output reads along an axis")
    stride: PerAxis[AtLeast1] | None = Key(
        default=None, description="inputs from one window to the next; null for kernel_size"
    )
    padding: PerAxis[AtLeast0] = Key(default=0, description="positions added on either side")
    dilation: PerAxis[AtLeast1] = Key(default=1, description="of max: inputs between reads")
    ceil_mode: bool = Key(default=False, description="whether a last window may stand out")


class Relu(_Layer):
    """max(0, x) of each value."""

    type: Literal["relu"]


class Flatten(_Layer):
    """All values in one row."""

    type: Literal["flatten"]


class Linear(_Layer):
    """A linear layer on a row of values."""

    type: Literal["linear"]
    out_features: Channels = Key(description="values of the output")
    bias: bool = Key(default=True, description="whether each output has a bias")


Layer: TypeAlias = Annotated[Conv | Pool | Relu | Flatten | Linear, Key(discriminator="type")]


@dataclass(frozen=True)
class State:
    """What stands between two layers.

    Attributes:
        channels: of the map; the number of values where it is flattened.
        sizes: of the map along its axes; empty where it is flattened.
        fields: receptive field of an output along each axis of the network's input.
        row: the map's sizes before it was flattened; None before that.
    """

    channels: int
    sizes: tuple[int, ...]
    fields: tuple[Field, ...]
    row: tuple[int, ...] | None = None

    @property
    def shape(self) -> list[int]:
        """Channels and sizes, or the number of values."""
        return [self.channels, *self.sizes]

    @property
    def mixed(self) -> bool:
        """Whether a linear layer has read all of the map, so that all outputs see the same."""
        return all(field.jump == 0 for field in self.fields)


@dataclass(frozen=True)
class Step:
    """One layer, and what it makes of its input.

    Attributes:
        layer: as configured.
        before: what comes in.
        after: what comes out.
        windows: along each axis; empty for a layer without.
        parameters: weights and biases.
        macs: multiplications with their additions, biases not counted.
        operations: what else is counted: comparisons, additions, divisions.
        formulas: with the numbers put in.
    """

    layer: Layer
    before: State
    after: State
    windows: tuple[Window, ...] = ()
    parameters: int = 0
    macs: int = 0
    operations: dict[str, int] = field(default_factory=dict)
    formulas: tuple[str, ...] = ()


def walk(layers: Sequence[Layer], channels: int, sizes: tuple[int, ...]) -> list[Step]:
    """Follow an input through the layers.

    Args:
        layers: from the input on.
        channels: of the input.
        sizes: of the input, along one axis or two.

    Raises:
        UserError: a layer is impossible, or too large; names it, and what to change.
    """
    state = State(channels, sizes, tuple(Field() for _ in sizes))
    steps = []
    for index, layer in enumerate(layers):
        try:
            steps.append(_take(layer, state))
        except UserError as error:
            name = f"layer {index + 1} ({layer.type}, layers[{index}])"
            raise UserError(f"{name}: {error}") from None
        state = steps[-1].after
    return steps


def _take(layer: Layer, state: State) -> Step:
    match layer:
        case Conv():
            return _conv(layer, state)
        case Pool():
            return _pool(layer, state)
        case Relu():
            values = prod(state.shape)
            formula = f"comparisons with 0: {values}, one a value"
            return Step(
                layer, state, state, operations={"comparisons": values}, formulas=(formula,)
            )
        case Flatten():
            return _flatten(layer, state)
        case Linear():
            return _linear(layer, state)


def _windows(layer: Conv | Pool, state: State, ceil_mode: bool = False) -> tuple[Window, ...]:
    if not state.sizes:
        raise UserError(
            f"it needs a map, but a row of {state.channels} values comes in: "
            "put it before the flatten layer"
        )
    stride = layer.kernel_size if layer.stride is None else layer.stride
    kernels, strides, paddings, dilations = (
        per_axis(key, value, len(state.sizes))
        for key, value in (
            ("kernel_size", layer.kernel_size),
            ("stride", stride),
            ("padding", layer.padding),
            ("dilation", layer.dilation),
        )
    )
    return tuple(
        Window(*along, ceil_mode=ceil_mode)
        for along in zip(kernels, strides, paddings, dilations, strict=True)
    )


def _moved(state: State, channels: int, windows: Sequence[Window]) -> State:
    """The state behind windows."""
    fields = tuple(f.through(w) for f, w in zip(state.fields, windows, strict=True))
    sizes = output_sizes(state.sizes, windows)
    if max(sizes) > MAX_MAP:
        raise UserError(
            f"its map has {max(sizes):,} positions along an axis, and up to {MAX_MAP:,} are taken: "
            "lower padding"
        )
    for size, window in zip(sizes, windows, strict=True):
        if size * window.kernel_size > MAX_READS:
            raise UserError(
                f"its {size:,} windows along an axis read {window.kernel_size:,} inputs each, and "
                f"up to {MAX_READS:,} in all are taken: lower kernel_size or raise stride"
            )
    return State(channels, sizes, fields)


def _conv(layer: Conv, state: State) -> Step:
    windows = _windows(layer, state)
    check_groups(state.channels, layer.out_channels, layer.groups)
    after = _moved(state, layer.out_channels, windows)
    kernel = [window.kernel_size for window in windows]
    cost = conv_cost(
        state.channels, layer.out_channels, layer.groups, kernel, after.sizes, layer.bias
    )
    formulas = (
        *output_size_steps(state.sizes, windows),
        product_step("values", after.shape),
        *cost.steps[:2],
        *field_steps(state.fields, windows),
    )
    return Step(layer, state, after, windows, cost.parameters, cost.macs, formulas=formulas)


def _pool(layer: Pool, state: State) -> Step:
    windows = _windows(layer, state, layer.ceil_mode)
    if layer.kind == "average" and any(window.dilation > 1 for window in windows):
        raise UserError("dilation is of max alone, an average has none: set it to 1")
    for window in windows:
        if window.padding > window.kernel_size // 2:
            raise UserError(
                f"padding {window.padding} is beyond half of kernel_size {window.kernel_size}, "
                "which PyTorch's pooling refuses: lower it"
            )
    after = _moved(state, state.channels, windows)
    kernel, values = [window.kernel_size for window in windows], prod(after.shape)
    count = max_pool_operations if layer.kind == "max" else average_pool_operations
    operations = count(values, kernel)
    formulas = (
        *output_size_steps(state.sizes, windows),
        product_step("values", after.shape),
        *pool_steps(values, kernel, operations),
        *field_steps(state.fields, windows),
    )
    return Step(layer, state, after, windows, operations=operations, formulas=formulas)


def _flatten(layer: Flatten, state: State) -> Step:
    if not state.sizes:
        raise UserError(f"its input is flat already, {state.channels} values: leave it out")
    after = State(prod(state.shape), (), state.fields, row=state.sizes)
    return Step(layer, state, after, formulas=(product_step("values", state.shape),))


def _linear(layer: Linear, state: State) -> Step:
    if state.sizes:
        shape = "×".join(map(str, state.shape))
        raise UserError(f"it needs a row of values, but {shape} come in: put type: flatten before")
    cost = linear_cost(state.channels, layer.out_features, layer.bias)
    fields, formulas = state.fields, list(cost.steps[:2])
    if not state.mixed:
        assert state.row is not None
        fields = tuple(f.through_all(n) for f, n in zip(fields, state.row, strict=True))
        formulas += [
            f"receptive field: all {n} outputs along an axis, {f.size} + ({n} - 1)·{f.jump} = "
            f"{after.size}"
            for f, after, n in zip(state.fields, fields, state.row, strict=True)
        ]
        formulas = list(dict.fromkeys(formulas))
    after_state = State(layer.out_features, (), fields, state.row)
    return Step(layer, state, after_state, (), cost.parameters, cost.macs, formulas=tuple(formulas))
