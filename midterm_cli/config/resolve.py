"""From YAML, --set and options to one validated config, and where each of its values comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from midterm_cli.config import yaml
from midterm_cli.config.explain import explain
from midterm_cli.config.presets import comments, experiment_of, preset_path, presets
from midterm_cli.errors import UserError
from midterm_cli.experiment import ExperimentConfig
from midterm_cli.files import is_file, with_home
from midterm_cli.registry import EXPERIMENTS, Experiment
from midterm_cli.text import did_you_mean, printable, shown

_MOST_GONE = 10  # keys of an earlier version that a config of today may lack
EXPERIMENT = "experiment"
"""The key by which a file may say which experiment it is for."""


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
        experiment: that it is for.
        config: the validated config.
        preset: the packaged config that it starts from.
        base: the config of that preset alone.
        origins: dotted key → where its value comes from: default, a file, --set or an option.
        notes: lines that the user should see, on keys that were left out.
    """

    experiment: Experiment
    config: ExperimentConfig
    preset: str
    base: ExperimentConfig
    origins: Mapping[str, str]
    notes: Sequence[str] = ()

    def origin(self, *path: str) -> str:
        """Where the value at a path of keys comes from; for what was never set, the default."""
        return _origin(self.origins, path)


def resolve(
    experiment: str,
    files: str | Sequence[str] | None = None,
    assignments: Sequence[str] = (),
    options: Sequence[Layer] = (),
) -> Resolved:
    """Put the layers of a config together: packaged default < files < --set < options.

    Args:
        experiment: a name in the table of experiments.
        files: path of a YAML file, or the name of a packaged preset; or several, a later one wins.
        assignments: KEY=VALUE, the key dotted for nested keys, the value in YAML.
        options: one layer for each option of the command line.

    Raises:
        UserError: a file cannot be used, or the config is not valid; all mistakes at once.
    """
    row = EXPERIMENTS[experiment]
    preset, notes = experiment, list[str]()
    layers = [_packaged(experiment)]
    base = [*layers]
    for file in [files] if isinstance(files, str) else files or ():
        path, found = _find_file(file, row)
        values, of_file = _without_gone(row, _load(path, row), printable(file))
        layers.append(Layer(printable(file), values))
        notes += of_file
        if found != experiment:
            preset, base = found, [base[0], layers[-1]]
    num_files = len(layers)
    layers += [*map(_assignment, assignments), *options]
    config, origins = _validated(row, layers, num_files)
    return Resolved(row, config, preset, _validated(row, base, len(base))[0], origins, notes)


def complete(
    experiment: Experiment, stored: Mapping[str, Any], origin: str
) -> tuple[dict[str, Any], list[str]]:
    """Complete the config that a run has stored with the packaged defaults of today.

    Args:
        experiment: of the run.
        stored: the whole config as plain data.
        origin: the run, for messages.

    Returns:
        The values of a config of today, not validated: a key that the stored config lacks has its
        default, a key that today's config has not is left out. And notes that say which.

    Raises:
        UserError: it has many keys that no version knows: it is no run of midterm.
    """
    known = experiment.config_class.model_fields
    gone = [key for key in stored if key not in known]
    missing = [key for key in known if key not in stored]
    kept = {key: value for key, value in stored.items() if key in known}
    if len(gone) > _MOST_GONE:
        raise UserError(
            f"{origin} is no run of this midterm: it knows none of {len(gone):,} keys of its config"
        )
    notes = [_gone(experiment, key, origin) for key in gone]
    if missing:
        notes.append(f"{origin} has no {', '.join(missing)}: completed from the packaged default")
    layers = [_packaged(experiment.name), Layer(origin, kept)]
    return _without_rivals(experiment, layers, 2, {**layers[0].values, **kept}), notes


def _without_gone(
    experiment: Experiment, values: Mapping[str, Any], origin: str
) -> tuple[dict[str, Any], list[str]]:
    """The values of a file without the keys of earlier versions, and a note on each of these."""
    gone = [key for key in values if key in experiment.config_class.GONE]
    kept = {key: value for key, value in values.items() if key not in gone}
    return kept, [_gone(experiment, key, origin) for key in gone]


def _gone(experiment: Experiment, key: str, origin: str) -> str:
    reason = experiment.config_class.GONE.get(key, f"{experiment.name} has no such key")
    return f"{printable(key)} in {origin} is left out: {reason}"


def _load(path: Path, experiment: Experiment) -> dict[str, Any]:
    """The values of a file, which may say by a key of its own which experiment they are for.

    Raises:
        UserError: it is for another one, or cannot be used.
    """
    values = yaml.load_file(path)
    said = values.pop(EXPERIMENT, experiment.name)
    if said != experiment.name:
        raise UserError(f"{printable(path)} is a config of {shown(said)}, not of {experiment.name}")
    return values


def _packaged(preset: str) -> Layer:
    return Layer("default", yaml.load_file(preset_path(preset)))


