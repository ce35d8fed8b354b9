"""Commands on finished runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from midterm_cli import terminal
from midterm_cli.cli.exit_codes import DONE, FAILED
from midterm_cli.cli.options import expand_globs, folder
from midterm_cli.cli.program import app, print_out, print_path, require_png
from midterm_cli.errors import UserError
from midterm_cli.figure import DPI, Format
from midterm_cli.text import printable


class RowFormat(StrEnum):
    """How the rows of a table are written."""

    CSV = "csv"
    JSON = "json"
    MD = "md"


@app.command("draw")
def draw(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    form: Annotated[Format, typer.Option("--format", help="Of the files.")] = Format.PNG,
    dpi: Annotated[
        int | None,
        typer.Option("--dpi", min=10, max=2400, metavar="N", help=f"Of a png. Without it: {DPI}."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Do not print the paths of the figures.")
    ] = False,
) -> None:
    """Draw the figures of a finished run again, without computing it again.

    They lie in its folder.

    Examples:
        midterm draw outputs/train/default --dpi 300
        midterm draw outputs/train/default --format pdf
    """
    from midterm_cli.runner import make

    if dpi is not None and form is not Format.PNG:
        raise UserError(f"--dpi is of a png: leave it out, a {form} is drawn in lines")
    for path in make.draw(run, form, dpi or DPI):
        if not quiet:
            print_path(path)


@app.command("compare")
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            callback=expand_globs,
            help="Folders of finished runs, or folders that hold some: all of train, or all of "
            "lr-sweep.",
        ),
    ],
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="KEY",
            help="Config key by which the runs are compared. Without it: the key in which they "
            "differ, if it is a single one.",
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="COLUMN",
            help="Sort the lines of the table by this column; -COLUMN puts the largest first.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PNG",
            help="The figure's file; it is replaced. Without it: outputs/compare/curves.png for "
            "runs of train, outputs/compare/sweeps.png for sweeps.",
        ),
    ] = None,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print the table as CSV, and nothing else.")
    ] = False,
    md: Annotated[
        bool, typer.Option("--md", help="Print the table as Markdown, and nothing else.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the table as JSON, and nothing else.")
    ] = False,
) -> None:
    """Put finished runs side by side: a table, and their curves in one figure.

    The table and then the figure's path are printed. Means are over the n seeds whose value is
    finite, each with its standard deviation, sd.

    Examples:
        midterm compare outputs/train
        midterm compare outputs/train --by lr --sort -test_accuracy
        midterm compare outputs/lr_sweep --csv
    """
    from midterm_cli.figure import glyph_note, to_png
    from midterm_cli.files import replace_file
    from midterm_cli.runner.document import to_json
    from midterm_cli.runs import compare as comparing
    from midterm_cli.runs.compare_figure import figure_of
    from midterm_cli.runs.rows import written

    if csv + md + json > 1:
        raise UserError("--csv, --md and --json each say what is printed: give one of them")
    comparison = comparing.compare(runs, by)
    terminal.warn(note for run in comparison.runs for note in run.notes)
    stem = "curves" if comparison.trainings else "sweeps"
    output = output or Path("outputs", "compare", f"{stem}.png")
    require_png(output)
    lines = comparison.lines()
    if sort is not None:
        lines = comparing.sort(lines, sort)
    if json:
        print_out(to_json(comparison.document()), is_json=True)
    elif csv:
        print_out(written(lines, "csv"))
    elif md:
        print_out(comparison.markdown(lines))
    else:
        print_out(comparison.table(lines))
    figure = figure_of(comparison)
    terminal.say_all(f"Note: {note}" for note in glyph_note([figure]))
    replace_file(output, to_png(figure))
    if not (csv or md or json):
        print_path(output)


@app.command("export")
def export(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Folders of finished runs, or folders that hold some.",
            callback=expand_globs,
        ),
    ],
    format: Annotated[
        RowFormat | None,
        typer.Option(help="Results, a row an observation, instead of weights."),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            metavar="NAME",
            help="Which rows: a list of the results, such as history, trials or rates; or results, "
            "the single numbers in one row. Without it: the observations of the experiment.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help="Whose weights. Without it: the first."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="NAME", help="raw, or ema for an average.")
    ] = None,
    gamma: Annotated[
        float | None,
        typer.Option("--gamma", metavar="NUMBER", help="Of the average, where there are several."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="It is replaced. Without it: RUN-seedN-WEIGHTS.pt in the current folder, and "
            "stdout for rows.",
        ),
    ] = None,
) -> None:
    """Write the weights of one seed of train as a state_dict, or the results of runs as a table.

    The state_dict is for load_state_dict of the plain network, whose inputs are
    (pixels - mean) · factor, both of which are in checkpoint.pt. With --format each row of a table
    has its run and the config keys in which the runs differ.

    Examples:
        midterm export outputs/train/default --seed 0 --weights ema
        midterm export outputs/train --format csv --output history.csv
        midterm export outputs/lr_sweep/default --format json --table rates
    """
    if format is not None:
        if (seed, weights, gamma) != (None, None, None):
            raise UserError("--seed, --weights and --gamma are of weights: leave out --format")
        _export_rows(runs, format, table, output)
        return
    if table is not None:
        raise UserError("--table is of rows: say how they are written, by --format csv")
    if len(runs) > 1:
        raise UserError("the weights of one run at a time; --format csv exports rows of several")
    _export_weights(runs[0], seed, weights or "raw", gamma, output)


def _export_rows(runs: list[Path], form: RowFormat, table: str | None, output: Path | None) -> None:
    from midterm_cli.files import replace_file
    from midterm_cli.runner import document
    from midterm_cli.runs.find import expand
    from midterm_cli.runs.rows import observations, written

    found = [document.read(path) for path in expand(runs)]
    terminal.warn(note for run in found for note in run.notes)
    text = written(observations(found, table), form.value)
    if output is None:
        print_out(text, is_json=form.value == "json")
    else:
        replace_file(output, text.encode())
        print_path(output)


def _export_weights(
    run: Path, seed: int | None, weights: str, gamma: float | None, output: Path | None
) -> None:
    from midterm_cli.files import replace_file, run_folder
    from midterm_cli.runner.saved import tensor_bytes
    from midterm_cli.runs.weights import state_dict

    state = state_dict(run, seed, weights, gamma)
    of_seed = "" if seed is None else f"-seed{seed}"
    path = output or Path(f"{run_folder(run).resolve().name}{of_seed}-{weights}.pt")
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

    Examples:
        midterm check
        midterm check outputs/lr_sweep/reference --json
    """
    from midterm_cli.config.presets import expected_file
    from midterm_cli.runner.document import to_json
    from midterm_cli.runs import check as checking
    from midterm_cli.runs import expected as expectations

    wanted = expectations.load(expected or expected_file())
    report = checking.check(runs or [Path("outputs")], wanted)
    terminal.warn(report.notes)
    if not runs:
        for missing in report.without_run:
            name, command = map(printable, (missing.name, missing.command))
            terminal.say(f"No run for {name}: {command}")
    print_out(to_json(report.document()) if json else report.table(), is_json=json)
    return DONE if report.ok else FAILED


