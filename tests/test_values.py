"""Numbers, lists and rows as people type them."""

import math
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midterm_cli.config.resolve import Layer, plain, resolve
from midterm_cli.errors import UserError
from midterm_cli.values import number, numbers, rows, vector


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pi/2", math.pi / 2),
        ("-π/4", -math.pi / 4),
        ("2pi", 2 * math.pi),
        ("2^-3", 0.125),
        ("sqrt(2)", math.sqrt(2)),
        ("e", math.e),
        ("(1 + 1/3) * 3", 4.0),
        ("−1.5", -1.5),
        (r"\frac{1}{4}", 0.25),
        ("+3", 3),
    ],
)
def test_a_number_may_be_a_formula_of_constants(text: str, expected: float) -> None:
    assert number(text) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "near", "x", "pi/0", "2,5", "True", "1j", "'a'", "9**9**9**9", "(-8)^(1/3)"),
        *("__import__('os')", "sqrt(2, 3)", "sqrt(-1)", "1 if 1 else 2", "1 < 2", "~1", "1 +"),
        "1+" * 60 + "1",
    ],
)
def test_what_is_no_number_comes_back_for_the_config_to_name(text: str) -> None:
    assert number(text) == text


@pytest.mark.parametrize("value", [None, True, 3, 0.5, {"a": 1}])
def test_what_is_no_text_comes_back(value: object) -> None:
    assert number(value) is numbers(value) is rows(value) is vector(value) is value


def test_a_number_with_two_readings_is_refused() -> None:
    with pytest.raises(ValueError, match=r"write /\(2\*pi\) or /2\*pi"):
        number("1/2pi")


def test_lists_and_rows() -> None:
    assert numbers("3,4") == numbers(["3,4"]) == numbers([3, "4"]) == [3, 4]
    assert numbers("3, a") == "3, a"
    assert numbers("-1 1") == [-1, 1]
    assert numbers("1e-3 .5 2.") == [1e-3, 0.5, 2]
    assert numbers("pi / 2") == math.pi / 2
    assert rows("2 1; 1 -1") == rows("2,1;1,-1;") == rows("2 1\n1, -1") == [[2, 1], [1, -1]]
    assert rows([["pi", 1], [1, 2]]) == [[math.pi, 1], [1, 2]]
    assert rows("none.npy") == "none.npy"
    assert vector("3 4") == vector("3,4") == vector("3; 4") == [3, 4]
    assert vector("3 4; 5 6") == [[3, 4], [5, 6]]
    assert vector("1/2x.csv") == "1/2x.csv"


@given(
    st.lists(
        st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([", ", ",", " ", "  "]),
)
def test_a_matrix_that_is_typed_keeps_its_digits(matrix: list[list[float]], comma: str) -> None:
    assert rows("; ".join(comma.join(map(repr, row)) for row in matrix)) == matrix


@pytest.mark.parametrize(
    ("experiment", "key", "text", "expected"),
    [
        ("autodiff", "x", "pi/2", math.pi / 2),
        ("autodiff", "x", "3,4", [3.0, 4.0]),
        ("autodiff", "range", "0,pi", [0.0, math.pi]),
        ("softt", "threshold", "pi", math.pi),
        ("module", "matrix", "2 1; 1 -1", [[2.0, 1.0], [1.0, -1.0]]),
        ("module", "x", "3 4", [3.0, 4.0]),
        ("module", "x", "x.npy", "x.npy"),
        ("conv", "size", "20,30", [20, 30]),
        ("conv", "stride", "2x4", [2, 4]),
        ("pool", "kernel_size", "3 2", [3, 2]),
        ("pool_min", "input", "3 1; 2 4", [[3.0, 1.0], [2.0, 4.0]]),
        ("train", "hidden_sizes", "64,32", [64, 32]),
        ("train", "ema_gamma", "1e-3,1e-2", [1e-3, 1e-2]),
    ],
)
def test_files_set_and_options_read_alike(
    experiment: str, key: str, text: str, expected: object
) -> None:
    layers = [Layer("--dimension", {"dimension": None})] if experiment == "module" else []
    by_set = resolve(experiment, None, [f"{key}={text}"], layers)
    by_layer = resolve(experiment, None, (), [*layers, Layer("my.yaml", {key: text})])
    assert plain(by_set.config)[key] == plain(by_layer.config)[key] == expected


@pytest.mark.parametrize(
    ("experiment", "key", "value", "message"),
    [
        ("module", "matrix", [], "matrix must have at least 1 values, got []"),
        ("module", "x", [], "x must have at least 1 values, got []"),
        (
            "conv_stack",
            "size",
            "28*20",
            "size must be a whole number, or two such as 20x30, got '28*20'",
        ),
        ("autodiff", "formulas", "", "formulas is empty: name a file, or null"),
        (
            *("train", "init_from", "None"),
            "init_from is 'None': write null for none, or ./None for a file of that name",
        ),
        ("pool_min", "input", "3 1; 2 inf", "input[1][1] must be finite, got inf"),
        ("module", "matrix", "1 NaN; 0 1", "matrix[0][1] must be finite, got nan"),
        ("train", "lr", "-inf", "lr must be finite, got -inf"),
        (
            *("train", "train", {"lr": 1}),
            "unknown key 'train' (my.yaml): a config has its keys at the left edge",
        ),
        ("conv_stack", "size", [], "size must have at least 1 values, got []"),
        ("conv_stack", "layers", [], "layers must have at least 1 values, got []"),
        ("conv_stride", "strides", [], "strides must have at least 1 values, got []"),
        ("pool", "stride", [], "stride must have at least 1 values, got []"),
        ("pool_min", "input", [[]], "input[0] must have at least 1 values, got []"),
        ("train", "betas", [], "betas must have at least 2 values, got []"),
        ("train", "network", [], "network must have at least 1 values, got []"),
        ("autodiff", "x", [], "x must hold 1 to 100 points, got 0"),
        (
            "train",
            "ema_gamma",
            None,
            "ema_gamma must be numbers, got null: write [] for no average",
        ),
        (
            "conv_stride",
            "strides",
            ["2,4"],
            "strides has '2,4': write 2x4 for one, or 2 and 4, each by itself",
        ),
        (
            "conv_stack",
            "layers",
            [{"conv": {"kernel_size": 3}}],
            "layers[0].type is missing (my.yaml): write type: NAME beside its other keys",
        ),
    ],
)
def test_values_that_are_refused(experiment: str, key: str, value: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(experiment, None, (), [Layer("my.yaml", {key: value})])
    assert str(caught.value).removesuffix(" (my.yaml)") == message


@pytest.mark.parametrize("text", ["1e", "3e", "1e*2", "10-3", "2026-11-27"])
def test_a_number_cut_off_and_a_date_are_not_computed(text: str) -> None:
    assert number(text) == text


@pytest.mark.parametrize("text", ["1or 2", "1if 1else 2", "0x1for x"])
def test_what_is_no_number_is_left_without_a_warning_of_pythons(text: str) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert number(text) == text
    assert told == []
