"""Options that several commands share."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Annotated, Any

import typer

from midterm_cli.cli.program import FAILED
from midterm_cli.errors import UserError
from midterm_cli.text import printable


def _number(text: str) -> Any:
    """A number as YAML reads it; anything else goes on, for the config to name its key."""
    from midterm_cli.config import yaml as yaml_text

    try:
        value = yaml_text.parse(text, "the command line")
    except UserError:
        return text
    return text if value is None else value


def typed(metavar: str, text: str, *names: str) -> Any:
    """Declare an option for a number; what is not one is left for the config to name its key."""
    return typer.Option(*names, help=text, metavar=metavar, parser=_number)


def expand_globs(paths: list[Path] | None) -> list[Path] | None:
    """Expand patterns such as outputs/train/*, which the shell of Windows leaves as they are.

    Only in what does not exist, and where something matches: what is left is named by the command.
    """
    found: list[Path] = []
    for path in paths or ():
        is_pattern = glob.has_magic(str(path)) and not path.exists()
        matches = sorted(map(Path, glob.glob(str(path)))) if is_pattern else []  # noqa: PTH207
        found += matches or [path]
    return found or None


def array(key: str, text: str) -> Any:
    """Declare an option for numbers: in brackets, in a YAML file, or in a file for the part."""

    def read(given: str) -> Any:
        from midterm_cli.config import yaml as yaml_text

        if given.endswith((".yaml", ".yml")):
            values = yaml_text.load_file(Path(given))
            if key not in values:
                raise UserError(f"{printable(given)} has no key {key}: put the numbers under {key}")
            return values[key]
        return _number(given) if given.startswith("[") else given

    return typer.Option(
        help=f"{text} A .npy or .csv file, a .yaml file with the key {key}, or numbers in "
        "brackets. Without it: a random one.",
        metavar="FILE",
        parser=read,
    )


ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="YAML file with keys to change, or a packaged preset (see: midterm config list).",
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one key, after --config; a dotted KEY is a nested one. Repeatable.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="MIDTERM_DATA_DIR",
        metavar="DIR",
        help="Folder that holds FashionMNIST/raw. Without it: ./data if it has FashionMNIST, "
        "else data/ of the checkout that midterm runs from, else midterm/ in the user's cache.",
    ),
]
Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NAME",
        help="mlp; a packaged config or a YAML file with layers, such as conv_stack; or "
        "FILE.py:NAME, a torch.nn.Module, whose code is run.",
    ),
]
HiddenSizes = Annotated[
    str | None, typed("N,N,…", "Widths of the hidden layers of an mlp: 64,32.", "--hidden-sizes")
]
Activation = Annotated[
    str | None,
    typer.Option(
        "--activation",
        metavar="NAME",
        help="Of an mlp: relu, identity, tanh, sigmoid, leaky_relu or gelu.",
    ),
]
Optimizer = Annotated[
    str | None,
    typer.Option("--optimizer", metavar="NAME", help="sgd, adam, adamw or rmsprop."),
]
Momentum = Annotated[float | None, typed("NUMBER", "Of sgd and rmsprop, in [0, 1).")]
Nesterov = Annotated[
    bool | None, typer.Option("--nesterov/--no-nesterov", help="Nesterov's momentum, of sgd.")
]
WeightDecay = Annotated[
    float | None, typed("NUMBER", "Added to the gradient; decoupled with adamw.", "--weight-decay")
]
Schedule = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        metavar="NAME",
        help="Of the learning rate, which is its peak: constant, linear, cosine or step.",
    ),
]
Warmup = Annotated[float | None, typed("EPOCHS", "Over which the learning rate rises.")]
Normalize = Annotated[
    str | None,
    typer.Option("--normalize", metavar="NAME", help="Of the pixels: none, unit or standard."),
]
BatchSize = Annotated[int | None, typed("N", "Examples in a minibatch.", "--batch-size")]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset", metavar="NAME", help="fashion_mnist, synthetic, or a folder of IDX files."
    ),
]
Gradients = Annotated[
    str | None,
    typer.Option(
        "--gradients", metavar="NAME", help="How they are computed: closed_form or autograd."
    ),
]
Dtype = Annotated[
    str | None, typer.Option("--dtype", metavar="NAME", help="Arithmetic, such as float32.")
]
Range = Annotated[
    tuple[float, float] | None,
    typed("LO HI", "Ends of the figure's axis.", "--range"),
]
Threshold = Annotated[float | None, typed("T", "Where f_T leaves 0, on both sides; above 0.")]


def fail_when(what: str) -> Any:
    """Declare --fail-on-failure for an experiment that fails when `what`."""
    return typer.Option("--fail-on-failure", help=f"Exit {FAILED} when {what}, after recording.")


LauncherName = Annotated[
    str | None,
    typer.Option(
        "--launcher", metavar="NAME", help="Where to compute: local or dask. No result changes."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="URL",
        help="The Dask scheduler, such as tcp://10.0.0.1:8786. Without it: --scheduler-file, or "
        "DASK_SCHEDULER_ADDRESS.",
    ),
]
SchedulerFile = Annotated[
    Path | None,
    typer.Option(
        "--scheduler-file", metavar="FILE", help="The file in which a Dask scheduler says where."
    ),
]
Retries = Annotated[
    int | None,
    typed("N", "How often Dask computes a group again that failed.", "--retries"),
]
FailOnFailure = Annotated[bool, fail_when("training fails")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is already there.")]
