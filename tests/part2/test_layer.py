"""The soft-threshold and the module: definitions, derivatives, training, the ends of each dtype."""

import io
import math
from typing import Any

import pytest
import torch
from cases import draw_case
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from midterm_cli.errors import UserError
from midterm_cli.part2.layer import (
    SofttModule,
    apply_g,
    closed_form_gradients,
    create_symmetric_invertible_matrix,
    softt,
    softt_derivative,
    softt_second_derivative,
    squared_distance,
    symmetric_part,
)
from midterm_cli.part2.softt.run import autograd_derivatives

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]

# ---- the soft-threshold


def by_definition(y: float, t: float) -> tuple[float, float, float]:
    """f_T, f_T' and f_T'' case by case, in Python's own numbers."""
    if y > t:
        return (y - t) ** 2, 2 * (y - t), 2.0
    if y < -t:
        return (y + t) ** 3, 3 * (y + t) ** 2, 6 * (y + t)
    return 0.0, 0.0, 0.0


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 100))
def test_value_and_derivatives_are_those_of_the_definition(y: float, t: float) -> None:
    point = torch.tensor(y, dtype=torch.float64)
    first, second = autograd_derivatives(point, t)
    expected = by_definition(y, t)
    assert (softt(point, t).item(), first.item(), second.item()) == pytest.approx(
        expected, rel=1e-14
    )
    closed = softt_derivative(point, t), softt_second_derivative(point, t)
    assert [value.item() for value in closed] == pytest.approx(expected[1:], rel=1e-14)


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.1, 20))
def test_monotone_and_flat_between_the_thresholds(a: float, b: float, t: float) -> None:
    low, high = softt(torch.tensor([min(a, b), max(a, b)], dtype=torch.float64), t).tolist()
    assert low <= high
    assert (softt(torch.tensor(a, dtype=torch.float64), t).item() == 0) == (abs(a) <= t)


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_nan_up_to_the_largest_finite_value(dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    exponents = torch.linspace(-6, math.log10(info.max) - 0.01, 80, dtype=torch.float64)
    ends = torch.tensor([info.max, info.max / 2, info.tiny, 0.0], dtype=torch.float64)
    magnitudes = torch.cat([10**exponents, ends]).to(dtype)
    y = torch.cat([magnitudes, -magnitudes])
    for t in (2.81, 1e-3, math.sqrt(info.max), info.max):
        first, second = autograd_derivatives(y, t)
        expected = torch.tensor(
            [
                by_definition_or_inf(value, float(torch.tensor(t, dtype=dtype)))
                for value in y.tolist()
            ]
        ).to(torch.float64)
        for value, true in zip((softt(y, t), first, second), expected.T, strict=True):
            assert not value.isnan().any()
            assert value.dtype == dtype
            # Finite where the true value is; rounding of y - T decides at the border itself.
            below = true.abs() < 0.99 * info.max
            assert bool(value[below].isfinite().all())
            assert bool(value[true.abs() > 1.01 * info.max].isinf().all())
            assert bool((value.double().sign() * true.sign() >= 0).all())


def by_definition_or_inf(y: float, t: float) -> tuple[float, ...]:
    try:
        return by_definition(y, t)
    except OverflowError:
        return (math.inf, 2 * (y - t), 2.0) if y > t else (-math.inf, math.inf, 6 * (y + t))


def test_the_form_with_where_does_give_nan() -> None:
    """Why the branch-free form: the plain one fails the test above."""

    def with_where(y: Tensor, t: float) -> Tensor:
        zero = torch.zeros_like(y)
        return torch.where(y > t, (y - t) ** 2, torch.where(y < -t, (y + t) ** 3, zero))

    y = torch.tensor([1e20], requires_grad=True)
    (plain,) = torch.autograd.grad(with_where(y, 2.81).sum(), y)
    (ours,) = torch.autograd.grad(softt(y, 2.81).sum(), y)
    assert plain.isnan().all()
    assert ours.item() == pytest.approx(2e20)


def test_infinity_and_nan_pass_through() -> None:
    y = torch.tensor([math.inf, -math.inf, math.nan])
    assert softt(y, 1.0)[:2].tolist() == [math.inf, -math.inf]
    assert softt(y, 1.0)[2].isnan()


def test_gradcheck_and_gradgradcheck_away_from_the_thresholds() -> None:
    y = torch.tensor([-9.0, -3.5, -1.0, 0.3, 2.0, 3.1, 12.0], dtype=torch.float64)
    y = y.reshape(7, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda points: softt(points, 2.81), (y,))
    assert torch.autograd.gradgradcheck(lambda points: softt(points, 2.81), (y,))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 5)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    y = 10 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flat = [by_definition(value, 2.81)[0] for value in y.flatten().tolist()]
    assert softt(y, 2.81).shape == shape
    assert softt(y, 2.81).flatten().tolist() == pytest.approx(flat)


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan, math.inf])
def test_threshold_must_be_positive(threshold: float) -> None:
    with pytest.raises(UserError, match="threshold must be greater than 0"):
        softt(torch.zeros(1), threshold)


