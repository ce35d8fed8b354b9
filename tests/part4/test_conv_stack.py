"""The command `midterm conv stack`: a network layer by layer, and what an output depends on."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from answer import Answer
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packaged import config, run
from torch import nn

from midterm_cli.errors import UserError
from midterm_cli.experiment import Table
from midterm_cli.layers.arithmetic import Operations, Window
from midterm_cli.part4.conv_stack import run as stack_run
from midterm_cli.part4.conv_stack.show import draw, summarize

Midterm = Callable[..., Answer]
CONV = {"type": "conv", "out_channels": 4, "kernel_size": 3}
FLAT = {"type": "flatten"}


def test_the_packaged_network_is_lenet(folder: Path, midterm: Midterm) -> None:
    code, out, _ = midterm("conv", "stack")
    assert code == 0
    assert out.endswith("\noutputs/conv_stack/default\n")
    assert "PyTorch agrees" in out
    assert "layer 4 (conv), MACs: 1600·6·5·5 = 240000, bias not counted" in out
    results = json.loads((folder / "outputs/conv_stack/default/metrics.json").read_text())[
        "results"
    ]
    network = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )
    x = torch.zeros(1, 1, 28, 28)
    for row, module in zip(results["layers"], network, strict=True):
        x = module(x)
        assert row["output_shape"] == list(x.shape[1:])
        assert row["parameters"] == sum(p.numel() for p in module.parameters())
    assert results["parameters"] == 61_706
    assert results["macs"] == 117_600 + 240_000 + 48_000 + 10_080 + 840
    comparisons = 4704 + 1176 * 3 + 1600 + 400 * 3 + 120 + 84
    others = {"additions": 0, "divisions": 0, "multiplications": 0, "functions": 0}
    assert results["operations"] == {"comparisons": comparisons, **others}
    assert [row["receptive_field"] for row in results["layers"][5:8]] == [[16, 16]] * 2 + [[32, 32]]
    assert [row["jump"] for row in results["layers"][5:8]] == [[4, 4], [4, 4], None]
    assert (folder / "outputs/conv_stack/default/conv_stack.png").is_file()


def test_the_trace_is_where_gradients_of_the_network_are() -> None:
    results = run("conv_stack").results
    assert results.trace.position == [2, 2]
    network = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.AvgPool2d(2)
    ).double()
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    x = torch.ones(1, 1, 28, 28, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0, 3, 2, 2], x)
    rows, columns = results.trace.levels[0].positions
    expected = torch.zeros(28, 28, dtype=torch.bool)
    expected[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    assert torch.equal(gradient[0, 0] > 0, expected)
    assert [level.receptive_field[0] for level in results.trace.levels] == [
        1,
        5,
        6,
        14,
        16,
    ]


def test_text_and_what_stride_2_adds(folder: Path, midterm: Midterm) -> None:
    code, out, _ = midterm("conv", "stack", "--config", "text/conv_stack", "--json")
    assert code == 0
    results = json.loads(out)["results"]
    levels, plain = results["trace"]["levels"], results["stride_one"]["levels"]
    assert [level["receptive_field"][0] for level in levels] == [1, 3, 7, 15]
    assert [level["jump"][0] for level in levels] == [1, 2, 4, 8]
    assert [level["sizes"][0] for level in levels] == [13, 7, 4, 2]
    assert [level["shared"][0] for level in levels] == [0, 1, 3, 7]
    assert [level["receptive_field"][0] for level in plain] == [1, 3, 5, 7]
    assert results["trace"]["words"][0] == "film"
    assert results["trace"]["words"][-2:] == ["not", "good"]
    assert "film" not in results["stride_one"]["words"]
    # Both outputs stand over the same word.
    assert levels[-1]["positions"][0][0] * 8 == plain[-1]["positions"][0][0] == 8
    said = str(summarize(run("conv_stack", "text/conv_stack").results))
    assert "words that reach it, every stride 1: who hates long films recommended was not" in said


def test_a_sentence_and_a_position_of_ones_own(folder: Path, midterm: Midterm) -> None:
    options = ["--sentence", "a b c d e f g", "--position", "0", "--json"]
    _, out, _ = midterm("conv", "stack", "--config", "text/conv_stack", *options)
    results = json.loads(out)["results"]
    assert results["words"] == list("abcdefg")
    assert results["trace"]["position"] == [0]
    assert results["trace"]["words"] == list("abcdefg")
    _, out, _ = midterm("conv", "stack", "--size", "28x30", "--json")
    assert json.loads(out)["results"]["layers"][5]["output_shape"] == [16, 5, 5]


def test_dilation_skips_inputs_inside_the_field() -> None:
    layers = [{**CONV, "dilation": 2}, {**CONV, "dilation": 4}]
    results = run("conv_stack", size=[30], layers=layers, position=3).results
    top = results.trace.levels[-1]
    assert top.receptive_field == [13]
    reached = results.trace.levels[0].positions[0]
    assert reached == [3 + a + b for a in (0, 4, 8) for b in (0, 2, 4) if b < 4 or a == 8]
    assert results.torch.agrees
    assert results.stride_one is None


def test_every_kind_of_layer_in_one_and_two_axes_agrees_with_pytorch() -> None:
    layers = [
        {**CONV, "groups": 2, "stride": 2, "padding": 1, "bias": False},
        {"type": "pool", "kind": "average", "kernel_size": 3, "stride": 2, "ceil_mode": True},
        {"type": "pool", "kernel_size": 2, "padding": 1, "dilation": 2, "stride": 1},
        FLAT,
        {"type": "relu"},
        {"type": "linear", "out_features": 3, "bias": False},
        {"type": "linear", "out_features": 2},
    ]
    for size in ([20], 20, [20, 15]):
        output = run("conv_stack", size=size, channels=2, layers=layers)
        assert not output.failed, output.warnings
        divisions = output.results.layers[1].values
        assert output.results.operations.divisions == divisions


def test_vgg_16_has_the_maps_of_pytorch_and_as_many_rows() -> None:
    """13 convolutions, 5 poolings, 3 linear layers and what stands between; of fewer channels."""
    layers: list[dict[str, Any]] = []
    for channels, convolutions in ((4, 2), (8, 2), (16, 3), (32, 3), (32, 3)):
        layers += [CONV | {"out_channels": channels, "padding": 1}, {"type": "relu"}] * convolutions
        layers += [{"type": "pool", "kernel_size": 2}]
    layers += [FLAT]
    for features in (64, 64):
        layers += [{"type": "linear", "out_features": features}, {"type": "relu"}]
    layers += [{"type": "linear", "out_features": 10}]
    output = run("conv_stack", size=32, channels=3, layers=layers)
    assert not output.failed, output.warnings
    assert output.results.torch.agrees
    shapes = [row.output_shape for row in output.results.layers]
    assert len(shapes) == 37
    pooled = [row.output_shape for row in output.results.layers if row.type == "pool"]
    assert pooled == [[4, 16, 16], [8, 8, 8], [16, 4, 4], [32, 2, 2], [32, 1, 1]]
    fields = [row.receptive_field for row in output.results.layers]
    assert fields[30] == [212, 212]  # as that of the published network


NORMS = [{"type": "group_norm", "num_groups": 2}, {"type": "layer_norm", "affine": False}]


@pytest.mark.parametrize("norm", NORMS)
def test_a_norm_between_windows_lets_all_of_the_input_through(norm: dict[str, Any]) -> None:
    """As the gradient of PyTorch's own network does; without it the output sees its windows."""
    for size in ([12], [7, 9]):
        of_normed, plain = (
            run(
                "conv_stack",
                size=size,
                layers=[CONV, *between, CONV | {"stride": 2}, {"type": "tanh"}],
            )
            for between in ([norm], [])
        )
        assert not of_normed.failed
        levels = of_normed.results.trace.levels
        assert levels[0].positions == [list(range(n)) for n in size]
        assert [level.jump for level in levels] == [[n] * len(size) for n in (1, 1, 0, 0)]
        assert levels[3].positions == plain.results.trace.levels[2].positions
        # Outputs stand over the same place, and where every stride is 1 all is reached too.
        for axis in range(len(size)):
            places = of_normed.results.trace.places(axis)
            assert [*places[:2], places[3]] == plain.results.trace.places(axis)
        ours, others = of_normed.results.stride_one, plain.results.stride_one
        assert ours.position == others.position
        assert ours.levels[0].positions == levels[0].positions


