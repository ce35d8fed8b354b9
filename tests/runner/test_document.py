"""metrics.json: strict JSON, validated once, where it enters; and its JSON Schema."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_experiment.schema
import pytest
import written_runs
from answer import Answer
from fake_experiment import show as fake_show
from jsonschema import Draft202012Validator

from midterm_cli.config.resolve import resolve
from midterm_cli.errors import UserError
from midterm_cli.registry import EXPERIMENTS
from midterm_cli.runner import document, make

Midterm = Callable[..., Answer]

EARLIER = Path(__file__).parents[1] / "runs" / "version_0_1_0"


# ---- out


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_is_strict(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        document.to_json({"results": {"loss": value}})


def test_json_has_nothing_that_moves_a_cursor() -> None:
    text = "\x1b[2J\x9b31m\x7f\u202e γ é 😀 \U000e0001"

    written = document.to_json({text: [text]})

    assert all(character.isprintable() or character == "\n" for character in written)
    assert "γ é 😀" in written
    assert json.loads(written) == {text: [text]}


# ---- in


@pytest.fixture
def run(fake_train: None, folder: Path) -> dict[str, Any]:
    """The document of a run in the folder `run`."""
    made = make.make(resolve("train"), command="", output=Path("run"), quiet=True)
    return json.loads(made.json)  # type: ignore[no-any-return]


def refused(text: str) -> str:
    """The message on a metrics.json with this text."""
    Path("run/metrics.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        document.read(Path("run"))
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def test_a_run_is_read_by_its_folder_or_its_file(run: dict[str, Any]) -> None:
    found = document.read(Path("run/metrics.json"))

    assert found == document.read(Path("run"))
    assert (found.document, found.name, found.notes) == (run, "run", [])
    assert isinstance(found.config, fake_experiment.schema.Config)
    assert isinstance(found.results, fake_experiment.schema.Results)
    assert found.results.w == run["results"]["w"]


def test_what_is_finished(run: dict[str, Any]) -> None:
    assert document.is_finished(Path("run"))
    assert not document.is_finished(Path())
    assert not document.is_finished(Path("x" * 300))


@pytest.mark.parametrize("name", ["none", "x" * 300, "run/config.yaml"])
def test_where_there_is_no_run(name: str, run: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=name):
        document.read(Path(name))


@pytest.mark.parametrize(
    "text",
    ["", "[1]", '"', "{", '{"accuracy": 1}', '{"schema_version": true}', '{"schema_version": 2}'],
)
def test_what_midterm_did_not_write_or_not_to_its_end(text: str, run: dict[str, Any]) -> None:
    assert "run/metrics.json" in refused(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 400])
def test_a_number_that_no_float_holds_is_damage(number: str, run: dict[str, Any]) -> None:
    text = json.dumps(run).replace(json.dumps(run["results"]["w"][0]), number)
    assert "run/metrics.json is damaged: results.w[0]: " in refused(text)
    assert "run/metrics.json is damaged: new[0].a\\x1b: " in refused(
        json.dumps(run)[:-1] + f', "new": [{{"a\\u001b": {number}}}]}}'
    )


@pytest.mark.parametrize("version", [0, -3])
def test_a_version_that_never_was_is_damage(version: int, run: dict[str, Any]) -> None:
    assert f"schema_version is {version}" in refused(json.dumps(run | {"schema_version": version}))


def places(value: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every key inside a document: its path, and what holds it."""
    for key in list(value if isinstance(value, dict) else range(len(value))):
        inner = f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}".strip(".")
        yield inner, value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key], inner)


NEEDED = {
    *("schema_version", "experiment", "status", "config", "results", "provenance"),
    *("results.w", "results.outcome"),
    *(
        f"provenance.{key}"
        for key in (
            *("version", "command", "git_commit", "python", "torch", "device", "dtype"),
            *("threads", "data_sha256", "started_at", "wall_time_s"),
        )
    ),
}


def test_each_key_that_is_off_is_named(run: dict[str, Any]) -> None:
    """One at a time is replaced by what it cannot be."""
    del run["provenance"]["data_source"]  # which is the experiment's own and may be anything
    for path, holder, key in places(run):
        value = holder[key]
        holder[key] = {"no": "value"} if not isinstance(value, dict) else "no mapping"
        named = path.removeprefix("config.").replace("ema_gamma[0]", "ema_gamma")
        assert named.partition("[")[0] in refused(json.dumps(run)), path
        holder[key] = value


def test_each_key_that_is_not_there_is_named_where_it_is_needed(run: dict[str, Any]) -> None:
    missing = set()
    for path, holder, key in list(places(run)):
        if isinstance(holder, dict):
            rest = dict(holder)
            del holder[key]
            text = json.dumps(run)
            if path in NEEDED:
                assert path in refused(text)
                missing.add(path)
            else:
                Path("run/metrics.json").write_text(text, encoding="utf-8")
                document.read(Path("run"))
            holder.clear()
            holder.update(rest)
    assert missing == NEEDED


