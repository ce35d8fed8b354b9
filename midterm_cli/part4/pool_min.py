"""Part 4, 1c: minimum pooling as -maxpool(-x), held against a minimum of each window."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Output, Table
from midterm_cli.part4 import by_torch
from midterm_cli.part4.arithmetic import (
    Window,
    max_pool_operations,
    num_in_padding,
    output_size_steps,
    output_sizes,
    pool_steps,
    product_step,
)
from midterm_cli.part4.pool import PoolConfig, windows_along_axes
from midterm_cli.part4.sizes import PerAxis, per_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_INPUT = 64
"""Rows and columns of an input: its values and gradients are written out in the results."""

MAX_NUMBERS = 10_000_000
"""Of the padded input, and of all windows written out: 80 MB each in float64."""

# More cells than this along an axis leave no room for numbers in them.
_MAX_PRINTED = 12

Row = Annotated[
    list[Annotated[float, Field(ge=-1e100, le=1e100)]], Field(min_length=1, max_length=MAX_INPUT)
]


class Config(PoolConfig):
    """The windows, and an input with one channel."""

    size: PerAxis[Annotated[int, Field(ge=1, le=MAX_INPUT)]] | None = Field(
        description="of a random input: one number, or [height, width]; null with input"
    )
    input: Annotated[list[Row], Field(min_length=1, max_length=MAX_INPUT)] | None = Field(
        description="rows of numbers, or null for a random input"
    )


def run(config: Config, context: Context) -> Output:
    """Pool the input by the identity and directly; compare values and gradients.

    Raises:
        UserError: no input is given or two are, the window does not fit, one reads no input, or
            they are too large to be written out.
    """
    x = _read_input(config).to(context.device)
    sizes, windows = (x.shape[0], x.shape[1]), windows_along_axes(config)
    outputs = output_sizes(sizes, windows)
    if empty := num_in_padding(sizes, windows):
        raise UserError(
            f"{empty} of the {prod(outputs)} windows lie wholly in the padding, where the minimum "
            "is infinite: lower padding or raise kernel_size"
        )
    _check_writable(sizes, windows, outputs)
    generator = torch.Generator().manual_seed(config.seed)
    upstream = 1 + torch.rand(outputs, dtype=torch.float64, generator=generator).to(x.device)
    tied = count_minima(x, windows, outputs) > 1
    upstream = upstream.masked_fill(tied, 0)

    values, gradient = _with_gradient(min_pool, x, windows, outputs, upstream)
    direct, direct_gradient = _with_gradient(min_pool_directly, x, windows, outputs, upstream)
    checks = {
        "values": _comparison(values, direct),
        "gradient": _comparison(gradient, direct_gradient),
    }
    kernel = [window.kernel_size for window in windows]
    operations = max_pool_operations(prod(outputs), kernel)
    results: dict[str, Any] = {
        "input": x.tolist(),
        "output_shape": list(outputs),
        "values": prod(outputs),
        "operations": operations["comparisons"],
        "max_pooled": by_torch.pool(x[None, None], windows, outputs, "max")[0, 0].tolist(),
        "min_pooled": values.tolist(),
        "upstream": upstream.tolist(),
        "gradient": gradient.tolist(),
        "tied_windows": int(tied.sum()),
        "ties": "where several inputs of a window are its minimum, -maxpool(-x) gives the gradient "
        "to the first of them, a direct minimum shares it evenly: both are subgradients, and "
        "gradients are compared without these windows",
        "steps": [
            "minpool(x) = -maxpool(-x): max pads with -inf, so min pads with +inf",
            *output_size_steps(sizes, windows),
            product_step("values", outputs),
            *pool_steps(prod(outputs), kernel, operations),
        ],
        "checks": checks,
    }
    wrong = [
        f"{name} of -maxpool(-x) and of the direct minimum differ by {check['max_difference']:.3g}"
        for name, check in checks.items()
        if not check["agrees"]
    ]
    return Output(results, failed=bool(wrong), warnings=wrong)


def _check_writable(
    sizes: Sequence[int], windows: Sequence[Window], outputs: Sequence[int]
) -> None:
    # Where the last window ends, or the padding.
    padded = prod(
        max(size + 2 * window.padding, (count - 1) * window.stride + window.span)
        for size, window, count in zip(sizes, windows, outputs, strict=True)
    )
    reads = prod(outputs) * prod(window.kernel_size for window in windows)
    for what, numbers in (("the padded input has", padded), ("all windows together read", reads)):
        if numbers > MAX_NUMBERS:
            raise UserError(
                f"{what} {numbers:,} numbers, and up to {MAX_NUMBERS:,} are written out: "
                "lower kernel_size, padding or dilation"
            )


def _read_input(config: Config) -> Tensor:
    if (config.input is None) == (config.size is None):
        given = "neither is given" if config.input is None else "both are given"
        raise UserError(f"size and input: {given}\ngive one of them, and null for the other")
    if config.input is None:
        assert config.size is not None
        generator = torch.Generator().manual_seed(config.seed)
        # Whole numbers are easy to follow, and a permutation of them has no ties.
        height, width = per_axis("size", config.size, 2)
        order = torch.randperm(height * width, generator=generator)
        return (order.double() - height * width // 2).reshape(height, width)
    lengths = sorted({len(row) for row in config.input})
    if len(lengths) > 1:
        raise UserError(
            f"the rows of input have {lengths[0]} to {lengths[-1]} values: make them equal"
        )
    return torch.tensor(config.input, dtype=torch.float64)


def min_pool(x: Tensor, windows: Sequence[Window], outputs: Sequence[int]) -> Tensor:
    """Minimum pooling by PyTorch's maximum: -maxpool(-x).

    Args:
        x: (height, width).
        windows: along height and width.
        outputs: number of windows along height and width.

    Returns:
        Of the shape `outputs`. Padding is -inf to the maximum, so +inf to the minimum.
    """
    return -by_torch.pool(-x[None, None], windows, outputs, "max")[0, 0]


def min_pool_directly(x: Tensor, windows: Sequence[Window], outputs: Sequence[int]) -> Tensor:
    """The same by its definition: pad with +inf, take the minimum of each window."""
    return by_torch.windows_of(x, windows, outputs, math.inf, math.inf).amin(-1)


def count_minima(x: Tensor, windows: Sequence[Window], outputs: Sequence[int]) -> Tensor:
    """How many inputs of each window are its minimum; above 1 it has no gradient."""
    read = by_torch.windows_of(x, windows, outputs, math.inf, math.inf)
    return (read == read.amin(-1, keepdim=True)).sum(-1)


def _with_gradient(
    pool: Any, x: Tensor, windows: Sequence[Window], outputs: Sequence[int], upstream: Tensor
) -> tuple[Tensor, Tensor]:
    """Pooled values, and the gradient of their sum weighted by `upstream`."""
    x = x.detach().requires_grad_()
    pooled = pool(x, windows, outputs)
    (gradient,) = torch.autograd.grad(pooled, x, upstream)
    return pooled.detach(), gradient


def _comparison(a: Tensor, b: Tensor) -> dict[str, Any]:
    """Whether two tensors agree: values are copies, so exactly; gradients are sums."""
    difference = float((a - b).abs().max())
    return {"max_difference": difference, "agrees": difference <= 1e-12 * float(b.abs().max())}


# What is shown


def summarize(results: Mapping[str, Any]) -> Sequence[Table | str]:
    """The identity and the formulas, the pooled values where they are few, and the checks."""
    shown: list[Table | str] = list(results["steps"])
    if max(results["output_shape"]) <= _MAX_PRINTED:
        rows = [[f"{value:g}" for value in row] for row in results["min_pooled"]]
        columns = [str(j) for j in range(results["output_shape"][1])]
        shown.append(
            Table("min-pooled", ["row", *columns], [[str(i), *row] for i, row in enumerate(rows)])
        )
    for name, check in results["checks"].items():
        verdict = "agrees with" if check["agrees"] else "DIFFERS from"
        shown.append(
            f"{name}: -maxpool(-x) {verdict} a direct minimum, largest difference "
            f"{check['max_difference']:.2g}"
        )
    if results["tied_windows"]:
        shown.append(f"{results['tied_windows']} windows have ties: {results['ties']}")
    return shown


def draw(config: Config, results: Mapping[str, Any]) -> Mapping[str, Figure]:
    """Draw the input and what both poolings make of it, as heat maps with their values."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.9))
    grid = figure.add_gridspec(
        1, 4, width_ratios=[1, 1, 1, 0.05], left=0.04, right=0.94, bottom=0.08, top=0.88
    )
    values = [value for row in results["input"] for value in row]
    low, high = min(values), max(values)
    titles = {
        "input": "input x",
        "max_pooled": "maxpool(x)",
        "min_pooled": "minpool(x) = -maxpool(-x)",
    }
    for column, (key, title) in enumerate(titles.items()):
        axes = figure.add_subplot(grid[column])
        image = _heat_map(axes, results[key], low, high)
        axes.set(title=title)
    figure.colorbar(image, cax=figure.add_subplot(grid[3]), label="value")
    return {"pool_min": figure}


def _heat_map(axes: Axes, rows: Sequence[Sequence[float]], low: float, high: float) -> Any:
    """The larger a value, the lighter, in grey too; values stand in the cells if there is room."""
    image = axes.imshow(rows, cmap="viridis", vmin=low, vmax=high)
    axes.set(xticks=[], yticks=[])
    if max(len(rows), len(rows[0])) <= _MAX_PRINTED:
        for i, row in enumerate(rows):
            for j, value in enumerate(row):
                color = "white" if value < (low + high) / 2 else "black"
                axes.text(j, i, f"{value:.3g}", ha="center", va="center", color=color, fontsize=8)
    return image
