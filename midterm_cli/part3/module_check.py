"""Which modules an ensemble can hold: those whose outputs follow from input and parameters."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from midterm_cli.errors import UserError

# What every module has, hooks and the like.
_OF_TORCH = vars(nn.Module()).keys()

Trying = Callable[[str], AbstractContextManager[None]]
"""A context for calling code of the user's, told what is done."""


class Found(NamedTuple):
    """What is known of a module that has been tried.

    Attributes:
        draws: whether it draws random numbers in training, as dropout does.
        macs: multiplications of its matrices and kernels for one image.
        num_activations: values of the image and in all its layers.
    """

    draws: bool
    macs: int
    num_activations: int


def check(
    module: nn.Module,
    twin: nn.Module,
    name: str,
    in_shape: tuple[int, int, int],
    num_classes: int,
    trying: Trying,
) -> Found:
    """Try a module on two images, in training and in evaluation; it is left in evaluation.

    Args:
        module: on the CPU.
        twin: made in the same way, after the same seed.
        name: what messages call it.
        in_shape: channels, height and width of an image.
        num_classes: that it must tell apart.
        trying: see `Trying`.

    Raises:
        UserError: an ensemble cannot hold it; says what stands in the way, and the way out.
    """
    _refuse_wrapped(module, name)
    _check_parameters(module, name)
    _refuse_batch_norm(module, name)
    if _changed(_numbers(module), _numbers(twin)):
        raise UserError(
            f"{name} has other weights when it is made again after the same seed: draw them by "
            "torch, from its own generator"
        )
    counted = _Counter(module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = torch.randn(4, *in_shape)
        output, draws = _call(module.train(), x[:2], name, trying)
        _check_output(output, name, num_classes)
        if not output.requires_grad:
            raise UserError(
                f"{name}: no gradient reaches its parameters\n"
                "leave out torch.no_grad(), detach() and .data"
            )
        module.eval()
        with torch.no_grad():
            with counted:
                output, draws_then = _call(module, x[:2], name, trying)
            _check_output(output, name, num_classes)
            if draws_then:
                raise UserError(
                    f"{name} draws random numbers in evaluation as well: its numbers could not be "
                    "repeated\npass training=self.training to dropout, or use nn.Dropout"
                )
            among, _ = _call(module, x, name, trying)
            again, _ = _call(module, x[:2], name, trying)
    if not _equal(output, again):
        raise UserError(
            f"{name} gives other outputs when it is called again: compute from the input and the "
            "parameters alone"
        )
    if not torch.allclose(output, among[:2], rtol=1e-3, atol=1e-3 * float(output.abs().max())):
        raise UserError(
            f"{name}: its outputs for an image depend on the other images beside it, which are "
            "others in evaluation\nnormalise within an image, as GroupNorm does"
        )
    return Found(draws, counted.macs // 2, math.prod(in_shape) + counted.values // 2)


def _refuse_wrapped(module: nn.Module, name: str) -> None:
    for of, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule | nn.DataParallel):
            what = f"'{of}'" if of else "it"
            raise UserError(
                f"{name}: {what} is a {type(part).__name__}: return the plain module in it"
            )


def _check_parameters(module: nn.Module, name: str) -> None:
    parameters = dict(module.named_parameters())
    if not parameters:
        raise UserError(f"{name} has no parameters: there is nothing to train")
    for of, parameter in parameters.items():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise UserError(
                f"{name}: the shape of {of} is open until the first input\n"
                "give its layer the number of inputs in place of a Lazy one"
            )
        if parameter.dtype != torch.float32:
            dtype = str(parameter.dtype).removeprefix("torch.")
            raise UserError(
                f"{name}: {of} is {dtype}, and networks are made in float32\n"
                "leave its dtype out; --set dtype=float64 computes in float64"
            )
        if parameter.device.type != "cpu":
            raise UserError(
                f"{name}: {of} is on {parameter.device}: make the network on the CPU, "
                "and choose where it is trained by --device"
            )
        if not parameter.requires_grad:
            raise UserError(
                f"{name}: {of} is frozen (requires_grad=False), and all parameters are trained\n"
                "make it a buffer, by register_buffer"
            )


def _refuse_batch_norm(module: nn.Module, name: str) -> None:
    for of, part in module.named_modules():
        if isinstance(part, _BatchNorm) or getattr(part, "running_mean", None) is not None:
            raise UserError(
                f"{name}: '{of}' is a {type(part).__name__}, whose outputs depend on the other "
                "images and on running statistics, which an ensemble cannot hold\nuse GroupNorm"
            )


def _call(module: nn.Module, x: Tensor, name: str, trying: Trying) -> tuple[Any, bool]:
    """The output, and whether random numbers were drawn."""
    given = x.clone()
    before, state = torch.get_rng_state(), {**_parameters(module), **_state(module)}
    with trying(f"called with images of shape {tuple(x.shape)}, it"):
        output: Any = module(x)
    if not torch.equal(x, given):
        raise UserError(f"{name} changes its input in place: compute from a copy of it")
    if changed := _changed(state, {**_parameters(module), **_state(module)}):
        raise UserError(
            f"{name} changes its own state when it is called: '{changed}'\n"
            "an ensemble cannot hold that: compute from the input and the parameters alone"
        )
    return output, not torch.equal(before, torch.get_rng_state())


def _check_output(output: Any, name: str, num_classes: int) -> None:
    if not isinstance(output, Tensor):
        raise UserError(f"{name} must return a tensor of logits, got {type(output).__name__}")
    if tuple(output.shape) != (2, num_classes):
        raise UserError(
            f"{name} gives {tuple(output.shape)} for two images, and {num_classes} classes need "
            f"(2, {num_classes})"
        )
    if output.dtype != torch.float32:
        raise UserError(f"{name} must compute in the dtype of its input, got {output.dtype}")


# ---- the state of a module


def _parameters(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def _numbers(module: nn.Module) -> dict[str, Any]:
    """Its parameters, buffers, and attributes that are tensors or numbers, by dotted names."""
    kept = {
        name: value
        for name, value in _state(module).items()
        if isinstance(value, Tensor | int | float)
    }
    return {**_parameters(module), **kept}


def _state(module: nn.Module) -> dict[str, Any]:
    """What it keeps beside its parameters: buffers and attributes."""
    state: dict[str, Any] = {}
    for of, part in module.named_modules():
        for key, value in {**vars(part), **part._buffers}.items():
            if key in _OF_TORCH:
                continue
            if isinstance(value, Tensor):
                value = value.detach().clone()
            # What cannot be copied, such as a lock, or a tensor within a graph, is left out.
            with suppress(TypeError, RuntimeError):
                state[f"{of}.{key}".lstrip(".")] = copy.deepcopy(value)
    return state


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The name of what differs; empty if nothing does."""
    for key in sorted(before.keys() | after.keys()):
        if key not in before or key not in after or not _equal(before[key], after[key]):
            return key
    return ""


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool(torch.equal(a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, int | float | str | None) and isinstance(b, int | float | str | None):
        return a == b or (a != a and b != b)  # NaN is the same as NaN
    return type(a) is type(b)


class _Counter:
    """Counts, while it is entered, what the innermost modules compute.

    Attributes:
        macs: multiplications of matrices and kernels.
        values: of their outputs.
    """

    def __init__(self, module: nn.Module) -> None:
        self.macs = self.values = 0
        self._parts = [part for part in module.modules() if not list(part.children())]

    def __enter__(self) -> None:
        self._hooks = [part.register_forward_hook(self._add) for part in self._parts]

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _add(self, part: nn.Module, _: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        self.values += output.numel()
        weight = getattr(part, "weight", None)
        if isinstance(weight, Tensor) and weight.dim() > 1:
            self.macs += weight.numel() * output.numel() // weight.shape[0]
