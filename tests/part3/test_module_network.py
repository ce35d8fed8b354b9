"""A torch.nn.Module in an ensemble against the same module trained by hand; what is refused."""

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from midterm_cli.errors import UserError
from midterm_cli.part3.ensemble import Ensemble
from midterm_cli.part3.evaluate import Examples, Inputs, evaluate
from midterm_cli.part3.module_network import ModuleNetwork
from midterm_cli.part3.network import split, stack
from midterm_cli.part3.optimizer import Rule
from midterm_cli.part3.sampling import draw_minibatches, draw_subset

CPU = torch.device("cpu")
SHAPE = (1, 6, 5)
RNG = np.random.default_rng(11)
IMAGES = RNG.integers(0, 256, (80, 30), dtype=np.uint8)
LABELS = RNG.integers(0, 4, 80)
EXAMPLES = Examples(torch.from_numpy(IMAGES), torch.from_numpy(LABELS))


class Net(nn.Module):
    """A convolution, a norm, tied weights, a constant buffer, and perhaps dropout."""

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.GroupNorm(2, 4)
        self.first, self.second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.register_buffer("shift", torch.full((1,), 0.25))
        self.drop = nn.Dropout(p)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.conv(x)).relu().mean((2, 3)) + self.shift
        return self.second(self.drop(torch.tanh(self.first(h))))  # type: ignore[no-any-return]


def network_of(make: Callable[[], Any], dtype: torch.dtype = torch.float32) -> ModuleNetwork:
    return ModuleNetwork(make, "net.py:Net", SHAPE, 4, dtype, CPU)


def make_ensemble(
    network: ModuleNetwork, seeds: Sequence[int], lrs: Sequence[float], rule: Rule | None = None
) -> Ensemble:
    return Ensemble(
        network,
        seeds,
        lrs,
        (0.1,),
        EXAMPLES,
        [draw_subset(IMAGES, 0.5, seed, "standard") for seed in seeds],
        batch_size=4,
        sampling="replacement",
        method="autograd",
        dtype=torch.float32,
        rule=rule,
    )


def train(ensemble: Ensemble, epochs: range = range(1, 3)) -> Ensemble:
    for epoch in epochs:
        for _ in ensemble.train(epoch):
            pass
    return ensemble


def test_the_initial_weights_are_those_of_torch_after_the_seed() -> None:
    network = network_of(Net)
    before = torch.get_rng_state()
    flat = stack(network, [3, 4], torch.float32, CPU)
    assert torch.equal(torch.get_rng_state(), before), "the user's generator was moved"
    state = network.to_state(split(flat, network, 2))
    torch.manual_seed(4)
    net = Net()
    torch.set_rng_state(before)
    assert list(state) == list(net.state_dict())
    for name, tensor in net.state_dict().items():
        assert torch.equal(state[name][1], tensor)


def test_tied_weights_count_once_and_stay_tied() -> None:
    network = network_of(Net)
    assert network.num_parameters == sum(p.numel() for p in Net().parameters())
    ensemble = train(make_ensemble(network, [1], [0.1]))
    state = network.to_state(ensemble.parameters())
    assert torch.equal(state["first.weight"], state["second.weight"])


@pytest.mark.parametrize("rule", [Rule(), Rule("adam")])
@pytest.mark.parametrize("p", [0.0, 0.5])
def test_a_model_is_the_same_bit_for_bit_whichever_share_its_ensemble(p: float, rule: Rule) -> None:
    """Also where it draws random numbers in training."""
    network = network_of(lambda: Net(p))
    together = train(make_ensemble(network, [5, 6, 7], [0.1, 0.2, 0.05], rule))
    alone = train(make_ensemble(network, [6], [0.2], rule))
    for gamma, flat in alone.state.by_gamma().items():
        among = together.state.by_gamma()[gamma]
        mine, theirs = split(flat, network, 1), split(among, network, 3)
        assert all(torch.equal(a[0], b[1]) for a, b in zip(mine, theirs, strict=True))


