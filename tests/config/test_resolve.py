"""Layers of a config, what is refused, and stored configs of earlier versions."""

from pathlib import Path
from typing import Any

import fake_experiment.schema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midterm_cli.config import presets, yaml
from midterm_cli.config.resolve import Layer, annotated, complete, dump, meant, plain, resolve
from midterm_cli.errors import UserError
from midterm_cli.registry import EXPERIMENTS, Experiment

pytestmark = pytest.mark.usefixtures("fake_train")


def write(folder: Path, text: str, name: str = "my.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return name


def mistakes(
    file: str | list[str] | None = None,
    assignments: list[str] | None = None,
    options: tuple[Layer, ...] = (),
) -> list[str]:
    with pytest.raises(UserError) as caught:
        resolve("train", file, assignments or (), options)
    return str(caught.value).splitlines()


def test_each_layer_wins_over_the_one_before(folder: Path) -> None:
    file = write(folder, "lr: 1e-1\nepochs: 11\nbatch_size: 12\n")
    assignments = ["epochs=21", "batch_size=22", "batch_size=23"]

    found = resolve("train", file, assignments, [Layer("--batch-size", {"batch_size": 32})])

    assert isinstance(found.config, fake_experiment.schema.Config)
    values = plain(found.config)
    assert (values["lr"], values["epochs"], values["batch_size"]) == (0.1, 21, 32)
    assert values["hidden_sizes"] == [32, 16]
    assert [found.origin(key) for key in ("lr", "epochs", "batch_size", "seed")] == [
        "my.yaml",
        "--set",
        "--batch-size",
        "default",
    ]


def test_files_are_merged_in_order_and_the_preset_among_them_is_the_base(folder: Path) -> None:
    mine = write(folder, "lr: 1e-1\nactivation: relu\n")
    other = write(folder, "lr: 2e-1\nepochs: 7\n", "other.yaml")

    found = resolve("train", ["reference/train", mine, other])

    values = plain(found.config)
    assert (values["lr"], values["epochs"], values["activation"]) == (0.2, 7, "relu")
    assert [found.origin(key) for key in ("lr", "activation")] == ["other.yaml", "my.yaml"]
    assert found.preset == "reference/train"
    assert found.base == resolve("train", "reference/train").config
    last = resolve("train", [mine, "reference/train"])
    assert plain(last.config)["activation"] == "identity"
    assert (last.preset, last.base) == (found.preset, found.base)
    assert resolve("train", [mine, other]).preset == "train"
    assert mistakes([mine, "none.yaml"])[0].startswith("cannot read none.yaml")


def test_set_reads_values_as_yaml_does() -> None:
    found = resolve("train", None, ["lr=1e-3", "hidden_sizes=[8,4]", "dataset=a=b", "ema_gamma=1"])

    values = plain(found.config)
    assert values["lr"] == 1e-3
    assert values["hidden_sizes"] == [8, 4]
    assert values["dataset"] == "a=b"
    assert values["ema_gamma"] == [1.0]


def test_a_dotted_key_reaches_into_a_mapping() -> None:
    assert mistakes(None, ["seed.x.y=3"]) == [
        "seed must be an integer, got {'x': {'y': 3}} (--set)"
    ]
    # What stands beside it stays.
    [line] = mistakes(None, ["seed.x=3", "seed.y=4"])
    assert "{'x': 3, 'y': 4}" in line


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("lr: fast", "lr", "'fast'"),
        ("lr: -1", "lr", "-1"),
        ("lr: 0", "lr", "0"),
        ("lr: 1e7", "lr", "10000000.0"),
        ("lr: .nan", "lr", "nan"),
        ("lr: .inf", "lr", "inf"),
        ("lr:", "lr", "null"),
        ("batch_size: '3'", "batch_size", "'3'"),
        ("lr: 'three'", "lr", "'three'"),
        ("lr: true", "lr", "true"),
        ("lr: [1]", "lr", "[1]"),
        ("lr: {a: 1}", "lr", "{'a': 1}"),
        ("seed: -1", "seed", "-1"),
        ("seed: 4294967296", "seed", "4294967296"),
        ("epochs: 3.0", "epochs", "3.0"),
        ("epochs: true", "epochs", "true"),
        ("epochs: 2020-01-01", "epochs", "'2020-01-01'"),
        ("dataset: 3", "dataset", "3"),
        ("hidden_sizes: 3", "hidden_sizes", "3"),
        ("hidden_sizes: [8, 0]", "hidden_sizes[1]", "0"),
        ("activation: rely", "activation", "'rely'"),
        ("ema_gamma: 1.5", "ema_gamma[0]", "1.5"),
        ("device: gpu", "device", "'gpu'"),
        ("lerning_rate: 1", "'lerning_rate'", ""),
        ("epoch: 1", "'epoch'", "did you mean 'epochs'?"),
        ('"e\\ech": 1', r"'e\x1bch'", "did you mean 'epochs'?"),
    ],
)
def test_a_mistake_names_key_value_and_place(text: str, key: str, value: str, folder: Path) -> None:
    [line] = mistakes(write(folder, text))

    assert key in line.split()[:3]
    assert value in line
    assert "(my.yaml)" in line


