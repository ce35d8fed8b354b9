"""Take minima by -maxpool(-x) and directly, and compare values and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor

from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Output
from midterm_cli.layers.arithmetic import (
    Window,
    num_in_padding,
    output_size_steps,
    output_sizes,
    pool_cost,
    product_step,
)
from midterm_cli.layers.sizes import per_axis
from midterm_cli.part4 import by_torch
from midterm_cli.part4.pool_min.schema import Check, Checks, Config, Results

MAX_NUMBERS = 10_000_000
"""Of the padded input, and of all windows together: 80 MB each in float64."""

_TIES = (
    "where several inputs of a window are its minimum, -maxpool(-x) gives the gradient to the "
    "first of them, a direct minimum shares it evenly: both are subgradients, and gradients are "
    "compared without these windows"
)


def run(config: Config, context: Context) -> Output:
    """Pool the input by the identity and directly; compare values and gradients.

    Raises:
        UserError: no input is given or two are, the window does not fit, one reads no input, or
            they are too large.
    """
    x = _read_input(config).to(context.device)
    sizes, windows = (x.shape[0], x.shape[1]), config.windows()
    outputs = output_sizes(sizes, windows)
    if empty := num_in_padding(sizes, windows):
        raise UserError(
            f"{empty} of the {prod(outputs)} windows lie wholly in the padding, where the minimum "
            "is infinite: lower padding or raise kernel_size"
        )
    _check_numbers(sizes, windows, outputs)
    generator = torch.Generator().manual_seed(config.seed)
    upstream = 1 + torch.rand(outputs, dtype=torch.float64, generator=generator).to(x.device)
    tied = count_minima(x, windows, outputs) > 1
    upstream = upstream.masked_fill(tied, 0)

    values, gradient = _with_gradient(min_pool, x, windows, outputs, upstream)
    direct, direct_gradient = _with_gradient(min_pool_directly, x, windows, outputs, upstream)
    checks = Checks(values=_check(values, direct), gradient=_check(gradient, direct_gradient))
    kernel = [window.kernel_size for window in windows]
    operations, steps = pool_cost("max", prod(outputs), kernel)
    results = Results(
        input=x.tolist(),
        output_shape=list(outputs),
        values=prod(outputs),
        operations=operations.total,
        max_pooled=by_torch.pool(x[None, None], windows, outputs, "max")[0, 0].tolist(),
        min_pooled=values.tolist(),
        upstream=upstream.tolist(),
        gradient=gradient.tolist(),
        tied_windows=int(tied.sum()),
        ties=_TIES,
        steps=[
            "minpool(x) = -maxpool(-x): max pads with -inf, so min pads with +inf",
            *output_size_steps(sizes, windows),
            product_step("values", outputs),
            *steps,
        ],
        checks=checks,
    )
    wrong = [
        f"{name} of -maxpool(-x) and of the direct minimum differ by {check.max_difference:.3g}"
        for name, check in (("values", checks.values), ("gradient", checks.gradient))
        if not check.agrees
    ]
    return Output(results, failed=bool(wrong), warnings=wrong)


def _check_numbers(sizes: Sequence[int], windows: Sequence[Window], outputs: Sequence[int]) -> None:
    # Where the last window ends, or the padding.
    padded = prod(
        max(size + 2 * window.padding, (count - 1) * window.stride + window.span)
        for size, window, count in zip(sizes, windows, outputs, strict=True)
    )
    reads = prod(outputs) * prod(window.kernel_size for window in windows)
    for what, numbers in (("the padded input has", padded), ("all windows together read", reads)):
        if numbers > MAX_NUMBERS:
            raise UserError(
                f"{what} {numbers:,} numbers, and up to {MAX_NUMBERS:,} are taken: "
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
    pool: Callable[[Tensor, Sequence[Window], Sequence[int]], Tensor],
    x: Tensor,
    windows: Sequence[Window],
    outputs: Sequence[int],
    upstream: Tensor,
) -> tuple[Tensor, Tensor]:
    """Pooled values, and the gradient of their sum weighted by `upstream`."""
    x = x.detach().requires_grad_()
    pooled = pool(x, windows, outputs)
    (gradient,) = torch.autograd.grad(pooled, x, upstream)
    return pooled.detach(), gradient


def _check(a: Tensor, b: Tensor) -> Check:
    """Whether two tensors agree to 1e-12 of the largest value: gradients are sums."""
    difference = float((a - b).abs().max())
    return Check(max_difference=difference, agrees=difference <= 1e-12 * float(b.abs().max()))
