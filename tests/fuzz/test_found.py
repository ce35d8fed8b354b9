"""What the fuzzing has found, kept: each of these once ended in a traceback, a flood or a wait."""

import json
from pathlib import Path

import pytest

from fuzz.harness import midterm

pytestmark = pytest.mark.usefixtures("sandbox")


def said(*arguments: str) -> str:
    """The message of a command line that must be refused."""
    answer = midterm(*arguments)
    assert answer.code == 2
    return answer.err


def test_a_long_list_of_mistakes_is_cut() -> None:
    Path("train.yaml").write_text(f"ema_gamma: [{'null, ' * 30}]", encoding="utf-8")
    lines = said("config", "validate", "train.yaml").splitlines()
    assert len(lines) == 11
    assert lines[9].startswith("ema_gamma[9] must be a number")
    assert lines[10] == "and 20 more mistakes"


def test_what_was_typed_is_repeated_in_part() -> None:
    message = said("config", "show", "train", "--set", "lr=" + "- " * 1_000)
    assert message.endswith("nested too deeply\n")
    assert len(message) < 600


@pytest.mark.parametrize("word", ["copy train", "report --runs"])
def test_a_name_too_long_for_a_file(word: str) -> None:
    first, *rest = word.split()
    group = ["config", first] if first == "copy" else [first]
    assert "n" * 100 in said(*group, *rest, "n" * 300)


@pytest.mark.parametrize(
    "words",
    [
        ["config", "show", "train", "--set", 'dataset="\\ud800"'],
        ["train", "--dataset", "\udcff"],  # a byte that is not UTF-8
    ],
)
def test_half_a_character_is_named_by_its_key(words: list[str]) -> None:
    message = said(*words)
    assert "dataset" in message
    assert "(--" in message


@pytest.mark.parametrize(
    "words",
    [
        ["--matrix", "[[1e200]]"],
        ["--matrix", "[[1e20]]", "--dtype", "float32"],
        ["--x", "[1e-150]"],
    ],
)
def test_a_gradient_that_underflows_is_not_compared(words: list[str]) -> None:
    assert "x is too small for float" in said("module", "grad", *words)


def test_a_header_that_is_no_python() -> None:
    header = b"{'descr': '<f8', 'fortran_order': F#e, 'shape': (3, 3), }".ljust(117) + b"\n"
    Path("a.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00" + header)
    assert "not a .npy file" in said("module", "grad", "--x", "a.npy")


def test_a_run_of_a_list() -> None:
    document = {"schema_version": 1, "experiment": ["train"], "config": {}, "results": {}}
    Path("metrics.json").write_text(json.dumps(document), encoding="utf-8")
    assert "experiment" in said("draw", "metrics.json")


def test_an_infinite_term_that_f_does_not_depend_on() -> None:
    program = "u = sinh(x); v = (-x + -x)**(1/3); f = sin(u) + x"
    answer = midterm("autodiff", "--expression", program, "--x", "0", "--json", "--quiet")
    terms = {term["term"]: term for term in json.loads(answer.out)["results"]["derivation"]}
    assert terms["dv/dx"]["value"] == terms["dv/dx"]["autograd"] == [None]
    assert terms["dv/dx"]["agrees"]
    assert terms["df/dx"]["value"] == [2.0]


@pytest.mark.parametrize(
    ("expression", "cap"),
    [
        ("x**(" * 50 + "x" + ")" * 50, "15,000 operations"),
        ("atan(" * 59 + "x" + ")" * 59, "15,000 operations"),
        ("u = " + "-" * 40 + "x; v = " + "-" * 40 + "u; f = v", "v expressed in x is nested 80"),
    ],
)
def test_nesting_has_a_cap_that_names_itself(expression: str, cap: str) -> None:
    assert cap in said("autodiff", "--expression", expression)


def test_a_function_with_hundreds_of_poles_is_drawn() -> None:
    nested = "tan(" * 20 + "x" + ")" * 20
    words = ["--expression", nested, "--json", "--quiet"]
    assert len(json.loads(midterm("autodiff", *words).out)["results"]["domain"]) > 300


def test_hundreds_of_signs_are_tried() -> None:
    formula = "+".join(["(x + x - x*x + x - x)"] * 40)
    words = ["--expression", "x", "--formula", formula, "--json", "--quiet"]
    assert json.loads(midterm("autodiff", *words).out)["results"]["formula"]["meaning"] is None
