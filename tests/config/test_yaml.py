"""YAML of configs: numbers are numbers, text is text, and nothing else gets in."""

import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from midterm_cli.config.yaml import dump, load_file, parse
from midterm_cli.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("2e-3", 2e-3),
        ("-1.5E+2", -150.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("3", 3),
        ("+3", 3),
        ("-0", 0),
        ("[1e-3, 2]", [1e-3, 2]),
        ("true", True),
        ("null", None),
        ("", None),
        ("-.inf", -math.inf),
        # What YAML 1.1 would read as false, eight, ninety, sixty thousand, a date, binary two:
        ("no", "no"),
        ("010", "010"),
        ("1:30", "1:30"),
        ("60_000", "60_000"),
        ("2020-01-01", "2020-01-01"),
        ("0b10", "0b10"),
        ("<<", "<<"),
        ("e5", "e5"),
        ("1e", "1e"),
        ("'1e-3'", "1e-3"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    read = parse(text, "here")

    assert read == value
    assert type(read) is type(value)


def test_nan_and_long_digits_are_floats() -> None:
    assert math.isnan(parse(".nan", "here"))
    assert parse("9" * 5000, "here") == math.inf


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**99), 10**99)
    | st.floats(allow_nan=False)
    | st.text()
    | st.from_regex(r"[-+.0-9eE_:xob]{1,8}", fullmatch=True)
    | st.sampled_from(["null", "~", "no", "Yes", "true", "<<", "=", "*a", "!x", "# no", "a: b", ""])
)
plain_data = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("ab: #", max_size=4), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])  # first text: a second
@given(st.dictionaries(st.text("abc_", min_size=1), plain_data))
@example({"a": "\x85", "b": "\u2028x\u2029", "c": "\ufeff", "d": " \t\n ", "e": "1e-3"})
def test_what_is_dumped_reads_back_equal(values: dict[str, object]) -> None:
    read = parse(dump(values), "here")

    assert read == values
    assert repr(read) == repr(values)  # 1 == 1.0 == True, and so on inside


@pytest.mark.parametrize(
    ("content", "place", "what"),
    [
        (b"", "", "empty"),
        (b"# only a comment\n", "", "empty"),
        (b"- lr\n- 1\n", "", "a list"),
        (b"fast\n", "", "'fast'"),
        (b"\xff\xfe\x00", "", "byte 0"),
        (b"lr: 1\x00\n", "", "character 5"),
        (b"x: " + b"a" * 70_000, "", "64 KiB"),
        (b"a: 1\nlr: [1, 2\nb: 3\n", ", line 3", "b: 3"),
        (b"a: 1\nlr: 1: 2\n", ", line 2", "a second ':'"),
        (b"a: 1\n b: 2\n", ", line 2", "another indent"),
        (b"x 1\nb: 2\n", ", line 2", "the line above has no ': '"),
        (b"a: |x|\n", ", line 1", "goes in quotes"),
        (b'a: "\\sin x"\n', ", line 1", "use single quotes"),
        (b"a: 1\n\tb: 2\n", ", line 2", "indent with spaces"),
        (b"a:\n  - 1\n - 2\n", ", line 3", "indent lines alike"),
        (b"  a: 1\nb: 2\n", ", line 2", "indent lines alike"),
        (b"a: 'it's'\n", ", line 1", "close quotes last"),
        (b"a: 'it\nb: 2\nc: 3\n", ", line 1", "a quote is not closed"),
        (b"a: 1\nb\nc: 3\n", ", line 2", "no ':' after the key"),
        (b"a: @x\n", ", line 1", "goes in quotes"),
        (b"a: - 1\n", ", line 1", "[1, 2]"),
        (b"lr: 1\nseed: 2\nlr: 3\n", ", line 3", "'lr'"),
        (b"1: 2\n", ", line 1", "got 1"),
        (b"[a]: 2\n", ", line 1", "['a']"),
        (b"a: 1\n---\na: 2\n", ", line 2", "a second document"),
        (b"x: " + b"[" * 600, "", "nested"),
        (b"a: !!python/object/apply:os.system [ls]\n", ", line 1", "python/object/apply:os.system"),
        (b"a: !!int '3'\n", ", line 1", "tag:yaml.org,2002:int"),
        (b"a: !mine 3\n", ", line 1", "'!mine'"),
        (b"a: &x [1]\nb: *x\n", ", line 2", "'*x'"),
        (b"a: \x1b[31m: b\n", "", "character 3"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(
    content: bytes, place: str, what: str, tmp_path: Path
) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content)

    with pytest.raises(UserError) as caught:
        load_file(file)

    text = str(caught.value)
    assert text.startswith(f"{file}{place}")
    assert what in text
    assert len(text.splitlines()) <= 2
    assert all(c.isprintable() or c == "\n" for c in text)


def test_a_bomb_of_aliases_is_refused_at_its_first_alias() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )

    with pytest.raises(UserError, match=r"line 2: the alias '\*a'"):
        parse(bomb, "here", in_file=True)


@pytest.mark.parametrize(
    ("name", "message"), [("absent.yaml", "cannot read"), (".", "is a folder")]
)
def test_what_is_no_file(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        load_file(tmp_path / name)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xef\xbb\xbflr: 1\n")

    assert load_file(file) == {"lr": 1}


@pytest.mark.parametrize(
    "text",
    [
        r'x: "\U00110000"',
        r'x: "\UFFFFFFFF"',
        r'"\U7FFFFFFF": 1',
        r'- ["\U00110000"]',
        f"%YAML 1.{'1' * 5_000}\n---\nx: 1\n",
        f"%YAML {'9' * 5_000}.1\n---\nx: 1\n",
    ],
)
def test_what_the_parser_itself_stumbles_over(text: str) -> None:
    with pytest.raises(UserError, match=r"^here: not YAML \(.{1,81}\)$"):
        parse(text, "here")


def test_what_moves_a_cursor_is_written_as_an_escape() -> None:
    values = {"dataset": "a\u202eb\u2028c é 훈", "list": ["\U000e0001"]}
    text = dump(values)
    assert [c for c in text if not c.isprintable() and c != "\n"] == []
    assert parse(text, "here") == values
