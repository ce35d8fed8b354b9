"""Inputs that are nearly right: valid ones with one or two things damaged, so that they get far."""

import functools
import io
import json
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from midterm_cli.config import yaml
from midterm_cli.config.presets import preset_path
from midterm_cli.registry import EXPERIMENTS as TABLE

NUMBERS: list[float] = [
    *(0, 1, -1, 2, 7, 8, 2**31, 2**32 - 1, 2**32, 2**63, 2**64, 10**40, -(10**40), 10**400),
    *(0.0, -0.0, 0.5, 1.5, -1e-3, 5e-324, 1e-300, 1e-101, 1e100, 1.1e100, 1e300, 1.7e308),
    *(math.inf, -math.inf, math.nan),
]
TEXTS = [
    *("", " ", "x", "null", "true", "1", "1e3", "cpu", "cuda", "cuda:0", "cuda:" + "9" * 30),
    *("synthetic", "fashion_mnist", "missing.npy", "a\0b", "a\0b.npy", "../up.csv", "~/x.npy"),
    *("\x1b[31mred\x1b[0m", "\r\n", "<script>", "[bold]x[/bold]", "$\\frac$", "{0}", "%s", "é"),
    *("\ud800", "\u202e", "\u2028", "\x85", "\ufeff", "\x7f", "a" * 300, "k." * 40, "9" * 5000),
]
# What YAML has and a config has not, or has only in its place.
FRAGMENTS = [
    *("!!python/object/apply:os.system [echo]", "!!int 3", "!x y", "&a [*a]", "*a", "<<: *a"),
    *("%YAML 1.1\n---\n", "---\n", "...\n", "? a\n: b\n", "? [a]\n: b\n", "|\n  x\n", ">-\n", "#"),
    *("\t", "\n", "\0", "\x1b", "\x85", "\u2028", "\ufeff", "\ud800", "[", "]", "{", "}", ":", ","),
    *("'", '"', '"\\ud800"', '"\\0"', '"\\x1b"', "- ", ": ", "1: 2\n", "a: 1\na: 2\n", "null: 1\n"),
    *("[" * 300, "{a: " * 99, "- " * 300, "k: " * 50, "@", "`", "0x10", "1_000", "1" * 5_000),
    *("a: &b [x, x]\nc: &d [*b, *b, *b]\ne: [*d, *d, *d]\n",),
]
FRAGMENT = st.one_of(st.just(""), st.just("twice"), st.sampled_from(FRAGMENTS), st.text(max_size=3))
EXPERIMENTS = list(TABLE)

# Built once: building a strategy takes longer than drawing from it.
NUMBER: SearchStrategy[float] = st.one_of(
    st.sampled_from(NUMBERS), st.integers(), st.floats(), st.integers(-3, 40), st.floats(-4, 4)
)
TEXT = st.one_of(st.sampled_from(TEXTS), st.text(max_size=12))
_PLAIN: SearchStrategy[Any] = st.one_of(st.none(), st.booleans(), NUMBER, TEXT)
VALUE: SearchStrategy[Any] = st.one_of(
    _PLAIN,
    _PLAIN,
    st.lists(NUMBER, max_size=5),
    st.lists(st.lists(st.floats(-3, 3), max_size=3), max_size=3),
    st.recursive(
        _PLAIN,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)
        ),
        max_leaves=8,
    ),
)
"""Any value that JSON or YAML can hold, mostly a plain one."""


@functools.cache
def _default_text(experiment: str) -> str:
    return preset_path(experiment).read_text(encoding="utf-8")


@functools.cache
def defaults(experiment: str) -> Mapping[str, Any]:
    return dict(yaml.parse(_default_text(experiment), experiment))


@functools.cache
def bounds(experiment: str) -> list[float]:
    """The numbers in a config's schema, and what lies just beyond them."""
    found: list[float] = []

    def collect(schema: object) -> None:
        if isinstance(schema, Mapping):
            for key, value in schema.items():
                limit = key.removeprefix("exclusive").lower() in ("minimum", "maximum")
                if limit and isinstance(value, int | float):
                    found.extend([value, value - 1, value + 1, float(value), value * 1.01])
                collect(value)
        elif isinstance(schema, list):
            for value in schema:
                collect(value)

    collect(TABLE[experiment].config_class.model_json_schema())
    return sorted(set(found)) or [0]


@st.composite
def damaged_mappings(draw: st.DrawFn, experiment: str, most: int = 2) -> dict[str, Any]:
    """The defaults of an experiment with up to `most` of its keys damaged."""
    mapping = dict(defaults(experiment))
    for _ in range(draw(st.integers(0, most))):
        if not mapping:
            break
        key = draw(st.sampled_from(sorted(mapping)))
        match draw(st.sampled_from(["value", "value", "bound", "inner", "drop", "typo", "add"])):
            case "value":
                mapping[key] = draw(VALUE)
            case "bound":
                mapping[key] = draw(st.sampled_from(bounds(experiment)))
            case "inner":
                mapping[key] = _inside(draw, mapping[key])
            case "drop":
                del mapping[key]
            case "typo":
                mapping[edit(draw, key)] = mapping.pop(key)
            case "add":
                mapping[draw(TEXT)] = draw(VALUE)
    return mapping


