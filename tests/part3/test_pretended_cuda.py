"""The whole path on a pretended GPU: each tensor on its device, and no question inside an epoch.

Tensors of `FakeTensorMode` have a device and no values: what meets one of another device, or asks
for a value in another way than by `host.read`, raises. Only gradients by autograd cannot be
pretended, since PyTorch's engine asks for a real device.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from midterm_cli.config import resolve
from midterm_cli.experiment import Context
from midterm_cli.part3 import host
from midterm_cli.part3.ensemble import Ensemble
from midterm_cli.part3.lr_range.run import run as run_range
from midterm_cli.part3.lr_range.schema import Config as RangeConfig
from midterm_cli.part3.lr_sweep.run import run as run_sweep
from midterm_cli.part3.lr_sweep.schema import Config as SweepConfig
from midterm_cli.part3.problem import Problem
from midterm_cli.part3.train.run import run as run_training
from midterm_cli.part3.train.schema import Config as TrainConfig

CUDA = Context(torch.device("cuda:0"), Path("nowhere"))
SMALL = ("dataset=synthetic", "train_fraction=0.02", "hidden_sizes=[8, 4]", "num_seeds=3")


class Questions:
    """Answers in place of a device, and how often it was asked."""

    def __init__(self) -> None:
        self.num = 0

    def read(self, tensor: Tensor) -> np.ndarray:
        assert tensor.device.type == "cuda"
        self.num += 1
        if tensor.dtype == torch.bool:
            return np.ones(tensor.shape, dtype=bool)
        dtype = torch.empty(0, dtype=tensor.dtype, device="meta").dtype
        values = np.random.default_rng(0).random(tensor.shape)
        return values.astype(str(dtype).removeprefix("torch."))


class AtOnce(Executor):
    """Work is done when it is submitted: what is pretended, is so for one thread."""

    def __init__(self, workers: int) -> None:
        pass

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(work(*args, **kwargs))
        return future


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Questions]:
    asked = Questions()
    monkeypatch.setattr(host, "read", asked.read)
    monkeypatch.setattr(host, "memory", lambda device: 80 * 2**30)
    monkeypatch.setattr("midterm_cli.part3.train.run.ThreadPoolExecutor", AtOnce)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield asked


def config_of(experiment: str, *assignments: str) -> Any:
    return resolve.resolve(experiment, None, (*SMALL, *assignments)).config


def devices(ensemble: Ensemble) -> set[str]:
    state = ensemble.state
    return {str(flat.device) for flat in (*state.by_gamma().values(), *state.optimizer.values())}


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("activation=gelu", "dtype=float64", "normalize=standard"),
        ("momentum=0.9", "nesterov=true", "weight_decay=0.1"),
        ("optimizer=adam", "schedule=cosine", "warmup=0.5"),
        ("optimizer=adamw", "weight_decay=0.1"),
        ("optimizer=rmsprop", "momentum=0.5"),
    ],
)
def test_nothing_is_asked_inside_an_epoch(changes: tuple[str, ...], questions: Questions) -> None:
    problem = Problem(config_of("train", *changes), CUDA)
    ensemble = problem.ensemble([0, 1, 2], [1e-3, 1e-2, 1e-1], (1e-3, 0.1))
    before = questions.num
    for done in ensemble.train(1):
        # Whether all weights are finite is asked once, at the end.
        assert questions.num == before + (done == ensemble.num_updates)
    assert devices(ensemble) == {"cuda:0"}


def test_models_are_taken_out_and_restored_on_the_device(questions: Questions) -> None:
    problem = Problem(config_of("train", "optimizer=adam"), CUDA)
    ensemble = problem.ensemble([0, 1, 2], [1e-3] * 3, (1e-3,))
    for _ in ensemble.train(1):
        pass
    ensemble.freeze([1])
    restored = problem.ensemble([0, 1, 2], [1e-3] * 3, (1e-3,))
    restored.restore(ensemble.state, ensemble.frozen)
    for _ in restored.train(2):
        pass
    assert devices(restored) == {"cuda:0"}
    assert restored.models == (0, 2)


def test_a_model_is_evaluated_with_a_few_questions(questions: Questions) -> None:
    problem = Problem(config_of("train"), CUDA)
    ensemble = problem.ensemble([0, 1, 2], [1e-3] * 3, (1e-3,))
    before = questions.num
    found = problem.evaluate(ensemble.state, [0, 1, 2], ("train", "test"))
    assert len(found) == 3
    # The training sets differ by seed, the test set is one: loss and accuracy of each.
    assert questions.num - before == 2 * 4


def test_a_training_run(questions: Questions) -> None:
    config = config_of("train", "epochs=2", "log_every=0")
    assert isinstance(config, TrainConfig)
    output = run_training(config, CUDA)
    assert len(output.results.model_dump()["history"]) == 3 * 3 * 2


class Kept:
    """The state of a run, in memory."""

    def __init__(self) -> None:
        self.saved: dict[str, Any] | None = None

    def load(self, read: Callable[[Any], Any]) -> Any:
        return None if self.saved is None else read(self.saved)

    def save(self, state: Mapping[str, Any]) -> None:
        self.saved = dict(state)


def test_a_run_is_resumed(questions: Questions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midterm_cli.part3.train.run._SAVE_EVERY_SECONDS", -1.0)
    config = config_of("train", "epochs=2", "optimizer=adam")
    assert isinstance(config, TrainConfig)
    kept = Kept()
    first = run_training(config, replace(CUDA, state=kept))
    assert kept.saved is not None
    again = run_training(config, replace(CUDA, state=kept))
    assert len(again.results.model_dump()["history"]) == len(first.results.model_dump()["history"])


def test_a_sweep(questions: Questions) -> None:
    config = config_of("lr_sweep", "rates=[1.0e-3, 2.0e-3]")
    assert isinstance(config, SweepConfig)
    output = run_sweep(config, CUDA)
    assert len(output.results.model_dump()["trials"]) == 6


def test_a_range_test(questions: Questions) -> None:
    config = config_of("lr_range", "num_updates=40")
    assert isinstance(config, RangeConfig)
    output = run_range(config, CUDA)
    assert len(output.results.model_dump()["curve"]) == 40
