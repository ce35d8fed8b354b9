"""Part 2 C to E: g_T(x; M) = M⁻¹ f_T(M x) and the gradients of ‖x - g‖², for one x and M."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, ExperimentConfig, Output, Table
from midterm_cli.part2.arrays import (
    MAX_DIMENSION,
    check_matrix,
    read_array,
    sha256_of_files,
    to_vector,
)
from midterm_cli.part2.gradients import check_gradients, gradients_by_autograd
from midterm_cli.part2.layer import create_symmetric_invertible_matrix, symmetric_part
from midterm_cli.part2.softt import Threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Config(ExperimentConfig):
    """Which threshold, M and x, and in which arithmetic."""

    dtype: Literal["float64", "float32"] = Field(description="arithmetic of the module")
    threshold: Threshold = Field(description="T of the soft-threshold")
    dimension: int | None = Field(
        ge=1, le=MAX_DIMENSION, description="d; null to take it from matrix or x"
    )
    max_condition_number: float = Field(
        ge=1, le=1e15, description="a random M stays within it, a given M above it is warned about"
    )
    matrix: str | list[list[float]] | None = Field(
        description="M: a .npy or .csv file, the rows themselves, or null for a random one"
    )
    x: str | list[float] | None = Field(
        description="x: a .npy or .csv file, the values themselves, or null for a random one"
    )


def run(config: Config, context: Context) -> Output:
    """Compute g, φ and its gradients by autograd, and hold them against three other ways."""
    dtype: torch.dtype = getattr(torch, config.dtype)
    matrix, x = _inputs(config, dtype)
    matrix, x = matrix.to(context.device), x.to(context.device)
    condition = float(torch.linalg.cond(matrix.double()))

    computed = gradients_by_autograd(x, matrix, config.threshold)
    _require_representable(computed, x, config)
    checks = check_gradients(computed, x, matrix, config.threshold, config.seed)
    results = {
        "threshold": config.threshold,
        "dtype": config.dtype,
        "x": x.tolist(),
        "M": matrix.tolist(),
        "Mx": (matrix @ x).tolist(),
        **{key: value.tolist() for key, value in computed.items()},
        "condition_number": condition,
        "checks": checks,
    }
    wrong = [
        f"{quantity} differs from its {way.replace('_', ' ')} by {check['max_difference']:.3g}, "
        f"more than {check['tolerance']:.3g}"
        for quantity, ways in checks.items()
        for way, check in ways.items()
        if not check["agrees"]
    ]
    warnings = [*_warnings(matrix, x, condition, config), *wrong]
    files = [given for given in (config.matrix, config.x) if isinstance(given, str)]
    provenance = {"data_sha256": sha256_of_files(files)} if files else {}
    return Output(results, provenance=provenance, failed=bool(wrong), warnings=warnings)


# M and x


def _inputs(config: Config, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """M and x as given or drawn, and found to fit each other."""
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


def _given(key: str, value: Any, dtype: torch.dtype) -> Tensor | None:
    if value is None:
        return None
    if isinstance(value, str):
        return read_array(key, value).to(dtype)
    if key == "matrix" and len(lengths := sorted({len(row) for row in value})) > 1:
        raise UserError(
            f"the rows of matrix have {lengths[0]} to {lengths[-1]} values: make them equal"
        )
    return torch.tensor(value, dtype=dtype)


def _require_representable(computed: Mapping[str, Tensor], x: Tensor, config: Config) -> None:
    """Refuse what overflows, or is so small that φ, its square, loses digits."""
    other = ", or float64" if config.dtype == "float32" else ""
    for key, value in computed.items():
        if not bool(value.isfinite().all()):
            raise UserError(f"{key} is too large for {config.dtype}: take smaller x and M{other}")
    largest, precision = float(x.abs().max()), torch.finfo(x.dtype)
    if 0 < largest < math.sqrt(precision.tiny) / precision.eps:
        raise UserError(
            f"x is too small for {config.dtype}: its largest value is {largest:.3g}, and phi is "
            f"about its square\ntake larger x, or a smaller M{other}"
        )


def _warnings(matrix: Tensor, x: Tensor, condition: float, config: Config) -> list[str]:
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


# What is shown


def summarize(results: Mapping[str, Any]) -> Sequence[Table | str]:
    """The vectors, the matrices where they fit, and each gradient's largest differences."""
    dimension = len(results["x"])
    names = {"x": "x", "Mx": "Mx", "g": "g", "grad_x": "∂φ/∂x"}
    rows = [[str(i), *_row([results[key][i] for key in names])] for i in range(min(dimension, 16))]
    shown: list[Table | str] = [Table(f"vectors, d = {dimension}", ["i", *names.values()], rows)]
    if dimension <= 8:
        titles = {
            "M": "M",
            "grad_M": "∂φ/∂M, M free",
            "grad_M_symmetric": "∂φ/∂M, M symmetric",
        }
        columns = ["i", *map(str, range(dimension))]
        shown += [
            Table(title, columns, [[str(i), *_row(row)] for i, row in enumerate(results[key])])
            for key, title in titles.items()
        ]
    shown.append(_check_table(results["checks"]))
    shown.append(
        f"phi = {results['phi']:.10g}   condition number {results['condition_number']:.6g}"
    )
    return shown


