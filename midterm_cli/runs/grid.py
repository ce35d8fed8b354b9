"""The points of a grid: every combination of the values that are given for some keys."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from midterm_cli.config.resolve import Layer, Resolved, resolve
from midterm_cli.errors import UserError
from midterm_cli.runner.name import run_name
from midterm_cli.text import printable

MAX_POINTS = 10_000

_BRACKETS = {"[": 1, "{": 1, "]": -1, "}": -1}


def axes(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Values by key, from arguments KEY=VALUE,VALUE,…; a value that is a list is in brackets.

    Raises:
        UserError: an argument is not of this form, a key stands twice, or there are too many
            points.
    """
    found: dict[str, list[str]] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        key = key.strip()
        values = [value.strip() for value in _split(text)]
        if not (equals and key and all(values)):
            raise UserError(
                f"{printable(argument)} is not KEY=VALUE,VALUE,…: write it like lr=1e-3,2e-3"
            )
        if key in found:
            raise UserError(f"{printable(key)} is given twice: put all its values into one")
        found[key] = values
    total = 1
    for values in found.values():
        total *= len(values)
    if total > MAX_POINTS:
        raise UserError(f"the grid has {total:,} points: at most {MAX_POINTS:,} are computed")
    return found


def points(
    experiment: str,
    axes: Mapping[str, Sequence[str]],
    files: str | Sequence[str] | None,
    assignments: Sequence[str],
    network: str | None = None,
) -> list[Resolved]:
    """The configs of a grid, the last key changing fastest; each is valid.

    Args:
        experiment: a name in the table of experiments.
        axes: the values of each key, as text.
        files: as of --config.
        assignments: as of --set.
        network: as of --network.

    Raises:
        UserError: a config is not valid, two are the same, or a key is given twice.
    """
    options = [Layer("--network", {"network": network})] * (network is not None)
    given = {text.partition("=")[0].strip(): "--set" for text in assignments}
    given |= {key: layer.origin for layer in options for key in layer.values}
    if twice := next((key for key in axes if key in given), None):
        raise UserError(f"{printable(twice)} is given twice, by {given[twice]} as well")
    found = []
    by_name: dict[str, str] = {}
    for values in itertools.product(*axes.values()):
        own = [f"{key}={value}" for key, value in zip(axes, values, strict=True)]
        resolved = resolve(experiment, files, [*assignments, *own], options)
        name, text = run_name(resolved), ", ".join(own)
        if name in by_name:
            raise UserError(
                f"{printable(by_name[name])} and {printable(text)} are the same: leave one of them "
                "out"
            )
        by_name[name] = text
        found.append(resolved)
    return found


def folder_of(resolved: Resolved, output: Path | None) -> Path:
    """The run folder of a point: as without a grid, or in the folder that was asked for."""
    parent = Path("outputs", resolved.experiment.name) if output is None else output
    return parent / run_name(resolved)


def _split(text: str) -> list[str]:
    """Text at its commas, but not at those in brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += _BRACKETS.get(character, 0)
        if character == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
