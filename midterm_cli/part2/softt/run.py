"""Evaluate the soft-threshold and its derivatives, in closed form and by autograd."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Output
from midterm_cli.part2.layer import softt, softt_derivative, softt_second_derivative
from midterm_cli.part2.softt.schema import (
    Agreement,
    Checks,
    Config,
    OneSided,
    Point,
    Results,
    Values,
)


def run(config: Config, context: Context) -> Output:
    """Evaluate f_T, f_T' and f_T'' on a grid, and compare autograd with the closed forms.

    Raises:
        UserError: threshold or range is beyond the largest number of the dtype.
    """
    dtype: torch.dtype = getattr(torch, config.dtype)
    _require_representable(config, dtype)
    low, high = config.range
    grid = torch.linspace(low, high, config.num_points, dtype=torch.float64)
    points = torch.tensor(config.y, dtype=torch.float64)
    y = torch.cat([grid, points]).to(context.device, dtype)
    first, second = autograd_derivatives(y, config.threshold)
    closed_first = softt_derivative(y, config.threshold)
    closed_second = softt_second_derivative(y, config.threshold)
    checks = Checks(
        derivative=agreement(first, closed_first),
        second_derivative=agreement(second, closed_second),
    )
    f, derivative = _finite(softt(y, config.threshold)), _finite(closed_first)
    derivative_autograd, n = _finite(first), config.num_points
    values = zip(y.tolist(), f, derivative, derivative_autograd, strict=True)
    results = Results(
        threshold=config.threshold,
        y=y[:n].tolist(),
        f=f[:n],
        derivative=derivative[:n],
        derivative_autograd=derivative_autograd[:n],
        second_derivative=_finite(closed_second[:n]) if config.second_derivative else None,
        points=[
            Point(y=at, f=value, derivative=closed, derivative_autograd=by_autograd)
            for at, value, closed, by_autograd in [*values][n:]
        ],
        one_sided=one_sided_derivatives(config.threshold),
        checks=checks,
    )
    wrong = [
        f"autograd and the closed form of the {name} differ {check.extent}"
        for name, check in (
            ("derivative", checks.derivative),
            ("second derivative", checks.second_derivative),
        )
        if not check.agrees
    ]
    overflows = f.count(None)
    notes = []
    if overflows:
        notes.append(
            f"f is beyond the largest {config.dtype} at {overflows} of {len(y)} points: null there"
        )
    return Output(results, failed=bool(wrong), warnings=[*notes, *wrong])


def _require_representable(config: Config, dtype: torch.dtype) -> None:
    values = [("threshold", config.threshold), *(("range", end) for end in config.range)]
    largest = torch.finfo(dtype).max
    for key, value in [*values, *(("y", y) for y in config.y)]:
        if abs(value) > largest:
            raise UserError(
                f"{key} = {value:g} is beyond the largest {config.dtype}, {largest:g}: "
                "lower it, or take another dtype"
            )


def autograd_derivatives(y: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """First and second derivative of `softt` by torch.autograd.

    Args:
        y: any shape.
        threshold: T > 0.

    Returns:
        Two tensors of the same shape.
    """
    y = y.detach().requires_grad_()
    (first,) = torch.autograd.grad(softt(y, threshold).sum(), y, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), y)
    return first.detach(), second


def one_sided_derivatives(threshold: float) -> list[OneSided]:
    """First and second derivative at -T and +T from either side, by difference quotients.

    Quotients of f and of f' with steps h, 3h and 5h in float64, extrapolated to step 0, which is
    exact for cubics. h is a power of 2 with which no y is rounded. So nothing rounds above
    underflow: at T = 1e99 the quotients are 1e192, and rounding in them would hide the limit.
    """
    h = math.ldexp(1, math.frexp(threshold)[1] - 11)  # up to T / 1024
    # Where y passes the next power of 2 it may have one bit less.
    while any(threshold + n * h - threshold != n * h for n in (1, 3, 5)):
        h /= 2

    def limit(values: Tensor, steps: Tensor) -> float:
        near, middle, far = ((values[1:] - values[0]) / steps[1:]).tolist()
        return float(15 * near - 10 * middle + 3 * far) / 8

    found = []
    for point in (-threshold, threshold):
        first, second = [], []
        for step in (-h, h):
            steps = step * torch.tensor([0, 1, 3, 5], dtype=torch.float64)
            y = point + steps
            first.append(limit(softt(y, threshold), steps))
            second.append(limit(softt_derivative(y, threshold), steps))
        found.append(OneSided(y=point, derivative=first, second_derivative=second))
    return found


def agreement(value: Tensor, reference: Tensor) -> Agreement:
    """Whether two tensors agree to 8 units of rounding; infinities agree with equal infinities."""
    scale = reference.abs().double().clamp(min=torch.finfo(torch.float64).tiny)
    difference = (value.double() - reference.double()).abs() / scale
    difference = difference.masked_fill(value == reference, 0.0)
    largest = float(difference.max())
    return Agreement(
        max_relative_difference=largest if math.isfinite(largest) else None,
        agrees=bool((difference <= 8 * torch.finfo(value.dtype).eps).all()),
    )


def _finite(values: Tensor) -> Values:
    """None in place of infinity, which JSON does not have."""
    return [value if math.isfinite(value) else None for value in values.tolist()]
