"""How the arithmetic of a learning problem is set up: threads, and numbers near zero."""

from pathlib import Path

import pytest
import torch

from midterm_cli.experiment import Context
from midterm_cli.part3 import train
from midterm_cli.part3.problem import Problem, arithmetic
from midterm_cli.config import resolve as configs


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
def test_idle_cores_help_only_large_products(
    hidden: str, num_groups: int, workers: int, threads: int
) -> None:
    resolved = configs.resolve("train", None, ["dataset=synthetic", f"hidden_sizes={hidden}"])
    assert isinstance(resolved.config, train.Config)
    problem = Problem(resolved.config, Context(torch.device("cpu"), Path("nowhere")))
    assert problem.threads(num_groups, workers) == threads


def test_arithmetic_takes_denormals_as_zero_and_leaves_all_as_it_was() -> None:
    small = torch.full((64,), 1e-38)
    before = torch.get_num_threads()
    with arithmetic(before + 1) as threads:
        assert torch.get_num_threads() == threads == before + 1
        assert not (small * 0.01).any()
    assert torch.get_num_threads() == before
    assert (small * 0.01).all()