def test_behind_a_norm_an_output_of_padding_alone_sees_nothing() -> None:
    outside = {**CONV, "padding": 5, "kernel_size": 2}
    output = run("conv_stack", size=[6], layers=[CONV, NORMS[0], outside], position=0)
    assert not output.failed
    assert output.results.trace.levels[0].positions == [[]]


def test_layers_of_each_value_are_counted_and_agree_with_pytorch() -> None:
    kinds = ["relu", "leaky_relu", "tanh", "sigmoid", "gelu", "identity"]
    layers = [
        CONV,
        *NORMS,
        *({"type": kind} for kind in kinds),
        {"type": "dropout", "p": 0.5},
        FLAT,
        NORMS[1],
        {"type": "linear", "out_features": 3},
    ]
    output = run("conv_stack", size=6, layers=layers)
    assert not output.failed, output.warnings
    results = output.results
    n = 4 * 4 * 4
    done = [row.operations.model_dump(exclude_defaults=True) for row in results.layers]
    assert done[3:10] == [
        {"comparisons": n},
        {"comparisons": n, "multiplications": n},
        {"functions": n},
        {"functions": n},
        {"functions": n, "multiplications": n},
        {},
        {},
    ]
    scaled = {"additions": 2 * (3 * 32 - 1) + n, "multiplications": 3 * n, "divisions": 6}
    assert done[1] == {**scaled, "functions": 2}
    unscaled = {"additions": 3 * n - 1, "multiplications": 2 * n, "divisions": 3, "functions": 1}
    assert done[2] == done[11] == unscaled
    for kind in Operations.model_fields:
        of_layers = (getattr(row.operations, kind) for row in results.layers)
        assert getattr(results.operations, kind) == sum(of_layers)
    assert [row.parameters for row in results.layers[:3]] == [40, 8, 0]
    assert "dropout is nothing, as in evaluation" in results.counted
    names = [row.description for row in results.layers]
    assert names[1:5] == ["group norm, 2 groups", "layer norm", "relu", "leaky relu 0.01"]
    assert names[9] == "dropout 0.5"


