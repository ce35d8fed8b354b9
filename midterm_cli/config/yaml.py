"""YAML as the configs use it: plain data, with numbers that read as numbers.

PyYAML follows YAML 1.1, where `1e-3` is text, `010` is eight, `no` is false and `1:30` is ninety.
Here scalars follow the JSON-like core schema of YAML 1.2 instead. Tags and aliases are refused: a
config needs neither, and they are how a YAML file runs code or grows without bound.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from midterm_cli import files
from midterm_cli.errors import UserError
from midterm_cli.text import printable, shortened

# A config has a few hundred bytes; what is larger was not meant as one.
MAX_BYTES = 64 * 1024

_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
)
_SCALARS = {
    "null": (re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    # Longer digit strings are floats: Python limits the digits that it turns into an integer.
    "int": (re.compile(r"[-+]?(0|[1-9][0-9]{0,99})$"), list("-+0123456789")),
    "float": (_FLOAT, list("-+.0123456789")),
}

_IN_WORDS = {
    "mapping values are not allowed": "the line above has no ': ', or this one a second ':' or "
    "another indent",
    "expected chomping or indentation": "text that begins with | or > goes in quotes",
    "found unknown escape character": "in double quotes \\ begins an escape: use single quotes",
    "expected <block end>": "no part of what stands above: indent lines alike, close quotes last",
    "expected '<document start>'": "no part of what stands above: indent lines alike",
    r"found character '\t'": "begins with a tab: indent with spaces",
    "that cannot start any token": "text that begins so goes in quotes",
    "found unexpected end of stream": "a quote is not closed",
    "could not find expected ':'": "no ':' after the key",
    "found another document": "a second document begins: a config is one",
    "sequence entries are not allowed": "a list is written as [1, 2], or each '- ' on its own line",
}
"""What PyYAML says of the usual mistakes, and what is said here."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars above, unique text keys, and neither tags nor aliases."""

    # Own tables: add_implicit_resolver and add_constructor would copy SafeLoader's into them.
    # They belong to the class, without saying so, as PyYAML declares them: hence the noqa.
    yaml_implicit_resolvers = {}  # noqa: RUF012
    yaml_constructors = {}  # noqa: RUF012

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs give it no types
        if isinstance(event, yaml.AliasEvent):
            problem = f"the alias '*{event.anchor}' is not read here: write the value out"
        elif getattr(event, "tag", None) is not None:
            problem = f"the tag '{event.tag}' is not read here: a config is plain data"
        else:
            return super().compose_node(parent, index)
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)

    def mapping(self, node: yaml.MappingNode) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                problem = f"a key must be text, got {key!r}"
            elif key in seen:
                problem = f"the key {key!r} stands twice"
            else:
                seen.add(key)
                continue
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
        return self.construct_mapping(node, deep=True)

    def sequence(self, node: yaml.SequenceNode) -> list[Any]:
        return self.construct_sequence(node, deep=True)

    def number(self, node: yaml.ScalarNode) -> float:
        return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes text which either YAML version would read as something else."""

    def inline(self, values: list[Any]) -> yaml.Node:
        return self.represent_sequence(_tag("seq"), values, flow_style=True)

    def text(self, value: str) -> yaml.Node:
        # PyYAML writes some line separators bare, where they read back as spaces.
        return self.represent_scalar(_tag("str"), value, None if value.isprintable() else '"')


def _tag(name: str) -> str:
    return f"tag:yaml.org,2002:{name}"


for _name, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(_tag(_name), _pattern, _first)
    _Dumper.add_implicit_resolver(_tag(_name), _pattern, _first)
_Loader.add_constructor(_tag("null"), lambda loader, node: None)
_Loader.add_constructor(_tag("bool"), lambda loader, node: node.value.lower() == "true")
_Loader.add_constructor(_tag("int"), lambda loader, node: int(node.value))
_Loader.add_constructor(_tag("float"), _Loader.number)
_Loader.add_constructor(_tag("str"), lambda loader, node: node.value)
_Loader.add_constructor(_tag("seq"), _Loader.sequence)
_Loader.add_constructor(_tag("map"), _Loader.mapping)
_Dumper.add_representer(list, _Dumper.inline)
_Dumper.add_representer(str, _Dumper.text)


def parse(text: str, origin: str, *, in_file: bool = False) -> Any:
    """Read one YAML value.

    Args:
        text: YAML.
        origin: where the text stands, for messages: a file name, or the option as typed.
        in_file: whether a message shows the line, which an option shows anyway.

    Raises:
        UserError: it is not YAML, or uses what a config may not (tags, aliases, duplicate keys);
            names the line.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        problem = printable(error.problem or error.context)
        problem = next((said for words, said in _IN_WORDS.items() if words in problem), problem)
        for end in ("'<stream end>'", "'\\x00'"):  # PyYAML's names for it
            problem = problem.replace(end, "the end")
        lines, mark = text.splitlines(), error.problem_mark
        if error.context_mark is not None and (error.context or "").startswith("while scanning"):
            mark = error.context_mark  # where begins what is not ended
        if mark is None or not lines or not in_file:
            raise UserError(f"{origin}: {problem}") from None
        line = min(mark.line, len(lines) - 1)
        shown = printable(lines[line].strip())[:80]
        raise UserError(f"{origin}, line {line + 1}: {problem}\n    {shown}") from None
    except yaml.reader.ReaderError as error:
        raise UserError(
            f"{origin}: character {error.position} is not text ({printable(error.reason)})"
        ) from None
    except RecursionError:
        raise UserError(f"{origin}: the lists or mappings are nested too deeply") from None
    except (ValueError, OverflowError) as error:
        # PyYAML's own: an escape such as \U00110000 beyond Unicode, a version of 5,000 digits.
        raise UserError(f"{origin}: not YAML ({shortened(printable(error), 80)})") from None


def load_file(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping.

    Raises:
        UserError: the file cannot be read, is too large, is not text, is empty, is not YAML or is
            not a mapping.
    """
    name = printable(path)
    try:
        files.require_regular(path)
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except IsADirectoryError:
        raise UserError(f"{name} is a folder: name a YAML file") from None
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{name} is larger than {MAX_BYTES // 1024} KiB: that is not a config")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not text: byte {error.start} is not UTF-8") from None
    values = parse(text, name, in_file=True)
    if values is None:
        raise UserError(f"{name} is empty: write KEY: VALUE lines, or leave it out")
    if not isinstance(values, dict):
        raise UserError(f"{name} must hold KEY: VALUE lines, got a {_kind(values)}")
    return values


def _kind(value: object) -> str:
    return "list" if isinstance(value, list) else f"single value, {printable(repr(value)[:60])}"


def dump(values: Mapping[str, Any]) -> str:
    """Write plain data as YAML that `parse` reads back to equal data."""
    text = yaml.dump(
        dict(values),
        Dumper=_Dumper,
        default_flow_style=False,
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )
    # It is in quotes, and may end on a terminal.
    return re.sub(
        r"[^\n -~]", lambda c: c[0] if c[0].isprintable() else f"\\U{ord(c[0]):08x}", text
    )
