"""Run folders appear whole or not at all, and nothing is lost on the way."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from filelock import lock_descriptor

from midterm_cli import files
from midterm_cli.errors import UserError
from midterm_cli.runner import document, stage

IDENTITY = {"lr": 0.1, "device": "cpu"}
METRICS = '{"schema_version": 1, "experiment": "train"}'
FIGURE = b"\x89PNG\r\n\x1a\n... tEXtSoftware\0midterm ..."
FILES = {"config.yaml": b"lr: 0.1\n", "metrics.json": METRICS.encode()}


@contextmanager
def staged(
    folder: Path,
    identity: dict[str, object] = IDENTITY,
    force: bool = False,
    resume: bool = False,
) -> Iterator[stage.Stage]:
    with stage.stage(
        folder, identity, "2000-01-01T00:00:00+00:00", force=force, resume=resume
    ) as opened:
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
    with staged(tmp_path / "deep" / "run") as opened:
        opened.saved.state.save({"epoch": 1})
        assert not (tmp_path / "deep" / "run").exists()
        opened.publish(FILES)

    assert tree(tmp_path) == {f"deep/run/{name}": content for name, content in FILES.items()}


@pytest.mark.parametrize("error", [UserError("mine"), ZeroDivisionError(), KeyboardInterrupt()])
def test_a_run_that_fails_before_it_saved_anything_leaves_nothing(
    error: BaseException, tmp_path: Path
) -> None:
    with pytest.raises(type(error)), staged(tmp_path / "a" / "b" / "run"):
        raise error

    assert tree(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_folders_that_others_use_are_left(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(ZeroDivisionError), staged(tmp_path / "a" / "b" / "run"):
        raise ZeroDivisionError

    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def interrupted(folder: Path, *states: dict[str, object]) -> Path:
    """A run that was interrupted after it saved these states; returns the state's file."""

    def work() -> None:
        with staged(folder) as opened:
            assert opened.saved.state.load(dict) is None
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
    with staged(tmp_path / "run", resume=True) as opened:
        loaded = opened.saved.state.load(dict)
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
        staged(tmp_path / "run", other, resume=True),
    ):
        pass

    assert state.exists()


def enter(folder: Path) -> None:
    with staged(folder):
        pass


@pytest.mark.parametrize("ask", [stage.require_not_begun, enter])
def test_an_unfinished_run_is_kept_until_the_user_says_what_becomes_of_it(
    ask: Callable[[Path], None], tmp_path: Path
) -> None:
    interrupted(tmp_path / "run")
    before = tree(tmp_path)

    with pytest.raises(UserError, match=r"run was begun .* --resume to continue it.* --force to"):
        ask(tmp_path / "run")

    assert tree(tmp_path) == before
    stage.require_not_begun(tmp_path / "another")


def test_a_run_that_is_being_made_is_not_an_unfinished_one(tmp_path: Path) -> None:
    with staged(tmp_path / "run") as opened:
        opened.saved.state.save({"epoch": 1})
        with pytest.raises(UserError, match="another process is writing"):
            stage.require_not_begun(tmp_path / "run")


def test_force_starts_an_unfinished_run_again_with_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(tmp_path / "run")

    with staged(tmp_path / "run", force=True) as opened:
        assert opened.saved.state.load(dict) is None
        assert not opened.saved.exists()

    assert "Discarded what an unfinished run had saved" in capsys.readouterr().err
    assert tree(tmp_path) == {}


def finished(folder: Path) -> Path:
    with staged(folder) as opened:
        opened.publish(FILES | {"old.png": FIGURE})
    return folder


def test_a_finished_run_is_refused_without_force(tmp_path: Path) -> None:
    finished(tmp_path / "run")
    before = tree(tmp_path)

    with (
        pytest.raises(UserError, match=r"finished run: add --force .* --output"),
        staged(tmp_path / "run"),
    ):
        pass

    assert tree(tmp_path) == before


def test_force_replaces_a_run_when_the_new_one_is_whole(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")

    with staged(folder, force=True) as opened:
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
        staged(folder, force=True) as opened,
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
        staged(tmp_path / "run", resume=True) as opened,
    ):
        opened.saved.state.save({"epoch": 2})
    monkeypatch.undo()

    assert names(tmp_path / ".run.partial") == {"lock", "begun.json", "state.pt"}
    with staged(tmp_path / "run", resume=True) as opened:
        assert opened.saved.state.load(dict) == {"epoch": 1}


def test_a_process_killed_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    before = tree(folder)
    partial = tmp_path / ".run.partial"
    partial.mkdir()
    (partial / "run").mkdir()
    folder.rename(partial / "old")

    with pytest.raises(UserError, match="already holds a finished run"), staged(folder):
        pass

    assert tree(folder) == before
    assert names(tmp_path) == {"run"}


