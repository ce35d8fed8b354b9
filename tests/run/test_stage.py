"""Run folders appear whole or not at all, and nothing is lost on the way."""

import errno
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from midterm_cli.errors import UserError
from midterm_cli import files
from midterm_cli.run import stage as record

IDENTITY = {"lr": 0.1, "device": "cpu"}
DOCUMENT = {"schema_version": 1, "experiment": "train", "config": {}, "results": {}}
FIGURE = b"\x89PNG\r\n\x1a\n... tEXtSoftware\0midterm ..."
FILES = {"config.yaml": b"lr: 0.1\n", "metrics.json": json.dumps(DOCUMENT).encode()}


@contextmanager
def stage(
    folder: Path,
    identity: dict[str, object] = IDENTITY,
    force: bool = False,
    resume: bool = False,
) -> Iterator[record.Stage]:
    with record.stage(folder, identity, "2000-01-01", force=force, resume=resume) as opened:
        yield opened


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, and folders that are empty."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"folder"
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def no_space(path: Path, content: bytes) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_a_run_appears_with_its_files_and_nothing_else(tmp_path: Path) -> None:
    with stage(tmp_path / "deep" / "run") as opened:
        opened.saved.state.save({"epoch": 1})
        assert not (tmp_path / "deep" / "run").exists()
        opened.publish(FILES)

    assert tree(tmp_path) == {f"deep/run/{name}": content for name, content in FILES.items()}


