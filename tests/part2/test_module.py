"""The command `midterm module grad`: results, inputs, warnings, summary, figure."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaged import config, run

from midterm_cli.errors import UserError
from midterm_cli.experiment import Table
from midterm_cli.part2.gradients import Gradients, gradients_by_autograd
from midterm_cli.part2.layer import softt
from midterm_cli.part2.module import run as module_run
from midterm_cli.part2.module.run import read_inputs, undecided_lines, warning_lines
from midterm_cli.part2.module.schema import Check, Checks, GradientChecks
from midterm_cli.part2.module.show import draw, summarize


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 6), st.integers(0, 10_000), st.floats(0.5, 4))
@example(6, 1564, 1.0)  # a step of the finite differences crosses a kink
def test_every_check_of_a_run_passes(dimension: int, seed: int, threshold: float) -> None:
    for dtype in ("float64", "float32"):
        output = run("module", dimension=dimension, seed=seed, threshold=threshold, dtype=dtype)
        assert not output.failed, output.warnings


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("threshold", [1e-100, 1e-3, 1e3, 1e20, 1e100])
def test_the_threshold_may_be_far_from_x(threshold: float, dtype: str) -> None:
    """The step of the finite differences is one for x. Where all of f_T is 0, φ = ‖x‖²."""
    changes: dict[str, Any] = {"dimension": None, "matrix": [[2, 1], [1, -1]], "x": [3, 4]}
    output = run("module", threshold=threshold, dtype=dtype, **changes)
    assert not output.failed, output.warnings
    if threshold > 10:
        assert (output.results.grad_x, output.results.g) == ([6, 8], [0, 0])
        assert output.results.checks.grad_x.finite_differences.tolerance < 1e-5
    assert not run("module", threshold=threshold, dtype=dtype, **{**changes, "x": [0, 0]}).failed


def check_random_runs(num_runs: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for _ in range(num_runs):
        dimension = int(generator.integers(1, 9))
        x = generator.normal(size=dimension) * 10.0 ** generator.uniform(-3, 3)
        output = run(
            "module",
            dimension=dimension,
            seed=int(generator.integers(2**32)),
            threshold=10.0 ** generator.uniform(-3, 100),
            x=x.tolist(),
            dtype=str(generator.choice(["float64", "float32"])),
        )
        assert not output.failed, output.warnings
        assert all(check.agrees for *_, check in output.results.checks.each())


def test_no_random_run_differs() -> None:
    check_random_runs(25, seed=0)


@pytest.mark.slow
def test_none_of_250_random_runs_differs() -> None:
    check_random_runs(250, seed=1)


def test_results_hold_together() -> None:
    results = run("module").results
    matrix, x, g = (
        torch.tensor(values, dtype=torch.float64) for values in (results.M, results.x, results.g)
    )
    assert (matrix.shape, x.shape) == ((5, 5), (5,))
    assert (results.threshold, results.dtype) == (2.81, "float64")
    assert results.Mx == pytest.approx((matrix @ x).tolist())
    torch.testing.assert_close(matrix @ g, softt(matrix @ x, 2.81))
    assert results.phi == pytest.approx(float((x - g).square().sum()))
    free = torch.tensor(results.grad_M, dtype=torch.float64)
    symmetric = torch.tensor(results.grad_M_symmetric, dtype=torch.float64)
    torch.testing.assert_close(symmetric, (free + free.mT) / 2)
    assert results.condition_number == pytest.approx(float(np.linalg.cond(matrix.numpy())))
    assert results.condition_number <= 10
    for _, way, check in results.checks.each():
        assert check.relative < {"closed form": 1e-12, "finite differences": 1e-8}[way]


def test_seed_decides() -> None:
    assert run("module").results == run("module").results
    assert run("module", seed=1).results.x != run("module").results.x


def test_random_x_meets_more_than_the_flat_piece() -> None:
    for seed in range(10):
        given = config("module", seed=seed, dimension=30, threshold=0.3)
        matrix, x = read_inputs(given, torch.float64)
        mx = (matrix @ x).numpy()
        assert np.sqrt(np.mean(mx**2)) == pytest.approx(0.6)
        assert min((mx > 0.3).sum(), (mx < -0.3).sum(), (abs(mx) < 0.3).sum()) > 0


def test_float32_is_checked_against_double_precision() -> None:
    checks = run("module", dtype="float32").results.checks
    assert 0 < checks.grad_M.double_precision.relative < 1e-4
    assert run("module").results.checks.grad_M.double_precision is None


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("closed_form", lambda value: 1.001 * value),
        ("finite_differences", lambda value: value + 1e-4 * value.abs().max()),
    ],
)
def test_a_wrong_gradient_is_told(name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def gradients(*arguments: Any) -> Gradients:
        found = gradients_by_autograd(*arguments)
        return found._replace(grad_x=wrong(found.grad_x))

    monkeypatch.setattr(module_run, "gradients_by_autograd", gradients)
    output = run("module")
    checks = output.results.checks
    check = getattr(checks.grad_x, name)
    assert output.failed
    assert not check.agrees
    assert getattr(checks.grad_M, name).agrees
    assert (
        f"grad_x differs from its {name.replace('_', ' ')} by {check.max_difference:.3g}, "
        f"more than {check.tolerance:.3g}"
    ) in output.warnings


def test_larger_dimensions_take_random_directions() -> None:
    output = run("module", dimension=33, seed=3)
    assert not output.failed
    assert output.results.checks.grad_M.finite_differences.relative < 1e-7
    tables = [part.title for part in summarize(output.results) if isinstance(part, Table)]
    assert tables == ["vectors, d = 33", "checks"]
    draw(config("module"), output.results)


def test_a_tolerance_above_the_gradient_decides_nothing() -> None:
    """The gradients are right, but a step in x reaches the cubic piece of f_T."""
    output = run("module", dimension=None, matrix=[[1, 1e9], [1e9, 1]], x=[1e-9, 1e9], threshold=1)
    assert not output.failed
    assert output.warnings == [
        "float64 cannot tell whether grad_x, grad_M, grad_M_symmetric and the finite differences "
        "agree: the error of the finite differences may be 5.7e+65"
    ]
    for _, way, check in output.results.checks.each():
        assert check.undecided == (way == "finite differences") != check.agrees
    (table,) = (it for it in summarize(output.results) if getattr(it, "title", "") == "checks")
    assert isinstance(table, Table)
    assert [row[-1] for row in table.rows] == ["agrees", "cannot tell"] * 3


def test_each_way_that_cannot_tell_has_its_line() -> None:
    sure = Check(max_difference=1, relative=None, tolerance=2, agrees=True)
    lost = sure.model_copy(update={"agrees": False, "undecided": True, "tolerance": 3e5})
    more = lost.model_copy(update={"tolerance": 1 / 3e-7})
    single = GradientChecks(closed_form=sure, finite_differences=sure, double_precision=lost)
    both = GradientChecks(closed_form=sure, finite_differences=lost, double_precision=more)
    checks = Checks(grad_x=single, grad_M=both, grad_M_symmetric=single)
    assert undecided_lines(checks, "float32") == [
        "float32 cannot tell whether grad_M and the finite differences agree: "
        "the error of the finite differences may be 3e+05",
        "float32 cannot tell whether grad_x, grad_M, grad_M_symmetric and the double precision "
        "agree: rounding may be 3.3e+06",
    ]


def test_an_ordinary_run_is_decided() -> None:
    given: dict[str, Any] = {"dimension": None, "matrix": [[2, 1], [1, -1]], "x": [3, 4]}
    runs: list[dict[str, Any]] = [{}, given, {**given, "threshold": 1e100}, {"dimension": 64}]
    for dtype in ("float64", "float32"):
        for changes in runs:
            output = run("module", dtype=dtype, **changes)
            assert all(check.agrees for *_, check in output.results.checks.each())
            assert output.warnings == []


def test_near_the_threshold_is_told_and_passes() -> None:
    output = run("module", dimension=None, matrix=[[1, 0], [0, 1]], x=[-2.81, 1])
    (warning,) = output.warnings
    assert warning.startswith("(Mx)[0] = -2.81 lies near -T = -2.81")
    assert not output.failed


def test_ill_conditioned_is_told_with_the_number() -> None:
    output = run("module", dimension=None, matrix=[[1, 0], [0, 1e-6]], x=[10, 2])
    assert "its condition number is 1e+06, above max_condition_number = 10" in output.warnings[0]
    assert "6.0 digits" in output.warnings[0]
    assert not output.failed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matrix": [[1, 2], [3, 4]]}, r"M\[0\]\[1\] = 2 and M\[1\]\[0\] = 3"),
        ({"matrix": [[1, 2], [2, 4]]}, "M is singular to the precision of float64: its smallest"),
        ({"matrix": [[0, 0], [0, 0]]}, "singular"),
        ({"matrix": [[1, 2, 3], [2, 3, 4]]}, r"square, got shape \(2, 3\)"),
        ({"matrix": [[1, 2], [2]]}, "rows of matrix have 1 to 2 values"),
        ({"matrix": [[]]}, "square, got shape"),
        ({"matrix": np.eye(257).tolist()}, "dimension 257, at most 256"),
        ({"x": [1.0] * 257}, "x has dimension 257, at most 256 is taken"),
        ({"x": [1, 2], "matrix": [[1]]}, "matrix has 1, x has 2"),
        ({"x": [1, 2], "dimension": 5}, "dimension has 5, x has 2"),
        ({"x": None}, "neither matrix nor x is given"),
        ({"x": [1e200, 1]}, "too large for float64"),
        ({"x": [1e60, 1], "dtype": "float32"}, "infinite|too large|is inf"),
    ],
)
def test_refuses_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        run("module", **{"dimension": None, "seed": 1, **changes})
    assert len(str(caught.value).splitlines()) <= 2


def refusal(**changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        run("module", **{"dimension": None, **changes})
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
        run("module", dimension=None, matrix=[[1]], x=[x])
    assert refusal(matrix=[[1]], x=[6e-139]) == (
        "x is too small for float64: its largest value is 6e-139, and phi is about its square\n"
        "take larger x, or a smaller M"
    )
    run("module", dimension=None, matrix=[[1]], x=[1e-12], dtype="float32")
    assert refusal(matrix=[[1]], x=[9e-13], dtype="float32").endswith("a smaller M, or float64")


def test_what_is_warned_of() -> None:
    matrix = torch.eye(2, dtype=torch.float64)
    given = config("module", threshold=0.5, max_condition_number=100)

    def lines(condition: float, *x: float) -> list[str]:
        return warning_lines(matrix, torch.tensor(x, dtype=torch.float64), condition, given)

    assert lines(100.09, 0.500052, -0.499948) == []
    told = "where f_T changes its formula: the gradient is continuous there, finite differences are"
    assert lines(1e3, 0.500048, -0.499952) == [
        "M is ill-conditioned: its condition number is 1000, above max_condition_number = 100; "
        "about 3.0 digits of g and of the gradients are lost",
        f"(Mx)[0] = 0.500048 lies near +T = 0.5, {told} less exact",
        f"(Mx)[1] = -0.499952 lies near -T = -0.5, {told} less exact",
    ]
    assert len(lines(100.11, 0.0, 1.0)) == 1


def test_the_summary() -> None:
    def summary(dimension: int) -> list[Table | str]:
        vector = [1 / 3, -0.0, *(2.0,) * dimension][:dimension]
        matrix = [vector] * dimension
        check = Check(max_difference=1 / 3, relative=1 / 8, tolerance=2e-9, agrees=True)
        wrong = check.model_copy(update={"relative": None, "agrees": False})
        ways = GradientChecks(closed_form=check, finite_differences=wrong)
        found = {
            **dict.fromkeys(("x", "Mx", "g", "grad_x"), vector),
            **dict.fromkeys(("M", "grad_M", "grad_M_symmetric"), matrix),
            "checks": Checks(grad_x=ways, grad_M=ways, grad_M_symmetric=ways),
            "phi": 1 / 3,
            "condition_number": 10 / 3,
        }
        return list(summarize(run("module").results.model_copy(update=found)))

    checks = Table(
        "checks",
        ["autograd's", "against", "largest difference", "relative", "tolerance", "verdict"],
        [
            line
            for gradient in ("grad_x", "grad_M", "grad_M_symmetric")
            for line in (
                [gradient, "closed form", "0.33", "0.12", "2e-09", "agrees"],
                [gradient, "finite differences", "0.33", "–", "2e-09", "DIFFERS"],
            )
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
    note = (
        "finite differences along 16 random directions, where a gradient has more than 64 entries"
    )
    assert rest == summary(9)[1:] == [checks, note, last]


def test_files(tmp_path: Path) -> None:
    matrix = [[2.0, 0.5], [0.5, -1.0]]
    expected = run("module", dimension=None, matrix=matrix, x=[4, 5]).results
    single = run("module", dimension=None, matrix=matrix, x=[4, 5], dtype="float32").results
    np.save(tmp_path / "m.npy", np.array(matrix))
    (tmp_path / "m.csv").write_text("2,0.5\n0.5,-1\n", encoding="utf-8")
    np.save(tmp_path / "x.npy", np.array([4, 5]))
    (tmp_path / "x.csv").write_text("4\n5\n", encoding="utf-8")
    for kind in ("npy", "csv"):
        given = {
            key: str(tmp_path / f"{name}.{kind}") for key, name in (("matrix", "m"), ("x", "x"))
        }
        output = run("module", dimension=None, **given)
        assert output.results == expected
        assert run("module", dimension=None, dtype="float32", **given).results == single
        assert len(output.provenance["data_sha256"]) == 64
    assert run("module").provenance == {}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.txt", b"1", "must be numbers, or a .npy or .csv file, got"),
        ("m.csv", b"", "no numbers"),
        ("m.csv", b"\n\n", "no numbers"),
        ("m.csv", b"1,a\n", "line 1, column 2 is 'a', which is no number"),
        ("m.csv", b"1,2\n3\n", r"line 2 has 1 value, those before have 2\nput a row"),
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
        run("module", dimension=None, matrix=str(tmp_path / name))
    assert name in str(caught.value)
    assert "allow_pickle" not in str(caught.value)


def test_bad_arrays_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.npy"

    def refused(array: Any) -> str:
        np.save(file, array, allow_pickle=True)
        with pytest.raises(UserError) as caught:
            run("module", dimension=None, matrix=str(file))
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
        run("module", dimension=None, matrix=str(file))
    with pytest.raises(UserError, match="No such file"):
        run("module", dimension=None, matrix=str(tmp_path / "none.csv"))


def test_the_figure_prints_values_where_they_fit() -> None:
    results = run("module").results
    figure = draw(config("module"), results)["module"]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert [float(text) for text in texts[:2]] == pytest.approx(results.grad_M[0][:2], rel=5e-3)
    assert not any("+" in text for text in texts)
    assert len(texts) == 25
    # Bars are rectangles, which the type of patches does not say.
    heights = [bar.get_height() for bar in figure.axes[3].patches]  # type: ignore[attr-defined]
    assert heights == pytest.approx(results.grad_x)
    flat = run("module", dimension=1, x=[0.5], matrix=[[1]])
    assert math.isclose(flat.results.grad_x[0], 1.0)
    draw(config("module"), flat.results)