def test_what_is_counted_is_said_of_the_layers_that_are_there() -> None:
    always = "biases in parameters, not in MACs; FLOPs are two a MAC"
    assert run("conv_stack", layers=[CONV]).results.counted == always
    results = run("conv_stack", layers=[CONV, {"type": "tanh"}]).results
    assert results.counted == f"{always}; a tanh is a function"


def test_a_norm_is_a_band_in_the_cone() -> None:
    changes: dict[str, Any] = {"size": [9], "layers": [CONV, NORMS[0], CONV | {"stride": 2}]}
    results = run("conv_stack", **changes).results
    _, axes = draw(config("conv_stack", **changes), results)["conv_stack"].axes
    (band,) = axes.patches
    assert 1 < band.get_extents().transformed(axes.transData.inverted()).y0 < 2
    # A norm's outputs stand over those below them, each with a line of its own.
    ends = [np.asarray(path.vertices) for lines in axes.collections for path in lines.get_paths()]
    between = [end for end in ends if (end[0][1], end[1][1]) == (1, 2)]
    assert len(between) == 7
    assert all(below == above for (below, _), (above, _) in between)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([CONV] * 4, r"layer 4 \(conv, layers\[3\]\): along the height the kernel spans 3 pixels"),
        ([FLAT, CONV], r"layer 2 \(conv, layers\[1\]\): it needs a map, but a row of 49 values"),
        ([FLAT, FLAT], "its input is flat already, 49 values: leave it out"),
        ([{"type": "linear", "out_features": 2}], "a row of values, but 1×7×7 come in: put type:"),
        ([{**CONV, "groups": 4}], r"layer 1 .* groups = 4 does not divide in_channels = 1"),
        ([{**CONV, "kernel_size": [3]}], r"kernel_size is \[3\], but the input has 2 axes"),
        (
            [{"type": "pool", "kernel_size": 2, "padding": 2}],
            "padding 2 is beyond half of kernel_size 2",
        ),
        (
            [{"type": "pool", "kind": "average", "kernel_size": 2, "dilation": 2}],
            "dilation is of max alone",
        ),
    ],
)
def test_an_impossible_layer_is_named(layers: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run("conv_stack", size=7, layers=layers)


def test_maps_stay_within_what_pytorch_can_describe() -> None:
    layer = CONV | {"out_channels": 65536, "padding": 4096, "stride": 1}
    with pytest.raises(UserError, match=r"layer 2 .* map has 20,476 positions .* lower padding"):
        run("conv_stack", size=4096, layers=[layer, layer])
    # With stride 1 its maps would grow too large, which is no mistake of the network itself.
    large = {"size": 4096, "layers": [layer | {"stride": 2, "kernel_size": 512}] * 3}
    output = run("conv_stack", **large)
    assert not output.failed
    assert output.results.stride_one is None
    assert output.results.macs > 2**63
    draw(config("conv_stack", **large), output.results)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 28, "sentence": "a b"}, "size and sentence: both are given"),
        ({"size": None}, "size and sentence: neither is given"),
        ({"size": None, "sentence": " "}, "sentence has 0 words: give 1 to 40"),
        ({"size": None, "sentence": "a " * 41}, "sentence has 41 words"),
        ({"position": 5}, "position 5 along the height, but the last map has 5: choose 0 to 4"),
        ({"position": [1]}, r"position is \[1\], but the input has 2 axes"),
    ],
)
def test_mistakes_of_conv_stack(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run("conv_stack", **changes)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("{type: pol}", "layers[1].type cannot be 'pol' (net.yaml): did you mean 'pool'?"),
        ("{type: pool, size: 3, kernel_size: 1}", "unknown key 'layers[1].size' (net.yaml)"),
        ("{type: conv, out_channels: 1}", "layers[1].kernel_size is missing"),
        (
            "{type: conv, out_channels: 1, kernel_size: 0}",
            "layers[1].kernel_size must be at least 1, got 0 (net.yaml)",
        ),
        (
            "{type: conv, out_channels: 1, kernel_size: [3, 0]}",
            "layers[1].kernel_size[1] must be at least 1, got 0 (net.yaml)",
        ),
        ("{}", "layers[1].type is missing (net.yaml): write type: NAME beside its other keys"),
    ],
)
def test_a_mistake_in_a_layer_names_its_key(
    layer: str, message: str, folder: Path, midterm: Midterm
) -> None:
    Path("net.yaml").write_text(f"layers:\n  - {{type: relu}}\n  - {layer}\n", encoding="utf-8")
    code, out, err = midterm("conv", "stack", "--config", "net.yaml")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert message in err


