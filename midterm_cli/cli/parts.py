"""The commands of the four parts: each declares the options that are its own."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from midterm_cli.cli.command import OnlyCommand
from midterm_cli.cli.experiment_command import Rows, experiment_command
from midterm_cli.cli.options import (
    DataDir,
    Dataset,
    Dtype,
    FailOnFailure,
    Range,
    Threshold,
    array,
    fail_when,
    text,
    typed,
)
from midterm_cli.cli.program import app, new_app
from midterm_cli.cli.training import problem, schedule, with_options
from midterm_cli.errors import UserError

softt_app = new_app(help="Soft-thresholding (Part 2 A, B); alone: plot.", cls=OnlyCommand)
module_app = new_app(help="The module M⁻¹ f_T(M x) (Part 2 C to E); alone: grad.", cls=OnlyCommand)
app.add_typer(softt_app, name="softt")
app.add_typer(module_app, name="module")
conv_app = new_app(help="Convolutions: shape, cost and receptive field (Part 4 1a, 1b, 2c).")
pool_app = new_app(help="Pooling: its cost, and a minimum from a maximum (Part 4 1c, 2d).")
app.add_typer(conv_app, name="conv")
app.add_typer(pool_app, name="pool")


class VerdictFormat(StrEnum):
    """How the verdicts on many formulas are printed."""

    CSV = "csv"
    JSONL = "jsonl"


def _verdicts(results: Any, row_format: str | None) -> str:
    from midterm_cli.part1.autodiff.show import rows

    return rows(results.formulas, row_format or VerdictFormat.CSV)


@experiment_command("autodiff", rows=Rows("formulas", _verdicts))
def autodiff(
    x: Annotated[list[float] | None, typed("NUMBER", "Where, such as pi/2. Repeatable.")] = None,
    formula: Annotated[
        str | None,
        text("A derivative to be judged over the range, in x and the names of the expression."),
    ] = None,
    formulas: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Formulas to be judged, one a line: prints a row for each, and draws nothing.",
        ),
    ] = None,
    format: Annotated[
        VerdictFormat | None, typer.Option(help="Of the rows of --formulas. Without it: csv.")
    ] = None,
    expression: Annotated[
        str | None,
        text('Another function, such as "sin(x**2)" or "u = x^2; f = sin(u)".'),
    ] = None,
    range: Range = None,
    dtype: Dtype = None,
    fail_on_failure: Annotated[bool, fail_when("the formula or a method is wrong")] = False,
) -> Mapping[str, Any] | None:
    """Differentiate a function by methods that check each other, and judge a formula (Part 1).

    Examples:
        midterm autodiff --x pi/2
        midterm autodiff --expression "sin(x^2)" --formula "2*x*cos(x^2)"
        midterm autodiff --formulas answers.txt --format csv
    """
    # One x is a number in the config and in the results, as in the packaged default.
    return {"x": x[0]} if x is not None and len(x) == 1 else None


@experiment_command("softt", softt_app, "plot")
def softt_plot(
    threshold: Threshold = None,
    y: Annotated[list[float] | None, typed("NUMBER", "Where to print values. Repeatable.")] = None,
    range: Range = None,
    second_derivative: Annotated[
        bool | None,
        typer.Option(
            "--second-derivative/--no-second-derivative", help="Draw the second derivative as well."
        ),
    ] = None,
    dtype: Dtype = None,
    fail_on_failure: Annotated[bool, fail_when("a derivative is wrong")] = False,
) -> None:
    """Draw the soft-threshold and its derivative, by autograd and in closed form (Part 2 A, B).

    Examples:
        midterm softt plot --y 1.20 --threshold 3.14
        midterm softt plot --threshold 2 --range -6,6 --second-derivative
    """


@experiment_command("module", module_app, "grad")
def module_grad(
    threshold: Threshold = None,
    dimension: Annotated[int | None, typed("N", "Length of x.")] = None,
    matrix: Annotated[str | None, array("matrix", "M, symmetric and invertible.")] = None,
    x: Annotated[str | None, array("x", "The input.")] = None,
    dtype: Dtype = None,
    fail_on_failure: Annotated[bool, fail_when("a gradient is wrong")] = False,
) -> None:
    """Compute the gradients of ‖x - g_T(x; M)‖² checked in three other ways (Part 2 C to E).

    Examples:
        midterm module grad --matrix "2 1; 1 -1" --x 3,4 --threshold 1
        midterm module grad --dimension 8 --seed 3
    """


@experiment_command("train")
@with_options(problem, schedule)
def train(
    lr: Annotated[float | None, typed("NUMBER", "Learning rate.")] = None,
    lr_from: Annotated[
        Path | None,
        typer.Option(
            "--lr-from", metavar="RUN", help="Take the learning rate that this sweep recommends."
        ),
    ] = None,
    ema_gamma: Annotated[
        list[float] | None,
        typed("NUMBER", "Weight of the new value in averaged SGD, in (0, 1]. Repeatable."),
    ] = None,
    log_every: Annotated[
        int | None, typed("N", "Record loss and gradient every N updates.", "--log-every")
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            "--init-from", metavar="RUN", help="Start from the raw weights of a run of train."
        ),
    ] = None,
    fail_on_failure: FailOnFailure = False,
) -> None:
    """Train a network by SGD, or another optimiser, and follow averages (Part 3 A, C).

    Examples:
        midterm train --lr 2e-3 --ema-gamma 1e-3 --ema-gamma 1e-2 --seeds 4
        midterm train --optimizer adam --normalize unit --hidden-sizes 64,32
    """


@experiment_command("lr_sweep")
@with_options(problem, schedule)
def lr_sweep(
    start_lr: Annotated[
        float | None, typed("NUMBER", "Where the doubling (or the halving) begins.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typed("SHARE", "Narrow the gap until its ends differ by at most this share."),
    ] = None,
    max_rates: Annotated[
        int | None, typed("N", "Budget: learning rates in all, each with all seeds.")
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(
            metavar="LO:HI:N",
            help="Learning rates to try instead of a search: N from LO to HI, or A,B,C.",
        ),
    ] = None,
    sharpness: Annotated[
        bool | None,
        typer.Option(
            "--sharpness/--no-sharpness",
            help="Draw 2/λ as well: λ is the largest Hessian eigenvalue along a stable run.",
        ),
    ] = None,
    fail_on_failure: Annotated[bool, fail_when("no failing learning rate is bracketed")] = False,
) -> None:
    """Find the learning rate at which training fails, over seeds (Part 3 B).

    Examples:
        midterm lr-sweep --seeds 20
        midterm lr-sweep --rates 1e-3:1e-1:12 --activation tanh
    """
    searched = (start_lr, tolerance, max_rates)
    if rates is not None and any(value is not None for value in searched):
        raise UserError(
            "--rates takes the place of the search: leave out --start-lr, --tolerance, --max-rates"
        )


@experiment_command("lr_range", name="lr-range-test")
@with_options(problem)
def lr_range(
    start_lr: Annotated[float | None, typed("NUMBER", "Learning rate of the first update.")] = None,
    end_lr: Annotated[float | None, typed("NUMBER", "Learning rate of the last update.")] = None,
    num_updates: Annotated[
        int | None, typed("N", "Updates, over which the rate grows exponentially.", "--updates")
    ] = None,
    sweep: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Compare with where training fails in this sweep."),
    ] = None,
    fail_on_failure: Annotated[bool, fail_when("no seed has a suggestion")] = False,
) -> None:
    """Suggest learning rates by Smith's range test, over seeds (beyond the exercise).

    Examples:
        midterm lr-range-test --updates 500
        midterm lr-range-test --sweep outputs/lr_sweep/default
    """


# Part 4. A size is one number, or two: 20x30, [20, 30].

_Size = Annotated[str | None, typed("HxW", "Size of the input: 28, or 28x20.")]
_Kernel = Annotated[str | None, typed("HxW", "Size of the kernel: 3, or 3x5.", "--kernel")]
_Padding = Annotated[str | None, typed("HxW", "Positions added on either side.")]
_Stride = Annotated[str | None, typed("HxW", "Inputs from one window to the next.")]
_Dilation = Annotated[str | None, typed("HxW", "Inputs from one read to the next.")]
_CEIL_MODE = typer.Option(
    "--ceil-mode/--no-ceil-mode", help="Whether a last window may extend beyond the padding."
)


@experiment_command("conv", conv_app, "shape")
def conv_shape(
    size: _Size = None,
    kernel_size: _Kernel = None,
    padding: _Padding = None,
    stride: _Stride = None,
    dilation: _Dilation = None,
    groups: Annotated[int | None, typed("N", "Groups of channels, each on its own.")] = None,
    in_channels: Annotated[int | None, typed("N", "Channels of the input.")] = None,
    out_channels: Annotated[int | None, typed("N", "Channels of the output.")] = None,
    bias: Annotated[
        bool | None, typer.Option("--bias/--no-bias", help="Whether each channel has a bias.")
    ] = None,
    fail_on_failure: Annotated[bool, fail_when("PyTorch disagrees")] = False,
) -> None:
    """Compute the output of a convolution, its parameters, MACs and FLOPs (1a).

    Examples:
        midterm conv shape --size 20,30 --kernel 3 --padding 2 --stride 4
        midterm conv shape --groups 2 --in-channels 4 --out-channels 8
    """


@experiment_command("conv_stride", conv_app, "stride")
def conv_stride(
    size: _Size = None,
    kernel_size: _Kernel = None,
    padding: _Padding = None,
    strides: Annotated[
        list[str] | None,
        typed("HxW", "A stride to compare with stride 1: 2, or 2x1. Repeatable.", "--stride"),
    ] = None,
    in_channels: Annotated[int | None, typed("N", "Channels of the input.")] = None,
    out_channels: Annotated[int | None, typed("N", "Channels of the output.")] = None,
    repeats: Annotated[int | None, typed("N", "A time is the median of so many.")] = None,
    dataset: Dataset = None,
    image: Annotated[int | None, typed("INDEX", "Which training image is drawn.")] = None,
    data_dir: DataDir = None,
    fail_on_failure: Annotated[bool, fail_when("PyTorch disagrees")] = False,
) -> None:
    """Count and time a convolution under several strides, and show what they keep (2c).

    Examples:
        midterm conv stride --stride 2 --stride 2x1
        midterm conv stride --dataset synthetic --image 3
    """


@experiment_command("conv_stack", conv_app, "stack")
def conv_stack(
    channels: Annotated[int | None, typed("N", "Channels of the input.")] = None,
    size: _Size = None,
    sentence: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="A sentence as input: one position a word."),
    ] = None,
    position: Annotated[
        str | None, typed("HxW", "Which output of the last map is traced to its inputs.")
    ] = None,
    network_file: Annotated[
        str | None,
        typer.Option(
            "--network",
            metavar="FILE.py:NAME",
            help="A class of torch.nn.Module, or a function that returns one, in place of layers. "
            "The file is executed.",
        ),
    ] = None,
    fail_on_failure: Annotated[bool, fail_when("PyTorch disagrees")] = False,
) -> None:
    """Follow a network layer by layer: shapes, costs, and which inputs an output sees (1b).

    Examples:
        midterm conv stack --config text/conv_stack
        midterm conv stack --channels 3 --size 32
    """


@experiment_command("pool", pool_app, "cost")
def pool_cost(
    kind: Annotated[str | None, typer.Option(metavar="NAME", help="max or average.")] = None,
    size: _Size = None,
    channels: Annotated[int | None, typed("N", "Channels of the input.")] = None,
    kernel_size: _Kernel = None,
    stride: _Stride = None,
    padding: _Padding = None,
    dilation: _Dilation = None,
    ceil_mode: Annotated[bool | None, _CEIL_MODE] = None,
    fail_on_failure: Annotated[bool, fail_when("PyTorch disagrees")] = False,
) -> None:
    """Compute the output of a pooling and the operations that it takes (2d).

    Examples:
        midterm pool cost --kernel 3x2 --padding 3x2
        midterm pool cost --kind average --stride 2
    """


@experiment_command("pool_min", pool_app, "min")
def pool_min(
    size: _Size = None,
    input: Annotated[
        str | None, typed("ROWS", "The input, such as [[1, 2], [3, 4]]. Without it: a random one.")
    ] = None,
    kernel_size: _Kernel = None,
    stride: _Stride = None,
    padding: _Padding = None,
    dilation: _Dilation = None,
    ceil_mode: Annotated[bool | None, _CEIL_MODE] = None,
    fail_on_failure: Annotated[bool, fail_when("a value or a gradient differs")] = False,
) -> None:
    """Take a minimum by -maxpool(-x), checked against a direct minimum (1c).

    Examples:
        midterm pool min --input "[[3, 1], [2, 4]]" --kernel 2 --padding 0
        midterm pool min --size 6 --kernel 3
    """
