"""Which run answers which question.

A question is asked by a packaged preset. Its run is the finished one with that very config, on
whatever device; failing that, one that differs in nothing that makes it another question: on the
exercise's data if there is one, and the newest of them.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from midterm_cli.config.presets import experiment_of, preset_path
from midterm_cli.config.resolve import plain, resolve
from midterm_cli.errors import UserError
from midterm_cli.registry import EXPERIMENTS
from midterm_cli.runner import document
from midterm_cli.text import printable

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
"""Every preset that asks a question, in the order of the report."""

# A run that differs in these alone still answers the question, and the page says in which.
_TOLERATED = {"seed", "num_seeds", "dataset", "gradients", "dtype"}


class Change(NamedTuple):
    """A key in which a run differs from the preset whose question it answers."""

    key: str
    wanted: Any
    found: Any


@dataclass(frozen=True, kw_only=True)
class Answer(document.Run):
    """The run that answers a preset's question.

    Attributes:
        preset: whose question it is.
        changes: where the run's config is not that of the preset.
    """

    preset: str
    changes: Sequence[Change]

    @property
    def repeat(self) -> str:
        """The command that makes these very numbers again."""
        return f"{self.experiment.command} --config {_quoted(self.folder / 'config.yaml')}"


def _quoted(path: Path) -> str:
    """A path as a shell takes it, on one line and printable; if it must be, as bash's $'…'."""
    if (text := str(path)) == printable(text):
        return shlex.quote(text)
    plain = set(range(0x20, 0x7F)) - set(b"'\\")
    escaped = (chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in os.fsencode(path))
    return f"$'{''.join(escaped)}'"


class Unusable(NamedTuple):
    """A run that could not be read, and why."""

    folder: Path
    reason: str


@dataclass(frozen=True)
class Runs:
    """The runs of a folder.

    Attributes:
        answers: by preset.
        others: those that answer no question of the exercise.
        unusable: those that could not be read.
    """

    answers: Mapping[str, Answer]
    others: Sequence[document.Run]
    unusable: Sequence[Unusable]

    def found(self, *presets: str) -> list[Answer]:
        """Those of some presets that there are."""
        return [self.answers[preset] for preset in presets if preset in self.answers]


def command(preset: str) -> str:
    """The command that answers a preset's question."""
    experiment = EXPERIMENTS[experiment_of(preset)]
    variant = "" if preset == experiment.name else f" --config {preset}"
    return experiment.command + variant


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
    answers: dict[str, Answer] = {}
    others: list[document.Run] = []
    unusable: list[Unusable] = []
    for experiment in EXPERIMENTS:
        finished = []
        for path in _finished(folder / experiment):
            try:
                finished.append(_read(path, experiment))
            except UserError as error:
                unusable.append(Unusable(path, str(error).partition("\n")[0]))
        wanted = {p: _preset_config(p) for p in PRESETS if experiment_of(p) == experiment}
        tolerated = _TOLERATED - _telling_apart(list(wanted.values()))
        candidates = {
            preset: _candidates(preset, config, tolerated, finished)
            for preset, config in wanted.items()
        }
        answers |= {p: max(found, key=_preference) for p, found in candidates.items() if found}
        answering = {answer.folder for found in candidates.values() for answer in found}
        others += [run for run in finished if run.folder not in answering]
    ordered = {preset: answers[preset] for preset in PRESETS if preset in answers}
    return Runs(ordered, others, unusable)


def _finished(folder: Path) -> Iterator[Path]:
    """The run folders in a folder, by name."""
    try:
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise UserError(f"cannot read {printable(folder)}: {error.strerror or error}") from None
    for path in paths:
        if not path.name.startswith(".") and document.is_finished(path):
            yield path


def _read(path: Path, experiment: str) -> document.Run:
    run = document.read(path)
    if run.experiment.name != experiment:
        raise UserError(f"it is a run of another experiment than {experiment}")
    return run


def _candidates(
    preset: str, wanted: Mapping[str, Any], tolerated: Set[str], finished: Sequence[document.Run]
) -> list[Answer]:
    """The runs that answer the question of a preset."""
    candidates = []
    for run in finished:
        found = plain(run.config)
        changes = [
            Change(key, wanted[key], found[key])
            for key in wanted
            if key != "device" and wanted[key] != found[key]
        ]
        if {change.key for change in changes} <= tolerated:
            known = {field.name: getattr(run, field.name) for field in fields(run)}
            candidates.append(Answer(**known, preset=preset, changes=changes))
    return candidates


def _preference(answer: Answer) -> tuple[bool, bool, str, str]:
    """The fewest surprises: exact, or else on the exercise's data; then the newest."""
    own_data = all(change.key != "dataset" for change in answer.changes)
    return not answer.changes, own_data, answer.provenance.started_at, answer.folder.name


def _preset_config(preset: str) -> dict[str, Any]:
    return plain(resolve(experiment_of(preset), str(preset_path(preset))).config)


def _telling_apart(presets: Sequence[Mapping[str, Any]]) -> set[str]:
    """Keys in which the presets of an experiment differ: they make it another question."""
    if not presets:
        return set()
    first, *others = presets
    return {key for key in first if any(other[key] != first[key] for other in others)}
