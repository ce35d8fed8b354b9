"""The command `midterm conv shape`."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from answer import Answer
from packaged import config, run

from midterm_cli.part4.conv import run as conv_run
from midterm_cli.part4.conv.show import draw, summarize

Midterm = Callable[..., Answer]


def test_the_exercise_by_its_command(folder: Path, midterm: Midterm) -> None:
    code, out, _ = midterm("conv", "shape")
    assert code == 0
    assert out.endswith("\noutputs/conv/default\n")
    lines = out.splitlines()[:-1]
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
        ("--size 20,x", ["size must be a whole number, or two such as 20x30, got '20,x'"]),
        ("--size []", ["size must have at least 1 values, got [] (--size)"]),
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
        "conv", size=4096, in_channels=65536, out_channels=65536, kernel_size=4096, padding=4096
    )
    assert not output.failed
    assert "meta device" in output.results.torch.how
    side = (3 * 4096 - 4096) // 4 + 1
    assert output.results.values == 65536 * side**2
    assert output.results.macs == 65536 * side**2 * 65536 * 4096**2
    assert draw(config("conv", size=4096), output.results) == {}


def test_pytorch_disagreeing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_run, "output_sizes", lambda sizes, windows: (6, 7))
    output = run("conv")
    assert output.failed
    assert output.warnings[0] == ("output shape: the formula gives [16, 6, 7], PyTorch [16, 6, 6]")
    assert not output.results.torch.agrees
    assert "DISAGREES" in str(summarize(output.results)[-1])


def test_a_size_as_text_is_read_from_a_file_too() -> None:
    assert config("conv", size="20x30") == config("conv", size=[20, 30])
    assert config("conv", size=" 20") == config("conv", size=20)
    results = run("conv", size="20x30").results
    assert results.output_shape == [16, 6, 8]
    assert [step.split(":")[0] for step in results.steps[:2]] == ["height", "width"]


def test_the_figure_has_every_window_where_it_is() -> None:
    changes = {"size": [6, 9], "kernel_size": [2, 3], "padding": 1, "stride": [3, 2]}
    figure = draw(config("conv", **changes), run("conv", **changes).results)["conv"]
    outlines, first = figure.axes[0].collections[2:4]
    corners = [np.asarray(path.vertices)[0].tolist() for path in outlines.get_paths()]
    assert corners == [[x, y] for y in (-1, 2, 5) for x in (-1, 1, 3, 5, 7)]
    assert len(first.get_paths()) == 6


def test_padding_is_in_the_legend_where_there_is_some() -> None:
    for padding, labels in ((0, {"input"}), (1, {"input", "padding"})):
        made = config("conv", padding=padding)
        figure = draw(made, run("conv", padding=padding).results)["conv"]
        _, shown = figure.axes[0].get_legend_handles_labels()
        assert labels == {"input", "padding"} & set(shown)
