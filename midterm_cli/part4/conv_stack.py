"""Part 4, 1b: a network layer by layer: shapes, costs, and which inputs reach one output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import takewhile
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field as Key
from torch import nn

from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, ExperimentConfig, Output, Table
from midterm_cli.part4 import by_torch
from midterm_cli.part4.arithmetic import AXES, Field, reads_of_all
from midterm_cli.part4.conv import agreement
from midterm_cli.part4.layers import Conv, Flatten, Layer, Linear, Pool, Relu, Step, walk
from midterm_cli.part4.sizes import AtLeast0, AtLeast1, Channels, PerAxis, per_axis
from midterm_cli.part4.stack_picture import MAX_LENGTH, draw_cones, draw_fields

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_WORDS = 40


class Config(ExperimentConfig):
    """A network and its input."""

    channels: Channels = Key(description="channels of the input")
    size: PerAxis[AtLeast1] | None = Key(
        description="of the input: one number for a square, [height, width], or [length]; null "
        "with sentence"
    )
    sentence: Annotated[str, Key(min_length=1, max_length=1000)] | None = Key(
        description="words in place of size, one position each; null for an image"
    )
    position: PerAxis[AtLeast0] | None = Key(
        description="of the output that is traced to its inputs, in the last map; null for the "
        "middle"
    )
    layers: list[Layer] = Key(min_length=1, max_length=32, description="from the input on")


def run(config: Config, context: Context) -> Output:
    """Walk through the layers, trace one output to its inputs, and hold both against PyTorch.

    Raises:
        UserError: a layer is impossible, or the input or the position is not there.
    """
    sizes, words = _read_input(config)
    steps = walk(config.layers, config.channels, sizes)
    maps = _maps(steps)
    position = _position(config, maps[-1].after.sizes if maps else sizes)
    levels = trace(maps, sizes, position)
    macs = sum(step.macs for step in steps)
    output = steps[-1].after.shape
    operations: Counter[str] = Counter()
    for step in steps:
        operations.update(step.operations)
    results: dict[str, Any] = {
        "input_shape": [config.channels, *sizes],
        "words": words,
        "output_shape": output,
        "values": prod(output),
        "parameters": sum(step.parameters for step in steps),
        "macs": macs,
        "flops": 2 * macs,
        "operations": dict(operations),
        "counted": "biases in parameters, not in MACs; FLOPs are two a MAC; a ReLU is a comparison",
        "layers": [_row(number, step) for number, step in enumerate(steps, 1)],
        "trace": {"position": list(position), "levels": levels, "words": _reached(words, levels)},
        "stride_one": _with_stride_one(config, sizes, words, levels),
        "steps": [
            f"layer {number} ({step.layer.type}), {formula}"
            for number, step in enumerate(steps, 1)
            for formula in step.formulas
        ],
    }
    # Gradients need the shapes to be right.
    wrong = _compare_layers(config, sizes, steps) or _compare_trace(maps, sizes, levels)
    results["torch"] = {
        "how": "torch.nn layers on the meta device; MACs by FlopCounterMode, 2 FLOPs each; inputs "
        "that reach the output by gradients, along each axis",
        "agrees": not wrong,
    }
    return Output(results, failed=bool(wrong), warnings=wrong)


def _read_input(config: Config) -> tuple[tuple[int, ...], list[str] | None]:
    """Size along each axis, and the words where it is a sentence."""
    if (config.size is None) == (config.sentence is None):
        given = "neither is given" if config.size is None else "both are given"
        raise UserError(f"size and sentence: {given}\ngive one of them, and null for the other")
    if config.sentence is None:
        assert config.size is not None
        one_axis = not isinstance(config.size, int) and len(config.size) == 1
        return per_axis("size", config.size, 1 if one_axis else 2), None
    words = config.sentence.split()
    if not 1 <= len(words) <= MAX_WORDS:
        raise UserError(f"sentence has {len(words)} words: give 1 to {MAX_WORDS}")
    return (len(words),), words


def _maps(steps: Sequence[Step]) -> list[Step]:
    """The layers with windows: a prefix of the network, but for activations between them."""
    return [step for step in takewhile(lambda step: step.after.sizes, steps) if step.windows]


def _position(config: Config, sizes: Sequence[int]) -> tuple[int, ...]:
    if config.position is None:
        return tuple(size // 2 for size in sizes)
    position = per_axis("position", config.position, len(sizes))
    for axis, value, size in zip(AXES[len(sizes)], position, sizes, strict=True):
        if value >= size:
            raise UserError(
                f"position {value} along the {axis}, but the last map has {size}: "
                f"choose 0 to {size - 1}"
            )
    return position


def trace(
    maps: Sequence[Step], sizes: Sequence[int], position: Sequence[int]
) -> list[dict[str, Any]]:
    """Follow one output back to the inputs that it depends on.

    Args:
        maps: the layers with windows, from the input on.
        sizes: of the input along each axis.
        position: of an output of the last of them.

    Returns:
        The input, then each layer: what it is, and along each axis its size, the first output's
        centre and the distance between outputs in inputs, its windows, and the positions that the
        output depends on. Along two axes these are all combinations of a row and a column.
    """
    positions = [[along] for along in position]
    levels: list[dict[str, Any]] = []
    for step in reversed(maps):
        levels.append(_level(step, positions))
        positions = [
            reads_of_all(along, size, window)
            for along, size, window in zip(positions, step.before.sizes, step.windows, strict=True)
        ]
    fields = [Field() for _ in sizes]
    levels.append(_level_of("input", sizes, fields, positions))
    return levels[::-1]


def _level(step: Step, positions: Sequence[Sequence[int]]) -> dict[str, Any]:
    level = _level_of(describe(step), step.after.sizes, step.after.fields, positions)
    windows = [
        [window.kernel_size, window.stride, window.padding, window.dilation]
        for window in step.windows
    ]
    return level | {"windows": windows}


def _level_of(
    name: str,
    sizes: Sequence[int],
    fields: Sequence[Field],
    positions: Sequence[Sequence[int]],
) -> dict[str, Any]:
    return {
        "name": name,
        "sizes": list(sizes),
        "centre": [field.centre for field in fields],
        "jump": [field.jump for field in fields],
        "receptive_field": [field.size for field in fields],
        "shared": [field.shared for field in fields],
        "positions": [list(along) for along in positions],
    }


def _reached(words: Sequence[str] | None, levels: Sequence[Mapping[str, Any]]) -> list[str] | None:
    return None if words is None else [words[i] for i in levels[0]["positions"][0]]


def _with_stride_one(
    config: Config,
    sizes: tuple[int, ...],
    words: Sequence[str] | None,
    levels: Sequence[Mapping[str, Any]],
) -> dict[str, Any] | None:
    """The same network with every stride 1, its output over the same place.

    None where it is so already, and where its maps would be too large.
    """
    layers = [
        layer.model_copy(update={"stride": 1}) if isinstance(layer, Conv | Pool) else layer
        for layer in takewhile(lambda layer: layer.type != "flatten", config.layers)
    ]
    if len(levels) == 1 or levels[-1]["jump"] == [1] * len(sizes):
        return None
    try:
        maps = _maps(walk(layers, config.channels, sizes))
    except UserError:
        return None
    last = maps[-1].after
    position = []
    for axis, field in enumerate(last.fields):
        above = levels[-1]
        centre = above["centre"][axis] + above["positions"][axis][0] * above["jump"][axis]
        nearest = round((centre - field.centre) / field.jump)
        position.append(min(max(nearest, 0), last.sizes[axis] - 1))
    plain = trace(maps, sizes, position)
    return {"position": position, "levels": plain, "words": _reached(words, plain)}


def _row(number: int, step: Step) -> dict[str, Any]:
    """A layer in the results."""
    fields = step.after.fields
    return {
        "layer": number,
        "type": step.layer.type,
        "description": describe(step),
        "output_shape": step.after.shape,
        "values": prod(step.after.shape),
        "parameters": step.parameters,
        "macs": step.macs,
        "operations": step.operations,
        "receptive_field": [field.size for field in fields],
        "jump": None if step.after.mixed else [field.jump for field in fields],
        "start": [field.start for field in fields],
        "centre": [field.centre for field in fields],
    }


def describe(step: Step) -> str:
    """A layer in a few words: conv 5×5, stride 2."""
    layer = step.layer
    if isinstance(layer, Linear):
        return f"linear {layer.out_features}"
    if not isinstance(layer, Conv | Pool):
        return layer.type
    name = "conv" if isinstance(layer, Conv) else f"{layer.kind} pool"
    parts = [f"{name} {'×'.join(str(window.kernel_size) for window in step.windows)}"]
    ones = [1] * len(step.windows)
    kernel = [window.kernel_size for window in step.windows]
    usual = {
        "stride": ones if isinstance(layer, Conv) else kernel,
        "padding": [0] * len(step.windows),
        "dilation": ones,
    }
    for key, left_out in usual.items():
        numbers = [getattr(window, key) for window in step.windows]
        if numbers != left_out:
            parts.append(f"{key} {'×'.join(map(str, dict.fromkeys(numbers)))}")
    return ", ".join(parts)


# PyTorch


def _compare_layers(config: Config, sizes: Sequence[int], steps: Sequence[Step]) -> list[str]:
    """What PyTorch finds otherwise: shape, parameters and MACs of each layer."""
    shape = [1, config.channels, *sizes]
    wrong = []
    for number, step in enumerate(steps, 1):
        module = _module(step, shape[1])
        shape, flops = by_torch.count_flops(module, shape)
        ours = {
            "output_shape": step.after.shape,
            "parameters": step.parameters,
            "macs": step.macs,
        }
        theirs = {
            "output_shape": shape[1:],
            "parameters": by_torch.count_parameters(module),
            "macs": flops // 2,
        }
        wrong += [f"layer {number}: {line}" for line in by_torch.disagreements(ours, theirs)]
    return wrong


def _module(step: Step, channels: int) -> nn.Module:
    """PyTorch's layer on the meta device, for so many channels (or values) of input."""
    match step.layer:
        case Conv() as layer:
            return by_torch.convolution(
                channels, layer.out_channels, step.windows, layer.groups, layer.bias, "meta"
            )
        case Pool() as layer:
            return by_torch.pooling(step.windows, layer.kind)
        case Relu():
            return nn.ReLU()
        case Flatten():
            return nn.Flatten()
        case Linear() as layer:
            return nn.Linear(channels, layer.out_features, layer.bias, device="meta")


