"""The terminal: parse, call, print. No mathematics, no files.

The runner and the parts are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

import midterm_cli
from midterm_cli.errors import UserError
from midterm_cli.runner.terminal import printable

if TYPE_CHECKING:
    from midterm_cli.runner.config import Layer
    from midterm_cli.runner.lr_from import Recommendation

DONE, MISTAKE, FAILED, INTERRUPTED, TERMINATED = 0, 2, 3, 130, 143

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _app(**settings: Any) -> typer.Typer:
    # Plain help: rich's panels would cost the import of rich. Tracebacks show no locals.
    return typer.Typer(
        add_completion=False,
        context_settings=_SETTINGS,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        **settings,
    )


app = _app(help=midterm_cli.__doc__)
config_app = _app(help="List, show, check and copy the YAML files that the experiments run from.")
data_app = _app(help="Get, check and look at Fashion-MNIST.")
app.add_typer(config_app, name="config")
app.add_typer(data_app, name="data")
softt_app = _app(help="Soft-thresholding (Part 2 A, B).")
module_app = _app(help="A differentiable module, M⁻¹ f_T(M x) (Part 2 C to E).")
app.add_typer(softt_app, name="softt")
app.add_typer(module_app, name="module")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; a mistake of the user's becomes one or two lines on stderr.

    Args:
        arguments: without the program's name; None for those of the process.

    Returns:
        The exit code: 0 done, 2 the user's mistake, 3 a failure that was to be an error, 130
        interrupted, 143 terminated.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        # typer wraps some version of click, its own or the real one: the base class of its
        # BadParameter is that version's UsageError.
        usage_error = cast("type[Exception]", typer.BadParameter.__base__)
        command = typer.main.get_command(app)
        code = command.main(
            arguments,
            prog_name="midterm",
            standalone_mode=False,
            obj=shlex.join(["midterm", *arguments]),
        )
        return code if isinstance(code, int) else DONE
    except UserError as error:
        _complain(str(error))
    except typer.Abort:
        return INTERRUPTED
    except usage_error as error:
        _complain(_usage(error))
    return MISTAKE


def _complain(message: str) -> None:
    lines = map(printable, message.split("\n"))
    typer.echo("Error: " + "\n".join(lines), err=True)


def _usage(error: Any) -> str:
    """A mistake in the command line itself, in one or two lines."""
    if error.ctx is None:
        return str(error.format_message())
    return f"{error.format_message()}\nsee {error.ctx.command_path} --help"


# ---- options that several commands share


def _number(text: str) -> Any:
    """A number as YAML reads it; anything else goes on, for the config to name its key."""
    from midterm_cli.runner import yaml_text

    try:
        value = yaml_text.parse(text, "the command line")
    except UserError:
        return text
    return text if value is None else value


def _printed_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"midterm {midterm_cli.__version__}")
        raise typer.Exit


def _typed(metavar: str, text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, metavar=metavar, parser=_number)


def _array(key: str, text: str) -> Any:
    """An option for numbers in brackets, those of a YAML file, or a file that the part reads."""

    def read(given: str) -> Any:
        from midterm_cli.runner import yaml_text

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
Activation = Annotated[
    str | None, typer.Option("--activation", metavar="NAME", help="relu, identity or tanh.")
]
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
    _typed("LO HI", "Ends of the figure's axis.", "--range"),
]
Threshold = Annotated[float | None, _typed("T", "Where f_T leaves 0, on both sides; above 0.")]


def _fail_when(what: str) -> Any:
    return typer.Option("--fail-on-failure", help=f"Exit {FAILED} when {what}, after recording.")


FailOnFailure = Annotated[bool, _fail_when("training fails")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is already there.")]


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_printed_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


# ---- experiments


def _run_experiment(
    experiment: str,
    own: Mapping[str, Any],
    implied: Mapping[str, Any],
    *,
    ctx: typer.Context,
    config: ConfigFile = None,
    assignments: Assignments = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N."),
    ] = None,
    seed: Annotated[int | None, _typed("N", "Seed of everything random.", "--seed")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="DIR",
            help="The run folder. Without it: outputs/EXPERIMENT/NAME, NAME from what differs "
            "from the defaults.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the metrics document instead of the folder.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no summary.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a finished run.")] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue an unfinished run; keep a finished one as it is."),
    ] = False,
) -> int:
    """Run an experiment, print its result, return the exit code.

    The keyword parameters are the options that every experiment has. `own` holds the values of
    those that only this one has: a config key each, or data_dir, fail_on_failure or lr_from.
    `implied` holds values of config keys that follow from these, and that win over them.
    """
    from midterm_cli.runner import config as configs
    from midterm_cli.runner import record
    from midterm_cli.runner import run as runner

    values = dict(own)
    data_dir = values.pop("data_dir", None)
    fail_on_failure = values.pop("fail_on_failure", False)
    recommendation = _recommendation(values)
    options = _layers(ctx, values | {"device": device, "seed": seed}, implied)
    options += [recommendation.layer()] if recommendation else []
    resolved = configs.resolve(experiment, config, assignments or (), options)
    if recommendation:
        _warn_of_another_problem(recommendation, configs.plain(resolved.config))
    request = runner.Request(ctx.obj, output, data_dir, quiet, force, resume)
    try:
        run = runner.run(experiment, resolved, request)
    except runner.Terminated:
        return TERMINATED
    except KeyboardInterrupt:
        return INTERRUPTED
    if json:
        typer.echo(record.to_json(run.document), nl=False)
    else:
        _print_path(run.folder)
    return FAILED if fail_on_failure and run.document.get("failed") else DONE


def _recommendation(values: dict[str, Any]) -> Recommendation | None:
    """Take lr_from out of the values of the options, and read what it names."""
    from midterm_cli.runner import lr_from

    sweep = values.pop("lr_from", None)
    if sweep is None:
        return None
    if values["lr"] is not None:
        raise UserError("--lr and --lr-from both set the learning rate: leave one of them out")
    return lr_from.read(sweep)


def _warn_of_another_problem(recommendation: Recommendation, config: Mapping[str, Any]) -> None:
    from midterm_cli.runner import terminal

    changes = recommendation.other_problem(config)
    if changes:
        terminal.say(f"Warning: the sweep {recommendation.name} was made with {changes}")


def _layers(
    ctx: typer.Context, values: Mapping[str, Any], implied: Mapping[str, Any]
) -> list[Layer]:
    """A config layer for each option that was given or implied, named as the user types it."""
    from midterm_cli.runner.config import Layer

    names = {parameter.name: parameter.opts[0] for parameter in ctx.command.params}
    given = {key: value for key, value in values.items() if value not in (None, [], ())}
    return [Layer(names[key], {key: value}) for key, value in {**given, **implied}.items()]


def _print_path(path: Path) -> None:
    # As bytes: a file name need not be valid text.
    typer.echo(bytes(path))


def experiment_command(
    experiment: str, group: typer.Typer = app, name: str | None = None
) -> Callable[[Callable[..., Mapping[str, Any] | None]], Callable[..., int]]:
    """Make the command of an experiment from a function that declares its own options.

    Each parameter of the function is a key of the experiment's config, or data_dir,
    fail_on_failure or lr_from; its docstring is the help. Called with the options' values, it may
    return values of config keys that follow from them. The options that every experiment has are
    added from `_run_experiment`.

    Args:
        experiment: a name in the table of experiments.
        group: the commands that this is one of.
        name: of the command; None for that of the experiment.
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
            return _run_experiment(experiment, own_values, implied, **values)

        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in (*own.values(), *shared.values())
        ]
        command.__doc__ = declaration.__doc__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return group.command(name or experiment.replace("_", "-"))(command)

    return register


