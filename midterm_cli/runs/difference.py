"""In what two runs differ: config, provenance, and every value of their results."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from midterm_cli.config.resolve import plain
from midterm_cli.errors import UserError
from midterm_cli.runner.document import Run
from midterm_cli.text import aligned, printable, shown

_LISTED = 20  # values of the results that the text names

# What is another in every two runs.
_ALWAYS_OTHER: Set[str] = {"command", "started_at", "wall_time_s", "checkpoint_sha256"}


class Change(NamedTuple):
    """A value that is not the same in two runs; None where a run has none."""

    key: str
    first: Any
    second: Any

    @property
    def relative(self) -> float:
        """The difference of two numbers by the larger; infinite for anything else."""
        values = (self.first, self.second)
        if not all(isinstance(it, int | float) and not isinstance(it, bool) for it in values):
            return math.inf
        a, b = map(float, values)
        return abs(a / max(abs(a), abs(b)) - b / max(abs(a), abs(b)))


@dataclass(frozen=True)
class Difference:
    """In what two runs of one experiment differ.

    Attributes:
        runs: the two.
        config: keys of the config.
        provenance: what is known about where the numbers come from, but for commands and times.
        results: values, by their place; measured times are left out.
        num_values: how many were compared.
    """

    runs: tuple[Run, Run]
    config: Sequence[Change]
    provenance: Sequence[Change]
    results: Sequence[Change]
    num_values: int

    @property
    def same(self) -> bool:
        """Whether all results are equal, to the last bit."""
        return not self.results

    @property
    def largest(self) -> float | None:
        """The largest relative difference of two numbers; None where no two numbers differ."""
        found = [change.relative for change in self.results if math.isfinite(change.relative)]
        return max(found, default=None)

    def verdict(self) -> str:
        """Whether the results are the same, in a sentence."""
        if self.same:
            return f"The results are the same: {self.num_values} values, to the last bit."
        others = sum(math.isinf(change.relative) for change in self.results)
        parts = [f"{len(self.results)} of {self.num_values} values of the results differ"]
        if self.largest:
            parts.append(f"numbers by at most {self.largest:.2g} of their size")
        if others:
            parts.append(f"{others} not as numbers")
        return f"{', '.join(parts)}."

    def text(self) -> str:
        """Everything in which they differ, and the verdict."""
        lines = [["", "", *(run.name for run in self.runs)]]
        for what in ("config", "provenance", "results"):
            changes: Sequence[Change] = getattr(self, what)
            lines += [
                [what, printable(key), shown(first), shown(second)]
                for key, first, second in changes[:_LISTED]
            ]
        more = len(self.results) - _LISTED
        listed = aligned(lines) if len(lines) > 1 else ""
        rest = (
            f"and {more} more values of the results: midterm diff --json has them all\n"
            if more > 0
            else ""
        )
        return f"{listed}{rest}{self.verdict()}\n"

    def document(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        return {
            "runs": [run.name for run in self.runs],
            "same": self.same,
            "num_values": self.num_values,
            "largest_relative_difference": self.largest,
            **{
                what: [change._asdict() for change in getattr(self, what)]
                for what in ("config", "provenance", "results")
            },
        }


def difference(first: Run, second: Run) -> Difference:
    """Compare two runs of one experiment.

    Raises:
        UserError: they are of two experiments.
    """
    if first.experiment != second.experiment:
        raise UserError(
            f"{first.name} is a run of {first.experiment.name}, but {second.name} of "
            f"{second.experiment.name}: compare runs of one experiment"
        )
    measured = first.experiment.results_class.MEASURED
    config, _ = _changes(plain(first.config), plain(second.config))
    provenance, _ = _changes(
        first.provenance.model_dump(mode="json"),
        second.provenance.model_dump(mode="json"),
        _ALWAYS_OTHER,
    )
    results, num_values = _changes(
        first.results.model_dump(mode="json"), second.results.model_dump(mode="json"), measured
    )
    return Difference((first, second), config, provenance, results, num_values)


def _changes(
    first: Mapping[str, Any], second: Mapping[str, Any], leave_out: Set[str] = frozenset()
) -> tuple[list[Change], int]:
    values = dict(_leaves(first, leave_out)), dict(_leaves(second, leave_out))
    keys = list(dict.fromkeys([*values[0], *values[1]]))
    found = (Change(key, values[0].get(key), values[1].get(key)) for key in keys)
    # 0 and -0 are equal; a value that is missing is not null.
    return [
        change
        for change in found
        if change.first != change.second or (change.key in values[0]) != (change.key in values[1])
    ], len(keys)


def _leaves(value: Any, leave_out: Set[str], place: str = "") -> Iterator[tuple[str, Any]]:
    """The values of plain data that hold no others, each with its place: history[3].train_loss."""
    if isinstance(value, Mapping) and value:
        for key, below in value.items():
            if key not in leave_out:
                yield from _leaves(below, leave_out, f"{place}.{key}" if place else key)
    elif isinstance(value, list) and value:
        for index, below in enumerate(value):
            yield from _leaves(below, leave_out, f"{place}[{index}]")
    else:
        yield place, value