def test_groups_in_threads_do_not_disturb_each_others_random_numbers() -> None:
    network = network_of(lambda: Net(0.5))
    expected = [train(make_ensemble(network, [seed], [0.1])).state.raw for seed in (1, 2)]
    ensembles = [make_ensemble(network, [seed], [0.1]) for seed in (1, 2)]
    threads = [threading.Thread(target=train, args=(ensemble,)) for ensemble in ensembles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ensemble, alone in zip(ensembles, expected, strict=True):
        assert torch.equal(ensemble.state.raw, alone)


def test_dropout_draws_anew_in_each_epoch_and_a_restored_run_repeats_it() -> None:
    network = network_of(lambda: Net(0.5))
    assert network.draws
    straight = train(make_ensemble(network, [1, 2], [0.1, 0.1]))
    first = train(make_ensemble(network, [1, 2], [0.1, 0.1]), range(1, 2))
    resumed = make_ensemble(network, [1, 2], [0.1, 0.1])
    resumed.restore(first.state, {})
    train(resumed, range(2, 3))
    assert torch.equal(resumed.state.raw, straight.state.raw)
    again = make_ensemble(network, [1, 2], [0.1, 0.1])
    again.restore(first.state, {})
    train(again, range(1, 2))
    assert not torch.equal(again.state.raw, straight.state.raw)


def test_a_module_with_dropout_is_the_plain_loop_from_its_own_stream() -> None:
    network = network_of(lambda: Net(0.5))
    ensemble = train(make_ensemble(network, [1, 2], [0.1, 0.2]), range(1, 2))
    state = network.to_state(ensemble.parameters())
    for position, (seed, lr) in enumerate([(1, 0.1), (2, 0.2)]):
        subset = draw_subset(IMAGES, 0.5, seed, "standard")
        inputs = torch.from_numpy((IMAGES[subset.rows] - subset.mean) * subset.factor).float()
        labels = torch.from_numpy(LABELS[subset.rows])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = Net(0.5)
            optimizer = torch.optim.SGD(net.parameters(), lr=lr)
            torch.set_rng_state(network.stream(seed, 1))
            for batch in draw_minibatches(len(inputs), 4, "replacement", seed, 1):
                optimizer.zero_grad()
                logits = net(inputs[batch].view(-1, *SHAPE))
                nn.functional.cross_entropy(logits, labels[batch]).backward()
                optimizer.step()
        for name, tensor in net.state_dict().items():
            assert torch.allclose(state[name][position], tensor, rtol=0, atol=1e-5)


def test_dropout_has_no_part_in_an_evaluation() -> None:
    network = network_of(lambda: Net(0.9))
    model = [block[None] for block in network.initial(0)]
    inputs = Inputs(torch.zeros(30))
    [[once]], [[twice]] = (evaluate(network, [model], EXAMPLES, [inputs]) for _ in range(2))
    assert once == twice
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Net(0.9).eval()
    logits = net(EXAMPLES.images.float().view(-1, *SHAPE))
    loss = nn.functional.cross_entropy(logits, EXAMPLES.labels).item()
    assert once.loss == pytest.approx(loss, rel=1e-6)


def test_a_parameter_that_has_no_part_in_the_output_stays() -> None:
    class Spare(Net):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.Parameter(torch.ones(3))

    network = network_of(Spare)
    ensemble = train(make_ensemble(network, [1], [0.1]))
    assert network.to_state(ensemble.parameters())["spare"].tolist() == [[1, 1, 1]]


def test_layers_are_submodules_with_all_their_parameters() -> None:
    network = network_of(Net)
    assert [len(layer) for layer in network.layers] == [2, 2, 1, 1]
    assert sorted(index for layer in network.layers for index in layer) == list(range(6))


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(1)
        self.head = nn.Linear(30, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.bn(x).flatten(1))  # type: ignore[no-any-return]


class Counting(Net):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


class Remembering(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.last, Tensor)
        self.last.copy_(x.mean())
        return super().forward(x)


class Forgetful(Net):
    """Its dropout does not ask whether it is in training."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(x), 0.5)


class Foreign(Net):
    """Its weights are drawn by another generator than that of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.second.bias.data = torch.from_numpy(np.random.default_rng().random(4, np.float32))


class Frozen(Net):
    def __init__(self) -> None:
        super().__init__()
        self.conv.weight.requires_grad_(False)


class Halving(Net):
    """It changes its input, which others are still to read."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(0.5))


class Shrinking(Net):
    """It changes its own parameters."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.second.bias.mul_(0.9)
        return super().forward(x)


class Centring(Net):
    """What batch normalisation does, by hand."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y - y.mean(0)


_CALLS = [0]


class Counted(Net):
    """It counts elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        _CALLS[0] += 1
        return super().forward(x) * _CALLS[0]


class Narrower(Net):
    """In training alone."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y[:, :3] if self.training else y


class Detached(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


def scripted() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and in use
        return torch.jit.script(flat(4)())


def flat(features: int, **changes: Any) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Flatten(), nn.Linear(30, features, **changes))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Normed, ("'bn' is a BatchNorm2d", "GroupNorm")),
        (Counting, ("changes its own state", "calls")),
        (Remembering, ("changes its own state", "last")),
        (flat(3), ("(2, 3)", "(2, 4)")),
        (flat(4, dtype=torch.float64), ("1.weight is float64", "dtype")),
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), ("open until the first input",)),
        (nn.Flatten, ("no parameters",)),
        (Halving, ("changes its input in place",)),
        (Shrinking, ("changes its own state", "second.bias")),
        (Centring, ("depend on the other images",)),
        (Counted, ("other outputs when it is called again",)),
        (Narrower, ("(2, 3)", "(2, 4)")),
        (Detached, ("no gradient reaches", "detach()")),
        (lambda: nn.DataParallel(Net()), ("DataParallel", "plain module")),
        (scripted, ("ScriptModule", "plain module")),
        (Forgetful, ("in evaluation", "training=self.training")),
        (Foreign, ("other weights when it is made again",)),
        (Frozen, ("conv.weight is frozen", "buffer")),
    ],
)
def test_what_an_ensemble_cannot_hold_is_refused_by_name(
    make: Callable[[], nn.Module], words: Sequence[str]
) -> None:
    with pytest.raises(UserError) as caught:
        network_of(make)
    message = str(caught.value)
    assert message.startswith("net.py:Net")
    assert len(message.splitlines()) <= 2
    for word in words:
        assert word in message


def test_a_scalar_parameter_may_diverge() -> None:
    class Scaled(Net):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.0))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.scale

    ensemble = train(make_ensemble(network_of(Scaled), [1, 2], [0.1, 1e30]))
    assert ensemble.models == (0,)
    assert list(ensemble.frozen) == [1]


def test_weights_by_norm_and_direction_are_held() -> None:
    """It keeps a tensor that is part of a graph."""

    def make() -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is deprecated, and in use
            return nn.Sequential(nn.Flatten(), torch.nn.utils.weight_norm(nn.Linear(30, 4)))

    ensemble = make_ensemble(network_of(make), [1], [0.1])
    before = ensemble.state.raw.clone()
    train(ensemble)
    assert ensemble.state.raw.isfinite().all()
    assert not torch.equal(ensemble.state.raw, before)


def test_a_module_that_squeezes_is_tried_on_more_than_one_image() -> None:
    class Squeezing(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.squeeze()[:, None])

    assert network_of(Squeezing).num_parameters == network_of(Net).num_parameters


def test_a_users_module_that_cannot_be_mapped_is_looped_over() -> None:
    class Branching(Net):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return y if y.sum() > 0 else -y

    @contextmanager
    def trying(doing: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise UserError(f"{doing}: {error}") from error

    def make(net: Callable[[], nn.Module]) -> ModuleNetwork:
        return ModuleNetwork(net, "net.py:Net", SHAPE, 4, torch.float32, CPU, trying)

    assert not make(Branching)._can_be_mapped()
    assert make(Net)._can_be_mapped()


def test_multiplications_are_those_of_the_layers() -> None:
    network = network_of(Net)
    assert network.macs == 4 * 9 * 30 + 4 * 4 + 4 * 4
