"""The learning problem: its threads, numbers near zero, and the copy for another process."""

import pickle
from pathlib import Path

import pytest
import torch

from midterm_cli.config import resolve
from midterm_cli.experiment import Context
from midterm_cli.part3.problem import Problem, arithmetic, computed_by
from midterm_cli.part3.train.schema import Config

CPU = torch.device("cpu")


def problem_of(*assignments: str) -> Problem:
    config = resolve.resolve("train", None, ["dataset=synthetic", *assignments]).config
    assert isinstance(config, Config)
    return Problem(config, Context(CPU, Path("nowhere")))


@pytest.mark.parametrize(
    ("hidden", "num_groups", "workers", "threads"),
    [
        ("[32, 16, 12]", 1, 8, 1),
        ("[1024]", 1, 8, 8),
        ("[1024]", 3, 8, 2),
        ("[1024]", 8, 8, 1),
        ("[1024]", 9, 8, 1),
    ],
)
def test_idle_cores_help_only_large_matmuls(
    hidden: str, num_groups: int, workers: int, threads: int
) -> None:
    problem = problem_of(f"hidden_sizes={hidden}")
    assert problem.threads(num_groups, workers) == threads


@pytest.mark.parametrize(
    ("hidden", "num", "workers", "sizes"),
    [
        ("[32, 16, 12]", 10, 1, [10]),
        ("[32, 16, 12]", 10, 4, [3, 3, 2, 2]),
        ("[32, 16, 12]", 3, 8, [1, 1, 1]),
        ("[32, 16, 12]", 40, 2, [14, 13, 13]),  # at most 16 side by side
        ("[512]", 4, 1, [2, 2]),  # 8 · 512 · 810 multiplications a model
        ("[2048]", 2, 1, [1, 1]),
    ],
)
def test_groups_are_even_and_fit_into_the_cache(
    hidden: str, num: int, workers: int, sizes: list[int]
) -> None:
    groups = problem_of(f"hidden_sizes={hidden}").groups(range(num), workers)
    assert [len(group) for group in groups] == sizes
    assert sorted(model for group in groups for model in group) == list(range(num))


def test_arithmetic_takes_denormals_as_zero_and_leaves_all_as_it_was() -> None:
    small = torch.full((64,), 1e-38)
    before = torch.get_num_threads()
    with arithmetic(before + 1) as threads:
        assert torch.get_num_threads() == threads == before + 1
        assert not (small * 0.01).any()
    assert torch.get_num_threads() == before
    assert (small * 0.01).all()


def test_a_pickled_problem_gives_the_same_results() -> None:
    problem = problem_of("hidden_sizes=[16]", "train_fraction=0.02", "activation=tanh")
    problem.subset(3)
    copy = pickle.loads(pickle.dumps(problem))
    assert isinstance(copy, Problem)
    assert (copy.config, copy.provenance) == (problem.config, problem.provenance)
    losses = []
    for one in (problem, copy):
        ensemble = one.ensemble([3, 4], [1e-3, 1e-4], [0.1])
        for _ in ensemble.train(1):
            pass
        losses.append(one.evaluate(ensemble.state, [3, 4], ("train", "test")))
    assert losses[0] == losses[1]
    assert losses[0][0][0.1]["train"].loss != losses[0][1][0.1]["train"].loss


def test_a_pickled_problem_arrives_on_the_cpu() -> None:
    """Another machine may lack the device of this one; `meta` stands in for it."""
    problem = Problem(problem_of().config, Context(torch.device("meta")))
    copy = pickle.loads(pickle.dumps(problem))
    assert problem.train.images.device.type == "meta"
    for examples in (copy.train, copy.test):
        assert {examples.images.device.type, examples.labels.device.type} == {"cpu"}


def test_who_computed_what() -> None:
    here = [(None, (1, 2)), (None, (3,))]
    assert computed_by("seeds", here) == {}
    a, b = {"worker": "a", "host": "x"}, {"worker": "b", "host": "x"}
    assert computed_by("seeds", [(b, (3,)), (a, (2,)), (None, (4,)), (a, (1,))]) == {
        "computed_by": [a | {"seeds": [1, 2]}, b | {"seeds": [3]}]
    }