# ---- the layer


def test_g_by_hand() -> None:
    """M = diag(2, -1): M x = (8, -4), f_1(M x) = (49, -27), g = (24.5, 27)."""
    matrix = torch.diag(torch.tensor([2.0, -1.0], dtype=torch.float64))
    x = torch.tensor([4.0, 4.0], dtype=torch.float64)
    assert apply_g(x, matrix, 1.0).tolist() == pytest.approx([24.5, 27.0])
    assert squared_distance(x, matrix, 1.0).item() == pytest.approx(20.5**2 + 23**2)


@pytest.mark.parametrize("num_cases", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_autograd_is_the_closed_form_over_random_cases(num_cases: int) -> None:
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for case in range(num_cases):
        dimension = 1 + case % 64
        threshold = 10 ** (2 * torch.rand((), generator=generator).item() - 1)
        matrix, x = draw_case(dimension, case)
        matrix.requires_grad_()
        x.requires_grad_()
        phi = squared_distance(x, matrix, threshold)
        gradients = torch.autograd.grad(phi, (x, matrix))
        with torch.no_grad():
            closed = closed_form_gradients(x, matrix, threshold)
        for gradient, expected in zip(gradients, closed, strict=True):
            difference = float((gradient - expected).abs().max())
            scale = float(expected.abs().max())
            worst = max(worst, difference / scale if scale else difference)
    assert worst < 1e-10


def test_gradcheck() -> None:
    matrix, x = draw_case(4, seed=1, condition=5.0)
    batch = torch.stack([x, -2 * x, x / 3]).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, matrix: apply_g(x, matrix, 0.7), (batch, matrix.clone().requires_grad_())
    )
    assert torch.autograd.gradgradcheck(
        lambda x: squared_distance(x, matrix, 0.7), (batch,), atol=1e-4
    )


def test_symmetric_gradient_is_the_derivative_along_symmetric_matrices() -> None:
    matrix, x = draw_case(3, seed=2)
    module = SofttModule(matrix, 1.0)
    (gradient,) = torch.autograd.grad((x - module(x)).square().sum(), module.M)
    assert torch.equal(gradient, gradient.mT)
    free = closed_form_gradients(x, matrix, 1.0)[1]
    torch.testing.assert_close(gradient, symmetric_part(free))
    assert not torch.allclose(free, free.mT)


@pytest.mark.parametrize("shape", [(5,), (1, 5), (7, 5), (2, 3, 5), (0, 5)])
def test_batches_are_taken_row_by_row(shape: tuple[int, ...]) -> None:
    matrix, _ = draw_case(5, seed=3)
    x = 4 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    module = SofttModule(matrix, 2.81)
    g = module(x)
    assert g.shape == shape
    expected = [module(row) for row in x.reshape(-1, 5)]
    for row, value in zip(g.reshape(-1, 5), expected, strict=True):
        torch.testing.assert_close(row, value)
    assert squared_distance(x, matrix, 2.81).shape == shape[:-1]


