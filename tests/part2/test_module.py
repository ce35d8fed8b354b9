"""The module g_T(x; M): gradients against the closed form, training, and what is refused."""

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

import midterm_cli.part2.module as experiment
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Output, Table
from midterm_cli.part2.gradients import (
    _directions,
    _quotients,
    _rounding,
    check_gradients,
    gradients_by_autograd,
)
from midterm_cli.part2.layer import (
    SofttModule,
    apply_g,
    closed_form_gradients,
    create_symmetric_invertible_matrix,
    squared_distance,
    symmetric_part,
)
from midterm_cli.part2.softt import softt

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def config(**changes: Any) -> experiment.Config:
    values = yaml.safe_load((CONFIGS / "module.yaml").read_text(encoding="utf-8"))
    return experiment.Config.model_validate_json(json.dumps(values | changes), strict=True)


def run(**changes: Any) -> Output:
    output = experiment.run(config(**changes), Context(torch.device("cpu")))
    json.dumps(output.results, allow_nan=False)
    return output


def draw_case(dimension: int, seed: int, condition: float = 100.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    matrix = create_symmetric_invertible_matrix(dimension, condition, generator)
    return matrix, 3 * torch.randn(dimension, dtype=torch.float64, generator=generator)


def test_g_by_hand() -> None:
    """M = diag(2, -1): M x = (8, -4), f_1(M x) = (49, -27), g = (24.5, 27)."""
    matrix = torch.diag(torch.tensor([2.0, -1.0], dtype=torch.float64))
    x = torch.tensor([4.0, 4.0], dtype=torch.float64)
    assert apply_g(x, matrix, 1.0).tolist() == pytest.approx([24.5, 27.0])
    assert squared_distance(x, matrix, 1.0).item() == pytest.approx(20.5**2 + 23**2)


def test_autograd_is_the_closed_form_over_1000_random_cases() -> None:
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for case in range(1000):
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


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 6), st.integers(0, 10_000), st.floats(0.5, 4))
@example(6, 1564, 1.0)  # a step of the finite differences crosses a kink
def test_every_check_of_a_run_passes(dimension: int, seed: int, threshold: float) -> None:
    for dtype in ("float64", "float32"):
        output = run(dimension=dimension, seed=seed, threshold=threshold, dtype=dtype)
        assert not output.failed, output.warnings


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


# The checks of the gradients


def test_the_error_of_a_quotient_is_estimated_wherever_the_kink_lies() -> None:
    """Of relu(t - k)², whose second derivative jumps at k, at t = 0 with k inside of the step."""
    at, step = torch.zeros((), dtype=torch.float64), 1e-3
    for kink in torch.linspace(-1.2 * step, 1.2 * step, 241, dtype=torch.float64):
        # Bound at once by a default, for which mypy infers no type.
        quotient, error = _quotients(
            lambda t, k=kink: torch.relu(t - k).square(),  # type: ignore[misc]
            at,
            torch.ones(1, dtype=torch.float64),
            step,
        )
        assert abs(float(quotient) - 2 * max(-float(kink), 0.0)) <= error / 2 + 1e-12
        assert error < 4 * step


def test_quotients_are_exact_for_a_quintic() -> None:
    at = torch.tensor([1.0, 2.0], dtype=torch.float64)
    directions = torch.eye(2, dtype=torch.float64)
    quotients, error = _quotients(lambda points: points.pow(5).sum(-1), at, directions, 0.5)
    assert quotients.tolist() == pytest.approx([5, 80], rel=1e-13)
    # One quotient is off by 10 t² h² + h⁴, two steps leave -h⁴ / 4, the next two a 16th of that.
    assert error == pytest.approx(4 * 15 / 16 * 0.5**4 / 4, rel=1e-12)


