"""The list of layers of a torch.nn.Module that is a plain sequence of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from midterm_cli.errors import UserError
from midterm_cli.layers import build, user
from midterm_cli.layers.schema import MAX_LAYERS, Layer
from midterm_cli.layers.walk import LayerCost, walk
from midterm_cli.text import printable

NUM_CLASSES = 10
NUM_EXAMPLES = 2
TOLERANCE = 1e-9
"""Of the largest value: the same operations in float64, maybe in another order."""

_LAYER: TypeAdapter[Layer] = TypeAdapter(Layer)


def read(source: user.Source, in_shape: tuple[int, ...]) -> list[Layer]:
    """The layers of a network of the user's own, for inputs of one shape, as in evaluation.

    They are the modules of torch.nn that it calls, in their order, if each reads what the one
    before gives: that is compared with the same layers built anew, on random inputs, with random
    weights, in float64.

    Args:
        source: of the network, which is executed.
        in_shape: of one input: channels, and the size along one axis or two.

    Raises:
        UserError: the network cannot be built or fails on the input, or is no plain sequence of
            known layers: names the module that stands in the way.
    """
    network = user.factory(source, in_shape, NUM_CLASSES)().double().eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(NUM_EXAMPLES, *in_shape, dtype=torch.float64, generator=generator)
    shape = "×".join(map(str, in_shape))
    calling = f"calling {printable(source.name)} on an input of {shape} (channels, size)"

    def call() -> object:
        with torch.no_grad(), user.executing(source, calling):
            return network(x.clone())

    call()  # so that lazy modules have their shapes
    _vary(network, generator)
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise _not_plain(source, "what it calls is hidden by torch.jit: return it without")
    calls: list[_Call] = []
    hooks = [
        module.register_forward_pre_hook(_recorder(name, calls), with_kwargs=True)
        for name, module in _leaves("", network)
    ]
    y = call()
    for hook in hooks:
        hook.remove()
    try:
        return _sequence(network, calls, x, y)
    except _Other as other:
        raise _not_plain(source, other) from None


def _not_plain(source: user.Source, reason: object) -> UserError:
    return UserError(f"{source} is no plain sequence of known layers: {reason}")


class _Other(Exception):
    """A network is no sequence of known layers; says what it is or does."""


class _Call(NamedTuple):
    """A call of a module.

    Attributes:
        name: of the module in the network, in quotes.
        module: that is called.
        given: its arguments, as they were.
    """

    name: str
    module: nn.Module
    given: list[Any]


def _recorder(
    name: str, calls: list[_Call]
) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
    """What torch calls before a module: appends to calls."""

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # What follows may change a tensor in place.
        given = [x.clone() if isinstance(x, Tensor) else x for x in (*args, *kwargs.values())]
        calls.append(_Call(_quoted(name), module, given))

    return record


@torch.no_grad()
def _sequence(network: nn.Module, calls: Sequence[_Call], x: Tensor, y: object) -> list[Layer]:
    """The layers that were called, if they are all that the network does.

    Args:
        network: that called them.
        calls: in their order.
        x: the input, (n, channels, *sizes).
        y: what the network gives.

    Raises:
        _Other: they are not all, or not known.
    """
    layers: list[Layer] = []
    _, channels, *sizes = x.shape
    last = None
    for call in calls:
        kind = type(call.module)
        if kind not in _KNOWN:
            known = ", ".join(kind.__name__ for kind in _KNOWN)
            raise _Other(f"{call.name} is {user.with_article(kind.__name__)}\nknown are {known}")
        if len(layers) == MAX_LAYERS:
            raise _Other(f"it has {len(calls)} layers, and up to {MAX_LAYERS} are taken")
        if len(call.given) != 1 or not _same(call.given[0], x):
            raise _own_doing(f"between {last} and {call.name}" if last else f"before {call.name}")
        try:
            layers.append(_layer(call.module, x.shape[1:]))
            cost = walk(layers, channels, tuple(sizes))[-1]
        except _Other as other:
            raise _Other(
                f"{call.name} is {user.with_article(kind.__name__)} that {other}"
            ) from None
        except UserError as error:
            raise _Other(f"{call.name}: {error}") from None
        x = _applied(call, cost, x)
        last = call.name
    if last is None:
        raise _Other("it calls no module of torch.nn")
    if not _same(y, x):
        raise _own_doing(f"after {last}")
    if not x.isfinite().all():
        raise _Other("on random inputs it gives NaN or infinity, and so it cannot be told")
    _require_all_called(network, calls)
    return layers


def _layer(module: nn.Module, shape: Sequence[int]) -> Layer:
    keys = _KNOWN[type(module)](module, shape)
    try:
        return _LAYER.validate_python(keys, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = first["loc"][1]
        raise _Other(f"has {key} {first['input']}: {first['msg']}") from None


def _applied(call: _Call, cost: LayerCost, x: Tensor) -> Tensor:
    """What the layer, built anew, gives with the weights of the module."""
    ours, state = build.module(cost).double().eval(), call.module.state_dict()
    if {key: tensor.shape for key, tensor in ours.state_dict().items()} != {
        key: tensor.shape for key, tensor in state.items()
    }:
        raise _Other(f"{call.name} has other parameters than the layer")
    ours.load_state_dict(state)
    after: Tensor = ours(x)
    return after


def _require_all_called(network: nn.Module, calls: Sequence[_Call]) -> None:
    """Refuse parameters that would not be counted, or twice."""
    counted: set[nn.Parameter] = set()
    for call in calls:
        parameters = set(call.module.parameters())
        if parameters & counted:
            raise _Other(f"the parameters of {call.name} are used twice, and would count twice")
        counted |= parameters
    for name, parameter in network.named_parameters():
        if parameter not in counted:
            raise _Other(f"{_quoted(name)} is a parameter of none of the layers that it calls")


def _same(given: object, x: Tensor) -> bool:
    """Whether a value is a tensor, but for rounding."""
    if not isinstance(given, Tensor) or given.shape != x.shape:
        return False
    bound = TOLERANCE * float(x.abs().max())
    return torch.allclose(given, x, rtol=0, atol=bound, equal_nan=True)


def _own_doing(where: str) -> _Other:
    return _Other(
        f"{where} its forward does something else\n"
        "make that a module too, such as nn.ReLU() or nn.Flatten(), and call it there"
    )


def _leaves(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules below one, down to those of torch.nn and to those without any."""
    children = list(module.named_children())
    of_torch = type(module).__module__.startswith("torch.nn.modules.")
    if children and (not of_torch or isinstance(module, nn.Sequential)):
        for below, child in children:
            yield from _leaves(f"{name}.{below}".lstrip("."), child)
    elif of_torch or name:
        yield name, module


