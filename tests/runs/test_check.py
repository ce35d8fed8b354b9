"""Runs against expectations: each check turns when a value or a bound does; nothing slips by."""

import dataclasses
import errno
import json
import math
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import written_runs
import yaml
from answer import Answer
from scipy.stats import t as student_t

from midterm_cli.config.presets import expected_file
from midterm_cli.config.resolve import resolve
from midterm_cli.registry import EXPERIMENTS
from midterm_cli.runner import document
from midterm_cli.runs import check, expected
from midterm_cli.runs.check import Finding, judge
from midterm_cli.runs.expected import EVERY, Check, Expectation, Step
from midterm_cli.text import printable

Midterm = Callable[..., Answer]

PACKAGED = expected.load(expected_file())
CHECKS = [
    pytest.param(one, id=f"{expectation.name}: {one.name}")
    for expectation in PACKAGED.runs
    for one in expectation.checks
]
NUM_SEEDS = 3


def planted(path: list[Step], values: list[Any]) -> Any:
    """Results in which a path leads to these values; each wrong turn leads to "wrong"."""
    if not path:
        [value] = values
        return value
    step, rest = path[0], path[1:]
    if isinstance(step, dict):
        other = planted(rest, ["wrong"]) | dict.fromkeys(step, "another row")
        return [other, *(planted(rest, [value]) | step for value in values)]
    if step == EVERY:
        return {str(i): planted(rest, [value]) for i, value in enumerate(values)}
    inner = planted(rest, values)
    if isinstance(step, int):
        return {0: [inner, "wrong"], -1: ["wrong", inner]}[step]
    return {step: inner, "other": "wrong"}


def found(one: Check, *values: Any) -> Finding:
    """The finding on a run that has these values where a check looks."""
    results = json.loads(json.dumps(planted(one.at, list(values))))
    finding = judge(one, results, NUM_SEEDS, PACKAGED.coverage)
    json.dumps(finding.document(), allow_nan=False, ensure_ascii=False).encode()
    assert all(isinstance(cell, str) for cell in finding.line())
    return finding


def values(one: Check, value: Any) -> list[Any]:
    """A value, as often as a check wants it."""
    many = any(isinstance(step, dict) or step == EVERY for step in one.at)
    return [value] * (NUM_SEEDS if many else 1)


# ---- the packaged file


@pytest.mark.parametrize("expectation", PACKAGED.runs, ids=lambda expectation: expectation.name)
def test_the_command_of_an_expectation_makes_a_run_that_it_applies_to(
    expectation: Expectation,
) -> None:
    program, *words = shlex.split(expectation.command)
    assert program == "midterm"
    preset = words[words.index("--config") + 1] if "--config" in words else None
    config = resolve(expectation.experiment, preset).config
    earlier = Path(__file__).parent / "version_0_1_0" / expectation.experiment
    run = dataclasses.replace(document.read(earlier), config=config)

    checked = check.check_run(run, PACKAGED)

    assert expectation in [one.expectation for one in checked]


@pytest.mark.parametrize("one", CHECKS)
def test_a_check_turns_where_its_interval_ends(one: Check) -> None:
    if "equals" in one.model_fields_set:
        right = one.equals
        assert found(one, *values(one, right)).ok
        for wrong in ("other", None, True, False, 1, 0, 577, 0.0021, [16, 6, 7]):
            if type(wrong) is not type(right) or wrong != right:
                assert not found(one, *values(one, wrong)).ok, wrong
        return
    low, high = (found(one, *values(one, 0)).document()[end] for end in ("low", "high"))
    assert low is not None
    assert high is None or low < high
    if one.within:
        assert found(one, *values(one, low)).ok
    step = 1e-6 if high is None else 1e-3 * (high - low)
    assert found(one, *values(one, low + step)).ok
    assert not found(one, *values(one, low - step)).ok
    if high is not None:
        assert found(one, *values(one, high - step)).ok
        assert not found(one, *values(one, high + step)).ok