ONE_ROW = "history must have one row for each seed, epoch and kind of weights"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda run: run["results"]["history"].pop(7), ONE_ROW),
        (lambda run: run["results"]["history"][7].update(epoch=9), ONE_ROW),
        (lambda run: run["results"]["history"][8].update(gamma=0.25), ONE_ROW),
        (lambda run: run["config"].update(ema_gamma=[0.25]), "γ 0.25"),
        (lambda run: run["config"].update(ema_gamma=[0.5, 0.25]), "history must have 24 rows"),
        (lambda run: run["config"].update(seed=1), "history must have seed 2"),
        (lambda run: run["config"].update(num_seeds=10_000, epochs=100_000), "history must have"),
        (lambda run: run["results"]["final"]["weights"].pop(), "final.weights must have"),
        (
            lambda run: run["results"].update(
                comparison=[
                    {"gamma": 0.25, "metric": "test_loss", "gain": None, "roughness_ratio": None}
                ]
            ),
            "comparison must have no gamma",
        ),
        (
            lambda run: run["results"].update(
                comparison=[
                    {"gamma": 0.5, "metric": "test_loss", "gain": None, "roughness_ratio": None}
                ]
                * 20_000
            ),
            "comparison must have a gamma and metric once",
        ),
    ],
)
def test_results_that_contradict_the_config_are_damage(
    change: Callable[[Any], object], told: str, folder: Path
) -> None:
    run = written_runs.write_train(Path("run"))
    file = run / "metrics.json"
    whole = json.loads(file.read_text(encoding="utf-8"))
    assert document.read(run).document == whole
    change(whole)

    message = refused(json.dumps(whole))

    assert "run/metrics.json is damaged: results." in message
    assert told in message


def test_what_a_later_version_may_add_is_ignored(run: dict[str, Any]) -> None:
    for part in (run, run["results"], run["provenance"], run["config"]):
        part["new"] = {"a": 1}
    Path("run/metrics.json").write_text(json.dumps(run), encoding="utf-8")

    found = document.read(Path("run"))

    [note] = found.notes
    assert "new in run/metrics.json" in note


def test_an_experiment_of_a_later_version(run: dict[str, Any]) -> None:
    assert "'gan'" in refused(json.dumps(run | {"experiment": "gan"}))
    assert "experiment" in refused(json.dumps(run | {"experiment": ["train"]}))


def test_a_bug_in_what_shows_results_is_no_damage(
    run: dict[str, Any], midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(config: object, results: Any) -> object:
        return results["w"]

    monkeypatch.setattr(fake_show, "draw", wrong)
    with pytest.raises(TypeError, match="not subscriptable"):
        midterm("draw", "run")


@pytest.mark.parametrize(
    "command",
    [("draw",), ("compare",), ("check",), ("train", "--set", "epochs=0", "--lr-from")],
    ids=lambda command: command[-1],
)
def test_each_reader_refuses_a_newer_version_and_reads_an_older_one(
    command: tuple[str, ...], folder: Path, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(EARLIER / "lr_sweep", "run")
    text = Path("run/metrics.json").read_text(encoding="utf-8")
    newer = text.replace('"schema_version": 1', '"schema_version": 2')
    Path("run/metrics.json").write_text(newer, encoding="utf-8")

    code, out, err = midterm(*command, "run")
    assert (code, out) == (2, "")
    assert "schema_version 2" in err
    assert "upgrade midterm" in err

    # For a midterm of later the same document is an older one.
    monkeypatch.setattr(document, "SCHEMA_VERSION", 3)
    assert "schema_version" not in midterm(*command, "run").err


# ---- its schema

_TINY = ("--dataset", "synthetic", "--set", "train_fraction=0.05", "--set", "hidden_sizes=[4]")
_TRAIN = ("train", *_TINY, "--epochs", "1")
_SWEEP = ("lr-sweep", *_TINY, "--seeds", "2")
_RANGE = ("lr-range-test", *_TINY, "--updates", "100")

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
        (*_TRAIN, "--seeds", "2"),
        (*_TRAIN, "--seeds", "1", "--set", "ema_gamma=[]"),
        (*_TRAIN, "--activation", "identity", "--lr", "1000"),
    ],
    "lr_sweep": [
        (*_SWEEP, "--sharpness"),
        (*_SWEEP, "--max-rates", "2"),
        (*_SWEEP, "--activation", "identity", "--start-lr", "1000", "--max-rates", "2"),
    ],
    "lr_range": [
        (*_RANGE, "--seeds", "2"),
        (*_RANGE, "--seeds", "1", "--activation", "identity", "--set", "end_lr=1e6"),
    ],
    "conv": [("conv", "shape"), ("conv", "shape", "--set", "size=[500, 700]")],
    "conv_stride": [
        ("conv", "stride", "--set", "dataset=synthetic", "--set", "size=8", "--set", "repeats=1")
    ],
    "conv_stack": [("conv", "stack"), ("conv", "stack", "--config", "text/conv_stack")],
    "pool": [("pool", "cost"), ("pool", "cost", "--set", "kind=average")],
    "pool_min": [("pool", "min")],
}

