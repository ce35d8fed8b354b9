"""`midterm train`: the published numbers on real data, and what holds on any."""

import io
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Output
from midterm_cli.part3 import train
from midterm_cli.part3.averaging import METRICS, half_life
from midterm_cli.part3.problem import Problem
from midterm_cli.runs import check
from midterm_cli.runs import expected
from midterm_cli import paths
from midterm_cli.config import resolve as configs
from midterm_cli.launch.local import Threads, num_workers

SMALL = ("dataset=synthetic", "num_seeds=3", "epochs=3", "hidden_sizes=[16, 8]")


def make_config(*assignments: str, file: str | None = None) -> train.Config:
    config = configs.resolve("train", file, assignments).config
    assert isinstance(config, train.Config)
    return config


def run(config: train.Config, workers: int = 1, **context: Any) -> Output:
    here = Context(torch.device("cpu"), launch=Threads(workers), workers=workers, **context)
    return train.run(config, here)


def rows(results: Mapping[str, Any], **wanted: object) -> list[dict[str, Any]]:
    return [row for row in results["history"] if all(row[key] == wanted[key] for key in wanted)]


# ---- real data: REFERENCE, published and measured


@pytest.fixture(scope="module")
def as_published(fashion_mnist: Path) -> dict[str, Any]:
    """Ten seeds of the published, linear network."""
    return run(make_config(file="reference/train"), 2, data_dir=fashion_mnist).results


@pytest.fixture(scope="module")
def as_meant(fashion_mnist: Path) -> dict[str, Any]:
    """Ten seeds of the ReLU network."""
    return run(make_config(), 2, data_dir=fashion_mnist).results


def missed(preset: str, results: Mapping[str, Any], coverage: float = 0.999) -> set[str]:
    """The published and measured figures that results miss, were they those of a preset's run."""
    wanted = expected.load(paths.expected_file()).model_copy(update={"coverage": coverage})
    plain = configs.plain(make_config(file=preset))
    document = {"experiment": "train", "config": plain, "results": results}
    [run] = check.check_run(preset, document, wanted)
    return {finding.check.name for finding in run.findings if not finding.ok}


@pytest.mark.real_data
def test_training_is_as_published_and_as_measured(
    as_published: dict[str, Any], as_meant: dict[str, Any]
) -> None:
    assert missed("reference/train", as_published) == set()
    assert missed("train", as_meant) == set()


@pytest.mark.real_data
def test_the_published_run_is_one_of_ours(as_published: dict[str, Any]) -> None:
    """Its figures lie in the 95 % intervals, not only in the wider ones of `midterm check`."""
    assert [name for name in missed("reference/train", as_published, 0.95) if "pub" in name] == []


@pytest.mark.real_data
def test_the_published_run_is_not_one_of_a_relu_network(
    as_published: dict[str, Any], as_meant: dict[str, Any]
) -> None:
    assert "train loss after pass 24, published" in missed("reference/train", as_meant)
    assert "train accuracy after pass 24, published" in missed("reference/train", as_meant)
    assert "train loss after pass 24" in missed("train", as_published)


@pytest.mark.real_data
@pytest.mark.parametrize("which", ["as_published", "as_meant"])
def test_the_published_conclusion(which: str, request: pytest.FixtureRequest) -> None:
    """Averaged SGD: lower loss, higher accuracy, smoother curves; in each metric, beyond chance."""
    for entry in request.getfixturevalue(which)["comparison"]:
        assert entry["gain"]["low"] > 0, entry
        assert entry["roughness_ratio"]["low"] > 1, entry


# ---- what holds on any data


def test_results_are_the_same_byte_for_byte_however_they_are_computed() -> None:
    config = make_config(*SMALL)
    first = json.dumps(run(config).results, allow_nan=False)
    assert json.dumps(run(config).results) == first
    assert json.dumps(run(config, workers=2).results) == first
    assert json.dumps(run(config, workers=5).results) == first  # one group a seed, overlapped
    assert json.dumps(run(make_config(*SMALL, "seed=1")).results) != first


class Kept:
    """A state that remembers all that was saved, and starts from one of them."""

    def __init__(self, start: dict[str, Any] | None = None) -> None:
        self.start, self.saved = start, list[dict[str, Any]]()

    def load(self) -> dict[str, Any] | None:
        return self.start

    def save(self, state: Mapping[str, Any]) -> None:
        self.saved.append(dict(state))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_run_goes_on_from_any_saved_state_to_the_same_results(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "_SAVE_EVERY_SECONDS", -1.0)
    # Two seeds leave the finite numbers on the way: a frozen member is saved as well.
    config = make_config(*SMALL, "activation=identity", "lr=3.6e-3", "num_seeds=4")
    kept = Kept()
    straight = run(config, workers, state=kept)
    assert {entry["outcome"] for entry in straight.results["outcomes"]} > {"trained"}
    assert len(kept.saved) >= 4
    for state in kept.saved[::3]:
        resumed = run(config, workers, state=Kept(state))
        assert json.dumps(resumed.results) == json.dumps(straight.results)
        assert straight.checkpoint is not None
        assert resumed.checkpoint is not None
        for name, tensor in straight.checkpoint.items():
            assert torch.equal(tensor.nan_to_num(), resumed.checkpoint[name].nan_to_num())


