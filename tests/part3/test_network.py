"""Shapes, initial weights and layout of the models."""

import math

import numpy as np
import pytest
import torch

from midterm_cli.part3.network import (
    Architecture,
    initial_weights,
    linear_layers,
    split_layers,
    stack_weights,
)

EXERCISE = Architecture((784, 32, 16, 12, 10), "relu")


def test_the_network_of_the_exercise() -> None:
    # fan_in and the bias, filled up to the next multiple of 16.
    assert EXERCISE.shapes() == [(800, 32), (48, 16), (32, 12), (16, 10)]
    assert EXERCISE.num_layers == 4
    assert EXERCISE.num_parameters == 785 * 32 + 33 * 16 + 17 * 12 + 13 * 10
    assert Architecture((15, 16, 3), "relu").shapes() == [(16, 16), (32, 3)]


def test_initial_weights_are_uniform_within_the_bound_of_torch() -> None:
    for fan_in, fan_out, weight in zip(
        EXERCISE.sizes, EXERCISE.sizes[1:], initial_weights(EXERCISE, 3), strict=False
    ):
        drawn, padding = weight[: fan_in + 1], weight[fan_in + 1 :]
        bound = 1 / math.sqrt(fan_in)
        assert np.abs(drawn).max() <= bound
        assert np.abs(drawn).max() > 0.9 * bound
        assert abs(drawn.mean()) < 4 * bound / math.sqrt(3 * drawn.size)
        assert len(np.unique(drawn)) == (fan_in + 1) * fan_out
        assert not padding.any()


def test_initial_weights_stay_those_of_the_seed() -> None:
    """Literal values, so that later versions repeat the runs of this one."""
    ends = [
        (weight[0, 0], weight[fan_in, -1])
        for fan_in, weight in zip(EXERCISE.sizes, initial_weights(EXERCISE, 3), strict=False)
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
    flat = stack_weights(EXERCISE, [3, 4], dtype, torch.device("cpu"))
    assert flat.dtype == dtype
    for layer, stacked in enumerate(split_layers(flat, EXERCISE, 2)):
        assert stacked.is_contiguous()
        assert stacked.shape == (2, *EXERCISE.shapes()[layer])
        for position, seed in enumerate((3, 4)):
            alone = torch.from_numpy(initial_weights(EXERCISE, seed)[layer]).to(dtype)
            assert torch.equal(stacked[position], alone)


def test_linear_layers_are_those_of_torch() -> None:
    flat = stack_weights(EXERCISE, [3, 4], torch.float64, torch.device("cpu"))
    found = linear_layers(flat, EXERCISE, 2)
    for (weight, bias), fan_in, start in zip(
        found, EXERCISE.sizes, initial_weights(EXERCISE, 4), strict=False
    ):
        linear = torch.nn.Linear(fan_in, start.shape[1])
        assert weight[1].shape == linear.weight.shape
        assert bias[1].shape == linear.bias.shape
        assert np.array_equal(weight[1].numpy(), start[:fan_in].T)
        assert np.array_equal(bias[1].numpy(), start[fan_in])
    assert len(found) == 4


def test_stacked_weights_live_on_the_device() -> None:
    meta = torch.device("meta")
    assert stack_weights(EXERCISE, [3], torch.float32, meta).device == meta
