"""Which code this process runs: where its files are, their digest, their commit."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
from functools import cache
from pathlib import Path

# Modules that draw and write what was computed.
_SHOWING = ("show.py", "picture.py", "curves.py")

PACKAGE = Path(__file__).resolve().parent


def checkout() -> Path | None:
    """The source checkout that the package runs from, or None for an installed package."""
    root = PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "configs").is_dir() else None


def digest(package: Path = PACKAGE) -> str:
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


@cache
def code_sha256(package: str) -> str:
    """A digest of the code that computes an experiment; formatting and comments do not count.

    That is its own folder and what stands beside it in its part, without what shows results, and
    what all parts share: layers and data.

    Args:
        package: of the experiment, such as midterm_cli.part3.train.
    """
    own = PACKAGE.parent.joinpath(*package.split("."))
    folders = own, own.parent, PACKAGE / "layers", PACKAGE / "data"
    paths = [path for folder in folders for path in folder.glob("*.py")]
    whole = hashlib.sha256()
    for path in sorted(paths):
        if path.name not in _SHOWING:
            whole.update(f"{path.relative_to(PACKAGE).as_posix()}\n".encode())
            whole.update(_normalised(path.read_text(encoding="utf-8")).encode())
    return whole.hexdigest()


def _normalised(text: str) -> str:
    """Python code without comments, docstrings and formatting."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [line for line in node.body if not _is_text(line)] or [ast.Pass()]
    return _dumped(tree)


def _dumped(node: object) -> str:
    """A syntax tree as text.

    Not by ast.dump or ast.unparse, whose text differs among the versions of Python: fields that are
    empty are left out, so that a version may add some.
    """
    if isinstance(node, list):
        return f"[{', '.join(map(_dumped, node))}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    fields = (
        f"{name}={_dumped(value)}"
        for name, value in ast.iter_fields(node)
        if value is not None and value != []
    )
    return f"{type(node).__name__}({', '.join(fields)})"


def _is_text(line: ast.stmt) -> bool:
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )


@cache
def git_commit() -> str | None:
    """The commit of the checkout that the package runs from, `-dirty` when files differ from it.

    None for an installed package, without git, and before the first commit.
    """
    root = checkout()
    if root is None or not (root / ".git").exists():
        return None
    # Inside a git hook GIT_DIR and its like point at some other repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            describe,
            cwd=root,
            env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
