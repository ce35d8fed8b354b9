"""Text for a terminal: without control characters, not too long; the word that was meant."""

import pytest

from midterm_cli.text import aligned, closest, did_you_mean, differing, printable, shown


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("γ = 0,1 × n – ok", "γ = 0,1 × n – ok"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\udcff", r"\udcff"),
        (r"C:\temp", r"C:\temp"),
    ],
)
def test_printable_escapes_what_moves_the_cursor_and_nothing_else(text: str, written: str) -> None:
    assert printable(text) == written


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (0.1, "0.1"),
        ("\x1b", r"'\x1b'"),
        ([1, "a"], "[1, 'a']"),
        ("x" * 100, "'" + "x" * 59 + "…"),
    ],
)
def test_a_value_is_shown_as_yaml_has_it_and_not_too_long(value: object, text: str) -> None:
    assert shown(value) == text


def test_the_word_that_was_meant() -> None:
    assert closest("epoch", ["lr", "epochs"]) == "epochs"
    assert closest("dataset", ["lr", "epochs"]) is None
    assert did_you_mean("epoch", ["lr", "epochs"]) == "did you mean 'epochs'?"
    assert did_you_mean("seeds", ["seed", "num_seeds"]) == "did you mean 'num_seeds'?"
    assert did_you_mean("dataset", ["lr", "epochs"]) == "known are epochs, lr"


def test_what_differs_is_named_with_both_values() -> None:
    assert differing({"a": 1, "b": [1]}, {"a": 1, "b": [1]}) == ""
    assert differing({"a": 1, "b": 2}, {"a": 3, "c": 4}) == (
        "a=1, not 3; b=2, not null; c=null, not 4"
    )


def test_columns_are_aligned_and_the_last_is_not_padded() -> None:
    lines = [["a", "bb", "c"], ["aaa", "b", ""], ["", "", "ccc"]]

    assert aligned(lines) == "a    bb  c\naaa  b\n         ccc\n"
    assert aligned(lines, "<>") == "a    bb  c\naaa   b\n         ccc\n"
