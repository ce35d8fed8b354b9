"""metrics.json: what it holds, how it is written, and how it is read back.

It is validated once, here, where it enters: after that everything in it has a type.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from midterm_cli import files
from midterm_cli.config import resolve
from midterm_cli.config.explain import explain
from midterm_cli.errors import UserError
from midterm_cli.experiment import Count, ExperimentConfig, NotNegative, Output, Results
from midterm_cli.registry import EXPERIMENTS, Experiment
from midterm_cli.text import printable, shortened, shown

SCHEMA_VERSION = 1

_NAME = "metrics.json"
_MAX_DIGITS = 30  # no count of ours is that long
_AFRESH = "make the run again with --force"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_URN = f"urn:midterm:metrics:{SCHEMA_VERSION}"

_Model = TypeVar("_Model", bound=BaseModel)
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")]
Threads = Annotated[int, Field(ge=1)]


class Provenance(BaseModel):
    """Where the numbers of a run come from; an experiment may add keys of its own."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    version: str = Field(description="of midterm")
    command: str = Field(description="as typed")
    git_commit: Annotated[str, Field(pattern="^[0-9a-f]{40,64}(-dirty)?$")] | None = Field(
        description="null for an installed package"
    )
    python: str
    torch: str
    device: str = Field(description="cpu, or index and name of the card")
    dtype: str
    threads: Threads = Field(description="that computed, over all processes")
    data_sha256: Sha256 | None = Field(description="null where no data was read")
    started_at: Time = Field(description="UTC, ISO 8601")
    wall_time_s: NotNegative = Field(description="seconds, those before a --resume included")
    code_sha256: Sha256 | None = Field(
        None, description="of the code that computes; formatting and comments do not count"
    )
    inputs_sha256: Sha256 | None = Field(
        None, description="of the files of numbers that the config names; null where it names none"
    )
    checkpoint_sha256: Sha256 | None = Field(
        None, description="of checkpoint.pt; null where there is none"
    )
    cpu_capability: str | None = Field(
        None, description="instructions that PyTorch used, such as AVX2: float32 depends on them"
    )
    processes: Count | None = Field(
        None, description="forked to compute side by side; absent where there were none"
    )


class Header(BaseModel):
    """What metrics.json holds whichever the experiment."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    schema_version: int
    experiment: str
    status: Literal["completed"]
    failed: bool = Field(
        False,
        description="whether --fail-on-failure turns the outcome into exit code 3",
    )
    config: dict[str, Any]
    results: dict[str, Any]
    warnings: list[str] = Field([], description="lines that whoever reads the results must see")
    provenance: Provenance


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: of the run.
        experiment: its row in the table.
        config: of the run, completed to a config of today.
        results: what it answers.
        failed: whether the outcome is one that --fail-on-failure turns into exit code 3.
        provenance: where the numbers come from.
        document: metrics.json as it is stored, plain data.
        warnings: lines that whoever reads the results must see.
        notes: lines that the user should see, on keys of the stored config.
    """

    folder: Path
    experiment: Experiment
    config: ExperimentConfig
    results: Results
    failed: bool
    provenance: Provenance
    document: Mapping[str, Any]
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The folder, ready to print."""
        return printable(self.folder)

    @cached_property
    def json(self) -> str:
        """metrics.json as text."""
        return to_json(self.document)


def make(
    folder: Path,
    experiment: Experiment,
    config: ExperimentConfig,
    output: Output,
    provenance: Mapping[str, Any],
) -> Run:
    """Put the document of a run together."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "experiment": experiment.name,
        "status": "completed",
        "failed": output.failed,
        "config": resolve.plain(config),
        "results": output.results.model_dump(mode="json"),
        "warnings": list(output.warnings),
        "provenance": provenance,
    }
    known = Provenance.model_validate(provenance)
    return Run(
        folder,
        experiment,
        config,
        output.results,
        output.failed,
        known,
        document,
        output.warnings,
    )


def require_checkpoint(run: Run) -> None:
    """Require the checkpoint of a run to be the one that it wrote.

    Raises:
        UserError: it is not, or cannot be read.
    """
    path = run.folder / "checkpoint.pt"
    try:
        files.require_regular(path)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {printable(path)}: {error.strerror}") from None
    if run.provenance.checkpoint_sha256 not in (None, found):
        raise UserError(
            f"{printable(path)} is not the one that the run wrote, or damaged: {_AFRESH}"
        )


# ---- to a file


def to_json(value: Any, *, one_line: bool = False) -> str:
    """Strict JSON, one key a line; a NaN or an infinity in it is a bug (ValueError).

    It may end on a terminal: what is not printable in a string is escaped, as JSON can.

    Args:
        value: plain data.
        one_line: without line breaks, one at the end included.
    """
    indent = None if one_line else 2
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)
    return re.sub(r"[^\n -~]", _escaped, text) + "\n" * (not one_line)


def _escaped(character: re.Match[str]) -> str:
    return character[0] if character[0].isprintable() else json.dumps(character[0])[1:-1]


