"""Commands on finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midterm_cli import terminal
from midterm_cli.cli.options import expand_globs
from midterm_cli.cli.program import DONE, FAILED, app, print_out, print_path, require_png
from midterm_cli.text import printable


@app.command("draw")
def draw(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Do not print the paths of the figures.")
    ] = False,
) -> None:
    """Draw the figures of a finished run again, without computing it again."""
    from midterm_cli.run import make

    for path in make.draw(run):
        if not quiet:
            print_path(path)


@app.command("compare")
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            callback=expand_globs,
            help="Folders of finished runs, all of train or all of lr-sweep.",
        ),
    ],
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="KEY",
            help="Config key to sort by. Without it: the key in which the runs differ, if it is "
            "a single one.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="PNG",
            help="The figure's file; it is replaced. Without it: outputs/compare/curves.png for "
            "runs of train, outputs/compare/sweeps.png for sweeps.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the table as JSON, and nothing else.")
    ] = False,
) -> None:
    """Put finished runs side by side: a table, and their curves in one figure.

    The table and then the figure's path are printed; means are over seeds, ± standard deviation.
    """
    from midterm_cli.figure import to_png
    from midterm_cli.files import replace_file
    from midterm_cli.run.document import to_json
    from midterm_cli.runs import compare as comparing
    from midterm_cli.runs import compare_figure, compare_sweeps

    comparison = comparing.compare(runs, by)
    terminal.say_all(f"Warning: {note}" for run in comparison.runs for note in run.notes)
    are_trainings = bool(comparison.trainings)
    output = output or Path("outputs/compare", "curves.png" if are_trainings else "sweeps.png")
    require_png(output)
    print_out(to_json(comparison.document()) if json else comparison.table())
    draw = compare_figure.draw if are_trainings else compare_sweeps.draw
    replace_file(output, to_png(draw(comparison)))
    if not json:
        print_path(output)


@app.command("export")
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run of train.")],
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Whose. Without it: the first.")
    ] = None,
    weights: Annotated[
        str, typer.Option("--weights", metavar="NAME", help="raw, or ema for an average.")
    ] = "raw",
    gamma: Annotated[
        float | None,
        typer.Option("--gamma", metavar="NUMBER", help="Of the average, where there are several."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="It is replaced. Without it: RUN-seedN-WEIGHTS.pt in the current folder.",
        ),
    ] = None,
) -> None:
    """Write the weights of one seed as a state_dict, for load_state_dict of the plain network.

    Its inputs are (pixels - mean) · factor, both of which are in checkpoint.pt.
    """
    from midterm_cli.files import replace_file
    from midterm_cli.run.saved import tensor_bytes
    from midterm_cli.runs.weights import state_dict

    state = state_dict(run, seed, weights, gamma)
    of_seed = "" if seed is None else f"-seed{seed}"
    path = output or Path(f"{run.resolve().name}{of_seed}-{weights}.pt")
    replace_file(path, tensor_bytes(state))
    print_path(path)


@app.command("check")
def check(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN]...",
            callback=expand_globs,
            help="Folders of finished runs, or folders that hold some, at any depth: of those, the "
            "ones that failed or of which something is expected. Without them: outputs.",
        ),
    ] = None,
    expected: Annotated[
        Path | None,
        typer.Option(
            "--expected",
            metavar="FILE",
            help="What is expected. Without it: the published and measured numbers.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the findings as JSON, and nothing else.")
    ] = False,
) -> int:
    """Check finished runs against the published and measured numbers, by intervals.

    The exit code is 3 where a run failed, is not as expected, or cannot be read.
    """
    from midterm_cli.config.presets import expected_file
    from midterm_cli.run.document import to_json
    from midterm_cli.runs import check as checking
    from midterm_cli.runs import expected as expectations

    wanted = expectations.load(expected or expected_file())
    report = checking.check(runs or [Path("outputs")], wanted)
    terminal.say_all(f"Warning: {note}" for note in report.notes)
    if not runs:
        for missing in report.without_run:
            name, command = map(printable, (missing.name, missing.command))
            terminal.say(f"No run for {name}: {command}")
    print_out(to_json(report.document()) if json else report.table())
    return DONE if report.ok else FAILED


@app.command("schema")
def schema(
    experiment: Annotated[
        str | None,
        typer.Argument(metavar="[EXPERIMENT]", help="Without it: of all experiments, in one."),
    ] = None,
) -> None:
    """Print the JSON Schema of metrics.json."""
    from midterm_cli.config.resolve import meant
    from midterm_cli.run import document

    names = None if experiment is None else [meant(experiment, None)]
    print_out(document.to_json(document.schema(names)))


@app.command("report")
def report(
    runs: Annotated[
        Path, typer.Option("--runs", metavar="DIR", help="Folder that holds EXPERIMENT/NAME.")
    ] = Path("outputs"),
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="DIR",
            help="Folder for index.html and report.md, which are replaced. Without it: report/ in "
            "the folder of runs.",
        ),
    ] = None,
) -> None:
    """Write the report on finished runs: one HTML file, and the same in Markdown.

    Questions without a run are named with the command that answers them.
    """
    from midterm_cli.report.write import write

    print_path(write(runs, output or runs / "report"))