@pytest.mark.parametrize("one", CHECKS)
def test_what_is_no_value_never_passes(one: Check) -> None:
    expects_null = "equals" in one.model_fields_set and one.equals is None
    good = found(one, *values(one, 0.0))
    middle = one.equals if good.low is None else good.low + 1e-9
    for hostile in (None, "0.5", "\ud800", True, [], {}, [0.5], {"mean": 0.5}, 10**400, math.inf):
        if (hostile is None and expects_null) or (hostile is True and middle is True):
            continue
        assert not found(one, *values(one, hostile)).ok, hostile
        if len(values(one, 0)) > 1:  # one bad value among good ones
            assert not found(one, *values(one, middle)[1:], hostile).ok, hostile
    nothing: list[Any] = [[], {}, "text", 0.0]
    for below in nothing:
        finding = judge(one, {str(one.at[0]): below}, 0, PACKAGED.coverage)
        assert not finding.ok
    assert judge(one, {}, 0, PACKAGED.coverage).problem == "not in the results"


def test_the_interval_is_the_prediction_interval() -> None:
    one = Check.model_validate(
        {
            "name": "loss",
            "at": ["rows", {"epoch": 1}, "loss"],
            "source": "made up",
            "mean_over_seeds": {"mean": 0.5, "seeds": 10, "sd": 0.03, "sd_seeds": 40},
        }
    )

    finding = found(one, 0.4, 0.5, 0.54)

    assert finding.found == [pytest.approx(0.48)]
    half = student_t.ppf(0.5 + PACKAGED.coverage / 2, 39) * 0.03 * math.sqrt(1 / 10 + 1 / 3)
    assert finding.low == pytest.approx(0.5 - half)
    assert finding.high == pytest.approx(0.5 + half)
    # A seed that is not there: a mean over those that are says something else.
    assert found(one, 0.48, 0.48).problem == "2 values for 3 seeds"


def test_a_path_leads_to_every_value_that_it_names() -> None:
    rows = [{"a": 1, "b": {"c": 2}}, {"a": True, "b": {"c": 3}}, {"a": 1.0, "b": {}}, 7]
    results = {"rows": rows, "list": [4, 5]}
    absent = [check._ABSENT]

    assert check.reach(results, ["list", -1]) == [5]
    assert check.reach(results, ["list", EVERY]) == [4, 5]
    # true is not 1, and 1.0 is; the row without c is not lost.
    assert check.reach(results, ["rows", {"a": 1}, "b", "c"]) == [2, *absent]
    assert check.reach(results, ["list", 2]) == absent
    assert check.reach(results, ["list", -3]) == absent
    assert check.reach(results, ["list", "x"]) == absent
    assert check.reach(results, ["rows", {"a": 2}]) == absent
    assert check.reach(results, ["rows", {"a": 1, "b": 2}]) == absent
    assert check.reach(results, ["rows", {"d": None}]) == absent
    assert check.reach(results, [0]) == absent
    assert check.reach({}, [EVERY]) == absent


# ---- the command

FILE = """\
coverage: 0.99
runs:
  - name: doubled
    command: midterm train
    experiment: train
    config: {dtype: float64, hidden_sizes: [8, 4]}
    checks:
      - {name: half, at: [half], within: [0.4, 0.6], source: derived}
      - {name: word, at: [word], equals: yes, source: published}
"""
RESULTS = {"half": 0.5, "word": "yes"}


def write_run(folder: Path, results: Mapping[str, Any] = RESULTS, **changes: Any) -> Path:
    """A run of the fake experiment whose results have these keys as well."""
    whole = {"w": [0.0, 0.0], "outcome": "trained"} | dict(results)
    config = {"dtype": "float64", "hidden_sizes": [8, 4]} | changes
    return written_runs.write(folder, "train", whole, **config)


def fail(run: Path) -> Path:
    """Have a run say that it failed."""
    file = run / "metrics.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(values | {"failed": True}), encoding="utf-8")
    return run


@pytest.fixture
def checked(folder: Path, fake_train: None, midterm: Midterm) -> Midterm:
    """`midterm check` against FILE, in an empty folder."""
    (folder / "expected.yaml").write_text(FILE, encoding="utf-8")
    return lambda *arguments: midterm("check", "--expected", "expected.yaml", *arguments)


def test_a_run_as_expected(checked: Midterm) -> None:
    code, out, err = checked(write_run(Path("run")))

    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines == [
        ["found", "expected", "source"],
        ["doubled:", "run"],
        ["ok", "half", "0.5", "[0.4,", "0.6]", "derived"],
        ["ok", "word", "'yes'", "'yes'", "published"],
        [],
        ["every", "check", "passed", "(2", "checks,", "1", "runs)"],
    ]


def test_a_run_that_is_not_as_expected_exits_with_3(checked: Midterm) -> None:
    good, bad = write_run(Path("good")), write_run(Path("bad"), {"half": 0.61})

    code, out, _ = checked(good, bad)

    assert code == 3
    assert "FAIL  half  0.61" in out
    assert "FAIL  word  not in the results" in out
    assert out.endswith("2 of 4 checks FAILED (4 checks, 2 runs)\n")


@pytest.mark.parametrize(("within", "told"), [("[0.6, null]", "≥ 0.6"), ("[null, 0.4]", "≤ 0.4")])
def test_a_bound_on_one_side_is_told_as_such(
    within: str, told: str, folder: Path, checked: Midterm
) -> None:
    file = folder / "expected.yaml"
    file.write_text(FILE.replace("within: [0.4, 0.6]", f"within: {within}"), encoding="utf-8")

    code, out, _ = checked(write_run(Path("run")))

    assert code == 3
    assert f"FAIL  half  0.5    {told}" in out


def test_the_document_for_graders(checked: Midterm) -> None:
    code, out, err = checked("--json", write_run(Path("run"), {"half": 0.61, "word": None}))

    assert (code, err) == (3, "")
    assert json.loads(out) == {
        "schema_version": 1,
        "ok": False,
        "runs": [
            {
                "run": "run",
                "experiment": "train",
                "expectation": "doubled",
                "ok": False,
                "failed": False,
                "checks": [
                    {
                        "name": "half",
                        "low": 0.4,
                        "high": 0.6,
                        "found": 0.61,
                        "ok": False,
                        "problem": None,
                        "source": "derived",
                    },
                    {
                        "name": "word",
                        "low": None,
                        "high": None,
                        "equals": "yes",
                        "found": None,
                        "ok": False,
                        "problem": None,
                        "source": "published",
                    },
                ],
            }
        ],
        "without_run": [],
        "unreadable": [],
    }


def test_without_a_run_all_below_outputs_are_checked(folder: Path, checked: Midterm) -> None:
    more = FILE + FILE[FILE.index("  - name") :].replace("doubled", "missing").replace("64", "32")
    (folder / "expected.yaml").write_text(more, encoding="utf-8")
    write_run(Path("outputs/train/a"))
    write_run(Path("outputs/deep/in/b"))
    write_run(Path("outputs/train/other"), {}, seed=1, hidden_sizes=[8])
    written_runs.write_sweep(Path("outputs/lr_sweep/c"))
    write_run(Path("outputs/train/.d.partial/run"), {})

    code, out, err = checked("--json")

    assert code == 0
    assert [run["run"] for run in json.loads(out)["runs"]] == [
        "outputs/deep/in/b",
        "outputs/train/a",
    ]
    assert json.loads(out)["without_run"] == [
        {"expectation": "missing", "command": "midterm train"}
    ]
    assert err == "No run for missing: midterm train\n"


def test_runs_that_are_links_are_checked_once_each(checked: Midterm) -> None:
    """As the report reads them; a loop of links ends."""
    write_run(Path("elsewhere/b"))
    write_run(Path("outputs/train/a"))
    Path("outputs/train/link").symlink_to(Path("elsewhere/b").absolute())
    Path("outputs/train/loop").symlink_to(Path("outputs").absolute())
    runs = json.loads(checked("--json").out)["runs"]
    assert [run["run"] for run in runs] == ["outputs/train/a", "outputs/train/link"]


