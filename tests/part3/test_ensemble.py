"""The engine against the recursion as it is written, one model at a time, in torch.nn."""

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from midterm_cli.part3.ensemble import Ensemble
from midterm_cli.part3.evaluate import Examples
from midterm_cli.part3.network import MLP, split
from midterm_cli.part3.problem import arithmetic
from midterm_cli.part3.sampling import draw_minibatches, draw_subset
from midterm_cli.part3.schema import Activation, GradientMethod, Sampling

RNG = np.random.default_rng(7)
IMAGES = RNG.integers(0, 256, (60, 20), dtype=np.uint8)
LABELS = RNG.integers(0, 5, 60)
EXAMPLES = Examples(torch.from_numpy(IMAGES), torch.from_numpy(LABELS))


FUNCTIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "identity": nn.Identity,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
}


def make_ensemble(
    seeds: Sequence[int] = (3,),
    lrs: Sequence[float] = (1e-3,),
    gammas: Sequence[float] = (0.1,),
    *,
    hidden: tuple[int, ...] = (7, 6),
    activation: Activation = "relu",
    method: GradientMethod = "closed_form",
    sampling: Sampling = "replacement",
    batch_size: int = 4,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Ensemble:
    return Ensemble(
        MLP((20, *hidden, 5), activation),
        seeds,
        lrs,
        gammas,
        Examples(EXAMPLES.images.to(device), EXAMPLES.labels.to(device)),
        [draw_subset(IMAGES, 0.5, seed) for seed in seeds],
        batch_size=batch_size,
        sampling=sampling,
        method=method,
        dtype=dtype,
    )


def make_linear(seeds: Sequence[int], lrs: Sequence[float]) -> Ensemble:
    """A linear model diverges at a large learning rate; a ReLU model only dies."""
    return make_ensemble(seeds, lrs, activation="identity")


def train(ensemble: Ensemble, epochs: int = 1) -> Ensemble:
    for epoch in range(1, epochs + 1):
        for _ in ensemble.train(epoch):
            pass
    return ensemble


def layers_of(ensemble: Ensemble, flat: Tensor, position: int) -> list[Tensor]:
    """Weight and bias of each layer of one model, as torch.nn.Linear has them."""
    found = []
    network = ensemble.network
    assert isinstance(network, MLP)
    blocks = split(flat, network, len(ensemble.models))
    for fan_in, layer in zip(network.sizes, blocks, strict=False):
        found += [layer[position, :fan_in].mT, layer[position, fan_in]]
        assert not layer[position, fan_in + 1 :].any(), "the padding moved"
    return found


class ByHand:
    """One model in torch.nn, trained by the two recursions as they are written in ensemble.py."""

    def __init__(self, ensemble: Ensemble, position: int) -> None:
        self.ensemble, self.position = ensemble, position
        self.seed, self.lr = ensemble.seeds[position], ensemble.lrs[position]
        network = ensemble.network
        assert isinstance(network, MLP)
        sizes = network.sizes
        modules: list[nn.Module] = []
        for fan_in, fan_out, start in zip(
            sizes, sizes[1:], network.initial(self.seed), strict=False
        ):
            linear = nn.Linear(fan_in, fan_out, dtype=torch.float64)
            linear.weight.data = start[:fan_in].T.clone()
            linear.bias.data = start[fan_in].clone()
            modules += [linear, FUNCTIONS[network.activation]()]
        self.net = nn.Sequential(*modules[:-1])
        self.weights = [p.detach().clone() for p in self.net.parameters()]
        self.averages = {
            gamma: [w.clone() for w in self.weights] for gamma in ensemble.state.averages
        }

    def train(self, epochs: int) -> None:
        subset = self.ensemble.subsets[self.position]
        inputs = (IMAGES[subset.rows] - IMAGES[subset.rows].mean(0)).astype(np.float64)
        for epoch in range(1, epochs + 1):
            for batch in draw_minibatches(
                len(inputs),
                self.ensemble.batch_size,
                self.ensemble.sampling,
                self.seed,
                epoch,
            ):
                self.step(inputs[batch], LABELS[subset.rows][batch])

    def step(self, x: np.ndarray, labels: np.ndarray) -> None:
        loss = nn.functional.cross_entropy(self.net(torch.from_numpy(x)), torch.from_numpy(labels))
        gradients = torch.autograd.grad(loss, list(self.net.parameters()))
        self.weights = [w - self.lr * g for w, g in zip(self.weights, gradients, strict=True)]
        for parameter, weight in zip(self.net.parameters(), self.weights, strict=True):
            parameter.data = weight
        self.averages = {
            gamma: [(1 - gamma) * a + gamma * w for a, w in zip(average, self.weights, strict=True)]
            for gamma, average in self.averages.items()
        }


def assert_close(found: Sequence[Tensor], expected: Sequence[Tensor], rtol: float = 1e-10) -> None:
    for a, b in zip(found, expected, strict=True):
        assert ((a - b).abs().max() / b.abs().max()).item() < rtol


@pytest.mark.parametrize("method", ["closed_form", "autograd"])
@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("hidden", [(), (1,), (7, 6), (16, 17, 15, 9)])
def test_weights_and_averages_follow_the_recursion(
    hidden: tuple[int, ...], activation: Activation, method: GradientMethod
) -> None:
    ensemble = make_ensemble(
        seeds=(3, 4, 3),
        lrs=(1e-3, 3e-4, 1e-4),
        gammas=(0.1, 1.0, 1e-3),
        hidden=hidden,
        activation=activation,
        method=method,
    )
    by_hand = [ByHand(ensemble, position) for position in range(3)]
    train(ensemble, epochs=2)
    for position, reference in enumerate(by_hand):
        reference.train(epochs=2)
        assert_close(layers_of(ensemble, ensemble.state.raw, position), reference.weights)
        assert list(ensemble.state.averages) == [0.1, 1.0, 1e-3]
        for gamma, average in ensemble.state.averages.items():
            assert_close(layers_of(ensemble, average, position), reference.averages[gamma])


def test_gamma_one_is_the_raw_weights_and_no_gamma_changes_them() -> None:
    without = train(make_ensemble(gammas=())).state
    state = train(make_ensemble(gammas=(1.0, 0.5))).state
    assert torch.equal(state.raw, without.raw)
    assert torch.equal(state.averages[1.0], state.raw)
    assert not torch.equal(state.averages[0.5], state.raw)


def test_average_starts_at_the_initial_weights() -> None:
    ensemble = make_ensemble(gammas=(1e-3,))
    start = ensemble.state.raw.clone()
    assert torch.equal(ensemble.state.averages[1e-3], start)
    train(ensemble)
    # After few updates at a small γ it must still be near them, where torch's AveragedModel,
    # which throws w_0 away, is near the weights.
    moved = (ensemble.state.raw - start).norm()
    assert 0 < (ensemble.state.averages[1e-3] - start).norm() < 0.01 * moved


def assert_same_models_apart(
    make: Callable[[Sequence[int]], Ensemble],
    num: int,
    choices: list[list[int]],
    tolerance: float = 0.0,
) -> None:
    """Train seeds together and apart, on one thread, and compare the weights: bit for bit."""
    with arithmetic(1):
        together = train(make(range(num)))
        for seeds in choices:
            apart = train(make(seeds))
            for gamma, flat in apart.state.by_gamma().items():
                among = together.state.by_gamma()[gamma]
                for position, seed in enumerate(seeds):
                    for a, b in zip(
                        layers_of(apart, flat, position),
                        layers_of(together, among, seed),
                        strict=True,
                    ):
                        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("method", ["closed_form", "autograd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_is_the_same_bit_for_bit_whichever_share_its_ensemble(
    dtype: torch.dtype, method: GradientMethod
) -> None:
    # The sizes and batch of the exercise, for which the data of every model is aligned alike.
    def make(seeds: Sequence[int]) -> Ensemble:
        lrs = [1e-4 * (1 + seed) for seed in seeds]
        return make_ensemble(
            seeds, lrs, hidden=(32, 16, 12), batch_size=8, dtype=dtype, method=method
        )

    assert_same_models_apart(make, 32, [[0], [5], [31, 2], [1, 4, 7, 9, 15]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("hidden", [(), (7,), (30, 10), (100, 90)])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 5, 7, 80])
def test_so_it_is_for_any_sizes_and_batch(
    batch_size: int, hidden: tuple[int, ...], dtype: torch.dtype
) -> None:
    def make(seeds: Sequence[int]) -> Ensemble:
        lrs = [1e-4] * len(seeds)
        return make_ensemble(seeds, lrs, hidden=hidden, batch_size=batch_size, dtype=dtype)

    # The one example of a model alone may be multiplied as a vector, with other rounding.
    tolerance = 100 * torch.finfo(dtype).eps if batch_size == 1 else 0.0
    assert_same_models_apart(make, 8, [[5], [1, 2, 5]], tolerance)


def test_a_non_finite_model_is_frozen_and_the_others_do_not_notice() -> None:
    ensemble = train(make_linear((1, 2, 3), (1e-5, 1e9, 1e-5)), epochs=3)
    assert ensemble.models == (0, 2)
    assert list(ensemble.frozen) == [1]
    assert not torch.isfinite(ensemble.frozen[1].raw).all()
    alone = train(make_linear((1, 3), (1e-5, 1e-5)), epochs=3)
    for position in range(2):
        assert_close(
            layers_of(ensemble, ensemble.state.averages[0.1], position),
            layers_of(alone, alone.state.averages[0.1], position),
            rtol=1e-14,
        )


def test_a_non_finite_model_is_frozen_at_the_first_check() -> None:
    ensemble = make_ensemble((3, 4), (1e-3, 1e30), activation="identity", batch_size=1)
    done = next(ensemble.train(1))
    assert done == ensemble.check_every < ensemble.num_updates
    assert set(ensemble.frozen) == {1}


def test_what_is_restored_goes_to_the_device_of_the_ensemble() -> None:
    """A saved state is on the CPU; `meta` stands in for the other device."""
    saved = train(make_linear((1, 2), (1e-5, 1e9)))
    assert saved.frozen
    with torch.device("meta"):
        ensemble = make_ensemble((1, 2), (1e-5, 1e9), device="meta")
    ensemble.restore(saved.state, saved.frozen)
    for state in (ensemble.state, *ensemble.frozen.values()):
        assert {flat.device.type for flat in state.by_gamma().values()} == {"meta"}


def test_the_gradient_is_the_one_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("autograd")

    monkeypatch.setattr(torch.autograd, "grad", refuse)
    train(make_ensemble(method="closed_form"))
    with pytest.raises(AssertionError, match="autograd"):
        train(make_ensemble(method="autograd"))


def test_layers_are_those_of_the_raw_weights_and_no_copies() -> None:
    ensemble = train(make_ensemble(seeds=(3, 4), lrs=(1e-3, 1e-3)))
    flat = torch.cat([layer.flatten() for layer in ensemble.parameters()])
    assert torch.equal(flat, ensemble.state.raw)
    with torch.inference_mode():
        ensemble.parameters()[-1].zero_()
    assert not layers_of(ensemble, ensemble.state.raw, 1)[-1].any()


def test_an_ensemble_can_lose_all_its_models() -> None:
    ensemble = train(make_linear((1, 2), (1e9, 1e9)), epochs=3)
    assert ensemble.models == ()
    assert list(ensemble.frozen) == [0, 1]
    assert list(ensemble.train(4)) == [ensemble.num_updates]


def test_a_restored_ensemble_goes_on_as_if_never_stopped() -> None:
    straight = train(make_linear((1, 2), (1e-5, 1e9)), epochs=2)
    first = train(make_linear((1, 2), (1e-5, 1e9)), epochs=1)
    resumed = make_linear((1, 2), (1e-5, 1e9))
    resumed.restore(first.state, first.frozen)
    for _ in resumed.train(2):
        pass
    assert resumed.models == straight.models
    assert torch.equal(resumed.state.raw, straight.state.raw)
    assert torch.equal(resumed.state.averages[0.1], straight.state.averages[0.1])


def test_copies_of_a_state_do_not_move_with_the_training() -> None:
    ensemble = make_ensemble()
    copy, start = ensemble.state.copied(), ensemble.network.initial(3)
    restored = make_ensemble()
    restored.restore(ensemble.state, {})
    train(ensemble)
    for state in (copy, restored.state):
        for flat in state.by_gamma().values():
            for layer, expected in zip(split(flat, ensemble.network, 1), start, strict=True):
                assert torch.equal(layer[0], expected)


def test_progress_counts_every_update_once() -> None:
    ensemble = make_ensemble(batch_size=1)
    counts = list(ensemble.train(1))
    assert counts == sorted(counts)
    assert counts[-1] == ensemble.num_updates == 30


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_and_averages_are_of_the_dtype(dtype: torch.dtype) -> None:
    ensemble = train(make_ensemble(dtype=dtype))
    for state in (ensemble.state, ensemble.state.copied()):
        assert {flat.dtype for flat in state.by_gamma().values()} == {dtype}


def test_the_weights_are_checked_eight_times_in_an_epoch() -> None:
    ensemble = make_ensemble(batch_size=1)  # 30 updates
    assert ensemble.check_every == 4
    assert list(ensemble.train(1)) == [4, 8, 12, 16, 20, 24, 28, 30]
    subset = draw_subset(IMAGES, 1.0, 3)
    whole = Ensemble(
        ensemble.network,
        [3],
        [1e-3],
        [],
        EXAMPLES,
        [subset],
        batch_size=1,
        sampling="shuffle",
        method="closed_form",
        dtype=torch.float32,
    )
    assert list(whole.train(1)) == [8, 16, 24, 32, 40, 48, 56, 60]


@pytest.mark.parametrize(
    ("num_models", "batch_size", "stops"),
    [
        (1, 1, [32, 64, 96, 120, 152]),  # longer chunks gain nothing; a check at 120
        (16, 8, [10, 15, 25, 30]),  # 16 · 8 · 800 floats a step: ten are nearly 4 MiB
        (32, 64, [1, 2, 3]),  # more than 4 MiB in a single step
    ],
)
def test_minibatches_are_gathered_as_far_as_the_cache_reaches(
    num_models: int, batch_size: int, stops: list[int]
) -> None:
    images = np.zeros((960, 784), dtype=np.uint8)
    seeds = range(num_models)
    ensemble = Ensemble(
        MLP((784, 4, 5), "relu"),
        seeds,
        [1e-3] * num_models,
        [],
        Examples(torch.from_numpy(images), torch.zeros(960, dtype=torch.int64)),
        [draw_subset(images, 1.0, seed) for seed in seeds],
        batch_size=batch_size,
        sampling="shuffle",
        method="closed_form",
        dtype=torch.float32,
    )
    assert list(islice(ensemble.train(1), len(stops))) == stops


@pytest.mark.cuda
@pytest.mark.parametrize("method", ["closed_form", "autograd"])
def test_cuda_agrees_with_the_cpu(method: GradientMethod) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    here = train(make_ensemble((1, 2), (1e-3, 1e-4), method=method), epochs=2)
    there = train(make_ensemble((1, 2), (1e-3, 1e-4), method=method, device="cuda"), epochs=2)
    for gamma, flat in there.state.by_gamma().items():
        assert_close([flat.cpu()], [here.state.by_gamma()[gamma]])