def _compare_trace(
    maps: Sequence[Step], sizes: Sequence[int], levels: Sequence[Mapping[str, Any]]
) -> list[str]:
    """The axes along which gradients reach other inputs than the trace."""
    wrong = []
    for index, axis in enumerate(AXES[len(sizes)]):
        reached = by_torch.reached_by_gradient(
            sizes[index],
            [step.windows[index] for step in maps],
            [step.after.sizes[index] for step in maps],
            levels[-1]["positions"][index][0],
        )
        if reached != levels[0]["positions"][index]:
            wrong.append(
                f"along the {axis} the output depends on inputs {levels[0]['positions'][index]}, "
                f"by gradients on {reached}"
            )
    return wrong


# What is shown


def summarize(results: Mapping[str, Any]) -> Sequence[Table | str]:
    """The formulas, the layers with their totals, and what the traced output depends on."""
    rows = [
        [
            f"{row['layer']} {row['description']}",
            _times(row["output_shape"]),
            f"{row['parameters']:,}",
            f"{row['macs']:,}",
            _operations(row["operations"]),
            _times(row["receptive_field"]),
            "–" if row["jump"] is None else _times(row["jump"]),
            _times(row["centre"], ", "),
        ]
        for row in results["layers"]
    ]
    total = [
        "total",
        "",
        f"{results['parameters']:,}",
        f"{results['macs']:,}",
        _operations(results["operations"]),
        "",
        "",
        "",
    ]
    columns = [
        "layer",
        "output",
        "parameters",
        "MACs",
        "other operations",
        "receptive field",
        "jump",
        "first centre",
    ]
    title = f"input {_times(results['input_shape'])}"
    return [
        *results["steps"],
        Table(title, columns, [*rows, total]),
        f"FLOPs: {results['flops']:,}; counted: {results['counted']}",
        *_told_trace(results),
        agreement(results["torch"]),
    ]


