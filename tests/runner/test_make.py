"""The path of a run: what is refused before, what stands in the folder, what --resume does."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from answer import Answer
from fake_experiment import run as fake_run
from fake_experiment.schema import Config, Results

from midterm_cli import files, source
from midterm_cli.config import yaml
from midterm_cli.config.resolve import resolve
from midterm_cli.data import datasets
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Output
from midterm_cli.runner import interrupt, make, provenance
from midterm_cli.runner.document import Run, read
from midterm_cli.runner.name import run_name

pytestmark = pytest.mark.usefixtures("fake_train")


def train(*assignments: str, file: str | None = None, **options: Any) -> Run:
    resolved = resolve("train", file, assignments)
    return make.make(resolved, command="midterm train", quiet=True, **options)


def names(folder: Path = Path()) -> set[str]:
    return {path.name for path in folder.iterdir()}


def stop_at(epoch: int, number: signal.Signals) -> Callable[[int], None]:
    def stop(reached: int) -> None:
        if reached == epoch:
            os.kill(os.getpid(), number)

    return stop


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epochs that are computed from here on."""
    epochs: list[int] = []
    monkeypatch.setattr(fake_run, "on_epoch", epochs.append)
    return epochs


def test_a_run_leaves_config_metrics_figures_and_checkpoint(folder: Path) -> None:
    run = train("lr=0.002", "seed=3")

    assert run.folder == Path("outputs/train/seed=3,lr=0.002")
    files = {"config.yaml", "metrics.json", "summary.md", "checkpoint.pt", "weights.png"}
    assert names(run.folder) == files
    document = json.loads((run.folder / "metrics.json").read_text(encoding="utf-8"))
    assert document == run.document
    assert (document["schema_version"], document["status"]) == (1, "completed")
    weights = torch.load(run.folder / "checkpoint.pt", weights_only=True)["w"]
    assert weights.tolist() == document["results"]["w"]
    assert names(Path("outputs/train")) == {"seed=3,lr=0.002"}


def test_what_a_run_returns_is_what_is_read_of_it(folder: Path) -> None:
    run = train("lr=2")

    again = read(run.folder)
    assert (again.config, again.results, again.failed) == (run.config, run.results, True)
    assert (again.provenance, again.document) == (run.provenance, run.document)


def test_a_run_has_one_name_however_its_files_are_named(folder: Path) -> None:
    Path("m.csv").write_text("2,0\n0,1\n", encoding="utf-8")
    given = ("m.csv", "./m.csv", folder / "m.csv")

    names = {run_name(resolve("module", None, [f"matrix={path}"])) for path in given}

    assert len(names) == 1


def test_a_run_of_a_preset_is_named_after_it(folder: Path) -> None:
    assert train(file="reference/train").folder == Path("outputs/train/reference")
    assert train("lr=0.002", file="reference/train").folder.name == "reference,lr=0.002"


def test_provenance_says_where_the_numbers_come_from(folder: Path) -> None:
    facts = train().document["provenance"]

    assert set(facts) >= {
        "version",
        "command",
        "git_commit",
        "python",
        "torch",
        "device",
        "dtype",
        "threads",
        "cpu_capability",
        "data_sha256",
        "started_at",
        "wall_time_s",
    }
    assert facts["command"] == "midterm train"
    assert facts["data_source"] == "made up"  # the experiment's own word
    assert facts["torch"] == torch.__version__
    assert facts["dtype"] == "float32"
    assert facts["threads"] == 1
    assert facts["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert facts["started_at"].endswith("+00:00")
    assert facts["wall_time_s"] >= 0


def test_the_config_of_a_run_gives_the_same_results(folder: Path) -> None:
    first = train("lr=0.01", "seed=5", "hidden_sizes=[3]")

    second = train(file=str(first.folder / "config.yaml"), output=Path("again"))

    assert second.document["config"] == first.document["config"]
    assert second.document["results"] == first.document["results"]
    values = yaml.load_file(first.folder / "config.yaml")
    assert values == {"experiment": "train"} | first.document["config"]


def test_the_same_question_has_the_stored_answer(
    folder: Path, computed: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    first = train("lr=2")
    assert computed == [1, 2, 3, 4]
    capsys.readouterr()

    for resume in (False, True):
        again = train("lr=2", resume=resume)
        assert (again.document, again.warnings) == (first.document, ["collapsed"])
    assert computed == [1, 2, 3, 4]
    assert capsys.readouterr().err == ""

    assert train("lr=2", force=True).document["results"] == first.document["results"]
    assert computed == 2 * [1, 2, 3, 4]


@pytest.mark.parametrize("resume", [False, True])
def test_a_finished_run_of_other_settings_is_kept(
    resume: bool, folder: Path, computed: list[int]
) -> None:
    train(output=Path("run"))

    with pytest.raises(UserError, match=r"lr=0\.001, not 0\.5"):
        train("lr=0.5", output=Path("run"), resume=resume)
    assert computed == [1, 2, 3, 4]


def test_a_run_of_another_experiment_is_kept(folder: Path) -> None:
    softt = make.make(resolve("softt"), command="", output=Path("run"), quiet=True)

    with pytest.raises(UserError, match=f"{softt.name} holds a run of softt, not of train"):
        train(output=Path("run"))


def other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "code_sha256", lambda package: 64 * "1")


def other_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "sha256", lambda dataset, data_dir: 64 * "1")


