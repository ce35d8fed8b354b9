"""The commands `midterm conv shape` and `midterm conv stride`."""

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
from midterm_cli.experiment import Table
from midterm_cli.part4 import by_torch, conv, conv_stride

Midterm = Callable[..., Answer]
STRIDE = {
    "size": 9,
    "in_channels": 2,
    "out_channels": 3,
    "repeats": 2,
    "dataset": "synthetic",
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


# ---- conv shape


def test_the_exercise_by_its_command(folder: Path, midterm: Midterm) -> None:
    code, out, err = midterm("conv", "shape")
    assert (code, out) == (0, "outputs/conv/default\n")
    lines = err.splitlines()
    assert "floor((20 + 2·2 - 1·(3 - 1) - 1) / 4) + 1 = floor(21/4)+1 = 6, not 6.25" in lines[0]
    assert lines[1] == "values: 16·6·6 = 576"
    assert lines[-1].startswith("PyTorch agrees")
    document = json.loads((folder / "outputs/conv/default/metrics.json").read_text())
    assert document["results"]["output_shape"] == [16, 6, 6]
    assert document["results"]["values"] == 576
    assert (folder / "outputs/conv/default/conv.png").is_file()


def test_all_options_of_conv_shape(folder: Path, midterm: Midterm) -> None:
    options = "--size 14x11 --kernel 3x2 --padding 1x0 --stride 4x3 --dilation 2x1 --groups 2"
    more = "--in-channels 4 --out-channels 6 --no-bias --json"
    results = json.loads(midterm("conv", "shape", *options.split(), *more.split()).out)["results"]
    layer = torch.nn.Conv2d(4, 6, (3, 2), (4, 3), (1, 0), (2, 1), groups=2, bias=False)
    shape = list(layer(torch.zeros(1, 4, 14, 11)).shape[1:])
    assert results["output_shape"] == shape
    assert results["parameters"] == layer.weight.numel()
    assert results["macs"] == shape[0] * shape[1] * shape[2] * 2 * 3 * 2
    assert results["flops"] == 2 * results["macs"]
    assert results["torch"]["agrees"]
    assert "parameters: 6·(4/2)·3·2 = 72, no bias" in results["steps"]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ("--size 7 --kernel 9 --padding 0", ["the kernel spans 9 pixels", "has 7: lower kernel"]),
        ("--groups 3", ["groups = 3 does not divide in_channels = 1"]),
        ("--size 20x0", ["size[1] must be at least 1, got 0 (--size)"]),
        ("--size 5000", ["size must be at most 4096, got 5000 (--size)"]),
        ("--size 20,30", ["size must be an integer, got '20,30' (--size)"]),
        ("--size [1,2,3]", ["size must have at most 2 values, got [1, 2, 3] (--size)"]),
        ("--stride [2]", ["stride is [2], but the input has 2 axes: give one number, or two"]),
        ("--padding -1", ["padding must be at least 0, got -1 (--padding)"]),
        ("--out-channels 1e6", ["out_channels must be an integer, got 1000000.0"]),
    ],
)
def test_mistakes_of_conv_shape(
    options: str, parts: list[str], folder: Path, midterm: Midterm
) -> None:
    code, out, err = midterm("conv", "shape", *options.split())
    assert (code, out) == (2, "")
    assert len(err.splitlines()) <= 2
    assert [part for part in parts if part not in err] == []
    assert list(folder.iterdir()) == []


def test_a_convolution_too_large_to_compute_is_checked_by_shape_alone() -> None:
    output = run(
        conv, size=4096, in_channels=65536, out_channels=65536, kernel_size=4096, padding=4096
    )
    assert not output.failed
    assert "meta device" in output.results["torch"]["how"]
    side = (3 * 4096 - 4096) // 4 + 1
    assert output.results["values"] == 65536 * side**2
    assert output.results["macs"] == 65536 * side**2 * 65536 * 4096**2
    assert conv.draw(config(conv, size=4096), output.results) == {}


def test_pytorch_disagreeing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv, "output_sizes", lambda sizes, windows: (6, 7))
    output = run(conv)
    assert output.failed
    assert output.warnings[0] == ("output shape: the formula gives [16, 6, 7], PyTorch [16, 6, 6]")
    assert not output.results["torch"]["agrees"]
    assert "DISAGREES" in str(conv.summarize(output.results)[-1])


def test_a_size_as_text_is_read_from_a_file_too() -> None:
    assert config(conv, size="20x30") == config(conv, size=[20, 30])
    results = run(conv, size="20x30").results
    assert results["output_shape"] == [16, 6, 8]
    assert [step.split(":")[0] for step in results["steps"][:2]] == ["height", "width"]


