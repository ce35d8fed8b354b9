"""The name of a run, from what its config changes: lr=0.002,seed=3."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

# With .partial and a dot around it, far below the 255 bytes that file systems allow.
MAX_LENGTH = 120
_SAFE = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


def run_name(config: Mapping[str, Any], default: Mapping[str, Any]) -> str:
    """Name a run by the keys in which its config differs from the defaults.

    Every key counts, `device` too: runs on two devices are two runs, and a loop over devices must
    not collide with itself. Different configs get different names: numbers and simple words are
    written out; anything else, and any name that is too long, carries a hash.

    Args:
        config: plain data of the run's config.
        default: plain data of the packaged defaults.

    Returns:
        A file name of letters, digits and `.,=_+-`, at most MAX_LENGTH long; "default" when
        nothing differs.
    """
    changed = {key: value for key, value in config.items() if value != default.get(key)}
    if not changed:
        return "default"
    name = ",".join(f"{key}={_written(value)}" for key, value in changed.items())
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
    if isinstance(value, list) and value and all(_is_number(item) for item in value):
        return "_".join(repr(item) for item in value)
    text = value.rsplit("/", 1)[-1] if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:20] + f"+{_hash(value)}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _hash(value: object) -> str:
    """Ten hexadecimal digits: 2^20 values before a clash is likely."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