@app.command("schema")
def schema(
    experiment: Annotated[
        str | None,
        typer.Argument(metavar="[EXPERIMENT]", help="Without it: of all experiments, in one."),
    ] = None,
) -> None:
    """Print the JSON Schema of metrics.json.

    Examples:
        midterm schema
        midterm schema train
    """
    from midterm_cli.config.resolve import meant
    from midterm_cli.runner import document

    names = None if experiment is None else [meant(experiment, None)]
    print_out(document.to_json(document.schema(names)), is_json=True)


@app.command("report")
def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Folders of finished runs, or folders that hold some, at any depth. Without them: "
            "outputs.",
            callback=expand_globs,
        ),
    ] = None,
    title: Annotated[
        str | None, typer.Option("--title", metavar="TEXT", help="Above the report.")
    ] = None,
    author: Annotated[
        str | None, typer.Option("--author", metavar="TEXT", help="Below the title.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="PARTS", help="Parts of the exercise, such as 1,3."),
    ] = None,
    short: Annotated[
        bool,
        typer.Option(
            "--short", help="Answers and figures, without derivations, tables and the publication."
        ),
    ] = False,
    pdf: Annotated[
        bool,
        typer.Option("--pdf", help="Print report.pdf as well, with Chromium, Chrome or Edge."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            parser=folder,
            help="Folder for index.html and report.md, which are replaced. Without it: report/ in "
            "the folder of runs, or in outputs.",
        ),
    ] = None,
    runs_dir: Annotated[Path | None, typer.Option("--runs", hidden=True, help="As RUN.")] = None,
) -> None:
    """Write the report on finished runs: one HTML file, and the same in Markdown.

    A question is answered by the run with its parameters, or by one with others, and then it says
    in which they differ; other runs follow. Of runs with one config the newest is reported.
    Questions without a run are named with the command that answers them.

    Examples:
        midterm report
        midterm report outputs --author "Ada Lovelace" --only 1,3 --short --pdf
    """
    from midterm_cli.report import write as writing
    from midterm_cli.report.markdown import TITLE, Form
    from midterm_cli.report.runs import PARTS

    form = Form(
        title=TITLE if title is None else title,
        author=author,
        parts=PARTS if only is None else writing.parts(only),
        short=short,
    )
    paths = [*(runs or []), *([runs_dir] if runs_dir else [])] or [Path("outputs")]
    for path in writing.write(paths, output, form, pdf):
        print_path(path)
