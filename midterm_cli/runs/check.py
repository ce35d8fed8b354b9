"""Finished runs checked against expectations, by intervals.

PyTorch is not bit-stable across machines, and training multiplies the last bit: on another machine
the same seeds take other paths. So a mean over seeds is checked against a prediction interval.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midterm_cli.config.resolve import plain
from midterm_cli.errors import UserError
from midterm_cli.part3.statistics import prediction_interval
from midterm_cli.runner import document
from midterm_cli.runner.document import Run
from midterm_cli.runs.expected import EVERY, Check, Expectation, Expected, Scalar, Step
from midterm_cli.runs.find import is_run, runs_below
from midterm_cli.text import aligned, differing, printable, shown

SCHEMA_VERSION = 1

_ABSENT = object()
"""In place of a value where a path leads nowhere; equal to no expected value."""


@dataclass(frozen=True)
class Finding:
    """The verdict on one check.

    Attributes:
        check: what was expected.
        low: end of the interval; None where it is open, and for what must be equal.
        high: the other end.
        found: what was compared: the value, all values where the path leads to several, or their
            mean over seeds; nothing where there is a problem.
        problem: why there is nothing to compare, or None.
        ok: whether the run is as expected.
    """

    check: Check
    low: float | None
    high: float | None
    found: Sequence[Any]
    problem: str | None
    ok: bool

    def document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        exact = {"equals": self.check.equals} if _is_exact(self.check) else {}
        return {
            "name": self.check.name,
            "low": self.low,
            "high": self.high,
            **exact,
            "found": _one_or_all(self.found),
            "ok": self.ok,
            "problem": self.problem,
            "source": self.check.source,
        }

    def line(self) -> list[str]:
        """The cells of its line in the table."""
        found = dict.fromkeys(_text(value, self) for value in self.found)
        return [
            "ok" if self.ok else "FAIL",
            printable(self.check.name),
            self.problem or ", ".join(found),
            _expected_text(self),
            printable(self.check.source),
        ]


@dataclass(frozen=True)
class CheckedRun:
    """A run and the findings on it.

    Attributes:
        name: its folder, ready to print.
        experiment: of which it is a run.
        failed: whether the run itself failed: training, or a check of its own.
        expectation: that it was checked against; None where nothing is expected of it.
        findings: one for each check of the expectation.
    """

    name: str
    experiment: str
    failed: bool
    expectation: Expectation | None
    findings: Sequence[Finding]

    @property
    def ok(self) -> bool:
        """Whether the run did not fail and every check passed."""
        return not self.failed and all(finding.ok for finding in self.findings)

    def document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "run": self.name,
            "experiment": self.experiment,
            "expectation": self.expectation and self.expectation.name,
            "ok": self.ok,
            "failed": self.failed,
            "checks": [finding.document() for finding in self.findings],
        }

    def lines(self) -> list[list[str]]:
        """Its lines in the table, as cells."""
        lines = [finding.line() for finding in self.findings]
        if self.failed:
            lines.insert(0, ["FAIL", "the run itself", "failed", "no failure", "metrics.json"])
        return lines


@dataclass(frozen=True)
class Report:
    """Checked runs, and what could not be checked.

    Attributes:
        runs: the checked ones.
        without_run: expectations that none of them was of.
        notes: on keys of the stored configs, for the user.
        unreadable: folder → why the run in it could not be read.
    """

    runs: Sequence[CheckedRun]
    without_run: Sequence[Expectation]
    unreadable: Mapping[str, str]
    notes: Sequence[str]

    @property
    def ok(self) -> bool:
        """Whether every run could be read, none failed, and every check of every run passed."""
        return not self.unreadable and all(run.ok for run in self.runs)

    def document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "ok": self.ok,
            "runs": [run.document() for run in self.runs],
            "without_run": [
                {"expectation": expectation.name, "command": expectation.command}
                for expectation in self.without_run
            ],
            "unreadable": [
                {"run": name, "problem": problem} for name, problem in self.unreadable.items()
            ],
        }

    def table(self) -> str:
        """A block of aligned lines for each run, and the verdict on all in the last line."""
        header = ["", "", "found", "expected", "source"]
        blocks = [run.lines() for run in self.runs]
        lines = [line for block in blocks for line in block]
        # All blocks have the columns of one table, each two spaces in.
        first, *rest = aligned([["", *line] for line in [header, *lines]]).splitlines()
        text = f"{first}\n"
        for run, block in zip(self.runs, blocks, strict=True):
            own, rest = rest[: len(block)], rest[len(block) :]
            what = run.expectation.name if run.expectation else run.experiment
            text += f"{printable(what)}: {run.name}\n"
            text += "".join(f"{line}\n" for line in own) + "\n"
        for problem in self.unreadable.values():
            text += f"  FAIL  {problem.splitlines()[0]}\n"
        return f"{text}{self._verdict()}\n"

    def _verdict(self) -> str:
        findings = [finding for run in self.runs for finding in run.findings]
        wrong = sum(not finding.ok for finding in findings)
        failed = len({run.name for run in self.runs if run.failed})
        verdicts = [f"{wrong} of {len(findings)} checks FAILED"] if wrong else []
        verdicts += [f"{failed} of the runs failed"] if failed else []
        if self.unreadable:
            verdicts.append(f"{len(self.unreadable)} of the runs cannot be read")
        verdict = ", ".join(verdicts) or "every check passed"
        return f"{verdict} ({len(findings)} checks, {len(self.runs)} runs)"


def check(paths: Sequence[Path], expected: Expected) -> Report:
    """Check runs, and those below folders that hold some.

    Args:
        paths: run folders, and folders that have run folders at any depth.
        expected: what is expected.

    Raises:
        UserError: a run is damaged, or nothing is expected of it; or there is none of which
            something is expected below a folder.
    """
    checked: list[CheckedRun] = []
    unreadable: dict[str, str] = {}
    notes: list[str] = []
    for path in paths:
        runs, problems = _read(path)
        found = [one for run in runs for one in check_run(run, expected)]
        if not found and not problems:
            raise UserError(_why_none(path, runs, expected))
        checked += found
        unreadable |= problems
        met = {one.name for one in found}
        notes += [note for run in runs if run.name in met for note in run.notes]
    met_expectations = [run.expectation for run in checked]
    missing = [one for one in expected.runs if one not in met_expectations]
    checked.sort(key=lambda run: _place(run, expected))
    return Report(checked, missing, unreadable, notes)


def _place(run: CheckedRun, expected: Expected) -> int:
    """In the order of the expectations; runs without one come last."""
    return expected.runs.index(run.expectation) if run.expectation else len(expected.runs)


def _read(path: Path) -> tuple[list[Run], dict[str, str]]:
    """The run of a folder, or those below it; and the folders whose run cannot be read, with why.

    Raises:
        UserError: the run of the folder itself cannot be read.
    """
    if is_run(path):
        return [document.read(path)], {}
    runs: list[Run] = []
    unreadable: dict[str, str] = {}
    for folder in runs_below(path):
        try:
            runs.append(document.read(folder))
        except UserError as error:
            unreadable[printable(folder)] = str(error)
    return runs, unreadable


def check_run(run: Run, expected: Expected) -> list[CheckedRun]:
    """Check a run against each expectation that applies to it; none may.

    A run that failed is among those returned in any case.
    """
    config, results = plain(run.config), run.document["results"]
    num_seeds = config.get("num_seeds")
    found = [
        CheckedRun(
            run.name,
            run.experiment.name,
            run.failed,
            expectation,
            [judge(check, results, num_seeds, expected.coverage) for check in expectation.checks],
        )
        for expectation in expected.runs
        if expectation.experiment == run.experiment.name
        and all(_same(config.get(key, _ABSENT), value) for key, value in expectation.config.items())
    ]
    if run.failed and not found:
        found = [CheckedRun(run.name, run.experiment.name, True, None, ())]
    return found


def _why_none(path: Path, runs: Sequence[Run], expected: Expected) -> str:
    """Why a path names nothing to check, and what to do."""
    if not is_run(path):
        found = "run of which something is expected" if runs else "finished run"
        return (
            f"no {found} in {printable(path)} or below it: make one, such as by "
            f"{printable(expected.runs[0].command)}, or name a run's folder"
        )
    [run] = runs
    name, experiment, config = run.name, run.experiment.name, plain(run.config)
    asked = [
        expectation.config for expectation in expected.runs if expectation.experiment == experiment
    ]
    if not asked:
        return f"{name} is a run of {experiment}, of which nothing is expected"
    changes = [differing({key: config.get(key) for key in wanted}, wanted) for wanted in asked]
    nearest = min(changes, key=lambda text: text.count("; "))
    return f"{name} is no run of which something is expected: it has {nearest}"


# ---- one check


def judge(check: Check, results: Any, num_seeds: int | None, coverage: float) -> Finding:
    """Check one expectation on a run's results.

    What is not there, is null, or is not a finite number where a number is expected, fails.

    Args:
        check: the expectation.
        results: of the run.
        num_seeds: of the run: how many values a mean over seeds must have.
        coverage: of the prediction interval for a mean over seeds.
    """
    values = reach(results, check.at)
    low, high = _interval(check, len(values), coverage)
    problem = _problem(check, values, num_seeds)
    if problem:
        return Finding(check, low, high, (), problem, ok=False)
    if _is_exact(check):
        found = [printable(value) if isinstance(value, str) else value for value in values]
        ok = all(_same(value, check.equals) for value in values)
        return Finding(check, None, None, found, None, ok)
    numbers = [float(value) for value in values]
    if check.mean_over_seeds:
        # Each divided before the sum, which then cannot overflow.
        numbers = [math.fsum(number / len(numbers) for number in numbers)]
    ok = all(
        (low is None or low <= number) and (high is None or number <= high) for number in numbers
    )
    return Finding(check, low, high, numbers, None, ok)


def _problem(check: Check, values: Sequence[Any], num_seeds: int | None) -> str | None:
    """Why values cannot be compared, or None."""
    if any(value is _ABSENT for value in values):
        return "not in the results"
    if _is_exact(check):
        return None if all(map(_is_plain, values)) else "not a plain value"
    if not all(map(_is_number, values)):
        return "null" if None in values else "not a number"
    if check.mean_over_seeds and len(values) != num_seeds:
        return f"{len(values)} values for {shown(num_seeds)} seeds"
    return None


def reach(results: Any, path: Sequence[Step]) -> list[Any]:
    """Every value at a path; where it leads nowhere there is a mark that meets no expectation."""
    values: list[Any] = [results]
    for step in path:
        values = [below for value in values for below in _below(value, step)]
    return values


def _below(value: Any, step: Step) -> Sequence[Any]:
    found: Sequence[Any] = ()
    if step == EVERY:
        if isinstance(value, dict | list):
            found = list(value.values()) if isinstance(value, dict) else value
    elif isinstance(step, dict):
        if isinstance(value, list):
            found = [row for row in value if isinstance(row, dict) and _has(row, step)]
    elif isinstance(step, str):
        if isinstance(value, dict) and step in value:
            found = [value[step]]
    elif isinstance(value, list) and -len(value) <= step < len(value):
        found = [value[step]]
    return found or [_ABSENT]


def _has(row: Mapping[str, object], wanted: Mapping[str, Scalar]) -> bool:
    return all(_same(row.get(key, _ABSENT), value) for key, value in wanted.items())


def _interval(check: Check, num_values: int, coverage: float) -> tuple[float | None, float | None]:
    if _is_exact(check):
        return None, None
    if check.within:
        low, high = check.within
        return low, high
    if check.near:
        return check.near.value - check.near.tolerance, check.near.value + check.near.tolerance
    assert check.mean_over_seeds  # a check is of one of the four kinds
    known = check.mean_over_seeds
    return prediction_interval(
        known.mean, known.seeds, known.sd, known.sd_seeds, num_values, coverage
    )


def _is_exact(check: Check) -> bool:
    return "equals" in check.model_fields_set


def _same(found: Any, expected: Any) -> bool:
    """Equal as JSON has it: true is not 1, but 1.0 is."""
    if isinstance(expected, list):
        return (
            isinstance(found, list)
            and len(found) == len(expected)
            and all(_same(one, other) for one, other in zip(found, expected, strict=True))
        )
    return isinstance(found, bool) == isinstance(expected, bool) and bool(found == expected)


def _is_number(value: Any) -> bool:
    """Whether it is a finite number: true is none, and neither is an integer beyond all floats."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max