def other_input(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("input.csv").write_text("2\n", encoding="utf-8")


@pytest.fixture
def with_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake experiment reads a file of numbers and a dataset."""
    Path("input.csv").write_text("1\n", encoding="utf-8")
    monkeypatch.setattr(Config, "input_files", property(lambda config: [Path("input.csv")]))
    monkeypatch.setattr(datasets, "sha256", lambda dataset, data_dir: 64 * "0")
    run = fake_run.run

    def with_data(config: Config, context: Context) -> Output:
        return replace(run(config, context), provenance={"data_sha256": 64 * "0"})

    monkeypatch.setattr(fake_run, "run", with_data)


@pytest.mark.usefixtures("with_input")
@pytest.mark.parametrize(
    ("change", "told"),
    [(other_code, "code"), (other_dataset, "synthetic"), (other_input, "input.csv")],
)
def test_a_finished_run_of_other_code_or_inputs_is_no_answer(
    change: Callable[[pytest.MonkeyPatch], None],
    told: str,
    computed: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = train(output=Path("run"))
    assert train(output=Path("run")).document == first.document
    assert computed == [1, 2, 3, 4]
    change(monkeypatch)

    for resume in (False, True):
        with pytest.raises(UserError, match=f"run was made with .*{told}"):
            train(output=Path("run"), resume=resume)
    assert computed == [1, 2, 3, 4]
    train(output=Path("run"), resume=True, force=True)

    assert told in capsys.readouterr().err
    assert computed == 2 * [1, 2, 3, 4]


@pytest.mark.parametrize("change", [None, other_code])
def test_it_is_said_whether_a_run_goes_on_from_the_one_beside_it(
    change: Callable[[pytest.MonkeyPatch], None] | None,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Config, "continues", lambda config, earlier: earlier.epochs < config.epochs)
    train("epochs=2")
    capsys.readouterr()
    if change:
        change(monkeypatch)

    train("epochs=3", resume=True)

    first, *rest = capsys.readouterr().err.splitlines()
    name = "outputs/train/epochs=2"
    if change:
        assert first == f"Does not go on from {name}, made with other code"
    else:
        assert first == f"Goes on from the end of {name}"
    assert rest == []


@pytest.mark.parametrize("key", ["code_sha256", "inputs_sha256", "data_sha256"])
@pytest.mark.usefixtures("with_input")
def test_what_a_finished_run_did_not_record_counts_as_unchanged(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads(train(output=Path("run")).json)
    document["provenance"][key] = None
    Path("run/metrics.json").write_text(json.dumps(document), encoding="utf-8")
    {"code_sha256": other_code, "inputs_sha256": other_input, "data_sha256": other_dataset}[key](
        monkeypatch
    )

    assert train(output=Path("run"), resume=True).document == document


def test_force_keeps_a_finished_run_that_would_be_computed_to_the_same(
    folder: Path, computed: list[int]
) -> None:
    train(output=Path("run"))
    train(output=Path("run"), resume=True, force=True)

    assert computed == [1, 2, 3, 4]


def test_force_computes_again(folder: Path) -> None:
    before = train(output=Path("run")).results

    after = train("lr=0.5", output=Path("run"), force=True).results

    assert after != before
    assert read(Path("run")).results == after


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_continued_to_the_same_results(
    number: signal.Signals,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = train(output=Path("whole")).results
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(fake_run, "on_epoch", stop_at(2, number))

    with pytest.raises(KeyboardInterrupt) as caught:
        train(output=Path("run"))

    assert (caught.type is interrupt.Terminated) == (number == signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert "--resume" in capsys.readouterr().err
    assert not Path("run").exists()
    computed: list[int] = []
    monkeypatch.setattr(fake_run, "on_epoch", computed.append)
    assert train(output=Path("run"), resume=True).results == whole
    assert computed == [3, 4]
    assert names() == {"whole", "run"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_just_after_the_folder_appeared_says_that_the_run_is_whole(
    number: signal.Signals,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sync = files.sync_folder

    def interrupted_sync(path: Path) -> None:
        if Path("run").exists():
            os.kill(os.getpid(), number)
        sync(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "sync_folder", interrupted_sync)
        with pytest.raises(KeyboardInterrupt):
            train(output=Path("run"))

    assert capsys.readouterr().err == "Interrupted when the run was finished: run is whole\n"
    assert read(Path("run")).folder == Path("run")


def test_an_unfinished_run_is_refused_before_anything_is_computed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_run, "on_epoch", stop_at(2, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(output=Path("run"))
    epochs: list[int] = []
    monkeypatch.setattr(fake_run, "on_epoch", epochs.append)

    with pytest.raises(UserError, match=r"add --resume to continue it, or --force to start again"):
        train(output=Path("run"))
    assert epochs == []
    train(output=Path("run"), force=True)
    assert epochs == [1, 2, 3, 4]


def test_a_forced_run_that_was_interrupted_is_continued(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = train(output=Path("run")).document
    whole = train("lr=0.5", output=Path("whole")).results
    monkeypatch.setattr(fake_run, "on_epoch", stop_at(2, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train("lr=0.5", output=Path("run"), force=True)
    assert read(Path("run")).document == before
    computed: list[int] = []
    monkeypatch.setattr(fake_run, "on_epoch", computed.append)

    after = train("lr=0.5", output=Path("run"), force=True, resume=True)

    assert computed == [3, 4]
    assert after.results == read(Path("run")).results == whole


def test_a_state_is_not_continued_with_other_settings(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_run, "on_epoch", stop_at(2, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(output=Path("run"))

    with pytest.raises(UserError, match="epochs=4, not 5"):
        train("epochs=5", output=Path("run"), resume=True)


def test_two_processes_do_not_mix_and_a_killed_one_is_continued(
    folder: Path, fake_configs: Path
) -> None:
    whole = train(output=Path("whole")).results
    main = [sys.executable, str(Path(__file__).parent / "fake_main.py"), str(fake_configs)]
    with subprocess.Popen([*main, "2", "train", "--output", "run"]) as process:
        try:
            while not Path("paused").exists():
                assert process.poll() is None
                time.sleep(0.02)
            with pytest.raises(UserError, match=r"another process is writing .*run: wait"):
                train(output=Path("run"))
        finally:
            process.kill()
    assert not Path("run").exists()

    resumed = train(output=Path("run"), resume=True)

    assert resumed.results == whole
    assert names() == {"whole", "run", "paused"}


@pytest.mark.parametrize("error", [UserError("no data"), ZeroDivisionError("a bug")])
def test_a_run_that_fails_leaves_no_folder(
    error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Output:
        raise error

    monkeypatch.setattr(fake_run, "run", fail)

    with pytest.raises(type(error)):
        train()
    assert names() == set()


def test_results_that_are_not_strict_json_are_a_bug_and_leave_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Constructed without validation, as a bug would."""
    broken = Results.model_construct(w=[0.0, float("nan")], outcome="trained")
    monkeypatch.setattr(fake_run, "run", lambda config, context: Output(broken))

    with pytest.raises(ValueError, match="not JSON compliant"):
        train()
    assert names() == set()


def test_figures_are_drawn_again_from_the_metrics_alone(folder: Path) -> None:
    run = train()
    figure = run.folder / "weights.png"
    drawn = figure.read_bytes()
    figure.write_bytes(b"damaged")
    (run.folder / "checkpoint.pt").unlink()

    assert make.draw(run.folder) == [figure]
    assert figure.read_bytes() == drawn


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_cuda_never_quietly_becomes_the_cpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(UserError, match=f"^{name} was asked for.*--device cpu"):
        provenance.resolve_device(name)
    assert provenance.resolve_device("auto") == torch.device("cpu")


def test_a_card_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    assert provenance.resolve_device("auto") == torch.device("cuda", 0)
    assert provenance.resolve_device("cuda:1") == torch.device("cuda", 1)
    assert provenance.resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="cuda:2 was asked for, but this machine has cuda:0 to"):
        provenance.resolve_device("cuda:2")


