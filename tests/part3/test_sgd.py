"""The engine against a plain reading of the recursion, one network at a time, in torch.nn."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from midterm_cli.part3.evaluate import Examples
from midterm_cli.part3.gradients import Method
from midterm_cli.part3.mlp import Activation, Architecture, initial_weights, split_layers
from midterm_cli.part3.sgd import (
    Ensemble,
    Sampling,
    draw_minibatches,
    draw_subset,
    num_updates,
    subset_size,
)

RNG = np.random.default_rng(7)
IMAGES = RNG.integers(0, 256, (60, 20), dtype=np.uint8)
LABELS = RNG.integers(0, 5, 60)
EXAMPLES = Examples(torch.from_numpy(IMAGES), torch.from_numpy(LABELS))


def make_ensemble(
    seeds: Sequence[int] = (3,),
    lrs: Sequence[float] = (1e-3,),
    gammas: Sequence[float] = (0.1,),
    *,
    hidden: tuple[int, ...] = (7, 6),
    activation: Activation = "relu",
    method: Method = "closed_form",
    sampling: Sampling = "replacement",
    batch_size: int = 4,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Ensemble:
    return Ensemble(
        Architecture((20, *hidden, 5), activation),
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
    """A linear network leaves the finite numbers at a large rate; a ReLU network only dies."""
    return make_ensemble(seeds, lrs, activation="identity")


def train(ensemble: Ensemble, passes: int = 1) -> Ensemble:
    for epoch in range(1, passes + 1):
        for _ in ensemble.train(epoch):
            pass
    return ensemble


def layers_of(ensemble: Ensemble, flat: Tensor, position: int) -> list[Tensor]:
    """Weight and bias of each layer of one member, as torch.nn.Linear has them."""
    found = []
    num = len(ensemble.members)
    architecture = ensemble.architecture
    for fan_in, layer in zip(
        architecture.sizes, split_layers(flat, architecture, num), strict=False
    ):
        found += [layer[position, :fan_in].mT, layer[position, fan_in]]
        assert not layer[position, fan_in + 1 :].any(), "the padding moved"
    return found


class ByHand:
    """One network in torch.nn, trained by the two recursions as they are written in sgd.py."""

    def __init__(self, ensemble: Ensemble, position: int) -> None:
        self.ensemble, self.position = ensemble, position
        self.seed, self.lr = ensemble.seeds[position], ensemble.lrs[position]
        sizes = ensemble.architecture.sizes
        functions = {"relu": nn.ReLU, "tanh": nn.Tanh, "identity": nn.Identity}
        modules: list[nn.Module] = []
        for fan_in, fan_out, start in zip(
            sizes, sizes[1:], initial_weights(ensemble.architecture, self.seed), strict=False
        ):
            linear = nn.Linear(fan_in, fan_out, dtype=torch.float64)
            linear.weight.data = torch.from_numpy(start[:fan_in].T.copy())
            linear.bias.data = torch.from_numpy(start[fan_in].copy())
            modules += [linear, functions[ensemble.architecture.activation]()]
        self.net = nn.Sequential(*modules[:-1])
        self.weights = [p.detach().clone() for p in self.net.parameters()]
        self.averages = [[w.clone() for w in self.weights] for _ in ensemble.gammas]

    def train(self, passes: int) -> None:
        subset = self.ensemble.subsets[self.position]
        inputs = (IMAGES[subset.rows] - IMAGES[subset.rows].mean(0)).astype(np.float64)
        for epoch in range(1, passes + 1):
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
        self.averages = [
            [(1 - gamma) * a + gamma * w for a, w in zip(average, self.weights, strict=True)]
            for gamma, average in zip(self.ensemble.gammas, self.averages, strict=True)
        ]


def assert_close(found: Sequence[Tensor], expected: Sequence[Tensor], rtol: float = 1e-10) -> None:
    for a, b in zip(found, expected, strict=True):
        assert ((a - b).abs().max() / b.abs().max()).item() < rtol


@pytest.mark.parametrize("method", ["closed_form", "autograd"])
@pytest.mark.parametrize("activation", ["relu", "identity", "tanh"])
@pytest.mark.parametrize("hidden", [(), (1,), (7, 6), (16, 17, 15, 9)])
def test_weights_and_averages_follow_the_recursion(
    hidden: tuple[int, ...], activation: Activation, method: Method
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
    train(ensemble, passes=2)
    for position, reference in enumerate(by_hand):
        reference.train(passes=2)
        raw, *averages = (layers_of(ensemble, flat, position) for flat in ensemble.flats)
        assert_close(raw, reference.weights)
        for average, expected in zip(averages, reference.averages, strict=True):
            assert_close(average, expected)


def test_gamma_one_is_the_raw_weights_and_no_gamma_changes_them() -> None:
    without = train(make_ensemble(gammas=()))
    ensemble = train(make_ensemble(gammas=(1.0, 0.5)))
    assert torch.equal(ensemble.flats[0], without.flats[0])
    assert torch.equal(ensemble.flats[1], ensemble.flats[0])
    assert not torch.equal(ensemble.flats[2], ensemble.flats[0])


def test_average_starts_at_the_initial_weights() -> None:
    ensemble = make_ensemble(gammas=(1e-3,))
    start = ensemble.flats[0].clone()
    assert torch.equal(ensemble.flats[1], start)
    train(ensemble)
    # After few updates at a small γ it must still be near them, where torch's AveragedModel,
    # which throws w_0 away, is near the weights.
    moved = (ensemble.flats[0] - start).norm()
    assert (ensemble.flats[1] - start).norm() < 0.01 * moved


@pytest.mark.parametrize("method", ["closed_form", "autograd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_member_is_the_same_bit_for_bit_whoever_shares_its_ensemble(
    dtype: torch.dtype, method: Method
) -> None:
    # The sizes and batch of the exercise, for which every member's data is aligned alike.
    def make(seeds: Sequence[int]) -> Ensemble:
        return train(
            make_ensemble(
                seeds,
                [1e-4 * (1 + seed) for seed in seeds],
                hidden=(32, 16, 12),
                batch_size=8,
                dtype=dtype,
                method=method,
            )
        )

    together = make(range(32))
    for seeds in ([0], [5], [31, 2], [1, 4, 7, 9, 15]):
        apart = make(seeds)
        for position, seed in enumerate(seeds):
            for alone, among in zip(apart.flats, together.flats, strict=True):
                for a, b in zip(
                    layers_of(apart, alone, position),
                    layers_of(together, among, seed),
                    strict=True,
                ):
                    assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("hidden", [(), (7,), (30, 10)])
@pytest.mark.parametrize("batch_size", [1, 3, 5, 7])
def test_so_it_is_for_any_sizes_and_batch(
    batch_size: int, hidden: tuple[int, ...], dtype: torch.dtype
) -> None:
    def make(seeds: Sequence[int]) -> Ensemble:
        lrs = [1e-4] * len(seeds)
        return train(make_ensemble(seeds, lrs, hidden=hidden, batch_size=batch_size, dtype=dtype))

    together = make(range(8))
    for seeds in ([5], [1, 2, 5]):
        apart = make(seeds)
        for position, seed in enumerate(seeds):
            for a, b in zip(
                layers_of(apart, apart.flats[0], position),
                layers_of(together, together.flats[0], seed),
                strict=True,
            ):
                assert torch.equal(a, b)


def test_a_non_finite_member_is_frozen_and_the_others_do_not_notice() -> None:
    ensemble = train(make_linear((1, 2, 3), (1e-5, 1e9, 1e-5)), passes=3)
    assert ensemble.members == (0, 2)
    assert list(ensemble.frozen) == [1]
    assert not torch.isfinite(ensemble.frozen[1].flats[0]).all()
    alone = train(make_linear((1, 3), (1e-5, 1e-5)), passes=3)
    for position in range(2):
        assert_close(
            layers_of(ensemble, ensemble.flats[1], position),
            layers_of(alone, alone.flats[1], position),
            rtol=1e-14,
        )


def test_a_non_finite_member_is_frozen_where_the_pass_is_looked_at() -> None:
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
    ensemble.restore(saved.snapshot(), saved.frozen)
    for snapshot in (ensemble.snapshot(), *ensemble.frozen.values()):
        assert {flat.device.type for flat in snapshot.flats} == {"meta"}


def test_the_gradient_is_the_one_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("autograd")

    monkeypatch.setattr(torch.autograd, "grad", refuse)
    train(make_ensemble(method="closed_form"))
    with pytest.raises(AssertionError, match="autograd"):
        train(make_ensemble(method="autograd"))


def test_layers_are_those_of_the_raw_weights_and_no_copies() -> None:
    ensemble = train(make_ensemble(seeds=(3, 4), lrs=(1e-3, 1e-3)))
    flat = torch.cat([layer.flatten() for layer in ensemble.layers()])
    assert torch.equal(flat, ensemble.flats[0])
    with torch.inference_mode():
        ensemble.layers()[-1].zero_()
    assert not layers_of(ensemble, ensemble.flats[0], 1)[-1].any()


def test_an_ensemble_can_lose_all_its_members() -> None:
    ensemble = train(make_linear((1, 2), (1e9, 1e9)), passes=3)
    assert ensemble.members == ()
    assert list(ensemble.frozen) == [0, 1]
    assert list(ensemble.train(4)) == [ensemble.num_updates]


def test_a_restored_ensemble_goes_on_as_if_never_stopped() -> None:
    straight = train(make_linear((1, 2), (1e-5, 1e9)), passes=2)
    first = train(make_linear((1, 2), (1e-5, 1e9)), passes=1)
    resumed = make_linear((1, 2), (1e-5, 1e9))
    resumed.restore(first.snapshot(), first.frozen)
    for _ in resumed.train(2):
        pass
    assert resumed.members == straight.members
    for a, b in zip(resumed.flats, straight.flats, strict=True):
        assert torch.equal(a, b)


def test_a_snapshot_does_not_move_with_the_training() -> None:
    ensemble = make_ensemble()
    snapshot = ensemble.snapshot()
    before = [flat.clone() for flat in snapshot.flats]
    train(ensemble)
    assert all(torch.equal(a, b) for a, b in zip(snapshot.flats, before, strict=True))


def test_progress_counts_every_update_once() -> None:
    ensemble = make_ensemble(batch_size=1)
    counts = list(ensemble.train(1))
    assert counts == sorted(counts)
    assert counts[-1] == ensemble.num_updates == 30


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_and_averages_are_of_the_dtype(dtype: torch.dtype) -> None:
    ensemble = train(make_ensemble(dtype=dtype))
    assert {flat.dtype for flat in ensemble.flats} == {dtype}
    assert {flat.dtype for flat in ensemble.snapshot().flats} == {dtype}


def test_a_pass_stops_to_be_looked_at_eight_times() -> None:
    ensemble = make_ensemble(batch_size=1)  # 30 updates
    assert ensemble.check_every == 4
    assert list(ensemble.train(1)) == [4, 8, 12, 16, 20, 24, 28, 30]
    subset = draw_subset(IMAGES, 1.0, 3)
    whole = Ensemble(
        ensemble.architecture,
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
    ("num_members", "batch_size", "steps"),
    [
        (1, 1, 32),  # longer chunks gain nothing
        (16, 8, 10),  # 16 · 8 · 800 floats a step: ten are nearly 4 MiB
        (1, 64, 15),  # all updates of a pass
        (32, 256, 1),  # more than 4 MiB in a single step
    ],
)
def test_minibatches_are_gathered_as_far_as_the_cache_reaches(
    num_members: int, batch_size: int, steps: int
) -> None:
    images = np.zeros((960, 784), dtype=np.uint8)
    examples = Examples(torch.from_numpy(images), torch.zeros(960, dtype=torch.int64))
    seeds = range(num_members)
    ensemble = Ensemble(
        Architecture((784, 4, 5), "relu"),
        seeds,
        [1e-3] * num_members,
        [],
        examples,
        [draw_subset(images, 1.0, seed) for seed in seeds],
        batch_size=batch_size,
        sampling="shuffle",
        method="closed_form",
        dtype=torch.float32,
    )
    assert len(ensemble._minibatches) == steps


def test_minibatches_depend_on_seed_and_epoch_alone() -> None:
    a = draw_minibatches(6000, 8, "replacement", 0, 1)
    assert a.shape == (750, 8)
    assert np.array_equal(a, draw_minibatches(6000, 8, "replacement", 0, 1))
    assert not np.array_equal(a, draw_minibatches(6000, 8, "replacement", 0, 2))
    assert not np.array_equal(a, draw_minibatches(6000, 8, "replacement", 1, 1))


def test_sampling_with_replacement_repeats_and_shuffle_does_not() -> None:
    # Of n draws with replacement a share 1/e of the examples is never drawn.
    drawn = len(np.unique(draw_minibatches(6000, 8, "replacement", 0, 1)))
    assert abs(drawn / 6000 - (1 - 1 / math.e)) < 0.02
    shuffled = draw_minibatches(6000, 8, "shuffle", 0, 1)
    assert np.array_equal(np.sort(shuffled.ravel()), np.arange(6000))
    # 7 in batches of 4 is two updates: all seven, then one of a second shuffle.
    odd = draw_minibatches(7, 4, "shuffle", 0, 1)
    assert odd.shape == (2, 4)
    assert np.array_equal(np.sort(odd.ravel()[:7]), np.arange(7))


def test_subset_is_drawn_without_replacement_and_centred_exactly() -> None:
    subset = draw_subset(IMAGES, 0.5, seed=1)
    assert len(np.unique(subset.rows)) == len(subset.rows) == 30
    centred = IMAGES[subset.rows] - subset.mean
    assert np.abs(centred.mean(0)).max() < 1e-12
    assert not np.array_equal(subset.rows, draw_subset(IMAGES, 0.5, seed=2).rows)
    assert np.array_equal(draw_subset(IMAGES, 1.0, seed=1).rows, np.arange(60))


def test_counts_of_the_exercise() -> None:
    assert subset_size(10, 1e-9) == 1
    assert subset_size(60_000, 0.1) == 6000
    assert num_updates(6000, 8) == 750
    assert num_updates(1, 8) == 1


@pytest.mark.cuda
@pytest.mark.parametrize("method", ["closed_form", "autograd"])
def test_cuda_agrees_with_the_cpu(method: Method) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    here = train(make_ensemble((1, 2), (1e-3, 1e-4), method=method), passes=2)
    there = train(make_ensemble((1, 2), (1e-3, 1e-4), method=method, device="cuda"), passes=2)
    assert_close([flat.cpu() for flat in there.flats], here.flats)