@experiment_command("autodiff")
def autodiff(
    x: Annotated[
        list[float] | None, _typed("NUMBER", "Where to differentiate. Repeatable.")
    ] = None,
    formula: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="A derivative to be judged over the range, in x and the names of the expression.",
        ),
    ] = None,
    expression: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help='Another function, such as "sin(x**2)" or "u = x**2; f = sin(u)".',
        ),
    ] = None,
    range: Range = None,
    dtype: Dtype = None,
    symbolic: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Who differentiates for the symbolic method: builtin, midterm's own rules, or "
            "sympy, which takes longer to load.",
        ),
    ] = None,
    fail_on_failure: Annotated[bool, _fail_when("the formula or a method is wrong")] = False,
) -> Mapping[str, Any] | None:
    """Differentiate a function by methods that check each other, and judge a formula (Part 1)."""
    # One x is a number in the config and in the results, as in the packaged default.
    return {"x": x[0]} if x is not None and len(x) == 1 else None


@experiment_command("softt", softt_app, "plot")
def softt_plot(
    threshold: Threshold = None,
    range: Range = None,
    second_derivative: Annotated[
        bool | None,
        typer.Option(
            "--second-derivative/--no-second-derivative", help="Draw the second derivative as well."
        ),
    ] = None,
    dtype: Dtype = None,
    fail_on_failure: Annotated[bool, _fail_when("a derivative is wrong")] = False,
) -> None:
    """Draw the soft-threshold and its derivative, by autograd and written out."""


