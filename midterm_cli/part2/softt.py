"""Part 2 A, B: soft-thresholding, its derivatives, and what happens at ±T."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn.functional import relu

from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, ExperimentConfig, Output, Range, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _require_room(threshold: float) -> float:
    if threshold < 1e-100:
        raise ValueError(f"must be at least 1e-100, for steps far below it, got {threshold:g}")
    return threshold


Threshold = Annotated[float, Field(gt=0, le=1e100), AfterValidator(_require_room)]
"""T of the soft-threshold; its cube must not overflow."""


class Config(ExperimentConfig):
    """Which threshold, where, and in which arithmetic."""

    dtype: Literal["float64", "float32", "float16", "bfloat16"] = Field(
        description="arithmetic of the values"
    )
    threshold: Threshold = Field(description="T: the function is 0 on [-T, T]")
    range: Range = Field(description="[low, high] of y")
    num_points: int = Field(ge=2, le=100_001, description="evenly spaced values of y")
    second_derivative: bool = Field(description="whether the second derivative is shown as well")


def softt(y: Tensor, threshold: float) -> Tensor:
    """Soft-thresholding of this course: 0 on [-T, T], (y - T)² above, (y + T)³ below.

    Branch-free: torch.where over the two powers overflows in the branch that it drops, and then
    back-propagates NaN from there.

    Args:
        y: any shape, any floating-point dtype.
        threshold: T > 0.

    Returns:
        The same shape. It is continuously differentiable: both one-sided derivatives at ±T are 0.
        The second derivative jumps from 0 to 2 at +T, and is continuous at -T.

    Raises:
        UserError: the threshold is not a positive number.
    """
    if not 0 < threshold < math.inf:
        raise UserError(f"threshold must be greater than 0 and finite, got {threshold}")
    return relu(y - threshold).square() - relu(-y - threshold).pow(3)


def softt_derivative(y: Tensor, threshold: float) -> Tensor:
    """The derivative of `softt`, written out: 2 (y - T) above T, 3 (y + T)² below -T, else 0."""
    return 2 * relu(y - threshold) + 3 * relu(-y - threshold).square()


def softt_second_derivative(y: Tensor, threshold: float) -> Tensor:
    """The second derivative, written out: 2 above T, 6 (y + T) below -T, else 0 (at +T too)."""
    return 2 * (y > threshold).to(y.dtype) - 6 * relu(-y - threshold)


def autograd_derivatives(y: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """First and second derivative of `softt` at each value of `y` by torch.autograd."""
    y = y.detach().requires_grad_()
    (first,) = torch.autograd.grad(softt(y, threshold).sum(), y, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), y)
    return first.detach(), second


def one_sided_derivatives(threshold: float) -> list[dict[str, Any]]:
    """First and second derivative at -T and +T from either side, by difference quotients.

    Quotients of f and of f' with steps h, h/2 and h/4 in float64, extrapolated to step 0, which
    is exact for cubics.

    Returns:
        For each of the two points: y, and [from below, from above] of derivative and
        second_derivative.
    """
    h = threshold / 1024

    def limit(values: Tensor, steps: Tensor) -> float:
        far, middle, near = ((values[1:] - values[0]) / steps[1:]).tolist()
        return float(8 * near - 6 * middle + far) / 3

    found = []
    for point in (-threshold, threshold):
        sides: dict[str, list[float]] = {"derivative": [], "second_derivative": []}
        for step in (-h, h):
            steps = step * torch.tensor([0, 1, 1 / 2, 1 / 4], dtype=torch.float64)
            y = point + steps
            sides["derivative"].append(limit(softt(y, threshold), steps))
            sides["second_derivative"].append(limit(softt_derivative(y, threshold), steps))
        found.append({"y": point, **sides})
    return found


def run(config: Config, context: Context) -> Output:
    """Evaluate f_T and f_T' by their written-out forms and by autograd."""
    dtype: torch.dtype = getattr(torch, config.dtype)
    low, high = config.range
    largest = torch.finfo(dtype).max
    for key, value in (("threshold", config.threshold), ("range", low), ("range", high)):
        if abs(value) > largest:
            raise UserError(
                f"{key} = {value:g} is beyond the largest {config.dtype}, {largest:g}: "
                "lower it, or take another dtype"
            )
    y = torch.linspace(low, high, config.num_points, dtype=torch.float64).to(context.device, dtype)
    first, second = autograd_derivatives(y, config.threshold)
    closed_first = softt_derivative(y, config.threshold)
    closed_second = softt_second_derivative(y, config.threshold)
    results: dict[str, Any] = {
        "threshold": config.threshold,
        "y": y.tolist(),
        "f": _finite(softt(y, config.threshold)),
        "derivative": _finite(closed_first),
        "derivative_autograd": _finite(first),
        "second_derivative": _finite(closed_second) if config.second_derivative else None,
        "one_sided": one_sided_derivatives(config.threshold),
        "checks": {
            "derivative": _agreement(first, closed_first),
            "second_derivative": _agreement(second, closed_second),
        },
    }
    wrong = [
        f"autograd and the written-out {name.replace('_', ' ')} differ by "
        f"{check['max_relative_difference']}"
        for name, check in results["checks"].items()
        if not check["agrees"]
    ]
    overflows = sum(value is None for value in results["f"])
    notes = []
    if overflows:
        notes.append(
            f"f is beyond the largest {config.dtype} at {overflows} of {len(y)} points: null there"
        )
    return Output(results, failed=bool(wrong), warnings=[*notes, *wrong])


