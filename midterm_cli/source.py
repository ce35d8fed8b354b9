"""Which code this process runs: a digest of the package's source files."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def digest(package: Path = _PACKAGE) -> str:
    """A name for the content of a package's Python files, 16 hexadecimal digits.

    A checkout and a wheel of the same state have the same. Files that change under a running
    process do not change what it runs: see `loaded`.
    """
    whole = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{content}  {path.relative_to(package).as_posix()}\n".encode())
    return whole.hexdigest()[:16]


@cache
def loaded() -> str:
    """The digest as it was when it was first asked for in this process."""
    return digest()