@experiment_command("module", module_app, "grad")
def module_grad(
    threshold: Threshold = None,
    dimension: Annotated[int | None, _typed("N", "Length of x.")] = None,
    matrix: Annotated[str | None, _array("matrix", "M, symmetric and invertible.")] = None,
    x: Annotated[str | None, _array("x", "The input.")] = None,
    dtype: Dtype = None,
    fail_on_failure: Annotated[bool, _fail_when("a gradient is wrong")] = False,
) -> Mapping[str, Any] | None:
    """Compute the gradients of ‖x - g_T(x; M)‖² and hold them against three other ways."""
    given = matrix is not None or x is not None
    return {"dimension": None} if given and dimension is None else None


@experiment_command("train")
def train(
    lr: Annotated[float | None, _typed("NUMBER", "Learning rate.")] = None,
    lr_from: Annotated[
        Path | None,
        typer.Option(
            "--lr-from", metavar="RUN", help="Take the learning rate that this sweep recommends."
        ),
    ] = None,
    epochs: Annotated[int | None, _typed("N", "Passes over the training set.")] = None,
    batch_size: Annotated[int | None, _typed("N", "Examples in a minibatch.")] = None,
    ema_gamma: Annotated[
        list[float] | None,
        _typed("NUMBER", "Weight of the new value in averaged SGD, in (0, 1]. Repeatable."),
    ] = None,
    num_seeds: Annotated[
        int | None, _typed("N", "Number of seeds, trained side by side.", "--seeds")
    ] = None,
    activation: Activation = None,
    dataset: Dataset = None,
    gradients: Gradients = None,
    data_dir: DataDir = None,
    fail_on_failure: FailOnFailure = False,
) -> None:
    """Train a perceptron by SGD and follow its averaged weights (Part 3 A, C)."""


@experiment_command("lr_sweep")
def lr_sweep(
    start_lr: Annotated[
        float | None, _typed("NUMBER", "Where the doubling (or the halving) begins.")
    ] = None,
    tolerance: Annotated[
        float | None,
        _typed("SHARE", "Narrow the gap until its ends differ by at most this share."),
    ] = None,
    max_rates: Annotated[
        int | None, _typed("N", "Budget: learning rates in all, each with all seeds.")
    ] = None,
    num_seeds: Annotated[int | None, _typed("N", "Runs at each learning rate.", "--seeds")] = None,
    epochs: Annotated[int | None, _typed("N", "Passes of a run.")] = None,
    sharpness: Annotated[
        bool | None,
        typer.Option(
            "--sharpness/--no-sharpness",
            help="Draw 2/λ as well: λ the largest Hessian eigenvalue along a stable run.",
        ),
    ] = None,
    activation: Activation = None,
    dataset: Dataset = None,
    gradients: Gradients = None,
    data_dir: DataDir = None,
    fail_on_failure: Annotated[bool, _fail_when("no failing rate is bracketed")] = False,
) -> None:
    """Find the learning rate at which training fails, over seeds (Part 3 B)."""


