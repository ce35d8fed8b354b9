"""The command `midterm pool cost`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from answer import Answer
from hypothesis import given, settings
from hypothesis import strategies as st
from packaged import run
from windows import Sizes, poolings

from midterm_cli.layers.arithmetic import Operations, Window
from midterm_cli.part4 import by_torch
from midterm_cli.part4.pool import run as pool_run

Midterm = Callable[..., Answer]


def test_cost_of_the_packaged_pooling(folder: Path, midterm: Midterm) -> None:
    code, out, _ = midterm("pool", "cost")
    assert code == 0
    assert out.endswith("\noutputs/pool/default\n")
    assert "values: 6·14·14 = 1176\ncomparisons: 1176·(3·3 - 1) = 9408\n" in out
    assert "PyTorch agrees: torch.nn.functional.max_pool2d; values checked against" in out
    results = json.loads((folder / "outputs/pool/default/metrics.json").read_text())["results"]
    assert (results["output_shape"], results["operations"]) == ([6, 14, 14], 9408)
    assert (folder / "outputs/pool/default/pool.png").is_file()


def test_an_average_takes_additions_and_a_division(folder: Path, midterm: Midterm) -> None:
    options = "--kind average --size 10x12 --kernel 3x2 --padding 3x2 --stride 2 --channels 3"
    code, out, err = midterm("pool", "cost", *options.split(), "--json")
    results = json.loads(out)["results"]
    assert code == 0
    assert results["output_shape"] == [3, (10 + 2 * 3 - 3) // 2 + 1, (12 + 2 * 2 - 2) // 2 + 1]
    assert results["additions"] == results["values"] * 5
    assert results["divisions"] == results["values"]
    assert results["operations"] == results["values"] * 6
    assert results["torch"]["agrees"]
    assert "refuses a padding beyond half of kernel_size" in results["torch"]["how"]
    assert "20 of the 56 windows of a channel lie wholly in the padding: their average is 0" in err


def test_ceil_mode_and_a_null_stride() -> None:
    output = run("pool", size=[5, 7], kernel_size=2, stride=None, padding=0, ceil_mode=True)
    assert output.results.output_shape == [6, 3, 4]
    assert not output.failed
    output = run("pool", size=[5, 7], kernel_size=2, stride=None, padding=2, ceil_mode=True)
    assert output.results.output_shape == [6, 4, 5]
    assert not output.failed


def test_a_pooling_too_large_to_compute() -> None:
    results = run("pool", size=4096, channels=60_000).results
    assert results.operations == results.torch.operations == 60_000 * 2048**2 * 8
    assert "meta device" in results.torch.how
    assert results.torch.agrees


@settings(max_examples=40, deadline=None)
@given(poolings(), st.integers(1, 3))
def test_pytorch_agrees_on_any_pooling(
    case: tuple[str, list[Window], Sizes], channels: int
) -> None:
    kind, windows, sizes = case
    along_axes = {
        key: [getattr(window, key) for window in windows]
        for key in ("kernel_size", "stride", "padding", "dilation")
    }
    ceil_mode = windows[0].ceil_mode
    output = run(
        "pool", kind=kind, size=list(sizes), channels=channels, ceil_mode=ceil_mode, **along_axes
    )
    assert not output.failed, output.warnings


@pytest.mark.parametrize(("size", "right"), [(28, 9408), (4096, 6 * 2048**2 * 8)])
def test_a_wrong_number_of_operations_is_told(
    size: int, right: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both where PyTorch sums ones and where it counts on the meta device."""
    monkeypatch.setattr(
        pool_run, "pool_cost", lambda *arguments: (Operations(comparisons=right + 1), ["wrong"])
    )
    output = run("pool", size=size)
    assert output.failed
    assert output.warnings == [f"operations: the formula gives {right + 1}, PyTorch {right}"]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ("--kind average --dilation 2", "dilation = 2 is of max alone"),
        ("--kind min", "kind must be 'max' or 'average', got 'min' (--kind)"),
        ("--size 2 --padding 0", "the kernel spans 3 pixels but the padded input has 2"),
        ("--channels 0", "channels must be at least 1, got 0 (--channels)"),
    ],
)
def test_mistakes_of_pool_cost(options: str, part: str, folder: Path, midterm: Midterm) -> None:
    code, out, err = midterm("pool", "cost", *options.split())
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert part in err


@pytest.mark.parametrize("kind", ["max", "average"])
def test_a_wrong_value_is_told(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pooling = by_torch.pool
    monkeypatch.setattr(by_torch, "pool", lambda *arguments: pooling(*arguments) + 1e-9)
    output = run("pool", kind=kind)
    assert output.failed
    assert output.warnings == [f"values: PyTorch's pooling is not the {kind} of each window"]
