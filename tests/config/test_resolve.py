"""Layers of a config, what is refused, and how a mistake is told."""

from pathlib import Path

import fake_experiment
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midterm_cli.errors import UserError
from midterm_cli.config import resolve as config
from midterm_cli.config import yaml as yaml_text
from midterm_cli.config.resolve import Layer, resolve

pytestmark = pytest.mark.usefixtures("fake_train")


def write(folder: Path, text: str, name: str = "my.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return name


def mistakes(*arguments: object) -> str:
    with pytest.raises(UserError) as caught:
        resolve("train", *arguments)  # type: ignore[arg-type]  # of several kinds
    return str(caught.value)


def test_each_layer_wins_over_the_one_before(folder: Path) -> None:
    file = write(folder, "lr: 1e-1\nepochs: 11\nbatch_size: 12\n")
    assignments = ["epochs=21", "batch_size=22", "batch_size=23"]

    found = resolve("train", file, assignments, [Layer("--batch-size", {"batch_size": 32})])

    assert isinstance(found.config, fake_experiment.Config)
    values = config.plain(found.config)
    assert (values["lr"], values["epochs"], values["batch_size"]) == (0.1, 21, 32)
    assert values["hidden_sizes"] == [32, 16]
    assert {key: found.origins[key] for key in ("lr", "epochs", "batch_size", "seed")} == {
        "lr": "my.yaml",
        "epochs": "--set",
        "batch_size": "--batch-size",
        "seed": "default",
    }


def test_set_reads_values_as_yaml_does() -> None:
    found = resolve("train", None, ["lr=1e-3", "hidden_sizes=[8,4]", "dataset=a=b", "ema_gamma=1"])

    values = config.plain(found.config)
    assert values["lr"] == 1e-3
    assert values["hidden_sizes"] == [8, 4]
    assert values["dataset"] == "a=b"
    assert values["ema_gamma"] == [1.0]


def test_dotted_keys_reach_into_mappings_and_leave_the_rest() -> None:
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for layer in (
        Layer("default", {"optimizer": {"lr": 1, "name": "sgd"}}),
        config._assignment("optimizer.lr=2"),
    ):
        config._merge(values, layer.values, layer.origin, origins)

    assert values == {"optimizer": {"lr": 2, "name": "sgd"}}
    assert config._origin(origins, ["optimizer", "lr"]) == "--set"
    assert config._origin(origins, ["optimizer", "name"]) == "default"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr: fast", "lr must be a number, got 'fast' (my.yaml)"),
        ("lr: -1", "lr must be greater than 0, got -1 (my.yaml)"),
        ("lr: 0", "lr must be greater than 0, got 0 (my.yaml)"),
        ("lr: 1e7", "lr must be at most 1e+06, got 10000000.0 (my.yaml)"),
        ("lr: .nan", "lr must be finite, got nan (my.yaml)"),
        ("lr: .inf", "lr must be finite, got inf (my.yaml)"),
        ("lr:", "lr must be a number, got null (my.yaml)"),
        ("lr: '3'", "lr must be a number, got '3' (my.yaml)"),
        ("lr: true", "lr must be a number, got true (my.yaml)"),
        ("lr: [1]", "lr must be a number, got [1] (my.yaml)"),
        ("seed: -1", "seed must be at least 0, got -1 (my.yaml)"),
        ("seed: 4294967296", "seed must be less than 4294967296, got 4294967296 (my.yaml)"),
        ("epochs: 3.0", "epochs must be an integer, got 3.0 (my.yaml)"),
        ("epochs: true", "epochs must be an integer, got true (my.yaml)"),
        ("epochs: 2020-01-01", "epochs must be an integer, got '2020-01-01' (my.yaml)"),
        ("dataset: 3", "dataset must be text, got 3 (my.yaml)"),
        ("hidden_sizes: 3", "hidden_sizes must be a list, got 3 (my.yaml)"),
        ("hidden_sizes: [8, 0]", "hidden_sizes[1] must be at least 1, got 0 (my.yaml)"),
        (
            "activation: rely",
            "activation must be 'relu', 'identity' or 'tanh', got 'rely' (my.yaml)",
        ),
        ("ema_gamma: 1.5", "ema_gamma[0] must be at most 1, got 1.5 (my.yaml)"),
        ("lerning_rate: 1", "unknown key 'lerning_rate' (my.yaml): known are activation, "),
        ("epoch: 1", "unknown key 'epoch' (my.yaml): did you mean 'epochs'?"),
        ("lr: {a: 1}", "lr must be a number, got {'a': 1} (my.yaml)"),
        ('"e\\ech": 1', r"unknown key 'e\x1bch' (my.yaml): did you mean 'epochs'?"),
        ("device: gpu", "device cannot be 'gpu' (my.yaml): auto, cpu, cuda or cuda:N; "),
    ],
)
def test_a_mistake_names_key_value_place_and_the_way_out(
    text: str, message: str, folder: Path
) -> None:
    found = mistakes(write(folder, text))

    assert found.startswith(message)
    assert len(found.splitlines()) == 1


