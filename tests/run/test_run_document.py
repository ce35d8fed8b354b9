"""The JSON Schema of metrics.json against what every command writes, and against damage."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from midterm_cli.errors import UserError
from midterm_cli import registry as experiments
from midterm_cli import paths
from midterm_cli.run import stage as record
from midterm_cli.run.schema import metrics_schema

Midterm = Callable[..., Any]  # returns conftest.Answer

TRAIN = ("train", "--dataset", "synthetic", "--epochs", "1")
SWEEP = ("lr-sweep", "--dataset", "synthetic", "--seeds", "2")

# Every experiment, small, and the turns that its results can take.
RUNS: dict[str, list[tuple[str, ...]]] = {
    "autodiff": [
        ("autodiff",),
        ("autodiff", "--x", "-0.896917627062851", "--x", "1", "--formula", "3*x"),
        ("autodiff", "--expression", "1/x", "--formula", "-1/x**2", "--dtype", "float32"),
    ],
    "softt": [
        ("softt", "plot"),
        ("softt", "plot", "--second-derivative", "--dtype", "float16", "--range", "-90", "90"),
    ],
    "module": [("module", "grad"), ("module", "grad", "--dimension", "1", "--dtype", "float32")],
    "train": [
        (*TRAIN, "--seeds", "2"),
        (*TRAIN, "--seeds", "1", "--set", "ema_gamma=[]"),
        (*TRAIN, "--activation", "identity", "--lr", "1"),
    ],
    "lr_sweep": [
        (*SWEEP, "--sharpness"),
        (*SWEEP, "--max-rates", "2"),
        (*SWEEP, "--activation", "identity", "--start-lr", "10", "--max-rates", "2"),
    ],
    "conv": [("conv", "shape"), ("conv", "shape", "--set", "size=[500, 700]")],
    "conv_stride": [
        ("conv", "stride", "--set", "dataset=synthetic", "--set", "size=8", "--set", "repeats=1")
    ],
    "conv_stack": [("conv", "stack"), ("conv", "stack", "--config", "text/conv_stack")],
    "pool": [("pool", "cost"), ("pool", "cost", "--set", "kind=average")],
    "pool_min": [("pool", "min")],
}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = metrics_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def mistakes(validator: Draft202012Validator, document: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def test_every_experiment_has_a_schema_and_a_run_here() -> None:
    files = {path.stem for path in paths.schema_dir().glob("*.yaml")}
    assert files == {"metrics", *experiments.EXPERIMENTS}
    assert set(RUNS) == set(experiments.EXPERIMENTS)


@pytest.mark.parametrize(
    ("experiment", "arguments"),
    [(experiment, arguments) for experiment, runs in RUNS.items() for arguments in runs],
)
def test_what_a_command_writes_is_valid(
    experiment: str,
    arguments: tuple[str, ...],
    folder: Path,
    midterm: Midterm,
    validator: Draft202012Validator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(record, "to_png", lambda figure: b"")  # takes longer than all the rest
    answer = midterm(*arguments, "--json", "--quiet")
    assert answer.code == 0, answer.err
    document = json.loads(answer.out)

    assert document["experiment"] == experiment
    assert mistakes(validator, document) == []

    schema = metrics_schema([experiment])
    alone = Draft202012Validator(schema)
    assert alone.is_valid(document)
    assert not alone.is_valid(document | {"experiment": "gan"})
    contract = schema["$defs"][f"{experiment}.results"]["required"]
    for part, keys in {
        "results": contract,
        "provenance": schema["properties"]["provenance"]["required"],
    }.items():
        for key in keys:
            values = document[part]
            rest = {name: value for name, value in values.items() if name != key}
            assert not alone.is_valid(document | {part: rest}), key
            spoilt = values | {key: spoiled(values[key])}
            assert not alone.is_valid(document | {part: spoilt}), key
    for key in ("seed", "device"):
        spoilt = document["config"] | {key: spoiled(document["config"][key])}
        assert not alone.is_valid(document | {"config": spoilt}), key


def spoiled(value: Any) -> Any:
    """A value in which the first number or null is the text "NaN", or the first text a number."""
    if isinstance(value, dict) and value:
        first = next(iter(value))
        return value | {first: spoiled(value[first])}
    if isinstance(value, list) and value:
        return [spoiled(value[0]), *value[1:]]
    return 0 if isinstance(value, str) else "NaN"


def test_what_the_envelope_refuses(folder: Path, midterm: Midterm) -> None:
    validator = Draft202012Validator(json.loads(midterm("schema", "autodiff").out))
    document = json.loads(midterm("autodiff", "--json", "--quiet").out)
    assert mistakes(validator, document) == []

    for key in ("schema_version", "experiment", "status", "config", "results", "provenance"):
        assert mistakes(validator, {name: document[name] for name in document if name != key})
    wrong: list[dict[str, Any]] = [
        {"schema_version": 2},
        {"schema_version": "1"},
        {"status": "running"},
        {"experiment": "train"},
        {"failed": None},
        {"results": []},
    ]
    for changes in wrong:
        assert mistakes(validator, document | changes), changes


def test_what_may_be_added_and_what_older_runs_lack(
    folder: Path, midterm: Midterm, validator: Draft202012Validator
) -> None:
    document = json.loads(midterm(*SWEEP, "--max-rates", "2", "--json", "--quiet").out)

    # A run of before there was such a key, and one of after.
    del document["config"]["sharpness"], document["results"]["sharpness"]
    document["config"]["new_key"] = document["results"]["new_key"] = 1
    document["provenance"]["new_key"] = 1
    assert mistakes(validator, document) == []


def test_a_nan_is_no_json_and_so_in_no_run(folder: Path) -> None:
    document = {"schema_version": 1, "experiment": "train", "config": {}, "results": {"a": 0.5}}
    Path("metrics.json").write_text(json.dumps(document), encoding="utf-8")
    assert record.read_run(Path("metrics.json")) == document
    for number in ("NaN", "Infinity", "-Infinity"):
        Path("metrics.json").write_text(json.dumps(document).replace("0.5", number), "utf-8")
        with pytest.raises(UserError, match=f"{number} is not strict JSON"):
            record.read_run(Path("metrics.json"))


def test_the_command_prints_one_document_that_refers_to_nothing_outside(midterm: Midterm) -> None:
    code, out, err = midterm("schema")
    assert (code, err) == (0, "")
    schema = json.loads(out)
    assert schema == metrics_schema()
    assert schema["$id"] == "urn:midterm:metrics:1"
    identities = {part["$id"] for part in schema["$defs"].values()}
    referred = {value for key, value in everything(schema) if key == "$ref"}
    assert {reference for reference in referred if not reference.startswith("#")} == identities
    assert "http" not in out.replace(schema["$schema"], "")
    assert json.loads(midterm("schema", "lr-sweep").out)["$id"] == "urn:midterm:metrics:1:lr_sweep"


def everything(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    below = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in below:
        yield str(key), inner
        if isinstance(inner, dict | list):
            yield from everything(inner)


def test_no_schema_for_what_is_no_experiment(midterm: Midterm) -> None:
    answer = midterm("schema", "lr-sweeep")
    assert (answer.code, answer.out) == (2, "")
    assert "no experiment is named 'lr-sweeep': did you mean 'lr_sweep'?" in answer.err


# ---- readers, and the version of what they read


@pytest.mark.parametrize(
    "command",
    [("draw",), ("compare",), ("check",), ("train", "--lr-from")],
    ids=lambda command: command[-1],
)
def test_each_reader_refuses_a_newer_version_and_reads_an_older_one(
    command: tuple[str, ...], folder: Path, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {"schema_version": 2, "experiment": "lr_sweep", "config": {}, "results": {}}
    Path("run").mkdir()
    Path("run/metrics.json").write_text(json.dumps(document), encoding="utf-8")

    code, out, err = midterm(*command, "run")
    assert (code, out) == (2, "")
    assert err == (
        "Error: run/metrics.json has schema_version 2, this midterm reads up to 1: "
        "upgrade midterm\n"
    )

    # With a midterm of later, the same document is an older one: what is wrong is what it says.
    monkeypatch.setattr(record, "SCHEMA_VERSION", 3)
    code, out, err = midterm(*command, "run")
    assert (code, out) == (2, "")
    assert "schema_version" not in err