def _row(values: Sequence[float]) -> list[str]:
    # Adding 0 turns -0 into 0.
    return [f"{value + 0:.6g}" for value in values]


def _check_table(checks: Mapping[str, Any]) -> Table:
    rows = [
        [
            quantity,
            way.replace("_", " "),
            f"{check['max_difference']:.2g}",
            "–" if check["relative"] is None else f"{check['relative']:.2g}",
            f"{check['tolerance']:.2g}",
            "agrees" if check["agrees"] else "DIFFERS",
        ]
        for quantity, ways in checks.items()
        for way, check in ways.items()
    ]
    columns = ["autograd's", "against", "largest difference", "relative", "tolerance", "verdict"]
    return Table("checks", columns, rows)


def draw(config: Config, results: Mapping[str, Any]) -> Mapping[str, Figure]:
    """Draw ∂φ/∂M, free and symmetric, as heat maps and ∂φ/∂x as bars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.7))
    # Set by hand: a layout engine draws everything twice, a good part of the whole command's time.
    margins = {"left": 0.05, "right": 0.99, "bottom": 0.14, "top": 0.9, "wspace": 0.22}
    widths = [1, 1, 0.05, 0.15, 1]  # the fourth column is room for the labels of its neighbours
    grid = figure.add_gridspec(1, 5, width_ratios=widths, **margins)
    free, symmetric, scale, bars = (figure.add_subplot(grid[i]) for i in (0, 1, 2, 4))
    # One scale for both, symmetric about 0, so that colours can be compared.
    largest = max(abs(value) for row in results["grad_M"] for value in row) or 1.0
    titles = {"grad_M": "∂φ/∂M, M free", "grad_M_symmetric": "∂φ/∂M, M symmetric"}
    for axes, (key, title) in zip((free, symmetric), titles.items(), strict=True):
        image = _heat_map(axes, results[key], largest)
        axes.set(title=title, xlabel="column")
    free.set(ylabel="row")
    figure.colorbar(image, cax=scale)
    gradient = results["grad_x"]
    drawn = bars.bar(range(len(gradient)), gradient, color="grey", edgecolor="black")
    bars.axhline(0, color="black", linewidth=0.8)
    bars.set(title="∂φ/∂x", xlabel="component")
    bars.margins(y=0.15)
    for axes in (scale, bars):
        axes.ticklabel_format(axis="y", scilimits=(-2, 3))
    if len(gradient) <= 10:
        bars.bar_label(drawn, [_short(value) for value in gradient], padding=2, fontsize=8)
        bars.set_xticks(range(len(gradient)))
    return {"module": figure}


def _heat_map(axes: Axes, matrix: Sequence[Sequence[float]], largest: float) -> Any:
    """Values stand in the cells of a small matrix; the larger a value, the lighter, in grey too."""
    image = axes.imshow(matrix, cmap="viridis", vmin=-largest, vmax=largest)
    if len(matrix) <= 5:
        axes.set_xticks(range(len(matrix)))
        axes.set_yticks(range(len(matrix)))
        for i, row in enumerate(matrix):
            for j, value in enumerate(row):
                color = "white" if value < 0.2 * largest else "black"
                axes.text(j, i, _short(value), ha="center", va="center", color=color, fontsize=7.5)
    return image


def _short(value: float) -> str:
    """Three digits, without the signs and zeros that an exponent is padded with: -9.84e4."""
    mantissa, e, exponent = f"{value:.3g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa
