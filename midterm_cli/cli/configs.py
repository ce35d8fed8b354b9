"""The commands of `midterm config`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midterm_cli import terminal
from midterm_cli.cli.options import Assignments, ConfigFile, Force
from midterm_cli.cli.program import app, new_app, print_out, print_path
from midterm_cli.text import printable

config_app = new_app(
    help="List, show, check and copy the YAML files that the experiments run from."
)
app.add_typer(config_app, name="config")


@config_app.command("list")
def config_list() -> None:
    """List the packaged configs, each with what it shows.

    Examples:
        midterm config list
    """
    from midterm_cli.config.presets import headline, presets

    names = presets()
    width = max(map(len, names))
    for name in names:
        print_out(f"{name:{width}}  {headline(name)}".rstrip() + "\n")


@config_app.command("show")
def config_show(
    ctx: typer.Context,
    experiment: Annotated[
        str | None,
        typer.Argument(
            metavar="[EXPERIMENT]",
            help="Or a packaged preset. Without it: the one --config is named after.",
        ),
    ] = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Show the resolved config as YAML, with where each value comes from."""
    from midterm_cli.config.presets import presets
    from midterm_cli.config.resolve import annotated, meant, resolve
    from midterm_cli.registry import EXPERIMENTS

    if not config and experiment in set(presets()) - set(EXPERIMENTS):
        experiment, config = None, [str(experiment)]
    first = config[0] if config else None
    resolved = resolve(meant(experiment, first), config, assignments or ())
    terminal.say_all(f"Warning: {note}" for note in resolved.notes)
    print_out(annotated(resolved))


@config_app.command("validate")
def config_validate(
    file: Annotated[str, typer.Argument(metavar="FILE", help="YAML file, or a packaged preset.")],
    experiment: Annotated[
        str | None,
        typer.Option(
            "--experiment", metavar="NAME", help="Without it: the one FILE is named after."
        ),
    ] = None,
) -> None:
    """Check a config without running it.

    Examples:
        midterm config validate my.yaml --experiment train
        midterm config validate outputs/train/default/config.yaml
    """
    from midterm_cli.config.resolve import meant, resolve

    name = meant(experiment, file)
    terminal.say_all(f"Warning: {note}" for note in resolve(name, file).notes)
    print_out(f"{printable(file)} is valid for {name}\n")


@config_app.command("copy")
def config_copy(
    preset: Annotated[
        str, typer.Argument(metavar="PRESET", help="A name from: midterm config list.")
    ],
    destination: Annotated[
        Path | None,
        typer.Argument(metavar="[DEST]", help="File or folder. Without it: PRESET.yaml here."),
    ] = None,
    force: Force = False,
) -> None:
    """Copy a packaged config, to be edited and given to --config.

    Examples:
        midterm config copy train
        midterm config copy reference/lr_sweep my.yaml
    """
    from midterm_cli.config.presets import copy_preset

    print_path(copy_preset(preset, destination, force))