def test_a_run_that_failed_fails_whatever_its_numbers(checked: Midterm) -> None:
    good, bad = write_run(Path("runs/good")), fail(write_run(Path("runs/bad")))

    for arguments in ([good, bad], ["runs"]):
        code, out, err = checked(*arguments)
        assert (code, err) == (3, "")
        assert "doubled: runs/bad\n  FAIL  the run itself  failed" in out
        assert out.count("FAIL") == 1
        assert out.endswith("\n1 of the runs failed (4 checks, 2 runs)\n")
    answer = json.loads(checked("--json", "runs").out)
    assert answer["ok"] is False
    assert {run["run"]: (run["ok"], run["failed"]) for run in answer["runs"]} == {
        "runs/good": (True, False),
        "runs/bad": (False, True),
    }


@pytest.mark.parametrize("path", ["runs", "runs/other"])
def test_a_failed_run_of_which_nothing_is_expected_fails_too(path: str, checked: Midterm) -> None:
    fail(write_run(Path("runs/other"), dtype="float32"))

    code, out, _ = checked(path)

    assert code == 3
    assert "train: runs/other\n  FAIL  the run itself  failed" in out
    [run] = json.loads(checked("--json", path).out)["runs"]
    assert (run["expectation"], run["failed"], run["checks"]) == (None, True, [])


def test_folders_of_runs_at_any_depth(checked: Midterm) -> None:
    runs = ["a/b/first", "a/b/c/second", "a/third", "d/fourth"]
    for run in runs:
        write_run(Path("students", run))
    write_run(Path("students/a/.fifth.partial/run"), {})
    write_run(Path("students/a/another"), dtype="float32")

    def found(*paths: str) -> set[str]:
        answer = json.loads(checked("--json", *paths).out)
        return {run["run"].removeprefix("students/") for run in answer["runs"]}

    assert found("students") == set(runs)
    assert found("students/a/b", "students/d/") == {*runs[:2], runs[3]}
    assert found("students/d/fourth/metrics.json") == {runs[3]}


@pytest.mark.parametrize("name", ["empty", "file", "nowhere", "x" * 300, "a\x1bb"])
def test_a_folder_without_runs_is_a_mistake(name: str, checked: Midterm) -> None:
    """Also beside one that has some."""
    Path("empty/a/.b.partial").mkdir(parents=True)
    write_run(Path("empty/a/.b.partial/run"))
    Path("file").touch()
    good = write_run(Path("good"))

    assert printable(name) in told(checked(name))
    assert printable(name) in told(checked(good, name))


def told(answer: Answer) -> str:
    """The message of a mistake of the user's: exit code 2, one or two lines, nothing else."""
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("Error: ")
    assert 1 <= len(answer.err.splitlines()) <= 2
    assert "\x1b" not in answer.err
    return answer.err


def test_no_run_to_check(checked: Midterm) -> None:
    assert "no finished run in outputs" in told(checked())
    write_run(Path("outputs/a"), dtype="float32")
    assert "no run of which something is expected in outputs" in told(checked())
    assert "midterm train" in told(checked())
    assert "nowhere" in told(checked("nowhere"))


