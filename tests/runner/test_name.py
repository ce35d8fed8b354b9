"""Names of runs: readable, safe, bounded, and never the same for two configs."""

import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from midterm_cli.config.presets import experiment_of, presets
from midterm_cli.config.resolve import plain, resolve
from midterm_cli.registry import EXPERIMENTS
from midterm_cli.runner.name import MAX_LENGTH, name_changes, run_name

BASE: dict[str, Any] = {
    "seed": 0,
    "lr": 0.001,
    "sizes": [32, 16],
    "dataset": "synthetic",
    "x": None,
}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "default"),
        ({"lr": 0.002, "seed": 3}, "seed=3,lr=0.002"),
        ({"sizes": [8]}, "sizes=8_"),
        ({"sizes": [8, 4]}, "sizes=8_4"),
        ({"dataset": "fashion_mnist-2"}, "dataset=fashion_mnist-2"),
        ({"x": True}, "x=true"),
        ({"lr": 1e-12}, "lr=1e-12"),
    ],
)
def test_a_name_says_what_differs(changes: dict[str, Any], name: str) -> None:
    assert name_changes(BASE | changes, BASE) == name


def test_what_is_not_safe_in_a_file_name_is_replaced_and_hashed() -> None:
    name = name_changes(BASE | {"dataset": "../../etc/My digits; rm -rf *"}, BASE)

    assert re.fullmatch(r"dataset=My-digits-rm-rf\+[0-9a-f]{10}", name)


def test_long_names_that_differ_only_at_their_end_stay_different() -> None:
    def name(last: int) -> str:
        return name_changes(BASE | {"sizes": [*range(1000, 1100), last]}, BASE)

    assert name(1) != name(2)
    assert len(name(1)) == MAX_LENGTH


# With or without an extension.
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    st.text(max_size=300),
    st.sampled_from(["true", "none", "8_4", "8", "8_", "default", "seed=3", "a,lr=0.5", "..", ""]),
)
values = st.recursive(
    scalars | st.lists(numbers, max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
configs = st.fixed_dictionaries(dict.fromkeys(BASE, values))
variants = st.sampled_from(["", "reference", "text"])


@given(configs, configs, variants, variants)
def test_different_configs_have_different_names(
    a: dict[str, Any], b: dict[str, Any], a_variant: str, b_variant: str
) -> None:
    assume((a, a_variant) != (b, b_variant))

    assert name_changes(a, BASE, a_variant) != name_changes(b, BASE, b_variant)


@given(st.sampled_from(sorted(BASE)), values)
def test_a_value_a_list_of_it_and_its_text_are_three(key: str, value: Any) -> None:
    alike = [value, [value], [value, value], [[value]], str(value), f"{value}_"]
    different = [one for i, one in enumerate(alike) if one not in alike[:i]]

    names = {name_changes(BASE | {key: one}, BASE) for one in different}

    assert len(names) == len(different)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_one_key_at_a_time_of_every_experiment(name: str) -> None:
    base = plain(resolve(name).config)
    others = [None, 8, [8], [8, 4], "8", "eight", ["eight"], {"a": 8}]
    found = {
        name_changes(base | {key: other}, base)
        for key, value in base.items()
        for other in [*others, [value], [[value]]]
        if other != value
    }

    expected = {
        f"{key} = {other}"
        for key, value in base.items()
        for other in [*map(repr, others), f"[{value!r}]", f"[[{value!r}]]"]
        if other != repr(value)
    }
    assert len(found) == len(expected)


@given(configs, variants)
def test_every_name_is_a_short_and_safe_file_name(config: dict[str, Any], variant: str) -> None:
    name = name_changes(config, BASE, variant)

    assert re.fullmatch(r"[A-Za-z0-9=,.+_-]+", name)
    assert len(name) <= MAX_LENGTH == 80
    # What Windows takes: it drops a dot at the end, and gives devices for some names.
    assert not name.endswith(".")
    assert not RESERVED.match(name)


def test_a_word_that_ends_in_a_dot_is_not_that_word_without_it() -> None:
    with_dot, without = (name_changes(BASE | {"dataset": d}, BASE) for d in ("mine.", "mine"))
    assert re.fullmatch(r"dataset=mine\+[0-9a-f]{10}", with_dot)
    assert without == "dataset=mine"


# ---- of runs


@pytest.mark.parametrize("preset", presets())
def test_a_run_of_a_packaged_preset_is_named_after_it(preset: str) -> None:
    variant = preset.rpartition("/")[0]
    experiment = experiment_of(preset)
    by_default = resolve(experiment, None if preset == experiment else preset)
    changed = resolve(experiment, preset, ["seed=3"])

    assert run_name(by_default) == (variant or "default")
    assert run_name(changed) == ",".join([variant] * bool(variant) + ["seed=3"])


def test_a_key_that_is_set_back_to_the_default_differs_from_the_preset() -> None:
    assert run_name(resolve("train", "reference/train", ["activation=relu"])) == (
        "reference,activation=relu"
    )


def test_a_device_counts() -> None:
    assert run_name(resolve("train", None, ["device=cpu"])) == "device=cpu"


@pytest.mark.parametrize(
    ("experiment", "one", "other"),
    [("autodiff", "x=2", "x=[2]"), ("conv_stack", "size=30", "size=[30]")],
)
def test_a_number_and_a_list_of_it_are_two_runs(experiment: str, one: str, other: str) -> None:
    names = {run_name(resolve(experiment, None, [assignment])) for assignment in (one, other)}
    assert len(names) == 2