def test_raw_weights_are_unchanged_by_any_choice_of_gamma() -> None:
    without = run(make_config(*SMALL, "ema_gamma=[]")).results
    several = run(make_config(*SMALL, "ema_gamma=[1, 0.1, 1e-3]")).results
    assert rows(several, weights="raw") == without["history"]
    assert without["comparison"] == []
    for key in METRICS:  # γ = 1 forgets at once
        assert [row[key] for row in rows(several, gamma=1)] == [
            row[key] for row in without["history"]
        ]


def test_epoch_zero_is_the_start_where_average_and_weights_are_one() -> None:
    results = run(make_config(*SMALL)).results
    assert [row["epoch"] for row in rows(results, seed=0, weights="raw")] == [0, 1, 2, 3]
    for raw, average in zip(
        rows(results, epoch=0, weights="raw"), rows(results, epoch=0, weights="ema"), strict=True
    ):
        assert [raw[key] for key in METRICS] == [average[key] for key in METRICS]


def test_half_life_and_weight_of_the_start() -> None:
    # REFERENCE: 693 updates, and 47 % after one pass of 750.
    assert half_life(1e-3) == pytest.approx(692.8, abs=0.05)
    assert (1 - 0.02) ** half_life(0.02) == pytest.approx(0.5)
    assert half_life(1) == 0
    config = make_config(*SMALL, "epochs=1")
    results = run(config).results
    entry = results["final"]["weights"][1]
    assert entry["weight_of_start"] == pytest.approx(0.999 ** results["num_updates"])


def test_final_and_comparison_are_what_a_person_computes_from_the_history() -> None:
    results = run(make_config(*SMALL, "epochs=5", "skip_passes=1", "ema_gamma=0.01")).results

    def curve(seed: int, weights: str) -> np.ndarray:
        return np.array([r["test_loss"] for r in rows(results, seed=seed, weights=weights)])

    raw, average = ([curve(seed, w) for seed in range(3)] for w in ("raw", "ema"))
    final = results["final"]["weights"][1]["test_loss"]
    assert final["mean"] == pytest.approx(np.mean([c[5] for c in average]))
    assert final["sd"] == pytest.approx(np.std([c[5] for c in average], ddof=1))
    [entry] = [e for e in results["comparison"] if e["metric"] == "test_loss"]
    gains = [r[5] - a[5] for r, a in zip(raw, average, strict=True)]
    assert entry["gain"]["estimate"] == pytest.approx(np.mean(gains))
    ratios = [
        np.abs(np.diff(r[2:])).mean() / np.abs(np.diff(a[2:])).mean()
        for r, a in zip(raw, average, strict=True)
    ]
    assert entry["roughness_ratio"]["estimate"] == pytest.approx(np.prod(ratios) ** (1 / 3))
    [accuracy] = [e for e in results["comparison"] if e["metric"] == "test_accuracy"]
    better = [
        rows(results, seed=s, epoch=5, weights="ema")[0]["test_accuracy"]
        - rows(results, seed=s, epoch=5, weights="raw")[0]["test_accuracy"]
        for s in range(3)
    ]
    assert accuracy["gain"]["estimate"] == pytest.approx(np.mean(better))


def test_one_seed_has_no_interval() -> None:
    results = run(make_config(*SMALL, "num_seeds=1")).results
    gain = results["comparison"][0]["gain"]
    assert (gain["low"], gain["high"], gain["total"]) == (None, None, 1)
    assert results["final"]["weights"][0]["train_loss"]["sd"] is None


def test_a_run_that_diverges_says_so_in_strict_json() -> None:
    output = run(make_config(*SMALL, "activation=identity", "lr=1"))
    json.dumps(output.results, allow_nan=False)
    assert output.failed
    assert "3 of 3 seeds did not train" in output.warnings[0]
    assert output.results["outcome"] == "non_finite"
    last = rows(output.results, epoch=3, seed=0)
    assert all(row[key] is None for row in last for key in METRICS)
    assert rows(output.results, epoch=0, seed=0)[0]["train_loss"] > 0
    train.summarize(output.results)
    figure = train.draw(make_config(*SMALL, "activation=identity", "lr=1"), output.results)
    for axis in figure["curves"].axes:
        assert [text.get_text() for text in axis.texts] == ["not finite for any seed"]


