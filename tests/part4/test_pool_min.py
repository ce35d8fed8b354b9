"""The command `midterm pool min`."""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from answer import Answer
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packaged import config, run
from windows import Sizes, poolings

from midterm_cli.errors import UserError
from midterm_cli.experiment import Table
from midterm_cli.layers.arithmetic import Window, num_in_padding, output_sizes
from midterm_cli.part4 import by_torch
from midterm_cli.part4.pool_min import run as pool_min_run
from midterm_cli.part4.pool_min.run import count_minima, min_pool, min_pool_directly
from midterm_cli.part4.pool_min.show import draw, summarize

Midterm = Callable[..., Answer]


@settings(max_examples=150, deadline=None)
@given(poolings("max"), st.integers(0, 2**32 - 1))
def test_the_identity_for_values_and_gradients(
    case: tuple[str, list[Window], Sizes], seed: int
) -> None:
    """-maxpool(-x) is the minimum of each window, and so is its gradient where there is no tie."""
    _, windows, sizes = case
    assume(num_in_padding(sizes, windows) == 0)
    outputs = output_sizes(sizes, windows)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(sizes, dtype=torch.float64, generator=generator)
    upstream = torch.randn(outputs, dtype=torch.float64, generator=generator)
    leaf = x.clone().requires_grad_()
    pooled = min_pool(leaf, windows, outputs)
    (gradient,) = torch.autograd.grad(pooled, leaf, upstream)
    expected = torch.zeros(sizes, dtype=torch.float64)
    for i in range(outputs[0]):
        for j in range(outputs[1]):
            inside = [
                [
                    at
                    for k in range(window.kernel_size)
                    if 0 <= (at := n * window.stride - window.padding + k * window.dilation) < size
                ]
                for n, window, size in zip((i, j), windows, sizes, strict=True)
            ]
            least = min(itertools.product(*inside), key=lambda place: float(x[place]))
            assert pooled[i, j] == x[least]
            expected[least] += upstream[i, j]
    assert torch.allclose(gradient, expected, rtol=0, atol=1e-12)
    assert torch.equal(min_pool_directly(x, windows, outputs), pooled)


def test_the_packaged_minimum(folder: Path, midterm: Midterm) -> None:
    code, out, _ = midterm("pool", "min")
    assert code == 0
    assert out.endswith("\noutputs/pool_min/default\n")
    assert out.startswith("minpool(x) = -maxpool(-x)")
    assert "gradient: -maxpool(-x) agrees with a direct minimum" in out
    results = json.loads((folder / "outputs/pool_min/default/metrics.json").read_text())["results"]
    assert results["tied_windows"] == 0
    assert results["operations"] == 9 * 8
    assert min(map(min, results["min_pooled"])) == min(map(min, results["input"]))
    total = sum(map(sum, results["upstream"]))
    assert sum(map(sum, results["gradient"])) == pytest.approx(total)


def test_a_given_input_by_hand(folder: Path, midterm: Midterm) -> None:
    options = ["--input", "[[3, 1, 4], [1, 5, 9], [2, 6, 5]]", "--kernel", "2", "--padding", "0"]
    code, out, _ = midterm("pool", "min", *options, "--stride", "1", "--json")
    results = json.loads(out)["results"]
    assert code == 0
    assert results["min_pooled"] == [[1, 1], [1, 5]]
    assert results["max_pooled"] == [[5, 9], [6, 9]]
    assert results["tied_windows"] == 2  # two 1 in the first window, two 5 in the last
    assert results["gradient"][0][1] == results["upstream"][0][1]
    assert results["upstream"][0][0] == results["upstream"][1][1] == 0
    assert json.loads(out)["config"]["size"] is None


@pytest.mark.parametrize(("windows", "said"), [(1, "1 window has ties"), (2, "2 windows have")])
def test_one_tie_is_one(windows: int, said: str) -> None:
    results = run("pool_min").results.model_copy(update={"tied_windows": windows})
    assert any(said in str(line) for line in summarize(results))


def test_how_a_tie_shares_its_gradient() -> None:
    """What the results say of ties is what PyTorch does."""
    x = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    windows = [Window(2), Window(2)]
    (by_maximum,) = torch.autograd.grad(min_pool(x, windows, [1, 1]), x)
    (direct,) = torch.autograd.grad(min_pool_directly(x, windows, [1, 1]), x)
    assert by_maximum.tolist() == [[1, 0], [0, 0]]
    assert direct.tolist() == [[0.25, 0.25], [0.25, 0.25]]
    assert count_minima(x, windows, [1, 1]).tolist() == [[4]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"padding": 3}, "9 of the 25 windows lie wholly in the padding, where the minimum is inf"),
        ({"size": 2, "input": [[1, 2]]}, "size and input: both are given"),
        ({"size": None}, "size and input: neither is given"),
        ({"size": None, "input": [[1, 2], [3]]}, "the rows of input have 1 to 2 values"),
        ({"size": 2, "padding": 0}, "the kernel spans 3 pixels but the padded input has 2"),
        (
            {"size": 64, "kernel_size": 3, "padding": 4096, "dilation": 4096, "stride": 4096},
            "the padded input has 68,161,536 numbers",
        ),
        (
            {"size": 64, "kernel_size": 4096, "padding": 4095, "stride": 1},
            "the padded input has 68,128,516 numbers",
        ),
        ({"size": 64, "kernel_size": 64, "padding": 32, "stride": 1}, "all windows together read"),
    ],
)
def test_mistakes_of_pool_min(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run("pool_min", **changes)


def test_a_padding_by_zeros_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why +inf: zeros in the padding would win over a positive minimum."""

    def with_zeros(x: torch.Tensor, windows: Any, outputs: Any) -> torch.Tensor:
        return by_torch.windows_of(x, windows, outputs, 0, math.inf).amin(-1)

    monkeypatch.setattr(pool_min_run, "min_pool", with_zeros)
    output = run("pool_min", size=None, input=[[5, 6], [7, 8]])
    assert output.failed
    assert output.warnings[0] == ("values of -maxpool(-x) and of the direct minimum differ by 5")


def test_the_figure_prints_all_values() -> None:
    results = run("pool_min").results
    figure = draw(config("pool_min"), results)["pool_min"]
    panels = (results.input, results.max_pooled, results.min_pooled)
    for axes, rows in zip(figure.axes, panels, strict=False):
        texts = [float(text.get_text()) for text in axes.texts]
        assert texts == [value for row in rows for value in row]


def test_a_map_too_large_to_be_read_is_drawn_without_its_values() -> None:
    large = {"size": 64, "kernel_size": 3, "stride": 2, "padding": 0}
    results = run("pool_min", **large).results
    assert not any(isinstance(item, Table) for item in summarize(results))
    figure = draw(config("pool_min", **large), results)["pool_min"]
    assert [len(axes.texts) for axes in figure.axes[:3]] == [0, 0, 0]
