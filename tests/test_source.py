"""The code that runs: the checkout it is from, its commit, its digest."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from midterm_cli import source
from midterm_cli.source import checkout, code_sha256, digest, git_commit


def test_a_checkout_is_known_by_what_lies_beside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PACKAGE", tmp_path / "midterm_cli")
    assert checkout() is None
    (tmp_path / "pyproject.toml").touch()
    assert checkout() is None
    (tmp_path / "configs").mkdir()
    assert checkout() == tmp_path


commit = git_commit.__wrapped__


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")
def test_the_commit_is_that_of_the_checkout_and_says_when_files_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, stdout=-3)

    monkeypatch.setattr(source, "checkout", lambda: tmp_path)
    assert commit() is None  # no repository
    git("init", "-q")
    assert commit() is None  # no commit
    (tmp_path / "file").write_text("one", encoding="utf-8")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    git("tag", "-a", "v1", "-m", "a tag is not a commit")
    clean = commit()
    assert clean is not None
    assert re.fullmatch("[0-9a-f]{40}", clean)

    (tmp_path / "file").write_text("two", encoding="utf-8")
    assert commit() == f"{clean}-dirty"
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook of some other repository
    assert commit() == f"{clean}-dirty"
    monkeypatch.setenv("PATH", "/nowhere")
    assert commit() is None


def test_an_installed_package_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "checkout", lambda: None)

    assert commit() is None


def test_the_digest_changes_with_the_code_alone(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "a.py").write_text("a = 1\n", encoding="utf-8")
    first = digest(tmp_path)
    assert re.fullmatch("[0-9a-f]{16}", first)

    (tmp_path / "part" / "notes.txt").touch()
    assert digest(tmp_path) == first
    (tmp_path / "part" / "a.py").write_text("a = 2\n", encoding="utf-8")
    second = digest(tmp_path)
    (tmp_path / "part" / "a.py").rename(tmp_path / "part" / "b.py")
    assert len({first, second, digest(tmp_path)}) == 3


FILES = {
    "part9/shared.py": "def double(x):\n    return 2 * x\n",
    "part9/new/run.py": "A = 1\n",
    "part9/new/show.py": "B = 1\n",
    "part9/other/run.py": "C = 1\n",
    "data/idx.py": "D = 1\n",
    "layers/walk.py": "F = 1\n",
    "cli/parts.py": "E = 1\n",
}


@pytest.mark.parametrize(
    ("name", "change", "counts"),
    [
        ("part9/new/run.py", ("A = 1", "A = 2"), True),
        ("part9/shared.py", ("2 * x", "x * 2"), True),
        ("data/idx.py", ("D = 1", "D = 2"), True),
        ("layers/walk.py", ("F = 1", "F = 2"), True),
        ("part9/new/show.py", ("B = 1", "B = 2"), False),
        ("part9/other/run.py", ("C = 1", "C = 2"), False),
        ("cli/parts.py", ("E = 1", "E = 2"), False),
        # Neither do comments, docstrings and formatting.
        ("part9/new/run.py", ("A = 1", '"""New."""\n\nA  =  (1)  # one'), False),
        ("part9/shared.py", ("x):\n", 'x):\n    """Twice."""\n'), False),
    ],
)
def test_the_code_of_an_experiment_is_what_computes_it(
    name: str,
    change: tuple[str, str],
    counts: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source, "PACKAGE", tmp_path / "midterm_cli")

    def digest_of_new() -> str:
        code_sha256.cache_clear()
        return code_sha256("midterm_cli.part9.new")

    for file, text in FILES.items():
        path = tmp_path / "midterm_cli" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    before = digest_of_new()
    changed = FILES[name].replace(*change)
    assert changed != FILES[name]
    (tmp_path / "midterm_cli" / name).write_text(changed, encoding="utf-8")

    assert (digest_of_new() != before) == counts
    code_sha256.cache_clear()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = None", "x = 0"),
        ("x = 1", "x = True"),
        ("x = 1", "x = '1'"),
        ("x = 1", "x = 1.0"),
        ("x = ''", "x = b''"),
        ("f(a=1)", "f(**a)"),
        ("f(a)", "f(*a)"),
        ("def f(a, /): ...", "def f(a): ..."),
        ("def f(*, a=None): ...", "def f(*, a): ..."),
        ("{**a}", "{None: a}"),
        ("a - (b - c)", "a - b - c"),
        ("async def f(): ...", "def f(): ..."),
        ("f'{x!r}'", "f'{x}'"),
    ],
)
def test_different_code_is_told_apart(one: str, other: str) -> None:
    assert source._normalised(one) != source._normalised(other)


def test_the_digest_is_the_same_in_a_python_that_knows_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as 3.12, whose functions have type parameters."""
    code = "def f(x: int) -> int:\n    return x\n"
    before = source._normalised(code)
    monkeypatch.setattr(ast.FunctionDef, "_fields", (*ast.FunctionDef._fields, "more", "most"))
    monkeypatch.setattr(ast.FunctionDef, "more", [], raising=False)
    monkeypatch.setattr(ast.FunctionDef, "most", None, raising=False)

    assert source._normalised(code) == before


def test_the_digest_is_of_a_text_that_no_python_changes() -> None:
    """Recorded digests stay valid: 3.11, 3.12 and 3.13 were seen to agree on 313 files."""
    assert source._normalised('x = f"{a!r:>3}" # comment') == (
        "Module(body=[Assign(targets=[Name(id='x', ctx=Store())], value=JoinedStr(values=["
        "FormattedValue(value=Name(id='a', ctx=Load()), conversion=114, "
        "format_spec=JoinedStr(values=[Constant(value='>3')]))]))])"
    )
