"""The packaged configs: found in a checkout and in a wheel, each valid, each with a headline."""

import os
from pathlib import Path

import pytest
import yaml

from midterm_cli import source
from midterm_cli.config import presets
from midterm_cli.config.resolve import plain, resolve
from midterm_cli.errors import UserError
from midterm_cli.registry import EXPERIMENTS


def test_they_are_those_of_the_checkout_or_those_in_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "PACKAGE", tmp_path / "midterm_cli")
    monkeypatch.setattr(presets, "checkout", lambda: None)
    assert presets.configs_dir() == tmp_path / "midterm_cli" / "configs"

    monkeypatch.setattr(presets, "checkout", lambda: tmp_path)
    assert presets.configs_dir() == tmp_path / "configs"


def test_each_file_is_a_preset_of_an_experiment_and_each_preset_a_file() -> None:
    folder = presets.configs_dir()
    files = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}

    assert files - {"reference/expected"} == set(presets.presets())
    assert {presets.experiment_of(name) for name in presets.presets()} == set(EXPERIMENTS)


@pytest.mark.parametrize("name", presets.presets())
def test_each_is_valid_and_says_what_it_shows(name: str) -> None:
    resolved = resolve(presets.experiment_of(name), name)

    assert resolved.preset == name
    assert len(presets.headline(name)) > 20


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_code_has_no_default(name: str) -> None:
    """configs/*.yaml is the one home of the defaults, and it has every key."""
    fields = EXPERIMENTS[name].config_class.model_fields
    assert all(field.is_required() for field in fields.values())
    values = yaml.safe_load(presets.preset_path(name).read_text(encoding="utf-8"))
    assert set(values) == set(fields) == set(plain(resolve(name).config))


@pytest.mark.parametrize("force", [False, True])
def test_a_copy_replaces_no_device_and_advises_no_force_for_one(
    force: bool, tmp_path: Path
) -> None:
    """A link to a device stands for it: what would be replaced is the link."""
    copy = tmp_path / "copy.yaml"
    copy.symlink_to(os.devnull)

    with pytest.raises(UserError, match=r"copy\.yaml is not a regular file: choose another name"):
        presets.copy_preset("train", copy, force)

    assert copy.is_symlink()


def test_the_package_and_the_checkout_are_this_one() -> None:
    assert source.checkout() == Path(__file__).parents[2]
