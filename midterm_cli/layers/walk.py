"""A walk through the layers of a network: shapes, costs and receptive fields, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
    norm_cost,
    output_size_steps,
    output_sizes,
    pool_cost,
    product_step,
)
from midterm_cli.layers.schema import (
    Activation,
    Conv,
    Dropout,
    Flatten,
    Gelu,
    GroupNorm,
    Identity,
    Layer,
    LayerNorm,
    LeakyRelu,
    Linear,
    Norm,
    Pool,
    Relu,
    Sigmoid,
    Tanh,
)

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
        """Whether some layer has read all of the map, so that all outputs see the same."""
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
        operations: what else is counted; of dropout none, as in evaluation.
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
        case GroupNorm() | LayerNorm():
            return _norm(layer, before)
        case Dropout() | Relu() | LeakyRelu() | Tanh() | Sigmoid() | Gelu() | Identity():
            operations, formula = _of_each_value(layer, prod(before.shape))
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


def _norm(layer: Norm, before: FeatureMap) -> LayerCost:
    groups = layer.num_groups if isinstance(layer, GroupNorm) else 1
    values, per_channel = prod(before.shape), isinstance(layer, GroupNorm)
    if before.channels % groups:
        raise UserError(
            f"num_groups = {groups} does not divide its {before.channels} channels: "
            "change one of them so that the channels are a multiple of num_groups"
        )
    if values == groups:
        raise UserError(
            "it would normalise each value by itself, which makes all of them 0: "
            + ("lower num_groups" if groups > 1 else "leave it out")
        )
    if before.row and not before.mixed and (values // groups) % prod(before.row):
        raise UserError(
            f"its groups of {values // groups} values are parts of a map of {prod(before.row)}: "
            "put it before the flatten layer, or lower num_groups"
        )
    scales = before.channels if per_channel else values
    parameters = 2 * scales * layer.affine
    operations, steps = norm_cost(values, groups, layer.affine)
    fields, widened = _seeing_all(before)
    unit = "channel" if per_channel else "value"
    formulas = (
        f"normalised together: {values}/{groups} = {values // groups} values",
        f"parameters: 2·{scales} = {parameters}, a scale and a shift for each {unit}"
        if layer.affine
        else "parameters: 0, not affine",
        *steps,
        *widened,
    )
    after = replace(before, fields=fields)
    return LayerCost(
        layer, before, after, parameters=parameters, operations=operations, formulas=formulas
    )


def _of_each_value(layer: Dropout | Activation, values: int) -> tuple[Operations, str]:
    """Operations, and their formula."""
    match layer:
        case Relu():
            return Operations(comparisons=values), f"comparisons with 0: {values}, one a value"
        case LeakyRelu():
            return (
                Operations(comparisons=values, multiplications=values),
                f"comparisons and multiplications: {values} each, max(x, {layer.negative_slope:g}x)"
                " of each value",
            )
        case Tanh() | Sigmoid():
            return Operations(functions=values), f"{layer.type}: {values}, one a value"
        case Gelu():
            return (
                Operations(multiplications=values, functions=values),
                f"Φ(x) and multiplications with it: {values} each, one a value",
            )
        case Dropout():
            return Operations(), "in evaluation nothing is done"
        case Identity():
            return Operations(), "nothing is done"


def _seeing_all(before: FeatureMap) -> tuple[tuple[ReceptiveField, ...], tuple[str, ...]]:
    """The field of what reads all of a map, or of a row that was one, and formulas."""
    if before.mixed:
        return before.fields, ()
    sizes = before.sizes or before.row
    assert sizes is not None
    fields = tuple(f.through_all(n) for f, n in zip(before.fields, sizes, strict=True))
    widened = (
        f"receptive field: all {n} outputs along an axis, {f.size} + ({n} - 1)·{f.jump} = "
        f"{wide.size}"
        for f, wide, n in zip(before.fields, fields, sizes, strict=True)
    )
    return fields, tuple(dict.fromkeys(widened))


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
    fields, widened = _seeing_all(before)
    formulas = (*cost.steps[:2], *widened)
    after = FeatureMap(layer.out_features, (), fields, before.row)
    return LayerCost(layer, before, after, (), cost.parameters, cost.macs, formulas=formulas)
