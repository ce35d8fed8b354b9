"""The commands of the four parts: each declares the options that are its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from midterm_cli.cli.experiment_command import experiment_command
from midterm_cli.cli.options import (
    Activation,
    DataDir,
    Dataset,
    Dtype,
    FailOnFailure,
    Gradients,
    Range,
    Threshold,
    array,
    fail_when,
    typed,
)
from midterm_cli.cli.program import app, new_app

softt_app = new_app(help="Soft-thresholding (Part 2 A, B).")
module_app = new_app(help="A differentiable module, M⁻¹ f_T(M x) (Part 2 C to E).")
app.add_typer(softt_app, name="softt")
app.add_typer(module_app, name="module")


@experiment_command("autodiff")
def autodiff(
    x: Annotated[list[float] | None, typed("NUMBER", "Where to differentiate. Repeatable.")] = None,
    formula: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="A derivative to be judged over the range, in x and the names of the expression.",
        ),
    ] = None,
    expression: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help='Another function, such as "sin(x**2)" or "u = x**2; f = sin(u)".',
        ),
    ] = None,
    range: Range = None,
    dtype: Dtype = None,
    symbolic: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Who differentiates for the symbolic method: builtin, midterm's own rules, or "
            "sympy, which takes longer to load.",
        ),
    ] = None,
    fail_on_failure: Annotated[bool, fail_when("the formula or a method is wrong")] = False,
) -> Mapping[str, Any] | None:
    """Differentiate a function by methods that check each other, and judge a formula (Part 1)."""
    # One x is a number in the config and in the results, as in the packaged default.
    return {"x": x[0]} if x is not None and len(x) == 1 else None


@experiment_command("softt", softt_app, "plot")
def softt_plot(
    threshold: Threshold = None,
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
    """Draw the soft-threshold and its derivative, by autograd and written out."""


@experiment_command("module", module_app, "grad")
def module_grad(
    threshold: Threshold = None,
    dimension: Annotated[int | None, typed("N", "Length of x.")] = None,
    matrix: Annotated[str | None, array("matrix", "M, symmetric and invertible.")] = None,
    x: Annotated[str | None, array("x", "The input.")] = None,
    dtype: Dtype = None,
    fail_on_failure: Annotated[bool, fail_when("a gradient is wrong")] = False,
) -> Mapping[str, Any] | None:
    """Compute the gradients of ‖x - g_T(x; M)‖² and hold them against three other ways."""
    given = matrix is not None or x is not None
    return {"dimension": None} if given and dimension is None else None


@experiment_command("train")
def train(
    lr: Annotated[float | None, typed("NUMBER", "Learning rate.")] = None,
    lr_from: Annotated[
        Path | None,
        typer.Option(
            "--lr-from", metavar="RUN", help="Take the learning rate that this sweep recommends."
        ),
    ] = None,
    epochs: Annotated[int | None, typed("N", "Passes over the training set.")] = None,
    batch_size: Annotated[int | None, typed("N", "Examples in a minibatch.")] = None,
    ema_gamma: Annotated[
        list[float] | None,
        typed("NUMBER", "Weight of the new value in averaged SGD, in (0, 1]. Repeatable."),
    ] = None,
    num_seeds: Annotated[
        int | None, typed("N", "Number of seeds, trained side by side.", "--seeds")
    ] = None,
    activation: Activation = None,
    dataset: Dataset = None,
    gradients: Gradients = None,
    data_dir: DataDir = None,
    fail_on_failure: FailOnFailure = False,
) -> None:
    """Train a perceptron by SGD and follow its averaged weights (Part 3 A, C)."""


@experiment_command("lr_sweep")
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
    num_seeds: Annotated[int | None, typed("N", "Runs at each learning rate.", "--seeds")] = None,
    epochs: Annotated[int | None, typed("N", "Passes of a run.")] = None,
    sharpness: Annotated[
        bool | None,
        typer.Option(
            "--sharpness/--no-sharpness",
            help="Draw 2/λ as well: λ the largest Hessian eigenvalue along a stable run.",
        ),
    ] = None,
    activation: Activation = None,
    dataset: Dataset = None,
    gradients: Gradients = None,
    data_dir: DataDir = None,
    fail_on_failure: Annotated[bool, fail_when("no failing rate is bracketed")] = False,
) -> None:
    """Find the learning rate at which training fails, over seeds (Part 3 B)."""
