"""What an unfinished run has saved, so that it can be continued after being killed.

In the stage of a run (stage.py):

    begun.json      what the rest belongs to: its identity, when it was begun, seconds of work
    state.pt        the last state of a run that saves its state as a whole
    journal.jsonl   the finished parts of a run that consists of many, one a line

State and records carry a checksum: a bit that flips on the disk must not become a result.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from midterm_cli import files
from midterm_cli.errors import UserError
from midterm_cli.runner.document import Time
from midterm_cli.text import differing, printable

_DIGEST_SIZE = hashlib.sha256().digest_size
_T = TypeVar("_T")
_REMEDY = "make room there and continue with --resume, or choose another --output"
_AFRESH = "give --force in place of --resume to start again"

_DIGESTS = {"code": "other code", "data": "other data", "inputs": "other input files"}
"""Keys of an identity that are digests: what is said where one differs."""

# The seconds of work on a run are noted no more often than this: a killed process loses as many.
_SIGN_EVERY_SECONDS = 1.0


class _Begun(BaseModel):
    """begun.json."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    identity: dict[str, Any]
    started_at: Time
    elapsed: float = Field(ge=0)


class Saved:
    """The saved parts of a run, in the folder of its stage.

    Args:
        folder: the stage.
        identity: config, device, and digests of code and data: what is saved continues only this
            run.
        started_at: the time, for a run that is not a continued one.

    Attributes:
        started_at: when the run was first begun.
        state: the state as a whole (`experiment.State`).
        journal: the finished parts (`experiment.Journal`).
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], started_at: str) -> None:
        self._begun = folder / "begun.json"
        self._identity = dict(identity)
        self._elapsed = 0.0
        self._clock = time.perf_counter()
        self._signed_at = -_SIGN_EVERY_SECONDS
        self.started_at = started_at
        self.state = SavedState(folder / "state.pt", self._sign)
        self.journal = SavedJournal(folder / "journal.jsonl", self._sign)

    def exists(self) -> bool:
        """Whether there is something to continue from."""
        return files.exists(self.state.path) or files.exists(self.journal.path)

    def wall_time(self) -> float:
        """Seconds of work on this run, those of earlier processes included."""
        return self._elapsed + time.perf_counter() - self._clock

    def resume(self) -> None:
        """Take up what an earlier process saved, if it did.

        Raises:
            UserError: it is damaged, or belongs to other settings or other code.
        """
        if not self.exists():
            return
        begun = self._read()
        if begun.identity != self._identity:
            raise UserError(
                f"{printable(self._begun.parent)} was begun with {self._changes(begun)}\n"
                f"give the same to continue it, or {_AFRESH}"
            )
        self.started_at, self._elapsed = begun.started_at, begun.elapsed

    def _changes(self, begun: _Begun) -> str:
        """Name what a run was begun with that is not so now."""
        before, now = begun.identity, self._identity
        changes = [text for key, text in _DIGESTS.items() if before.get(key) != now.get(key)]
        settings = [
            {key: value for key, value in identity.items() if key not in _DIGESTS}
            for identity in (before, now)
        ]
        return "; ".join(filter(None, [*changes, differing(*settings)]))

    def begun_at(self) -> str:
        """When the run that was saved was begun.

        Raises:
            UserError: that cannot be read.
        """
        return self._read().started_at

    def discard(self) -> None:
        """Forget everything.

        Raises:
            OSError: the file system refuses.
        """
        for path in (self.state.path, self.journal.path, self._begun):
            path.unlink(missing_ok=True)

    def _read(self) -> _Begun:
        try:
            return _Begun.model_validate_json(files.read(self._begun), strict=True)
        except (OSError, ValidationError) as error:
            raise _damaged(self._begun, error) from error

    def _sign(self) -> None:
        """Note what is about to be saved belongs to, and how long it took so far."""
        elapsed = self.wall_time()
        if elapsed - self._signed_at < _SIGN_EVERY_SECONDS:
            return
        self._signed_at = elapsed
        begun = _Begun(identity=self._identity, started_at=self.started_at, elapsed=elapsed)
        files.replace(self._begun, begun.model_dump_json().encode())


@dataclass(frozen=True)
class SavedState:
    """A state in a file, after its SHA-256; `before_saving` is called before each writing."""

    path: Path
    before_saving: Callable[[], None]

    def load(self, read: Callable[[Any], _T]) -> _T | None:
        """The last state that was saved whole, its tensors on the CPU; None at a fresh start.

        Raises:
            UserError: the file is damaged, or `read` refuses what it holds.
        """
        import torch

        if not self.path.exists():
            return None
        try:
            files.require_regular(self.path)
            content = self.path.read_bytes()
            digest, content = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
            if digest != hashlib.sha256(content).digest():
                raise ValueError("its checksum is wrong")
            return read(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
        except (OSError, ValueError, RuntimeError, UnpicklingError) as error:
            # Damage has another checksum; what has the right one was saved here, or is odd.
            raise _damaged(self.path, error) from error

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep `state` in place of the one before, whole or not at all."""
        content = tensor_bytes(state)
        with files.writing(self.path, _REMEDY):
            self.before_saving()
            files.replace(self.path, hashlib.sha256(content).digest() + content)


class SavedJournal:
    """Records in a file, one JSON object a line, its last key the CRC-32 of what stands before it.

    Args:
        path: the file.
        before_saving: called as for the state.
    """

    def __init__(self, path: Path, before_saving: Callable[[], None]) -> None:
        self.path = path
        self._before_saving = before_saving
        self._length: int | None = None  # of the lines that are whole; None before it is known

    def records(self, read: Callable[[Any], _T]) -> list[_T]:
        """What was appended whole; a last line that was cut short is left out.

        Raises:
            UserError: the file is damaged, or `read` refuses a record.
        """
        try:
            return [read(_checked(line)) for line in self._whole_lines().splitlines()]
        except (OSError, ValueError, RecursionError) as error:
            raise _damaged(self.path, error) from error

    def append(self, record: Mapping[str, Any]) -> None:
        """Keep a record of plain data, whole or not at all, before this returns."""
        signed = {**record, "crc32": _crc32(record)}
        line = json.dumps(signed, allow_nan=False).encode() + b"\n"
        with files.writing(self.path, _REMEDY):
            self._before_saving()
            is_new = not self.path.exists()
            if self._length is None or is_new:
                self._length = len(self._whole_lines())
            with self.path.open("ab") as file:
                # What a killed process left of a line is written over.
                file.truncate(self._length)
                file.write(line)
                files.sync(file)
            self._length += len(line)
            if is_new:
                files.sync_folder(self.path.parent)

    def _whole_lines(self) -> bytes:
        try:
            content = files.read(self.path)
        except FileNotFoundError:
            return b""
        return content[: content.rfind(b"\n") + 1]


def tensor_bytes(values: Mapping[str, Any]) -> bytes:
    """Tensors and plain data as a file for `torch.load(..., weights_only=True)`."""
    import torch

    # Through memory: on a full disk torch.save raises a RuntimeError that does not say so.
    buffer = io.BytesIO()
    torch.save(dict(values), buffer)
    return buffer.getvalue()


def _crc32(record: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(record, allow_nan=False).encode())


def _checked(line: bytes) -> dict[str, Any]:
    """A record as it was appended.

    Raises:
        ValueError: it is not.
    """
    record = json.loads(line)
    if not isinstance(record, dict) or record.pop("crc32", None) != _crc32(record):
        raise ValueError("its checksum is wrong")
    return record


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{printable(path)} is damaged ({type(error).__name__}): {_AFRESH}")
