"""The JSON Schema of metrics.json: what experiments share, and each one's config and results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from midterm_cli.runner import experiments, record, yaml_text
from midterm_cli.runner.paths import schema_dir

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_URN = f"urn:midterm:metrics:{record.SCHEMA_VERSION}"

Schema = dict[str, Any]


def metrics_schema(names: Sequence[str] | None = None) -> Schema:
    """Put the schema of metrics.json together, draft 2020-12.

    Args:
        names: of experiments; None for all of them.

    Returns:
        One document, which refers to nothing outside itself.
    """
    names = list(experiments.EXPERIMENTS) if names is None else names
    schema = yaml_text.load_file(schema_dir() / "metrics.yaml")
    schema["properties"] |= {
        "schema_version": {"const": record.SCHEMA_VERSION},
        "experiment": {"enum": names},
    }
    schema["allOf"] = [_when(name) for name in names]
    schema["$defs"] = {f"{name}.{key}": part for name in names for key, part in _parts(name)}
    identity = {"$schema": _DIALECT, "$id": _URN if len(names) > 1 else f"{_URN}:{names[0]}"}
    return identity | schema


def _when(name: str) -> Schema:
    """What holds for the config and the results of a run of one experiment."""
    parts = {key: {"$ref": f"{_URN}:{name}:{key}"} for key in ("config", "results")}
    return {
        "if": {"properties": {"experiment": {"const": name}}},
        "then": {"properties": parts},
    }


def _parts(name: str) -> Iterator[tuple[str, Schema]]:
    """The config and the results of an experiment, each with an $id, so that its #/… is its own."""
    config = experiments.load(name).Config.model_json_schema(mode="serialization")
    # Keys come and go with versions: a run of an older one is still a run.
    for too_strict in ("required", "additionalProperties"):
        config.pop(too_strict, None)
    results = yaml_text.load_file(schema_dir() / f"{name}.yaml")
    for key, part in (("config", config), ("results", results)):
        yield key, {"$id": f"{_URN}:{name}:{key}"} | part