def test_directions_are_each_entry_or_seeded_unit_vectors() -> None:
    def draw(like: Tensor, seed: int) -> Tensor:
        return _directions(like, torch.Generator().manual_seed(seed))

    few = torch.zeros(8, 8, dtype=torch.float64)
    assert torch.equal(draw(few, 0).flatten(1), torch.eye(64, dtype=torch.float64))
    many = draw(torch.zeros(13, 5, dtype=torch.float64), 0)
    assert (many.shape, many.dtype) == ((64, 13, 5), torch.float64)
    torch.testing.assert_close(many.flatten(1).norm(dim=1), torch.ones(64, dtype=torch.float64))
    assert torch.equal(many, draw(torch.zeros(13, 5, dtype=torch.float64), 0))
    assert not torch.equal(many, draw(torch.zeros(13, 5, dtype=torch.float64), 1))


def test_the_bound_of_rounding_by_hand() -> None:
    """M = diag(4, -1/2), x = (2, 8): M x = (8, -4), f_1 = (49, -27), f_1' = (14, 27)."""
    x = torch.tensor([2.0, 8.0], dtype=torch.float64)
    matrix = torch.diag(torch.tensor([4.0, -0.5], dtype=torch.float64))
    f, slope = 49 + 14 * 8, 27 + 18 * 4  # with f_1'' = (2, -18); of the two components the larger
    r = 8 + 2 * f
    v = 2 * r
    dv = slope * v
    unit = 2**-23 * 2 * (4 * 2)  # eps · d · condition number
    of_matrix = 2 * (v * 2 * f + dv * 8)
    assert _rounding(x, matrix, 1.0, torch.float32) == pytest.approx(
        {
            "phi": unit * r**2,
            "grad_x": unit * 2 * (r + 4 * dv),
            "grad_M": unit * of_matrix,
            "grad_M_symmetric": unit * of_matrix,
        }
    )


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_finite_differences_take_steps_of_the_scale_of_m(scale: float) -> None:
    matrix, x = draw_case(3, seed=4, condition=3.0)
    matrix, x = scale * matrix, x / scale
    checks = check_gradients(gradients_by_autograd(x, matrix, 0.7), x, matrix, 0.7, seed=0)
    for ways in checks.values():
        check = ways["finite_differences"]
        assert check["agrees"]
        size = check["max_difference"] / check["relative"]
        assert 1e-15 < check["tolerance"] / size < 1e-5


def test_finite_differences_are_decided_by_the_seed() -> None:
    matrix, x = draw_case(65, seed=5)
    computed = gradients_by_autograd(x, matrix, 1.0)
    first, again, other = (check_gradients(computed, x, matrix, 1.0, s) for s in (0, 0, 1))
    assert first == again
    for name in ("grad_x", "grad_M"):
        assert first[name]["finite_differences"] != other[name]["finite_differences"]


# The experiment


def test_results_hold_together() -> None:
    results = run().results
    matrix, x, g = (torch.tensor(results[key], dtype=torch.float64) for key in ("M", "x", "g"))
    assert (matrix.shape, x.shape) == ((5, 5), (5,))
    assert (results["threshold"], results["dtype"]) == (2.81, "float64")
    assert results["Mx"] == pytest.approx((matrix @ x).tolist())
    torch.testing.assert_close(matrix @ g, softt(matrix @ x, 2.81))
    assert results["phi"] == pytest.approx(float((x - g).square().sum()))
    free = torch.tensor(results["grad_M"], dtype=torch.float64)
    symmetric = torch.tensor(results["grad_M_symmetric"], dtype=torch.float64)
    torch.testing.assert_close(symmetric, (free + free.mT) / 2)
    assert results["condition_number"] == pytest.approx(float(np.linalg.cond(matrix.numpy())))
    assert results["condition_number"] <= 10
    assert set(results["checks"]) == {"grad_x", "grad_M", "grad_M_symmetric"}
    for ways in results["checks"].values():
        assert ways["closed_form"]["relative"] < 1e-12
        assert ways["finite_differences"]["relative"] < 1e-8


def test_seed_decides() -> None:
    assert run().results == run().results
    assert run(seed=1).results["x"] != run().results["x"]