@pytest.mark.parametrize(
    ("own", "what"),
    [
        ({"config.yaml": ""}, "files"),
        ({"metrics.json": METRICS, "photo.png": "Software: Gimp"}, "'photo.png'"),
        ({"metrics.json": "{}"}, "a metrics.json"),
        ({"metrics.json": METRICS, "notes.txt": ""}, "'notes.txt'"),
        ({"metrics.json": METRICS, ".x.png/y": ""}, "'.x.png'"),
    ],
)
def test_force_never_replaces_what_no_run_wrote(
    own: dict[str, str], what: str, tmp_path: Path
) -> None:
    folder = tmp_path / "thesis"
    for name, content in own.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    before = tree(tmp_path)

    with pytest.raises(UserError, match=f"thesis holds {what}"), staged(folder, force=True):
        pass

    assert tree(tmp_path) == before


def test_an_empty_folder_may_be_the_run_folder_unless_it_is_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell that stands in it would be left in a folder that is no more."""
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        with pytest.raises(UserError, match="is the current folder"), staged(tmp_path):
            pass

    with staged(tmp_path) as opened:
        opened.publish(FILES)

    assert names(tmp_path) == set(FILES)


def replaced_meanwhile(folder: Path, force: bool, change: Callable[[Path], object]) -> str:
    """A run whose folder changes while it is made; returns the refusal."""
    with staged(folder, force=force) as opened:
        opened.saved.state.save({"epoch": 1})
        change(folder)
        with pytest.raises(UserError) as refused:
            opened.publish(FILES)
    return str(refused.value)


def thesis(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").touch()


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("come", "what"),
    [
        (Path.touch, "is a file, not a folder"),
        (thesis, "holds 'thesis.tex', which no run of midterm wrote"),
    ],
)
def test_what_has_come_meanwhile_is_never_replaced(
    force: bool, come: Callable[[Path], object], what: str, tmp_path: Path
) -> None:
    message = replaced_meanwhile(tmp_path / "run", force, come)

    first, second = message.split("\n")
    assert first == f"{tmp_path / 'run'} {what}, which was not so when this run began"
    assert second == "move that away, and --resume continues from what was saved"
    assert "run" in names(tmp_path)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    with staged(tmp_path / "run", resume=True) as opened:
        assert opened.saved.state.load(dict) == {"epoch": 1}
        opened.publish(FILES)
    assert names(tmp_path) == {"run", "elsewhere"}


def copy_of_a_run(folder: Path) -> None:
    """As `cp -r` or another machine brings it."""
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)


def test_a_finished_run_that_has_come_meanwhile_is_replaced_with_force_alone(
    tmp_path: Path,
) -> None:
    message = replaced_meanwhile(tmp_path / "run", False, copy_of_a_run)
    assert "already holds a finished run, which was not so" in message
    assert tree(tmp_path / "run") == FILES

    with staged(tmp_path / "other", force=True) as opened:
        copy_of_a_run(tmp_path / "other")
        opened.publish(FILES | {"new.png": b"new"})
    assert names(tmp_path / "other") == {*FILES, "new.png"}


def test_force_deletes_no_file_that_was_put_into_the_old_run_meanwhile(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    message = replaced_meanwhile(folder, True, lambda run: (run / "notes.txt").write_text("mine"))

    assert "holds 'notes.txt', which no run of midterm wrote" in message
    assert tree(folder) == FILES | {"old.png": FIGURE, "notes.txt": b"mine"}


def test_a_file_that_comes_at_the_last_moment_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between the last look and the renaming."""
    folder = finished(tmp_path / "run")
    old = tmp_path / ".run.partial" / "old"
    with staged(folder, force=True) as opened:
        opened.publish(FILES)
        (old / "notes.txt").write_text("mine", encoding="utf-8")

    assert tree(old) == {"notes.txt": b"mine"}
    assert tree(folder) == FILES
    assert f"kept in {old}" in capsys.readouterr().err


