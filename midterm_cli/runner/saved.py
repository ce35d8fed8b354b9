"""What an unfinished run has saved, so that it can be continued after being killed.

In the stage of a run (record.py):

    begun.json      what the rest belongs to: config, device, when it was begun, seconds of work
    state.pt        the last state of a run that saves its state as a whole
    journal.jsonl   the finished parts of a run that consists of many, one a line

State and records carry a checksum: a bit that flips on the disk must not become a result.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midterm_cli.errors import UserError
from midterm_cli.runner import files
from midterm_cli.runner.mistakes import shown
from midterm_cli.runner.terminal import printable

_DIGEST_SIZE = hashlib.sha256().digest_size
_REMEDY = "make room there and go on with --resume, or choose another --output"
_AFRESH = "leave out --resume to start again"


class Saved:
    """The saved parts of a run, in the folder of its stage.

    Args:
        folder: the stage.
        identity: config and device as plain data: what is saved continues only this run.
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
        self.started_at = started_at
        self.state = SavedState(folder / "state.pt", self._sign)
        self.journal = SavedJournal(folder / "journal.jsonl", self._sign)

    def exists(self) -> bool:
        """Whether there is something to continue from."""
        return self.state.path.exists() or self.journal.path.exists()

    def wall_time(self) -> float:
        """Seconds of work on this run, those of earlier processes included."""
        return self._elapsed + time.perf_counter() - self._clock

    def resume(self) -> None:
        """Take up what an earlier process saved, if it did.

        Raises:
            UserError: it is damaged, or belongs to other settings.
        """
        if not self.exists():
            return
        try:
            begun = json.loads(self._begun.read_bytes())
            earlier = begun["identity"]
            changes = differing(earlier, self._identity)
            self.started_at, self._elapsed = str(begun["started_at"]), float(begun["elapsed"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise _damaged(self._begun, error) from error
        if changes:
            raise UserError(
                f"{printable(self._begun.parent)} was begun with {changes}\n"
                f"give the same settings to continue it, or {_AFRESH}"
            )

    def begun_at(self) -> str:
        """When the run that was saved was begun.

        Raises:
            OSError, ValueError, TypeError, LookupError: that cannot be read.
        """
        return str(json.loads(self._begun.read_bytes())["started_at"])

    def discard(self) -> None:
        """Forget everything.

        Raises:
            OSError: the file system refuses.
        """
        for path in (self.state.path, self.journal.path, self._begun):
            path.unlink(missing_ok=True)

    def _sign(self) -> None:
        """Say what is about to be saved belongs to, and how long it took so far."""
        begun = {
            "identity": self._identity,
            "started_at": self.started_at,
            "elapsed": self.wall_time(),
        }
        files.replace(self._begun, json.dumps(begun).encode())


@dataclass(frozen=True)
class SavedState:
    """A state in a file, after its SHA-256; `before_saving` is called before each writing."""

    path: Path
    before_saving: Callable[[], None]

    def load(self) -> dict[str, Any] | None:
        """The last state that was saved whole, its tensors on the CPU; None at a fresh start.

        Raises:
            UserError: the file is damaged.
        """
        import torch

        if not self.path.exists():
            return None
        try:
            content = self.path.read_bytes()
            digest, content = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
            if digest != hashlib.sha256(content).digest():
                raise ValueError("its checksum is wrong")
            return dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
        except Exception as error:
            # torch.load raises whatever the damage happens to hit: half a dozen types.
            raise _damaged(self.path, error) from error

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep `state` in place of the one before, whole or not at all."""
        content = files.tensor_bytes(state)
        with files.writing(self.path, _REMEDY):
            self.before_saving()
            files.replace(self.path, hashlib.sha256(content).digest() + content)


@dataclass(frozen=True)
class SavedJournal:
    """Records in a file, one JSON object a line, its last key the CRC-32 of what stands before it.

    `before_saving` is called as for the state.
    """

    path: Path
    before_saving: Callable[[], None]

    def records(self) -> list[dict[str, Any]]:
        """What was appended whole; a last line that was cut short is left out.

        Raises:
            UserError: the file is damaged.
        """
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        try:
            return [_checked(json.loads(line)) for line in lines[:-1]]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _damaged(self.path, error) from error

    def append(self, record: Mapping[str, Any]) -> None:
        """Keep a record of plain data, whole or not at all, before this returns."""
        signed = {**record, "crc32": _crc32(record)}
        line = json.dumps(signed, allow_nan=False).encode() + b"\n"
        with files.writing(self.path, _REMEDY):
            self.before_saving()
            is_new = not self.path.exists()
            with self.path.open("ab+") as file:
                file.seek(0)
                # What a killed process left of a line is written over.
                file.truncate(file.read().rfind(b"\n") + 1)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                files.sync_folder(self.path.parent)


def _crc32(record: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(record, allow_nan=False).encode())


def _checked(record: dict[str, Any]) -> dict[str, Any]:
    """A record as it was appended.

    Raises:
        ValueError: it is not.
    """
    if record.pop("crc32") != _crc32(record):
        raise ValueError("its checksum is wrong")
    return record


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{printable(path)} is damaged ({type(error).__name__}): {_AFRESH}")


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Name what differs, as "lr=0.1, not 0.2"; empty when nothing does."""
    return "; ".join(
        f"{printable(key)}={shown(old.get(key))}, not {shown(new.get(key))}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    )
