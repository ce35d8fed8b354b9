"""Shapes, costs and receptive fields of convolution and pooling: integers, and their formulas.

Every quantity comes twice: as a number, and as a line of text that shows the formula with the
numbers put in. Axes are independent: a `Window` is how a kernel moves along one of them.

One convention throughout: a MAC is a multiplication with its addition; those with padding are
counted, the bias is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from midterm_cli.errors import UserError
from midterm_cli.experiment import Count, Record
from midterm_cli.layers.sizes import per_axis

AXES = {1: ("length",), 2: ("height", "width")}
"""Names of the axes of an input, by their number."""


@dataclass(frozen=True)
class Window:
    """How a kernel moves along one axis.

    Attributes:
        kernel_size: inputs that one output reads, counting padding.
        stride: inputs from one output's window to the next one's.
        padding: positions added on either side.
        dilation: inputs from one read to the next.
        ceil_mode: whether a last window may extend beyond the padding on the right.
    """

    kernel_size: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    ceil_mode: bool = False

    @property
    def span(self) -> int:
        """Inputs from the first read to the last, both included."""
        return self.dilation * (self.kernel_size - 1) + 1


def make_windows(
    num_axes: int,
    *,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> tuple[Window, ...]:
    """The window along each axis.

    Args:
        num_axes: of the input.
        kernel_size: one number for every axis, or one for each; the others too.
        stride: None for kernel_size.
        padding: see Window.
        dilation: see Window.
        ceil_mode: see Window.

    Raises:
        UserError: there are more numbers, or fewer, than axes.
    """
    numbers = {
        "kernel_size": kernel_size,
        "stride": kernel_size if stride is None else stride,
        "padding": padding,
        "dilation": dilation,
    }
    kernels, strides, paddings, dilations = (
        per_axis(key, value, num_axes) for key, value in numbers.items()
    )
    return tuple(
        Window(*along, ceil_mode=ceil_mode)
        for along in zip(kernels, strides, paddings, dilations, strict=True)
    )


# The size of an output


def output_size(size: int, window: Window) -> int:
    """Number of windows along an axis; below 1 where none fits.

    floor((size + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1, the formula in
    PyTorch's documentation of Conv2d and MaxPool2d. With ceil_mode the quotient is rounded up,
    and a last window that starts beyond the input and its left padding is dropped.
    """
    room = size + 2 * window.padding - window.span
    if not window.ceil_mode:
        return room // window.stride + 1
    rounded_up = -(-room // window.stride) + 1
    return rounded_up - _starts_too_late(rounded_up, size, window)


def _starts_too_late(windows: int, size: int, window: Window) -> bool:
    return (windows - 1) * window.stride >= size + window.padding


def output_sizes(sizes: Sequence[int], windows: Sequence[Window]) -> tuple[int, ...]:
    """`output_size` along each axis.

    Raises:
        UserError: no window fits along one of them.
    """
    for axis, size, window in zip(AXES[len(sizes)], sizes, windows, strict=True):
        if output_size(size, window) < 1:
            unit = "positions" if axis == "length" else "pixels"
            padded = size + 2 * window.padding
            raise UserError(
                f"along the {axis} the kernel spans {window.span} {unit} but the padded input has "
                f"{padded}: lower kernel_size or raise padding"
            )
    return tuple(map(output_size, sizes, windows))


def output_size_steps(sizes: Sequence[int], windows: Sequence[Window]) -> list[str]:
    """The formula of `output_size` with the numbers put in, equal axes in one line.

    Where rounding changes the result, the line gives the unrounded value and what is left out.
    """
    return _by_axis(list(map(_output_size_step, sizes, windows)))


def _by_axis(steps: Sequence[str]) -> list[str]:
    """Steps along each axis with the axis before them; equal ones stand once."""
    axes: dict[str, list[str]] = {}
    for axis, step in zip(AXES[len(steps)], steps, strict=True):
        axes.setdefault(step, []).append(axis)
    return [f"{' and '.join(named)}: {step}" for step, named in axes.items()]


def _output_size_step(size: int, window: Window) -> str:
    room = size + 2 * window.padding - window.span
    rounding = "ceil" if window.ceil_mode else "floor"
    rounded = (-(-room // window.stride) if window.ceil_mode else room // window.stride) + 1
    text = (
        f"{rounding}(({size} + 2·{window.padding} - {window.dilation}·({window.kernel_size} - 1)"
        f" - 1) / {window.stride}) + 1 = {rounding}({room}/{window.stride})+1 = {rounded}"
    )
    lost = room % window.stride
    if lost:
        text += f", not {room / window.stride + 1:.6g}"
    if window.ceil_mode and _starts_too_late(rounded, size, window):
        return (
            f"{text}, less 1 = {rounded - 1}: the last window would start at "
            f"{(rounded - 1) * window.stride}, beyond the left padding and the input, "
            f"{window.padding} + {size}"
        )
    if lost and window.ceil_mode:
        text += ": the last window extends beyond the padding"
    elif lost:
        text += f": the last {lost} of {size + 2 * window.padding} padded positions left out"
    return text


def product_step(name: str, factors: Sequence[int]) -> str:
    """A product with its factors and its value: "values: 16·6·6 = 576"."""
    return f"{name}: {dotted(factors)} = {prod(factors)}"


def dotted(factors: Iterable[int]) -> str:
    """A product with its factors: 16·6·6."""
    return "·".join(map(str, factors))


def crossed(numbers: Sequence[int]) -> str:
    """A number for each axis: 2×1, or 2 where they are equal."""
    return "×".join(map(str, dict.fromkeys(numbers)))


# The cost of a convolution and of a linear layer


@dataclass(frozen=True)
class Cost:
    """What a layer with weights takes.

    Attributes:
        parameters: weights, and biases where there are any.
        macs: multiplications with their additions for one input; the bias is not counted.
        steps: both formulas with the numbers put in.
    """

    parameters: int
    macs: int
    steps: tuple[str, ...]

    @property
    def flops(self) -> int:
        """Two for each MAC: the multiplication and the addition."""
        return 2 * self.macs


def check_groups(in_channels: int, out_channels: int, groups: int) -> None:
    """Refuse groups that the channels cannot be divided into.

    Raises:
        UserError: which of the two cannot.
    """
    for key, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise UserError(
                f"groups = {groups} does not divide {key} = {channels}: "
                f"change one of them so that {key} is a multiple of groups"
            )


def conv_cost(
    in_channels: int,
    out_channels: int,
    groups: int,
    kernel: Sequence[int],
    output: Sequence[int],
    bias: bool,
) -> Cost:
    """Cost of a convolution: each output value reads a kernel's worth of each channel of its group.

    Args:
        in_channels: a multiple of groups.
        out_channels: a multiple of groups.
        groups: into which the channels are divided.
        kernel: kernel_size along each axis.
        output: output size along each axis.
        bias: whether each output channel has one.
    """
    reads = [in_channels // groups, *kernel]
    weights, values = out_channels * prod(reads), out_channels * prod(output)
    per_value = dotted(reads) if groups == 1 else f"({in_channels}/{groups})·{dotted(kernel)}"
    parameters = weights + out_channels * bias
    return Cost(
        parameters,
        values * prod(reads),
        (
            f"parameters: {out_channels}·{per_value}{f' + {out_channels}' * bias} = {parameters}, "
            + ("biases counted" if bias else "no bias"),
            *_mac_steps(f"{values}·{per_value}", values * prod(reads)),
        ),
    )


def linear_cost(in_features: int, out_features: int, bias: bool) -> Cost:
    """Cost of a linear layer: each output reads every input."""
    macs = in_features * out_features
    parameters = macs + out_features * bias
    product = dotted([in_features, out_features])
    return Cost(
        parameters,
        macs,
        (
            f"parameters: {product}{f' + {out_features}' * bias} = {parameters}, "
            + ("biases counted" if bias else "no bias"),
            *_mac_steps(product, macs),
        ),
    )


def _mac_steps(product: str, macs: int) -> tuple[str, str]:
    return (
        f"MACs: {product} = {macs}, bias not counted",
        f"FLOPs: 2·{macs} = {2 * macs}, a multiplication and an addition for each MAC",
    )


# Operations that are no MACs


class Operations(Record):
    """Operations that are no MACs; a function is one value of tanh, sigmoid, Φ or a square root."""

    comparisons: Count = 0
    additions: Count = 0
    divisions: Count = 0
    multiplications: Count = 0
    functions: Count = 0

    @property
    def total(self) -> int:
        """Of all kinds."""
        return sum(count for _, count in self)


def pool_cost(kind: str, values: int, kernel: Sequence[int]) -> tuple[Operations, list[str]]:
    """Operations of a pooling, whole windows with their padding, and their formulas.

    A maximum of n numbers takes n - 1 comparisons; a mean takes n - 1 additions and a division.

    Args:
        kind: max or average.
        values: of the output.
        kernel: kernel_size along each axis.
    """
    combined = values * (prod(kernel) - 1)
    formula = f"{values}·({dotted(kernel)} - 1) = {combined}"
    if kind == "max":
        return Operations(comparisons=combined), [f"comparisons: {formula}"]
    return (
        Operations(additions=combined, divisions=values),
        [f"additions: {formula}", f"divisions: {values}, one a value"],
    )


def norm_cost(values: int, groups: int, affine: bool) -> tuple[Operations, list[str]]:
    """Operations of a normalisation, and their formulas.

    A group of n values takes n - 1 additions and a division for its mean; n subtractions, n
    squares, n - 1 additions and a division for its variance; an addition of eps, a square root and
    a division for the factor, and n multiplications by it. Affine: a multiplication and an addition
    a value.

    Args:
        values: of the map.
        groups: each normalised by itself; as many values in each.
        affine: whether there is a scale and a shift.
    """
    n, scaled = values // groups, values * affine
    operations = Operations(
        additions=groups * (3 * n - 1) + scaled,
        divisions=3 * groups,
        multiplications=groups * 2 * n + scaled,
        functions=groups,
    )
    scaling = f" + {values}" * affine
    return operations, [
        f"additions: {groups}·(3·{n} - 1){scaling} = {operations.additions}",
        f"multiplications: {groups}·2·{n}{scaling} = {operations.multiplications}",
        f"divisions: 3·{groups} = {operations.divisions}",
        f"square roots: {groups}",
    ]


# What an output reads


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field along one axis, from an output back to the network's input.

    Output i can depend on inputs start + i·jump to start + i·jump + size - 1 and on no others.
    Those below 0 or beyond the input are padding; where there is dilation, or a stride above the
    kernel, it may skip some between.

    Attributes:
        size: number of inputs that it spans.
        jump: inputs from one output's field to the next one's.
        start: the first input of output 0's field.
    """

    size: int = 1
    jump: int = 1
    start: int = 0

    def through(self, window: Window) -> ReceptiveField:
        """The field of an output of the next layer."""
        return ReceptiveField(
            self.size + (window.span - 1) * self.jump,
            self.jump * window.stride,
            self.start - window.padding * self.jump,
        )

    def through_all(self, outputs: int) -> ReceptiveField:
        """The field of what reads all outputs along the axis, as a linear layer or a norm does."""
        return ReceptiveField(self.size + (outputs - 1) * self.jump, 0, self.start)

    @property
    def centre(self) -> float:
        """The middle of output 0's field, in inputs."""
        return self.start + (self.size - 1) / 2

    def middle(self, output: int) -> float:
        """Of an output's field, in inputs."""
        return self.centre + output * self.jump

    def nearest(self, place: float, outputs: int) -> int:
        """The output whose field's middle is nearest to a place, in inputs; jump is above 0."""
        return min(max(round((place - self.centre) / self.jump), 0), outputs - 1)

    @property
    def shared(self) -> int:
        """Inputs that the fields of two neighbouring outputs have in common."""
        return max(0, self.size - self.jump)


def places(windows: Iterable[Window | None]) -> list[ReceptiveField]:
    """Where the outputs of each layer stand along an axis: over what the windows below them read.

    Args:
        windows: of each layer from the input on; None for a norm, whose outputs stand over those
            below them, although they see all of the map.

    Returns:
        For the input and for each layer.
    """
    found = [ReceptiveField()]
    for window in windows:
        found.append(found[-1].through(window) if window else found[-1])
    return found


def field_steps(fields: Sequence[ReceptiveField], windows: Sequence[Window]) -> list[str]:
    """The formulas of `ReceptiveField.through` with the numbers put in, equal axes in one line."""
    return [
        f"receptive field, {step}" for step in _by_axis(list(map(_field_step, fields, windows)))
    ]


def _field_step(before: ReceptiveField, window: Window) -> str:
    after = before.through(window)
    reach = f"{window.dilation}·({window.kernel_size} - 1)"
    return (
        f"{before.size} + {reach}·{before.jump} = {after.size}, "
        f"jump {before.jump}·{window.stride} = {after.jump}, "
        f"start {before.start} - {window.padding}·{before.jump} = {after.start}"
    )


def reads(position: int, size: int, window: Window) -> range:
    """Inputs that one output of one layer reads along an axis, without those in the padding."""
    first = position * window.stride - window.padding
    end = min(first + window.span, size)
    if first < 0:
        # The first read that is not padding.
        first += -(first // window.dilation) * window.dilation
    return range(first, max(first, end), window.dilation)


def num_in_padding(sizes: Sequence[int], windows: Sequence[Window]) -> int:
    """How many windows lie wholly in the padding and read no input at all."""
    counts, reading = [], []
    for size, window in zip(sizes, windows, strict=True):
        counts.append(output_size(size, window))
        reading.append(sum(bool(reads(i, size, window)) for i in range(counts[-1])))
    return prod(counts) - prod(reading)
