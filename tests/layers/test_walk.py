"""Norms: their operations by counting them, and what an output sees by gradients."""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from stacks import Stack, stacks
from torch import nn

from midterm_cli.errors import UserError
from midterm_cli.layers.arithmetic import norm_cost
from midterm_cli.layers.build import sequential
from midterm_cli.layers.schema import Layer
from midterm_cli.layers.walk import walk


def layers(*values: Any) -> list[Layer]:
    """Layers from what a config holds; a word stands for a type without keys."""
    read = [{"type": value} if isinstance(value, str) else value for value in values]
    return TypeAdapter(list[Layer]).validate_python(read, strict=True)


CONV = {"type": "conv", "out_channels": 4, "kernel_size": 3, "padding": 1}
GROUPS = {"type": "group_norm", "num_groups": 2}


class Counted:
    """A number that counts what is done with numbers."""

    def __init__(self, value: float, done: Counter[str]) -> None:
        self.value, self.done = value, done

    def _counting(self, kind: str, value: float) -> Counted:
        self.done[kind] += 1
        return Counted(value, self.done)

    def __add__(self, other: Counted) -> Counted:
        return self._counting("additions", self.value + other.value)

    def __sub__(self, other: Counted) -> Counted:
        return self._counting("additions", self.value - other.value)

    def __mul__(self, other: Counted) -> Counted:
        return self._counting("multiplications", self.value * other.value)

    def __truediv__(self, other: Counted) -> Counted:
        return self._counting("divisions", self.value / other.value)

    def sqrt(self) -> Counted:
        return self._counting("functions", self.value**0.5)


def total(values: list[Counted]) -> Counted:
    first, *others = values
    for value in others:
        first = first + value
    return first


def normalised(values: list[Counted], eps: Counted, one: Counted, n: Counted) -> list[Counted]:
    mean = total(values) / n
    centred = [value - mean for value in values]
    variance = total([value * value for value in centred]) / n
    factor = one / (variance + eps).sqrt()
    return [value * factor for value in centred]


@given(st.integers(1, 4), st.integers(2, 9), st.booleans())
def test_operations_of_a_norm_are_those_of_doing_it(groups: int, n: int, affine: bool) -> None:
    done: Counter[str] = Counter()
    eps, one, length, scale = (Counted(value, done) for value in (1e-5, 1.0, float(n), 2.0))
    given_values = torch.randn(groups, n, dtype=torch.float64)
    found = [
        normalised([Counted(float(v), done) for v in group], eps, one, length)
        for group in given_values
    ]
    if affine:
        found = [[value * scale + one for value in group] for group in found]
    expected = nn.functional.layer_norm(given_values, (n,)) * (2 if affine else 1) + affine
    assert torch.allclose(
        torch.tensor([[value.value for value in group] for group in found]).double(), expected
    )
    operations, _ = norm_cost(groups * n, groups, affine)
    assert operations.model_dump() == {"comparisons": 0, **done}


@settings(max_examples=150, deadline=None)
@given(stacks(), st.data())
def test_no_output_depends_on_what_lies_outside_its_field(
    stack: Stack, data: st.DataObject
) -> None:
    """On random numbers and weights, in float64, through PyTorch's own layers."""
    channels, sizes = stack.in_shape[0], stack.in_shape[1:]
    after = walk(stack.layers, channels, sizes)[-1].after
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**30)))
    network = sequential(stack.layers, stack.in_shape).double().eval()
    for parameter in network.parameters():
        parameter.data.normal_(generator=generator)
    x = torch.randn(1, *stack.in_shape, dtype=torch.float64, generator=generator)
    x.requires_grad_()
    # One value, of a map or of a row; where a row was a map, it stands somewhere in it.
    y = network(x)[0].flatten()
    value = data.draw(st.integers(0, len(y) - 1))
    was = after.sizes or after.row or ()
    position = np.unravel_index(0 if after.mixed else value % prod(was), was)
    (gradient,) = torch.autograd.grad(y[value], x)
    assume(bool(gradient.isfinite().all()))
    reached = (gradient[0] != 0).any(0)
    for axis, field in enumerate(after.fields):
        first = field.start + int(position[axis]) * field.jump
        others = tuple(other for other in range(len(sizes)) if other != axis)
        along = reached.any(others[0]) if others else reached
        for i in along.nonzero().flatten().tolist():
            assert first <= i < first + field.size