# What others may rely on.
CONTRACT: dict[str, set[str]] = {
    "autodiff": {"x", "f", "derivative", "max_relative_error", "latex"},
    "softt": {"threshold", "y", "f", "derivative"},
    "module": {
        *("threshold", "x", "M", "g", "phi", "grad_x", "grad_M", "grad_M_symmetric"),
        *("condition_number", "checks"),
    },
    "train": {"history", "final", "outcome"},
    "lr_sweep": {
        *("trials", "rates", "last_stable_lr", "first_divergent_lr", "threshold_lr"),
        "recommended_lr",
    },
    "lr_range": {"suggestions", "seeds", "curve", "records", "sweep"},
    "conv": {"output_shape", "values", "macs", "steps"},
    "conv_stride": set(),
    "conv_stack": set(),
    "pool": {"output_shape", "values", "operations", "steps"},
    "pool_min": set(),
}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = document.schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def mistakes(validator: Draft202012Validator, values: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(values)]


def test_every_experiment_has_a_run_here() -> None:
    assert set(RUNS) == set(CONTRACT) == set(EXPERIMENTS)


@pytest.mark.usefixtures("unrendered")
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
) -> None:
    answer = midterm(*arguments, "--json", "--quiet")
    assert answer.code == 0, answer.err
    written = json.loads(answer.out)

    assert written["experiment"] == experiment
    assert mistakes(validator, written) == []

    schema = document.schema([experiment])
    alone = Draft202012Validator(schema)
    assert alone.is_valid(written)
    assert not alone.is_valid(written | {"experiment": "gan"})
    required = {
        "results": schema["$defs"][f"{experiment}.results"]["required"],
        "provenance": schema["$defs"]["Provenance"]["required"],
    }
    assert set(required["results"]) >= CONTRACT[experiment]
    for part, keys in required.items():
        values = written[part]
        for key in keys:
            rest = {name: value for name, value in values.items() if name != key}
            assert not alone.is_valid(written | {part: rest}), key
            assert not alone.is_valid(written | {part: values | {key: spoilt(values[key])}}), key
    for key in ("seed", "device"):
        config = written["config"] | {key: spoilt(written["config"][key])}
        assert not alone.is_valid(written | {"config": config}), key


def spoilt(value: Any) -> Any:
    """A value in which the first number or null is the text "NaN", or the first text a number."""
    if isinstance(value, dict) and value:
        first = next(iter(value))
        return value | {first: spoilt(value[first])}
    if isinstance(value, list) and value:
        return [spoilt(value[0]), *value[1:]]
    return 0 if isinstance(value, str) else "NaN"


def test_what_every_document_has(folder: Path, midterm: Midterm) -> None:
    validator = Draft202012Validator(json.loads(midterm("schema", "softt").out))
    written = json.loads(midterm("softt", "plot", "--json", "--quiet").out)
    assert mistakes(validator, written) == []

    for key in ("schema_version", "experiment", "status", "config", "results", "provenance"):
        assert mistakes(validator, {name: written[name] for name in written if name != key})
    wrong: list[dict[str, Any]] = [
        {"schema_version": 2},
        {"schema_version": "1"},
        {"status": "running"},
        {"experiment": "train"},
        {"failed": None},
        {"results": []},
    ]
    for changes in wrong:
        assert mistakes(validator, written | changes), changes


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_runs_of_earlier_and_of_later_versions_are_valid(
    experiment: str, validator: Draft202012Validator
) -> None:
    written = json.loads((EARLIER / experiment / "metrics.json").read_text(encoding="utf-8"))
    assert mistakes(validator, written) == []

    for key in list(written["config"]):
        rest = {name: value for name, value in written["config"].items() if name != key}
        assert mistakes(validator, written | {"config": rest}) == []
    for part in ("config", "results", "provenance"):
        written[part]["new_key"] = 1
    assert mistakes(validator, written) == []


def test_the_command_prints_one_document_that_refers_to_nothing_outside(midterm: Midterm) -> None:
    code, out, err = midterm("schema")
    assert (code, err) == (0, "")
    schema = json.loads(out)
    assert schema == document.schema()
    assert schema["$id"] == "urn:midterm:metrics:1"
    identities = {part["$id"] for part in schema["$defs"].values() if "$id" in part}
    referred = {
        value for _, holder, key in places(schema) if key == "$ref" for value in [holder[key]]
    }
    assert {reference for reference in referred if not reference.startswith("#")} == identities
    assert "http" not in out.replace(schema["$schema"], "")
    assert json.loads(midterm("schema", "lr-sweep").out)["$id"] == "urn:midterm:metrics:1:lr_sweep"


def test_every_description_is_text() -> None:
    described = {
        path: holder[key]
        for path, holder, key in places(document.schema())
        if key == "description" and not path.endswith("properties.description")
    }

    assert len(described) > 100
    assert [path for path, text in described.items() if not isinstance(text, str) or not text] == []