def test_a_state_that_was_begun_on_other_data_is_refused() -> None:
    with pytest.raises(UserError, match="other data"):
        run(make_config(*SMALL), state=Kept({"groups": [], "data_sha256": "0123456789abcdef"}))


@pytest.mark.parametrize("code", [{"code": "0123456789abcdef"}, {}])
def test_a_state_that_other_code_began_is_refused(code: dict[str, str]) -> None:
    config = make_config(*SMALL, "epochs=1")
    begun = {"groups": [], "data_sha256": run(config).provenance["data_sha256"], **code}
    with pytest.raises(UserError, match=r"begun by other code \(digest \w+, now \w+\)\nleave out"):
        run(config, state=Kept(begun))


@pytest.mark.cuda
def test_a_run_on_cuda_agrees_with_the_cpu_and_can_be_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    monkeypatch.setattr(train, "_SAVE_EVERY_SECONDS", -1.0)
    config = make_config(*SMALL, "activation=identity", "lr=3.6e-3", "num_seeds=4")
    here = run(config).results

    kept = Kept()
    there = train.run(config, Context(torch.device("cuda"), state=kept))
    buffer = io.BytesIO()
    torch.save(kept.saved[-1], buffer)
    buffer.seek(0)
    state = torch.load(buffer, map_location="cpu", weights_only=True)
    resumed = train.run(config, Context(torch.device("cuda"), state=Kept(state)))

    assert resumed.results["outcomes"] == there.results["outcomes"] == here["outcomes"]
    for output in (there, resumed):
        assert output.checkpoint is not None
        assert {tensor.device.type for tensor in output.checkpoint.values()} == {"cpu"}
    for a, b in zip(there.results["history"], here["history"], strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-2)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (("hidden_sizes=[65536, 65536]",), "parameters: at most"),
        (("batch_size=65536", "hidden_sizes=[4096]"), "activations in a step: at most"),
        (("train_fraction=1e-9",), "one class: raise train_fraction"),
    ],
)
def test_what_cannot_work_is_refused_before_it_starts(
    assignments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(make_config(*SMALL, *assignments))


def test_a_dead_network_has_collapsed() -> None:
    output = run(make_config(*SMALL, "lr=1"))
    assert output.results["outcome"] == "collapsed"
    assert output.failed


def test_the_gradients_by_hand_and_by_autograd_give_the_same_history() -> None:
    assignments = (*SMALL, "dtype=float64")
    closed = run(make_config(*assignments)).results["history"]
    reference = run(make_config(*assignments, "gradients=autograd")).results["history"]
    for a, b in zip(closed, reference, strict=True):
        for key in METRICS:
            assert a[key] == pytest.approx(b[key], rel=1e-10)


def test_the_checkpoint_is_the_network() -> None:
    config = make_config(*SMALL, "ema_gamma=0.01")
    output = run(config)
    checkpoint = output.checkpoint
    assert checkpoint is not None
    problem = Problem(config, Context(torch.device("cpu")))
    for row in rows(output.results, epoch=3):
        which = "raw" if row["weights"] == "raw" else "ema_0.01"
        member = checkpoint["seeds"].tolist().index(row["seed"])
        h = problem.test.images.float() - torch.from_numpy(problem.subset(row["seed"]).mean).float()
        for layer in range(3):
            weight = checkpoint[f"{which}.{layer}.weight"][member]
            h = torch.nn.functional.linear(h, weight, checkpoint[f"{which}.{layer}.bias"][member])
            h = h.relu() if layer < 2 else h
        loss = torch.nn.functional.cross_entropy(h, problem.test.labels)
        assert loss.item() == pytest.approx(row["test_loss"], rel=1e-5)


def test_the_figure_shows_the_passes_after_the_skipped_ones() -> None:
    config = make_config(*SMALL, "skip_passes=1", "ema_gamma=[0.01, 0.1]")
    results = run(config).results
    figure = train.draw(config, results)["curves"]
    axes = {axis.get_ylabel(): axis for axis in figure.axes}
    assert set(axes) == {
        "train loss (nats)", "test loss (nats)", "train accuracy", "test accuracy"
    }  # fmt: skip
    for axis in axes.values():
        assert [line.get_label() for line in axis.lines] == [
            "raw weights", "average, γ = 0.01", "average, γ = 0.1"
        ]  # fmt: skip
    line = axes["test accuracy"].lines[1]
    expected = [
        np.mean([r["test_accuracy"] for r in rows(results, epoch=epoch, gamma=0.01)])
        for epoch in (2, 3)
    ]
    assert np.allclose(np.asarray(line.get_xdata(), dtype=float), [2, 3])
    assert np.allclose(np.asarray(line.get_ydata(), dtype=float), expected)


def test_a_figure_of_one_pass_shows_that_pass_and_the_range_of_the_seeds() -> None:
    config = make_config(*SMALL, "epochs=1")
    results = run(config).results
    figure = train.draw(config, results)["curves"]
    figure.draw_without_rendering()

    losses = [row["train_loss"] for row in rows(results, epoch=1, gamma=None)]
    axis = figure.axes[0]
    [[raw_x], [average_x]] = [np.asarray(line.get_xdata(), dtype=float) for line in axis.lines]
    assert 0.5 < raw_x < 1 < average_x < 1.5
    [bar] = axis.collections[0].get_paths()
    expected_bar = [(raw_x, min(losses)), (raw_x, max(losses))]
    assert np.allclose(np.asarray(bar.vertices, dtype=float), expected_bar)
    within = [tick for tick in axis.get_xticks() if axis.get_xlim()[0] < tick < axis.get_xlim()[1]]
    assert within == [1]


def test_every_average_is_drawn_in_its_own_way() -> None:
    gammas = [0.5 / (i + 1) for i in range(32)]
    config = make_config(*SMALL, "num_seeds=1", f"ema_gamma={gammas}")
    figure = train.draw(config, run(config).results)["curves"]
    figure.draw_without_rendering()

    # get_linestyle() calls every tuple of dashes "--": the dashes themselves are private.
    looks = [
        (line.get_color(), str(line._dash_pattern))  # type: ignore[attr-defined]
        for line in figure.axes[0].lines
    ]
    assert len(looks) == len(set(looks)) == 33
    box = figure.legends[0].get_window_extent()
    panels = [axis.get_tightbbox() for axis in figure.axes]
    assert not any(panel is None or box.overlaps(panel) for panel in panels)
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1


# ---- the command


def test_the_command_leaves_a_whole_run_folder(folder: Path, midterm: Callable[..., Any]) -> None:
    options = ("--dataset", "synthetic", "--seeds", "2", "--epochs", "1", "--ema-gamma", "0.1")
    answer = midterm("train", *options, "--ema-gamma", "0.01")
    assert answer.code == 0
    run_folder = folder / answer.out.strip()
    assert {path.name for path in run_folder.iterdir()} == {
        "checkpoint.pt", "config.yaml", "curves.png", "metrics.json"
    }  # fmt: skip
    document = json.loads((run_folder / "metrics.json").read_text())
    assert document["provenance"]["data_source"].startswith("synthetic")
    cores = min(2, num_workers(torch.device("cpu")))
    assert document["provenance"]["threads"] == cores
    forked = cores if cores > 1 and sys.platform == "linux" else None
    assert document["provenance"].get("processes") == forked
    again = midterm("train", "--config", run_folder / "config.yaml", "--output", "again", "--json")
    assert json.loads(again.out)["results"] == document["results"]


@pytest.mark.parametrize(
    ("assignment", "parts"),
    [
        ("lr=-1", ["lr", "greater than 0", "-1"]),
        ("lr=fast", ["lr", "number", "fast"]),
        ("ema_gamma=1.5", ["ema_gamma", "1.5"]),
        ("ema_gamma=[0.1, 0.1]", ["ema_gamma", "twice", "0.1"]),
        ("ema_gamma=0", ["ema_gamma", "greater than 0"]),
        ("hidden_sizes=[32, 0]", ["hidden_sizes[1]", "0"]),
        ("train_fraction=0", ["train_fraction", "0"]),
        ("learning_rate=1", ["learning_rate", "known"]),
        ("activaton=relu", ["activaton", "activation"]),
        ("dataset=fashion_mnits", ["fashion_mnits", "fashion_mnist"]),
        ("dataset=no/such/folder", ["no/such/folder"]),
    ],
)
def test_a_mistake_is_named_and_leaves_no_folder(
    folder: Path, midterm: Callable[..., Any], assignment: str, parts: list[str]
) -> None:
    answer = midterm("train", "--set", assignment)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") <= 2
    assert all(part in answer.err for part in parts), answer.err
    assert list(folder.iterdir()) == []


def test_missing_data_is_named_with_the_way_out(folder: Path, midterm: Callable[..., Any]) -> None:
    answer = midterm("train", "--data-dir", folder / "nothing")
    assert answer.code == 2
    assert "midterm data fetch" in answer.err
    assert list(folder.iterdir()) == []
