"""The largest Hessian eigenvalue against whole Hessians and closed forms, and along a run."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from midterm_cli.config import resolve
from midterm_cli.experiment import Context
from midterm_cli.part3.lr_sweep.schema import SharpnessPoint
from midterm_cli.part3.network import MLP
from midterm_cli.part3.problem import Problem
from midterm_cli.part3.schema import Activation, ProblemConfig
from midterm_cli.part3.sharpness import along_run, sharpness, sharpness_of_run

ACTIVATIONS: tuple[Activation, ...] = ("relu", "identity", "tanh")
SIZES = (5, 4, 3)


def examples() -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.normal(size=(12, 5))), torch.from_numpy(rng.integers(0, 3, 12))


def model_of(
    activation: Activation, sizes: tuple[int, ...] = SIZES, seed: int = 2, scale: float = 2.0
) -> list[Tensor]:
    weights = MLP(sizes, activation).initial(seed)
    return [scale * weight for weight in weights]


def largest(
    model: list[Tensor], x: Tensor, labels: Tensor, activation: Activation, **how: Any
) -> float:
    sizes = (x.shape[1], *(weight.shape[1] for weight in model))
    return sharpness(MLP(sizes, activation), model, x, labels, **how)


def found(model: list[Tensor], x: Tensor, labels: Tensor, activation: Activation) -> float:
    return largest(model, x, labels, activation, num_iterations=20_000, tolerance=1e-6, seed=0)


def eigenvalues(model: list[Tensor], x: Tensor, labels: Tensor, activation: Activation) -> Tensor:
    """Of the whole Hessian, by torch's own double differentiation of the MLP as it is written."""
    sizes = (x.shape[1], *(weight.shape[1] for weight in model))
    real = [w[: fan_in + 1].T.reshape(-1) for w, fan_in in zip(model, sizes, strict=False)]

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
    model, (x, labels) = model_of(activation, sizes), examples()
    truth = eigenvalues(model, x, labels, activation)[-1].item()
    assert found(model, x, labels, activation) == pytest.approx(truth, rel=1e-6)


def confidently_wrong(shift: float) -> tuple[list[Tensor], Tensor, Tensor]:
    """A tanh model whose last bias gives every example the wrong class."""
    model, (x, _) = model_of("tanh", seed=28, scale=4.0), examples()
    model[-1][SIZES[1]] += torch.tensor([shift, 0.0, 0.0], dtype=torch.float64)
    return model, x, torch.ones(len(x), dtype=torch.int64)


def test_an_eigenvalue_that_is_more_negative_than_the_largest_is_positive_does_not_win() -> None:
    model, x, labels = confidently_wrong(6.0)
    truth = eigenvalues(model, x, labels, "tanh")
    assert -truth[0] > 2 * truth[-1] > 0.1
    assert found(model, x, labels, "tanh") == pytest.approx(truth[-1].item(), rel=1e-6)


