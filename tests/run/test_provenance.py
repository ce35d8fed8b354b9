"""The commit in the record is that of the package's own checkout, and says when it is changed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from midterm_cli.run import provenance
from midterm_cli.run.provenance import git_commit


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")
def test_git_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, stdout=-3)

    monkeypatch.setattr(provenance, "checkout", lambda: tmp_path)
    assert git_commit() is None  # no repository
    git("init", "-q")
    assert git_commit() is None  # no commit
    (tmp_path / "file").write_text("one", encoding="utf-8")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    git("tag", "-a", "v1", "-m", "a tag is not a commit")
    clean = git_commit()
    assert clean is not None
    assert re.fullmatch("[0-9a-f]{40}", clean)

    (tmp_path / "file").write_text("two", encoding="utf-8")
    assert git_commit() == f"{clean}-dirty"
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook of some other repository
    assert git_commit() == f"{clean}-dirty"
    monkeypatch.setenv("PATH", "/nowhere")
    assert git_commit() is None


def test_an_installed_package_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "checkout", lambda: None)

    assert git_commit() is None
