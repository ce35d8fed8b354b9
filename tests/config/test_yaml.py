"""YAML of configs: numbers are numbers, text is text, and nothing else gets in."""

import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from midterm_cli.errors import UserError
from midterm_cli.config import yaml as yaml_text


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
    read = yaml_text.parse(text, "here")

    assert read == value
    assert type(read) is type(value)


def test_nan_and_long_digits_are_floats() -> None:
    assert math.isnan(yaml_text.parse(".nan", "here"))
    assert yaml_text.parse("9" * 5000, "here") == math.inf


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
    read = yaml_text.parse(yaml_text.dump(values), "here")

    assert read == values
    assert repr(read) == repr(values)  # 1 == 1.0 == True, and so on inside


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{file} is empty"),
        (b"# only a comment\n", "{file} is empty"),
        (b"- lr\n- 1\n", "{file} must hold KEY: VALUE lines, got a list"),
        (b"fast\n", "{file} must hold KEY: VALUE lines, got a single value, 'fast'"),
        (b"\xff\xfe\x00", "{file} is not text: byte 0 is not UTF-8"),
        (b"lr: 1\x00\n", "{file}: character 5 is not text"),
        (b"x: " + b"a" * 70_000, "{file} is larger than 64 KiB"),
        (b"a: 1\nlr: [1, 2\nb: 3\n", "{file}, line 3: "),
        (b"a: 1\nlr: 1: 2\n", "{file}, line 2: mapping values are not allowed here\n    lr: 1: 2"),
        (b"lr: 1\nseed: 2\nlr: 3\n", "{file}, line 3: the key 'lr' stands twice"),
        (b"1: 2\n", "{file}, line 1: a key must be text, got 1"),
        (b"[a]: 2\n", "{file}, line 1: a key must be text, got ['a']"),
        (b"a: 1\n---\na: 2\n", "{file}, line 2: "),
        (b"x: " + b"[" * 600, "{file}: the lists or mappings are nested too deeply"),
        (
            b"a: !!python/object/apply:os.system [ls]\n",
            "python/object/apply:os.system' is not read",
        ),
        (b"a: !!int '3'\n", "tag:yaml.org,2002:int' is not read"),
        (b"a: !mine 3\n", "the tag '!mine' is not read"),
        (b"a: &x [1]\nb: *x\n", "{file}, line 2: the alias '*x' is not read"),
        (b"a: \x1b[31m: b\n", "{file}"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(
    content: bytes, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content)

    with pytest.raises(UserError) as caught:
        yaml_text.load_file(file)

    text = str(caught.value)
    assert message.format(file=file) in text
    assert len(text.splitlines()) <= 2
    assert all(c.isprintable() or c == "\n" for c in text)


def test_a_bomb_of_aliases_is_refused_at_its_first_alias() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )

    with pytest.raises(UserError, match=r"line 2: the alias '\*a'"):
        yaml_text.parse(bomb, "here", in_file=True)


@pytest.mark.parametrize(
    ("name", "message"), [("absent.yaml", "cannot read"), (".", "is a folder")]
)
def test_what_is_no_file(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        yaml_text.load_file(tmp_path / name)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xef\xbb\xbflr: 1\n")

    assert yaml_text.load_file(file) == {"lr": 1}