def test_all_mistakes_are_told_at_once_each_with_its_own_place(folder: Path) -> None:
    found = mistakes(
        write(folder, "lr: fast\nepoch: 3\n"),
        ["batch_size=0", "acivation=relu"],
        (Layer("--seed", {"seed": -1}),),
    )

    places = {"batch_size": "--set", "lr": "my.yaml", "seed": "--seed"}
    places |= {"'acivation'": "--set", "'epoch'": "my.yaml"}
    assert len(found) == len(places)
    for key, place in places.items():
        assert [line for line in found if key in line.split() and f"({place})" in line]


@pytest.mark.parametrize(
    "assignment",
    [
        "lr",
        "=3",
        "a..b=3",
        "lr=[1",
        "lr=!!python/name:os.system",
        "lr=1\x1b[31m",
    ],
)
def test_a_bad_assignment_is_named(assignment: str) -> None:
    [line] = mistakes(None, [assignment])

    assert line.startswith(f"--set {assignment.partition(chr(27))[0]}")
    assert line.isprintable()


def test_a_preset_by_name_and_a_file_of_that_name_before_it(folder: Path) -> None:
    found = resolve("train", "reference/train")
    assert (plain(found.config)["activation"], found.preset) == ("identity", "reference/train")

    (folder / "reference").mkdir()
    write(folder, "activation: tanh", "reference/train")

    found = resolve("train", "reference/train")
    assert (plain(found.config)["activation"], found.preset) == ("tanh", "train")


def test_the_base_is_the_preset_alone() -> None:
    found = resolve("train", "reference/train", ["lr=3"])

    assert plain(found.base) == plain(resolve("train").config) | {"activation": "identity"}
    assert plain(found.config) == plain(found.base) | {"lr": 3}


@pytest.mark.parametrize("name", ["referense/train", "../configs/train", "x" * 5000, "."])
def test_a_config_that_is_not_there_is_named(name: str, folder: Path) -> None:
    [line] = mistakes(name)
    assert name in line


def test_a_preset_of_another_experiment_is_refused() -> None:
    [line] = mistakes("reference/lr_sweep")
    assert "'reference/lr_sweep' is a packaged config of lr_sweep, not of train" in line
    assert "train, reference/train" in line


def test_which_experiment_is_meant(folder: Path) -> None:
    assert meant("lr-sweep", None) == "lr_sweep"
    assert meant("conv", "train.yaml") == "conv"
    assert meant(None, "some/where/train.yaml") == "train"
    assert meant(None, "text/conv_stack") == "conv_stack"
    write(folder, "lr: 1", "mine.yaml")
    for name, file in (("trian", None), (None, None), (None, "mine.yaml"), (None, "nowhere.yaml")):
        with pytest.raises(UserError):
            meant(name, file)


# ---- configs of earlier versions


def test_a_key_that_is_gone_is_left_out_of_a_file_with_a_word(folder: Path) -> None:
    found = resolve("train", write(folder, "momentum: 0.9\nlr: 3\n"))

    assert plain(found.config)["lr"] == 3
    [note] = found.notes
    assert "momentum" in note
    assert "my.yaml" in note
    assert "nothing was done with it" in note
    # One that is misspelt is a mistake all the same.
    assert "'momentun'" in mistakes(write(folder, "momentun: 0.9\n"))[0]


@pytest.fixture
def train(fake_train: None) -> Experiment:
    return EXPERIMENTS["train"]


def of_today(train: Experiment, values: dict[str, Any]) -> dict[str, Any]:
    return plain(train.config_class.model_validate(values, strict=True))


def test_a_stored_config_is_taken_as_it_is(train: Experiment) -> None:
    stored = plain(resolve("train", None, ["lr=3", "seed=5"]).config)

    assert complete(train, stored, "here") == (stored, [])


def test_a_stored_config_that_lacks_keys_is_completed_from_the_default(train: Experiment) -> None:
    stored = plain(resolve("train", None, ["lr=3", "seed=5"]).config)
    default = plain(resolve("train").config)
    for key in stored:
        rest = {name: value for name, value in stored.items() if name != key}

        values, notes = complete(train, rest, "here")

        assert of_today(train, values) == stored | {key: default[key]}
        [note] = notes
        assert note.startswith(f"here has no {key}:")
    assert of_today(train, complete(train, {}, "here")[0]) == default


