"""The commands of `midterm config`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midterm_cli import files, terminal
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
        midterm config list | grep sweep
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
            help="Or a packaged preset, a YAML file or a run. Without it: what --config says.",
        ),
    ] = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the config as JSON, and nothing else.")
    ] = False,
) -> None:
    """Show the resolved config as YAML: where each value comes from, and what its key is.

    Examples:
        midterm config show train --set lr=2e-3
        midterm config show outputs/train/default
        midterm config show reference/train --json
    """
    from midterm_cli.config.presets import presets
    from midterm_cli.config.resolve import annotated, meant, plain, resolve
    from midterm_cli.registry import EXPERIMENTS
    from midterm_cli.runner.document import to_json

    is_name = experiment is None or experiment.replace("-", "_") in EXPERIMENTS
    if experiment and not is_name and (experiment in presets() or files.exists(Path(experiment))):
        config, experiment = [experiment, *(config or ())], None
    resolved = resolve(meant(experiment, config[0] if config else None), config, assignments or ())
    terminal.warn(resolved.notes)
    print_out(to_json(plain(resolved.config)) if json else annotated(resolved), is_json=json)


@config_app.command("validate")
def config_validate(
    file: Annotated[str, typer.Argument(metavar="FILE", help="YAML file, or a packaged preset.")],
    experiment: Annotated[
        str | None,
        typer.Option("--experiment", metavar="NAME", help="Without it: the one that FILE says."),
    ] = None,
) -> None:
    """Check a config without running it.

    Examples:
        midterm config validate my.yaml --experiment train
        midterm config validate outputs/train/default/config.yaml
    """
    from midterm_cli.config.resolve import meant, resolve

    name = meant(experiment, file)
    terminal.warn(resolve(name, file).notes)
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