@app.command("draw")
def draw(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
) -> None:
    """Draw the figures of a finished run again, without computing it again."""
    from midterm_cli.runner import run as runner

    for path in runner.draw(run):
        _print_path(path)


@app.command("compare")
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN", help="Folders of finished runs, all of train or all of lr-sweep."
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
            help="The figure's file; it is replaced. Without it, for runs of train: "
            "outputs/compare/curves.png.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the table as JSON, and nothing else.")
    ] = False,
) -> None:
    """Put finished runs side by side: a table, and the curves of training in one figure.

    The table and then the figure's path are printed; means are over seeds, ± standard deviation.
    """
    from midterm_cli.runner import compare as comparing
    from midterm_cli.runner import record

    comparison = comparing.compare(runs, by)
    if comparison.has_curves:
        output = output or Path("outputs/compare/curves.png")
        _require_png(output)
        record.replace_file(output, record.to_png(comparing.draw(comparison)))
    elif output is not None:
        raise UserError("--output is for the curves of runs of train, and here are none")
    if json:
        typer.echo(record.to_json(comparison.document()), nl=False)
        return
    typer.echo(comparison.table(), nl=False)
    if output is not None:
        _print_path(output)


def _require_png(output: Path) -> None:
    if output.suffix != ".png":
        raise UserError(f"--output must end in .png, got {output}")


# ---- configs


@config_app.command("list")
def config_list() -> None:
    """List the packaged configs, each with what it shows."""
    from midterm_cli.runner import config as configs

    names = configs.presets()
    width = max(map(len, names))
    for name in names:
        typer.echo(f"{name:{width}}  {configs.headline(name)}".rstrip())


@config_app.command("show")
def config_show(
    ctx: typer.Context,
    experiment: Annotated[
        str | None,
        typer.Argument(metavar="[EXPERIMENT]", help="Without it: the one --config is named after."),
    ] = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Show the resolved config as YAML, with where each value comes from."""
    from midterm_cli.runner import config as configs

    name = configs.experiment_of(experiment, config)
    typer.echo(configs.annotated(configs.resolve(name, config, assignments or ())), nl=False)


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
    typer.echo(f"{printable(file)} is valid for {name}")


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

    _print_path(record.copy_preset(preset, destination, force))


# ---- data


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
) -> None:
    """Get Fashion-MNIST, unless it is already there, and check it."""
    from midterm_cli.data.fetch import fetch
    from midterm_cli.runner import paths, terminal

    folder = paths.data_dir(data_dir)
    terminal.say(fetch(folder, source, terminal.say))
    _print_path(folder)


@data_app.command("verify")
def data_verify(data_dir: DataDir = None) -> int:
    """Hash the four files and compare with what they must be."""
    from midterm_cli.data import datasets
    from midterm_cli.runner import paths

    folder = paths.data_dir(data_dir)
    findings = datasets.verify(folder)
    for finding in findings:
        typer.echo(f"{'ok ' if finding.ok else 'BAD'} {finding.sha256 or '-':64} {finding.name}")
    bad = [finding for finding in findings if not finding.ok]
    if bad:
        raise UserError(
            f"{len(bad)} of {len(findings)} files in {printable(folder)} are bad: "
            f"{bad[0].name}: {bad[0].problem}\nget them again with: midterm data fetch"
        )
    return DONE


@data_app.command("show")
def data_show(
    dataset: Annotated[
        str, typer.Option(metavar="NAME", help="As in the config of train.")
    ] = "fashion_mnist",
    output: Annotated[
        Path, typer.Option("--output", metavar="PNG", help="The figure's file; it is replaced.")
    ] = Path("outputs/data/examples.png"),
    data_dir: DataDir = None,
) -> None:
    """Draw the first five training images with their labels."""
    from midterm_cli.data import datasets
    from midterm_cli.runner import paths, record

    _require_png(output)
    loaded = datasets.load(dataset, paths.data_dir(data_dir))
    record.replace_file(output, record.to_png(datasets.draw_strip(loaded)))
    _print_path(output)
