"""Which modules are plain sequences of known layers, and which layers they are."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from answer import Answer
from hypothesis import given, settings
from stacks import Stack, stacks

from midterm_cli.config import yaml
from midterm_cli.errors import UserError
from midterm_cli.layers import from_module, user
from midterm_cli.layers.build import sequential
from midterm_cli.layers.schema import Layer
from midterm_cli.layers.walk import walk

Midterm = Callable[..., Answer]
HEAD = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"


def read(text: str, in_shape: tuple[int, ...] = (2, 8, 9)) -> list[Layer]:
    return from_module.read(user.Source("net.py", "Net", HEAD + text), in_shape)


def of(*modules: str, in_shape: tuple[int, ...] = (2, 8, 9)) -> list[Layer]:
    """The layers of an nn.Sequential."""
    return read(f"def Net(): return nn.Sequential({', '.join(modules)})\n", in_shape)


def forward(body: str, **modules: str) -> str:
    """A class with these modules and this forward."""
    made = "".join(f"  self.{name} = {module}\n" for name, module in modules.items())
    return (
        f"class Net(nn.Module):\n def __init__(self):\n  super().__init__()\n{made}"
        f" def forward(self, x):\n  {body}\n"
    )


@settings(max_examples=150, deadline=None)
@given(stacks())
def test_a_network_of_layers_is_read_back(stack: Stack) -> None:
    """Layer by layer the same, up to keys that are written in another way."""
    text = "import network\nNet = lambda: network.made\n"
    network = sequential(stack.layers, stack.in_shape)
    module = type(torch)("network")
    module.made = network  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "network", module)
        found = read(text, stack.in_shape)
    channels, sizes = stack.in_shape[0], stack.in_shape[1:]
    for ours, theirs in zip(
        walk(stack.layers, channels, sizes), walk(found, channels, sizes), strict=True
    ):
        assert ours.layer.type == theirs.layer.type
        assert (ours.windows, ours.after) == (theirs.windows, theirs.after)
        assert (ours.parameters, ours.macs, ours.operations) == (
            theirs.parameters,
            theirs.macs,
            theirs.operations,
        )


def plain(layers: list[Layer]) -> list[dict[str, Any]]:
    return [layer.model_dump(exclude_defaults=True) for layer in layers]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("nn.Conv2d(2, 3, (3, 5), padding='same')", {"padding": [1, 2]}),
        ("nn.Conv2d(2, 3, 3, padding='same', dilation=2)", {"padding": [2, 2]}),
        ("nn.Conv2d(2, 3, 3, padding='valid')", {"padding": 0}),
        ("nn.LazyConv2d(3, 3, bias=False)", {"bias": False}),
        ("nn.Conv2d(2, 4, 3, groups=2)", {"groups": 2}),
        ("nn.MaxPool2d(2, 1, dilation=2)", {"stride": 1, "dilation": 2}),
        ("nn.AvgPool2d(2, ceil_mode=True)", {"kind": "average", "ceil_mode": True}),
        ("nn.AvgPool2d(2, count_include_pad=False)", {"kind": "average", "kernel_size": 2}),
        ("nn.AdaptiveAvgPool2d(1)", {"kind": "average", "kernel_size": [8, 9]}),
        ("nn.AdaptiveAvgPool2d((4, None))", {"kernel_size": [2, 1]}),
        ("nn.AdaptiveMaxPool2d((2, 3))", {"kind": "max", "kernel_size": [4, 3]}),
        ("nn.LayerNorm((2, 8, 9), eps=1e-3)", {"type": "layer_norm", "eps": 1e-3}),
        ("nn.LayerNorm((2, 8, 9), elementwise_affine=False)", {"affine": False}),
        ("nn.GroupNorm(2, 2, affine=False)", {"num_groups": 2, "affine": False}),
        ("nn.LeakyReLU(0.2, inplace=True)", {"type": "leaky_relu", "negative_slope": 0.2}),
        ("nn.Dropout(0.3)", {"type": "dropout", "p": 0.3}),
        ("nn.Flatten(1, 3)", {"type": "flatten"}),
    ],
)
def test_keys_of_a_module(module: str, expected: dict[str, Any]) -> None:
    (layer,) = of(module)
    assert layer.model_dump().items() >= expected.items()


def test_modules_in_modules_and_one_that_is_called_twice() -> None:
    text = forward(
        "return self.head(self.pool(self.act(self.block(self.act(self.pool(x))))))",
        block="nn.Sequential(nn.Identity(), nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh()))",
        pool="nn.MaxPool2d(2, 1)",
        act="nn.ReLU(inplace=True)",
        head="nn.Sequential(nn.Flatten(), nn.Flatten(), nn.LazyLinear(10))",
        unused="nn.Dropout(0.5)",
    )
    kinds = "pool relu identity conv tanh relu pool flatten identity linear"
    assert [layer.type for layer in read(text)] == kinds.split()


def test_the_number_of_classes_and_the_shape_are_given() -> None:
    text = (
        "def Net(in_shape, num_classes):\n"
        " return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(in_shape).numel(), num_classes))"
    )
    assert plain(read(text))[1] == {"type": "linear", "out_features": 10}
    assert read("Net = lambda: nn.ReLU()")[0].type == "relu"


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("nn.BatchNorm2d(2)", "'0' is a BatchNorm2d\nknown are Conv1d, Conv2d, MaxPool1d"),
        ("nn.ELU()", "'0' is an ELU"),
        ("nn.Dropout2d()", "'0' is a Dropout2d"),
        (
            "nn.Conv2d(2, 3, 2, padding='same')",
            "'0' is a Conv2d that pads the two sides of",
        ),
        ("nn.Conv2d(2, 3, 3, padding=1, padding_mode='reflect')", "pads by reflect, not with ze"),
        ("nn.AvgPool2d(2, padding=1, count_include_pad=False)", "leaves the padding out of its a"),
        ("nn.AvgPool2d(2, divisor_override=3)", "'0' is an AvgPool2d that has a divisor_override"),
        ("nn.MaxPool2d(2, return_indices=True)", "'0' is a MaxPool2d that returns indices"),
        (
            "nn.AdaptiveAvgPool2d(3)",
            "'0' is an AdaptiveAvgPool2d that has windows of s",
        ),
        ("nn.LayerNorm(9)", "'0' is a LayerNorm that normalises over some axes alone"),
        ("nn.LayerNorm((2, 8, 9), bias=False)", "'0' is a LayerNorm that has a scale and no shift"),
        ("nn.Linear(9, 3)", "'0' is a Linear that reads rows of a map: flatten it before"),
        ("nn.Flatten(2)", "'0' is a Flatten that flattens some axes alone"),
        ("nn.GELU('tanh')", "'0' is a GELU that is approximate"),
        (
            "nn.LeakyReLU(1.5)",
            "'0' is a LeakyReLU that has negative_slope 1.5: Input sh",
        ),
        ("nn.Dropout(1.0)", "'0' is a Dropout that has p 1.0: Input should be less than 1"),
        ("nn.utils.weight_norm(nn.Conv2d(2, 3, 3))", "'0' has other parameters than the layer"),
        ("*[nn.ReLU() for _ in range(65)]", "it has 65 layers, and up to 64 are taken"),
        ("nn.MaxPool2d(9, padding=4), nn.GroupNorm(2, 2)", "normalise each value by itself"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_a_layer_that_is_not_known(module: str, message: str) -> None:
    with pytest.raises(UserError, match=r"^net\.py:Net is no plain sequence of known l") as raised:
        of(module)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 2


OWN = "its forward does something else\nmake that a module too, such as nn.ReLU() or nn.Flatten()"
CONV = "nn.Conv2d(2, 2, 3, padding=1)"
BUFFER = f"{CONV}; self.register_buffer('s', torch.zeros(1))"


@pytest.mark.parametrize(
    ("body", "modules", "message"),
    [
        ("return self.b(F.relu(self.a(x)))", {"a": CONV, "b": CONV}, f"between 'a' and 'b' {OWN}"),
        ("return self.b(F.relu_(self.a(x)))", {"a": CONV, "b": CONV}, f"between 'a' and 'b' {OWN}"),
        ("return self.a(x.flip(-1))", {"a": CONV}, f"before 'a' {OWN}"),
        ("return F.relu(self.a(x))", {"a": CONV}, f"after 'a' {OWN}"),
        ("return x + self.a(x)", {"a": CONV}, f"after 'a' {OWN}"),
        ("return self.a(x), 1", {"a": CONV}, f"after 'a' {OWN}"),
        ("return self.a(x) + self.b(x)", {"a": CONV, "b": CONV}, f"before 'b' {OWN}"),
        # With these numbers as they are made nothing of it would be seen.
        ("return self.a(x) * self.s", {"a": CONV, "s": "nn.Parameter(torch.ones(1))"}, "after 'a'"),
        (
            "return self.a(x) + self.s",
            {"a": BUFFER},
            "after 'a'",
        ),
        ("return self.a(self.a(x))", {"a": CONV}, "parameters of 'a' are used twice"),
        ("return self.a(x)", {"a": CONV, "b": CONV}, "'b.weight' is a parameter of none of the la"),
        ("return x.relu()", {}, "it calls no module of torch.nn"),
        ("return self.a(x[:, 0])[0]", {"a": "nn.LSTM(9, 3, batch_first=True)"}, "'a' is an LSTM"),
        (
            "return self.a(x[0], x[0], x[0])[0]",
            {"a": "nn.MultiheadAttention(9, 3)"},
            "'a' is a MultiheadAttention",
        ),
    ],
)
def test_what_is_no_sequence_of_its_modules(
    body: str, modules: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError) as raised:
        read(forward(body, **modules))
    assert message.replace("before 'b'", "between 'a' and 'b'") in str(raised.value)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_what_a_script_calls_cannot_be_followed() -> None:
    with pytest.raises(UserError, match=r"hidden by torch\.jit: return it without"):
        read("Net = lambda: torch.jit.trace(nn.ReLU(), torch.zeros(1))\n")


def test_a_network_that_fails_on_the_input() -> None:
    text = forward("return self.a(x)", a="nn.Linear(3, 4)")
    message = r"^net\.py, line 9: calling Net on an input of 2×8×9 .channels, size. raises RuntimeE"
    with pytest.raises(UserError, match=message):
        read(text)


def test_layers_of_a_file_become_those_of_the_config(folder: Path, midterm: Midterm) -> None:
    """So that the run can be repeated without the file."""
    text = HEAD + (
        "def Net(in_shape, num_classes): return nn.Sequential(\n"
        " nn.Conv2d(in_shape[0], 8, 3, padding='same'), nn.GroupNorm(4, 8), nn.GELU(),\n"
        " nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, num_classes))\n"
    )
    Path("net.py").write_text(text, encoding="utf-8")
    line = ["conv", "stack", "--network", "net.py:Net", "--set", "channels=3", "--size", "12x16"]
    code, out, _ = midterm(*line, "--output", "one")
    assert code == 0
    assert "PyTorch agrees" in out
    Path("net.py").unlink()
    code, _, _ = midterm("conv", "stack", "--config", "one/config.yaml", "--output", "two")
    assert code == 0
    one, two = (yaml.load_file(Path(name, "config.yaml"))["layers"] for name in ("one", "two"))
    assert one == two
    kinds = "conv group_norm gelu pool flatten linear"
    assert [layer["type"] for layer in one] == kinds.split()
    assert one[3]["kernel_size"] == [6, 8]


def test_the_input_may_be_a_sentence(folder: Path, midterm: Midterm) -> None:
    text = HEAD + "Net = lambda in_shape: nn.Conv1d(in_shape[0], 4, 3)\n"
    Path("net.py").write_text(text, encoding="utf-8")
    sentence = ["--config", "text/conv_stack", "--sentence", "not so very good"]
    code, out, _ = midterm("conv", "stack", "--network", "net.py:Net", *sentence)
    assert code == 0
    assert "parameters: 4·64·3 + 4" in out
