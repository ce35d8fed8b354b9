"""The largest Hessian eigenvalue against whole Hessians and closed forms, and along a run."""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from midterm_cli.experiment import Context
from midterm_cli.part3.mlp import Activation, Architecture, initial_weights
from midterm_cli.part3.problem import Problem, ProblemConfig
from midterm_cli.part3.sharpness import along_run, extremes, sharpness
from midterm_cli.config import resolve as config

ACTIVATIONS: tuple[Activation, ...] = ("relu", "identity", "tanh")
SIZES = (5, 4, 3)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Products as small as these are slower on two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def examples() -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.normal(size=(12, 5))), torch.from_numpy(rng.integers(0, 3, 12))


def network_of(
    activation: Activation, sizes: tuple[int, ...] = SIZES, seed: int = 2, scale: float = 2.0
) -> list[Tensor]:
    weights = initial_weights(Architecture(sizes, activation), seed)
    return [torch.from_numpy(scale * weight) for weight in weights]


def found(network: list[Tensor], x: Tensor, labels: Tensor, activation: Activation) -> float:
    return sharpness(network, x, labels, activation, num_iterations=20_000, tolerance=1e-6, seed=0)


def eigenvalues(network: list[Tensor], x: Tensor, labels: Tensor, activation: Activation) -> Tensor:
    """Of the whole Hessian, by torch's own double differentiation of a plain reading of the MLP."""
    sizes = (x.shape[1], *(weight.shape[1] for weight in network))
    real = [w[: fan_in + 1].T.reshape(-1) for w, fan_in in zip(network, sizes, strict=False)]

    def loss(flat: Tensor) -> Tensor:
        h, at = x, 0
        for fan_in, fan_out in pairwise(sizes):
            matrix = flat[at : at + (fan_in + 1) * fan_out].view(fan_out, fan_in + 1)
            at += matrix.numel()
            h = linear(h, matrix[:, :-1], matrix[:, -1])
            if at < len(flat):
                h = {"relu": torch.relu, "tanh": torch.tanh, "identity": torch.clone}[activation](h)
        return cross_entropy(h, labels)

    hessian: Tensor = torch.autograd.functional.hessian(loss, torch.cat(real))
    values: Tensor = torch.linalg.eigvalsh(hessian)
    return values


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [(5, 3), SIZES, (5, 4, 4, 3)])
def test_it_is_the_largest_eigenvalue_of_the_whole_hessian(
    activation: Activation, sizes: tuple[int, ...]
) -> None:
    network, (x, labels) = network_of(activation, sizes), examples()
    truth = eigenvalues(network, x, labels, activation)[-1].item()
    assert found(network, x, labels, activation) == pytest.approx(truth, rel=1e-6)


def confidently_wrong(shift: float) -> tuple[list[Tensor], Tensor, Tensor]:
    """A tanh network whose last bias gives every example the wrong class."""
    network, (x, _) = network_of("tanh", seed=28, scale=4.0), examples()
    network[-1][SIZES[1]] += torch.tensor([shift, 0.0, 0.0], dtype=torch.float64)
    return network, x, torch.ones(len(x), dtype=torch.int64)


def test_an_eigenvalue_that_is_more_negative_than_the_largest_is_positive_does_not_win() -> None:
    network, x, labels = confidently_wrong(6.0)
    truth = eigenvalues(network, x, labels, "tanh")
    assert -truth[0] > 2 * truth[-1] > 0.1
    assert found(network, x, labels, "tanh") == pytest.approx(truth[-1].item(), rel=1e-6)