def _agreement(value: Tensor, reference: Tensor) -> dict[str, Any]:
    """Whether two tensors agree to rounding; an overflow must be met by the same overflow."""
    scale = reference.abs().double().clamp(min=torch.finfo(torch.float64).tiny)
    difference = (value.double() - reference.double()).abs() / scale
    difference = difference.masked_fill(value == reference, 0.0)
    agrees = bool((difference <= 8 * torch.finfo(value.dtype).eps).all())
    largest = float(difference.max())
    return {
        "max_relative_difference": largest if math.isfinite(largest) else None,
        "agrees": agrees,
    }


def _finite(values: Tensor) -> list[float | None]:
    """None in place of infinity, which JSON does not have."""
    return [value if math.isfinite(value) else None for value in values.tolist()]


def summarize(results: Mapping[str, Any]) -> Sequence[Table | str]:
    """What happens at ±T, and whether autograd agrees with the written-out derivatives."""
    rows = []
    for name, point in zip(("-T", "+T"), results["one_sided"], strict=True):
        for key in ("derivative", "second_derivative"):
            below, above = point[key]
            rounding = 1e-6 * max(1.0, results["threshold"])
            verdict = "continuous" if abs(above - below) <= rounding else "jumps"
            numbers = [f"{value:.4f}".replace("-0.0000", "0.0000") for value in (below, above)]
            rows.append([f"{name} = {point['y']:g}", key.replace("_", " "), *numbers, verdict])
    columns = ["y", "quantity", "from below", "from above", "verdict"]
    lines = [
        f"{name.replace('_', ' ')} by autograd: "
        + (
            f"agrees, largest relative difference {check['max_relative_difference']:.2g}"
            if check["agrees"]
            else f"DIFFERS, by up to {check['max_relative_difference']}"
        )
        for name, check in results["checks"].items()
    ]
    return [Table("one-sided derivatives by difference quotients", columns, rows), *lines]


def draw(config: Config, results: Mapping[str, Any]) -> Mapping[str, Figure]:
    """Draw f_T and f_T', and f_T'' where it was asked for, with ±T marked."""
    from matplotlib.figure import Figure

    threshold = results["threshold"]
    num_panels = 2 if results["second_derivative"] is None else 3
    width = 4.4 * num_panels
    figure = Figure(figsize=(width, 4))
    # Set by hand: a layout engine draws everything twice, a good part of the whole command's time.
    margins = {"left": 0.8 / width, "right": 1 - 0.2 / width, "bottom": 0.13, "top": 0.96}
    panels = figure.subplots(1, num_panels, gridspec_kw={**margins, "wspace": 0.3})
    y = results["y"]
    panels[0].plot(y, _gaps(results["f"]), color="black", label="$f_T$")
    panels[0].set(ylabel="$f_T(y)$")
    slopes = [_gaps(results[key]) for key in ("derivative", "derivative_autograd")]
    panels[1].plot(y, slopes[0], color="silver", linewidth=5, label="$f_T'$ written out")
    panels[1].plot(y, slopes[1], color="black", linestyle="--", label="$f_T'$ by autograd")
    panels[1].set(ylabel="$f_T'(y)$")
    if num_panels == 3:
        _draw_second(panels[2], y, _gaps(results["second_derivative"]), results["one_sided"][1])
    for panel in panels:
        for i, edge in enumerate((-threshold, threshold)):
            label = None if i else rf"$\pm T = \pm {threshold:g}$"
            panel.axvline(edge, color="tab:red", linestyle=":", label=label)
        panel.set(xlabel="$y$", xlim=config.range)
        panel.ticklabel_format(axis="y", scilimits=(-3, 4))  # longer numbers have no room
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small")
    return {"softt": figure}


def _draw_second(
    panel: Axes, y: Sequence[float], second: Sequence[float], at_threshold: Mapping[str, Any]
) -> None:
    """Two pieces, so that no line joins the two ends of the jump at +T."""
    threshold, (below, above) = at_threshold["y"], at_threshold["second_derivative"]
    split = sum(value <= threshold for value in y)
    left = [*y[:split], threshold], [*second[:split], below]
    right = [threshold, *y[split:]], [above, *second[split:]]
    panel.plot(*left, color="black", label="$f_T''$")
    panel.plot(*right, color="black")
    ends = [threshold] * 2, [below, above], "ko"
    panel.plot(*ends, markersize=4, markerfacecolor="white", label="jump at $+T$")
    panel.set(ylabel="$f_T''(y)$")


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]
