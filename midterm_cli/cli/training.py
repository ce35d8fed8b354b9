"""The options that the commands which train networks share, each declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from midterm_cli.cli.options import (
    Address,
    DataDir,
    Dataset,
    LauncherName,
    Retries,
    SchedulerFile,
    typed,
)

Declaration = Callable[..., Mapping[str, Any] | None]


def problem(
    num_seeds: Annotated[
        int | None, typed("N", "Number of seeds, computed side by side.", "--seeds")
    ] = None,
    batch_size: Annotated[
        int | None, typed("N", "Examples in a minibatch.", "--batch-size")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            metavar="NAME",
            help="mlp; a packaged config or a YAML file with layers, such as conv_stack; or "
            "FILE.py:NAME, a torch.nn.Module, whose code is run.",
        ),
    ] = None,
    hidden_sizes: Annotated[
        str | None,
        typed("N,N,…", "Widths of the hidden layers of an mlp: 64,32.", "--hidden-sizes"),
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(
            "--activation",
            metavar="NAME",
            help="Of an mlp: relu, identity, tanh, sigmoid, leaky_relu or gelu.",
        ),
    ] = None,
    normalize: Annotated[
        str | None,
        typer.Option("--normalize", metavar="NAME", help="Of the pixels: none, unit or standard."),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option("--optimizer", metavar="NAME", help="sgd, adam, adamw or rmsprop."),
    ] = None,
    momentum: Annotated[float | None, typed("NUMBER", "Of sgd and rmsprop, in [0, 1).")] = None,
    nesterov: Annotated[
        bool | None, typer.Option("--nesterov/--no-nesterov", help="Nesterov's momentum, of sgd.")
    ] = None,
    weight_decay: Annotated[
        float | None,
        typed("NUMBER", "Added to the gradient; decoupled with adamw.", "--weight-decay"),
    ] = None,
    dataset: Dataset = None,
    gradients: Annotated[
        str | None,
        typer.Option(
            "--gradients", metavar="NAME", help="How they are computed: closed_form or autograd."
        ),
    ] = None,
    data_dir: DataDir = None,
    launcher: LauncherName = None,
    address: Address = None,
    scheduler_file: SchedulerFile = None,
    retries: Retries = None,
) -> None:
    """Options of every experiment that trains networks: what is trained, and where."""


def schedule(
    epochs: Annotated[int | None, typed("N", "Epochs of a run.")] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            metavar="NAME",
            help="Of the learning rate, which is its peak: constant, linear, cosine or step.",
        ),
    ] = None,
    warmup: Annotated[float | None, typed("EPOCHS", "Over which the learning rate rises.")] = None,
) -> None:
    """Options of an experiment whose learning rate follows a schedule."""


def with_options(*shared: Callable[..., None]) -> Callable[[Declaration], Declaration]:
    """Add the parameters of shared declarations to those of a command's own."""

    def compose(declaration: Declaration) -> Declaration:
        signature = inspect.signature(declaration, eval_str=True)
        own = signature.parameters

        def composed(**values: Any) -> Mapping[str, Any] | None:
            return declaration(**{key: values[key] for key in own})

        added = [
            parameter
            for options in shared
            for parameter in inspect.signature(options, eval_str=True).parameters.values()
        ]
        composed.__doc__ = declaration.__doc__
        # As in experiment_command: inspect reads the signature from here.
        composed.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own.values(), *added]
        )
        return composed

    return compose
