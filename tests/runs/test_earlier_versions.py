"""Runs that version 0.1.0 wrote live on, also where they lack a key that came later."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from answer import Answer
from idx_files import examples, write

from midterm_cli.config import presets
from midterm_cli.config.resolve import dump, plain, resolve
from midterm_cli.registry import EXPERIMENTS
from midterm_cli.report.runs import PRESETS
from midterm_cli.runner import document

Midterm = Callable[..., Answer]

FOLDER = Path(__file__).parent / "version_0_1_0"


pytestmark = pytest.mark.usefixtures("unrendered")


def without(name: str, key: str | None, folder: Path) -> Path:
    """A copy of a run of 0.1.0, in whose stored configs a key is missing."""
    run = folder / name / str(key)
    shutil.copytree(FOLDER / name, run)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    if key is not None:
        del metrics["config"][key], config[key]
        (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
        (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return run


def stored_keys(name: str) -> list[str]:
    return list(json.loads((FOLDER / name / "metrics.json").read_text(encoding="utf-8"))["config"])


def is_noted(key: str | None, name: str, notes: str) -> bool:
    """Whether notes name the key that is missing; one that is gone is not missed."""
    return key not in EXPERIMENTS[name].config_class.model_fields or key in notes


RUNS = [pytest.param(name, None, id=name) for name in EXPERIMENTS]
# A key of each; all of them under `slow`.
LACKING = [pytest.param(name, stored_keys(name)[3], id=f"{name}, lacking") for name in EXPERIMENTS]
ALL = [
    pytest.param(name, key, id=f"{name}-{key}", marks=pytest.mark.slow)
    for name in EXPERIMENTS
    for key in stored_keys(name)
]


def test_there_is_a_run_of_every_experiment() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_config_that_lacks_a_key_is_completed_from_the_default(name: str, folder: Path) -> None:
    whole = document.read(FOLDER / name)
    default = plain(resolve(name).config)
    for key in stored_keys(name):
        found = document.read(without(name, key, folder))

        rivals = type(whole.config).GIVES_WAY.get(key, ())
        if any(plain(whole.config)[rival] is not None for rival in rivals):
            completed = {key: None}
        else:
            completed = {key: default[key]} if key in default else {}
        assert plain(found.config) == plain(whole.config) | completed
        assert is_noted(key, name, " ".join(found.notes))
        assert found.results == whole.results


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_key_that_is_gone_is_left_out_with_a_word(name: str) -> None:
    config_class = EXPERIMENTS[name].config_class
    gone = [key for key in stored_keys(name) if key not in config_class.model_fields]

    assert gone == (["symbolic"] if name == "autodiff" else [])
    notes = document.read(FOLDER / name).notes
    of_gone = [note for note in notes if "completed from the packaged default" not in note]
    assert len(of_gone) == len(gone)
    assert all(
        key in note and config_class.GONE[key] in note
        for key, note in zip(gone, of_gone, strict=True)
    )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_keys_that_are_new_are_completed_with_a_word(name: str) -> None:
    new = EXPERIMENTS[name].config_class.model_fields.keys() - set(stored_keys(name))
    completed = [note for note in document.read(FOLDER / name).notes if "completed" in note]
    assert len(completed) == bool(new)
    assert all(key in note for key in new for note in completed)


@pytest.mark.parametrize(("name", "key"), [*RUNS, *LACKING, *ALL])
def test_it_is_drawn(name: str, key: str | None, folder: Path, midterm: Midterm) -> None:
    run = without(name, key, folder)

    code, out, err = midterm("draw", run)

    assert code == 0, err
    assert all((folder / line).is_file() for line in out.splitlines())
    assert out
    assert is_noted(key, name, err)


@pytest.mark.parametrize(("name", "key"), [*RUNS, *LACKING, *ALL])
def test_it_is_resumed(name: str, key: str | None, folder: Path, midterm: Midterm) -> None:
    run = without(name, key, folder)
    before = (run / "metrics.json").read_bytes()
    write(Path("images"), examples(3, 4, 4))  # the dataset of the run of conv_stride
    words = EXPERIMENTS[name].command.split()[1:]

    answer = midterm(*words, "--config", run / "config.yaml", "--output", run, "--resume", "--json")

    assert (run / "metrics.json").read_bytes() == before
    if key == "dataset":  # completed to Fashion-MNIST, on which this run was not made
        assert answer.code == 2
        assert "another content of the dataset fashion_mnist" in answer.err
    else:
        assert answer.code == 0, answer.err
        assert json.loads(answer.out) == json.loads(before)


@pytest.mark.parametrize(
    ("name", "key"),
    [one for one in [*RUNS, *LACKING, *ALL] if one.values[0] in ("train", "lr_sweep")],
)
def test_it_is_compared(name: str, key: str | None, folder: Path, midterm: Midterm) -> None:
    run = without(name, key, folder)

    code, out, err = midterm("compare", run, FOLDER / name, "--json")

    assert code == 0, err
    assert {row["run"] for row in json.loads(out)["rows"]} == {str(run), str(FOLDER / name)}
    assert is_noted(key, name, err)


def write_outputs(place: int | None) -> None:
    """A run of each experiment in outputs/, without the key at this place of its config."""
    for name in EXPERIMENTS:
        keys = stored_keys(name)
        key = None if place is None else keys[place % len(keys)]
        shutil.move(without(name, key, Path("made")), Path("outputs", name, "default"))


@pytest.fixture
def defaults_of_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packaged defaults are the configs of these runs, so that the report takes them."""
    configs = tmp_path / "configs"
    shutil.copytree(presets.configs_dir(), configs)
    for name in EXPERIMENTS:
        text = dump(document.read(FOLDER / name).config)
        (configs / f"{name}.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(presets, "configs_dir", lambda: configs)


PLACES = [-1, *(pytest.param(place, marks=pytest.mark.slow) for place in (None, *range(19)))]


@pytest.mark.usefixtures("defaults_of_then")
@pytest.mark.parametrize("place", PLACES)
def test_the_report_is_written_of_them(place: int | None, folder: Path, midterm: Midterm) -> None:
    write_outputs(place)

    code, out, err = midterm("report")

    assert (code, out) == (0, "outputs/report/index.html\n"), err
    for experiment in map(EXPERIMENTS.__getitem__, map(presets.experiment_of, PRESETS)):
        # As of a question that no run answers.
        assert not [line for line in err.splitlines() if line.endswith(experiment.command)]
        assert f"outputs/{experiment.name}/default" in Path(out.strip()).read_text("utf-8")


def first_value(results: Any) -> tuple[list[str | int], Any]:
    """The path of the first value that is no list and no mapping, and the value."""
    if not isinstance(results, dict | list):
        return [], results
    key = next(iter(results)) if isinstance(results, dict) else 0
    path, value = first_value(results[key])
    return [key, *path], value


def expectation(name: str) -> dict[str, Any]:
    """What is expected of a run of an experiment: some value that the stored one has."""
    results = json.loads((FOLDER / name / "metrics.json").read_text(encoding="utf-8"))["results"]
    path, value = first_value(results)
    one = {"name": str(path), "at": path, "equals": value, "source": "version 0.1.0"}
    command = EXPERIMENTS[name].command
    return {"name": name, "command": command, "experiment": name, "config": {}, "checks": [one]}


@pytest.mark.parametrize("place", PLACES)
def test_they_are_checked(place: int | None, folder: Path, midterm: Midterm) -> None:
    write_outputs(place)
    wanted = {"coverage": 0.99, "runs": [expectation(name) for name in EXPERIMENTS]}
    Path("expected.yaml").write_text(json.dumps(wanted), encoding="utf-8")

    code, out, err = midterm("check", "--expected", "expected.yaml", "--json")

    assert code == 0, err
    assert [run["experiment"] for run in json.loads(out)["runs"]] == list(EXPERIMENTS)