def test_a_folder_that_cannot_be_read_is_not_passed_over(
    checked: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(Path("outputs/a"))
    write_run(Path("outputs/locked/b"), {})
    scandir = os.scandir

    def locked(path: str) -> Any:  # permissions do not hold back a test that root runs
        if str(path).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    assert "cannot read outputs/locked: Permission denied" in told(checked())


def test_a_named_run_of_which_nothing_is_expected(checked: Midterm) -> None:
    good, other = write_run(Path("good")), write_run(Path("other"), dtype="float32")
    assert "other is no run of which something is expected: it has dtype='float32', not" in told(
        checked(good, other)
    )
    foreign = written_runs.write_sweep(Path("foreign"))
    assert "foreign is a run of lr_sweep" in told(checked(foreign))


def test_a_run_that_lacks_a_key_is_checked_as_the_completed_one(checked: Midterm) -> None:
    """Its default is another than what is expected."""
    run = write_run(Path("outputs/run"))
    values = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    del values["config"]["dtype"]
    (run / "metrics.json").write_text(json.dumps(values), encoding="utf-8")

    assert "dtype='float32', not 'float64'" in told(checked(run))
    (Path("expected.yaml")).write_text(FILE.replace("float64", "float32"), encoding="utf-8")
    code, _, err = checked(run)
    assert code == 0
    assert "dtype" in err


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "damaged"),
        ('{"schema_version": 1', "damaged"),
        ("[]", "not written by midterm"),
        ('{"schema_version": 2}', "schema_version 2"),
        ('{"schema_version": 1, "experiment": "train"}', "status"),
        ('{"schema_version": 1, "experiment": ["a"]}', "experiment"),
        ('{"schema_version": 1, "results": {"a": NaN}}', "NaN"),
        ('{"schema_version": 1, "results": {"": 1e999}}', "1e999"),
    ],
)
def test_a_damaged_run(text: str, named: str, checked: Midterm) -> None:
    folder = Path("outputs/run")
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(text, encoding="utf-8")

    assert "outputs/run/metrics.json" in told(checked(folder))
    assert named in told(checked(folder))

    # Where it was not named, it neither passes nor hides the others.
    write_run(Path("outputs/good"))
    code, out, err = checked()
    assert (code, err) == (3, "")
    assert named in out
    assert "outputs/run" in out
    answer = json.loads(checked("--json").out)
    assert (answer["ok"], answer["runs"][0]["ok"]) == (False, True)
    assert [row["run"] for row in answer["unreadable"]] == ["outputs/run"]
    assert named in answer["unreadable"][0]["problem"]


@pytest.mark.parametrize(
    "value", ['"\\u001b[31m"', '"\\ud800"', '"' + "x" * 10_000 + '"', "[[[]]]"]
)
def test_hostile_values_do_no_harm(value: str, checked: Midterm) -> None:
    run = write_run(Path("r\x1b[31mun"), {"half": "HERE", "word": "HERE"})
    file = run / "metrics.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"HERE"', value), encoding="utf-8")

    code, out, err = checked(run)
    assert (code, err) == (3, "")
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) < 200

    code, out, err = checked(run, "--json")
    assert (code, err) == (3, "")
    assert "\x1b" not in out
    assert not json.loads(out, parse_constant=pytest.fail)["ok"]


# ---- mistakes in the file


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    values: dict[str, Any] = yaml.safe_load(FILE)
    change(values)
    return json.dumps(values)  # which is YAML


def of_run(**changes: Any) -> str:
    return changed(lambda values: values["runs"][0].update(changes))


def of_check(**changes: Any) -> str:
    return changed(lambda values: values["runs"][0]["checks"][0].update(changes))


