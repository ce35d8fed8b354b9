"""The contract of an experiment: what it is asked, given, and gives back.

An experiment is a folder of three modules, each with one reason to change:

    schema.py   Config, a subclass of `ExperimentConfig`, and Results: pydantic alone, no torch
    run.py      run(config, context) → Output: writes no files, prints nothing
    show.py     draw(config, results) → {file stem: Figure}, and summarize(results) → what a person
                reads on the terminal: from the results alone
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Protocol, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from midterm_cli.files import with_home
from midterm_cli.values import number, numbers

if TYPE_CHECKING:
    import torch


_T = TypeVar("_T")


# ---- what it is asked, and what it answers


def _require_order(ends: list[float]) -> list[float]:
    low, high = ends
    if not low < high:
        raise ValueError(f"must be [low, high] with low below high, got {ends}")
    return ends


Coordinate = Annotated[float, BeforeValidator(number), Field(ge=-1e100, le=1e100)]
"""Where a function may be asked for: its figure needs room up to the largest float."""

Range = Annotated[
    list[Coordinate],
    BeforeValidator(numbers),
    Field(min_length=2, max_length=2),
    AfterValidator(_require_order),
]
"""[low, high], the axis of a figure."""


def _file_name(path: str) -> str:
    """Expand the home.

    Raises:
        ValueError: it is empty, or a word for none.
    """
    if not path:
        raise ValueError("is empty: name a file, or null")
    if path in ("None", "none"):
        raise ValueError(f"is {path!r}: write null for none, or ./{path} for a file of that name")
    return with_home(path)


FileName = Annotated[str, AfterValidator(_file_name)]
"""A file or folder, with `~` for the home."""


def _require_rectangle(rows: list[list[float]]) -> list[list[float]]:
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise ValueError(f"has rows of {min(lengths)} to {max(lengths)} values")
    return rows


Vector = Annotated[list[float], Field(min_length=1)]
Matrix = Annotated[list[Vector], Field(min_length=1), AfterValidator(_require_rectangle)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
"""A share of a whole, such as an accuracy."""


class ExperimentConfig(BaseModel):
    """Keys that every experiment has.

    No field of a config has a default in code: configs/*.yaml is the one home of the defaults.
    Sequences are declared as lists, which is what YAML and JSON hold.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    GONE: ClassVar[Mapping[str, str]] = {}
    """Keys of earlier versions, each with the reason why it went."""

    BORROWED: ClassVar[Mapping[str, str]] = {}
    """Keys whose value may be the name of a packaged config, or a YAML file, that has what is meant
    under another key: layers, for a network."""

    @field_validator("*", mode="before")
    @classmethod
    def _number_as_typed(cls, value: Any, info: ValidationInfo) -> Any:
        """Read 1/512, 1e−3 or sqrt(2), where a number is wanted."""
        key = info.field_name
        return number(value) if key and cls.model_fields[key].annotation is float else value

    seed: int = Field(ge=0, lt=2**32, description="seed of everything random in the run")
    device: str = Field(
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto, cpu, cuda or cuda:N; auto takes CUDA where there is one",
    )

    GIVES_WAY: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Keys that become null where one of these others is given after them: the length of x, where x
    is."""

    @property
    def input_files(self) -> list[Path]:
        """The files that the config names, beside a dataset: their content decides the results."""
        return []

    @property
    def absolute(self) -> dict[str, str]:
        """The keys that name a file or folder, beside a dataset, each with its absolute path."""
        return {}

    @property
    def runs_code(self) -> list[str]:
        """Keys that name a file whose code the run executes."""
        return []

    def continues(self, earlier: Self) -> bool:
        """Whether a run with this config goes on where a finished one with another has ended."""
        return False

    def idle(self) -> Mapping[str, str]:
        """Keys that change nothing beside the others, each with what it is of."""
        return {}


class Record(BaseModel):
    """A part of the results: strict JSON, so no number in it is NaN or infinite.

    A key that it does not know is ignored: a later version may have added it. A key that is added
    to an experiment has a default, so that earlier runs can still be read.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Results(Record):
    """What an experiment answers: the `results` of metrics.json."""

    MEASURED: ClassVar[Set[str]] = frozenset()
    """Keys, at any depth, that are times, or follow from times: no run gives them again."""

    OBSERVATIONS: ClassVar[str | None] = None
    """The key of the list whose records are what was observed: a row each in a table of the run;
    or `values`, where lists of numbers are its columns."""

    OF_CONFIG: ClassVar[Set[str]] = frozenset()
    """The keys of the config that `require_of` looks at."""

    def require_of(self, config: ExperimentConfig) -> None:
        """Refuse results that contradict the config that they are said to be of.

        Raises:
            ValueError: names the key and what is wrong.
        """


def require_lengths(length: int, lists: Mapping[str, Sized | None]) -> None:
    """For validators of results: require that lists which belong together are equally long.

    Raises:
        ValueError: names the first that is not.
    """
    for key, values in lists.items():
        if values is not None and len(values) != length:
            raise ValueError(f"{key} must have {length} values, got {len(values)}")


@dataclass(frozen=True)
class Output:
    """What a run gives back.

    Attributes:
        results: for metrics.json.
        checkpoint: tensors worth keeping, by nested names, or None; saved as checkpoint.pt.
        provenance: what only the experiment knows about where its numbers come from, such as
            data_sha256.
        failed: whether the outcome is one that --fail-on-failure turns into exit code 3.
        warnings: lines that the user must see.
        files: what else is to be kept in the run folder, by name.
    """

    results: Results
    checkpoint: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    failed: bool = False
    warnings: Sequence[str] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table for the terminal: plain data, so that the parts need no terminal library.

    A cell is text, ready to print; `title` stands above the table.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


# ---- what it is given


class State(Protocol):
    """Where a long run keeps its state, so that it can be continued after being killed."""

    def load(self, read: Callable[[Any], _T]) -> _T | None:
        """The last state that was saved whole, or None at a fresh start.

        Args:
            read: makes of what was saved what the run needs; raises a ValueError where it cannot.
        """

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep `state` (tensors and plain data) in place of the one before, whole or not at all."""


class Journal(Protocol):
    """Where a run of many independent parts keeps each part as it is finished."""

    def records(self, read: Callable[[Any], _T]) -> Sequence[_T]:
        """What was appended so far, by this process or one that was killed.

        Args:
            read: makes of each what the run needs; raises a ValueError where it cannot.
        """

    def append(self, record: Mapping[str, Any]) -> None:
        """Keep a record of plain data, whole or not at all, before this returns."""


class NoJournal:
    """The journal of a run that is not kept."""

    def records(self, read: Callable[[Any], _T]) -> Sequence[_T]:
        """Nothing was kept."""
        return ()

    def append(self, record: Mapping[str, Any]) -> None:
        """Keep nothing."""


class NoState:
    """The state of a run that is not kept: always a fresh start."""

    def load(self, read: Callable[[Any], _T]) -> _T | None:
        """Nothing was saved."""
        return None

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep nothing."""


@dataclass(frozen=True)
class Job:
    """One of the independent parts of a run, which can be computed anywhere.

    Attributes:
        name: what messages call it.
        work: called as work(problem, *arguments), it yields events as it goes, its result last. A
            function of a module, so that another process finds it by its name.
        problem: what the jobs of a run share. It can be pickled.
        arguments: what is this job's own: data that can be pickled.
    """

    name: str
    work: Callable[..., Iterator[Any]]
    problem: Any
    arguments: tuple[Any, ...]

    def __call__(self) -> Iterator[Any]:
        """Work in this process."""
        return self.work(self.problem, *self.arguments)


class Event(NamedTuple):
    """What a job yielded.

    Attributes:
        job: its index.
        value: what it yielded.
        worker: who computes it, for the record; None for this process.
    """

    job: int
    value: Any
    worker: Mapping[str, str] | None = None


def in_turn(jobs: Sequence[Callable[[], Iterator[Any]]]) -> Iterator[Event]:
    """Run jobs one after the other."""
    for index, job in enumerate(jobs):
        for value in job():
            yield Event(index, value)


@dataclass(frozen=True)
class Parent:
    """The finished run from whose end a run goes on.

    Attributes:
        folder: of the run.
        results: of it.
    """

    folder: Path
    results: Results


def _silent(done: int, total: int, text: str) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class Context:
    """What a run may know of its surroundings.

    Attributes:
        device: where tensors live; `auto` is already resolved.
        data_dir: the folder that holds FashionMNIST/raw.
        progress: called as progress(done, total, text) after each unit of work.
        state: where a long run keeps its state.
        journal: where a run of many parts keeps those that are finished.
        launch: runs independent jobs, side by side where it can; yields their events as they
            come, or only their results.
        workers: how many jobs `launch` runs at once.
        remote: whether the workers are elsewhere, one core each; otherwise they are the cores of
            this machine, and a job may use those that are idle.
        parent: the finished run to go on from, where there is one.
    """

    device: torch.device
    data_dir: Path = Path("data")
    progress: Callable[[int, int, str], None] = _silent
    state: State = field(default_factory=NoState)
    journal: Journal = field(default_factory=NoJournal)
    launch: Callable[[Sequence[Job]], Iterator[Event]] = in_turn
    workers: int = 1
    remote: bool = False
    parent: Parent | None = None