def _times(numbers: Sequence[float], sign: str = "×") -> str:
    return sign.join(f"{number:g}" for number in numbers)


def _operations(operations: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in operations.items()) or "–"


def _told_trace(results: Mapping[str, Any]) -> list[Table | str]:
    """What reaches the traced output, level by level, and what would under stride 1."""
    shown: list[Table | str] = []
    for kind, traced in (("", results["trace"]), (", every stride 1", results["stride_one"])):
        if traced is None:
            continue
        rows = [
            [
                level["name"],
                _times(level["sizes"]),
                _times(level["receptive_field"]),
                _times(level["jump"]),
                _times(level["shared"]),
                " × ".join(_ranges(along) for along in level["positions"]),
            ]
            for level in traced["levels"]
        ]
        columns = ["level", "outputs", "sees", "jump", "shared by neighbours", "on the way"]
        position = _times(traced["position"], ", ")
        title = f"what output {position} of the last map depends on{kind}"
        shown.append(Table(title, columns, rows))
        if traced["words"] is not None:
            shown.append(f"words that reach it{kind}: {' '.join(traced['words'])}")
    return shown


def _ranges(positions: Sequence[int]) -> str:
    """Positions as ranges: 0–4, 7."""
    runs: list[list[int]] = []
    for position in positions:
        if runs and runs[-1][-1] == position - 1:
            runs[-1].append(position)
        else:
            runs.append([position])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs) or "–"


def draw(config: Config, results: Mapping[str, Any]) -> Mapping[str, Figure]:
    """Draw the cone of the traced output over its words, or receptive fields on the image.

    A sequence that is too long somewhere for its positions to be told apart has no figure.
    """
    _, *sizes = results["input_shape"]
    if len(sizes) == 2:
        return {"conv_stack": draw_fields(results)}
    longest = max(level["sizes"][0] for level in results["trace"]["levels"])
    return {"conv_stack": draw_cones(results)} if longest <= MAX_LENGTH else {}