def _inside(draw: st.DrawFn, value: Any) -> Any:
    """A value of another shape around, or in place of a part of, what was there."""
    if isinstance(value, list) and value:
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], draw(VALUE), *value[place + draw(st.integers(0, 1)) :]]
    return draw(st.sampled_from([[value], {"key": value}, [[value]], [value] * 120]))


def edit(draw: st.DrawFn, text: str, fragments: SearchStrategy[str] = FRAGMENT) -> str:
    """A text with a slice of it taken out, doubled, or replaced."""
    start = draw(st.integers(0, len(text)))
    end = min(len(text), start + draw(st.integers(0, 6)))
    instead = draw(fragments)
    return text[:start] + (2 * text[start:end] if instead == "twice" else instead) + text[end:]


@st.composite
def config_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """An experiment, and what may stand in its config file."""
    experiment = draw(st.sampled_from(EXPERIMENTS))
    if draw(st.integers(0, 19)) == 0:
        return experiment, draw(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(_bytes)))
    mapping = draw(damaged_mappings(experiment))
    # JSON is YAML, except for its words for infinity and NaN.
    lines = [f"{json.dumps(key)}: {_number_words(value)}\n" for key, value in mapping.items()]
    text = "".join(lines)
    if draw(st.booleans()):
        text = _default_text(experiment)
    for _ in range(draw(st.integers(0, 2))):
        text = edit(draw, text)
    content = _bytes(text)
    if draw(st.integers(0, 19)) == 0:
        place = draw(st.integers(0, len(content)))
        content = content[:place] + draw(st.binary(min_size=1, max_size=3)) + content[place:]
    return experiment, content


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")


def _number_words(value: Any) -> str:
    return json.dumps(value).replace("-Infinity", "-.inf").replace("Infinity", ".inf")


@st.composite
def assignments(draw: st.DrawFn) -> tuple[str, list[str]]:
    """An experiment, and what may be given to --set."""
    experiment = draw(st.sampled_from(EXPERIMENTS))
    known = defaults(experiment)
    given = []
    for _ in range(draw(st.integers(1, 2))):
        key = draw(st.sampled_from(sorted(known)))
        value = draw(
            st.one_of(
                VALUE.map(_number_words),
                st.sampled_from(bounds(experiment)).map(repr),
                st.none(),
                st.sampled_from(FRAGMENTS),
            )
        )
        if value is None:
            value = edit(draw, _number_words(known[key]))
        text = f"{key}={value}"
        if draw(st.integers(0, 5)) == 0:
            text = edit(draw, text)
        given.append(_argument(text))
    return experiment, given


def _argument(text: str) -> str:
    """A text as a process can be given it: no NUL, surrogates for bytes alone, not too long."""
    content = text.replace("\0", "").encode("utf-8", errors="surrogatepass")[:100_000]
    return content.decode("utf-8", errors="surrogateescape")


PATHS = [
    *("", ".", "out", "out/deep", "x.png", "here.json", "folder", "folder/x", "here.json/x"),
    *("a\nb", "\x1b[31m", "\udcff", "n" * 300, "run", "run/metrics.json", "-", "--", "con:", "*"),
]
# Options and arguments that name a place; and options that would leave this machine.
PLACES = {
    *(
        "--output",
        "--data-dir",
        "--source",
        "--lr-from",
        "--sweep",
        "--expected",
        "--config",
        "--runs",
    ),
    *("--scheduler-file", "runs", "run", "destination", "file"),
}
NEVER = {"--launcher", "--address"}


@st.composite
def option_values(draw: st.DrawFn, experiment: str | None, place: bool) -> str:
    if place:
        return draw(st.sampled_from(PATHS))
    known = defaults(experiment) if experiment else {}
    likely = [_number_words(value).strip('"') for value in known.values()]
    return draw(
        st.one_of(
            st.sampled_from([*likely, "x"]),
            NUMBER.map(_number_words),
            st.sampled_from(bounds(experiment or "softt")).map(repr),
            TEXT,
            st.sampled_from(["[1, 2]", "[[1, 0], [0, 1]]", "[1", "3x5", "0x0", "x", "1,2", "1:30"]),
        ).map(_argument)
    )


# Vectors and matrices