def test_all_mistakes_are_told_at_once_each_with_its_own_place(folder: Path) -> None:
    found = mistakes(
        write(folder, "lr: fast\nepoch: 3\n"),
        ["batch_size=0", "acivation=relu"],
        [Layer("--seed", {"seed": -1})],
    )

    assert sorted(found.splitlines()) == [
        "batch_size must be at least 1, got 0 (--set)",
        "lr must be a number, got 'fast' (my.yaml)",
        "seed must be at least 0, got -1 (--seed)",
        "unknown key 'acivation' (--set): did you mean 'activation'?",
        "unknown key 'epoch' (my.yaml): did you mean 'epochs'?",
    ]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("lr", "--set lr is not KEY=VALUE"),
        ("=3", "--set =3 is not KEY=VALUE"),
        ("a..b=3", "--set a..b=3 is not KEY=VALUE"),
        ("lr=[1", "--set lr=[1: "),
        ("lr=!!python/name:os.system", "--set lr=!!python/name:os.system: the tag "),
        ("lr=1\x1b[31m", r"--set lr=1\x1b[31m: character 1 is not text"),
        ("seed.x=3", "seed must be an integer, got {'x': 3} (--set)"),
    ],
)
def test_a_bad_assignment(assignment: str, message: str) -> None:
    assert mistakes(None, [assignment]).startswith(message)


def test_a_value_nested_deeper_than_json_goes() -> None:
    told = mistakes(None, [f"hidden_sizes={'[' * 201}{']' * 201}"])
    assert told == "hidden_sizes (--set) is nested too deeply: write it flatter"


def test_a_preset_by_name_and_a_file_of_that_name_before_it(folder: Path) -> None:
    assert config.presets() == ["train", "reference/train"]
    assert config.plain(resolve("train", "reference/train").config)["activation"] == "identity"

    (folder / "reference").mkdir()
    write(folder, "activation: tanh", "reference/train")

    assert config.plain(resolve("train", "reference/train").config)["activation"] == "tanh"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("referense/train", "cannot read referense/train: No such file or directory; of the"),
        ("../configs/train", "cannot read ../configs/train: No such file"),
        ("x" * 5000, "cannot read xxx"),
        (".", ". is a folder: name a YAML file"),
    ],
)
def test_a_config_that_is_not_there(name: str, message: str, folder: Path) -> None:
    assert mistakes(name).startswith(message)


def test_a_union_tells_what_each_branch_asks() -> None:
    from midterm_cli.experiment import ExperimentConfig
    from midterm_cli.config.explain import explain

    class Config(ExperimentConfig):
        x: float | list[float] | None

    def told(value: object) -> str:
        from pydantic import ValidationError

        with pytest.raises(ValidationError) as caught:
            Config.model_validate({"x": value, "seed": 0, "device": "cpu"}, strict=True)
        return explain(caught.value.errors(), Config, lambda keys: "here")

    assert told("a") == "x must be a number or a list, got 'a' (here)"
    assert told([1, "a"]) == "x[1] must be a number, got 'a' (here)"


def test_a_validator_s_message_gets_its_key_once() -> None:
    from pydantic import ValidationError, field_validator

    from midterm_cli.experiment import ExperimentConfig
    from midterm_cli.config.explain import explain

    class Config(ExperimentConfig):
        @field_validator("seed")
        @classmethod
        def _odd(cls, seed: int) -> int:
            raise ValueError("must be odd" if seed == 0 else f"seed {seed} is not odd")

    def told(seed: int) -> str:
        with pytest.raises(ValidationError) as caught:
            Config.model_validate({"seed": seed, "device": "cpu"})
        return explain(caught.value.errors(), Config, lambda keys: "here")

    assert told(0) == "seed must be odd (here)"
    assert told(2) == "seed 2 is not odd (here)"


configs = st.builds(
    fake_experiment.Config,
    seed=st.integers(0, 2**32 - 1),
    device=st.sampled_from(["auto", "cpu", "cuda", "cuda:1"]),
    dtype=st.sampled_from(["float32", "float64"]),
    dataset=st.text(),
    hidden_sizes=st.lists(st.integers(min_value=1, max_value=10**9)).map(tuple),
    activation=st.sampled_from(["relu", "identity", "tanh"]),
    lr=st.floats(0, 1e6, exclude_min=True),
    epochs=st.integers(1, 10**9),
    batch_size=st.integers(1, 10**9),
    ema_gamma=st.lists(st.floats(0, 1, exclude_min=True)).map(tuple),
    num_seeds=st.integers(1, 10**9),
    gradients=st.sampled_from(["closed_form", "autograd"]),
)


@given(configs)
def test_a_dumped_config_loads_back_equal(original: fake_experiment.Config) -> None:
    values = yaml_text.parse(config.dump(original), "here")

    assert config.from_document("train", values, "here") == original


def test_show_tells_where_each_value_comes_from_and_is_yaml(folder: Path) -> None:
    file = write(folder, "lr: 1e-1")
    found = resolve("train", file, ["epochs=3"])

    text = config.annotated(found)

    assert "lr: 0.1  # my.yaml\n" in text
    assert "epochs: 3  # --set\n" in text
    assert "hidden_sizes: [32, 16]  # default\n" in text
    assert config.from_document("train", yaml_text.parse(text, "here"), "here") == found.config
