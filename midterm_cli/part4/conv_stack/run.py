"""Follow a network layer by layer: shapes and costs, and which inputs reach one output."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from math import prod

import numpy as np

from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Output
from midterm_cli.layers import build
from midterm_cli.layers.arithmetic import AXES, Operations, ReceptiveField, Window, crossed, places
from midterm_cli.layers.schema import (
    Conv,
    Dropout,
    Gelu,
    GroupNorm,
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
from midterm_cli.layers.sizes import per_axis
from midterm_cli.layers.walk import FeatureMap, LayerCost, walk
from midterm_cli.part4 import by_torch
from midterm_cli.part4.conv_stack.schema import Config, LayerRow, Level, Results, Trace
from midterm_cli.part4.schema import Counts, TorchCheck


def run(config: Config, context: Context) -> Output:
    """Walk through the layers, trace one output to its inputs, and compare both with PyTorch.

    Raises:
        UserError: a layer is impossible, or the input or the position is not there.
    """
    sizes, words = config.sizes, config.words
    costs = walk(config.layers, config.channels, sizes)
    maps = _maps(costs)
    position = _position(config, maps[-1].after.sizes if maps else sizes)
    levels = trace(maps, sizes, position)
    # Gradients need the shapes to be right.
    wrong = _compare_layers(config, sizes, costs) or _compare_trace(maps, sizes, levels)
    macs = sum(cost.macs for cost in costs)
    output = costs[-1].after.shape
    results = Results(
        input_shape=[config.channels, *sizes],
        words=words,
        output_shape=output,
        values=prod(output),
        parameters=sum(cost.parameters for cost in costs),
        macs=macs,
        flops=2 * macs,
        operations=_total([cost.operations for cost in costs]),
        counted=_counted(config.layers),
        layers=[_row(number, cost) for number, cost in enumerate(costs, 1)],
        trace=Trace(position=list(position), levels=levels, words=_reached(words, levels)),
        stride_one=_with_stride_one(config, sizes, words, maps, position),
        steps=[
            f"layer {number} ({cost.layer.type}), {formula}"
            for number, cost in enumerate(costs, 1)
            for formula in cost.formulas
        ],
        torch=TorchCheck(
            how="torch.nn layers on the meta device; MACs by FlopCounterMode, 2 FLOPs each; inputs "
            "that reach the output by gradients, along each axis",
            agrees=not wrong,
        ),
    )
    return Output(results, failed=bool(wrong), warnings=wrong)


def _maps(costs: Sequence[LayerCost]) -> list[LayerCost]:
    """The layers of a map in which an output reads more than one input: windows, and norms."""
    of_maps = takewhile(lambda cost: cost.after.sizes, costs)
    return [cost for cost in of_maps if cost.windows or isinstance(cost.layer, Norm)]


def _total(operations: Sequence[Operations]) -> Operations:
    kinds = Operations.model_fields
    return Operations(**{kind: sum(getattr(one, kind) for one in operations) for kind in kinds})


# What stands in the results on the operations of a layer.
_COUNTED = {
    Relu: "a ReLU is a comparison",
    LeakyRelu: "a leaky ReLU is a comparison and a multiplication",
    Tanh: "a tanh is a function",
    Sigmoid: "a sigmoid is a function",
    Gelu: "a GELU is a function and a multiplication",
    GroupNorm: "a norm is its mean, variance, scale and shift, its square roots functions",
    LayerNorm: "a norm is its mean, variance, scale and shift, its square roots functions",
    Dropout: "dropout is nothing, as in evaluation",
}


def _counted(layers: Sequence[Layer]) -> str:
    kinds = {type(layer) for layer in layers}
    always = ("biases in parameters, not in MACs", "FLOPs are two a MAC")
    return "; ".join(
        dict.fromkeys((*always, *(text for kind, text in _COUNTED.items() if kind in kinds)))
    )


def _position(config: Config, sizes: Sequence[int]) -> tuple[int, ...]:
    if config.position is None:
        return tuple(size // 2 for size in sizes)
    position = per_axis("position", config.position, len(sizes))
    for axis, value, size in zip(AXES[len(sizes)], position, sizes, strict=True):
        if value >= size:
            raise UserError(
                f"position {value} along the {axis}, but the last map has {size}: "
                f"choose 0 to {size - 1}"
            )
    return position


# The trace


def trace(maps: Sequence[LayerCost], sizes: Sequence[int], position: Sequence[int]) -> list[Level]:
    """Follow one output back to the inputs that it depends on.

    Args:
        maps: the layers with windows and the norms, from the input on.
        sizes: of the input along each axis.
        position: of an output of the last of them.

    Returns:
        The input, then the output of each layer.
    """
    positions = [[along] for along in position]
    levels = []
    for cost in reversed(maps):
        levels.append(_level(describe(cost), cost.after, positions, cost.windows))
        if cost.windows:
            positions = [
                reads_of_all(along, size, window)
                for along, size, window in zip(
                    positions, cost.before.sizes, cost.windows, strict=True
                )
            ]
        else:  # a norm reads all of the map, if any of its outputs counts
            positions = [
                list(range(size)) if along else []
                for along, size in zip(positions, cost.before.sizes, strict=True)
            ]
    start = FeatureMap(1, tuple(sizes), tuple(ReceptiveField() for _ in sizes))
    levels.append(_level("input", start, positions, ()))
    return levels[::-1]


def reads_of_all(positions: Sequence[int], size: int, window: Window) -> list[int]:
    """Inputs along an axis that any of these outputs reads, in order."""
    starts = np.array(positions, dtype=np.int64) * window.stride - window.padding
    reached = np.zeros(size, dtype=bool)
    for offset in range(0, window.span, window.dilation):
        inputs = starts + offset
        reached[inputs[(inputs >= 0) & (inputs < size)]] = True
    found: list[int] = reached.nonzero()[0].tolist()
    return found


def _level(
    name: str,
    after: FeatureMap,
    positions: Sequence[Sequence[int]],
    windows: Sequence[Window],
) -> Level:
    return Level(
        name=name,
        sizes=list(after.sizes),
        centre=[field.centre for field in after.fields],
        jump=[field.jump for field in after.fields],
        receptive_field=[field.size for field in after.fields],
        shared=[field.shared for field in after.fields],
        positions=[list(along) for along in positions],
        windows=[
            [window.kernel_size, window.stride, window.padding, window.dilation]
            for window in windows
        ],
    )


def _reached(words: Sequence[str] | None, levels: Sequence[Level]) -> list[str] | None:
    return None if words is None else [words[i] for i in levels[0].positions[0]]


def _with_stride_one(
    config: Config,
    sizes: tuple[int, ...],
    words: Sequence[str] | None,
    maps: Sequence[LayerCost],
    position: Sequence[int],
) -> Trace | None:
    """The same network with every stride 1, its output over the same place.

    None where it is so already, and where its maps would be too large.
    """
    layers = [
        layer.model_copy(update={"stride": 1}) if isinstance(layer, Conv | Pool) else layer
        for layer in takewhile(lambda layer: layer.type != "flatten", config.layers)
    ]
    strides = [window.stride for cost in maps for window in cost.windows]
    if max(strides, default=1) == 1:
        return None
    try:
        plain = _maps(walk(layers, config.channels, sizes))
    except UserError:
        return None
    over = [places(_along(maps, axis))[-1].middle(position[axis]) for axis in range(len(sizes))]
    nearest = [
        places(_along(plain, axis))[-1].nearest(place, plain[-1].after.sizes[axis])
        for axis, place in enumerate(over)
    ]
    levels = trace(plain, sizes, nearest)
    return Trace(position=nearest, levels=levels, words=_reached(words, levels))


def _along(maps: Sequence[LayerCost], axis: int) -> list[Window | None]:
    """The window of each layer along an axis; None for a norm."""
    return [cost.windows[axis] if cost.windows else None for cost in maps]


# The layers


def _row(number: int, cost: LayerCost) -> LayerRow:
    fields = cost.after.fields
    return LayerRow(
        layer=number,
        type=cost.layer.type,
        description=describe(cost),
        output_shape=cost.after.shape,
        values=prod(cost.after.shape),
        parameters=cost.parameters,
        macs=cost.macs,
        operations=cost.operations,
        receptive_field=[field.size for field in fields],
        jump=None if cost.after.mixed else [field.jump for field in fields],
        start=[field.start for field in fields],
        centre=[field.centre for field in fields],
    )


def describe(cost: LayerCost) -> str:
    """A layer in a few words: conv 5×5, stride 2."""
    layer = cost.layer
    name = layer.type.replace("_", " ")
    match layer:
        case Linear():
            return f"linear {layer.out_features}"
        case GroupNorm():
            return f"{name}, {layer.num_groups} groups"
        case Dropout():
            return f"{name} {layer.p:g}"
        case LeakyRelu():
            return f"{name} {layer.negative_slope:g}"
    if not isinstance(layer, Conv | Pool):
        return name
    name = "conv" if isinstance(layer, Conv) else f"{layer.kind} pool"
    parts = [f"{name} {'×'.join(str(window.kernel_size) for window in cost.windows)}"]
    ones = [1] * len(cost.windows)
    kernel = [window.kernel_size for window in cost.windows]
    usual = {
        "stride": ones if isinstance(layer, Conv) else kernel,
        "padding": [0] * len(cost.windows),
        "dilation": ones,
    }
    for key, left_out in usual.items():
        numbers = [getattr(window, key) for window in cost.windows]
        if numbers != left_out:
            parts.append(f"{key} {crossed(numbers)}")
    return ", ".join(parts)


# PyTorch


def _compare_layers(config: Config, sizes: Sequence[int], costs: Sequence[LayerCost]) -> list[str]:
    """A line for each shape, number of parameters or MACs that PyTorch finds to be another."""
    shape = [1, config.channels, *sizes]
    wrong = []
    for number, cost in enumerate(costs, 1):
        module = build.module(cost, "meta")
        shape, flops = by_torch.count_flops(module, shape)
        ours = Counts(output_shape=cost.after.shape, parameters=cost.parameters, macs=cost.macs)
        theirs = Counts(
            output_shape=shape[1:],
            parameters=by_torch.count_parameters(module),
            macs=flops // 2,
        )
        wrong += [f"layer {number}: {line}" for line in by_torch.disagreements(ours, theirs)]
    return wrong


def _compare_trace(
    maps: Sequence[LayerCost], sizes: Sequence[int], levels: Sequence[Level]
) -> list[str]:
    """A line for each axis along which gradients reach other inputs than the trace."""
    wrong = []
    for index, axis in enumerate(AXES[len(sizes)]):
        reached = by_torch.reached_by_gradient(
            sizes[index],
            _along(maps, index),
            [cost.after.sizes[index] for cost in maps],
            levels[-1].positions[index][0],
        )
        if reached != levels[0].positions[index]:
            wrong.append(
                f"along the {axis} the output depends on inputs {levels[0].positions[index]}, "
                f"by gradients on {reached}"
            )
    return wrong
