"""A grid: each combination of the values once, in folders of their own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answer import Answer
from fake_experiment import run as fake_run
from hypothesis import given
from hypothesis import strategies as st

from midterm_cli.errors import UserError
from midterm_cli.runs.grid import axes, points

Midterm = Callable[..., Answer]

VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(),
    st.lists(st.integers(), max_size=3),
    st.sampled_from(["relu", "a b"]),
)


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_values_are_split_as_they_were_joined(values: list[Any]) -> None:
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]

    assert axes([f"key={','.join(texts)}"]) == {"key": texts}


@pytest.mark.parametrize("argument", ["lr", "lr=", "lr=1,,2", "=1", "lr=1,"])
def test_what_is_no_axis(argument: str) -> None:
    with pytest.raises(UserError, match="write it like lr=1e-3,2e-3"):
        axes([argument])


def test_a_key_twice_and_a_grid_too_large() -> None:
    with pytest.raises(UserError, match="lr is given twice"):
        axes(["lr=1", "lr=2"])
    with pytest.raises(UserError, match="lr is given twice, by --set"):
        points("train", {"lr": ["1"]}, None, ["lr=2"])
    with pytest.raises(UserError, match="10,100 points"):
        axes([f"a={','.join('1' * 101)}", f"b={','.join('1' * 100)}"])


@pytest.mark.usefixtures("fake_train")
def test_all_mistakes_come_before_anything_is_computed() -> None:
    for wrong, told in (
        ({"lr": ["1", "x"]}, "lr must be a number"),
        ({"lr": ["1", "1.0"]}, "lr=1 and lr=1.0 are the same"),
        ({"no_key": ["1"]}, "unknown key 'no_key'"),
    ):
        with pytest.raises(UserError, match=told):
            points("train", wrong, None, [])


@pytest.mark.usefixtures("fake_train")
def test_a_run_for_each_point_none_twice(
    folder: Path, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    monkeypatch.setattr(fake_run, "on_epoch", computed.append)
    grid = ["grid", "train", "lr=1e-3,2e-3", "hidden_sizes=[2],[3,4]"]

    code, out, _ = midterm(*grid, "-q")
    assert code == 0
    names = ["hidden_sizes=2_", "hidden_sizes=3_4"]
    names += [f"{name},lr=0.002" for name in names]
    assert out.splitlines() == [f"outputs/train/{name}" for name in names]
    assert len(computed) == 4 * 4
    for name in names:
        assert midterm("show", f"outputs/train/{name}").code == 0

    # One more value: only its points are computed.
    code, out, _ = midterm("grid", "train", "lr=1e-3,2e-3,3", "hidden_sizes=[2]", "--json")
    assert code == 0
    assert [row["config.lr"] for row in json.loads(out)["rows"]] == [1e-3, 2e-3, 3.0]
    assert len(computed) == 5 * 4
    assert midterm("grid", "train", "lr=3", "hidden_sizes=[2]", "--fail-on-failure").code == 3
    elsewhere = midterm("grid", "train", "lr=1,2", "-q", "--output", "here")
    assert elsewhere.out == "here/lr=1.0\nhere/lr=2.0\n"


@pytest.mark.usefixtures("unrendered")
def test_the_table_and_the_figure_are_those_of_compare(folder: Path, midterm: Midterm) -> None:
    small = ("dataset=synthetic", "train_fraction=0.1", "epochs=1", "num_seeds=1", "skip_passes=0")
    options = [word for assignment in small for word in ("--set", assignment)]

    code, out, _ = midterm("grid", "train", "lr=1e-3,2e-3", *options)

    assert code == 0
    *table, figure = out.splitlines()
    assert figure == "outputs/grid/train,lr.png"
    assert Path(figure).is_file()
    assert midterm("compare", "outputs/train").out.splitlines()[:-1] == table
