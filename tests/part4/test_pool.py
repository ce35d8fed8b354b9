"""The commands `midterm pool cost` and `midterm pool min`."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from answer import Answer
from hypothesis import given, settings
from hypothesis import strategies as st
from packaged import config, run

from midterm_cli.errors import UserError
from midterm_cli.experiment import Table
from midterm_cli.part4 import by_torch, pool, pool_min
from midterm_cli.part4.arithmetic import Window, num_in_padding, output_size

Midterm = Callable[..., Answer]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


# ---- pool cost


def test_cost_of_the_packaged_pooling(folder: Path, midterm: Midterm) -> None:
    code, out, err = midterm("pool", "cost")
    assert (code, out) == (0, "outputs/pool/default\n")
    assert "values: 6·14·14 = 1176\ncomparisons: 1176·(3·3 - 1) = 9408\n" in err
    assert "PyTorch agrees: torch.nn.functional.max_pool2d; values held against" in err
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
    output = run(pool, size=[5, 7], kernel_size=2, stride=None, padding=0, ceil_mode=True)
    assert output.results["output_shape"] == [6, 3, 4]
    assert not output.failed
    output = run(pool, size=[5, 7], kernel_size=2, stride=None, padding=2, ceil_mode=True)
    assert output.results["output_shape"] == [6, 4, 5]
    assert not output.failed


def test_a_pooling_too_large_to_compute() -> None:
    results = run(pool, size=4096, channels=60_000).results
    assert results["operations"] == 60_000 * 2048**2 * 8
    assert "meta device" in results["torch"]["how"]


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
    output = run(pool, kind=kind)
    assert output.failed
    assert output.warnings == [f"values: PyTorch's pooling is not the {kind} of each window"]


# ---- pool min


@settings(max_examples=300, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 3),
    st.integers(0, 4),
    st.integers(1, 2),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_the_identity_for_values_and_gradients(
    sizes: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
    ceil_mode: bool,
    seed: int,
) -> None:
    """-maxpool(-x) is the minimum of each window, and so is its gradient where there is no tie."""
    windows = [Window(k, stride, padding, dilation, ceil_mode) for k in kernel]
    outputs = [output_size(size, window) for size, window in zip(sizes, windows, strict=True)]
    if min(outputs) < 1 or num_in_padding(sizes, windows):
        return
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(sizes, dtype=torch.float64, generator=generator)
    upstream = torch.randn(outputs, dtype=torch.float64, generator=generator)
    leaf = x.clone().requires_grad_()
    pooled = pool_min.min_pool(leaf, windows, outputs)
    (gradient,) = torch.autograd.grad(pooled, leaf, upstream)
    expected = torch.zeros(sizes, dtype=torch.float64)
    for i in range(outputs[0]):
        for j in range(outputs[1]):
            places = [
                (row, column)
                for k in range(kernel[0])
                for m in range(kernel[1])
                if 0 <= (row := i * stride - padding + k * dilation) < sizes[0]
                and 0 <= (column := j * stride - padding + m * dilation) < sizes[1]
            ]
            least = min(places, key=lambda place: float(x[place]))
            assert pooled[i, j] == x[least]
            expected[least] += upstream[i, j]
    assert torch.allclose(gradient, expected, rtol=0, atol=1e-12)
    assert torch.equal(pool_min.min_pool_directly(x, windows, outputs), pooled)


def test_the_packaged_minimum(folder: Path, midterm: Midterm) -> None:
    code, out, err = midterm("pool", "min")
    assert (code, out) == (0, "outputs/pool_min/default\n")
    assert err.startswith("minpool(x) = -maxpool(-x)")
    assert "gradient: -maxpool(-x) agrees with a direct minimum" in err
    results = json.loads((folder / "outputs/pool_min/default/metrics.json").read_text())["results"]
    assert results["tied_windows"] == 0
    assert results["operations"] == 9 * 8
    assert min(map(min, results["min_pooled"])) == min(map(min, results["input"]))
    total = sum(map(sum, results["upstream"]))
    assert sum(map(sum, results["gradient"])) == pytest.approx(total)


def test_a_given_input_by_hand(folder: Path, midterm: Midterm) -> None:
    options = ["--input", "[[3, 1, 4], [1, 5, 9], [2, 6, 5]]", "--kernel", "2", "--padding", "0"]
    code, out, err = midterm("pool", "min", *options, "--stride", "1", "--json")
    results = json.loads(out)["results"]
    assert code == 0
    assert results["min_pooled"] == [[1, 1], [1, 5]]
    assert results["max_pooled"] == [[5, 9], [6, 9]]
    assert results["tied_windows"] == 2  # two 1 in the first window, two 5 in the last
    assert results["gradient"][0][1] == results["upstream"][0][1]
    assert results["upstream"][0][0] == results["upstream"][1][1] == 0
    assert "2 windows have ties" in err
    assert json.loads(out)["config"]["size"] is None


def test_how_a_tie_shares_its_gradient() -> None:
    """What the results say of ties is what PyTorch does."""
    x = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    windows = [Window(2), Window(2)]
    (by_maximum,) = torch.autograd.grad(pool_min.min_pool(x, windows, [1, 1]), x)
    (direct,) = torch.autograd.grad(pool_min.min_pool_directly(x, windows, [1, 1]), x)
    assert by_maximum.tolist() == [[1, 0], [0, 0]]
    assert direct.tolist() == [[0.25, 0.25], [0.25, 0.25]]
    assert pool_min.count_minima(x, windows, [1, 1]).tolist() == [[4]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"padding": 3}, "9 of the 25 windows lie wholly in the padding, where the minimum is inf"),
        ({"input": [[1, 2]]}, "size and input: both are given"),
        ({"size": None}, "size and input: neither is given"),
        ({"size": None, "input": [[1, 2], [3]]}, "the rows of input have 1 to 2 values"),
        ({"size": 2, "padding": 0}, "the kernel spans 3 pixels but the padded input has 2"),
        (
            {"size": 64, "kernel_size": 3, "padding": 4096, "dilation": 4096, "stride": 4096},
            "the padded input has 68,1",
        ),
        (
            {"size": 64, "kernel_size": 4096, "padding": 4095, "stride": 1},
            "all windows together read [0-9,]+ numbers|the padded input has 68,1",
        ),
        ({"size": 64, "kernel_size": 64, "padding": 32, "stride": 1}, "all windows together read"),
    ],
)
def test_mistakes_of_pool_min(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(pool_min, **changes)


def test_a_padding_by_zeros_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why +inf: zeros in the padding would win over a positive minimum."""

    def with_zeros(x: torch.Tensor, windows: Any, outputs: Any) -> torch.Tensor:
        return by_torch.windows_of(x, windows, outputs, 0, math.inf).amin(-1)

    monkeypatch.setattr(pool_min, "min_pool", with_zeros)
    output = run(pool_min, size=None, input=[[5, 6], [7, 8]])
    assert output.failed
    assert output.warnings[0] == ("values of -maxpool(-x) and of the direct minimum differ by 5")


def test_the_figure_prints_all_values() -> None:
    results = json.loads(json.dumps(run(pool_min).results))
    figure = pool_min.draw(config(pool_min), results)["pool_min"]
    for axes, key in zip(figure.axes, ("input", "max_pooled", "min_pooled"), strict=False):
        texts = [float(text.get_text()) for text in axes.texts]
        assert texts == [value for row in results[key] for value in row]


def test_a_map_too_large_to_be_read_is_drawn_without_its_values() -> None:
    large = {"size": 64, "kernel_size": 3, "stride": 2, "padding": 0}
    results = json.loads(json.dumps(run(pool_min, **large).results))
    assert not any(isinstance(item, Table) for item in pool_min.summarize(results))
    figure = pool_min.draw(config(pool_min, **large), results)["pool_min"]
    assert [len(axes.texts) for axes in figure.axes[:3]] == [0, 0, 0]