def test_random_x_meets_more_than_the_flat_piece() -> None:
    for seed in range(10):
        given = config(seed=seed, dimension=30, threshold=0.3)
        matrix, x = experiment._inputs(given, torch.float64)
        mx = (matrix @ x).numpy()
        assert np.sqrt(np.mean(mx**2)) == pytest.approx(0.6)
        assert min((mx > 0.3).sum(), (mx < -0.3).sum(), (abs(mx) < 0.3).sum()) > 0


def test_float32_is_held_against_double_precision() -> None:
    checks = run(dtype="float32").results["checks"]
    assert 0 < checks["grad_M"]["double_precision"]["relative"] < 1e-4
    assert "double_precision" not in run().results["checks"]["grad_M"]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("closed_form", lambda value: 1.001 * value),
        ("finite_differences", lambda value: value + 1e-4 * value.abs().max()),
    ],
)
def test_a_wrong_gradient_is_told(name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def gradients(*arguments: Any) -> dict[str, Tensor]:
        found = gradients_by_autograd(*arguments)
        return {**found, "grad_x": wrong(found["grad_x"])}

    monkeypatch.setattr(experiment, "gradients_by_autograd", gradients)
    output = run()
    assert output.failed
    assert not output.results["checks"]["grad_x"][name]["agrees"]
    assert output.results["checks"]["grad_M"][name]["agrees"]
    check = output.results["checks"]["grad_x"][name]
    assert (
        f"grad_x differs from its {name.replace('_', ' ')} by {check['max_difference']:.3g}, "
        f"more than {check['tolerance']:.3g}"
    ) in output.warnings


def test_larger_dimensions_take_random_directions() -> None:
    output = run(dimension=33, seed=3)
    assert not output.failed
    assert output.results["checks"]["grad_M"]["finite_differences"]["relative"] < 1e-7
    tables = [
        part.title for part in experiment.summarize(output.results) if isinstance(part, Table)
    ]
    assert tables == ["vectors, d = 33", "checks"]
    experiment.draw(config(), output.results)


def test_near_the_threshold_is_told_and_passes() -> None:
    output = run(dimension=None, matrix=[[1, 0], [0, 1]], x=[-2.81, 1])
    (warning,) = output.warnings
    assert warning.startswith("(Mx)[0] = -2.81 lies near -T = -2.81")
    assert not output.failed


def test_ill_conditioned_is_told_with_the_number() -> None:
    output = run(dimension=None, matrix=[[1, 0], [0, 1e-6]], x=[10, 2])
    assert "its condition number is 1e+06, above max_condition_number = 10" in output.warnings[0]
    assert "6.0 digits" in output.warnings[0]
    assert not output.failed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matrix": [[1, 2], [3, 4]]}, r"M\[0\]\[1\] = 2 and M\[1\]\[0\] = 3"),
        ({"matrix": [[1, 2], [2, 4]]}, "M is singular: its smallest singular value is"),
        ({"matrix": [[0, 0], [0, 0]]}, "singular"),
        ({"matrix": [[1, 2, 3], [2, 3, 4]]}, r"square, got shape \(2, 3\)"),
        ({"matrix": [[1, 2], [2]]}, "rows of matrix have 1 to 2 values"),
        ({"matrix": [[]]}, "square, got shape"),
        ({"matrix": []}, "square, got shape"),
        ({"matrix": np.eye(257).tolist()}, "dimension 257, at most 256"),
        ({"x": []}, r"one vector, got shape \(0,\)"),
        ({"x": [1, 2], "matrix": [[1]]}, "matrix has 1, x has 2"),
        ({"x": [1, 2], "dimension": 5}, "dimension has 5, x has 2"),
        ({"x": None}, "neither matrix nor x is given"),
        ({"x": [1e200, 1]}, "too large for float64"),
        ({"x": [1e60, 1], "dtype": "float32"}, "infinite|too large|is inf"),
    ],
)
def test_refuses_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        run(**{"dimension": None, "seed": 1, **changes})
    assert len(str(caught.value).splitlines()) <= 2


