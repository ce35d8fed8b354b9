"""What torch.autograd.gradcheck says of a function, and why it may reject a correct derivative."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from midterm_cli.part1.autodiff.schema import Gradcheck
from midterm_cli.part1.derivative import reverse_mode
from midterm_cli.part1.expression import Program, as_function
from midterm_cli.part1.rounding import rounding_bound_of_value

_STEP, _ATOL, _RTOL = 1e-6, 1e-5, 1e-3
"""The defaults of torch.autograd.gradcheck."""


def gradcheck(program: Program, x: Tensor) -> Gradcheck:
    """Call torch.autograd.gradcheck with its default settings, in the dtype of `x`.

    Args:
        program: the function.
        x: the points, (n,); f must be defined there.
    """
    with warnings.catch_warnings():
        # It advises against float32; how it fails there is what Part 1 shows.
        warnings.simplefilter("ignore", UserWarning)
        passed = torch.autograd.gradcheck(
            as_function(program),
            x.clone().requires_grad_(),
            eps=_STEP,
            atol=_ATOL,
            rtol=_RTOL,
            raise_exception=False,
        )
    return Gradcheck(passed=passed, reason=None if passed else _reason(program, x))


def _reason(program: Program, x: Tensor) -> str:
    """Why gradcheck rejects f: rounding, if that can exceed what it allows, or its step."""
    slope = reverse_mode(program, x).abs()
    if not bool(slope.isfinite().all()):
        return "autograd has no finite number there"
    eps = torch.finfo(x.dtype).eps
    rounding = (rounding_bound_of_value(program, x) + slope * eps * x.abs()) / _STEP
    allowed = _ATOL + _RTOL * slope
    if not bool((rounding > allowed).any()):
        return (
            f"its step of {_STEP:g} is too coarse here, near the edge of the domain or on a steep "
            "piece; the finite differences of this command choose their step"
        )
    dtype = str(x.dtype).removeprefix("torch.")
    most = float(rounding.max())
    size = f"up to {most:.2g}" if math.isfinite(most) else "any size"
    return (
        f"its step of {_STEP:g} makes the rounding of x and f in {dtype} an error of {size} "
        "in the quotient, and it allows "
        f"{float(allowed.min()):.2g}; this says nothing against the derivative"
    )