# ---- from a file


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a finished run."""
    return files.is_file(folder / _NAME)


def read(path: Path) -> Run:
    """Read a finished run.

    Args:
        path: a run folder, or its metrics.json.

    Raises:
        UserError: there is no finished run, the file is damaged (the key is named), or a newer
            midterm wrote it.
    """
    folder = files.run_folder(path)
    name = printable(folder / _NAME)
    document = _load(folder / _NAME, printable(path))
    _require_version(document, name)
    header = _validated(Header, document, name)
    if header.experiment not in EXPERIMENTS:
        raise UserError(
            f"{printable(path)} is a run of {shown(header.experiment)}, which this midterm does "
            "not know: upgrade midterm"
        )
    experiment = EXPERIMENTS[header.experiment]
    values, notes = resolve.complete(experiment, header.config, name)
    config = _validated(experiment.config_class, values, name, "config.")
    results = _validated(experiment.results_class, header.results, name, "results.")
    # A key that was completed need not be that of the run.
    if header.config.keys() >= experiment.results_class.OF_CONFIG:
        try:
            results.require_of(config)
        except ValueError as error:
            raise UserError(f"{name} is damaged: results.{error}\n{_AFRESH}") from None
    return Run(
        folder,
        experiment,
        config,
        results,
        header.failed,
        header.provenance,
        document,
        header.warnings,
        notes,
    )


def _load(file: Path, path: str) -> dict[str, Any]:
    name = printable(file)
    try:
        document = json.loads(
            files.read(file),
            parse_constant=lambda text: _Refused(f"{text} is not strict JSON"),
            parse_float=_finite,
            parse_int=_bounded,
        )
        refused = next(_refused(document), None)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"no finished run in {path}: it holds no {_NAME}") from None
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is damaged: {printable(error)}\n{_AFRESH}") from None
    if refused:
        raise UserError(f"{name} is damaged: {refused}\n{_AFRESH}")
    if not isinstance(document, dict):
        raise UserError(f"{name} was not written by midterm: it has no schema_version")
    return document


def _require_version(document: Mapping[str, Any], name: str) -> None:
    version = document.get("schema_version")
    if type(version) is not int:
        raise UserError(f"{name} was not written by midterm: it has no schema_version")
    if version < 1:
        raise UserError(f"{name} is damaged: schema_version is {version}\n{_AFRESH}")
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{name} has schema_version {version}, this midterm reads up to {SCHEMA_VERSION}: "
            "upgrade midterm"
        )


def _validated(model: type[_Model], values: Any, name: str, within: str = "") -> _Model:
    try:
        return model.model_validate(values, strict=True)
    except ValidationError as error:
        first = explain(error.errors()[:1], model, lambda path: "")
        raise UserError(f"{name} is damaged: {within}{first}\n{_AFRESH}") from None


class _Refused(str):
    """In place of a number that is not taken: why."""


def _finite(text: str) -> float | _Refused:
    value = float(text)
    return value if math.isfinite(value) else _Refused(f"{shortened(text, 20)} is too large")


def _bounded(text: str) -> int | _Refused:
    # Python, too, limits what it turns into an integer and back.
    return int(text) if len(text) <= _MAX_DIGITS else _Refused(f"it has {len(text)} digits")


def _refused(value: object, path: str = "") -> Iterator[str]:
    """Where in a document a number was refused, and why."""
    if isinstance(value, _Refused):
        yield f"{printable(path)}: {value}" if path else value
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from _refused(below, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _refused(below, f"{path}[{index}]")


# ---- its schema


def schema(names: Sequence[str] | None = None) -> dict[str, Any]:
    """Put the JSON Schema of metrics.json together, draft 2020-12, from the models.

    What is required may be relied on; more keys may appear in any version.

    Args:
        names: of experiments; None for all of them.

    Returns:
        One document, which refers to nothing outside itself.
    """
    names = list(EXPERIMENTS) if names is None else names
    whole = Header.model_json_schema()
    whole["properties"] |= {
        "schema_version": {"const": SCHEMA_VERSION},
        "experiment": {"enum": names},
    }
    whole["allOf"] = [_when(name) for name in names]
    whole["$defs"] |= {
        f"{name}.{key}": {"$id": f"{_URN}:{name}:{key}"} | part
        for name in names
        for key, part in _parts(EXPERIMENTS[name]).items()
    }
    identity = {"$schema": _DIALECT, "$id": _URN if len(names) > 1 else f"{_URN}:{names[0]}"}
    return identity | whole


def _when(name: str) -> dict[str, Any]:
    """What holds for the config and the results of a run of one experiment."""
    parts = {key: {"$ref": f"{_URN}:{name}:{key}"} for key in ("config", "results")}
    return {"if": {"properties": {"experiment": {"const": name}}}, "then": {"properties": parts}}


def _parts(experiment: Experiment) -> dict[str, dict[str, Any]]:
    config = experiment.config_class.model_json_schema(mode="serialization")
    # An earlier version may have had other keys: its runs are still runs.
    for too_strict in ("required", "additionalProperties"):
        config.pop(too_strict, None)
    return {"config": config, "results": experiment.results_class.model_json_schema()}
