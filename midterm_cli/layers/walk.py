"""A walk through the layers of a network: shapes, costs and receptive fields, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from midterm_cli.errors import UserError
from midterm_cli.layers.arithmetic import (
    Operations,
    ReceptiveField,
    Window,
    check_groups,
    conv_cost,
    field_steps,
    linear_cost,
    make_windows,
    output_size_steps,
    output_sizes,
    pool_cost,
    product_step,
)
from midterm_cli.layers.schema import Conv, Flatten, Layer, Linear, Pool, Relu

MAX_MAP = 16_384
"""Positions of a map along an axis: PyTorch counts bytes in 64 bits."""
MAX_READS = 2**22
"""Inputs that all windows along an axis read: each of them is traced, in every layer."""


@dataclass(frozen=True)
class FeatureMap:
    """The shape of what one layer gives to the next, and what it sees of the network's input.

    Attributes:
        channels: of the map; the number of values where it is flattened.
        sizes: of the map along its axes; empty where it is flattened.
        fields: receptive field of an output along each axis of the network's input.
        row: the map's sizes before it was flattened; None before that.
    """

    channels: int
    sizes: tuple[int, ...]
    fields: tuple[ReceptiveField, ...]
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
class LayerCost:
    """The shapes and costs of one layer.

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
    before: FeatureMap
    after: FeatureMap
    windows: tuple[Window, ...] = ()
    parameters: int = 0
    macs: int = 0
    operations: Operations = field(default_factory=Operations)
    formulas: tuple[str, ...] = ()


def walk(layers: Sequence[Layer], channels: int, sizes: tuple[int, ...]) -> list[LayerCost]:
    """Follow an input through the layers.

    Args:
        layers: from the input on.
        channels: of the input.
        sizes: of the input, along one axis or two.

    Raises:
        UserError: a layer is impossible, or too large; names it, and what to change.
    """
    before = FeatureMap(channels, sizes, tuple(ReceptiveField() for _ in sizes))
    costs = []
    for index, layer in enumerate(layers):
        try:
            costs.append(_pass(layer, before))
        except UserError as error:
            name = f"layer {index + 1} ({layer.type}, layers[{index}])"
            raise UserError(f"{name}: {error}") from None
        before = costs[-1].after
    return costs


def _pass(layer: Layer, before: FeatureMap) -> LayerCost:
    match layer:
        case Conv():
            return _conv(layer, before)
        case Pool():
            return _pool(layer, before)
        case Relu():
            values = prod(before.shape)
            formula = f"comparisons with 0: {values}, one a value"
            operations = Operations(comparisons=values)
            return LayerCost(layer, before, before, operations=operations, formulas=(formula,))
        case Flatten():
            return _flatten(layer, before)
        case Linear():
            return _linear(layer, before)


def _windows(layer: Conv | Pool, before: FeatureMap) -> tuple[Window, ...]:
    if not before.sizes:
        raise UserError(
            f"it needs a map, but a row of {before.channels} values comes in: "
            "put it before the flatten layer"
        )
    return make_windows(
        len(before.sizes),
        kernel_size=layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        ceil_mode=isinstance(layer, Pool) and layer.ceil_mode,
    )


def _after_windows(before: FeatureMap, channels: int, windows: Sequence[Window]) -> FeatureMap:
    fields = tuple(f.through(w) for f, w in zip(before.fields, windows, strict=True))
    sizes = output_sizes(before.sizes, windows)
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
    return FeatureMap(channels, sizes, fields)


def _conv(layer: Conv, before: FeatureMap) -> LayerCost:
    windows = _windows(layer, before)
    check_groups(before.channels, layer.out_channels, layer.groups)
    after = _after_windows(before, layer.out_channels, windows)
    kernel = [window.kernel_size for window in windows]
    cost = conv_cost(
        before.channels, layer.out_channels, layer.groups, kernel, after.sizes, layer.bias
    )
    formulas = (
        *output_size_steps(before.sizes, windows),
        product_step("values", after.shape),
        *cost.steps[:2],
        *field_steps(before.fields, windows),
    )
    return LayerCost(layer, before, after, windows, cost.parameters, cost.macs, formulas=formulas)


def _pool(layer: Pool, before: FeatureMap) -> LayerCost:
    windows = _windows(layer, before)
    if layer.kind == "average" and any(window.dilation > 1 for window in windows):
        raise UserError("dilation is of max alone, an average has none: set it to 1")
    for window in windows:
        if window.padding > window.kernel_size // 2:
            raise UserError(
                f"padding {window.padding} is beyond half of kernel_size {window.kernel_size}, "
                "which PyTorch's pooling refuses: lower it"
            )
    after = _after_windows(before, before.channels, windows)
    kernel, values = [window.kernel_size for window in windows], prod(after.shape)
    operations, steps = pool_cost(layer.kind, values, kernel)
    formulas = (
        *output_size_steps(before.sizes, windows),
        product_step("values", after.shape),
        *steps,
        *field_steps(before.fields, windows),
    )
    return LayerCost(layer, before, after, windows, operations=operations, formulas=formulas)


def _flatten(layer: Flatten, before: FeatureMap) -> LayerCost:
    if not before.sizes:
        raise UserError(f"its input is flat already, {before.channels} values: leave it out")
    after = FeatureMap(prod(before.shape), (), before.fields, row=before.sizes)
    return LayerCost(layer, before, after, formulas=(product_step("values", before.shape),))


def _linear(layer: Linear, before: FeatureMap) -> LayerCost:
    if before.sizes:
        shape = "×".join(map(str, before.shape))
        raise UserError(f"it needs a row of values, but {shape} come in: put type: flatten before")
    cost = linear_cost(before.channels, layer.out_features, layer.bias)
    fields, formulas = before.fields, cost.steps[:2]
    if not before.mixed:
        assert before.row is not None
        fields = tuple(f.through_all(n) for f, n in zip(fields, before.row, strict=True))
        widened = (
            f"receptive field: all {n} outputs along an axis, {f.size} + ({n} - 1)·{f.jump} = "
            f"{wide.size}"
            for f, wide, n in zip(before.fields, fields, before.row, strict=True)
        )
        formulas += tuple(dict.fromkeys(widened))
    after = FeatureMap(layer.out_features, (), fields, before.row)
    return LayerCost(layer, before, after, (), cost.parameters, cost.macs, formulas=formulas)
