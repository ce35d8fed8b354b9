"""`midterm grid`: an experiment at every combination of some values, in one process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midterm_cli import terminal
from midterm_cli.cli.exit_codes import DONE, FAILED
from midterm_cli.cli.options import (
    Address,
    Assignments,
    ConfigFile,
    DataDir,
    LauncherName,
    Retries,
    SchedulerFile,
    fail_when,
    folder,
)
from midterm_cli.cli.program import (
    app,
    print_out,
    print_path,
)
from midterm_cli.text import printable

if TYPE_CHECKING:
    from midterm_cli.runner.document import Run


@app.command("grid")
def grid(
    ctx: typer.Context,
    experiment: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Such as train.")],
    axes: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE,VALUE,…",
            help="Values of a config key; one that is a list stands in brackets: "
            "hidden_sizes=[64,32],[128].",
        ),
    ],
    config: ConfigFile = None,
    assignments: Assignments = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            parser=folder,
            help="Folder of the run folders, and of the figure. Without it: outputs/EXPERIMENT "
            "and outputs/grid, where a figure of the same keys is replaced.",
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            "--network", metavar="FILE.py:NAME", help="A network in Python, whose code is run."
        ),
    ] = None,
    data_dir: DataDir = None,
    launcher: LauncherName = None,
    address: Address = None,
    scheduler_file: SchedulerFile = None,
    retries: Retries = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the table as JSON, and nothing else.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress; print the run folders alone.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Compute every point again; with --resume, those that are not current."
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a point that is not finished.")
    ] = False,
    fail_on_failure: Annotated[bool, fail_when("a point fails")] = False,
) -> int:
    """Run an experiment at every combination of values: a run folder each, a table, a figure.

    What is finished is not computed again. The table is that of midterm compare for train and
    lr-sweep, which have a figure as well.

    Examples:
        midterm grid train lr=1e-3,2e-3 batch_size=8,32
        midterm grid lr_sweep activation=relu,tanh --set num_seeds=4
    """
    from midterm_cli.config.resolve import meant
    from midterm_cli.launch import options as launch
    from midterm_cli.runner.make import make
    from midterm_cli.runs import grid as grids

    name = meant(experiment, None)
    values = grids.axes(axes)
    points = grids.points(name, values, config, assignments or (), network)
    terminal.warn(note for point in points for note in point.notes)
    cluster = launch.choose(launcher, address, scheduler_file, retries)
    runs = []
    for place, point in enumerate(points, start=1):
        run_folder = grids.folder_of(point, output)
        if not quiet:
            terminal.say(f"{place}/{len(points)} {printable(run_folder)}")
        run = make(
            point,
            command=ctx.obj,
            output=run_folder,
            data_dir=data_dir,
            quiet=quiet,
            force=force,
            resume=resume,
            cluster=cluster,
        )
        terminal.warn(f"{run.name}: {printable(line)}" for line in run.warnings)
        if quiet and not json:
            print_path(run.folder)
        runs.append(run)
    if json or not quiet:
        figure = (output or Path("outputs", "grid")) / f"{','.join([name, *values])}.png"
        _compare(runs, figure, json)
    return FAILED if fail_on_failure and any(run.failed for run in runs) else DONE


def _compare(runs: list[Run], figure: Path, json: bool) -> None:
    """Print the table of the runs; write their figure, if they have one, and print its path."""
    from midterm_cli.figure import to_png
    from midterm_cli.files import replace_file
    from midterm_cli.runner.document import to_json
    from midterm_cli.runs import rows
    from midterm_cli.runs.compare import compare_runs, is_comparable
    from midterm_cli.runs.compare_figure import figure_of

    if not is_comparable(runs[0]):
        found = rows.observations(runs, rows.SCALARS)
        print_out(
            to_json({"experiment": runs[0].experiment.name, "rows": found})
            if json
            else rows.text(found),
            is_json=json,
        )
        return
    comparison = compare_runs(runs)
    text = to_json(comparison.document()) if json else comparison.table(comparison.lines())
    print_out(text, is_json=json)
    if not json:
        replace_file(figure, to_png(figure_of(comparison)))
        print_path(figure)