def _quoted(name: str) -> str:
    return f"'{printable(name)}'" if name else "it"


@torch.no_grad()
def _vary(network: nn.Module, generator: torch.Generator) -> None:
    """Change all numbers a little, so that none is 0 or 1 and what it does goes unseen."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            factor, noise = torch.rand(2, *tensor.shape, dtype=tensor.dtype, generator=generator)
            tensor.mul_(factor + 0.5).add_(noise, alpha=0.01)


# The keys of a layer, from a module of torch.nn and the shape of its input.

_Keys = Mapping[str, Any]


def _numbers(value: int | Sequence[int]) -> int | list[int]:
    return value if isinstance(value, int) else list(value)


def _conv(conv: Any, shape: Sequence[int]) -> _Keys:
    if conv.padding_mode != "zeros":
        raise _Other(f"pads by {conv.padding_mode}, not with zeros")
    padding = conv.padding
    if padding == "valid":
        padding = 0
    elif padding == "same":
        both = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        if any(total % 2 for total in both):
            raise _Other("pads the two sides of an axis differently")
        padding = [total // 2 for total in both]
    return {
        "type": "conv",
        "out_channels": conv.out_channels,
        "kernel_size": _numbers(conv.kernel_size),
        "stride": _numbers(conv.stride),
        "padding": _numbers(padding),
        "dilation": _numbers(conv.dilation),
        "groups": conv.groups,
        "bias": conv.bias is not None,
    }


def _max_pool(pool: Any, shape: Sequence[int]) -> _Keys:
    if pool.return_indices:
        raise _Other("returns indices")
    return _pool(pool, "max") | {"dilation": _numbers(pool.dilation)}


def _average_pool(pool: Any, shape: Sequence[int]) -> _Keys:
    padded = pool.padding if isinstance(pool.padding, int) else max(pool.padding)
    if not pool.count_include_pad and padded:
        raise _Other("leaves the padding out of its averages")
    if getattr(pool, "divisor_override", None) is not None:
        raise _Other("has a divisor_override")
    return _pool(pool, "average")


def _pool(pool: Any, kind: str) -> dict[str, Any]:
    return {
        "type": "pool",
        "kind": kind,
        "kernel_size": _numbers(pool.kernel_size),
        "stride": _numbers(pool.stride),
        "padding": _numbers(pool.padding),
        "ceil_mode": pool.ceil_mode,
    }


def _adaptive(kind: str) -> Callable[[Any, Sequence[int]], _Keys]:
    def keys(pool: Any, shape: Sequence[int]) -> _Keys:
        sizes, wanted = shape[1:], pool.output_size
        wanted = [wanted] * len(sizes) if isinstance(wanted, int) else wanted
        outputs = [size if n is None else n for size, n in zip(sizes, wanted, strict=True)]
        if getattr(pool, "return_indices", False):
            raise _Other("returns indices")
        if any(size % n for size, n in zip(sizes, outputs, strict=True)):
            raise _Other("has windows of several sizes")
        kernel = [size // n for size, n in zip(sizes, outputs, strict=True)]
        return {"type": "pool", "kind": kind, "kernel_size": kernel}

    return keys


def _group_norm(norm: Any, shape: Sequence[int]) -> _Keys:
    keys = {"num_groups": norm.num_groups, "affine": norm.affine, "eps": norm.eps}
    return {"type": "group_norm", **keys}


def _layer_norm(norm: Any, shape: Sequence[int]) -> _Keys:
    if tuple(norm.normalized_shape) != tuple(shape):
        raise _Other("normalises over some axes alone")
    if norm.elementwise_affine and norm.bias is None:
        raise _Other("has a scale and no shift")
    return {"type": "layer_norm", "affine": norm.elementwise_affine, "eps": norm.eps}


def _gelu(gelu: Any, shape: Sequence[int]) -> _Keys:
    if gelu.approximate != "none":
        raise _Other("is approximate")
    return {"type": "gelu"}


def _flatten(flatten: Any, shape: Sequence[int]) -> _Keys:
    if (flatten.start_dim, flatten.end_dim) not in ((1, -1), (1, len(shape))):
        raise _Other("flattens some axes alone")
    return {"type": "flatten" if len(shape) > 1 else "identity"}


def _linear(linear: Any, shape: Sequence[int]) -> _Keys:
    if len(shape) > 1:
        raise _Other("reads rows of a map: flatten it before")
    has_bias = linear.bias is not None
    return {"type": "linear", "out_features": linear.out_features, "bias": has_bias}


def _plain(kind: str, *keys: str) -> Callable[[Any, Sequence[int]], _Keys]:
    return lambda module, shape: {"type": kind} | {key: getattr(module, key) for key in keys}


_KNOWN: dict[type[nn.Module], Callable[[Any, Sequence[int]], _Keys]] = {
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.MaxPool1d: _max_pool,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool1d: _average_pool,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveMaxPool1d: _adaptive("max"),
    nn.AdaptiveMaxPool2d: _adaptive("max"),
    nn.AdaptiveAvgPool1d: _adaptive("average"),
    nn.AdaptiveAvgPool2d: _adaptive("average"),
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.Dropout: _plain("dropout", "p"),
    nn.ReLU: _plain("relu"),
    nn.LeakyReLU: _plain("leaky_relu", "negative_slope"),
    nn.Tanh: _plain("tanh"),
    nn.Sigmoid: _plain("sigmoid"),
    nn.GELU: _gelu,
    nn.Identity: _plain("identity"),
    nn.Flatten: _flatten,
    nn.Linear: _linear,
}
