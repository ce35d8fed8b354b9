"""The network of a list of layers: PyTorch's shapes, parameters and MACs are those of the walk."""

import pytest
import torch
from hypothesis import given, settings
from stacks import Stack, stacks
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from midterm_cli.errors import UserError
from midterm_cli.layers.build import sequential
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


@settings(max_examples=300, deadline=None)
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


VALUES = torch.linspace(-3, 3, 2 * 6 * 4 * 5, dtype=torch.float64).reshape(2, 6, 4, 5)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Relu(type="relu"), VALUES.clamp(min=0)),
        (LeakyRelu(type="leaky_relu"), torch.maximum(VALUES, 0.01 * VALUES)),
        (LeakyRelu(type="leaky_relu", negative_slope=0.3), torch.maximum(VALUES, 0.3 * VALUES)),
        (Tanh(type="tanh"), 1 - 2 / ((2 * VALUES).exp() + 1)),
        (Sigmoid(type="sigmoid"), 1 / (1 + (-VALUES).exp())),
        (Gelu(type="gelu"), VALUES * (1 + torch.erf(VALUES / 2**0.5)) / 2),
        (Identity(type="identity"), VALUES),
        (Dropout(type="dropout", p=0.5), VALUES),
    ],
)
def test_what_is_done_with_each_value(layer: Layer, expected: Tensor) -> None:
    network = sequential([layer], VALUES.shape[1:]).double().eval()
    assert torch.allclose(network(VALUES), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    ("layer", "groups"),
    [
        (GroupNorm(type="group_norm", num_groups=3, eps=0.1), 3),
        (GroupNorm(type="group_norm", num_groups=6, eps=0.1), 6),
        (LayerNorm(type="layer_norm", eps=0.1), 1),
    ],
)
def test_a_norm_is_of_each_group_of_an_example(
    layer: GroupNorm | LayerNorm, groups: int, affine: bool
) -> None:
    x = VALUES.sin()
    network = sequential([layer.model_copy(update={"affine": affine})], x.shape[1:]).double()
    grouped = x.reshape(2, groups, -1)
    variance, mean = torch.var_mean(grouped, -1, correction=0, keepdim=True)
    expected = ((grouped - mean) / (variance + 0.1).sqrt()).reshape(x.shape)
    assert torch.allclose(network(x), expected, rtol=1e-12, atol=1e-12)
    assert len(list(network.parameters())) == 2 * affine


def test_dropout_leaves_its_share_out_in_training() -> None:
    network = sequential([Dropout(type="dropout", p=0.25)], (1, 100, 100))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        y = network(torch.ones(1, 1, 100, 100))
    assert y.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)


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
