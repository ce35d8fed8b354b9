"""Shapes, costs and receptive fields: the formulas against PyTorch, on random valid and invalid."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from windows import (
    Sizes,
    Windows,
    fitting_size,
    fitting_sizes,
    poolings,
    two_sizes,
    two_windows,
    windows,
)

from midterm_cli.errors import UserError
from midterm_cli.layers import build
from midterm_cli.layers.arithmetic import (
    Operations,
    ReceptiveField,
    Window,
    check_groups,
    conv_cost,
    linear_cost,
    num_in_padding,
    output_size,
    output_size_steps,
    output_sizes,
    pool_cost,
    reads,
)
from midterm_cli.part4 import by_torch
from midterm_cli.part4.conv_stack.run import reads_of_all


@dataclass(frozen=True)
class Convolution:
    in_channels: int
    out_channels: int
    groups: int
    sizes: Sizes
    windows: Windows
    bias: bool

    def module(self) -> nn.Module:
        return build.convolution(
            self.in_channels, self.out_channels, self.windows, self.groups, self.bias, "cpu"
        )


convolutions = st.builds(
    Convolution,
    in_channels=st.integers(1, 6),
    out_channels=st.integers(1, 6),
    groups=st.sampled_from([1, 1, 1, 2, 3]),
    sizes=two_sizes,
    windows=two_windows,
    bias=st.booleans(),
)


def our_convolution(case: Convolution) -> list[int] | None:
    try:
        check_groups(case.in_channels, case.out_channels, case.groups)
        return [1, case.out_channels, *output_sizes(case.sizes, case.windows)]
    except UserError:
        return None


def torchs_convolution(case: Convolution) -> list[int] | None:
    try:
        with torch.no_grad():
            return list(case.module()(torch.zeros(1, case.in_channels, *case.sizes)).shape)
    except (RuntimeError, ValueError):
        return None


@settings(max_examples=300, deadline=None)
@given(convolutions)
def test_output_and_verdict_of_a_convolution_are_those_of_pytorch(case: Convolution) -> None:
    assert our_convolution(case) == torchs_convolution(case)


@settings(max_examples=300, deadline=None)
@given(two_sizes, two_windows, st.booleans(), st.sampled_from(["max", "average"]))
def test_output_and_verdict_of_a_pooling_are_those_of_pytorch(
    sizes: Sizes, pair: Windows, ceil_mode: bool, kind: str
) -> None:
    dilation = 1 if kind == "average" else None
    vertical, horizontal = (
        replace(window, ceil_mode=ceil_mode, dilation=dilation or window.dilation)
        for window in pair
    )
    try:
        pooled = build.pooling([vertical, horizontal], kind)(torch.zeros(1, 1, *sizes))
        theirs = list(pooled.shape[2:])
    except RuntimeError:
        theirs = None
    try:
        ours = list(output_sizes(sizes, [vertical, horizontal]))
    except UserError:
        ours = None
    assert theirs == (None if by_torch.refuses([vertical, horizontal]) else ours)


@st.composite
def valid_convolutions(draw: st.DrawFn) -> Convolution:
    groups, pair = draw(st.integers(1, 3)), draw(two_windows)
    return Convolution(
        in_channels=groups * draw(st.integers(1, 3)),
        out_channels=groups * draw(st.integers(1, 3)),
        groups=groups,
        sizes=draw(fitting_sizes(pair)),
        windows=pair,
        bias=draw(st.booleans()),
    )


@settings(max_examples=50, deadline=None)
@given(valid_convolutions())
def test_cost_of_a_convolution_by_brute_force_and_by_flop_counter(case: Convolution) -> None:
    output = output_sizes(case.sizes, case.windows)
    kernel = [window.kernel_size for window in case.windows]
    cost = conv_cost(case.in_channels, case.out_channels, case.groups, kernel, output, case.bias)
    module = case.module()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, case.in_channels, *case.sizes))
    assert cost.flops == counter.get_total_flops()
    assert cost.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert cost.macs == by_torch.count_products(
        case.in_channels, case.out_channels, case.groups, case.sizes, case.windows
    )


def test_cost_of_a_linear_layer() -> None:
    layer = nn.Linear(7, 5)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        layer(torch.zeros(1, 7))
    cost = linear_cost(7, 5, bias=True)
    assert (cost.parameters, cost.flops) == (40, counter.get_total_flops())
    assert cost.steps[0] == "parameters: 7·5 + 5 = 40, biases counted"
    assert linear_cost(7, 5, bias=False).parameters == 35


def test_the_exercise() -> None:
    """1a: floor(5.25) + 1 = 6, and 16·6·6 = 576."""
    window = Window(3, stride=4, padding=2)
    assert output_sizes((20, 20), (window, window)) == (6, 6)
    (line,) = output_size_steps((20, 20), (window, window))
    assert line == (
        "height and width: floor((20 + 2·2 - 1·(3 - 1) - 1) / 4) + 1 = floor(21/4)+1 = 6, "
        "not 6.25: the last 1 of 24 padded positions left out"
    )


def test_each_axis_has_its_own_formula() -> None:
    lines = output_size_steps((7, 9), (Window(3), Window(3, stride=2, dilation=2)))
    assert lines == [
        "height: floor((7 + 2·0 - 1·(3 - 1) - 1) / 1) + 1 = floor(4/1)+1 = 5",
        "width: floor((9 + 2·0 - 2·(3 - 1) - 1) / 2) + 1 = floor(4/2)+1 = 3",
    ]


def test_ceil_mode_says_what_it_adds_and_what_it_drops() -> None:
    added, dropped = Window(2, 2, ceil_mode=True), Window(3, 3, padding=1, ceil_mode=True)
    assert output_size(5, added) == 3
    assert output_size_steps((5,), (added,))[0].endswith(
        "ceil(3/2)+1 = 3, not 2.5: the last window extends beyond the padding"
    )
    assert output_size(8, dropped) == 3
    assert output_size_steps((8,), (dropped,))[0].endswith(
        "ceil(7/3)+1 = 4, not 3.33333, less 1 = 3: the last window would start at 9, beyond the "
        "left padding and the input, 1 + 8"
    )


@given(windows.flatmap(lambda window: st.tuples(fitting_size(window), st.just(window))))
def test_the_positions_left_out_are_in_no_window(case: tuple[int, Window]) -> None:
    size, window = case
    count = output_size(size, window)
    end = (count - 1) * window.stride + window.span
    left_out = size + 2 * window.padding - end
    (line,) = output_size_steps((size,), (window,))
    assert 0 <= left_out < window.stride
    assert (f"the last {left_out} of" in line) == (left_out > 0)
    unfloored = (size + 2 * window.padding - window.span) / window.stride + 1
    assert (f"not {unfloored:.6g}" in line) == (unfloored != count)


@pytest.mark.parametrize(
    ("sizes", "pair", "message"),
    [
        ((7, 20), (Window(9), Window(9)), "along the height the kernel spans 9 pixels but the pad"),
        ((20, 2), (Window(3), Window(3, padding=0)), "along the width the kernel spans 3 pixels"),
        ((20, 4), (Window(3), Window(3, dilation=3, padding=1)), "spans 7 .* has 6: lower kernel"),
        ((2,), (Window(3),), "along the length the kernel spans 3 positions but .* has 2"),
    ],
)
def test_a_kernel_that_does_not_fit(
    sizes: tuple[int, ...], pair: tuple[Window, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        output_sizes(sizes, pair)


def test_groups_that_do_not_divide() -> None:
    with pytest.raises(UserError, match="groups = 3 does not divide in_channels = 4"):
        check_groups(4, 6, 3)
    with pytest.raises(UserError, match="groups = 3 does not divide out_channels = 4"):
        check_groups(6, 4, 3)


# ---- pooling


@settings(max_examples=150, deadline=None)
@given(poolings(), st.integers(0))
def test_pooling_with_any_padding_is_that_of_each_window(
    case: tuple[str, list[Window], Sizes], seed: int
) -> None:
    """PyTorch's pooling, padded by itself or before, against loops over positions."""
    kind, both, sizes = case
    outputs = output_sizes(sizes, both)
    generator = torch.Generator().manual_seed(seed % 2**63)
    x = torch.randn(1, 1, *sizes, dtype=torch.float64, generator=generator)
    pooled = by_torch.pool(x, both, outputs, kind)
    assert tuple(pooled.shape[2:]) == outputs
    for i in range(outputs[0]):
        for j in range(outputs[1]):
            expected = pool_one(x[0, 0], both, (i, j), kind)
            assert pooled[0, 0, i, j].item() == pytest.approx(expected, abs=1e-12)
    fill, beyond = (-math.inf, -math.inf) if kind == "max" else (0, math.nan)
    read = by_torch.windows_of(x, both, outputs, fill, beyond)
    direct = read.amax(-1) if kind == "max" else read.nanmean(-1)
    assert torch.allclose(direct, pooled, rtol=1e-12, atol=1e-12)
    empty = sum(
        not reads(i, sizes[0], both[0]) or not reads(j, sizes[1], both[1])
        for i in range(outputs[0])
        for j in range(outputs[1])
    )
    assert num_in_padding(sizes, both) == empty


