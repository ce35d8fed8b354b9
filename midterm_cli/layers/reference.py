"""The name of a network of the user's own: FILE.py:NAME."""

from __future__ import annotations

import re
from pathlib import Path

from midterm_cli.errors import UserError
from midterm_cli.text import printable

_REFERENCE = re.compile(r"([^\0]*\.py)(?::([^\0]*))?")


def is_reference(text: str) -> bool:
    """Whether a text names a Python file, FILE.py:NAME; `user.read` refuses one without NAME."""
    return _REFERENCE.fullmatch(text) is not None


def file_of(reference: str) -> Path:
    """The file of a text that `is_reference`."""
    return Path(split(reference)[0])


def split(reference: str) -> tuple[str, str]:
    """The file, and the name, which may be empty.

    Raises:
        UserError: the text has another form.
    """
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        raise UserError(f"{printable(reference)} is not FILE.py:NAME, with a class or a function")
    return parts[1], parts[2] or ""
