"""Loss and accuracy against a direct computation in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from midterm_cli.part3.evaluate import Examples, Inputs, evaluate, has_dead_layer
from midterm_cli.part3.information import information
from midterm_cli.part3.module_network import ModuleNetwork
from midterm_cli.part3.network import MLP
from midterm_cli.part3.schema import Activation

RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (2345, 12), dtype=np.uint8)
LABELS = RNG.integers(0, 4, 2345)
EXAMPLES = Examples(torch.from_numpy(IMAGES), torch.from_numpy(LABELS))
NETWORK = MLP((12, 9, 4), "tanh")
MEAN = IMAGES.mean(0)


def models(num: int, kinds: int = 2) -> list[list[torch.Tensor]]:
    """Parameters of models, each in some kinds: (kinds, *shape)."""
    drawn = [NETWORK.initial(seed) for seed in range(num * kinds)]
    return [
        [torch.stack(block) for block in zip(*drawn[i : i + kinds], strict=True)]
        for i in range(0, len(drawn), kinds)
    ]


def in_numpy(
    model: list[torch.Tensor], kind: int, images: np.ndarray, factor: float = 1.0
) -> np.ndarray:
    first, second = (weight[kind].numpy() for weight in model)
    hidden = np.tanh((images - MEAN) * factor @ first[:12] + first[12])
    logits = hidden @ second[:9] + second[9]
    return np.asarray(logits - np.log(np.exp(logits).sum(1, keepdims=True)))


@pytest.mark.parametrize("rows", [None, np.arange(0, 2345, 2), np.array([7])])
def test_loss_accuracy_and_information(rows: np.ndarray | None) -> None:
    images, labels = (IMAGES, LABELS) if rows is None else (IMAGES[rows], LABELS[rows])
    three, factors = models(3), (1.0, 1 / 255, 0.01)
    found = evaluate(
        NETWORK,
        three,
        EXAMPLES,
        [Inputs(torch.from_numpy(MEAN), factor) for factor in factors],
        None if rows is None else torch.from_numpy(rows),
        with_information=True,
    )
    for model, factor, of_model in zip(three, factors, found, strict=True):
        for kind, evaluation in enumerate(of_model):
            log_p = in_numpy(model, kind, images, factor)
            classes = log_p.argmax(1)
            loss = -log_p[np.arange(len(labels)), labels].mean()
            assert evaluation.loss == pytest.approx(loss, rel=1e-12)
            assert evaluation.accuracy == (classes == labels).mean()
            # What is subtracted from an example's logits does not matter.
            expected = information(log_p, labels, 4)
            assert evaluation.information is not None
            assert expected is not None
            assert evaluation.information.value == pytest.approx(expected.value, abs=1e-9)


@pytest.mark.parametrize("normalize", [1.0, 1 / 255])
@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("activation", ["relu", "identity", "sigmoid", "gelu", "leaky_relu"])
def test_the_mean_within_the_first_layer_loses_nothing(
    activation: Activation, scale: float, normalize: float
) -> None:
    """In float32, on pixels of images, and with large weights: against float64."""
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (500, 784)) * (rng.random(784) < 0.5)
    examples = Examples(torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(LABELS[:500]))
    network = MLP((784, 256, 16, 4), activation)
    mean = torch.from_numpy(images.mean(0))
    model = [scale * weight[None] for weight in network.initial(0)]
    [[exact]] = evaluate(network, [model], examples, [Inputs(mean, normalize)])
    single = [weight.float() for weight in model]
    [[found]] = evaluate(network, [single], examples, [Inputs(mean.float(), normalize)])
    assert found.loss == pytest.approx(exact.loss, rel=1e-5)


def test_a_model_has_the_same_numbers_alone_and_beside_others() -> None:
    four = [[weight.float() for weight in model] for model in models(4)]
    inputs = [Inputs(torch.from_numpy(MEAN).float())]
    together = evaluate(NETWORK, four, EXAMPLES, inputs * 4)
    assert evaluate(NETWORK, [four[2]], EXAMPLES, inputs) == [together[2]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_none_and_spoils_no_other(value: float) -> None:
    two = models(2)
    two[0][1][0, 0, 0] = value
    inputs = [Inputs(torch.from_numpy(MEAN))]
    [bad, beside], good = evaluate(NETWORK, two, EXAMPLES, inputs * 2)
    assert (bad.loss, bad.accuracy) == (None, None)
    assert beside.loss is not None
    assert good == evaluate(NETWORK, [two[1]], EXAMPLES, inputs)[0]


def test_any_module_is_evaluated_as_it_evaluates_itself() -> None:
    """In chunks whose size depends on the size of its layers, and with inputs of its own seed."""

    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 300, 1), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 4))

    cpu = torch.device("cpu")
    network = ModuleNetwork(make, "it", (1, 3, 4), 4, torch.float64, cpu)
    drawn = [[p.double() for p in network.initial(seed)] for seed in (0, 1)]
    model = [torch.stack(block) for block in zip(*drawn, strict=True)]
    inputs = [Inputs(torch.from_numpy(MEAN), 1 / 255), Inputs(torch.from_numpy(MEAN / 2))]
    found = evaluate(network, [model, model], EXAMPLES, inputs)
    for of_model, how in zip(found, inputs, strict=True):
        for parameters, evaluation in zip(drawn, of_model, strict=True):
            module = network.module().double()
            nn.utils.vector_to_parameters(
                torch.cat([p.flatten() for p in parameters]), module.parameters()
            )
            x = (EXAMPLES.images - how.mean) * how.factor
            with torch.no_grad():
                loss = cross_entropy(module(x.view(-1, 1, 3, 4)), EXAMPLES.labels)
            assert evaluation.loss == pytest.approx(loss.item(), rel=1e-12)


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
