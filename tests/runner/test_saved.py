"""What an unfinished run saved comes back whole, or is refused; it never comes back changed."""

import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from midterm_cli import files
from midterm_cli.errors import UserError
from midterm_cli.runner.saved import Saved


def begin(folder: Path, started_at: str = "2000-01-01T00:00:00+00:00", **changes: Any) -> Saved:
    identity = {"code": "a" * 64, "data": None, "lr": 0.1, "device": "cpu"}
    return Saved(folder, identity | changes, started_at)


@pytest.mark.parametrize(
    "save",
    [
        lambda saved: saved.state.save({"epoch": 1}),
        lambda saved: saved.journal.append({"epoch": 1}),
    ],
)
def test_it_is_taken_up_by_the_same_run_only(save: Callable[[Saved], None], tmp_path: Path) -> None:
    first = begin(tmp_path)
    assert not first.exists()
    save(first)
    assert first.exists()

    later = begin(tmp_path, started_at="2001-01-01T00:00:00+00:00")
    later.resume()
    assert later.started_at == "2000-01-01T00:00:00+00:00"
    spent = json.loads((tmp_path / "begun.json").read_bytes())["elapsed"]
    assert later.wall_time() > spent > 0

    for changes, told in (
        ({"lr": 0.2}, r"lr=0\.1, not 0\.2\n"),
        ({"code": "b" * 64}, r"other code\n"),
        ({"data": "b" * 64, "lr": 0.2}, r"other data; lr=0\.1, not 0\.2\n"),
    ):
        with pytest.raises(UserError, match=f"was begun with {told}.*--force"):
            begin(tmp_path, **changes).resume()

    later.discard()
    assert list(tmp_path.iterdir()) == []


def test_there_may_be_nothing_to_take_up(tmp_path: Path) -> None:
    saved = begin(tmp_path)
    saved.resume()

    assert saved.state.load(dict) is None
    assert saved.journal.records(dict) == []


def test_tensors_and_plain_data_come_back_as_they_were(tmp_path: Path) -> None:
    state = {
        "w": torch.tensor([1e-45, 0.1]),
        "history": [{"loss": None}],
        "seeds": (1, 2),
        "k": {0},
    }
    begin(tmp_path).state.save(state)

    loaded = begin(tmp_path).state.load(dict)

    assert loaded is not None
    assert torch.equal(loaded.pop("w"), torch.tensor([1e-45, 0.1]))
    assert loaded == {"history": [{"loss": None}], "seeds": (1, 2), "k": {0}}


@pytest.mark.parametrize("name", ["state.pt", "begun.json"])
@pytest.mark.parametrize("kept", [0, 0.1, 0.5, 0.99])
def test_a_damaged_file_is_refused_by_name(name: str, kept: float, tmp_path: Path) -> None:
    begin(tmp_path).state.save({"w": torch.zeros(100)})
    file = tmp_path / name
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    saved = begin(tmp_path)

    def take_up() -> None:
        saved.resume()
        saved.state.load(dict)

    with pytest.raises(UserError, match=rf"{name} is damaged"):
        take_up()


@pytest.mark.parametrize(
    "odd", [{"started_at": "yesterday"}, {"elapsed": -1.0}, {"elapsed": None}, {"identity": []}]
)
def test_what_a_run_cannot_have_begun_with_is_damage(odd: dict[str, Any], tmp_path: Path) -> None:
    begin(tmp_path).state.save({})
    begun = tmp_path / "begun.json"
    begun.write_text(json.dumps(json.loads(begun.read_bytes()) | odd), encoding="utf-8")

    with pytest.raises(UserError, match=r"begun\.json is damaged"):
        begin(tmp_path).resume()


def flipped(content: bytes, byte: int) -> bytes:
    return content[:byte] + bytes([content[byte] ^ 0x10]) + content[byte + 1 :]


def test_a_bit_that_flips_in_a_state_is_noticed(tmp_path: Path) -> None:
    """PyTorch would load most of these without a word."""
    begin(tmp_path).state.save({"w": torch.zeros(100)})
    content = (tmp_path / "state.pt").read_bytes()
    for byte in range(0, len(content), 7):
        (tmp_path / "state.pt").write_bytes(flipped(content, byte))
        with pytest.raises(UserError, match=r"state\.pt is damaged"):
            begin(tmp_path).state.load(dict)


def test_a_state_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'pwned'}",)

    content = io.BytesIO()
    torch.save({"w": Evil()}, content)
    digest = hashlib.sha256(content.getvalue()).digest()
    (tmp_path / "state.pt").write_bytes(digest + content.getvalue())

    with pytest.raises(UserError, match=r"is damaged \(UnpicklingError\)"):
        begin(tmp_path).state.load(dict)
    assert not (tmp_path / "pwned").exists()


RECORDS: list[dict[str, object]] = [{"lr": 0.1 + 0.2, "text": "a\nb γ"}, {"rows": [1, None]}, {}]


def journal_of(folder: Path) -> Path:
    saved = begin(folder)
    for record in RECORDS:
        saved.journal.append(record)
    return folder / "journal.jsonl"


def test_a_journal_keeps_records_in_order(tmp_path: Path) -> None:
    journal_of(tmp_path)

    assert begin(tmp_path).journal.records(dict) == RECORDS


def test_a_record_cut_short_at_any_byte_is_as_if_never_written(tmp_path: Path) -> None:
    file = journal_of(tmp_path)
    content = file.read_bytes()
    whole = len(content) - len(content.splitlines(keepends=True)[-1])
    begin(tmp_path).journal.append({"last": 1.5})
    longer = file.read_bytes()

    for size in (whole, len(content), *range(len(content) + 1, len(longer))):
        file.write_bytes(longer[:size])
        expected = RECORDS[: 2 if size < len(content) else 3]
        journal = begin(tmp_path).journal
        assert journal.records(dict) == expected
        journal.append({"next": 1})
        assert journal.records(dict) == [*expected, {"next": 1}]


def test_a_damaged_journal_is_refused_by_name(tmp_path: Path) -> None:
    file = journal_of(tmp_path)
    file.write_bytes(file.read_bytes().replace(b"{", b"[", 1))

    with pytest.raises(UserError, match=r"journal\.jsonl is damaged"):
        begin(tmp_path).journal.records(dict)


def test_a_bit_that_flips_in_a_journal_is_noticed(tmp_path: Path) -> None:
    file = journal_of(tmp_path)
    content = file.read_bytes()
    for byte in range(len(content) - 1):
        file.write_bytes(flipped(content, byte))
        with pytest.raises(UserError, match=r"journal\.jsonl is damaged"):
            begin(tmp_path).journal.records(dict)
    # Without its line break the last record is as one that was cut short.
    file.write_bytes(flipped(content, len(content) - 1))
    assert begin(tmp_path).journal.records(dict) == RECORDS[:-1]


def test_records_are_strict_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        begin(tmp_path).journal.append({"loss": float("nan")})

    assert not begin(tmp_path).exists()


def test_nothing_is_saved_before_it_is_known_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the two files, a run leaves one that says whose it is, and no state."""
    written: list[str] = []
    replace = files.replace

    def remember(path: Path, content: bytes) -> None:
        written.append(path.name)
        replace(path, content)

    monkeypatch.setattr(files, "replace", remember)
    begin(tmp_path).state.save({})

    assert written == ["begun.json", "state.pt"]
    assert json.loads((tmp_path / "begun.json").read_bytes())["identity"]["lr"] == 0.1
