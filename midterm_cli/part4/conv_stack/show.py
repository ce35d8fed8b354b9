"""The layers of a network as a table, what an output depends on, and their picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from midterm_cli.experiment import Table
from midterm_cli.layers.arithmetic import Operations
from midterm_cli.part4.conv_stack.picture import draw_cones, draw_fields
from midterm_cli.part4.conv_stack.schema import Config, LayerRow, Results
from midterm_cli.part4.schema import torch_verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def summarize(results: Results) -> Sequence[Table | str]:
    """The formulas, the layers with their totals, and what the traced output depends on."""
    rows = [
        [
            f"{row.layer} {row.description}",
            _times(row.output_shape),
            f"{row.parameters:,}",
            f"{row.macs:,}",
            _operations(row.operations),
            _field(row, results.input_shape[1:]),
            "–" if row.jump is None else _times(row.jump),
            _times(row.centre, ", "),
        ]
        for row in results.layers
    ]
    total = [
        "total",
        "",
        f"{results.parameters:,}",
        f"{results.macs:,}",
        _operations(results.operations),
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
    title = f"input {_times(results.input_shape)}"
    return [
        *results.steps,
        Table(title, columns, [*rows, total]),
        f"FLOPs: {results.flops:,}; counted: {results.counted}",
        *_traces(results),
        torch_verdict(results.torch.how, results.torch.agrees),
    ]


def _field(row: LayerRow, sizes: Sequence[int]) -> str:
    """The receptive field, or that every output sees all there is.

    Where the first one does, all do: padding is the same on both sides.
    """
    ends = [start + field for start, field in zip(row.start, row.receptive_field, strict=True)]
    reaches = all(end >= size for end, size in zip(ends, sizes, strict=True))
    if max(row.start) <= 0 and reaches:
        return "the whole image" if len(sizes) == 2 else "the whole sequence"
    return _times(row.receptive_field)


def _times(numbers: Sequence[float], sign: str = "×") -> str:
    return sign.join(f"{number:g}" for number in numbers)


def _operations(operations: Operations) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in operations if count) or "–"


def _traces(results: Results) -> list[Table | str]:
    """What reaches the traced output, level by level, and what would under stride 1."""
    shown: list[Table | str] = []
    for kind, traced in (("", results.trace), (", every stride 1", results.stride_one)):
        if traced is None:
            continue
        rows = [
            [
                level.name,
                _times(level.sizes),
                _times(level.receptive_field),
                _times(level.jump) if any(level.jump) else "–",
                _times(level.shared),
                " × ".join(_ranges(along) for along in level.positions),
            ]
            for level in traced.levels
        ]
        columns = ["level", "outputs", "sees", "jump", "shared by neighbours", "on the way"]
        position = _times(traced.position, ", ")
        title = f"what output {position} of the last map depends on{kind}"
        shown.append(Table(title, columns, rows))
        if traced.words is not None:
            shown.append(f"words that reach it{kind}: {' '.join(traced.words)}")
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


def draw(config: Config, results: Results) -> Mapping[str, Figure]:
    """Draw the cone of the traced output over its words, or receptive fields on the image.

    A sequence with too many positions to tell them apart, in any layer, has no figure.
    """
    one_axis = len(results.input_shape) == 2  # channels and length
    figure = draw_cones(results) if one_axis else draw_fields(results)
    return {"conv_stack": figure} if figure else {}
