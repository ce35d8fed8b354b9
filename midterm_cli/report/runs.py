"""Which run answers which question.

A question is asked by a packaged preset. Its run is the finished one with that very config, on
whatever device; failing that, one with other parameters that still is about the same: on the
exercise's data if there is one, and the newest of them. All others are reported as well, after the
questions.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from midterm_cli.config.presets import experiment_of, preset_path
from midterm_cli.config.resolve import plain, resolve
from midterm_cli.errors import UserError
from midterm_cli.files import is_folder
from midterm_cli.registry import EXPERIMENTS
from midterm_cli.runner import document
from midterm_cli.runs.find import is_run, runs_below
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

PARTS = (1, 2, 3, 4)

# A run that differs in one of these keys is about another question.
_OTHER_QUESTION: Mapping[str, Set[str]] = {
    "autodiff": {"expression", "dtype"},
    "pool": {"kind", "dilation", "ceil_mode"},
    **dict.fromkeys(
        ("train", "lr_sweep"),
        {"activation", "network", "optimizer", "momentum", "nesterov", "weight_decay"}
        | {"schedule", "warmup", "init_from"},
    ),
}
# One that differs in these alone can stand beside the published figures.
_TOLERATED = {"seed", "num_seeds", "dataset", "gradients", "dtype"}


class Change(NamedTuple):
    """A key in which a run differs from a preset."""

    key: str
    wanted: Any
    found: Any


@dataclass(frozen=True, kw_only=True)
class Reported(document.Run):
    """A run of the report.

    Attributes:
        preset: whose question it answers; of another run, the one that it differs least from.
        changes: where the run's config is not that of the preset.
    """

    preset: str
    changes: Sequence[Change]

    @property
    def part(self) -> int:
        """Of the exercise."""
        return part_of(self.preset)

    @property
    def comparable(self) -> bool:
        """Whether it can stand beside the published figures."""
        return {change.key for change in self.changes} <= _TOLERATED

    @property
    def command(self) -> str:
        """The command of this very run: that of the preset, as it was typed, or to repeat it."""
        if not self.changes:
            return command(self.preset)
        typed = self.provenance.command
        # A call in Python, and a command that made several runs, are no command of this one.
        return typed if typed.startswith(self.experiment.command) else self.repeat

    @property
    def repeat(self) -> str:
        """The command that makes these very numbers again, from any folder."""
        folder = self.folder.resolve()
        words = f"midterm repeat {_quoted(folder)}"
        if not self.config.runs_code:
            return words
        _, _, name = str(plain(self.config)["network"]).rpartition(":")
        return f"{words} --network {_quoted(folder / f'network.py:{name}')}"


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
    """The runs that are reported.

    Attributes:
        answers: by preset.
        others: those that answer no question, or one that another run answers.
        unusable: those that could not be read.
    """

    answers: Mapping[str, Reported]
    others: Sequence[Reported]
    unusable: Sequence[Unusable]

    def found(self, *presets: str) -> list[Reported]:
        """The answers to some presets that there are."""
        return [self.answers[preset] for preset in presets if preset in self.answers]

    @property
    def all(self) -> list[Reported]:
        """The answers, then the others."""
        return [*self.answers.values(), *self.others]


def command(preset: str) -> str:
    """The command that answers a preset's question."""
    experiment = EXPERIMENTS[experiment_of(preset)]
    variant = "" if preset == experiment.name else f" --config {preset}"
    return experiment.command + variant


def part_of(preset: str) -> int:
    """The part of the exercise that an experiment belongs to."""
    return int(EXPERIMENTS[experiment_of(preset)].package.split(".")[1].removeprefix("part"))


def find(paths: Sequence[Path], parts: Sequence[int] = PARTS) -> Runs:
    """Find the run of each preset among finished runs.

    Args:
        paths: runs, and folders that hold some at any depth.
        parts: of the exercise; runs of others are left out.

    Raises:
        UserError: a path is no folder, or cannot be read.
    """
    runs: list[document.Run] = []
    unusable = []
    for path in _folders(paths):
        try:
            run = document.read(path)
        except UserError as error:
            unusable.append(Unusable(path, str(error).partition("\n")[0]))
        else:
            if part_of(run.experiment.name) in parts:
                runs.append(run)
    configs = _preset_configs({run.experiment.name for run in runs})
    finished = [
        [_reported(run, preset, configs[preset]) for preset in run.experiment.presets]
        for run in _newest(runs)
    ]
    candidates = [it for beside in finished for it in beside if _answers(it)]
    answers: dict[str, Reported] = {}
    for preset in PRESETS:
        if found := [it for it in candidates if it.preset == preset]:
            answers[preset] = max(found, key=_preference)
    answering = {answer.folder for answer in answers.values()}
    nearest = [min(beside, key=lambda it: len(it.changes)) for beside in finished]
    others = [run for run in nearest if run.folder not in answering]
    return Runs(answers, others, unusable)


def _folders(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if is_run(path):
            yield path
        elif is_folder(path):
            yield from runs_below(path)
        else:
            raise UserError(
                f"no folder {printable(path)}: make runs first (make all), or name a run or a "
                "folder of runs"
            )


def _newest(runs: Sequence[document.Run]) -> list[document.Run]:
    """Of the runs with one config, but for its device, the newest."""
    newest: dict[str, document.Run] = {}
    for run in runs:
        config = plain(run.config) | {"device": None}
        key = json.dumps([run.experiment.name, config])
        newest[key] = max(newest.get(key, run), run, key=_age)
    return list(newest.values())


def _age(run: document.Run) -> tuple[str, str]:
    return run.provenance.started_at, run.folder.name


def _reported(run: document.Run, preset: str, wanted: Mapping[str, Any]) -> Reported:
    found = plain(run.config)
    changes = [
        Change(key, wanted[key], found[key])
        for key in wanted
        if key != "device" and wanted[key] != found[key]
    ]
    known = {field.name: getattr(run, field.name) for field in fields(document.Run)}
    return Reported(**known, preset=preset, changes=changes)


def _answers(run: Reported) -> bool:
    """Whether a run answers the question of its preset, be it with other parameters."""
    if run.experiment.name == "conv_stack":  # of words, or of an image
        return all(
            (change.wanted is None) == (change.found is None)
            for change in run.changes
            if change.key == "sentence"
        )
    changed = {change.key for change in run.changes}
    # Of averaged weights nothing can be said where there are none.
    no_average = any(it.key == "ema_gamma" and not it.found for it in run.changes)
    return not no_average and not changed & _OTHER_QUESTION.get(run.experiment.name, set())


def _preference(answer: Reported) -> tuple[bool, bool, bool, tuple[str, str]]:
    """The fewest surprises: exact, or else close, on the exercise's data; then the newest."""
    own_data = all(change.key != "dataset" for change in answer.changes)
    return not answer.changes, answer.comparable, own_data, _age(answer)


def _preset_configs(experiments: Set[str]) -> Mapping[str, Mapping[str, Any]]:
    """The config of each preset of some experiments."""
    presets = [preset for name in experiments for preset in EXPERIMENTS[name].presets]
    return {
        preset: plain(resolve(experiment_of(preset), str(preset_path(preset))).config)
        for preset in presets
    }
