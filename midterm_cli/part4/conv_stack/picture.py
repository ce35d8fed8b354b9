"""The pictures of a stack of layers: the cone of one output over a sentence, fields on an image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from midterm_cli.layers.arithmetic import Window, reads
from midterm_cli.part4.conv_stack.schema import Results, Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LENGTH = 64
"""The positions of a longer sequence cannot be told apart."""

_DARK, _LIGHT = "tab:blue", "0.75"


def draw_cones(results: Results) -> Figure | None:
    """Draw the layers over a sequence and the cone of one output; with every stride 1 below.

    Args:
        results: of a stack over one axis.

    Returns:
        The figure, or None for a sequence that has more than MAX_LENGTH positions in some layer.
    """
    from matplotlib.figure import Figure

    if _longest(results.trace) > MAX_LENGTH:
        return None
    traces = {"as configured": results.trace}
    if results.stride_one is not None and _longest(results.stride_one) <= MAX_LENGTH:
        traces["every stride 1"] = results.stride_one
    length = results.input_shape[1]
    words = results.words or [str(i) for i in range(length)]
    num_levels = len(results.trace.levels)
    # In inches: room for the names on the left, the words below, the title above.
    left, below, above, tall = 2.4, 1.1, 0.4, 0.6 * num_levels
    width, height = min(max(left + 0.45 * length, 7), 16), below + tall + above
    figure = Figure(figsize=(width, height * len(traces)))
    for row, (title, traced) in enumerate(reversed(traces.items())):
        bottom = (row * height + below) / (height * len(traces))
        room = (left / width, bottom, 1 - (left + 0.2) / width, tall / (height * len(traces)))
        axes = figure.add_axes(room)
        _draw_cone(axes, traced, words)
        axes.set_title(f"{title}: output {traced.position[0]} depends on {_share(traced)}")
    return figure


def _longest(traced: Trace) -> int:
    return max(level.sizes[0] for level in traced.levels)


def _share(traced: Trace) -> str:
    """How many of the inputs reach the output."""
    bottom = traced.levels[0]
    unit = "inputs" if traced.words is None else "words"
    return f"{len(bottom.positions[0])} of {bottom.sizes[0]} {unit}"


def _draw_cone(axes: Axes, traced: Trace, words: Sequence[str]) -> None:
    """Outputs stand above the middle of their windows; a line leads to each input they read.

    A norm, whose outputs read all of the map, is a band between the two.
    """
    from matplotlib.collections import LineCollection

    levels, places = traced.levels, traced.places(0)
    lines: dict[bool, list[list[tuple[float, float]]]] = {False: [], True: []}
    for height, (below, level) in enumerate(pairwise(levels), 1):
        window = level.window(0)
        if window is None:
            axes.axhspan(height - 0.75, height - 0.25, color=_LIGHT, linewidth=0)
        for output in range(level.sizes[0]):
            top = (places[height].middle(output), float(height))
            lines[output in level.positions[0]] += [
                [(places[height - 1].middle(read), height - 1.0), top]
                for read in reads(output, below.sizes[0], window or Window(1))
            ]
    axes.add_collection(LineCollection(lines[False], color=_LIGHT, linewidth=0.7))
    axes.add_collection(LineCollection(lines[True], color=_DARK, linewidth=1.6))
    for height, level in enumerate(levels):
        reached = set(level.positions[0])
        others = set(range(level.sizes[0])) - reached
        for outputs, face, edge in ((others, "white", "0.5"), (reached, _DARK, _DARK)):
            axes.plot(
                [places[height].middle(output) for output in sorted(outputs)],
                [height] * len(outputs),
                linestyle="none",
                marker="o" if height else "s",
                markersize=7,
                color=face,
                markeredgecolor=edge,
                zorder=3,
            )
    axes.set_xticks(
        *(range(len(words)), words),
        rotation=40,
        ha="right",
        rotation_mode="anchor",
        parse_math=False,  # a $ of the sentence is a $
    )
    for label, read in zip(axes.get_xticklabels(), range(len(words)), strict=True):
        inside = read in levels[0].positions[0]
        label.set(color="black" if inside else "0.55", weight="bold" if inside else "normal")
    names = [
        level.name if not height else f"{level.name}\nsees {level.receptive_field[0]}"
        for height, level in enumerate(levels)
    ]
    axes.set_yticks(range(len(levels)), names)
    axes.tick_params(length=0)
    axes.set_ylim(-0.3, len(levels) - 0.7)
    for side in axes.spines.values():
        side.set_visible(False)


def draw_fields(results: Results) -> Figure:
    """Draw the receptive field of an output of each layer on the image; parameters and MACs.

    Args:
        results: of a stack over two axes.
    """
    from matplotlib.figure import Figure

    rows = results.layers
    # In inches: room for a line a level in the legend, and for a bar a layer.
    image, legend, bars = 3.45, 0.6 + 0.2 * len(results.trace.levels), 0.2 * len(rows)
    height = max(5.4, image + legend, bars + 0.7)
    figure = Figure(figsize=(11, height))
    fields = figure.add_axes((0.05, 1 - image / height, 0.33, 3.1 / height))
    _draw_nested(fields, results.trace)
    names = [f"{row.layer} {row.description}" for row in rows]
    parameters, macs = (
        figure.add_axes((left, 0.2 / height, 0.2, 1 - 0.65 / height)) for left in (0.57, 0.79)
    )
    _draw_counts(parameters, [row.parameters for row in rows], names)
    parameters.set_title(f"parameters: {_short(results.parameters)}")
    _draw_counts(macs, [row.macs for row in rows], [""] * len(rows))
    macs.set_title(f"MACs: {_short(results.macs)}")
    return figure


def _draw_counts(axes: Axes, counts: Sequence[int], names: Sequence[str]) -> None:
    """Draw a bar for each layer, from the top down."""
    # As floats: matplotlib takes no integer beyond 64 bits.
    bars = axes.barh(range(len(counts)), list(map(float, counts)), color="0.6", edgecolor="0.2")
    axes.bar_label(bars, list(map(_short, counts)), padding=2, fontsize=8)
    axes.set_yticks(range(len(counts)), names)
    axes.set(xticks=[], ylim=(max(len(counts), 5) - 0.4, -0.6))
    axes.margins(x=0.45)
    axes.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _short(count: int) -> str:
    return f"{count:,}" if count < 10**9 else f"{count:.3g}"


def _draw_nested(axes: Axes, traced: Trace) -> None:
    """A rectangle for each layer: what its output nearest to the traced one's middle sees."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    levels = traced.levels
    places = [traced.places(axis) for axis in (0, 1)]
    middle = [places[axis][-1].middle(traced.position[axis]) for axis in (0, 1)]
    height, width = levels[0].sizes
    axes.add_patch(
        Rectangle((-0.5, -0.5), width, height, facecolor="0.95", edgecolor="0.5", label="image")
    )
    styles = ("-", "--", ":", "-.")
    for index, level in enumerate(levels[1:]):
        corner, size = [], []
        for axis in (1, 0):
            output = places[axis][index + 1].nearest(middle[axis], level.sizes[axis])
            corner.append(level.middle(axis, output) - level.receptive_field[axis] / 2)
            size.append(level.receptive_field[axis])
        axes.add_patch(
            Rectangle(
                (corner[0], corner[1]),
                *size,
                facecolor="none",
                edgecolor=colormaps["viridis"](0.85 * index / max(1, len(levels) - 2)),
                linestyle=styles[index % len(styles)],
                linewidth=2,
                label=f"{level.name}: {_covers(corner, size, (width, height))}",
            )
        )
    axes.set(title="receptive fields", xlabel="column", ylabel="row", aspect="equal")
    axes.autoscale_view()
    axes.invert_yaxis()
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), fontsize="small")


def _covers(corner: Sequence[float], size: Sequence[int], image: Sequence[int]) -> str:
    """The size of a field, or that it holds the whole image; each as (width, height)."""
    ends = zip(corner, size, image, strict=True)
    if all(low <= -0.5 and low + length >= whole - 0.5 for low, length, whole in ends):
        return "the whole image"
    return f"{size[1]} × {size[0]}"