@pytest.mark.parametrize("error", [UserError("mine"), ZeroDivisionError(), KeyboardInterrupt()])
def test_a_run_that_fails_before_it_saved_anything_leaves_nothing(
    error: BaseException, tmp_path: Path
) -> None:
    with pytest.raises(type(error)), stage(tmp_path / "a" / "b" / "run"):
        raise error

    assert tree(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_folders_that_others_use_are_left(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(ZeroDivisionError), stage(tmp_path / "a" / "b" / "run"):
        raise ZeroDivisionError

    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def interrupted(folder: Path, *states: dict[str, object]) -> Path:
    """A run that was interrupted after it saved these states; returns the state's file."""

    def work() -> None:
        with stage(folder) as opened:
            assert opened.saved.state.load() is None
            for state in states or ({"epoch": 1},):
                opened.saved.state.save(state)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    return folder.with_name(f".{folder.name}.partial") / "state.pt"


def test_a_saved_state_is_continued(tmp_path: Path) -> None:
    interrupted(
        tmp_path / "run",
        {"w": torch.tensor([1.0, 2.0]), "epoch": 1},
        {"w": torch.tensor([1.0, 3.0]), "epoch": 2},
    )

    assert not (tmp_path / "run").exists()
    with stage(tmp_path / "run", resume=True) as opened:
        loaded = opened.saved.state.load()
        assert loaded is not None
        assert loaded["epoch"] == 2
        assert loaded["w"].tolist() == [1.0, 3.0]
        assert opened.saved.wall_time() > 0
        opened.publish(FILES)
    assert names(tmp_path) == {"run"}


def test_a_state_of_other_settings_is_refused_by_what_differs(tmp_path: Path) -> None:
    state = interrupted(tmp_path / "run")

    other = {"lr": 0.2, "device": "cpu"}
    with (
        pytest.raises(UserError, match=r"begun with lr=0\.1, not 0\.2"),
        stage(tmp_path / "run", other, resume=True),
    ):
        pass

    assert state.exists()


def test_without_resume_an_unfinished_run_is_discarded_with_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(tmp_path / "run")

    with stage(tmp_path / "run") as opened:
        assert opened.saved.state.load() is None
        assert not opened.saved.exists()

    assert "--resume would have continued it" in capsys.readouterr().err
    assert tree(tmp_path) == {}


def finished(folder: Path) -> Path:
    with stage(folder) as opened:
        opened.publish(FILES | {"old.png": FIGURE})
    return folder


def test_a_finished_run_is_refused_without_force(tmp_path: Path) -> None:
    finished(tmp_path / "run")
    before = tree(tmp_path)

    with (
        pytest.raises(UserError, match=r"finished run: add --force .* --resume .* --output"),
        stage(tmp_path / "run"),
    ):
        pass

    assert tree(tmp_path) == before


def test_force_replaces_a_run_when_the_new_one_is_whole(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")

    with stage(folder, force=True) as opened:
        assert (folder / "old.png").exists()
        opened.publish(FILES | {"new.png": b"new"})

    assert names(folder) == {"config.yaml", "metrics.json", "new.png"}
    assert names(tmp_path) == {"run"}


@pytest.mark.parametrize("when", ["write", "rename"])
def test_a_full_disk_leaves_the_older_run_untouched(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = finished(tmp_path / "run")
    before = tree(tmp_path)
    rename = Path.rename

    def fail_at_the_new_run(path: Path, target: Path) -> Path:
        if path.name == "run" and path.parent.name.endswith(".partial"):
            no_space(path, b"")
        return rename(path, target)

    if when == "write":
        monkeypatch.setattr(files, "write", no_space)
    else:
        monkeypatch.setattr(Path, "rename", fail_at_the_new_run)
    with (
        pytest.raises(
            UserError,
            match=r"cannot write .*run: No space left on device\n.*--output",
        ),
        stage(folder, force=True) as opened,
    ):
        opened.publish(FILES)

    assert tree(tmp_path) == before


def test_a_full_disk_while_saving_keeps_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(tmp_path / "run")
    monkeypatch.setattr(files, "write", no_space)
    with (
        pytest.raises(UserError, match=r"No space left on device\n.*--resume"),
        stage(tmp_path / "run", resume=True) as opened,
    ):
        opened.saved.state.save({"epoch": 2})
    monkeypatch.undo()

    assert names(tmp_path / ".run.partial") == {"lock", "begun.json", "state.pt"}
    with stage(tmp_path / "run", resume=True) as opened:
        assert opened.saved.state.load() == {"epoch": 1}


def test_a_process_killed_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    before = tree(folder)
    partial = tmp_path / ".run.partial"
    partial.mkdir()
    (partial / "run").mkdir()
    folder.rename(partial / "old")

    with pytest.raises(UserError, match="already holds a finished run"), stage(folder):
        pass

    assert tree(folder) == before
    assert names(tmp_path) == {"run"}


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"config.yaml": ""}, "thesis holds files that no run of midterm wrote"),
        (
            {"metrics.json": json.dumps(DOCUMENT), "photo.png": "Software: Gimp"},
            "thesis holds 'photo.png', which no run",
        ),
        ({"metrics.json": "{}"}, "metrics.json was not written by midterm"),
        (
            {"metrics.json": json.dumps(DOCUMENT), "notes.txt": ""},
            "thesis holds 'notes.txt', which no run",
        ),
        ({"metrics.json": json.dumps(DOCUMENT), ".x.png/y": ""}, "thesis holds '.x.png', which no"),
    ],
)
def test_force_never_replaces_what_no_run_wrote(
    own: dict[str, str], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "thesis"
    for name, content in own.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    before = tree(tmp_path)

    with pytest.raises(UserError, match=message), stage(folder, force=True):
        pass

    assert tree(tmp_path) == before


def test_an_empty_folder_may_be_the_run_folder_unless_it_is_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell that stands in it would be left in a folder that is no more."""
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        with pytest.raises(UserError, match="is the current folder"), stage(tmp_path):
            pass

    with stage(tmp_path) as opened:
        opened.publish(FILES)

    assert names(tmp_path) == set(FILES)


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "link").symlink_to("big/run")

    with stage(tmp_path / "link") as opened:
        opened.publish(FILES)

    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "big" / "run") == set(FILES)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UserError, match="is a file, not a folder"), stage(tmp_path / "file"):
        pass
    with (
        pytest.raises(UserError, match=r"cannot write .*file/run: Not a directory"),
        stage(tmp_path / "file" / "run"),
    ):
        pass


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_where_nothing_can_be_made_nothing_is_left(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with (
        pytest.raises(UserError, match=f"cannot write .*run: {os.strerror(code)}\n"),
        stage(tmp_path / "a" / "run"),
    ):
        pass
    monkeypatch.undo()

    assert list(tmp_path.iterdir()) == []


def test_the_second_writer_of_a_run_is_told_at_once(tmp_path: Path) -> None:
    with stage(tmp_path / "run") as opened:
        with (
            pytest.raises(UserError, match=r"another process is writing .*run: wait for it, or"),
            stage(tmp_path / "run", resume=True),
        ):
            pass
        opened.publish(FILES)

    assert names(tmp_path) == {"run"}


def test_a_lock_whose_file_was_removed_meanwhile_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder removed it after the other had opened it and before the other locked it."""
    flock = fcntl.flock
    calls: list[int] = []

    def holder_leaves_first(descriptor: int, operation: int) -> None:
        if not calls:
            (tmp_path / ".run.partial" / "lock").unlink()
        calls.append(descriptor)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", holder_leaves_first)
    with stage(tmp_path / "run"):
        assert len(calls) == 2
        monkeypatch.undo()
        with pytest.raises(UserError, match="another process"), stage(tmp_path / "run"):
            pass


def test_a_lock_whose_file_was_replaced_meanwhile_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, and a third has made the file anew."""
    flock = fcntl.flock
    calls: list[int] = []

    def third_comes_between(descriptor: int, operation: int) -> None:
        if not calls:
            lock = tmp_path / ".run.partial" / "lock"
            lock.unlink()
            lock.touch()
        calls.append(descriptor)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", third_comes_between)
    with stage(tmp_path / "run"):
        assert len(calls) == 2
        monkeypatch.undo()
        with pytest.raises(UserError, match="another process"), stage(tmp_path / "run"):
            pass


def test_a_name_too_long_holds_no_run(tmp_path: Path) -> None:
    assert not record.is_finished(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no finished run in .*: it holds no metrics.json"),
        ("", "metrics.json is damaged"),
        ('{"schema_version": 1, "x": NaN}', "damaged: NaN is not strict JSON"),
        ("[1]", "not written by midterm"),
        ('{"accuracy": 1}', "not written by midterm"),
        ('{"schema_version": true}', "not written by midterm"),
        ('{"schema_version": 2}', "schema_version 2, this midterm reads up to 1: upgrade"),
        ('{"schema_version": 1, "experiment": "x", "config": {}}', "damaged: it has no 'results'"),
    ],
)
def test_what_is_no_run(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "metrics.json").write_text(content, encoding="utf-8")

    with pytest.raises(UserError, match=message):
        record.read_run(tmp_path)


def test_a_run_is_read_by_its_folder_or_its_file(tmp_path: Path) -> None:
    finished(tmp_path / "run")

    assert record.read_run(tmp_path / "run") == DOCUMENT
    assert record.read_run(tmp_path / "run" / "metrics.json") == DOCUMENT


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_is_strict(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.to_json({"results": {"loss": value}})


def test_equal_figures_are_equal_files() -> None:
    def draw() -> bytes:
        figure = Figure()
        figure.subplots().plot([1, 2])
        return record.to_png(figure)

    assert draw() == draw()
    assert b"matplotlib" not in draw()


def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new" / "x.png"
    record.replace_file(file, b"old")
    monkeypatch.setattr(os, "fsync", lambda descriptor: no_space(file, b""))

    with pytest.raises(UserError, match="No space left"):
        record.replace_file(file, b"new")

    assert tree(tmp_path) == {"new/x.png": b"old"}


def test_what_a_killed_process_left_of_a_file_goes_with_the_next_writing(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    mine = [tmp_path / f".x.png.{gone.pid}.tmp", tmp_path / f".x.png.{2**31}.tmp"]
    others = [
        tmp_path / f".x.png.{os.getppid()}.tmp",  # of a process that is at work
        tmp_path / f".y.png.{gone.pid}.tmp",
        tmp_path / ".x.png.old.tmp",
    ]
    for file in (*mine, *others):
        file.touch()

    record.replace_file(tmp_path / "x.png", b"new")

    assert names(tmp_path) == {"x.png", *(file.name for file in others)}


def test_what_another_user_s_process_writes_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    (tmp_path / ".x.png.123.tmp").touch()

    record.replace_file(tmp_path / "x.png", b"new")

    assert names(tmp_path) == {"x.png", ".x.png.123.tmp"}


def test_a_run_with_a_figure_that_was_never_finished_can_be_replaced(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    (folder / ".old.png.123.tmp").touch()

    with stage(folder, force=True) as opened:
        opened.publish(FILES)

    assert names(folder) == set(FILES)


def test_a_state_that_was_never_finished_does_not_stay(tmp_path: Path) -> None:
    state = interrupted(tmp_path / "run")
    (state.parent / f".state.pt.{os.getppid()}.tmp").touch()

    with stage(tmp_path / "run", resume=True) as opened:
        opened.publish(FILES)

    assert names(tmp_path) == {"run"}


def test_what_is_left_beside_a_finished_run_goes_unless_it_is_of_another(tmp_path: Path) -> None:
    state = interrupted(tmp_path / "run")
    saved = tree(tmp_path)
    with stage(tmp_path / "run", resume=True) as opened:
        opened.publish(FILES)
    for name, content in saved.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)

    record.drop_leftovers(tmp_path / "run", {"provenance": {"started_at": "1999-12-31"}})
    assert state.exists()
    record.drop_leftovers(tmp_path / "run", {"provenance": None})
    assert state.exists()
    record.drop_leftovers(tmp_path / "run", {"provenance": {"started_at": "2000-01-01"}})
    assert names(tmp_path) == {"run"}


def test_json_has_nothing_that_moves_a_cursor() -> None:
    text = "\x1b[2J\x9b31m\x7f\u202e γ é 😀 \U000e0001"

    written = record.to_json({text: [text]})

    assert all(character.isprintable() or character == "\n" for character in written)
    assert "γ é 😀" in written
    assert json.loads(written) == {text: [text]}


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400])
def test_a_number_that_no_float_holds_is_damage(number: str, tmp_path: Path) -> None:
    text = (
        f'{{"schema_version": 1, "experiment": "x", "config": {{}}, "results": {{"a": {number}}}}}'
    )
    (tmp_path / "metrics.json").write_text(text, encoding="utf-8")

    with pytest.raises(UserError, match=r"metrics\.json is damaged"):
        record.read_run(tmp_path)
