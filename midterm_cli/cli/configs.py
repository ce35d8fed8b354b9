"""The commands of `midterm config`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midterm_cli.cli.options import Assignments, ConfigFile, Force
from midterm_cli.cli.program import app, new_app, print_out, print_path
from midterm_cli.runner.terminal import printable

config_app = new_app(
    help="List, show, check and copy the YAML files that the experiments run from."
)
app.add_typer(config_app, name="config")


@config_app.command("list")
def config_list() -> None:
    """List the packaged configs, each with what it shows."""
    from midterm_cli.runner import config as configs

    names = configs.presets()
    width = max(map(len, names))
    for name in names:
        print_out(f"{name:{width}}  {configs.headline(name)}".rstrip() + "\n")


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
    from midterm_cli.runner import config as configs
    from midterm_cli.runner.experiments import EXPERIMENTS

    if config is None and experiment in set(configs.presets()) - set(EXPERIMENTS):
        experiment, config = None, experiment
    name = configs.experiment_of(experiment, config)
    print_out(configs.annotated(configs.resolve(name, config, assignments or ())))


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
    """Check a config without running it."""
    from midterm_cli.runner import config as configs

    name = configs.experiment_of(experiment, file)
    configs.resolve(name, file)
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
    """Copy a packaged config, to be edited and given to --config."""
    from midterm_cli.runner import record

    print_path(record.copy_preset(preset, destination, force))