def test_opposite_eigenvalues_of_one_magnitude_do_not_prevent_convergence() -> None:
    """A linear model that is all but certain of the wrong class: H couples the layers alone."""
    model, x, labels = confidently_wrong(90.0)
    truth = eigenvalues(model, x, labels, "identity")
    assert -truth[0].item() == pytest.approx(truth[-1].item(), rel=1e-9)
    answer = largest(model, x, labels, "identity", num_iterations=300, tolerance=1e-6, seed=0)
    assert answer == pytest.approx(truth[-1].item(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softmax_regression_at_zero_has_the_second_moment_of_its_inputs(dtype: torch.dtype) -> None:
    """At zero weights p = 1/C, and H = (mean x xᵀ) ⊗ (I/C - 11ᵀ/C²), with λ_max = max x²/C."""
    x = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=dtype)
    labels = torch.tensor([0, 1, 2, 3])
    second_moment = (9 + 9 + 0 + 0) / 4
    answer = largest(
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
    model, (x, labels) = model_of("tanh"), examples()
    expected = found(model, x, labels, "tanh")
    with torch.inference_mode():
        padded = [weight.clone() for weight in model]
        padded[0][SIZES[0] + 1 :] = 5.0
    assert found(padded, x, labels, "tanh") == expected


def test_the_seed_decides_the_last_digits_alone() -> None:
    model, (x, labels) = model_of("relu"), examples()

    def of(seed: int) -> float:
        return largest(model, x, labels, "relu", num_iterations=200, tolerance=1e-2, seed=seed)

    assert of(0) == of(0)
    assert of(0) != of(1)
    assert of(0) == pytest.approx(of(1), rel=1e-3)


def test_too_few_iterations_give_less_and_never_more() -> None:
    model, (x, labels) = model_of("tanh"), examples()
    answers = [
        largest(model, x, labels, "tanh", num_iterations=num, tolerance=1e-9, seed=0)
        for num in (1, 2, 4, 2000)
    ]
    assert answers == sorted(answers)
    assert answers[0] < answers[-1]


def test_too_few_iterations_do_not_make_it_negative() -> None:
    model, x, labels = confidently_wrong(6.0)
    answers = [
        largest(model, x, labels, "tanh", num_iterations=1, tolerance=0.1, seed=seed)
        for seed in range(10)
    ]
    assert min(answers) == 0 < max(answers)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_model_that_is_not_finite_has_no_sharpness(bad: float) -> None:
    model, (x, labels) = model_of("relu"), examples()
    model[0][0, 0] = bad
    assert np.isnan(found(model, x, labels, "relu"))


def test_a_flat_loss_has_sharpness_zero() -> None:
    """Certain and right: the softmax is 1 to the last digit."""
    model, (x, _) = model_of("identity"), examples()
    model[-1][SIZES[1], 0] = 1e6
    assert found(model, x, torch.zeros(len(x), dtype=torch.int64), "identity") == 0


# ---- along a run


def problem_of(*assignments: str) -> Problem:
    tiny = ("dataset=synthetic", "train_fraction=0.05", "hidden_sizes=[8]", "device=cpu")
    made = resolve.resolve("lr_sweep", None, (*tiny, *assignments)).config
    assert isinstance(made, ProblemConfig)
    return Problem(made, Context(torch.device("cpu")))


@pytest.fixture(scope="module")
def problem() -> Problem:
    return problem_of()  # 300 examples, 38 updates an epoch, checked after 5, 10, …, 35, 38


def sharpnesses(points: list[SharpnessPoint]) -> list[float]:
    return [point.sharpness for point in points if point.sharpness is not None]


def test_the_points_are_those_of_the_run(problem: Problem) -> None:
    """Each is the sharpness of a run that nobody measured, on all examples where they are few."""
    points = along_run(problem, 1e-3, 4, epochs=2, num_points=4)
    assert [point.updates for point in points] == [0, 20, 38, 58, 76]
    assert [point.two_over_sharpness for point in points] == [2 / s for s in sharpnesses(points)]

    subset = problem.subset(4)
    images = problem.train.images[subset.rows].double()
    x, labels = images - torch.from_numpy(subset.mean), problem.train.labels[subset.rows]
    ensemble = problem.ensemble([4], [1e-3])

    def truly() -> float:
        model = [layer[0].double() for layer in ensemble.parameters()]
        return largest(model, x, labels, "relu", num_iterations=500, tolerance=1e-4, seed=0)

    truth = [truly()]
    for epoch in (1, 2):
        for done in ensemble.train(epoch):
            if done in (20, 38):
                truth.append(truly())
    # An iteration ends where an eigenvalue is within 2 % of what it has.
    assert sharpnesses(points) == pytest.approx(truth, rel=2e-2)


def test_the_same_seed_gives_the_same_points(problem: Problem) -> None:
    first, again = (along_run(problem, 1e-3, 1, epochs=1, num_points=2) for _ in range(2))
    other = along_run(problem, 1e-3, 2, epochs=1, num_points=2)
    assert first == again
    assert not set(sharpnesses(first)) & set(sharpnesses(other))


@pytest.mark.parametrize(
    ("num_points", "updates"),
    [(1, [38]), (3, [15, 30, 38]), (8, [5, 10, 15, 20, 25, 30, 35, 38])],
)
def test_moments_are_spread_evenly_and_end_with_the_run(
    problem: Problem, num_points: int, updates: list[int]
) -> None:
    points = along_run(problem, 1e-3, 0, epochs=1, num_points=num_points)
    assert [point.updates for point in points] == [0, *updates]


def test_more_points_than_moments_are_all_moments(problem: Problem) -> None:
    assert along_run(problem, 1e-3, 0, 1, 99) == along_run(problem, 1e-3, 0, 1, 8)


def test_a_run_that_diverges_has_no_further_points() -> None:
    points = along_run(problem_of("activation=identity"), 1.0, 0, epochs=2, num_points=16)
    assert sharpnesses(points)[0] > 0
    assert points[-1].updates < 38


def test_a_large_training_set_is_measured_on_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def spy(
        network: object, model: object, x: Tensor, labels: Tensor, *args: object, **kwargs: object
    ) -> float:
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


def point(updates: int, value: float | None) -> SharpnessPoint:
    over = 2 / value if value else None
    return SharpnessPoint(updates=updates, sharpness=value, two_over_sharpness=over)


@pytest.mark.parametrize(
    ("values", "max_sharpness", "two_over_max", "two_over_start"),
    [
        ([500.0, 40.0, 80.0, None], 80.0, 0.025, 0.004),  # the maximum leaves out the start
        ([500.0], None, None, 0.004),
        ([0.0, 0.0], 0.0, None, None),
        ([None, None], None, None, None),
    ],
)
def test_the_maximum_is_of_the_points_after_the_start(
    values: list[float | None],
    max_sharpness: float | None,
    two_over_max: float | None,
    two_over_start: float | None,
) -> None:
    points = [point(10 * i, value) for i, value in enumerate(values)]
    found = sharpness_of_run(1e-3, 7, points)
    assert (found.lr, found.seed, found.points) == (1e-3, 7, points)
    assert found.max_sharpness == max_sharpness
    assert found.two_over_max == two_over_max
    assert found.two_over_start == two_over_start