def refusal(**changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        run(**{"dimension": None, **changes})
    return str(caught.value)


def test_refusals_say_what_to_do(tmp_path: Path) -> None:
    assert refusal() == ("dimension is null, and neither matrix nor x is given: give one of them")
    assert refusal(matrix=[[1]], x=[1, 2]) == (
        "the dimensions do not fit: matrix has 1, x has 2\n"
        "give them the same, or dimension: null to take it from matrix or x"
    )
    assert refusal(matrix=[[1, 2], [3], [1, 2, 3]]) == (
        "the rows of matrix have 1 to 3 values: make them equal"
    )
    assert refusal(x=str(tmp_path / "x.csv")).startswith("cannot read x file ")
    assert refusal(matrix=[[1]], x=[1e200]) == ("g is too large for float64: take smaller x and M")
    assert refusal(matrix=[[1]], x=[1e20], dtype="float32") == (
        "g is too large for float32: take smaller x and M, or float64"
    )


def test_x_is_as_small_as_its_square_can_be_told() -> None:
    """The square root of the smallest normal number over the unit of rounding: 6.7e-139."""
    for x in (0.0, 7e-139):
        run(dimension=None, matrix=[[1]], x=[x])
    assert refusal(matrix=[[1]], x=[6e-139]) == (
        "x is too small for float64: its largest value is 6e-139, and phi is about its square\n"
        "take larger x, or a smaller M"
    )
    run(dimension=None, matrix=[[1]], x=[1e-12], dtype="float32")
    assert refusal(matrix=[[1]], x=[9e-13], dtype="float32").endswith("a smaller M, or float64")


def test_what_is_warned_of() -> None:
    matrix = torch.eye(2, dtype=torch.float64)
    given = config(threshold=0.5, max_condition_number=100)

    def warnings(condition: float, *x: float) -> list[str]:
        return experiment._warnings(matrix, torch.tensor(x, dtype=torch.float64), condition, given)

    assert warnings(100.09, 0.500052, -0.499948) == []
    told = "where f_T changes its formula: the gradient is continuous there, finite differences are"
    assert warnings(1e3, 0.500048, -0.499952) == [
        "M is ill-conditioned: its condition number is 1000, above max_condition_number = 100; "
        "about 3.0 digits of g and of the gradients are lost",
        f"(Mx)[0] = 0.500048 lies near +T = 0.5, {told} less exact",
        f"(Mx)[1] = -0.499952 lies near -T = -0.5, {told} less exact",
    ]
    assert len(warnings(100.11, 0.0, 1.0)) == 1


def test_the_summary() -> None:
    def summary(dimension: int) -> list[Table | str]:
        vector = [1 / 3, -0.0, *(2.0,) * dimension][:dimension]
        matrix = [vector] * dimension
        check = {"max_difference": 1 / 3, "relative": 1 / 8, "tolerance": 2e-9, "agrees": True}
        wrong = {**check, "relative": None, "agrees": False}
        return list(
            experiment.summarize(
                {
                    **dict.fromkeys(("x", "Mx", "g", "grad_x"), vector),
                    **dict.fromkeys(("M", "grad_M", "grad_M_symmetric"), matrix),
                    "checks": {"grad_x": {"closed_form": check, "finite_differences": wrong}},
                    "phi": 1 / 3,
                    "condition_number": 10 / 3,
                }
            )
        )

    checks = Table(
        "checks",
        ["autograd's", "against", "largest difference", "relative", "tolerance", "verdict"],
        [
            ["grad_x", "closed form", "0.33", "0.12", "2e-09", "agrees"],
            ["grad_x", "finite differences", "0.33", "–", "2e-09", "DIFFERS"],
        ],
    )
    last = "phi = 0.3333333333   condition number 3.33333"
    rows = [["0", "0.333333", "0"], ["1", "0.333333", "0"]]
    assert summary(2) == [
        Table(
            "vectors, d = 2",
            ["i", "x", "Mx", "g", "∂φ/∂x"],
            [["0", *["0.333333"] * 4], ["1", *["0"] * 4]],
        ),
        Table("M", ["i", "0", "1"], rows),
        Table("∂φ/∂M, M free", ["i", "0", "1"], rows),
        Table("∂φ/∂M, M symmetric", ["i", "0", "1"], rows),
        checks,
        last,
    ]
    # Matrices up to 8 × 8 fit, and 16 components of a vector.
    assert len(summary(8)) == 6
    vectors, *rest = summary(17)
    assert isinstance(vectors, Table)
    assert [row[0] for row in vectors.rows] == [str(i) for i in range(16)]
    assert rest == summary(9)[1:] == [checks, last]


def test_files(tmp_path: Path) -> None:
    matrix = [[2.0, 0.5], [0.5, -1.0]]
    expected = run(dimension=None, matrix=matrix, x=[4, 5]).results
    single = run(dimension=None, matrix=matrix, x=[4, 5], dtype="float32").results
    np.save(tmp_path / "m.npy", np.array(matrix))
    (tmp_path / "m.csv").write_text("2,0.5\n0.5,-1\n", encoding="utf-8")
    np.save(tmp_path / "x.npy", np.array([4, 5]))
    (tmp_path / "x.csv").write_text("4\n5\n", encoding="utf-8")
    for kind in ("npy", "csv"):
        given = {
            key: str(tmp_path / f"{name}.{kind}") for key, name in (("matrix", "m"), ("x", "x"))
        }
        output = run(dimension=None, **given)
        assert output.results == expected
        assert run(dimension=None, dtype="float32", **given).results == single
        assert len(output.provenance["data_sha256"]) == 64
    assert run().provenance == {}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.txt", b"1", "neither .npy nor .csv"),
        ("m.csv", b"", "no numbers"),
        ("m.csv", b"\n\n", "no numbers"),
        ("m.csv", b"1,a\n", "could not convert string 'a'"),
        ("m.csv", b"1,2\n3\n", r"columns changed from 2 to 1 at row 2\nput a row"),
        ("m.csv", b"1,nan\nnan,1\n", r"value at \[0, 1\] is nan"),
        ("m.csv", b"\xff\xfe\x00", "cannot read"),
        ("m.csv", b"1," * 9_000_000, "bytes, at most"),
        ("m.npy", b"", "cannot read"),
        ("m.npy", b"hello", "not a .npy file"),
        ("m.npy", b"\x93NUMPY\x01\x00", "not a .npy file"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        run(dimension=None, matrix=str(tmp_path / name))
    assert name in str(caught.value)
    assert "allow_pickle" not in str(caught.value)


def test_bad_arrays_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.npy"

    def refused(array: Any) -> str:
        np.save(file, array, allow_pickle=True)
        with pytest.raises(UserError) as caught:
            run(dimension=None, matrix=str(file))
        return str(caught.value)

    assert "not a .npy file of plain numbers" in refused(np.array([{}], dtype=object))
    assert "complex128" in refused(np.eye(2) * 1j)
    assert "<U1" in refused(np.array(["a"]))
    assert "shape (300, 300)" in refused(np.eye(300, dtype=np.float32))
    assert "got shape (1, 2, 2)" in refused(np.ones((1, 2, 2)))
    with file.open("wb") as stream:  # a header that promises 8 TB
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)}
        np.lib.format.write_array_header_1_0(stream, header)
    with pytest.raises(UserError, match=r"not a \.npy file"):
        run(dimension=None, matrix=str(file))
    with pytest.raises(UserError, match="No such file"):
        run(dimension=None, matrix=str(tmp_path / "none.csv"))


def test_the_figure_prints_values_where_they_fit() -> None:
    results = run().results
    figure = experiment.draw(config(), json.loads(json.dumps(results)))["module"]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert [float(text) for text in texts[:2]] == pytest.approx(results["grad_M"][0][:2], rel=5e-3)
    assert not any("+" in text for text in texts)
    assert len(texts) == 25
    # Bars are rectangles, which the type of patches does not say.
    heights = [bar.get_height() for bar in figure.axes[3].patches]  # type: ignore[attr-defined]
    assert heights == pytest.approx(results["grad_x"])
    flat = run(dimension=1, x=[0.5], matrix=[[1]])
    assert math.isclose(flat.results["grad_x"][0], 1.0)
    experiment.draw(config(), flat.results)
