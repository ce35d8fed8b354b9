"""Lists of layers, drawn at random, with an input for which they are possible."""

from math import prod
from typing import NamedTuple

from hypothesis import strategies as st

from midterm_cli.layers.schema import (
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
    Pool,
    Relu,
    Sigmoid,
    Tanh,
)
from midterm_cli.layers.walk import walk


class Stack(NamedTuple):
    layers: list[Layer]
    in_shape: tuple[int, ...]


@st.composite
def _conv(draw: st.DrawFn, channels: int, sizes: tuple[int, ...]) -> Conv:
    groups = draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
    kernel_size = [draw(st.integers(1, min(3, size))) for size in sizes]
    return Conv(
        type="conv",
        out_channels=groups * draw(st.integers(1, 3)),
        kernel_size=kernel_size,
        stride=draw(st.integers(1, 2)),
        padding=draw(st.integers(0, 2)),
        dilation=draw(st.integers(1, 2)) if min(sizes) >= 5 else 1,
        groups=groups,
        bias=draw(st.booleans()),
    )


@st.composite
def _pool(draw: st.DrawFn, sizes: tuple[int, ...]) -> Pool:
    kind, kernel_size = draw(st.sampled_from(["max", "average"])), draw(st.integers(1, min(sizes)))
    dilations = [1, 2] if kind == "max" and 2 * kernel_size - 1 <= min(sizes) else [1]
    return Pool(
        type="pool",
        kind=kind,
        kernel_size=kernel_size,
        stride=draw(st.none() | st.integers(1, 2)),
        padding=draw(st.integers(0, kernel_size // 2)),
        dilation=draw(st.sampled_from(dilations)),
        ceil_mode=draw(st.booleans()),
    )


@st.composite
def _linear(draw: st.DrawFn) -> Linear:
    return Linear(type="linear", out_features=draw(st.integers(1, 6)), bias=draw(st.booleans()))


@st.composite
def _group_norm(draw: st.DrawFn, channels: int, positions: int, whole: int) -> GroupNorm:
    """With groups that are whole maps in a row that was one."""
    divide = [
        g
        for g in range(1, channels + 1)
        if channels % (g * whole) == 0 and channels * positions > g
    ]
    num_groups = draw(st.sampled_from(divide))
    return GroupNorm(type="group_norm", num_groups=num_groups, affine=draw(st.booleans()), eps=1e-3)


_LAYER_NORM = st.builds(LayerNorm, type=st.just("layer_norm"), affine=st.booleans())
_FLATTEN = st.just(Flatten(type="flatten"))
_OF_EACH_VALUE: list[st.SearchStrategy[Layer]] = [
    st.sampled_from([Relu(type="relu"), Tanh(type="tanh"), Sigmoid(type="sigmoid")]),
    st.sampled_from([Gelu(type="gelu"), Identity(type="identity"), LeakyRelu(type="leaky_relu")]),
    st.builds(Dropout, type=st.just("dropout"), p=st.sampled_from([0, 0.5])),
]


@st.composite
def stacks(draw: st.DrawFn) -> Stack:
    """Any kind of layer at any place where it is possible, over one axis or two."""
    num_axes = draw(st.sampled_from([1, 2]))
    in_shape = (draw(st.integers(1, 4)), *(draw(st.integers(1, 9)) for _ in range(num_axes)))
    layers: list[Layer] = []
    channels, sizes, whole = in_shape[0], in_shape[1:], 1
    for _ in range(draw(st.integers(1, 7))):
        possible: list[st.SearchStrategy[Layer]] = [*_OF_EACH_VALUE]
        if channels * prod(sizes) > 1:
            possible += [_group_norm(channels, prod(sizes), whole), _LAYER_NORM]
        if sizes:
            possible += [_conv(channels, sizes), _pool(sizes), _FLATTEN]
        else:
            possible += [_linear()]
        layers.append(draw(st.one_of(possible)))
        after = walk(layers, in_shape[0], in_shape[1:])[-1].after
        channels, sizes = after.channels, after.sizes
        whole = 1 if after.mixed or after.row is None else prod(after.row)
    return Stack(layers, in_shape)
