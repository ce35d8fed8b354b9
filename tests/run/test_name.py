"""Names of runs: readable, safe, bounded, and never the same for two configs."""

import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from midterm_cli.run.name import MAX_LENGTH, run_name

DEFAULT: dict[str, Any] = {
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
        ({"sizes": [8]}, "sizes=8"),
        ({"sizes": [8, 4]}, "sizes=8_4"),
        ({"dataset": "fashion_mnist-2"}, "dataset=fashion_mnist-2"),
        ({"x": True}, "x=true"),
        ({"lr": 1e-12}, "lr=1e-12"),
    ],
)
def test_a_name_says_what_differs(changes: dict[str, Any], name: str) -> None:
    assert run_name(DEFAULT | changes, DEFAULT) == name


def test_what_is_not_safe_in_a_file_name_is_replaced_and_hashed() -> None:
    name = run_name(DEFAULT | {"dataset": "../../etc/My digits; rm -rf *"}, DEFAULT)

    assert re.fullmatch(r"dataset=My-digits-rm-rf\+[0-9a-f]{10}", name)


def test_long_names_that_differ_only_at_their_end_stay_different() -> None:
    def name(last: int) -> str:
        return run_name(DEFAULT | {"sizes": [*range(1000, 1100), last]}, DEFAULT)

    assert name(1) != name(2)
    assert len(name(1)) == MAX_LENGTH


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=300),
    st.sampled_from(["true", "none", "8_4", "8", "default", "seed=3", "a,lr=0.5", "..", ""]),
    st.lists(st.integers() | st.floats(allow_nan=False, allow_infinity=False), min_size=2),
)
configs = st.fixed_dictionaries(dict.fromkeys(DEFAULT, values))


@given(configs, configs)
def test_different_configs_have_different_names(a: dict[str, Any], b: dict[str, Any]) -> None:
    assume(a != b)

    assert run_name(a, DEFAULT) != run_name(b, DEFAULT)


@given(configs)
def test_every_name_is_a_short_and_safe_file_name(config: dict[str, Any]) -> None:
    name = run_name(config, DEFAULT)

    assert re.fullmatch(r"[A-Za-z0-9=,.+_-]+", name)
    assert name.strip(".")
    assert len(name) <= MAX_LENGTH
