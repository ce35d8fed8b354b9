"""The network of a list of layers: PyTorch's shapes, parameters and MACs are those of the walk."""

import pytest
import torch
from hypothesis import given, settings
from stacks import Stack, stacks
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from midterm_cli.errors import UserError
from midterm_cli.layers.build import sequential
from midterm_cli.layers.schema import Conv, Flatten, Layer, Linear, Pool, Relu
from midterm_cli.layers.walk import walk

LENET: list[Layer] = [
    Conv(type="conv", out_channels=6, kernel_size=5, padding=2),
    Relu(type="relu"),
    Pool(type="pool", kernel_size=2),
    Conv(type="conv", out_channels=16, kernel_size=5),
    Relu(type="relu"),
    Pool(type="pool", kernel_size=2),
    Flatten(type="flatten"),
    Linear(type="linear", out_features=120),
    Relu(type="relu"),
    Linear(type="linear", out_features=10),
]


@settings(max_examples=150, deadline=None)
@given(stacks())
def test_a_network_is_what_the_walk_says(stack: Stack) -> None:
    costs = walk(stack.layers, stack.in_shape[0], stack.in_shape[1:])
    x = torch.zeros(2, *stack.in_shape)
    for cost, layer in zip(costs, sequential(stack.layers, stack.in_shape), strict=True):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            x = layer(x)
        assert list(x.shape) == [2, *cost.after.shape]
        assert cost.parameters == sum(parameter.numel() for parameter in layer.parameters())
        assert 2 * cost.macs * 2 == counter.get_total_flops()


def test_weights_are_those_of_the_same_network_by_hand() -> None:
    def by_hand() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 120),
            nn.ReLU(),
            nn.Linear(120, 10),
        )

    x = torch.linspace(0, 1, 3 * 784).reshape(3, 1, 28, 28)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        expected = by_hand()(x)
        torch.manual_seed(3)
        assert torch.equal(sequential(LENET, (1, 28, 28))(x), expected)


def test_device_and_dtype_are_the_default_ones() -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            network = sequential(LENET, (1, 28, 28))
    finally:
        torch.set_default_dtype(before)
    kinds = {(parameter.dtype, parameter.device.type) for parameter in network.parameters()}
    assert kinds == {(torch.float64, "meta")}


def test_an_impossible_layer_is_named() -> None:
    with pytest.raises(UserError, match=r"layer 4 \(conv, layers\[3\]\): along the height the ker"):
        sequential(LENET, (1, 8, 8))