@st.composite
def arrays(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file name and what the file holds: numbers as .npy, .csv or .yaml, or nearly so."""
    shape = draw(st.sampled_from([(2, 2), (1, 1), (3, 3), (2,), (1, 2), (2, 3), (0,), (3, 3, 3)]))
    count = math.prod(shape)
    entries = draw(st.lists(st.one_of(st.floats(-3, 3), NUMBER), min_size=count, max_size=count))
    clipped = [max(min(entry, 1e308), -1e308) for entry in entries]  # too large an int is no float
    dtype = draw(st.sampled_from(["f8", "f4", "i2", "?", "c16", "U3", "O"]))
    array = np.array(clipped, dtype="f8").reshape(shape)
    if array.ndim == 2 and shape[0] == shape[1] and draw(st.booleans()):
        with np.errstate(over="ignore"):
            array = array + array.T
    name = draw(st.sampled_from(["a.npy", "a.npy", "a.csv", "a.yaml", "a.txt"]))
    if name == "a.npy":
        buffer = io.BytesIO()
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.save(buffer, array.astype(dtype), allow_pickle=True)
        content = buffer.getvalue()
    elif name == "a.yaml":
        content = f"matrix: {_number_words(array.tolist())}\nx: [1, 2]\n".encode()
    else:
        rows = array.reshape(len(array), -1).tolist() if array.size else []
        content = "\n".join(",".join(map(repr, row)) for row in rows).encode()
    if draw(st.integers(0, 2)) == 0:
        place = draw(st.integers(0, len(content)))
        instead = draw(
            st.one_of(st.binary(max_size=3), st.sampled_from([b"(999999999,)", b"#", b"9" * 400]))
        )
        content = content[:place] + instead + content[place + draw(st.integers(0, 3)) :]
    return name, content


# What a run left


@st.composite
def damaged_json(draw: st.DrawFn, document: Mapping[str, Any]) -> bytes:
    """A document with one of its values replaced, taken away or repeated, or its text cut."""
    copy = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 2))):
        place: Any = copy
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inner = place[key]
            if isinstance(inner, dict | list) and inner and draw(st.integers(0, 3)):
                place = inner
                continue
            match draw(st.sampled_from(["replace", "drop", "shorten", "enlarge"])):
                case "shorten" if isinstance(inner, list | str):
                    place[key] = inner[: draw(st.integers(0, len(inner)))]
                case "enlarge" if isinstance(inner, list | str):
                    place[key] = inner * draw(st.sampled_from([2, 30]))
                case "drop":
                    del place[key]
                case _:
                    place[key] = draw(VALUE)
            break
    content = json.dumps(copy).encode()
    if draw(st.integers(0, 9)) == 0:
        return content[: draw(st.integers(0, len(content)))] + draw(st.binary(max_size=3))
    return content


# Formulas

FUNCTIONS = ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "tanh", "exp", "log", "sqrt")
NOT_FORMULAS = (
    *("^", "**", "//", "=", "==", ";", "(", ")", "[", "#", "'", '"', "\n", "\0", "\x1b", "{x}"),
    *("1j", "True", "1_000", "1e400", "1e-400", "0**0", "x(x)", "sin", "log(x,2)", "x.real", "if"),
    *("é", "ⅹ", "х", "f'", "lambda: 0", "__import__('os')"),
    *("9" * 400, "-" * 70, "(" * 70, "(" * 990, "x**" * 70),
)
NOT_FORMULA = st.one_of(
    st.just(""), st.just("twice"), st.sampled_from(NOT_FORMULAS), st.text(max_size=3)
)


@st.composite
def expressions(draw: st.DrawFn, known: tuple[str, ...] = ("x",), size: int = 12) -> str:
    """A formula in `known`, of up to about `size` operations."""
    if size <= 1 or draw(st.integers(0, 5)) == 0:
        constants = st.sampled_from(["1", "2", "0.5", "3", "0", "pi", "e", "1e3", "100", "1e-3"])
        return draw(st.one_of(st.sampled_from(known), st.sampled_from(known), constants))
    inner = expressions(known, size // 2)
    match draw(st.integers(0, 4)):
        case 0:
            return f"{draw(st.sampled_from(FUNCTIONS))}({draw(expressions(known, size - 1))})"
        case 1:
            return f"-{draw(inner)}"
        case 2:
            exponent = draw(st.sampled_from(["2", "3", "-1", "0.5", "x", "(1/3)"]))
            return f"({draw(inner)})**{exponent}"
        case _:
            return f"({draw(inner)} {draw(st.sampled_from('+-*/'))} {draw(inner)})"


@st.composite
def programs(draw: st.DrawFn) -> str:
    """A function of x, with or without named intermediates."""
    names: list[str] = []
    steps = []
    for name in draw(st.sampled_from([[], [], ["u"], ["u", "v"], ["u", "v", "w1"]])):
        steps.append(f"{name} = {draw(expressions(('x', *names), 8))}")
        names.append(name)
    return "; ".join([*steps, f"f = {draw(expressions(('x', *names)))}"])


def nested() -> SearchStrategy[str]:
    """One operation inside itself, up to far beyond what is read."""
    patterns = ["sin({})", "tan({})", "x**({})", "({})**x", "-{}", "1/(1+{})", "({}+1)*x"]

    def nest(pattern: str, depth: int) -> str:
        text = "x"
        for _ in range(depth):
            text = pattern.format(text)
        return text[:1_100]

    return st.builds(nest, st.sampled_from(patterns), st.integers(0, 90))


@st.composite
def damaged(draw: st.DrawFn, texts: SearchStrategy[str]) -> str:
    text = draw(texts)
    return edit(draw, text, NOT_FORMULA) if draw(st.booleans()) else text
