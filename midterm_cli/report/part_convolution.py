"""Part 4: convolutional networks, short answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from midterm_cli.report.answers import again, answer, numbers
from midterm_cli.report.document import (
    Block,
    Formula,
    Heading,
    Paragraph,
    Section,
    prose,
)
from midterm_cli.report.figures import Words, pictures
from midterm_cli.report.numerals import count, latex, short, value
from midterm_cli.report.runs import Run, Runs

OUTPUT_SIZE = r"\left\lfloor \frac{n + 2p - d\,(k - 1) - 1}{s} \right\rfloor + 1"

_WINDOWS = Words(
    "The padded input as a grid of pixels, with an outline for each window of the kernel.",
    prose("The padded input and the windows on it, one for each output."),
)


def part4(runs: Runs) -> Section:
    """Shapes, costs and receptive fields of convolution and pooling."""
    shape = prose(
        "An input of size 20 goes through a convolution with kernel 3, padding 2, stride 4 and 16 "
        "output channels. What is the shape of the output, and how many values has it?"
    )
    text = prose(
        "Convolutions over a sentence may have a stride of 2. Which dependencies between words can "
        "such a model capture?"
    )
    minimum = prose("Does minimum pooling need a layer of its own?")
    stride = prose("What does a stride above 1 change, in computation and in what is kept?")
    cost = prose(
        r"An input of shape $c \times h \times w$ is pooled with window $(k_h, k_w)$, padding "
        r"$(p_h, p_w)$ and stride $(s_h, s_w)$. What does it cost?"
    )
    return Section(
        "part-4",
        "Part 4. Convolutional networks",
        [
            Heading("conv", "1a. The shape of an output"),
            Paragraph(shape, "Question"),
            *answer(runs, ["conv"], _shape),
            Heading("conv-text", "1b. Stride 2 over a sentence"),
            Paragraph(text, "Question"),
            *answer(runs, ["text/conv_stack"], _sentence),
            Heading("pool-min", "1c. Minimum pooling"),
            Paragraph(minimum, "Question"),
            *answer(runs, ["pool_min"], _minimum),
            Heading("conv-stride", "2c. Stride above 1"),
            Paragraph(stride, "Question"),
            *answer(runs, ["conv_stride"], _stride),
            Heading("pool", "2d. The cost of pooling"),
            Paragraph(cost, "Question"),
            *answer(runs, ["pool"], _cost),
            Heading("conv-stack", "A whole network"),
            Paragraph(prose("The same arithmetic, layer by layer, over a small network.")),
            *answer(runs, ["conv_stack"], _stack),
        ],
    )


def convolution_in_brief(run: Run) -> Iterator[Block]:
    """Part 4 in a sentence."""
    yield Paragraph(
        prose(
            f"The convolution's output has shape {_times(run.results['output_shape'])}: "
            f"{count(run.results['values'])} values."
        ),
        "Part 4",
    )


def _times(sizes: Sequence[Any]) -> str:
    return " × ".join(map(count, sizes))


def _worked(run: Run, words: Mapping[str, Words]) -> Iterator[Block]:
    """The formulas with numbers, which the experiment shows itself, the figure, the command."""
    yield Paragraph(prose("With the numbers put in:"), "Derivation")
    yield from numbers(run)
    yield from pictures(run, words)
    yield again(run.preset)


def _shape(run: Run) -> Iterator[Block]:
    results = run.results
    yield Paragraph(
        prose(
            f"**{_times(results['output_shape'])}**, which is **{count(results['values'])}** "
            "values. Along each axis, with size $n$, kernel $k$, padding $p$, dilation $d$ and "
            "stride $s$, the output has"
        ),
        "Answer",
    )
    yield Formula(OUTPUT_SIZE)
    channels = count(results["input_shape"][0])
    yield Paragraph(
        prose(
            "The exercise does not say how many channels go in. Shape and values do not depend on "
            f"it; the parameters, MACs and FLOPs below are those of in_channels = {channels}."
        )
    )
    yield from _worked(run, {"conv": _WINDOWS})


def _sentence(run: Run) -> Iterator[Block]:
    words = run.results["words"]
    reached, by_stride_one = (run.results[key]["words"] for key in ("trace", "stride_one"))
    yield Paragraph(
        prose(
            "An output depends on the words in its receptive field and on no others. A layer with "
            "kernel $k$ and stride $s$ widens the field by $(k - 1)$ jumps and multiplies the "
            "jump by $s$. So with stride 2 the field grows geometrically over the layers: distant "
            "words meet after few layers; in exchange there are fewer positions, neighbouring "
            "outputs share less, and where exactly a pattern stood is lost. In the run below one "
            f"output of the last layer depends on **{count(len(reached))} of {count(len(words))}** "
            f"words; with every stride 1 it would depend on {count(len(by_stride_one))}."
        ),
        "Answer",
    )
    yield Formula(r"r_l = r_{l-1} + (k_l - 1)\, j_{l-1}, \qquad j_l = s_l\, j_{l-1}")
    cone = Words(
        "A sentence at the bottom, the layers above it, and the cone of words that one output of "
        "the last layer can see: above as configured, below, and narrower, with every stride 1.",
        prose("The words that reach one output, layer by layer."),
    )
    yield from _worked(run, {"conv_stack": cone})


def _minimum(run: Run) -> Iterator[Block]:
    checks = run.results["checks"]
    yield Paragraph(
        prose("**No.** The smallest value is minus the largest of the negated values:"),
        "Answer",
    )
    yield Formula(r"\operatorname{minpool}(x) = -\operatorname{maxpool}(-x)")
    yield Paragraph(
        prose(
            r"This includes the padding: max-pooling pads with $-\infty$, so that this "
            r"min-pooling pads with $+\infty$, and a padded place is never the minimum. Beside a "
            "direct minimum over each window, the values differ by at most "
            f"${latex(checks['values']['max_difference'], 2)}$ and the gradients by at most "
            f"${latex(checks['gradient']['max_difference'], 2)}$."
        )
    )
    words = Words(
        "Heat maps with their values: an input, its maximum pooling, and its minimum pooling.",
        prose("An input, max-pooled and min-pooled."),
    )
    yield from _worked(run, {"pool_min": words})


def _stride(run: Run) -> Iterator[Block]:
    most = max(run.results["strides"], key=lambda row: value(row["product_of_strides"]))
    yield Paragraph(
        prose(
            "Each output costs the same, and there are fewer: computation falls by about the "
            f"product of the strides. Strides of {_times(most['stride'])} take "
            f"{short(most['mac_factor'])} times fewer products here, and "
            f"{short(most['time_factor'])} times less time, as measured: time follows as long as "
            "the products take most of it. The output is a smaller, cheaper representation, which "
            "keeps the coarse and drops the fine."
        ),
        "Answer",
    )
    cost = Words(
        "Cost against the product of the strides, on logarithmic axes: the products as counted, "
        "and the time as measured, beside the line of the rule. Under strides of "
        f"{_times(most['stride'])} the products are {short(most['mac_factor'])} times fewer, the "
        f"time is {short(most['time_factor'])} times shorter.",
        prose("Cost against stride: products counted, time measured."),
    )
    image = Words(
        f"An image under strides {' and '.join(map(count, run.results['image']['strides']))}, once "
        "with one pixel taken from each window, once with each window's mean.",
        prose("What strides leave of an image: one pixel of each window, and each window's mean."),
    )
    yield from _worked(run, {"conv_stride": cost, "stride_image": image})


def _cost(run: Run) -> Iterator[Block]:
    yield Paragraph(
        prose(
            "Each output value looks at the $k_h k_w$ places of its window: $k_h k_w - 1$ "
            "comparisons for a maximum; as many additions and one division for an average. The run "
            f"below takes **{count(run.results['operations'])}** operations for "
            f"{count(run.results['values'])} values, {_times(run.results['output_shape'])}. In all"
        ),
        "Answer",
    )
    size = r"\left(\left\lfloor\frac{{{0} + 2p_{0} - k_{0}}}{{s_{0}}}\right\rfloor + 1\right)"
    yield Formula(rf"c \cdot {size.format('h')} \cdot {size.format('w')} \cdot (k_h k_w - 1)")
    yield from _worked(run, {"pool": _WINDOWS})


def _stack(run: Run) -> Iterator[Block]:
    words = Words(
        "Left, rectangles on the input: the receptive field of one output of each layer, growing "
        "from layer to layer. Right, each layer's parameters and MACs as bars.",
        prose("The receptive field of one output of each layer; parameters and MACs by layer."),
    )
    yield from _worked(run, {"conv_stack": words})