def test_a_stored_key_of_another_version_is_left_out_with_a_word(train: Experiment) -> None:
    stored = plain(resolve("train").config)

    values, (gone, newer) = complete(train, stored | {"momentum": 0.9, "new\x1b": 1}, "here")

    assert values == stored
    assert "momentum" in gone
    assert "nothing was done with it" in gone
    assert r"new\x1b" in newer


# ---- out again

configs = st.builds(
    fake_experiment.schema.Config,
    seed=st.integers(0, 2**32 - 1),
    device=st.sampled_from(["auto", "cpu", "cuda", "cuda:1"]),
    dtype=st.sampled_from(["float32", "float64"]),
    dataset=st.text(),
    hidden_sizes=st.lists(st.integers(min_value=1, max_value=10**9)),
    activation=st.sampled_from(["relu", "identity", "tanh"]),
    lr=st.floats(0, 1e6, exclude_min=True),
    epochs=st.integers(1, 10**9),
    batch_size=st.integers(1, 10**9),
    ema_gamma=st.lists(st.floats(0, 1, exclude_min=True)),
    num_seeds=st.integers(1, 10**9),
    gradients=st.sampled_from(["closed_form", "autograd"]),
)


@given(configs)
def test_a_dumped_config_loads_back_equal(original: fake_experiment.schema.Config) -> None:
    values, notes = complete(EXPERIMENTS["train"], yaml.parse(dump(original), "here"), "here")

    assert fake_experiment.schema.Config.model_validate(values, strict=True) == original
    assert notes == []


def test_show_tells_where_each_value_comes_from_and_is_yaml(folder: Path) -> None:
    found = resolve("train", write(folder, "lr: 1e-1"), ["epochs=3"])

    text = annotated(found)

    notes = dict(line.split(None, 1) for line in text.splitlines() if " # " in line)
    assert notes["lr:"].split("#") == ["0.1                       ", " my.yaml, default 0.001"]
    assert notes["epochs:"].endswith("# --set, default 4")
    assert "\nhidden_sizes: [32, 16]\n" in text
    Path("shown.yaml").write_text(text, encoding="utf-8")
    assert resolve(meant(None, "shown.yaml"), "shown.yaml").config == found.config


def test_show_keeps_the_comments_of_the_packaged_configs() -> None:
    text = annotated(resolve("lr_sweep", "reference/lr_sweep", ["epochs=7"]))

    for name in ("lr_sweep", "reference/lr_sweep"):
        for key, comment in presets.comments(name).items():
            [line] = [line for line in text.splitlines() if line.startswith(f"{key}:")]
            if name == "reference/lr_sweep" or key not in presets.comments("reference/lr_sweep"):
                assert line.endswith(comment)
    assert len(presets.comments("lr_sweep")) > 5


@pytest.mark.parametrize(
    ("experiment", "assignments", "expected"),
    [
        ("module", ["matrix=2 1; 1 -1", "x=3,4"], {"dimension": None}),
        ("module", ["x=3,4", "dimension=2"], {"dimension": 2}),
        ("conv_stack", ["sentence=a b c d e f g"], {"size": None}),
        ("pool_min", ["input=[[1, 2], [3, 4]]"], {"size": None}),
        ("train", ["lr=1/512"], {"lr": 1 / 512}),
        ("train", ["lr=10^-3"], {"lr": 0.001}),
        ("train", ["lr=1e−3"], {"lr": 0.001}),
    ],
)
def test_what_is_given_takes_the_place_of_what_is_not(
    experiment: str, assignments: list[str], expected: dict[str, Any]
) -> None:
    config = plain(resolve(experiment, None, assignments).config)

    assert {key: config[key] for key in expected} == expected


def test_what_a_later_file_gives_takes_the_place_of_an_earlier_one(folder: Path) -> None:
    given = resolve("conv_stack", "text/conv_stack", ["size=28"]).config

    assert (plain(given)["size"], plain(given)["sentence"]) == (28, None)


def test_a_file_that_says_which_experiment_it_is_for(folder: Path) -> None:
    file = write(folder, "experiment: softt\nthreshold: 2\n")

    assert meant(None, file) == "softt"
    assert resolve("softt", file).config.threshold == 2  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"my.yaml is a config of 'softt', not of train"):
        resolve("train", file)
    with pytest.raises(UserError, match="did you mean 'softt'"):
        meant(None, write(folder, "experiment: soft\n"))