def test_opposite_eigenvalues_of_one_magnitude_do_not_keep_it_from_the_answer() -> None:
    """A linear network that is all but certain of the wrong class: H couples the layers alone."""
    network, x, labels = confidently_wrong(90.0)
    truth = eigenvalues(network, x, labels, "identity")
    assert -truth[0].item() == pytest.approx(truth[-1].item(), rel=1e-9)
    answer = sharpness(network, x, labels, "identity", num_iterations=300, tolerance=1e-6, seed=0)
    assert answer == pytest.approx(truth[-1].item(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softmax_regression_at_zero_has_the_second_moment_of_its_inputs(dtype: torch.dtype) -> None:
    """At zero weights p = 1/C, and H = (mean x xᵀ) ⊗ (I/C - 11ᵀ/C²), with λ_max = max x²/C."""
    x = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=dtype)
    labels = torch.tensor([0, 1, 2, 3])
    second_moment = (9 + 9 + 0 + 0) / 4
    answer = sharpness(
        [torch.zeros(16, 4, dtype=dtype)],
        x,
        labels,
        "relu",
        num_iterations=100,
        tolerance=1e-4,
        seed=0,
    )
    assert answer == pytest.approx(second_moment / 4, rel=1e-6)


def test_rows_of_padding_and_inference_tensors_make_no_difference() -> None:
    network, (x, labels) = network_of("tanh"), examples()
    expected = found(network, x, labels, "tanh")
    with torch.inference_mode():
        padded = [weight.clone() for weight in network]
        padded[0][SIZES[0] + 1 :] = 5.0
    assert found(padded, x, labels, "tanh") == expected


def test_the_seed_decides_the_last_digits_alone() -> None:
    network, (x, labels) = network_of("relu"), examples()

    def of(seed: int) -> float:
        return sharpness(network, x, labels, "relu", num_iterations=200, tolerance=1e-2, seed=seed)

    assert of(0) == of(0)
    assert of(0) != of(1)
    assert of(0) == pytest.approx(of(1), rel=1e-3)


def test_too_few_iterations_give_less_and_never_more() -> None:
    network, (x, labels) = network_of("tanh"), examples()
    answers = [
        sharpness(network, x, labels, "tanh", num_iterations=num, tolerance=1e-9, seed=0)
        for num in (1, 2, 4, 2000)
    ]
    assert answers == sorted(answers)
    assert answers[0] < answers[-1]


def test_too_few_iterations_do_not_make_it_negative() -> None:
    network, x, labels = confidently_wrong(6.0)
    answers = [
        sharpness(network, x, labels, "tanh", num_iterations=1, tolerance=0.1, seed=seed)
        for seed in range(10)
    ]
    assert min(answers) == 0 < max(answers)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_network_that_is_not_finite_has_no_sharpness(bad: float) -> None:
    network, (x, labels) = network_of("relu"), examples()
    network[0][0, 0] = bad
    assert np.isnan(found(network, x, labels, "relu"))


def test_a_flat_loss_has_sharpness_zero() -> None:
    """Certain and right: the softmax is 1 to the last digit."""
    network, (x, _) = network_of("identity"), examples()
    network[-1][SIZES[1], 0] = 1e6
    assert found(network, x, torch.zeros(len(x), dtype=torch.int64), "identity") == 0


# ---- along a run


def problem_of(*assignments: str) -> Problem:
    tiny = ("dataset=synthetic", "train_fraction=0.05", "hidden_sizes=[8]", "device=cpu")
    made = config.resolve("lr_sweep", None, (*tiny, *assignments)).config
    assert isinstance(made, ProblemConfig)
    return Problem(made, Context(torch.device("cpu")))


@pytest.fixture(scope="module")
def problem() -> Problem:
    return problem_of()  # 300 examples, 38 updates a pass, which stops after 5, 10, …, 35, 38


def test_the_rows_are_those_of_the_run(problem: Problem) -> None:
    """Each is the sharpness of a run that nobody measured, on all examples where they are few."""
    rows = along_run(problem, 1e-3, 4, epochs=2, num_points=4)
    assert [row["updates"] for row in rows] == [0, 20, 38, 58, 76]
    assert all(row["two_over_sharpness"] == 2 / row["sharpness"] for row in rows)

    subset = problem.subset(4)
    images = problem.train.images[subset.rows].double()
    x, labels = images - torch.from_numpy(subset.mean), problem.train.labels[subset.rows]
    ensemble = problem.ensemble([4], [1e-3])

    def truly() -> float:
        network = [layer[0].double() for layer in ensemble.layers()]
        return sharpness(network, x, labels, "relu", num_iterations=500, tolerance=1e-4, seed=0)

    truth = [truly()]
    for epoch in (1, 2):
        for done in ensemble.train(epoch):
            if done in (20, 38):
                truth.append(truly())
    assert [row["sharpness"] for row in rows] == pytest.approx(truth, rel=5e-3)


def test_the_same_seed_gives_the_same_rows(problem: Problem) -> None:
    first, again = (along_run(problem, 1e-3, 1, epochs=1, num_points=2) for _ in range(2))
    other = along_run(problem, 1e-3, 2, epochs=1, num_points=2)
    assert first == again
    assert all(a["sharpness"] != b["sharpness"] for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("num_points", "updates"),
    [(1, [38]), (3, [15, 30, 38]), (8, [5, 10, 15, 20, 25, 30, 35, 38])],
)
def test_moments_are_spread_evenly_and_end_with_the_run(
    problem: Problem, num_points: int, updates: list[int]
) -> None:
    rows = along_run(problem, 1e-3, 0, epochs=1, num_points=num_points)
    assert [row["updates"] for row in rows] == [0, *updates]


def test_more_points_than_moments_are_all_moments(problem: Problem) -> None:
    assert along_run(problem, 1e-3, 0, 1, 99) == along_run(problem, 1e-3, 0, 1, 8)


def test_a_run_that_leaves_the_finite_numbers_ends_its_rows() -> None:
    rows = along_run(problem_of("activation=identity"), 1.0, 0, epochs=2, num_points=16)
    assert rows[0]["sharpness"] > 0
    assert rows[-1]["updates"] < 38
    json.dumps(rows, allow_nan=False)


def test_a_large_training_set_is_measured_on_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def spy(network: object, x: Tensor, labels: Tensor, *args: object, **kwargs: object) -> float:
        seen.append((x, labels))
        return 1.0

    monkeypatch.setattr("midterm_cli.part3.sharpness.sharpness", spy)
    problem = problem_of("train_fraction=0.5")
    along_run(problem, 1e-3, 0, epochs=1, num_points=2)
    assert len(seen) == 3
    assert all(torch.equal(x, seen[0][0]) for x, _ in seen)

    x, labels = seen[0]
    subset = problem.subset(0)
    row_of = {problem.train.images[row].numpy().tobytes(): row for row in subset.rows}
    images = (x.double() + torch.from_numpy(subset.mean)).round().to(torch.uint8)
    rows = [row_of[image.numpy().tobytes()] for image in images]
    assert len(set(rows)) == 1000
    assert torch.equal(labels, problem.train.labels[rows])


def point(updates: int, value: float | None) -> dict[str, Any]:
    return {
        "updates": updates,
        "sharpness": value,
        "two_over_sharpness": 2 / value if value else None,
    }


def test_the_maximum_leaves_out_the_start() -> None:
    points = [point(0, 500.0), point(10, 40.0), point(20, 80.0), point(30, None)]
    assert extremes(points) == {
        "max_sharpness": 80.0,
        "two_over_max": 0.025,
        "two_over_start": 0.004,
    }


def test_without_points_after_the_start_there_is_no_maximum() -> None:
    assert extremes([point(0, 500.0)]) == {
        "max_sharpness": None,
        "two_over_max": None,
        "two_over_start": 0.004,
    }
    flat = extremes([point(0, 0.0), point(10, 0.0)])
    assert flat == {"max_sharpness": 0.0, "two_over_max": None, "two_over_start": None}
