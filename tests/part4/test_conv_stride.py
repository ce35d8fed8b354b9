"""The command `midterm conv stride`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from answer import Answer
from packaged import config, run

from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Table
from midterm_cli.part4 import by_torch
from midterm_cli.part4.conv_stride import run as stride_run
from midterm_cli.part4.conv_stride.run import subsample
from midterm_cli.part4.conv_stride.show import draw, summarize

Midterm = Callable[..., Answer]
STRIDE: dict[str, Any] = {
    "size": 9,
    "in_channels": 2,
    "out_channels": 3,
    "repeats": 2,
    "dataset": "synthetic",
}


def test_cost_by_stride(folder: Path, midterm: Midterm) -> None:
    options = ["--size", "16", "--in-channels", "2", "--out-channels", "3", "--repeats", "2"]
    strides = ["--stride", "1", "--stride", "2", "--stride", "[4, 1]"]
    code, out, _ = midterm(
        "conv", "stride", "--dataset", "synthetic", *options, *strides, "--output", "run", "--json"
    )
    assert code == 0
    results = json.loads(out)["results"]
    assert results["torch"]["agrees"]
    assert [row["stride"] for row in results["strides"]] == [[1, 1], [2, 2], [4, 1]]
    assert [row["product_of_strides"] for row in results["strides"]] == [1, 4, 4]
    assert [row["mac_factor"] for row in results["strides"]] == [1, 4, 4]
    assert results["macs"] == 3 * 16 * 16 * 2 * 9
    assert results["strides"][0]["time_factor"] == 1
    assert all(row["seconds"] > 0 for row in results["strides"])
    assert "factor against stride 1: 13824/3456 = 4, product of the strides 2·2 = 4" in out
    assert json.loads(out)["provenance"]["data_sha256"]
    figures = {path.name for path in (folder / "run").glob("*.png")}
    assert figures == {"conv_stride.png", "stride_image.png"}


def test_the_factor_is_the_product_but_for_the_edges() -> None:
    results = run("conv_stride", **STRIDE | {"strides": [3, 4]}).results
    assert [row.output_shape for row in results.strides] == [[3, 3, 3], [3, 3, 3]]
    assert [row.mac_factor for row in results.strides] == [9, 9]
    table = next(item for item in summarize(results) if isinstance(item, Table))
    assert [row[1] for row in table.rows] == ["3×3×3", "3×3×3"]
    assert [row[3:5] for row in table.rows] == [["9", "9.00"], ["16", "9.00"]]


@pytest.mark.parametrize("strides", [[2, 2], [[2, 1], 1, [2, 1]], [2, "2x2"]])
def test_a_stride_given_twice(strides: list[Any]) -> None:
    with pytest.raises(UserError, match="strides has a stride twice"):
        run("conv_stride", **STRIDE | {"strides": strides})


def test_a_stride_is_subsampling_of_stride_1() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 10)).astype(np.uint8)
    for stride in (1, 2, 4):
        copied = np.array(subsample(pixels, stride, "copy"))
        assert (copied == pixels[::stride, ::stride]).all()
        averaged = np.array(subsample(pixels, stride, "average"))
        padded = np.pad(pixels.astype(float), 1)
        row, column = averaged.shape[0] // 2, averaged.shape[1] // 2
        top, left = stride * row, stride * column
        expected = padded[top : top + 3, left : left + 3].mean()
        assert averaged[row, column] == pytest.approx(expected, abs=0.051)


def test_the_images_are_drawn_from_the_results() -> None:
    results = run("conv_stride", **STRIDE).results
    pictures = draw(config("conv_stride", **STRIDE), results)["stride_image"]
    shapes = [np.asarray(panel.images[0].get_array()).shape for panel in pictures.axes]
    assert shapes == [(28, 28), (14, 14), (7, 7)] * 2
    assert results.image.name in pictures.get_suptitle()
    cost = draw(config("conv_stride", **STRIDE), results)["conv_stride"].axes[0]
    _, counted, measured = cost.lines
    factors = [row.mac_factor for row in results.strides]
    assert np.asarray(counted.get_ydata()) == pytest.approx([1 / factor for factor in factors])
    assert np.size(measured.get_ydata()) == len(factors)


def test_the_strides_are_measured_on_one_thread_and_threads_are_put_back() -> None:
    def measured(done: int, total: int, text: str) -> None:
        threads.append(torch.get_num_threads())

    threads: list[int] = []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        context = Context(torch.device("cpu"), progress=measured)
        stride_run.run(config("conv_stride", **STRIDE), context)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads == [1] * (STRIDE["repeats"] + 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": 6000}, r"image = 6000, but synthetic has training images 0 to 5999"),
        ({"size": 4096, "in_channels": 32}, "the input has 536,870,912 values, and up to 33,55"),
        ({"in_channels": 4096, "out_channels": 65536}, "the kernel has"),
        ({"size": 1000, "out_channels": 1000}, "the output at stride 1 has 1,000,000,000 values"),
        (
            {"size": 512, "in_channels": 99, "out_channels": 99},
            "with repeats = 2 and a first round",
        ),
        ({"repeats": 1000, "size": 64, "in_channels": 32, "out_channels": 32}, "lower repeats"),
        (
            {"size": 900, "in_channels": 1, "out_channels": 1, "kernel_size": 31, "padding": 15},
            "fewer than 8 channels counted as 8; with repeats = 2",
        ),
        ({"kernel_size": 12}, "along the height the kernel spans 12 pixels"),
        ({"dataset": "nowhere"}, "there is no folder nowhere"),
    ],
)
def test_mistakes_of_conv_stride(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run("conv_stride", **STRIDE | changes)


def test_images_too_large_to_be_drawn_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stride_run, "MAX_IMAGE", 27)
    message = "the images of synthetic have 28 × 28 pixels, and up to 27 are drawn: choose another"
    with pytest.raises(UserError, match=message):
        run("conv_stride", **STRIDE)


def test_flop_counter_disagreeing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_torch, "count_flops", lambda module, shape: ([1, 3, 9, 9], 2))
    output = run("conv_stride", **STRIDE | {"strides": [1]})
    assert output.failed
    assert output.warnings == ["stride 1: macs: the formula gives 4374, PyTorch 1"]
