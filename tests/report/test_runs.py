import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample_runs import edit, make_run, small_presets

from midterm_cli.config.presets import presets
from midterm_cli.errors import UserError
from midterm_cli.report.runs import PRESETS, Change, command, find

LAYERS = "layers=[{type: conv, out_channels: 2, kernel_size: 3}]"


@pytest.fixture(scope="module", autouse=True)
def use_small_presets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with small_presets(tmp_path_factory.mktemp("configs")):
        yield


def set_time(run: Path, started_at: str) -> None:
    edit(run, lambda document: document["provenance"].update(started_at=started_at))


def test_every_preset_has_its_question() -> None:
    beyond_the_exercise = {"lr_range"}
    assert {*PRESETS, *beyond_the_exercise} == set(presets())


def test_the_commands_name_the_variant() -> None:
    assert command("train") == "midterm train"
    assert command("reference/lr_sweep") == "midterm lr-sweep --config reference/lr_sweep"
    assert command("text/conv_stack") == "midterm conv stack --config text/conv_stack"


def test_the_very_config_wins_over_a_newer_similar_one(tmp_path: Path) -> None:
    exact = make_run("module", tmp_path)
    similar = make_run("module", tmp_path / "other", "seed=3")
    shutil.move(similar, tmp_path / "module" / "seed=3")
    set_time(exact, "2020-01-01T00:00:00+00:00")
    assert find([tmp_path]).answers["module"].folder == exact

    shutil.rmtree(exact)
    answer = find([tmp_path]).answers["module"]
    assert answer.folder.name == "seed=3"
    assert answer.changes == [Change("seed", 0, 3)]


def test_the_data_of_the_exercise_win_over_newer_others(tmp_path: Path) -> None:
    own = make_run("conv_stride", tmp_path, "seed=3")
    other = Path(shutil.copytree(own, tmp_path / "conv_stride" / "other"))
    edit(other, lambda document: document["config"].update(dataset="elsewhere"))
    set_time(own, "2020-01-01T00:00:00+00:00")
    assert find([tmp_path]).answers["conv_stride"].folder == own


def test_a_run_that_answers_no_question_is_another_run(tmp_path: Path) -> None:
    own = make_run("train", tmp_path)
    seeded = make_run("train", tmp_path / "other", "seed=5")
    shutil.move(seeded, tmp_path / "train" / "seed=5")
    beyond = make_run("train", tmp_path / "beyond", "optimizer=adam")
    shutil.move(beyond, tmp_path / "train" / "adam")
    found = find([tmp_path])
    assert found.answers["train"].folder == own
    assert [run.folder.name for run in found.others] == ["adam", "seed=5"]


def test_the_newest_of_equals_wins(tmp_path: Path) -> None:
    first = make_run("module", tmp_path)
    second = Path(shutil.copytree(first, tmp_path / "module" / "again"))
    for older, newer in ((first, second), (second, first)):
        set_time(older, "2020-01-01T00:00:00+00:00")
        set_time(newer, "2020-01-02T00:00:00+00:00")
        assert find([tmp_path]).answers["module"].folder == newer


def test_the_device_makes_no_difference(tmp_path: Path) -> None:
    run = make_run("module", tmp_path)
    edit(run, lambda document: document["config"].update(device="cuda:1"))
    assert find([tmp_path]).answers["module"].changes == []


def test_what_tells_two_questions_apart_is_not_tolerated(tmp_path: Path) -> None:
    """The published run of Part 1 is the same but for its dtype, which others may differ in."""
    make_run("autodiff", tmp_path)
    make_run("module", tmp_path, "dtype=float32")
    found = find([tmp_path])
    assert "reference/autodiff" not in found.answers
    assert found.answers["module"].changes == [Change("dtype", "float64", "float32")]


def test_a_run_with_other_parameters_answers_where_there_is_no_other(tmp_path: Path) -> None:
    mine = make_run("module", tmp_path / "mine", "threshold=2", "seed=3")
    answer = find([tmp_path]).answers["module"]
    assert (answer.folder, answer.comparable) == (mine, False)
    assert answer.changes == [Change("seed", 0, 3), Change("threshold", 2.81, 2.0)]

    close = make_run("module", tmp_path / "close", "seed=3")
    found = find([tmp_path])
    assert found.answers["module"].folder == close
    assert [other.folder for other in found.others] == [mine]


