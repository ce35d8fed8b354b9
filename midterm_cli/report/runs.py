"""Which run answers which question.

A question is asked by a packaged preset. Its run is the finished one with that very config, on
whatever device; failing that, one that differs in nothing that makes it another question: on the
exercise's data if there is one, and the newest of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midterm_cli.config import resolve as configs
from midterm_cli.config.presets import preset_path
from midterm_cli.errors import UserError
from midterm_cli.experiment import ExperimentConfig
from midterm_cli.run import document as stored
from midterm_cli.text import printable

COMMANDS = {
    "autodiff": "midterm autodiff",
    "softt": "midterm softt plot",
    "module": "midterm module grad",
    "lr_sweep": "midterm lr-sweep",
    "train": "midterm train",
    "conv": "midterm conv shape",
    "conv_stride": "midterm conv stride",
    "conv_stack": "midterm conv stack",
    "pool": "midterm pool cost",
    "pool_min": "midterm pool min",
}

PRESETS = (
    "autodiff",
    "reference/autodiff",
    "softt",
    "module",
    "lr_sweep",
    "reference/lr_sweep",
    "train",
    "reference/train",
    "conv",
    "conv_stride",
    "text/conv_stack",
    "conv_stack",
    "pool",
    "pool_min",
)

# A run that differs in these alone still answers the question, and the page says in which.
_TOLERATED = {"seed", "num_seeds", "dataset", "gradients", "dtype"}


@dataclass(frozen=True)
class Run:
    """The run that answers a preset's question.

    Attributes:
        preset: whose question it is.
        folder: of the run.
        document: its metrics document.
        config: of the run.
        changes: keys in which it differs from the preset → (the preset's value, the run's).
    """

    preset: str
    folder: Path
    document: Mapping[str, Any]
    config: ExperimentConfig
    changes: Mapping[str, tuple[Any, Any]]

    @property
    def results(self) -> Mapping[str, Any]:
        """What was computed."""
        found: Mapping[str, Any] = self.document["results"]
        return found

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where it was computed; empty in a run that does not say."""
        found = self.document.get("provenance")
        return found if isinstance(found, Mapping) else {}

    @property
    def repeat(self) -> str:
        """The command that makes these very numbers again."""
        file = shlex.quote(printable(self.folder / "config.yaml"))
        return f"{COMMANDS[experiment_of(self.preset)]} --config {file}"


@dataclass(frozen=True)
class Unusable:
    """A run that could not be read, and why."""

    folder: Path
    reason: str


@dataclass(frozen=True)
class Runs:
    """The runs of a folder: by preset, and those that could not be read."""

    by_preset: Mapping[str, Run]
    unusable: Sequence[Unusable]

    @property
    def missing(self) -> list[str]:
        """Presets that no run answers."""
        return [preset for preset in PRESETS if preset not in self.by_preset]


def experiment_of(preset: str) -> str:
    """The experiment that a preset configures."""
    return preset.rpartition("/")[2]


def command(preset: str) -> str:
    """The command that answers a preset's question."""
    experiment = experiment_of(preset)
    variant = "" if preset == experiment else f" --config {preset}"
    return COMMANDS[experiment] + variant


def find(folder: Path) -> Runs:
    """Find the run of each preset in FOLDER/<experiment>/*.

    Raises:
        UserError: there is no such folder.
    """
    try:
        found = folder.is_dir()
    except OSError:  # such as a name that is too long for any folder
        found = False
    if not found:
        raise UserError(
            f"no folder {printable(folder)}: make runs first (make all), or choose another --runs"
        )
    by_preset: dict[str, Run] = {}
    unusable: list[Unusable] = []
    for experiment in COMMANDS:
        finished = []
        for path in _finished(folder / experiment):
            try:
                finished.append(_read(path, experiment))
            except UserError as error:
                unusable.append(Unusable(path, str(error).partition("\n")[0]))
        wanted = {p: _preset_config(p) for p in PRESETS if experiment_of(p) == experiment}
        tolerated = _TOLERATED - _telling_apart(list(wanted.values()))
        for preset, config in wanted.items():
            if run := _choose(preset, config, tolerated, finished):
                by_preset[preset] = run
    ordered = {preset: by_preset[preset] for preset in PRESETS if preset in by_preset}
    return Runs(ordered, unusable)


def _finished(folder: Path) -> Iterator[Path]:
    """The run folders in a folder, by name."""
    try:
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise UserError(f"cannot read {printable(folder)}: {error.strerror or error}") from None
    for path in paths:
        if not path.name.startswith(".") and stored.is_finished(path):
            yield path


def _read(path: Path, experiment: str) -> tuple[Path, Mapping[str, Any], ExperimentConfig]:
    run = stored.read(path)
    if run.experiment.name != experiment:
        raise UserError(f"it is a run of another experiment than {experiment}")
    return path, run.document, run.config


def _choose(
    preset: str,
    wanted: Mapping[str, Any],
    tolerated: Set[str],
    finished: Sequence[tuple[Path, Mapping[str, Any], ExperimentConfig]],
) -> Run | None:
    """The run with the fewest surprises: exact, or else on the exercise's data; then the newest."""
    candidates = []
    for path, document, config in finished:
        found = configs.plain(config)
        changes = {
            key: (wanted[key], found[key])
            for key in wanted
            if key != "device" and wanted[key] != found[key]
        }
        if changes.keys() <= tolerated:
            candidates.append(Run(preset, path, document, config, changes))
    return max(candidates, key=_preference, default=None)


def _preference(run: Run) -> tuple[bool, bool, str, str]:
    own_data = "dataset" not in run.changes
    return not run.changes, own_data, str(run.provenance.get("started_at", "")), run.folder.name


def _preset_config(preset: str) -> dict[str, Any]:
    experiment = experiment_of(preset)
    return configs.plain(configs.resolve(experiment, str(preset_path(preset))).config)


def _telling_apart(presets: Sequence[Mapping[str, Any]]) -> set[str]:
    """Keys in which the presets of an experiment differ: they make it another question."""
    first, *others = presets
    return {key for key in first if any(other[key] != first[key] for other in others)}
