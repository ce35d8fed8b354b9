"""Lists of layers, drawn at random, with an input for which they are possible."""

from typing import NamedTuple

from hypothesis import strategies as st

from midterm_cli.layers.schema import Conv, Flatten, Layer, Linear, Pool, Relu
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
    return Pool(
        type="pool",
        kind=kind,
        kernel_size=kernel_size,
        stride=draw(st.none() | st.integers(1, 2)),
        padding=draw(st.integers(0, kernel_size // 2)),
        ceil_mode=draw(st.booleans()),
    )


@st.composite
def _linear(draw: st.DrawFn) -> Linear:
    return Linear(type="linear", out_features=draw(st.integers(1, 6)), bias=draw(st.booleans()))


@st.composite
def stacks(draw: st.DrawFn) -> Stack:
    """Any kind of layer at any place where it is possible, over one axis or two."""
    num_axes = draw(st.sampled_from([1, 2]))
    in_shape = (draw(st.integers(1, 4)), *(draw(st.integers(1, 9)) for _ in range(num_axes)))
    layers: list[Layer] = []
    channels, sizes = in_shape[0], in_shape[1:]
    for _ in range(draw(st.integers(1, 7))):
        possible: list[st.SearchStrategy[Layer]] = [st.just(Relu(type="relu"))]
        if sizes:
            possible += [_conv(channels, sizes), _pool(sizes), st.just(Flatten(type="flatten"))]
        else:
            possible += [_linear()]
        layers.append(draw(st.one_of(possible)))
        after = walk(layers, in_shape[0], in_shape[1:])[-1].after
        channels, sizes = after.channels, after.sizes
    return Stack(layers, in_shape)