def test_the_figure_has_every_window_where_it_is() -> None:
    results = run(conv, size=[6, 9], kernel_size=[2, 3], padding=1, stride=[3, 2]).results
    figure = conv.draw(
        config(conv, size=[6, 9], kernel_size=[2, 3], padding=1, stride=[3, 2]),
        json.loads(json.dumps(results)),
    )["conv"]
    outlines, first = figure.axes[0].collections[2:4]
    corners = [np.asarray(path.vertices)[0].tolist() for path in outlines.get_paths()]
    assert corners == [[x, y] for y in (-1, 2, 5) for x in (-1, 1, 3, 5, 7)]
    assert len(first.get_paths()) == 6


def test_padding_is_in_the_legend_where_there_is_some() -> None:
    for padding, labels in ((0, {"input"}), (1, {"input", "padding"})):
        made = config(conv, padding=padding)
        figure = conv.draw(made, run(conv, padding=padding).results)["conv"]
        _, shown = figure.axes[0].get_legend_handles_labels()
        assert labels == {"input", "padding"} & set(shown)


# ---- conv stride


def test_cost_by_stride(folder: Path, midterm: Midterm) -> None:
    options = ["--size", "16", "--in-channels", "2", "--out-channels", "3", "--repeats", "2"]
    strides = ["--stride", "1", "--stride", "2", "--stride", "[4, 1]"]
    code, out, err = midterm(
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
    assert "factor against stride 1: 13824/3456 = 4, product of the strides 2·2 = 4" in err
    assert json.loads(out)["provenance"]["data_sha256"]
    figures = {path.name for path in (folder / "run").glob("*.png")}
    assert figures == {"conv_stride.png", "stride_image.png"}


def test_the_factor_is_the_product_but_for_the_edges() -> None:
    results = run(conv_stride, **STRIDE | {"strides": [3, 4]}).results
    assert [row["output_shape"] for row in results["strides"]] == [[3, 3, 3], [3, 3, 3]]
    assert [row["mac_factor"] for row in results["strides"]] == [9, 9]
    table = next(item for item in conv_stride.summarize(results) if isinstance(item, Table))
    assert [row[3:5] for row in table.rows] == [["9", "9.00"], ["16", "9.00"]]


def test_a_stride_is_subsampling_of_stride_1() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 10)).astype(np.uint8)
    for stride in (1, 2, 4):
        copied = np.array(conv_stride._subsample(pixels, stride, "copy"))
        assert (copied == pixels[::stride, ::stride]).all()
        averaged = np.array(conv_stride._subsample(pixels, stride, "average"))
        padded = np.pad(pixels.astype(float), 1)
        row, column = averaged.shape[0] // 2, averaged.shape[1] // 2
        top, left = stride * row, stride * column
        expected = padded[top : top + 3, left : left + 3].mean()
        assert averaged[row, column] == pytest.approx(expected, abs=0.051)


def test_the_images_are_drawn_from_the_results() -> None:
    results = json.loads(json.dumps(run(conv_stride, **STRIDE).results))
    pictures = conv_stride.draw(config(conv_stride, **STRIDE), results)["stride_image"]
    shapes = [np.asarray(panel.images[0].get_array()).shape for panel in pictures.axes]
    assert shapes == [(28, 28), (14, 14), (7, 7)] * 2
    assert results["image"]["name"] in pictures.get_suptitle()
    cost = conv_stride.draw(config(conv_stride, **STRIDE), results)["conv_stride"].axes[0]
    _, counted, measured = cost.lines
    factors = [row["mac_factor"] for row in results["strides"]]
    assert np.asarray(counted.get_ydata()) == pytest.approx([1 / factor for factor in factors])
    assert np.size(measured.get_ydata()) == len(factors)


def test_the_strides_are_measured_on_one_thread_and_threads_are_put_back() -> None:
    torch.set_num_threads(2)
    try:
        run(conv_stride, **STRIDE)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


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
        run(conv_stride, **STRIDE | changes)


def test_images_too_large_to_be_drawn_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_stride, "MAX_IMAGE", 27)
    message = "the images of synthetic have 28 × 28 pixels, and up to 27 are drawn: choose another"
    with pytest.raises(UserError, match=message):
        run(conv_stride, **STRIDE)


def test_flop_counter_disagreeing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_torch, "count_flops", lambda module, shape: ([1, 3, 9, 9], 2))
    output = run(conv_stride, **STRIDE | {"strides": [1]})
    assert output.failed
    assert output.warnings == ["stride 1: macs: the formula gives 4374, PyTorch 1"]