@pytest.mark.parametrize(
    ("asked", "stored", "same"),
    [
        ("auto", "cpu", True),
        ("auto", "cuda:1", True),
        ("cpu", "cpu", True),
        ("cuda", "cuda:0", True),
        ("cuda", "cuda:1", False),
        ("cpu", "cuda:0", False),
    ],
)
def test_a_run_on_another_device_is_another_run(asked: str, stored: str, same: bool) -> None:
    assert provenance.matches(asked, stored) == same


@pytest.mark.usefixtures("fake_train")
@pytest.mark.parametrize("content", [b"", b"{", b'{"schema_version": 1}', b"\x00" * 300])
@pytest.mark.parametrize("options", [["--force"], ["--resume", "--force"]])
def test_a_damaged_run_is_made_again_with_force(
    content: bytes, options: list[str], folder: Path, midterm: Callable[..., Answer]
) -> None:
    """As the message on it advises."""
    midterm("train", "--output", "run")
    whole = Path("run/metrics.json").read_bytes()
    Path("run/metrics.json").write_bytes(content)

    assert "--force" in midterm("train", "--output", "run", "--resume").err
    assert midterm("train", "--output", "run", *options).code == 0
    results = [
        json.loads(text)["results"] for text in (whole, Path("run/metrics.json").read_bytes())
    ]
    assert results[0] == results[1]
