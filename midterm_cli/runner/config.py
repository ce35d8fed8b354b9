"""From YAML, --set and options to one validated config, and where each of its values comes from."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from midterm_cli.errors import UserError
from midterm_cli.experiment import ExperimentConfig
from midterm_cli.runner import experiments, yaml_text
from midterm_cli.runner.mistakes import did_you_mean, explain
from midterm_cli.runner.paths import configs_dir, expected_file
from midterm_cli.runner.terminal import printable


class Layer(NamedTuple):
    """Values that stand together, and where: a file's name, --set, or an option.

    A later layer wins over an earlier one, key by key; nested mappings are merged.
    """

    origin: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Resolved:
    """A config and what is known about how it came about.

    Attributes:
        config: the validated config.
        default: the config of the packaged defaults alone.
        origins: dotted key → where its value comes from: default, a file, --set or an option.
    """

    config: ExperimentConfig
    default: ExperimentConfig
    origins: Mapping[str, str]


def resolve(
    experiment: str,
    file: str | None = None,
    assignments: Sequence[str] = (),
    options: Sequence[Layer] = (),
) -> Resolved:
    """Put the layers of a config together: packaged default < file < --set < options.

    Args:
        experiment: a name in the table of experiments.
        file: path of a YAML file, or the name of a packaged preset.
        assignments: KEY=VALUE, the key dotted for nested keys, the value in YAML.
        options: one layer for each option of the command line.

    Raises:
        UserError: a file cannot be used, or the config is not valid; all mistakes at once.
    """
    config_class = experiments.load(experiment).Config
    default = Layer("default", yaml_text.load_file(preset_path(experiment)))
    layers = [default]
    if file is not None:
        layers.append(Layer(printable(file), yaml_text.load_file(_find_file(file, experiment))))
    layers.extend(_assignment(text) for text in assignments)
    layers.extend(options)
    config, origins = _validated(config_class, layers)
    return Resolved(config, _validated(config_class, [default])[0], origins)


def from_document(experiment: str, values: Mapping[str, Any], origin: str) -> ExperimentConfig:
    """Validate a whole config that was stored by a run, as in its metrics.json."""
    config, _ = _validated(experiments.load(experiment).Config, [Layer(origin, values)])
    return config


def _validated(
    config_class: type[ExperimentConfig], layers: Sequence[Layer]
) -> tuple[ExperimentConfig, dict[str, str]]:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in layers:
        _merge(values, layer.values, layer.origin, origins)
    try:
        # Strict: "3" is not 3, true is not 1, 3.0 is not an integer. By way of JSON, because a list
        # is then what a tuple is written as.
        config = config_class.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        _require_json(values, origins)
        raise UserError(
            explain(error.errors(), config_class, lambda path: _origin(origins, path))
        ) from None
    return config, origins


def _require_json(values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """Name the key whose value cannot pass through JSON, since pydantic names none."""
    for key, value in values.items():
        try:
            from_json(json.dumps({key: value}))
        except ValueError as error:
            where = f"{printable(key)[:60]} ({_origin(origins, [key])})"
            if "recursion" in str(error):
                raise UserError(f"{where} is nested too deeply: write it flatter") from None
            # Half of a surrogate pair: an escape in YAML, or a byte of an option.
            raise UserError(f"{where} is not text: write it in UTF-8") from None


def _merge(
    into: dict[str, Any],
    values: Mapping[str, Any],
    origin: str,
    origins: dict[str, str],
    prefix: str = "",
) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            below = into.get(key)
            into[key] = dict(below) if isinstance(below, Mapping) else {}
            _merge(into[key], value, origin, origins, f"{prefix}{key}.")
        else:
            into[key] = value
        origins[prefix + key] = origin


def _origin(origins: Mapping[str, str], path: Sequence[str]) -> str:
    """Where the value at a path of keys comes from; for what was never set, the default."""
    for length in range(len(path), 0, -1):
        origin = origins.get(".".join(path[:length]))
        if origin is not None:
            return origin
    return "default"


def _assignment(text: str) -> Layer:
    """The layer of one --set KEY=VALUE."""
    dotted, equals, value = text.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise UserError(f"--set {printable(text)} is not KEY=VALUE: write it like --set lr=1e-3")
    nested: Any = yaml_text.parse(value, f"--set {printable(text)}")
    for key in reversed(keys):
        nested = {key: nested}
    return Layer("--set", nested)


def presets() -> list[str]:
    """Names of the packaged configs: an experiment's name, or folder/name for a variant of it."""
    folder = configs_dir()
    found = [
        path.relative_to(folder).with_suffix("")
        for path in folder.rglob("*.yaml")
        if path != expected_file()
    ]
    return sorted((path.as_posix() for path in found), key=lambda name: (name.count("/"), name))


def preset_path(name: str) -> Path:
    """The file of a packaged config.

    Raises:
        UserError: there is none of this name.
    """
    if name not in presets():
        raise UserError(
            f"no packaged config is named '{printable(name)}': {did_you_mean(name, presets())}"
        )
    return configs_dir() / f"{name}.yaml"


def _find_file(name: str, experiment: str) -> Path:
    """The file that --config names: a path, or else the name of a packaged preset.

    Raises:
        UserError: it is neither, or a preset of another experiment.
    """
    path = Path(name)
    if name in presets() and not path.is_file():
        if (other := path.name) != experiment:
            own = [preset for preset in presets() if Path(preset).name == experiment]
            raise UserError(
                f"'{name}' is a packaged config of {other}, not of {experiment}: "
                f"its own are {', '.join(own)}"
            )
        return preset_path(name)
    _require_file(name)
    return path


def _require_file(name: str) -> None:
    try:
        Path(name).stat()
    except OSError as error:
        raise UserError(
            f"cannot read {printable(name)}: {error.strerror}; "
            f"of the packaged presets, {did_you_mean(name, presets())}"
        ) from None


def experiment_of(name: str | None, file: str | None) -> str:
    """The experiment that is meant: the one named, or else the one that the file is named after.

    Raises:
        UserError: no experiment has the name, or neither says which is meant.
    """
    known = experiments.EXPERIMENTS
    if name is not None:
        key = name.replace("-", "_")
        if key not in known:
            raise UserError(
                f"no experiment is named '{printable(name)}': {did_you_mean(key, known)}"
            )
        return key
    if file is None:
        raise UserError(f"say which experiment is meant: {', '.join(known)}")
    stem = Path(file).stem
    if stem not in known:
        _require_file(file)
        raise UserError(
            f"the name of {printable(file)} does not say which experiment it is for: "
            f"name one of {', '.join(known)}"
        )
    return stem


def plain(config: ExperimentConfig) -> dict[str, Any]:
    """The config as plain data, ready for JSON and YAML."""
    return config.model_dump(mode="json")


def dump(config: ExperimentConfig) -> str:
    """The config as YAML that reads back to the equal config."""
    return yaml_text.dump(plain(config))


def annotated(resolved: Resolved) -> str:
    """The config as YAML, each value followed by a comment that says where it comes from."""
    lines = []
    for key, value in plain(resolved.config).items():
        text = yaml_text.dump({key: value}).rstrip("\n")
        origin = _origin(resolved.origins, [key])
        lines.append(f"{text}  # {origin}" if "\n" not in text else f"# {origin}\n{text}")
    return "\n".join(lines) + "\n"


def headline(preset: str) -> str:
    """What a packaged config says about itself: the first sentence of the comment at its top."""
    lines = preset_path(preset).read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("# "), lines)
    return " ".join(line[2:] for line in comment).partition(". ")[0]