@pytest.mark.parametrize(
    ("preset", "assignments"),
    [
        ("autodiff", ["expression=x**2"]),
        ("train", ["optimizer=adam"]),
        ("train", ["ema_gamma=[]"]),
        ("train", ["momentum=0.5"]),
        ("pool", ["kind=average"]),
        ("conv_stack", ["sentence=one two three four", "size=null", LAYERS]),
    ],
)
def test_another_question_is_no_answer(preset: str, assignments: list[str], tmp_path: Path) -> None:
    run = make_run(preset, tmp_path, *assignments)
    found = find([tmp_path])
    assert preset not in found.answers
    assert [it.folder for it in found.all] == [run]


def test_a_sentence_of_ones_own_is_a_question_about_words(tmp_path: Path) -> None:
    run = make_run("text/conv_stack", tmp_path, "sentence=one two three four five")
    assert find([tmp_path]).answers["text/conv_stack"].folder == run


def test_runs_and_folders_at_any_place(tmp_path: Path) -> None:
    conv = make_run("conv", tmp_path / "a" / "b")
    pool = make_run("pool", tmp_path)
    found = find([tmp_path / "a", pool / "metrics.json", conv])
    assert [answer.folder for answer in found.all] == [conv, pool]
    assert [answer.folder for answer in find([tmp_path], [1, 2]).all] == []


def test_of_runs_with_one_config_the_newest_is_reported(tmp_path: Path) -> None:
    first = make_run("train", tmp_path, "optimizer=adam")
    again = Path(shutil.copytree(first, tmp_path / "repeat" / "adam"))
    edit(again, lambda document: document["config"].update(device="cuda:0"))
    set_time(first, "2020-01-01T00:00:00+00:00")
    assert [run.folder for run in find([tmp_path]).others] == [again]


def test_what_cannot_be_read_is_named_and_not_fatal(tmp_path: Path) -> None:
    good = make_run("module", tmp_path)
    folder = tmp_path / "module"
    (folder / "damaged").mkdir()
    (folder / "damaged" / "metrics.json").write_text("{", encoding="utf-8")
    newer = Path(shutil.copytree(good, folder / "newer"))
    edit(newer, lambda document: document.update(schema_version=99))
    spoilt = Path(shutil.copytree(good, folder / "spoilt"))
    edit(spoilt, lambda document: document["results"].update(phi="1"))
    unfinished = folder / ".other.partial" / "run"
    unfinished.mkdir(parents=True)
    (folder / "note.txt").write_text("not a run", encoding="utf-8")

    found = find([tmp_path])
    assert found.answers["module"].folder == good
    reasons = {unusable.folder.name: unusable.reason for unusable in found.unusable}
    assert reasons.keys() == {"damaged", "newer", "spoilt"}
    assert "damaged" in reasons["damaged"]
    assert "schema_version 99" in reasons["newer"]
    assert "results.phi must be a number, got '1'" in reasons["spoilt"]


def test_a_run_of_an_earlier_version_is_completed(tmp_path: Path) -> None:
    run = make_run("module", tmp_path)
    edit(run, lambda document: document["config"].pop("threshold"))
    answer = find([tmp_path]).answers["module"]
    assert answer.changes == []
    assert "threshold" in answer.notes[0]


def test_no_folder_of_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        find([tmp_path / "nowhere"])


def test_a_run_is_repeated_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("module", tmp_path / "my runs")
    monkeypatch.chdir(tmp_path)
    [answer] = find([Path("my runs")]).all
    assert answer.repeat == f"midterm repeat '{tmp_path}/my runs/module/default'"


def test_the_command_of_a_run_is_that_of_the_preset_or_as_typed(tmp_path: Path) -> None:
    run = make_run("module", tmp_path)
    edit(run, lambda document: document["provenance"].update(command="midterm module grad --x 3"))
    assert find([tmp_path]).answers["module"].command == "midterm module grad"
    edit(run, lambda document: document["config"].update(threshold=3))
    assert find([tmp_path]).answers["module"].command == "midterm module grad --x 3"
