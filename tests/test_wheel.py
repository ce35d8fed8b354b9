"""The wheel works by itself, outside the checkout, with the configs inside it."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from midterm_cli.source import checkout

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout, unpacked as an installer would."""
    root = checkout()
    assert root is not None
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(root)], check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_the_sdist_carries_all_that_the_repository_has(tmp_path: Path) -> None:
    """Tests, examples, docs and CI too: it is built, tested and read without the repository."""
    root = checkout()
    assert root is not None
    listed = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not in a repository")
    build = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*build, str(root)], check=True, capture_output=True)
    [archive] = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert set(listed.stdout.splitlines()) - names == set()


def run(site: Path, folder: Path, *arguments: str) -> str:
    """What a command of the wheel prints, run from another folder."""
    # The wheel comes before the checkout, which an editable install puts on the path as well.
    environment = os.environ | {"PYTHONPATH": str(site), "XDG_CACHE_HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "midterm_cli", *arguments],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_the_wheel_carries_the_configs(unpacked: Path, tmp_path: Path) -> None:
    root = checkout()
    assert root is not None
    assert (unpacked / "midterm_cli" / "py.typed").is_file()
    names = {path.relative_to(root / "configs") for path in (root / "configs").rglob("*.yaml")}
    folder = unpacked / "midterm_cli" / "configs"
    assert {path.relative_to(folder) for path in folder.rglob("*.yaml")} == names
    presets = {str(name.with_suffix("")) for name in names} - {"reference/expected"}
    listed = run(unpacked, tmp_path, "config", "list").splitlines()
    assert {line.split()[0] for line in listed} == presets


def test_the_wheel_carries_schema_and_expectations(unpacked: Path, tmp_path: Path) -> None:
    schema = json.loads(run(unpacked, tmp_path, "schema", "softt"))
    assert "threshold" in schema["$defs"]["softt.results"]["properties"]
    run(unpacked, tmp_path, "softt", "plot", "--quiet")
    assert "every check passed" in run(unpacked, tmp_path, "check")


def test_the_wheel_trains_outside_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    arguments = ("train", "--dataset", "synthetic", "--seeds", "1", "--epochs", "1", "--json")
    document = json.loads(run(unpacked, tmp_path, *arguments))
    assert document["results"]["outcome"] == "trained"
    # It is the wheel that ran: a checkout would know its commit.
    assert document["provenance"]["git_commit"] is None
    assert (tmp_path / "outputs" / "train").is_dir()