MISTAKES: Mapping[str, tuple[str, str]] = {
    "empty": ("", "expected.yaml is empty"),
    "a list": ("- a\n", "must hold KEY: VALUE lines, got a list"),
    "a tag": (FILE + "x: !!python/name:os.system\n", "the tag '"),
    "an alias": ("coverage: &a 0.9\nruns: *a\n", "alias '*a' is not read here"),
    "a key twice": (FILE + "coverage: 0.9\n", "stands twice"),
    "large": ("# " + "x" * 70_000, "larger than 64 KiB"),
    "no runs": (changed(lambda values: values.pop("runs")), "runs is missing"),
    "empty runs": (changed(lambda values: values.update(runs=[])), "runs must have at least 1"),
    "coverage": (
        changed(lambda v: v.update(coverage=1)),
        "coverage must be at most 0.999999, got 1 (",
    ),
    "nan": (FILE.replace("0.99", ".nan"), "coverage must be finite, got nan"),
    "key": (
        of_run(chekcs=[]),
        "unknown key 'runs[0].chekcs' (expected.yaml): did you mean 'checks'",
    ),
    "experiment": (of_run(experiment="trian"), "no experiment is named 'trian' in 'doubled'"),
    "config key": (of_run(config={"dtyp": 1}), "unknown key 'config.dtyp' in 'doubled'"),
    "config value": (of_run(config={"dtype": {"a": 1}}), "runs[0].config.dtype must be text"),
    "no checks": (of_run(checks=[]), "runs[0].checks must have at least 1"),
    "check key": (
        of_check(sorce="x"),
        "unknown key 'runs[0].checks[0].sorce' (expected.yaml): did you mean 'source'?",
    ),
    "no path": (of_check(at=[]), "runs[0].checks[0].at must have at least 1"),
    "path": (of_check(at=[0.5]), "runs[0].checks[0].at[0] must be"),
    "text for number": (of_check(within=["a", 1]), "runs[0].checks[0].within[0] must be a number"),
    "two kinds": (of_check(equals=1), "runs[0].checks[0] must have one of equals, within"),
    "null kind": (of_check(within=None), "must have a value at within, got null"),
    "open": (of_check(within=[None, None]), "must have an end in within"),
    "reversed": (of_check(within=[2, 1]), "must have low below high in within, got [2.0, 1.0]"),
    "tolerance": (
        changed(
            lambda values: values["runs"][0]["checks"].append(
                {"name": "n", "at": ["a"], "source": "s", "near": {"value": 1, "tolerance": 0}}
            )
        ),
        "runs[0].checks[2].near.tolerance must be greater than 0, got 0",
    ),
    "control characters": (of_run(experiment="a\x1b[31m"), r"'a\x1b[31m'"),
}


@pytest.mark.parametrize("which", MISTAKES)
def test_a_mistake_in_the_file_is_told(which: str, checked: Midterm) -> None:
    text, message = MISTAKES[which]
    Path("expected.yaml").write_text(text, encoding="utf-8")

    assert message in told(checked(write_run(Path("run"))))


def test_a_file_that_is_not_there(folder: Path, midterm: Midterm) -> None:
    assert "cannot read nowhere.yaml" in told(midterm("check", "--expected", "nowhere.yaml"))


def test_expectations_are_no_config(midterm: Midterm) -> None:
    assert "reference/expected" not in midterm("config", "list").out
    assert "no packaged config" in told(midterm("config", "copy", "reference/expected"))


# ---- real runs

QUICK = {
    expectation.command: expectation
    for expectation in PACKAGED.runs
    if expectation.experiment not in ("train", "lr_sweep")
}


@pytest.mark.parametrize("command", QUICK)
def test_a_quick_run_is_as_expected(command: str, folder: Path, midterm: Midterm) -> None:
    assert midterm(*shlex.split(command)[1:], "--quiet", "--output", "run").code == 0

    code, out, _ = midterm("check", "run")

    assert code == 0, out


def test_another_function_fails_the_checks_of_this_one(folder: Path, midterm: Midterm) -> None:
    midterm("autodiff", "--quiet", "--output", "run")
    document = json.loads(Path("run/metrics.json").read_text(encoding="utf-8"))
    document["results"]["derivative"]["autograd"] *= 1 + 1e-11
    Path("run/metrics.json").write_text(json.dumps(document), encoding="utf-8")

    code, out, _ = midterm("check", "run")

    assert code == 3
    assert out.count("FAIL ") == 1


@pytest.mark.parametrize(
    ("command", "failed"),
    [
        ("autodiff --formula '3*x**2'", True),
        ("autodiff --formula '(1/(2*sqrt(y)) + cos(y)) * 3*x**2 * (1 + 1/(1 + u))'", False),
        ("train --lr 1e6 --dataset synthetic --seeds 1 --epochs 1 --set hidden_sizes=[4]", True),
    ],
)
def test_a_run_of_a_wrong_formula_or_a_training_that_fails(
    command: str, failed: bool, folder: Path, midterm: Midterm
) -> None:
    assert midterm(*shlex.split(command), "--quiet", "--output", "runs/run").code == 0

    code, out, _ = midterm("check", "runs")

    assert code == (3 if failed else 0)
    assert ("FAIL  the run itself" in out) == failed


def test_the_experiments_with_expectations() -> None:
    assert {expectation.experiment for expectation in PACKAGED.runs} <= set(EXPERIMENTS)
