"""Layout, initial weights and forward pass of the perceptron."""

import math

import numpy as np
import pytest
import torch

from midterm_cli.part3.network import MLP, split, stack
from midterm_cli.part3.schema import Activation

EXERCISE = MLP((784, 32, 16, 12, 10), "relu")


def test_the_network_of_the_exercise() -> None:
    # fan_in and the bias, filled up to the next multiple of 16.
    assert EXERCISE.shapes == [(800, 32), (48, 16), (32, 12), (16, 10)]
    assert EXERCISE.num_parameters == 785 * 32 + 33 * 16 + 17 * 12 + 13 * 10
    assert MLP((15, 16, 3), "relu").shapes == [(16, 16), (32, 3)]


def test_initial_weights_are_uniform_within_the_bound_of_torch() -> None:
    for fan_in, fan_out, weight in zip(
        EXERCISE.sizes, EXERCISE.sizes[1:], EXERCISE.initial(3), strict=False
    ):
        drawn, padding = weight[: fan_in + 1], weight[fan_in + 1 :]
        bound = 1 / math.sqrt(fan_in)
        assert drawn.abs().max() <= bound
        assert drawn.abs().max() > 0.9 * bound
        assert abs(drawn.mean()) < 4 * bound / math.sqrt(3 * drawn.numel())
        assert len(drawn.unique()) == (fan_in + 1) * fan_out
        assert not padding.any()


def test_initial_weights_stay_those_of_the_seed() -> None:
    """Literal values, so that later versions repeat the runs of this one."""
    ends = [
        (float(weight[0, 0]), float(weight[fan_in, -1]))
        for fan_in, weight in zip(EXERCISE.sizes, EXERCISE.initial(3), strict=False)
    ]
    assert np.array(ends) == pytest.approx(
        np.array(
            [
                (-0.029596488061169688, 0.0034304609243430775),
                (0.005708410453766688, 0.10693671656836284),
                (-0.12834545109246176, -0.008526708605366196),
                (-0.1510694436141818, 0.15966762299103487),
            ]
        ),
        rel=1e-14,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stacked_weights_are_those_of_each_seed(dtype: torch.dtype) -> None:
    flat = stack(EXERCISE, [3, 4], dtype, torch.device("cpu"))
    assert flat.dtype == dtype
    for layer, stacked in enumerate(split(flat, EXERCISE, 2)):
        assert stacked.is_contiguous()
        assert stacked.shape == (2, *EXERCISE.shapes[layer])
        for position, seed in enumerate((3, 4)):
            assert torch.equal(stacked[position], EXERCISE.initial(seed)[layer].to(dtype))


@pytest.mark.parametrize(
    "activation", ["relu", "identity", "tanh", "sigmoid", "leaky_relu", "gelu"]
)
def test_the_state_is_that_of_the_plain_sequence_and_back(activation: Activation) -> None:
    network = MLP((20, 9, 7, 4), activation)
    parameters = split(stack(network, [3, 4], torch.float64, torch.device("cpu")), network, 2)
    state = network.to_state(parameters)
    for there, back in zip(parameters, network.from_state(state), strict=True):
        assert torch.equal(there, back)
    x = torch.linspace(-2, 2, 60, dtype=torch.float64).view(3, 20)
    for model in range(2):
        plain = network.module().double()
        plain.load_state_dict({name: tensor[model] for name, tensor in state.items()})
        ours = network.logits([parameter[model] for parameter in parameters], x)
        assert torch.allclose(ours, plain(x), rtol=0, atol=1e-14)


def test_stacked_weights_live_on_the_device() -> None:
    meta = torch.device("meta")
    assert stack(EXERCISE, [3], torch.float32, meta).device == meta
