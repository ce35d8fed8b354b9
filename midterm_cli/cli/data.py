"""The commands of `midterm data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midterm_cli.cli.exit_codes import DONE
from midterm_cli.cli.options import DataDir
from midterm_cli.cli.program import (
    app,
    new_app,
    print_out,
    print_path,
    require_png,
)
from midterm_cli.errors import UserError
from midterm_cli.text import printable

data_app = new_app(help="Get, check, convert and look at datasets.")
app.add_typer(data_app, name="data")


@data_app.command("fetch")
def data_fetch(
    source: Annotated[
        Path | None,
        typer.Option(
            "--source",
            metavar="DIR",
            help="Folder with the four IDX files, .gz or not. Without it: the first place that "
            "has them, the network last.",
        ),
    ] = None,
    data_dir: DataDir = None,
) -> int:
    """Get Fashion-MNIST, unless it is already there, and check it.

    Examples:
        midterm data fetch
        midterm data fetch --data-dir data --source ~/downloads/fashion
    """
    from midterm_cli import terminal
    from midterm_cli.data import datasets
    from midterm_cli.data.fetch import fetch
    from midterm_cli.runner import interrupt

    folder = datasets.data_dir(data_dir)
    try:
        with interrupt.unwinding():  # a download is in a temporary folder
            terminal.say(fetch(folder, source, terminal.say))
    except KeyboardInterrupt:
        terminal.say(
            f"Interrupted: {datasets.fetch_command(folder)} starts again with what is missing"
        )
        raise
    print_path(folder)
    return DONE


@data_app.command("verify")
def data_verify(data_dir: DataDir = None) -> int:
    """Hash the four files and compare with what they must be.

    Examples:
        midterm data verify
        midterm data verify --data-dir data
    """
    from midterm_cli.data import datasets

    folder = datasets.data_dir(data_dir)
    findings = datasets.verify(folder)
    for finding in findings:
        print_out(f"{'ok ' if finding.ok else 'BAD'} {finding.sha256 or '-':64} {finding.name}\n")
    bad = [finding for finding in findings if not finding.ok]
    if bad:
        first, command = bad[0], datasets.fetch_command(folder)
        raise UserError(
            f"{len(bad)} of {len(findings)} files in {printable(folder)} are bad: "
            f"{first.name}: {first.problem}\nget them again with: {command}"
        )
    return DONE


@data_app.command("convert")
def data_convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A dataset, as --dataset of train; or one without a test set."
        ),
    ],
    destination: Annotated[
        Path,
        typer.Argument(
            metavar="DEST", help="An .npz, or the folder of four IDX files; not there yet."
        ),
    ],
    test_share: Annotated[
        float | None,
        typer.Option(
            "--test-share",
            metavar="SHARE",
            min=0,
            max=1,
            help="Draw this share of SOURCE, which has no test set, as one.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, metavar="N", help="Of that draw; else 0.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Convert a dataset to IDX files or to .npz: the same pixels, labels and digest.

    A run on either says the same data_sha256. Where the dataset is from, and how it was split, is
    in source.txt or in the array source.

    Examples:
        midterm data convert mnist.npz my/mnist
        midterm data convert digits.csv digits.npz --test-share 0.2 --seed 1
    """
    from midterm_cli import terminal
    from midterm_cli.data import convert, datasets, idx

    if test_share is None and seed is not None:
        raise UserError("--seed is of the draw of --test-share, which is not given")
    if test_share is None:
        loaded = datasets.load(source, datasets.data_dir(data_dir))
    else:
        loaded = convert.split(Path(source), test_share, seed or 0)
    convert.write(loaded, destination)
    train, test = len(loaded.train.labels), len(loaded.test.labels)
    size = idx.times(loaded.train.images.shape[1:])
    terminal.say(
        f"{train:,} images to train on and {test:,} to test on, of {size} pixels, in "
        f"{loaded.num_classes} classes; from {printable(loaded.source)}; data_sha256 "
        f"{loaded.sha256}"
    )
    print_path(destination)


@data_app.command("show")
def data_show(
    dataset: Annotated[
        str, typer.Option(metavar="NAME", help="As in the config of train.")
    ] = "fashion_mnist",
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="PNG", help="The figure's file; it is replaced."),
    ] = Path("outputs/data/examples.png"),
    data_dir: DataDir = None,
) -> None:
    """Draw the first five training images with their labels.

    Examples:
        midterm data show
        midterm data show --dataset synthetic --output strip.png
    """
    from midterm_cli.data import datasets
    from midterm_cli.figure import to_png
    from midterm_cli.files import replace_file

    require_png(output)
    loaded = datasets.load(dataset, datasets.data_dir(data_dir))
    replace_file(output, to_png(datasets.draw_strip(loaded)))
    print_path(output)