def test_a_wrong_trace_and_a_wrong_shape_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_run, "reads_of_all", lambda positions, size, window: [0])
    output = run("conv_stack")
    assert output.failed
    assert (
        "along the height the output depends on inputs [0], by gradients on" in output.warnings[0]
    )
    monkeypatch.undo()
    monkeypatch.setattr(Window, "span", property(lambda window: window.kernel_size + 1))
    output = run("conv_stack", layers=[{**CONV, "padding": 1}])
    assert output.failed
    assert output.warnings[0].startswith("layer 1: output shape: the formula gives [4, 27, 27]")


def test_the_summary_says_formulas_first_then_totals() -> None:
    lines = summarize(run("conv_stack").results)
    assert str(lines[0]).startswith("layer 1 (conv), height and width: floor((28 + 2·2")
    table = next(line for line in lines if isinstance(line, Table))
    assert table.rows[-1][:4] == ["total", "", "61,706", "416,520"]


def test_what_sees_the_whole_image_says_so() -> None:
    """In LeNet the linear layers; not a field as large, of which an output sees a part."""
    table = next(x for x in summarize(run("conv_stack").results) if isinstance(x, Table))
    fields = [row[5] for row in table.rows]
    assert fields[:7] == ["5×5", "5×5", "6×6", "14×14", "14×14", "16×16", "16×16"]
    assert fields[7:] == ["the whole image"] * 5 + [""]
    cone = next(
        x for x in summarize(run("conv_stack", "text/conv_stack").results) if isinstance(x, Table)
    )
    assert [row[5] for row in cone.rows] == ["3", "7", "15", ""]  # of 13 words, one has 12


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 4), st.integers(1, 3))
def test_what_is_said_to_be_whole_is_what_every_output_sees(
    size: int, kernel: int, padding: int, stride: int
) -> None:
    assume(kernel <= size + 2 * padding)
    assume(padding < kernel)
    layer = CONV | {"kernel_size": kernel, "padding": padding, "stride": stride}
    results = run("conv_stack", layers=[layer], size=size).results
    table = next(x for x in summarize(results) if isinstance(x, Table))
    starts = range(-padding, size + padding - kernel + 1, stride)
    sees_all = all(start <= 0 and start + kernel >= size for start in starts)
    assert (table.rows[0][5] == "the whole image") == sees_all