def test_on_windows_an_empty_folder_is_removed_first_and_the_lock_is_closed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, nothing is renamed over a folder, and no open file is removed."""
    rename, unlink, close = Path.rename, Path.unlink, os.close
    closed: list[os.stat_result] = []

    def rename_as_there(path: Path, target: Path) -> Path:
        assert not target.exists()
        return rename(path, target)

    def unlink_as_there(path: Path, missing_ok: bool = False) -> None:
        assert path.name != "lock" or os.path.samestat(path.stat(), closed[-1])
        unlink(path, missing_ok=missing_ok)

    def closing(descriptor: int) -> None:
        closed.append(os.fstat(descriptor))
        close(descriptor)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(Path, "rename", rename_as_there)
    monkeypatch.setattr(Path, "unlink", unlink_as_there)
    monkeypatch.setattr(os, "close", closing)
    (tmp_path / "run").mkdir()
    with staged(tmp_path / "run") as opened:
        opened.publish(FILES)

    assert tree(tmp_path) == {f"run/{name}": content for name, content in FILES.items()}


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from midterm_cli.runner.stage import stage
with stage(Path({str(tmp_path / "run")!r}), {{}}, "", force=False, resume=False):
    print("holds it", flush=True)
    signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"holds it\n"
        with pytest.raises(UserError, match="another process is writing"), staged(tmp_path / "run"):
            pass
        holder.kill()

    with staged(tmp_path / "run") as opened:
        opened.publish(FILES)
    assert names(tmp_path) == {"run"}


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "link").symlink_to("big/run")

    with staged(tmp_path / "link") as opened:
        opened.publish(FILES)

    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "big" / "run") == set(FILES)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UserError, match="is a file, not a folder"), staged(tmp_path / "file"):
        pass
    with (
        pytest.raises(UserError, match=r"cannot write .*file/run: Not a directory"),
        staged(tmp_path / "file" / "run"),
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
        staged(tmp_path / "a" / "run"),
    ):
        pass
    monkeypatch.undo()

    assert list(tmp_path.iterdir()) == []


def test_the_second_writer_of_a_run_is_told_at_once(tmp_path: Path) -> None:
    with staged(tmp_path / "run") as opened:
        with (
            pytest.raises(UserError, match=r"another process is writing .*run: wait for it, or"),
            staged(tmp_path / "run", resume=True),
        ):
            pass
        opened.publish(FILES)

    assert names(tmp_path) == {"run"}


def test_a_lock_whose_file_was_removed_meanwhile_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder removed it after the other had opened it and before the other locked it."""
    calls: list[int] = []

    def holder_leaves_first(descriptor: int, blocking: bool) -> bool:
        if not calls:
            (tmp_path / ".run.partial" / "lock").unlink()
        calls.append(descriptor)
        return lock_descriptor(descriptor, blocking=blocking)

    monkeypatch.setattr(stage, "lock_descriptor", holder_leaves_first)
    with staged(tmp_path / "run"):
        assert len(calls) == 2
        monkeypatch.undo()
        with pytest.raises(UserError, match="another process"), staged(tmp_path / "run"):
            pass


def test_a_lock_whose_file_was_replaced_meanwhile_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, and a third has made the file anew."""
    calls: list[int] = []

    def third_comes_between(descriptor: int, blocking: bool) -> bool:
        if not calls:
            lock = tmp_path / ".run.partial" / "lock"
            lock.unlink()
            lock.touch()
        calls.append(descriptor)
        return lock_descriptor(descriptor, blocking=blocking)

    monkeypatch.setattr(stage, "lock_descriptor", third_comes_between)
    with staged(tmp_path / "run"):
        assert len(calls) == 2
        monkeypatch.undo()
        with pytest.raises(UserError, match="another process"), staged(tmp_path / "run"):
            pass


def test_a_run_with_a_figure_that_was_never_finished_can_be_replaced(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    (folder / ".old.png.123.tmp").touch()

    with staged(folder, force=True) as opened:
        opened.publish(FILES)

    assert names(folder) == set(FILES)


def test_a_state_that_was_never_finished_does_not_stay(tmp_path: Path) -> None:
    state = interrupted(tmp_path / "run")
    (state.parent / f".state.pt.{os.getppid()}.tmp").touch()

    with staged(tmp_path / "run", resume=True) as opened:
        opened.publish(FILES)

    assert names(tmp_path) == {"run"}


def test_what_is_left_beside_a_finished_run_goes_unless_it_is_of_another(tmp_path: Path) -> None:
    """A process that dies at the very end leaves what it has saved beside the finished run."""
    older = Path(__file__).parents[1] / "runs" / "version_0_1_0" / "softt"
    shutil.copytree(older, tmp_path / "run")
    run = document.read(tmp_path / "run")
    state = tmp_path / ".run.partial" / "state.pt"

    def left_by_a_run_of(started_at: str) -> None:
        with stage.stage(run.folder, IDENTITY, started_at, force=True, resume=False) as opened:
            opened.saved.state.save({"epoch": 1})

    left_by_a_run_of("1999-12-31T00:00:00+00:00")
    stage.drop_leftovers(run)
    assert state.exists()

    (state.parent / "begun.json").write_text("damaged", encoding="utf-8")
    stage.drop_leftovers(run)
    assert state.exists()

    left_by_a_run_of(run.provenance.started_at)
    stage.drop_leftovers(run)
    assert names(tmp_path) == {"run"}