@pytest.mark.parametrize(
    "optimiser",
    [
        lambda parameters: torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=0.1),
        lambda parameters: torch.optim.Adam(parameters, lr=1e-2),
    ],
)
def test_training_keeps_m_symmetric_and_lowers_phi(optimiser: Any) -> None:
    matrix, x = draw_case(4, seed=4, condition=3.0)
    module = SofttModule(matrix, 0.5)
    steps = optimiser(module.parameters())
    losses = []
    for _ in range(20):
        steps.zero_grad()
        loss = (x / 3 - module(x / 3)).square().sum()
        loss.backward()
        steps.step()
        losses.append(loss.item())
        assert torch.equal(module.M, module.M.mT)
        # The output is that of the M of now, not of the one of the constructor.
        now = module.M.detach().inverse() @ softt(module.M.detach() @ (x / 3), 0.5)
        torch.testing.assert_close(module(x / 3).detach(), now)
    assert losses[-1] < losses[0]
    assert not torch.equal(module.M, matrix)


def test_backward_twice_adds_up() -> None:
    matrix, x = draw_case(3, seed=5)
    module = SofttModule(matrix, 1.0)
    for _ in range(2):
        (x - module(x)).square().sum().backward()
    (once,) = torch.autograd.grad((x - module(x)).square().sum(), module.M)
    assert module.M.grad is not None
    torch.testing.assert_close(module.M.grad, 2 * once)


def test_state_dict_goes_round_by_way_of_a_file() -> None:
    matrix, x = draw_case(3, seed=6)
    module, other = SofttModule(matrix, 1.0), SofttModule(torch.eye(3, dtype=torch.float64), 1.0)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert list(module.state_dict()) == ["M"]
    assert torch.equal(module(x), other(x))


def test_an_asymmetric_parameter_enters_by_its_symmetric_part() -> None:
    matrix, x = draw_case(3, seed=7)
    module = SofttModule(matrix, 1.0)
    before = module(x)
    with torch.no_grad():
        module.M[0, 1] += 0.25
        module.M[1, 0] -= 0.25
    torch.testing.assert_close(module(x), before)


def test_a_module_says_what_it_is() -> None:
    assert repr(SofttModule(torch.eye(3), 2.5)) == "SofttModule(dimension=3, threshold=2.5)"


def test_float32_and_float64_modules() -> None:
    matrix, x = draw_case(4, seed=8, condition=3.0)
    module = SofttModule(matrix, 2.81)
    expected = module(x)
    single = SofttModule(matrix.float(), 2.81)
    torch.testing.assert_close(single(x.float()), expected.float(), rtol=1e-4, atol=1e-4)
    assert torch.equal(single.double()(x).double(), single(x))


def test_torch_compile() -> None:
    matrix, x = draw_case(3, seed=9)
    module = SofttModule(matrix, 1.0)
    # aot_eager traces forward and backward as the default backend does, and needs no C++ compiler.
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    (expected,) = torch.autograd.grad((x - module(x)).square().sum(), module.M)
    (gradient,) = torch.autograd.grad((x - compiled(x)).square().sum(), module.M)
    torch.testing.assert_close(gradient, expected)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.floats(1, 1e6), st.integers(0, 2**31))
def test_random_matrix_is_symmetric_and_well_conditioned(
    dimension: int, bound: float, seed: int
) -> None:
    def create() -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return create_symmetric_invertible_matrix(dimension, bound, generator)

    matrix = create()
    assert torch.equal(matrix, matrix.mT)
    assert float(torch.linalg.cond(matrix)) <= bound * (1 + 1e-6)
    assert torch.equal(matrix, create())


def test_random_matrices_have_eigenvalues_of_both_signs_about_one() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = create_symmetric_invertible_matrix(40, 10.0, generator)
    eigenvalues = torch.linalg.eigvalsh(matrix)
    assert 10 < int((eigenvalues > 0).sum()) < 30
    exponents = eigenvalues.abs().log10()
    assert -0.5 <= exponents.min() < -0.4
    assert 0.4 < exponents.max() <= 0.5
