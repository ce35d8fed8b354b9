"""midterm from Python: run an experiment, load a finished run, look at it in a notebook.

import midterm_cli as midterm

run = midterm.run("train", lr=2e-3, num_seeds=3)
run.results.outcome
run.history       # a DataFrame where pandas is installed, else a list of rows
run.figures()     # matplotlib figures, by name
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midterm_cli import figure, terminal
from midterm_cli.config.resolve import Layer, meant, resolve
from midterm_cli.errors import UserError
from midterm_cli.runner import document, make, summary
from midterm_cli.runs import rows
from midterm_cli.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FLAGS = ("force", "resume", "quiet")


class Run(document.Run):
    """A finished run. At the end of a notebook's cell it is shown as its first figure.

    Attributes: those of `midterm_cli.runner.document.Run`; of these config, results and folder are
    what is mostly wanted.
    """

    def figures(self) -> Mapping[str, Figure]:
        """Its figures, by name, drawn anew."""
        return self.experiment.draw(self.config, self.results)

    @property
    def history(self) -> Any:
        """What was observed, a row each: of train, each seed, epoch and kind of weights.

        Returns:
            A pandas.DataFrame where pandas is installed, else a list of mappings.
        """
        return self.table()

    def table(self, name: str | None = None) -> Any:
        """One of the tables in the results, as `history` gives one.

        Args:
            name: a key of the results, such as "rates"; "values" or "results".

        Raises:
            UserError: there is no such table.
        """
        found = [
            {key: value for key, value in row.items() if key != "run"}
            for row in rows.observations([self], name)
        ]
        try:
            import pandas as pd
        except ImportError:  # it is no dependency of ours
            return found
        return pd.DataFrame(found)

    @property
    def summary(self) -> str:
        """What a person wants to read of it, as the command prints it."""
        return summary.text(self)

    def __repr__(self) -> str:
        """The experiment and the folder."""
        return f"<run of {self.experiment.name} in {self.name}>"

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows of it."""
        drawn = next(iter(self.figures().values()), None)
        return None if drawn is None else figure.to_png(drawn)


def run(
    experiment: str,
    /,
    *,
    config: str | Path | Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    data_dir: str | Path | None = None,
    force: bool = False,
    resume: bool = True,
    quiet: bool = False,
    **keys: Any,
) -> Run:
    """Run an experiment, or give the stored answer where there is one.

    Args:
        experiment: such as "train"; `midterm config list` names them.
        config: a YAML file or packaged preset as of --config, or values by key.
        output: the run folder; None for outputs/EXPERIMENT/NAME in the current folder.
        data_dir: the folder that holds the data; None to look for it.
        force: compute again, and replace the run.
        resume: continue an unfinished run, or go on from the end of one beside it that had fewer
            epochs; not with `force`.
        quiet: no progress on stderr.
        **keys: of the config; they win over `config`. Tuples, arrays and paths are taken too.

    Raises:
        UserError: what was asked for cannot be done; the message says what to do.
        KeyboardInterrupt: interrupted; the same call continues from what was saved.
    """
    with _in_python():
        name = meant(experiment, None)
        file = None if config is None or isinstance(config, Mapping) else str(config)
        layers = [Layer("config", _plain(config))] if isinstance(config, Mapping) else []
        layers += [Layer(f"{key}=", {key: _plain(value)}) for key, value in keys.items()]
        resolved = resolve(name, file, options=layers)
        terminal.warn(resolved.notes)
        made = make.make(
            resolved,
            command=_call(experiment, keys),
            output=None if output is None else Path(output),
            data_dir=None if data_dir is None else Path(data_dir),
            quiet=quiet,
            force=force,
            resume=resume and not force,
        )
    terminal.warn(printable(warning) for warning in made.warnings)
    return _own(made)


def load(path: str | Path) -> Run:
    """Read a finished run.

    Args:
        path: its folder, or its metrics.json.

    Raises:
        UserError: there is none, or it is damaged.
    """
    with _in_python():
        found = document.read(Path(path))
    terminal.warn(found.notes)
    return _own(found)


def _own(found: document.Run) -> Run:
    return Run(**{field.name: getattr(found, field.name) for field in fields(found)})


def _call(experiment: str, keys: Mapping[str, Any]) -> str:
    """The call, for the record."""
    words = [repr(experiment), *(f"{key}={_plain(value)!r}" for key, value in keys.items())]
    return f"midterm.run({', '.join(words)})"


def _plain(value: Any) -> Any:
    """A value as YAML would give it: of NumPy's and PyTorch's arrays and numbers the plain ones."""
    if isinstance(value, Mapping):
        return {key: _plain(below) for key, below in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(below) for below in value]
    if isinstance(value, Path):
        return str(value)
    return value.tolist() if hasattr(value, "tolist") else value


@contextmanager
def _in_python() -> Iterator[None]:
    """Errors speak of arguments, where they are written for the command line."""
    try:
        yield
    except UserError as error:
        raise UserError(in_python(str(error))) from None


def in_python(message: str) -> str:
    """A message in which options are arguments; a command line in it stays one."""
    parts = re.split(r"(`[^`]*`|\bmidterm [^\n]*)", message)
    for place in range(0, len(parts), 2):
        spoken = re.sub(r"(?<!\S)--device (\w+)", r'device="\1"', parts[place])
        parts[place] = re.sub(r"(?<!\S)--([a-z][a-z-]*)(?=[\s,;:.]|$)", _argument, spoken)
    return "".join(parts)


def _argument(option: re.Match[str]) -> str:
    name = option[1].replace("-", "_")
    return f"{name}=True" if name in _FLAGS else name
