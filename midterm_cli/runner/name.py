"""The name of a run, from what its config changes: seed=3,lr=0.002."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from midterm_cli.config.resolve import Resolved, plain

# On Windows a whole path has 260 characters, and the stage's name is longer by 9.
MAX_LENGTH = 80
_SAFE = re.compile(r"[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9_-])?")


def run_name(resolved: Resolved) -> str:
    """Name a run by its preset, unless that is the default, and by the keys that differ from it.

    Every key counts, `device` too: runs on two devices are two runs, and a loop over devices must
    not collide with itself. Paths count as they are typed.
    """
    variant = resolved.preset.rpartition("/")[0]
    return name_changes(plain(resolved.config), plain(resolved.base), variant)


def name_changes(config: Mapping[str, Any], base: Mapping[str, Any], variant: str = "") -> str:
    """The name of a config among those that change the same base.

    Different configs get different names: numbers, lists of numbers and simple words are written
    out; anything else, and any name that is too long, carries 40 bits of a hash.

    Args:
        config: plain data.
        base: plain data of what it changes.
        variant: the name of the base; empty for the packaged default.

    Returns:
        A file name of letters, digits and `.,=_+-`, at most MAX_LENGTH long, which Windows takes
        too (it ends in no dot); "default" when nothing differs from the packaged default.
    """
    changed = {key: value for key, value in config.items() if value != base.get(key)}
    parts = [f"{key}={_written(value)}" for key, value in changed.items()]
    name = ",".join([variant] * bool(variant) + parts) or "default"
    if len(name) <= MAX_LENGTH:
        return name
    suffix = f"+{_hash(changed)}"
    return name[: MAX_LENGTH - len(suffix)] + suffix


def _written(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str) and _SAFE.fullmatch(value) and value not in ("true", "false", "none"):
        return value
    if isinstance(value, list) and value and all(map(_is_number, value)):
        # A list of one is not its number.
        return "_".join(map(repr, value)) + "_" * (len(value) == 1)
    text = value.rsplit("/", 1)[-1] if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:20] + f"+{_hash(value)}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _hash(value: object) -> str:
    """Ten hexadecimal digits: 2^20 values before a clash is likely."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