def pool_one(x: torch.Tensor, pair: list[Window], position: Sizes, kind: str) -> float:
    """One output, value by value; an average counts the padding, but nothing beyond it."""
    values, counted = [], 0
    starts = [i * window.stride - window.padding for i, window in zip(position, pair, strict=True)]
    for k in range(pair[0].kernel_size):
        for m in range(pair[1].kernel_size):
            row, column = starts[0] + k * pair[0].dilation, starts[1] + m * pair[1].dilation
            counted += row < x.shape[0] + pair[0].padding and column < x.shape[1] + pair[1].padding
            if 0 <= row < x.shape[0] and 0 <= column < x.shape[1]:
                values.append(float(x[row, column]))
    return max(values, default=-math.inf) if kind == "max" else sum(values) / counted


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_cost_of_pooling_as_in_the_exercise(c: int, h: int, w: int, p: int, q: int, s: int) -> None:
    """2d: window and padding have one letter; p·q - 1 comparisons for each of the outputs."""
    pair = Window(p, s, padding=p), Window(q, s, padding=q)
    height, width = output_sizes((h, w), pair)
    assert height == math.floor((h + 2 * p - p) / s) + 1
    assert width == math.floor((w + 2 * q - q) / s) + 1
    values = c * height * width
    unfolded = functional.unfold(
        torch.zeros(1, c, h, w), (p, q), padding=(p, q), stride=(s, s)
    ).numel()
    assert unfolded == values * p * q
    assert pool_cost("max", values, (p, q)) == (
        Operations(comparisons=unfolded - values),
        [f"comparisons: {values}·({p}·{q} - 1) = {values * (p * q - 1)}"],
    )
    assert pool_cost("average", values, (p, q)) == (
        Operations(additions=unfolded - values, divisions=values),
        [
            f"additions: {values}·({p}·{q} - 1) = {values * (p * q - 1)}",
            f"divisions: {values}, one a value",
        ],
    )