def _validated(
    experiment: Experiment, layers: Sequence[Layer], num_files: int
) -> tuple[ExperimentConfig, dict[str, str]]:
    """The config that layers make, the first `num_files` of them files, one after the other."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in layers:
        _merge(values, layer.values, layer.origin, origins)
    config_class = experiment.config_class
    values = _without_rivals(experiment, layers, num_files, values)
    for key, wanted in config_class.BORROWED.items():
        values[key] = _borrowed(values.get(key), wanted)
    try:
        # Strict: "3" is not 3, true is not 1, 3.0 is not an integer.
        config = config_class.model_validate(values, strict=True)
    except ValidationError as error:
        raise UserError(
            explain(error.errors(), config_class, lambda path: _origin(origins, path))
        ) from None
    _require_effect(config, layers[0].values, origins)
    return config, origins


def _without_rivals(
    experiment: Experiment, layers: Sequence[Layer], num_files: int, values: Mapping[str, Any]
) -> dict[str, Any]:
    """The values, in which a key is null if another that takes its place was given after it."""
    given = {key: min(i, num_files) for i, layer in enumerate(layers) for key in layer.values}
    gone = {
        key: None
        for key, others in experiment.config_class.GIVES_WAY.items()
        if any(
            values[it] is not None and given[it] > given.get(key, 0) for it in others if it in given
        )
    }
    return {**values, **gone}


def _borrowed(value: Any, wanted: str) -> Any:
    """What a packaged config or a YAML file has under a key, if the value names one."""
    if not isinstance(value, str) or not (value in presets() or value.endswith((".yaml", ".yml"))):
        return value
    path = preset_path(value) if value in presets() else Path(with_home(value))
    values = yaml.load_file(path)
    if wanted not in values:
        raise UserError(f"{printable(value)} has no key {wanted}: choose a config that has one")
    if not isinstance(values[wanted], list):
        raise UserError(f"{wanted} in {printable(value)} must be a list")
    return values[wanted]


def _require_effect(
    config: ExperimentConfig, defaults: Mapping[str, Any], origins: Mapping[str, str]
) -> None:
    """Refuse a key that was set, and changes nothing beside the others.

    Raises:
        UserError: names each, and what it is of.
    """
    values = plain(config)
    lines = [
        f"{key} ({origins[key]}) changes nothing here: it is of {of}"
        for key, of in config.idle().items()
        if values[key] != defaults[key] or _is_option(origins[key])
    ]
    if lines:
        raise UserError("\n".join(lines))


def _is_option(origin: str) -> bool:
    """Whether a value was given on its own: by an option, or as an argument in Python."""
    return origin.endswith("=") or (origin.startswith("--") and origin != "--set")


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
    nested: Any = yaml.parse(value, f"--set {printable(text)}")
    for key in reversed(keys):
        nested = {key: nested}
    return Layer("--set", nested)


def _find_file(name: str, experiment: Experiment) -> tuple[Path, str]:
    """The file that --config names, a path, a run or else a packaged preset; and the preset it is.

    Raises:
        UserError: it is neither, or a preset of another experiment.
    """
    path = _path(name)
    if name not in presets() or is_file(path):
        _require_file(name)
        return path, experiment.name
    if (other := experiment_of(name)) != experiment.name:
        raise UserError(
            f"'{name}' is a packaged config of {other}, not of {experiment.name}: "
            f"its own are {', '.join(experiment.presets)}"
        )
    return preset_path(name), name


def _path(name: str) -> Path:
    """A path as it is named; of a run folder the config."""
    path = Path(name)
    config = (path.parent if path.name == "metrics.json" else path) / "config.yaml"
    return config if is_file(config) else Path(name)


def _require_file(name: str) -> None:
    try:
        Path(name).stat()
    except OSError as error:
        raise UserError(
            f"cannot read {printable(name)}: {error.strerror}; "
            f"of the packaged presets, {did_you_mean(name, presets())}"
        ) from None


def meant(name: str | None, file: str | None) -> str:
    """The experiment that is meant: the one named, or else the one that the file says.

    A file says it by the key `experiment`, or else by its name.

    Raises:
        UserError: no experiment has the name, or neither says which is meant.
    """
    if name is not None:
        key = name.replace("-", "_")
        if key not in EXPERIMENTS:
            raise UserError(
                f"no experiment is named '{printable(name)}': {did_you_mean(key, EXPERIMENTS)}"
            )
        return key
    if file is None:
        raise UserError(f"say which experiment is meant: {', '.join(EXPERIMENTS)}")
    path = _path(file)
    if is_file(path) and isinstance(said := yaml.load_file(path).get(EXPERIMENT), str):
        return meant(said, None)
    stem = path.stem.replace("-", "_")
    if stem not in EXPERIMENTS:
        _require_file(file)
        raise UserError(
            f"neither a key `{EXPERIMENT}` nor its name says which experiment {printable(file)} "
            f"is for: name one of {', '.join(EXPERIMENTS)}"
        )
    return stem


def plain(config: ExperimentConfig) -> dict[str, Any]:
    """The config as plain data, ready for JSON and YAML."""
    return config.model_dump(mode="json")


def dump(config: ExperimentConfig) -> str:
    """The config as YAML that reads back to the equal config."""
    return yaml.dump(plain(config))


def annotated(resolved: Resolved) -> str:
    """The config as YAML with comments: where a value comes from, and what the key is."""
    notes = comments(resolved.preset)
    defaults = plain(resolved.base)
    lines = [f"{EXPERIMENT}: {resolved.experiment.name}"]
    for key, value in plain(resolved.config).items():
        text = yaml.dump({key: value}).rstrip("\n")
        origin = resolved.origin(key)
        parts = [] if origin == "default" else [origin]
        if value != defaults[key]:
            parts.append(f"default {shown(defaults[key])}")
        comment = ": ".join(filter(None, [", ".join(parts), notes.get(key)]))
        if not comment:
            lines.append(text)
        elif "\n" in text:
            lines += [f"# {comment}", text]
        else:
            lines.append(f"{text:29} # {comment}")
    return "\n".join(lines) + "\n"
