"""How a command runs an experiment: the options that all of them have, and what is printed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from midterm_cli.cli.exit_codes import DONE, FAILED
from midterm_cli.cli.help import Command
from midterm_cli.cli.options import Assignments, ConfigFile, folder, typed
from midterm_cli.cli.program import (
    app,
    print_answer,
    print_out,
)
from midterm_cli.errors import UserError
from midterm_cli.text import printable

if TYPE_CHECKING:
    from midterm_cli.config.resolve import Layer
    from midterm_cli.experiment import ExperimentConfig
    from midterm_cli.runs.lr_from import Taken


@dataclass(frozen=True)
class Rows:
    """Rows that are printed instead of summary and folder.

    Attributes:
        key: of the config; without a value of it there are none.
        text: makes them from the results and the value of `format`.
    """

    key: str
    text: Callable[[Any, str | None], str]


def _run_experiment(
    experiment: str,
    own: Mapping[str, Any],
    implied: Mapping[str, Any],
    rows: Rows | None,
    *,
    ctx: typer.Context,
    config: ConfigFile = None,
    assignments: Assignments = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N."),
    ] = None,
    seed: Annotated[int | None, typed("N", "Seed of everything random.", "--seed")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            parser=folder,
            help="The run folder. Without it: outputs/EXPERIMENT/NAME, NAME from what differs "
            "from the defaults.",
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print the metrics document, and nothing else."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, and no summary.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Compute again, and replace the run; with --resume, only one that is not what "
            "would be computed now.",
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an unfinished run; of train, also go on from a finished one beside it "
            "that had fewer epochs.",
        ),
    ] = False,
) -> int:
    """Run an experiment, print its result, return the exit code.

    The keyword parameters are the options that every experiment has. `own` holds the values of
    those that only this one has: a config key each, or data_dir, fail_on_failure, lr_from, sweep,
    format, network_file or the four that say where to compute.
    `implied` holds values of config keys that follow from these, and that win over them.
    `rows` says what is printed instead of summary and folder; None where there is no such thing.
    """
    from midterm_cli import terminal
    from midterm_cli.config.resolve import resolve
    from midterm_cli.launch import options as launch
    from midterm_cli.runner.make import make

    values = dict(own)
    data_dir = values.pop("data_dir", None)
    fail_on_failure = values.pop("fail_on_failure", False)
    row_format = values.pop("format", None)
    network = values.pop("network_file", None)
    where = ("launcher", "address", "scheduler_file", "retries")
    cluster = launch.choose(*(values.pop(name, None) for name in where))
    taken = _taken(values)
    options = _layers(ctx, values | {"device": device, "seed": seed}, implied)
    options += [taken.layer] if taken else []
    resolved = resolve(experiment, config, assignments or (), options)
    if network is not None:
        options.append(_network_layers(network, resolved.config))
        resolved = resolve(experiment, config, assignments or (), options)
    terminal.warn(resolved.notes)
    if taken:
        _warn_of_another_problem(taken, resolved.config)
    if rows and getattr(resolved.config, rows.key) is None:
        if row_format is not None:
            raise UserError(f"--format is of the rows of --{rows.key}: give a file of them as well")
        rows = None
    if json and row_format is not None:
        raise UserError("--json and --format both say what is printed: leave one of them out")
    run = make(
        resolved,
        command=ctx.obj,
        output=output,
        data_dir=data_dir,
        quiet=quiet,
        force=force,
        resume=resume,
        cluster=cluster,
    )
    if rows and not json:
        terminal.warn(map(printable, run.warnings))
        if not quiet:
            from midterm_cli.runner import summary

            terminal.say(f"{summary.text(run)}{run.name}")
        print_out(rows.text(run.results, row_format))
    else:
        print_answer(run, json=json, quiet=quiet)
    return FAILED if fail_on_failure and run.failed else DONE


def _taken(values: dict[str, Any]) -> Taken | None:
    """Take lr_from or sweep out of the values of the options, and read what it names."""
    recommending, comparing = values.pop("lr_from", None), values.pop("sweep", None)
    if recommending is None and comparing is None:
        return None
    from midterm_cli.runs import lr_from

    if comparing is not None:
        return lr_from.to_compare(comparing)
    if values["lr"] is not None:
        raise UserError("--lr and --lr-from both set the learning rate: leave one of them out")
    return lr_from.read(recommending)


def _network_layers(network: str, config: ExperimentConfig) -> Layer:
    """The layers of FILE.py:NAME for the input of a config of conv_stack."""
    from midterm_cli.config.resolve import Layer
    from midterm_cli.layers import user
    from midterm_cli.part4.conv_stack.schema import Config

    source = user.read(network)
    from midterm_cli.layers import from_module  # imports torch

    assert isinstance(config, Config)
    layers = from_module.read(source, (config.channels, *config.sizes))
    return Layer("--network", {"layers": [layer.model_dump() for layer in layers]})


def _warn_of_another_problem(taken: Taken, config: ExperimentConfig) -> None:
    from midterm_cli import terminal

    terminal.warn(taken.notes)
    changes = taken.other_problem(config)
    if changes:
        terminal.say(f"Warning: the sweep {taken.name} was made with {changes}")


def _layers(
    ctx: typer.Context, values: Mapping[str, Any], implied: Mapping[str, Any]
) -> list[Layer]:
    """A config layer for each option that was given or implied, named as the user types it."""
    from midterm_cli.config.resolve import Layer

    names = {parameter.name: parameter.opts[0] for parameter in ctx.command.params}
    given = {key: value for key, value in values.items() if value is not None}
    # An option of several values is a tuple to typer, and a list to a config.
    return [
        Layer(names[key], {key: list(value) if isinstance(value, tuple) else value})
        for key, value in {**given, **implied}.items()
    ]


def experiment_command(
    experiment: str,
    group: typer.Typer = app,
    name: str | None = None,
    rows: Rows | None = None,
) -> Callable[[Callable[..., Mapping[str, Any] | None]], Callable[..., int]]:
    """Make the command of an experiment from a function that declares its own options.

    Each parameter of the function is a key of the experiment's config, or an option that
    `_run_experiment` takes out; its docstring is the help. Called with the options' values, it may
    return values of config keys that follow from them. The options that every experiment has are
    added from `_run_experiment`.

    Args:
        experiment: a name in the table of experiments.
        group: the commands that this is one of.
        name: of the command; None for that of the experiment.
        rows: what is printed instead of summary and folder.
    """

    def register(declaration: Callable[..., Mapping[str, Any] | None]) -> Callable[..., int]:
        own = inspect.signature(declaration, eval_str=True).parameters
        shared = {
            name: parameter
            for name, parameter in inspect.signature(
                _run_experiment, eval_str=True
            ).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        }

        def command(**values: Any) -> int:
            own_values = {key: values.pop(key) for key in own}
            implied = declaration(**own_values) or {}
            return _run_experiment(experiment, own_values, implied, rows, **values)

        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in (*own.values(), *shared.values())
        ]
        command.__doc__ = declaration.__doc__
        # inspect, and so typer, takes a function's signature from here; its type does not say so.
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        own_class = type("Command", (Command,), {"experiment": experiment})
        return group.command(name or experiment.replace("_", "-"), cls=own_class)(command)

    return register