@pytest.mark.parametrize("norm", [GROUPS, {"type": "layer_norm"}])
@pytest.mark.parametrize("sizes", [(9,), (7, 9), (1, 6)])
def test_behind_a_norm_every_output_sees_all_of_the_input(
    norm: dict[str, Any], sizes: tuple[int, ...]
) -> None:
    """And before it only its windows: the field spans what the gradient reaches, no more."""
    stride = {**CONV, "stride": 2}
    for stack, mixed in (
        (layers(CONV, stride), False),
        (layers(CONV, norm), True),
        (layers(norm, CONV), True),
        (layers(CONV, norm, stride, "tanh"), True),
        (layers(CONV, norm, stride, norm, CONV), True),
        (layers(CONV, "flatten", norm), True),
    ):
        if norm is GROUPS and stack[0].type == "group_norm":
            stack[0] = stack[0].model_copy(update={"num_groups": 1})
        after = walk(stack, 2, sizes)[-1].after
        network = sequential(stack, (2, *sizes)).double()
        x = torch.randn(1, 2, *sizes, dtype=torch.float64, requires_grad=True)
        output = network(x)[0].flatten(1)[0, 0] if after.sizes else network(x)[0, 0]
        (gradient,) = torch.autograd.grad(output, x)
        reached = (gradient[0] != 0).any(0)
        assert after.mixed == mixed
        if mixed:
            assert bool(reached.all())
            for field, size in zip(after.fields, sizes, strict=True):
                assert (field.jump, field.start <= 0) == (0, True)
                assert field.start + field.size >= size
        else:
            ends = (field.start + field.size for field in after.fields)
            assert int(reached.sum()) == prod(map(min, sizes, ends))


def test_a_field_does_not_grow_once_it_spans_all() -> None:
    *_, normed, behind, flat, last = walk(
        layers(CONV, GROUPS, CONV, "flatten", {"type": "linear", "out_features": 3}), 1, (8, 8)
    )
    for cost in (normed, behind, flat, last):
        for field in cost.after.fields:
            # Eight windows of 3, one apart, from 1 left of the input.
            assert (field.start, field.size, field.jump) == (-1, 10, 0)


@pytest.mark.parametrize(
    ("layer", "sizes", "message"),
    [
        (
            {"type": "group_norm", "num_groups": 4},
            (5, 5),
            r"layer 1 \(group_norm, layers\[0\]\): num_groups = 4 does not divide its 6 channels",
        ),
        (
            {"type": "group_norm", "num_groups": 6},
            (1, 1),
            "normalise each value by itself, which makes all of them 0: lower num_groups",
        ),
    ],
)
def test_a_norm_that_is_impossible(
    layer: dict[str, Any], sizes: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        walk(layers(layer), 6, sizes)
    with pytest.raises(UserError, match="which makes all of them 0: leave it out"):
        walk(layers("layer_norm"), 1, (1, 1))


def test_a_norm_over_parts_of_a_map_that_was_flattened() -> None:
    """Its outputs would see other parts of the input, which no field along an axis says."""
    norm = {"type": "group_norm", "num_groups": 12}
    message = r"layer 2 .* its groups of 2 values are parts of a map of 6: put it before the fl"
    with pytest.raises(UserError, match=message):
        walk(layers("flatten", norm), 4, (2, 3))
    assert walk(layers("flatten", norm | {"num_groups": 2}), 4, (2, 3))[-1].after.mixed
    linear = {"type": "linear", "out_features": 24}
    assert walk(layers("flatten", linear, norm), 4, (2, 3))[-1].after.mixed


def test_vgg_16_is_as_published() -> None:
    """138,357,544 parameters and 15.47 GMACs (torchvision's documentation); 37 layers."""
    stack: list[Any] = []
    for channels, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        stack += [CONV | {"out_channels": channels}, "relu"] * convolutions
        stack += [{"type": "pool", "kernel_size": 2}]
    stack += ["flatten"]
    for features in (4096, 4096):
        stack += [{"type": "linear", "out_features": features}, "relu"]
    costs = walk(layers(*stack, {"type": "linear", "out_features": 1000}), 3, (224, 224))
    assert len(costs) == 37
    assert sum(cost.parameters for cost in costs) == 138_357_544
    assert sum(cost.macs for cost in costs) == 15_470_264_320
    assert costs[30].after.shape == [512, 7, 7]
    assert costs[30].after.fields[0].size == 212
