"""Options that several commands share."""

from __future__ import annotations

import glob
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from midterm_cli import files
from midterm_cli.cli.exit_codes import FAILED
from midterm_cli.errors import UserError
from midterm_cli.files import with_home
from midterm_cli.text import printable

_MOST_BYTES = 10_000
"""Of a formula in a file; it has at most 1,000 characters."""
_FILE_SUFFIXES = {".png", ".pdf", ".svg", ".json", ".html", ".csv", ".md"}


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
        is_pattern = glob.has_magic(str(path)) and not files.exists(path)
        matches = sorted(map(Path, glob.glob(str(path)))) if is_pattern else []  # noqa: PTH207 (a whole path)
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
        help=f"{text} A .npy or .csv file, a .yaml file with the key {key}, or numbers, "
        "rows between semicolons. Without it: a random one.",
        metavar="NUMBERS",
        parser=read,
    )


def text(what: str) -> Any:
    """Declare an option for a text, also from a file or from stdin."""
    return typer.Option(
        help=f"{what} @FILE and - (stdin) are read.", metavar="TEXT", parser=_typed_or_read
    )


def _typed_or_read(given: str) -> str:
    if given == "-":
        name, content = "stdin", sys.stdin.buffer.read(_MOST_BYTES + 1)
    elif given.startswith("@"):
        name, path = printable(given[1:]), Path(with_home(given[1:]))
        if not files.is_file(path):
            raise UserError(f"{name} is not a file: name a text file after the @")
        try:
            with path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise UserError(f"cannot read {name}: {error.strerror}") from None
    else:
        return given
    if len(content) > _MOST_BYTES:
        raise UserError(f"{name} is larger than {_MOST_BYTES:,} bytes: that is not a formula")
    try:
        read = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 text: {error.reason}") from None
    if not read:
        raise UserError(f"{name} is empty: write a formula into it")
    return read


def folder(given: str) -> Path:
    """Refuse a folder that is named as a file, unless it is there.

    For the parser of --output.
    """
    path = Path(given)
    if path.suffix.lower() in _FILE_SUFFIXES and not files.is_folder(path):
        raise UserError(
            f"--output names a folder, and {printable(path)} a file: "
            f"write --output {printable(path.with_suffix(''))}"
        )
    return path


ConfigFile = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="YAML file with keys to change, or a packaged preset (see: midterm config list). "
        "Repeatable: a later one wins.",
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
        help="Folder that holds FashionMNIST/raw, MNIST/raw and so on. Without it: ./data if it "
        "has FashionMNIST, else data/ of the checkout that midterm runs from, else midterm/ in the "
        "user's cache.",
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME",
        help="fashion_mnist, synthetic, mnist, kmnist or emnist-letters; an .npz file with "
        "x_train, y_train, x_test, y_test; a .csv file with a label and pixels a row, its "
        "_test.csv beside; or a folder of IDX files, plain or .gz.",
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
