"""Where data and configs are found, in a checkout and when installed, from any folder."""

from pathlib import Path

import pytest

from midterm_cli import paths


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as a wheel puts it into site-packages."""
    package = tmp_path / "site-packages" / "midterm_cli"
    (package / "configs").mkdir(parents=True)
    monkeypatch.setattr(paths, "_PACKAGE", package)
    return package


def test_data_is_looked_for_from_near_to_far(
    folder: Path, tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert paths.data_dir() == tmp_path / "cache" / "midterm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert paths.data_dir() == tmp_path / ".cache" / "midterm"

    root = installed.parent
    (root / "pyproject.toml").touch()
    (root / "configs").mkdir()
    assert paths.data_dir() == root / "data"

    (folder / "data").mkdir()
    assert paths.data_dir() == root / "data"  # some other data
    (folder / "data" / "FashionMNIST").mkdir()
    assert paths.data_dir() == Path("data")

    assert paths.data_dir(Path("chosen")) == Path("chosen")


def test_configs_of_a_checkout_and_of_a_wheel(installed: Path) -> None:
    assert paths.checkout() is None
    assert paths.configs_dir() == installed / "configs"

    (installed.parent / "pyproject.toml").touch()
    (installed.parent / "configs").mkdir()
    assert paths.configs_dir() == installed.parent / "configs"
