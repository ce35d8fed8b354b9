"""Validation errors, rewritten for people: the key, what it must be, what it is, and where."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from midterm_cli.text import did_you_mean, printable, shortened, shown

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

# pydantic's error type → what the value must; the braces are filled from the error's context.
_MUST = {
    "greater_than": "be greater than {gt}",
    "greater_than_equal": "be at least {ge}",
    "less_than": "be less than {lt}",
    "less_than_equal": "be at most {le}",
    "finite_number": "be finite",
    "float_type": "be a number",
    "int_type": "be an integer",
    "int_from_float": "be an integer",
    "bool_type": "be true or false",
    "string_type": "be text",
    # Half of a surrogate pair: an escape in YAML, or a byte of an option.
    "string_unicode": "be text in UTF-8",
    "list_type": "be a list",
    "tuple_type": "be a list",
    "none_required": "be null",
    "dict_type": "hold KEY: VALUE lines",
    "model_type": "hold KEY: VALUE lines",
    "model_attributes_type": "hold KEY: VALUE lines",
    "literal_error": "be {expected}",
    "too_short": "have at least {min_length} values",
    "too_long": "have at most {max_length} values",
    "string_too_short": "have at least {min_length} characters",
    "string_too_long": "have at most {max_length} characters",
}
_MAX_LINES = 10


def explain(
    errors: Iterable[ErrorDetails],
    config_class: type[BaseModel],
    origin: Callable[[Sequence[str]], str],
) -> str:
    """One line for each mistake in a config, up to a screenful.

    Args:
        errors: what pydantic found.
        config_class: the model that was not met.
        origin: where the value of a key, as a path of keys, comes from; "" where that is known.
    """
    # A union reports what each of its branches asks of one value: that is one mistake. Where a
    # branch has looked into a list, or at its length, what the others ask instead of it is none.
    found: dict[tuple[str, str], list[str]] = {}
    errors = list(errors)
    paths = [tuple(_location(error["loc"], config_class)[0]) for error in errors]
    outside = {path[:length] for path in paths for length in range(len(path))}
    of_a_list = {
        path
        for error, path in zip(errors, paths, strict=True)
        if error["type"] in ("too_short", "too_long")
    }
    for error, path in zip(errors, paths, strict=True):
        of_a_branch = error["type"].endswith("_type") or error["type"] == "none_required"
        if of_a_branch and (path in outside or path in of_a_list):
            continue
        key, demand, rest = _sentence(error, config_class, origin)
        found.setdefault((key, rest), []).append(demand)
    lines = [
        key + " or".join(dict.fromkeys(demands)).replace(" or must be ", " or ") + rest
        for (key, rest), demands in found.items()
    ]
    if len(lines) > _MAX_LINES:
        lines[_MAX_LINES:] = [f"and {len(lines) - _MAX_LINES:,} more mistakes"]
    return "\n".join(lines)


def _sentence(
    error: ErrorDetails, config_class: type[BaseModel], origin: Callable[[Sequence[str]], str]
) -> tuple[str, str, str]:
    """What is wrong: the key, what is asked of its value (a union may ask more), and the rest."""
    location, model = _location(error["loc"], config_class)
    keys = [part for part in location if isinstance(part, str)]
    key = printable(_written(location))
    place = origin(keys) if keys else ""
    where = f" ({place})" if place else ""
    value = shown(error["input"])
    kind = error["type"]
    if kind in _MUST:
        context = {name: _bound(bound) for name, bound in error.get("ctx", {}).items()}
        return key, f" must {_MUST[kind].format_map(context)}", f", got {value}{where}"
    if kind == "missing":
        line = f"{key} is missing"
    elif kind == "extra_forbidden":
        words = re.sub("[-_]", " ", keys[-1])
        fields = model.model_fields.items()
        described = [name for name, field in fields if (field.description or "").startswith(words)]
        if isinstance(error["input"], dict) and len(keys) == 1:
            meant = "a config has its keys at the left edge"
        elif len(described) == 1:
            meant = f"did you mean '{described[0]}'?"
        else:
            meant = did_you_mean(keys[-1], model.model_fields)
        line = f"unknown key '{shortened(key, 60)}'{where}: {meant}"
    elif kind == "value_error":
        message = str(error["ctx"]["error"])
        line = (message if message.startswith(key) else f"{key} {message}") + where
    elif kind == "string_pattern_mismatch":
        # A regular expression tells a user nothing: the field's description does.
        line = f"{key} cannot be {value}{where}: {model.model_fields[keys[-1]].description}"
    elif kind == "union_tag_not_found":
        name = error["ctx"]["discriminator"].strip("'")
        line = f"{key}.{name} is missing{where}: write {name}: NAME beside its other keys"
    elif kind == "union_tag_invalid":
        found = error["ctx"]
        tag, known = found["tag"], found["expected_tags"].replace("'", "").split(", ")
        name = found["discriminator"].strip("'")
        line = f"{key}.{name} cannot be {shown(tag)}{where}: {did_you_mean(tag, known)}"
    else:
        line = f"{key} is wrong: {printable(error['msg'])}, got {value}{where}"
    return "", "", line


def _location(
    path: Sequence[str | int], config_class: type[BaseModel]
) -> tuple[list[str | int], type[BaseModel]]:
    """Where an error is, without the names that pydantic gives to the branches of a union.

    Returns:
        Keys and indices, and the model whose field the last key is.
    """
    location: list[str | int] = []
    model = config_class
    inner: Any = config_class
    for part in path:
        if isinstance(part, int):
            location.append(part)
            inner = next(iter(get_args(inner)), None)  # the type of a list's items
        elif get_origin(inner) is dict:
            location.append(part)
            inner = get_args(inner)[1]
        elif hasattr(inner, "model_fields"):
            location.append(part)
            model = inner
            inner = _not_none(getattr(model.model_fields.get(part), "annotation", None))
        else:
            inner = _branch(inner, part)
    return location, model


def _branch(annotation: Any, tag: str) -> Any:
    """The model that a union takes for this tag; the annotation itself where there is none."""
    union = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    for model in get_args(union):
        fields = getattr(model, "model_fields", {}).values()
        if any(get_args(field.annotation) == (tag,) for field in fields):
            return model
    return annotation


def _not_none(annotation: Any) -> Any:
    """The type beside None, where there is one of them."""
    others = [inner for inner in get_args(annotation) if inner is not type(None)]
    return others[0] if len(others) == 1 and len(get_args(annotation)) == 2 else annotation


def _bound(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _written(location: Sequence[str | int]) -> str:
    """A location as the user writes it: optimizer.lr, hidden_sizes[1]."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")