def _is_plain(value: Any) -> bool:
    """Whether a value, or each in a list, can be printed and written again."""
    if isinstance(value, list):
        return all(_is_plain(item) and not isinstance(item, list) for item in value)
    return value is None or isinstance(value, str | bool) or _is_number(value)


def _one_or_all(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else list(values) or None


# ---- text


def _text(value: Any, finding: Finding) -> str:
    """A value of what a check looks at, with as many digits as its expectation needs."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return shown(value)
    if finding.check.mean_over_seeds and finding.low is not None and finding.high is not None:
        # To a hundredth of the interval or finer.
        width = max(finding.high - finding.low, sys.float_info.epsilon)
        decimals = max(0, math.ceil(2 - math.log10(width)))
        return f"{value:.{decimals}f}" if 1e-6 < abs(value) < 1e6 else f"{value:.4g}"
    return f"{value:.15g}" if finding.check.near else f"{value:.4g}"


def _expected_text(finding: Finding) -> str:
    check = finding.check
    if _is_exact(check):
        return _text(check.equals, finding)
    if check.near:
        return f"{check.near.value:.15g} ± {check.near.tolerance:g}"
    if finding.high is None:
        return f"≥ {_text(finding.low, finding)}"
    if finding.low is None:
        return f"≤ {_text(finding.high, finding)}"
    return f"[{_text(finding.low, finding)}, {_text(finding.high, finding)}]"
