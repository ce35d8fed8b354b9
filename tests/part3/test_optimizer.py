"""The optimisers against torch.optim, in float64 over whole epochs, each model at its own rate."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from midterm_cli.part3.ensemble import Ensemble
from midterm_cli.part3.evaluate import Examples
from midterm_cli.part3.module_network import ModuleNetwork
from midterm_cli.part3.network import MLP, Network
from midterm_cli.part3.optimizer import Rule
from midterm_cli.part3.problem import arithmetic
from midterm_cli.part3.sampling import draw_minibatches, draw_subset
from midterm_cli.part3.schedule import Schedule

RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 8, (60, 20), dtype=np.uint8)
LABELS = RNG.integers(0, 5, 60)
EXAMPLES = Examples(torch.from_numpy(IMAGES), torch.from_numpy(LABELS))
SEEDS, LRS = (3, 4, 3), (1e-3, 3e-4, 2e-3)


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 2, bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 3 * 4, 5)
    )


def module_network(make: Callable[[], nn.Module] = convolutional) -> ModuleNetwork:
    return ModuleNetwork(make, "net", (1, 4, 5), 5, torch.float64, torch.device("cpu"))


NETWORKS: dict[str, Callable[[], Network]] = {
    "mlp": lambda: MLP((20, 7, 6, 5), "tanh"),
    "module": module_network,
}

RULES: dict[str, tuple[Rule, Callable[..., torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (Rule(), torch.optim.SGD, {}),
    "decayed": (Rule(weight_decay=0.3), torch.optim.SGD, {"weight_decay": 0.3}),
    "momentum": (Rule(momentum=0.9), torch.optim.SGD, {"momentum": 0.9}),
    "momentum decayed": (
        Rule(momentum=0.8, weight_decay=0.2),
        torch.optim.SGD,
        {"momentum": 0.8, "weight_decay": 0.2},
    ),
    "nesterov": (
        Rule(momentum=0.9, nesterov=True, weight_decay=0.1),
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ),
    "adam": (Rule("adam"), torch.optim.Adam, {}),
    "adam decayed": (
        Rule("adam", betas=(0.7, 0.9), eps=1e-3, weight_decay=0.3),
        torch.optim.Adam,
        {"betas": (0.7, 0.9), "eps": 1e-3, "weight_decay": 0.3},
    ),
    "adam without memory": (
        Rule("adam", betas=(0.0, 0.0), eps=1e-3),
        torch.optim.Adam,
        {"betas": (0.0, 0.0), "eps": 1e-3},
    ),
    "adamw": (
        Rule("adamw", weight_decay=0.3),
        torch.optim.AdamW,
        {"weight_decay": 0.3},
    ),
    "adamw without decay": (Rule("adamw"), torch.optim.AdamW, {"weight_decay": 0.0}),
    "rmsprop": (Rule("rmsprop"), torch.optim.RMSprop, {}),
    "rmsprop with all": (
        Rule("rmsprop", alpha=0.8, eps=1e-3, momentum=0.5, weight_decay=0.2),
        torch.optim.RMSprop,
        {"alpha": 0.8, "eps": 1e-3, "momentum": 0.5, "weight_decay": 0.2},
    ),
}


def make_ensemble(network: Network, rule: Rule, **changes: Any) -> Ensemble:
    arguments: dict[str, Any] = {
        "batch_size": 4,
        "sampling": "replacement",
        "method": "closed_form",
        "dtype": torch.float64,
        **changes,
    }
    subsets = [draw_subset(IMAGES, 0.5, seed) for seed in SEEDS]
    return Ensemble(network, SEEDS, LRS, (0.1,), EXAMPLES, subsets, rule=rule, **arguments)


def train(ensemble: Ensemble, epochs: range) -> Ensemble:
    for epoch in epochs:
        for _ in ensemble.train(epoch):
            pass
    return ensemble


def states(ensemble: Ensemble) -> dict[str, Tensor]:
    return ensemble.network.to_state(ensemble.parameters())


def by_torch(
    ensemble: Ensemble,
    position: int,
    make: Callable[..., torch.optim.Optimizer],
    constants: dict[str, Any],
    factors: Callable[[np.ndarray], np.ndarray] | None = None,
) -> nn.Module:
    """The same model trained by torch.optim for two epochs, minibatch by minibatch."""
    network, seed, lr = ensemble.network, SEEDS[position], LRS[position]
    start = [block.double()[None] for block in network.initial(seed)]
    net = network.module().double()
    net.load_state_dict({name: t[0] for name, t in network.to_state(start).items()})
    optimizer = make(net.parameters(), lr=lr, **constants)
    subset = ensemble.subsets[position]
    inputs = (IMAGES[subset.rows] - subset.mean).reshape(-1, 20)
    shape = (4, 20) if isinstance(network, MLP) else (4, 1, 4, 5)
    update = 0
    for epoch in (1, 2):
        for batch in draw_minibatches(len(inputs), 4, "replacement", seed, epoch):
            if factors is not None:
                optimizer.param_groups[0]["lr"] = lr * factors(np.array([update]))[0]
            x = torch.from_numpy(inputs[batch]).view(shape)
            labels = torch.from_numpy(LABELS[subset.rows][batch])
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), labels).backward()
            optimizer.step()
            update += 1
    return net


def assert_follows(
    ensemble: Ensemble,
    make: Callable[..., torch.optim.Optimizer],
    constants: dict[str, Any],
    factors: Callable[[np.ndarray], np.ndarray] | None = None,
) -> None:
    ours = states(train(ensemble, range(1, 3)))
    for position in range(len(SEEDS)):
        theirs = by_torch(ensemble, position, make, constants, factors).state_dict()
        assert list(ours) == list(theirs)
        for name, expected in theirs.items():
            difference = (ours[name][position] - expected).abs().max()
            assert difference <= 1e-12 * expected.abs().max()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("rule", RULES)
def test_each_model_follows_torch_optim(rule: str, network: str) -> None:
    ours, make, constants = RULES[rule]
    assert_follows(make_ensemble(NETWORKS[network](), ours), make, constants)


def test_the_gradient_by_autograd_follows_it_too() -> None:
    ours, make, constants = RULES["adam decayed"]
    network = MLP((20, 7, 5), "gelu")
    assert_follows(make_ensemble(network, ours, method="autograd"), make, constants)


@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam decayed", "adamw"])
def test_a_schedule_sets_the_rate_of_every_update(rule: str) -> None:
    ours, make, constants = RULES[rule]
    factors = Schedule("cosine", warmup=5, total=16).factors
    ensemble = make_ensemble(NETWORKS["mlp"](), ours, factors=factors)
    assert ensemble.rates(7) == pytest.approx(np.array(LRS) * factors(np.array([7]))[0], rel=1e-15)
    assert_follows(ensemble, make, constants, factors)


@pytest.mark.parametrize("rule", RULES)
def test_a_restored_ensemble_goes_on_with_its_buffers(rule: str) -> None:
    ours, *_ = RULES[rule]
    straight = train(make_ensemble(NETWORKS["mlp"](), ours), range(1, 3))
    first = train(make_ensemble(NETWORKS["mlp"](), ours), range(1, 2))
    resumed = make_ensemble(NETWORKS["mlp"](), ours)
    resumed.restore(first.state, {})
    train(resumed, range(2, 3))
    assert torch.equal(resumed.state.raw, straight.state.raw)
    assert torch.equal(resumed.state.averages[0.1], straight.state.averages[0.1])


def test_a_model_that_is_taken_out_takes_its_buffers_along() -> None:
    """And those that stay keep theirs."""
    ours, *_ = RULES["adam"]
    whole = train(make_ensemble(NETWORKS["mlp"](), ours), range(1, 3))
    ensemble = train(make_ensemble(NETWORKS["mlp"](), ours), range(1, 2))
    ensemble.freeze([1])
    train(ensemble, range(2, 3))
    assert ensemble.models == (0, 2)
    remaining, all_three = states(ensemble), states(whole)
    for name, tensor in remaining.items():
        assert torch.allclose(tensor, all_three[name][[0, 2]], rtol=0, atol=1e-13)
    assert set(ensemble.frozen[1].optimizer) == {"exp_avg", "exp_avg_sq"}


@pytest.mark.parametrize("rule", RULES)
def test_a_model_is_the_same_bit_for_bit_beside_others_of_the_same_rate_and_of_any(
    rule: str,
) -> None:
    def weights(seeds: tuple[int, ...], lrs: tuple[float, ...]) -> list[Tensor]:
        """Of the model of seed 4."""
        ensemble = Ensemble(
            NETWORKS["mlp"](),
            seeds,
            lrs,
            (),
            EXAMPLES,
            [draw_subset(IMAGES, 0.5, seed) for seed in seeds],
            batch_size=4,
            sampling="replacement",
            method="closed_form",
            dtype=torch.float32,
            rule=RULES[rule][0],
        )
        with arithmetic(1):
            train(ensemble, range(1, 3))
        return [value[seeds.index(4)] for value in states(ensemble).values()]

    alone = weights((4,), (1e-3,))
    for lrs in ((1e-3, 1e-3, 1e-3), (1e-2, 1e-3, 1e-4)):
        assert all(map(torch.equal, alone, weights((2, 4, 6), lrs)))