# ---- receptive fields


@settings(max_examples=300)
@given(st.integers(1, 12), windows, st.integers(0, 5))
def test_reads_are_the_positions_of_the_kernel(size: int, window: Window, position: int) -> None:
    all_reads = [
        position * window.stride - window.padding + k * window.dilation
        for k in range(window.kernel_size)
    ]
    inside = [i for i in all_reads if 0 <= i < size]
    assert list(reads(position, size, window)) == inside
    assert reads_of_all([position], size, window) == inside


@st.composite
def fitting_window(draw: st.DrawFn, size: int, convolve: bool) -> Window:
    """Of a convolution or of an average, which takes no dilation and half a kernel of padding."""
    stride = draw(st.integers(1, 4))
    if not convolve:
        kernel_size = draw(st.integers(1, min(5, size)))
        return Window(kernel_size, stride, draw(st.integers(0, kernel_size // 2)))
    padding, dilation = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    largest = (size + 2 * padding - 1) // dilation + 1
    return Window(draw(st.integers(1, min(5, largest))), stride, padding, dilation)


@st.composite
def networks(draw: st.DrawFn) -> tuple[list[Sizes], list[tuple[Windows, bool]]]:
    """The sizes of the input and of each layer; windows, and whether they are a convolution's."""
    levels: list[Sizes] = [(draw(st.integers(4, 14)), draw(st.integers(4, 14)))]
    layers = []
    for _ in range(draw(st.integers(1, 3))):
        convolve = draw(st.booleans())
        height, width = levels[-1]
        pair = draw(fitting_window(height, convolve)), draw(fitting_window(width, convolve))
        layers.append((pair, convolve))
        levels.append((output_size(height, pair[0]), output_size(width, pair[1])))
    return levels, layers


@settings(max_examples=100, deadline=None)
@given(networks(), st.data())
def test_receptive_field_is_where_the_gradient_is(
    network: tuple[list[Sizes], list[tuple[Windows, bool]]], data: st.DataObject
) -> None:
    """Small float64 networks with positive weights, in which no path can cancel another."""
    levels, layers = network
    sizes, used = levels[0], [pair for pair, _ in layers]
    modules = []
    fields = [ReceptiveField(), ReceptiveField()]
    for pair, convolve in layers:
        module = (
            build.convolution(1, 1, pair, 1, False, "cpu")
            if convolve
            else build.pooling(pair, "average")
        )
        for parameter in module.parameters():
            nn.init.uniform_(parameter, 0.5, 1.5)
        modules.append(module.double())
        fields = [field.through(window) for field, window in zip(fields, pair, strict=True)]
    position = [data.draw(st.integers(0, n - 1)) for n in levels[-1]]
    x = torch.ones(1, 1, *sizes, dtype=torch.float64, requires_grad=True)
    output = nn.Sequential(*modules)(x)[0, 0, position[0], position[1]]
    (gradient,) = torch.autograd.grad(output, x)
    expected = torch.zeros(2, max(sizes), dtype=torch.bool)
    for axis in (0, 1):
        positions = [position[axis]]
        for pair, level in zip(reversed(used), reversed(levels[:-1]), strict=True):
            positions = reads_of_all(positions, level[axis], pair[axis])
        expected[axis, positions] = True
        first = fields[axis].start + position[axis] * fields[axis].jump
        assert all(first <= i < first + fields[axis].size for i in positions)
        assert positions == by_torch.reached_by_gradient(
            sizes[axis],
            [pair[axis] for pair in used],
            [level[axis] for level in levels[1:]],
            position[axis],
        )
    rows, columns = expected[0, : sizes[0]], expected[1, : sizes[1]]
    assert torch.equal(gradient[0, 0] > 0, rows[:, None] & columns)


def test_the_field_spans_exactly_what_is_reached_without_padding() -> None:
    """Three layers over 40 inputs: the ends are reached, and no others beyond."""
    layers = [Window(3, stride=2), Window(2, stride=2), Window(3, dilation=2)]
    field, sizes = ReceptiveField(), [40]
    for window in layers:
        field = field.through(window)
        sizes.append(output_size(sizes[-1], window))
    assert (field.size, field.jump, field.start, field.centre) == (21, 4, 0, 10.0)
    for position in range(sizes[-1]):
        reached = by_torch.reached_by_gradient(40, layers, sizes[1:], position)
        assert (reached[0], reached[-1]) == (4 * position, 4 * position + 20)
    assert field.shared == 17
    everything = field.through_all(sizes[-1])
    assert everything.size == 4 * (sizes[-1] - 1) + 21
