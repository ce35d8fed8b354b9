"""Loss and accuracy against a direct computation in NumPy."""

import numpy as np
import pytest
import torch

from midterm_cli.part3.evaluate import Examples, Inputs, evaluate, has_dead_layer
from midterm_cli.part3.information import information
from midterm_cli.part3.network import MLP

RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (2345, 12), dtype=np.uint8)
LABELS = RNG.integers(0, 4, 2345)
EXAMPLES = Examples(torch.from_numpy(IMAGES), torch.from_numpy(LABELS))
NETWORK = MLP((12, 9, 4), "tanh")
MEAN = IMAGES.mean(0)


def models(num: int) -> list[list[torch.Tensor]]:
    return [NETWORK.initial(seed) for seed in range(num)]


def in_numpy(model: list[torch.Tensor], images: np.ndarray) -> np.ndarray:
    first, second = (weight.numpy() for weight in model)
    hidden = np.tanh((images - MEAN) @ first[:12] + first[12])
    logits = hidden @ second[:9] + second[9]
    return np.asarray(logits - np.log(np.exp(logits).sum(1, keepdims=True)))


@pytest.mark.parametrize("rows", [None, np.arange(0, 2345, 2), np.array([7])])
def test_loss_accuracy_and_information(rows: np.ndarray | None) -> None:
    images, labels = (IMAGES, LABELS) if rows is None else (IMAGES[rows], LABELS[rows])
    three = models(3)
    found = evaluate(
        NETWORK,
        three,
        EXAMPLES,
        Inputs(torch.from_numpy(MEAN)),
        None if rows is None else torch.from_numpy(rows),
        with_information=True,
    )
    for model, evaluation in zip(three, found, strict=True):
        log_p = in_numpy(model, images)
        classes = log_p.argmax(1)
        loss = -log_p[np.arange(len(labels)), labels].mean()
        assert evaluation.loss == pytest.approx(loss, rel=1e-12)
        assert evaluation.accuracy == (classes == labels).mean()
        # What is subtracted from an example's logits does not matter.
        expected = information(log_p, labels, 4)
        assert evaluation.information is not None
        assert expected is not None
        assert evaluation.information.value == pytest.approx(expected.value, abs=1e-9)


def test_a_model_has_the_same_numbers_alone_and_beside_others() -> None:
    four = [[weight.float() for weight in model] for model in models(4)]
    inputs = Inputs(torch.from_numpy(MEAN).float())
    together = evaluate(NETWORK, four, EXAMPLES, inputs)
    assert evaluate(NETWORK, [four[2]], EXAMPLES, inputs) == [together[2]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_none_and_spoils_no_other(value: float) -> None:
    two = models(2)
    two[0][1][0, 0] = value
    inputs = Inputs(torch.from_numpy(MEAN))
    bad, good = evaluate(NETWORK, two, EXAMPLES, inputs)
    assert (bad.loss, bad.accuracy) == (None, None)
    assert good == evaluate(NETWORK, [two[1]], EXAMPLES, inputs)[0]


def test_a_layer_that_is_active_for_one_example_is_not_dead() -> None:
    model = MLP((12, 9, 5, 4), "relu").initial(0)
    mean, rows = torch.from_numpy(MEAN), torch.arange(2000)
    inputs = Inputs(mean)
    assert not has_dead_layer(model, EXAMPLES, inputs, rows)
    dead = [weight.clone() for weight in model]
    dead[1][:9] = -dead[1][:9].abs()  # inputs are not negative: a negative bias then kills
    dead[1][9] = -1
    assert has_dead_layer(dead, EXAMPLES, inputs, rows)
    h = (torch.from_numpy(IMAGES[:2000]) - mean) @ dead[0][:12] + dead[0][12]
    smallest = (h.relu() @ dead[1][:9]).max(1).values.max()
    dead[1][9] = -smallest + 1e-9  # now a single unit is active for a single example
    assert not has_dead_layer(dead, EXAMPLES, inputs, rows)