def test_stride_one_is_told_where_a_stride_is_not_one() -> None:
    for stride, told in ((1, False), (2, True)):
        results = run("conv_stack", layers=[CONV | {"stride": stride}, CONV]).results
        titles = [item.title for item in summarize(results) if isinstance(item, Table)]
        assert any(title.endswith(", every stride 1") for title in titles) == told


def test_the_cone_is_drawn_over_the_words() -> None:
    results = run("conv_stack", "text/conv_stack").results
    plain, configured = draw(config("conv_stack", "text/conv_stack"), results)["conv_stack"].axes
    for axes, traced in ((plain, results.stride_one), (configured, results.trace)):
        words = axes.get_xticklabels()
        assert [word.get_text() for word in words] == results.words
        bold = [word.get_text() for word in words if word.get_fontweight() == "bold"]
        assert bold == traced.words
        inside = [np.asarray(path.vertices) for path in axes.collections[1].get_paths()]
        ends = {round(x) for (x, y), _ in inside if y == 0}
        assert sorted(ends) == traced.levels[0].positions[0]


def test_fields_are_drawn_on_the_image_and_a_long_sequence_is_not_drawn() -> None:
    results = run("conv_stack").results
    fields, parameters, macs = draw(config("conv_stack"), results)["conv_stack"].axes
    # Patches here are rectangles, which their type does not say.
    sizes = [(patch.get_width(), patch.get_height()) for patch in fields.patches]  # type: ignore[attr-defined]
    assert sizes == [(28, 28), (5, 5), (6, 6), (14, 14), (16, 16)]
    rows = results.layers
    widths = [bar.get_width() for bar in parameters.patches]  # type: ignore[attr-defined]
    assert widths == [row.parameters for row in rows]
    assert [bar.get_width() for bar in macs.patches] == [row.macs for row in rows]  # type: ignore[attr-defined]
    long = run("conv_stack", size=[65], layers=[CONV])
    assert draw(config("conv_stack", size=[65], layers=[CONV]), long.results) == {}


def test_as_many_layers_as_may_be_have_room_in_the_figure() -> None:
    layers = [CONV | {"padding": 1}, {"type": "relu"}] * 32
    results = run("conv_stack", size=8, layers=layers).results
    figure = draw(config("conv_stack", size=8, layers=layers), results)["conv_stack"]
    figure.draw_without_rendering()
    fields, parameters, _ = figure.axes
    legend = fields.get_legend()
    assert legend is not None
    assert legend.get_window_extent().y0 > 0
    names = [label.get_window_extent() for label in parameters.get_yticklabels()]
    assert len(names) == 64
    assert all(above.y0 > below.y1 for above, below in pairwise(names))


def test_a_sequence_that_only_padding_makes_long_is_not_drawn() -> None:
    """Each of its thousands of outputs would be a mark of the figure."""
    wide = {"size": [8], "layers": [CONV | {"padding": 1000}]}
    assert draw(config("conv_stack", **wide), run("conv_stack", **wide).results) == {}


def test_windows_that_take_minutes_to_be_traced_are_refused() -> None:
    layers = [CONV, CONV | {"kernel_size": 2048, "padding": 1024}]
    message = (
        r"layer 2 \(conv, layers\[1\]\): its 4,095 windows along an axis read 2,048 inputs each"
    )
    with pytest.raises(UserError, match=message):
        run("conv_stack", size=4096, layers=layers)
