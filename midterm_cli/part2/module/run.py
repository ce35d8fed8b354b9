"""Compute the gradients of ‖x - g_T(x; M)‖² for one x and M, and check them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from midterm_cli import files
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Output
from midterm_cli.part2.arrays import check_matrix, read_array, to_vector
from midterm_cli.part2.gradients import Gradients, check_gradients, gradients_by_autograd
from midterm_cli.part2.layer import create_symmetric_invertible_matrix, symmetric_part
from midterm_cli.part2.module.schema import Checks, Config, Results


def run(config: Config, context: Context) -> Output:
    """Compute g, φ and its gradients by autograd, and check them in up to three other ways.

    Raises:
        UserError: matrix or x is not valid, they do not fit each other or `dimension`, or the
            results are too large or too small for the dtype.
    """
    dtype: torch.dtype = getattr(torch, config.dtype)
    matrix, x = read_inputs(config, dtype)
    matrix, x = matrix.to(context.device), x.to(context.device)
    condition = float(torch.linalg.cond(matrix.double()))

    computed = gradients_by_autograd(x, matrix, config.threshold)
    _require_representable(computed, x, config)
    checks = check_gradients(computed, x, matrix, config.threshold, config.seed)
    results = Results(
        threshold=config.threshold,
        dtype=config.dtype,
        x=x.tolist(),
        M=matrix.tolist(),
        Mx=(matrix @ x).tolist(),
        g=computed.g.tolist(),
        phi=float(computed.phi),
        grad_x=computed.grad_x.tolist(),
        grad_M=computed.grad_M.tolist(),
        grad_M_symmetric=computed.grad_M_symmetric.tolist(),
        condition_number=condition,
        checks=checks,
    )
    wrong = [
        f"{gradient} differs from its {way} by {check.max_difference:.3g}, "
        f"more than {check.tolerance:.3g}"
        for gradient, way, check in checks.each()
        if not (check.agrees or check.undecided)
    ]
    paths = config.input_files
    return Output(
        results,
        provenance={"data_sha256": files.sha256(paths)} if paths else {},
        failed=bool(wrong),
        warnings=[
            *warning_lines(matrix, x, condition, config),
            *undecided_lines(checks, config.dtype),
            *wrong,
        ],
    )


# M and x


def read_inputs(config: Config, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """M, (d, d), and x, (d,), as given or drawn.

    Raises:
        UserError: one of them is not valid, or they do not fit each other or `dimension`.
    """
    matrix = _given("matrix", config.matrix, dtype)
    if matrix is not None:
        check_matrix(matrix)
        matrix = symmetric_part(matrix)
    x = _given("x", config.x, dtype)
    if x is not None:
        x = to_vector(x)
    sizes = {
        "dimension": config.dimension,
        "matrix": None if matrix is None else len(matrix),
        "x": None if x is None else len(x),
    }
    known = {key: size for key, size in sizes.items() if size is not None}
    if not known:
        raise UserError("dimension is null, and neither matrix nor x is given: give one of them")
    if len(set(known.values())) > 1:
        found = ", ".join(f"{key} has {size}" for key, size in known.items())
        raise UserError(
            f"the dimensions do not fit: {found}\n"
            "give them the same, or dimension: null to take it from matrix or x"
        )
    dimension = next(iter(known.values()))
    generator = torch.Generator().manual_seed(config.seed)
    if matrix is None:
        matrix = create_symmetric_invertible_matrix(
            dimension, config.max_condition_number, generator, dtype
        )
    if x is None:
        x = _draw_x(matrix.double(), config.threshold, generator).to(dtype)
    return matrix, x


def _draw_x(matrix: Tensor, threshold: float, generator: torch.Generator) -> Tensor:
    """Normal, scaled to a root mean square of 2 T for M x, so that it meets all pieces of f_T."""
    x = torch.randn(len(matrix), dtype=torch.float64, generator=generator)
    scaled: Tensor = x * (2 * threshold * math.sqrt(len(x)) / (matrix @ x).norm())
    return scaled


def _given(
    key: str, value: str | list[list[float]] | list[float] | None, dtype: torch.dtype
) -> Tensor | None:
    if value is None:
        return None
    if isinstance(value, str):
        return read_array(key, value).to(dtype)
    lengths = sorted({len(row) for row in value if isinstance(row, list)})
    if len(lengths) > 1:
        raise UserError(
            f"the rows of matrix have {lengths[0]} to {lengths[-1]} values: make them equal"
        )
    return torch.tensor(value, dtype=dtype)


def _require_representable(computed: Gradients, x: Tensor, config: Config) -> None:
    """Refuse what overflows, or is so small that φ, its square, loses digits."""
    other = ", or float64" if config.dtype == "float32" else ""
    for key, value in computed._asdict().items():
        if not bool(value.isfinite().all()):
            raise UserError(f"{key} is too large for {config.dtype}: take smaller x and M{other}")
    largest, precision = float(x.abs().max()), torch.finfo(x.dtype)
    if 0 < largest < math.sqrt(precision.tiny) / precision.eps:
        raise UserError(
            f"x is too small for {config.dtype}: its largest value is {largest:.3g}, and phi is "
            f"about its square\ntake larger x, or a smaller M{other}"
        )


# What a user must know of the numbers


def warning_lines(matrix: Tensor, x: Tensor, condition: float, config: Config) -> list[str]:
    """A line for an ill-conditioned M, and for each component of Mx near ±T."""
    lines = []
    # A drawn M may exceed its bound by rounding.
    if condition > config.max_condition_number * (1 + 1e-3):
        lines.append(
            f"M is ill-conditioned: its condition number is {condition:.4g}, above "
            f"max_condition_number = {config.max_condition_number:g}; "
            f"about {math.log10(condition):.1f} digits of g and of the gradients are lost"
        )
    z = matrix @ x
    reach = 1e-4 * config.threshold
    for i, value in enumerate(z.tolist()):
        if abs(abs(value) - config.threshold) <= reach:
            lines.append(
                f"(Mx)[{i}] = {value:.10g} lies near {'-' if value < 0 else '+'}T = "
                f"{math.copysign(config.threshold, value):g}, where f_T changes its formula: "
                "the gradient is continuous there, finite differences are less exact"
            )
    return lines


def undecided_lines(checks: Checks, dtype: str) -> list[str]:
    """A line for each way whose error may hide a gradient."""
    lines = []
    for way in dict.fromkeys(way for _, way, _ in checks.each()):
        lost = {name: it.tolerance for name, by, it in checks.each() if by == way and it.undecided}
        if lost:
            error = f"the error of the {way}" if way == "finite differences" else "rounding"
            lines.append(
                f"{dtype} cannot tell whether {', '.join(lost)} and the {way} agree: "
                f"{error} may be {max(lost.values()):.2g}"
            )
    return lines
