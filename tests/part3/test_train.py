"""`midterm train`: the published numbers on real data, and what holds on any."""

import io
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from midterm_cli.config import resolve
from midterm_cli.config.presets import expected_file
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Event, Job, Output, Parent, Table
from midterm_cli.launch.local import Threads
from midterm_cli.part3.averaging import half_life
from midterm_cli.part3.problem import Problem
from midterm_cli.part3.sampling import draw_minibatches
from midterm_cli.part3.schema import METRICS
from midterm_cli.part3.statistics import prediction_interval
from midterm_cli.part3.train import run as train
from midterm_cli.part3.train.schema import Config, HistoryRow, Results
from midterm_cli.part3.train.show import draw, summarize
from midterm_cli.runs import expected

CPU = torch.device("cpu")
SMALL = ("dataset=synthetic", "num_seeds=3", "epochs=3", "hidden_sizes=[16, 8]")


def config_of(*assignments: str, preset: str | None = None) -> Config:
    config = resolve.resolve("train", preset, assignments).config
    assert isinstance(config, Config)
    return config


def run(config: Config, workers: int = 1, **context: Any) -> Output:
    context.setdefault("launch", Threads(workers))
    return train.run(config, Context(CPU, workers=workers, **context))


def results(output: Output) -> Results:
    assert isinstance(output.results, Results)
    return output.results


def small(*assignments: str, workers: int = 1) -> Results:
    return results(run(config_of(*SMALL, *assignments), workers))


def rows(results: Results, **wanted: object) -> list[HistoryRow]:
    return [
        row
        for row in results.history
        if all(getattr(row, key) == value for key, value in wanted.items())
    ]


def metrics(row: HistoryRow) -> list[float | None]:
    return [row.train_loss, row.train_accuracy, row.test_loss, row.test_accuracy]


# ---- real data: REFERENCE, published and measured


def missed(
    preset: str, results: Results, coverage: float = 0.999
) -> set[tuple[int, str, str, str]]:
    """Known figures that the means of results miss: epoch, weights, metric, source.

    Figures of epochs that the results do not have are left out.
    """
    command = "midterm train" if preset == "train" else f"midterm train --config {preset}"
    [run] = [run for run in expected.load(expected_file()).runs if run.command == command]
    found, num_checked = set(), 0
    for check in run.checks:
        match check.mean_over_seeds, check.at:
            case known, ["history", {"epoch": int(epoch), "weights": str(weights)}, str(metric)]:
                values = [getattr(r, metric) for r in rows(results, epoch=epoch, weights=weights)]
                if known is None or not values:
                    continue
                low, high = prediction_interval(
                    known.mean, known.seeds, known.sd, known.sd_seeds, len(values), coverage
                )
                num_checked += 1
                if not low < np.mean(values) < high:
                    found.add((epoch, weights, metric, check.source))
    assert num_checked >= 7
    return found


@pytest.mark.real_data
def test_one_epoch_is_as_published_and_as_measured(fashion_mnist: Path) -> None:
    config = config_of("epochs=1", preset="reference/train")
    assert missed("reference/train", results(run(config, data_dir=fashion_mnist))) == set()


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("assignments", "outcome", "overconfident"),
    [
        (["epochs=1"], "trained", False),
        (["hidden_sizes=[]", "epochs=1"], "trained", True),  # a loss of 76 nats, accuracy 0.76
        (["hidden_sizes=[256]", "epochs=1"], "trained", True),
        (["lr=1e-8", "epochs=1"], "untrained", False),
        (["batch_size=7000", "epochs=1"], "untrained", False),  # a single update
        (["lr=0.045", "epochs=1", "seed=3"], "collapsed", False),
        (["lr=0.02", "activation=identity", "epochs=1"], "non_finite", False),
    ],
)
def test_outcomes_on_real_data(
    fashion_mnist: Path, assignments: list[str], outcome: str, overconfident: bool
) -> None:
    found = results(run(config_of("num_seeds=3", *assignments), 2, data_dir=fashion_mnist))
    assert [entry.outcome for entry in found.outcomes] == [outcome] * 3
    assert [entry.overconfident for entry in found.outcomes] == [overconfident] * 3
    assert found.outcome == outcome


@pytest.fixture(scope="module")
def as_published(fashion_mnist: Path) -> Results:
    """Ten seeds of the published, linear network."""
    return results(run(config_of(preset="reference/train"), 2, data_dir=fashion_mnist))


@pytest.fixture(scope="module")
def as_meant(fashion_mnist: Path) -> Results:
    """Ten seeds of the ReLU network."""
    return results(run(config_of(), 2, data_dir=fashion_mnist))


@pytest.mark.slow
@pytest.mark.real_data
def test_training_is_as_published_and_as_measured(as_published: Results, as_meant: Results) -> None:
    assert missed("reference/train", as_published) == set()
    assert missed("train", as_meant) == set()


@pytest.mark.slow
@pytest.mark.real_data
def test_the_published_run_is_one_of_ours(as_published: Results) -> None:
    """Its figures lie in the 95 % intervals, not only in the wider ones of `midterm check`."""
    sources = {source for *_, source in missed("reference/train", as_published, 0.95)}
    assert "published, one run" not in sources


@pytest.mark.slow
@pytest.mark.real_data
def test_the_published_run_is_not_one_of_a_relu_network(
    as_published: Results, as_meant: Results
) -> None:
    by_relu = missed("reference/train", as_meant)
    assert (24, "raw", "train_loss", "published, one run") in by_relu
    assert (24, "raw", "train_accuracy", "published, one run") in by_relu
    assert (24, "raw", "train_loss") in {found[:3] for found in missed("train", as_published)}


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("which", ["as_published", "as_meant"])
def test_the_published_conclusion(which: str, request: pytest.FixtureRequest) -> None:
    """Averaged SGD: lower loss, higher accuracy, smoother curves; in each metric, beyond chance."""
    effects = request.getfixturevalue(which).comparison
    assert [effect.metric for effect in effects] == list(METRICS)
    for effect in effects:
        assert effect.gain.low > 0, effect
        assert effect.roughness_ratio.low > 1, effect


# ---- what holds on any data


def test_results_are_the_same_byte_for_byte_however_they_are_computed() -> None:
    first = small().model_dump_json()
    assert small().model_dump_json() == first
    assert small(workers=2).model_dump_json() == first
    assert small(workers=5).model_dump_json() == first  # one group a seed, overlapped
    assert small("seed=1").model_dump_json() != first


class DamagedError(Exception):
    """What `SavedState` makes of a ValueError where the content is read, and only there."""


class Kept:
    """A state that remembers all that was saved, and starts from one of them."""

    def __init__(self, start: dict[str, Any] | None = None) -> None:
        self.start, self.saved = start, list[dict[str, Any]]()

    def load(self, read: Callable[[Any], Any]) -> Any:
        if self.start is None:
            return None
        # By way of a file, which takes plain data and tensors alone.
        buffer = io.BytesIO()
        torch.save(self.start, buffer)
        buffer.seek(0)
        content = torch.load(buffer, map_location="cpu", weights_only=True)
        try:
            return read(content)
        except ValueError as error:
            raise DamagedError from error

    def save(self, state: Mapping[str, Any]) -> None:
        self.saved.append(dict(state))


def assert_same(resumed: Output, straight: Output) -> None:
    assert results(resumed).model_dump_json() == results(straight).model_dump_json()
    assert straight.checkpoint is not None
    assert resumed.checkpoint is not None
    ours, theirs = dict(tensors(resumed.checkpoint)), dict(tensors(straight.checkpoint))
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        assert torch.equal(tensor.nan_to_num(), ours[name].nan_to_num())


def tensors(
    nested: Mapping[Any, Any], path: tuple[object, ...] = ()
) -> Iterator[tuple[tuple[object, ...], torch.Tensor]]:
    """All tensors of a checkpoint, by the path of their names."""
    for name, value in nested.items():
        if isinstance(value, torch.Tensor):
            yield (*path, name), value
        elif isinstance(value, Mapping):
            yield from tensors(value, (*path, name))


# Two of the four seeds diverge on the way, so that frozen models are saved as well.
DIVERGING = (*SMALL, "activation=identity", "lr=3.6e-3", "num_seeds=4")


@pytest.fixture
def saves_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run saves its state after every epoch of every group, however long that takes."""
    save = train._save
    monkeypatch.setattr(train, "_SAVE_EVERY_SECONDS", -math.inf)
    monkeypatch.setattr(train, "_save", lambda *arguments: save(*arguments) - math.inf)


@pytest.mark.usefixtures("saves_every_epoch")
@pytest.mark.parametrize(("workers", "num_saved"), [(1, 4), (2, 8), (5, 16)])
def test_a_run_continues_from_any_saved_state_to_the_same_results(
    workers: int, num_saved: int
) -> None:
    config = config_of(*DIVERGING)
    kept = Kept()
    straight = run(config, workers, state=kept)
    assert {e.outcome for e in results(straight).outcomes} == {"trained", "non_finite"}
    assert len(kept.saved) == num_saved
    assert any(group["frozen"] for group in kept.saved[-1]["groups"])
    for state in kept.saved[::3]:
        assert_same(run(config, workers, state=Kept(state)), straight)


WORKER = {"worker": "w", "host": "elsewhere"}


def only_results(jobs: Sequence[Job]) -> Iterator[Event]:
    """Workers of which nothing is heard but the result of each job."""
    for index, job in enumerate(jobs):
        *_, last = job()
        yield Event(index, last, WORKER)


def test_the_result_of_a_job_is_enough() -> None:
    config = config_of(*DIVERGING)
    there = run(config, 2, launch=only_results, remote=True)
    assert_same(there, run(config))
    assert there.provenance["computed_by"] == [WORKER | {"seeds": [0, 1, 2, 3]}]


def test_what_was_computed_before_workers_fail_is_saved() -> None:
    config = config_of(*DIVERGING)

    def failing(jobs: Sequence[Job]) -> Iterator[Event]:
        yield from only_results(jobs[:1])
        raise UserError("the cluster is gone")

    kept = Kept()
    with pytest.raises(UserError, match="gone"):
        run(config, 2, launch=failing, remote=True, state=kept)
    [state] = kept.saved
    computed: list[str] = []

    def counting(jobs: Sequence[Job]) -> Iterator[Event]:
        computed.extend(job.name for job in jobs)
        return Threads(2)(jobs)

    resumed = run(config, 2, launch=counting, state=Kept(state))
    assert computed == ["seeds 1, 3"]
    assert_same(resumed, run(config, 2))
    assert resumed.provenance["computed_by"] == [WORKER | {"seeds": [0, 2]}]


def test_progress_counts_updates_and_ends_at_its_total() -> None:
    told: list[tuple[int, int, str]] = []
    found = results(run(config_of(*SMALL), 2, progress=lambda *words: told.append(words)))
    assert found.num_updates is not None
    total = 3 * 3 * found.num_updates
    done = [number for number, _, _ in told]
    assert done == sorted(done)
    assert {number for _, number, _ in told} == {total}
    last = [row.train_loss for row in rows(found, epoch=3, weights="raw")]
    assert told[-1] == (total, total, f"epoch 3/3, train loss {np.mean(np.array(last)):.4g}")


def test_raw_weights_are_unchanged_by_any_choice_of_gamma() -> None:
    without = small("ema_gamma=[]")
    several = small("ema_gamma=[1, 0.1, 1e-3]")
    assert rows(several, weights="raw") == without.history
    assert without.comparison == []
    # γ = 1 forgets at once.
    raw = [metrics(row) for row in without.history]
    assert [metrics(row) for row in rows(several, gamma=1)] == raw


def test_epoch_zero_is_the_start_where_average_and_weights_are_one() -> None:
    found = small()
    assert [row.epoch for row in rows(found, seed=0, weights="raw")] == [0, 1, 2, 3]
    starts = [[metrics(r) for r in rows(found, epoch=0, weights=kind)] for kind in ("raw", "ema")]
    assert starts[0] == starts[1]
    assert len(starts[0]) == 3


def test_half_life_and_weight_of_the_start() -> None:
    # REFERENCE: 693 updates, and 47 % after one epoch of 750.
    assert half_life(1e-3) == pytest.approx(692.8, abs=0.05)
    assert (1 - 0.02) ** half_life(0.02) == pytest.approx(0.5)
    assert half_life(1) == 0
    found = small("epochs=1", "train_fraction=1.0")
    assert found.num_updates == 750  # 6,000 synthetic images in batches of 8
    assert found.final.weights[1].weight_of_start == pytest.approx(0.472, abs=5e-4)


def test_final_and_comparison_are_what_a_person_computes_from_the_history() -> None:
    found = small("epochs=5", "skip_passes=1", "ema_gamma=0.01")

    def curve(metric: str, seed: int, weights: str) -> np.ndarray:
        return np.array([getattr(r, metric) for r in rows(found, seed=seed, weights=weights)])

    raw, average = ([curve("test_loss", s, w) for s in range(3)] for w in ("raw", "ema"))
    final = found.final.weights[1].test_loss
    assert final.mean == pytest.approx(np.mean([c[5] for c in average]))
    assert final.sd == pytest.approx(np.std([c[5] for c in average], ddof=1))
    effects = {effect.metric: effect for effect in found.comparison}
    assert list(effects) == list(METRICS)
    gain, ratio = effects["test_loss"].gain, effects["test_loss"].roughness_ratio
    assert gain is not None
    assert ratio is not None
    gains = [r[5] - a[5] for r, a in zip(raw, average, strict=True)]
    assert gain.estimate == pytest.approx(np.mean(gains))
    ratios = [
        np.abs(np.diff(r[2:], 2)).mean() / np.abs(np.diff(a[2:], 2)).mean()
        for r, a in zip(raw, average, strict=True)
    ]
    assert ratio.estimate == pytest.approx(np.prod(ratios) ** (1 / 3))
    accuracy = effects["test_accuracy"].gain
    assert accuracy is not None
    better = [
        curve("test_accuracy", s, "ema")[5] - curve("test_accuracy", s, "raw")[5] for s in range(3)
    ]
    assert accuracy.estimate == pytest.approx(np.mean(better))


def test_one_seed_has_no_interval() -> None:
    found = small("num_seeds=1")
    gain = found.comparison[0].gain
    assert gain is not None
    assert (gain.low, gain.high, gain.total) == (None, None, 1)
    assert found.final.weights[0].train_loss.sd is None
    assert "one seed: no interval" in str(summarize(found))
    assert "over 1 seeds" not in str(summarize(found))
    assert "one seed" in str(summarize(found)[0])


def test_a_run_that_diverges_says_so() -> None:
    config = config_of(*SMALL, "activation=identity", "lr=1")
    output = run(config)
    found = results(output)
    assert output.failed
    assert "3 of 3 seeds did not train" in output.warnings[0]
    assert found.outcome == "non_finite"
    last = rows(found, epoch=3, seed=0)
    assert [metrics(row) for row in last] == [[None] * 4] * 2
    assert all(value is not None for value in metrics(rows(found, epoch=0, seed=0)[0]))
    assert "not finite" in str(summarize(found))
    figure = draw(config, found)["curves"]
    assert "(3 seeds, none finite at the end)" in figure.get_suptitle()
    axes = figure.axes
    assert [text.get_text() for axis in axes for text in axis.texts] == [
        "not finite for any seed"
    ] * 4


def changed(state: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A saved state whose first group has another value."""
    first, *others = state["groups"]
    return state | {"groups": [first | {key: value}, *others]}


ODD_STATES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "a key is gone": lambda state: {"groups": state["groups"]},
    "no groups": lambda state: state | {"groups": []},
    "text for groups": lambda state: state | {"groups": "none"},
    "a group twice": lambda state: state | {"groups": state["groups"] * 2},
    "a group less": lambda state: state | {"groups": state["groups"][1:]},
    "epoch -2": lambda state: changed(state, "epoch", -2),
    "a huge epoch": lambda state: changed(state, "epoch", 10**9),
    "an epoch without its rows": lambda state: changed(state, "history", {}),
    "a row less": lambda state: changed(
        state, "history", {e: rows[1:] for e, rows in state["groups"][0]["history"].items()}
    ),
    "a row of another seed": lambda state: changed(
        state,
        "history",
        {
            epoch: [rows[0] | {"seed": 70}, *rows[1:]]
            for epoch, rows in state["groups"][0]["history"].items()
        },
    ),
    "no outcomes at the end": lambda state: changed(state, "outcomes", {}),
    "other seeds": lambda state: changed(state, "seeds", (70, 71)),
    "no weights": lambda state: changed(state, "state", None),
    "weights of another shape": lambda state: changed(
        state, "state", state["groups"][0]["state"] | {"raw": torch.zeros(3)}
    ),
    "weights of another dtype": lambda state: changed(
        state,
        "state",
        state["groups"][0]["state"] | {"raw": state["groups"][0]["state"]["raw"].half()},
    ),
    "no averages": lambda state: changed(
        state, "state", state["groups"][0]["state"] | {"averages": {}}
    ),
    "another optimizer": lambda state: changed(
        state,
        "state",
        state["groups"][0]["state"]
        | {"optimizer": {"exp_avg": state["groups"][0]["state"]["raw"]}},
    ),
    "models that are not there": lambda state: changed(
        state, "state", state["groups"][0]["state"] | {"models": (5, 6)}
    ),
}


@pytest.fixture(scope="module")
def saved_state() -> dict[str, Any]:
    """That of a run in which each epoch is saved, the last too."""
    kept, save = Kept(), train._save

    def save_again_at_once(*arguments: Any) -> float:
        save(*arguments)
        return -math.inf

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(train, "_SAVE_EVERY_SECONDS", -1.0)
        patched.setattr(train, "_save", save_again_at_once)
        run(config_of(*SMALL, "num_seeds=4"), 2, state=kept)
    return kept.saved[-1]


@pytest.mark.parametrize("odd", ODD_STATES)
def test_an_odd_state_is_refused(odd: str, saved_state: dict[str, Any]) -> None:
    """As damage, which names the file, and before anything is computed."""
    state = ODD_STATES[odd](saved_state)
    with pytest.raises(DamagedError):
        run(config_of(*SMALL, "num_seeds=4"), 2, state=Kept(state))


def test_a_state_that_was_begun_on_other_data_is_refused() -> None:
    other = {"groups": list[Any](), "data_sha256": "0123456789abcdef", "parent": None}
    with pytest.raises(UserError, match="other data"):
        run(config_of(*SMALL), state=Kept(other))


def verdicts(found: Results) -> list[str]:
    return [entry.outcome for entry in found.outcomes]


@pytest.mark.cuda
@pytest.mark.usefixtures("saves_every_epoch")
def test_a_run_on_cuda_agrees_with_the_cpu_and_can_be_resumed() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    config = config_of(*DIVERGING)
    here = results(run(config))

    kept = Kept()
    there = train.run(config, Context(torch.device("cuda"), state=kept))
    resumed = train.run(config, Context(torch.device("cuda"), state=Kept(kept.saved[-1])))

    assert verdicts(results(resumed)) == verdicts(results(there)) == verdicts(here)
    for output in (there, resumed):
        assert output.checkpoint is not None
        assert {tensor.device.type for _, tensor in tensors(output.checkpoint)} == {"cpu"}

    # Near divergence the last bits, in which devices differ, grow; in float64 elsewhere not.
    config = config_of(*SMALL, "dtype=float64")
    here, there = results(run(config)), train.run(config, Context(torch.device("cuda")))
    for a, b in zip(results(there).history, here.history, strict=True):
        assert metrics(a) == pytest.approx(metrics(b), rel=1e-9)


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
        run(config_of(*SMALL, *assignments))


def test_a_dead_model_has_collapsed() -> None:
    output = run(config_of(*SMALL, "lr=1"))
    assert results(output).outcome == "collapsed"
    assert output.failed


def test_the_gradients_in_closed_form_and_by_autograd_give_the_same_history() -> None:
    closed = small("dtype=float64").history
    reference = small("dtype=float64", "gradients=autograd").history
    for a, b in zip(closed, reference, strict=True):
        assert metrics(a) == pytest.approx(metrics(b), rel=1e-10)


def test_the_checkpoint_is_the_model() -> None:
    config = config_of(*SMALL, "ema_gamma=0.01")
    output = run(config)
    checkpoint = output.checkpoint
    assert checkpoint is not None
    problem = Problem(config, Context(CPU))
    last = rows(results(output), epoch=3)
    assert len(last) == 6
    for row in last:
        state = checkpoint["raw"] if row.gamma is None else checkpoint["averages"][row.gamma]
        model = checkpoint["seeds"].tolist().index(row.seed)
        h = problem.test.images.double() - checkpoint["mean"][model]
        for layer in range(3):
            weight = state[f"{2 * layer}.weight"][model].double()
            bias = state[f"{2 * layer}.bias"][model].double()
            h = torch.nn.functional.linear(h, weight, bias)
            h = h.relu() if layer < 2 else h
        loss = torch.nn.functional.cross_entropy(h, problem.test.labels)
        assert loss.item() == pytest.approx(row.test_loss, rel=1e-5)


def vgg_16(width: int) -> list[dict[str, Any]]:
    """The 37 layers of VGG-16, with so many channels first; a small image has room for them."""
    layers: list[dict[str, Any]] = []
    for factor, convolutions in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
        conv = {"type": "conv", "out_channels": factor * width, "kernel_size": 3, "padding": 1}
        layers += [conv, {"type": "relu"}] * convolutions
        layers += [{"type": "pool", "kernel_size": 2, "ceil_mode": True}]
    layers += [{"type": "flatten"}]
    for features in (16, 16):
        layers += [{"type": "linear", "out_features": features}, {"type": "relu"}]
    return [*layers, {"type": "linear", "out_features": 10}]


def vgg_16_by_hand(width: int) -> torch.nn.Sequential:
    modules: list[torch.nn.Module] = []
    before = 1
    for factor, convolutions in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
        for _ in range(convolutions):
            modules += [torch.nn.Conv2d(before, factor * width, 3, padding=1), torch.nn.ReLU()]
            before = factor * width
        modules += [torch.nn.MaxPool2d(2, ceil_mode=True)]
    modules += [torch.nn.Flatten(), torch.nn.Linear(before, 16), torch.nn.ReLU()]
    modules += [torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10)]
    return torch.nn.Sequential(*modules)


DILATED = [
    {"type": "conv", "out_channels": 4, "kernel_size": 3},
    {"type": "pool", "kernel_size": 3, "stride": 2, "padding": 1, "dilation": 3},
    {"type": "flatten"},
    {"type": "linear", "out_features": 10},
]


def dilated_by_hand() -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.MaxPool2d(3, 2, 1, 3),
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 11 * 11, 10),
    )


@pytest.mark.parametrize(
    ("layers", "by_hand", "learns"),
    [(DILATED, dilated_by_hand, True), (vgg_16(2), lambda: vgg_16_by_hand(2), False)],
    ids=["dilated pool", "VGG-16"],
)
def test_layers_train_as_the_same_network_of_pytorch(
    layers: list[dict[str, Any]],
    by_hand: Callable[[], torch.nn.Sequential],
    learns: bool,
    tmp_path: Path,
) -> None:
    """Without a norm VGG-16 learns nothing in so few updates, but its last bias."""
    (tmp_path / "net.yaml").write_text(json.dumps({"layers": layers}), encoding="utf-8")
    config = config_of(
        *("dataset=synthetic", "train_fraction=0.02", "normalize=unit", "num_seeds=1", "epochs=2"),
        *("lr=0.05", "ema_gamma=[]", f"network={tmp_path / 'net.yaml'}"),
    )
    output = run(config)
    assert output.checkpoint is not None
    problem, checkpoint = Problem(config, Context(CPU)), output.checkpoint
    network = by_hand()
    torch.manual_seed(config.seed)
    initial = by_hand().state_dict()
    network.load_state_dict({name: values[0] for name, values in checkpoint["raw"].items()})
    x = (problem.test.images - checkpoint["mean"][0]) * checkpoint["factor"][0]
    with torch.no_grad():
        logits = network(x.float().reshape(-1, 1, 28, 28))
    loss = torch.nn.functional.cross_entropy(logits, problem.test.labels)
    start, _, end = results(output).history
    assert end.test_loss == pytest.approx(loss.item(), rel=1e-5)
    assert start.test_loss is not None
    assert loss < 0.9 * start.test_loss or not learns
    last = list(initial)[-1]
    for name in [last] if not learns else initial:
        assert not torch.equal(network.state_dict()[name], initial[name])


# ---- going on, and starting from other weights


@pytest.mark.parametrize("changes", [(), ("optimizer=adam", "lr=1e-3"), ("network=conv_stack",)])
def test_a_run_that_goes_on_from_a_finished_one_is_the_run_that_never_stopped(
    changes: tuple[str, ...], tmp_path: Path
) -> None:
    """Two of the four seeds of the first case diverge on the way."""
    layers = ("dataset=synthetic", "train_fraction=0.002", "normalize=unit", "num_seeds=2")
    base = layers if "network=conv_stack" in changes else DIVERGING
    keys = (*base, *changes, "log_every=7")
    straight = run(config_of(*keys, "epochs=4"))
    first = run(config_of(*keys, "epochs=2"))
    assert first.checkpoint is not None
    torch.save(dict(first.checkpoint), tmp_path / "checkpoint.pt")
    config = config_of(*keys, "epochs=4")
    assert config.continues(config_of(*keys, "epochs=2"))
    resumed = run(config, parent=Parent(tmp_path, first.results))
    assert_same(resumed, straight)
    assert resumed.provenance["parent"] == str(tmp_path)


@pytest.mark.parametrize("change", ["epochs=2", "lr=0.1", "schedule=linear", "log_every=1"])
def test_another_run_is_not_gone_on_from(change: str) -> None:
    earlier = config_of(*SMALL, "epochs=3")
    assert not config_of(*SMALL, "epochs=6", change).continues(earlier)
    assert config_of(*SMALL, "epochs=6").continues(earlier)


def test_each_seed_starts_from_its_raw_weights_of_the_other_run(tmp_path: Path) -> None:
    first = run(config_of(*SMALL))
    assert first.checkpoint is not None
    torch.save(dict(first.checkpoint), tmp_path / "checkpoint.pt")
    second = results(run(config_of(*SMALL, f"init_from={tmp_path}", "gradients=autograd")))
    ends = {row.seed: metrics(row) for row in rows(results(first), epoch=3, gamma=None)}
    for row in rows(second, epoch=0):  # raw weights and averages
        assert metrics(row) == ends[row.seed]


def test_weights_of_another_network_or_seed_are_refused(tmp_path: Path) -> None:
    first = run(config_of(*SMALL))
    assert first.checkpoint is not None
    torch.save(dict(first.checkpoint), tmp_path / "checkpoint.pt")
    init = f"init_from={tmp_path}"
    assert config_of(init) == config_of(f"{init}/metrics.json")
    for change, words in (
        ("hidden_sizes=[7]", "those of another network: 0.weight"),
        ("num_seeds=4", "no seed 3"),
        ("hidden_sizes=[16, 8, 8]", "those of another network: 4.weight"),
    ):
        with pytest.raises(UserError, match=words):
            run(config_of(*SMALL, init, change))
    (tmp_path / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match="no checkpoint, or damaged"):
        run(config_of(*SMALL, init))
    for odd in (
        {"seeds": torch.tensor([], dtype=torch.int64)},
        {"seeds": torch.zeros(3)},
        {"mean": torch.zeros(2, 4)},
        {"factor": torch.tensor(1.0)},
        {"raw": {"0.weight": torch.zeros(3, 2, 2, dtype=torch.int8)}},
    ):
        torch.save({**first.checkpoint, **odd}, tmp_path / "checkpoint.pt")
        with pytest.raises(UserError, match="no checkpoint of this version"):
            run(config_of(*SMALL, init))


# ---- the log of the updates


def test_the_log_is_the_loss_and_its_gradient_of_each_minibatch() -> None:
    config = config_of(*SMALL, "log_every=5", "schedule=linear", "warmup=1")
    found = results(run(config))
    problem = Problem(config, Context(CPU))
    assert found.log is not None
    total = 3 * problem.num_updates
    updates = list(range(0, total, 5))
    assert [(row.seed, row.update) for row in found.log] == [
        (seed, update) for seed in config.seeds for update in updates
    ]
    # The first minibatch, at the initial weights.
    seed = config.seed
    net = problem.network.module().double()
    start = [block.double()[None] for block in problem.network.initial(seed)]
    net.load_state_dict({name: t[0] for name, t in problem.network.to_state(start).items()})
    subset = problem.subset(seed)
    batch = subset.rows[draw_minibatches(len(subset.rows), 8, "replacement", seed, 1)[0]]
    images = problem.train.images[batch].double()
    loss = torch.nn.functional.cross_entropy(
        net(images - torch.from_numpy(subset.mean)), problem.train.labels[batch]
    )
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
    assert found.log[0].loss == pytest.approx(loss.item(), rel=1e-5)
    assert found.log[0].gradient_norm == pytest.approx(norm, rel=1e-5)
    # The rate rises over the first epoch to lr, then falls to 0.
    rates = [row.lr for row in found.log if row.seed == seed]
    per_epoch = problem.num_updates
    expected = [
        config.lr * min(1, (u + 1) / per_epoch) * min(1, (total - u) / (total - per_epoch))
        for u in updates
    ]
    assert rates == pytest.approx(expected)


def test_the_log_changes_nothing_else() -> None:
    plain, logged = (results(run(config_of(*SMALL, f"log_every={n}"))) for n in (0, 4))
    assert plain.log is None
    assert logged.model_copy(update={"log": None}) == plain


def test_a_log_that_no_file_should_hold_is_refused() -> None:
    with pytest.raises(UserError, match="raise it to"):
        run(config_of(*SMALL, "log_every=1", "epochs=10000"))


# ---- the figure


def test_the_figure_shows_the_epochs_after_the_skipped_ones() -> None:
    config = config_of(*SMALL, "skip_passes=1", "ema_gamma=[0.01, 0.1]")
    found = results(run(config))
    figure = draw(config, found)["curves"]
    axes = {axis.get_ylabel(): axis for axis in figure.axes}
    assert set(axes) == set(METRICS.values())
    for axis in axes.values():
        assert [line.get_label() for line in axis.lines] == [
            "raw weights", "average, γ = 0.01", "average, γ = 0.1"
        ]  # fmt: skip
    line = axes["test accuracy"].lines[1]
    accuracies = [
        [row.test_accuracy for row in rows(found, epoch=epoch, gamma=0.01)] for epoch in (2, 3)
    ]
    assert np.asarray(line.get_xdata()).tolist() == [2, 3]
    assert np.asarray(line.get_ydata()) == pytest.approx(np.mean(np.array(accuracies), 1))


def test_a_figure_of_one_epoch_shows_it_with_the_range_of_the_seeds() -> None:
    config = config_of(*SMALL, "epochs=1")
    found = results(run(config))
    figure = draw(config, found)["curves"]
    figure.draw_without_rendering()

    losses = [row.train_loss for row in rows(found, epoch=1, weights="raw")]
    axis = figure.axes[0]
    [[raw_x], [average_x]] = [np.asarray(line.get_xdata(), dtype=float) for line in axis.lines]
    assert raw_x == average_x == 1
    [bar] = axis.collections[0].get_paths()
    low, high = np.array(losses).min(), np.array(losses).max()
    assert np.allclose(np.asarray(bar.vertices, dtype=float), [(raw_x, low), (raw_x, high)])
    within = [tick for tick in axis.get_xticks() if axis.get_xlim()[0] < tick < axis.get_xlim()[1]]
    assert within == [1]


def test_a_mean_says_over_how_many_seeds_it_is() -> None:
    config = config_of(*SMALL)
    found = results(run(config))
    assert "(3 seeds: mean and range)" in draw(config, found)["curves"].get_suptitle()
    raw, *averages = found.final.weights
    partly = raw.model_copy(update={"train_loss": raw.train_loss.model_copy(update={"total": 2})})
    final = found.final.model_copy(update={"weights": [partly, *averages]})
    figure = draw(config, found.model_copy(update={"final": final}))["curves"]
    assert "(3 seeds, 2 of them finite at the end: mean and range)" in figure.get_suptitle()


def test_a_loss_beyond_all_bounds_is_short_in_the_table() -> None:
    """And 0 is a number in it."""
    found = results(run(config_of(*SMALL)))
    raw, *averages = found.final.weights
    huge = raw.train_loss.model_copy(update={"mean": 27903872875676998756801517839187968.0})
    none = raw.test_loss.model_copy(update={"mean": 0.0, "sd": 0.0})
    odd = raw.model_copy(update={"train_loss": huge, "test_loss": none})
    final = found.final.model_copy(update={"weights": [odd, *averages]})
    table = summarize(found.model_copy(update={"final": final}))[0]
    assert isinstance(table, Table)
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["train loss (nats)"].startswith("2.7904e+34 ± ")
    assert row["test loss (nats)"] == "0.0000 ± 0.0000"
    assert max(map(len, table.rows[0])) < 30


def test_every_average_is_drawn_in_its_own_way() -> None:
    gammas = [0.5 / (i + 1) for i in range(32)]
    config = config_of(*SMALL, "num_seeds=1", "epochs=1", f"ema_gamma={gammas}")
    figure = draw(config, results(run(config)))["curves"]
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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere jobs run in threads")
@pytest.mark.usefixtures("two_threads")
def test_the_command_leaves_a_whole_run_folder(folder: Path, midterm: Callable[..., Any]) -> None:
    options = ("--dataset", "synthetic", "--seeds", "2", "--epochs", "1", "--ema-gamma", "0.1")
    answer = midterm("train", *options, "--ema-gamma", "0.01", "--device", "cpu")
    assert answer.code == 0
    run_folder = folder / answer.out.splitlines()[-1]
    assert {path.name for path in run_folder.iterdir()} == {
        "checkpoint.pt", "config.yaml", "curves.png", "metrics.json", "summary.md"
    }  # fmt: skip
    document = json.loads((run_folder / "metrics.json").read_text())
    assert document["provenance"]["data_source"].startswith("synthetic")
    assert document["provenance"]["threads"] == 2
    assert document["provenance"]["processes"] == 2
    torch.set_num_threads(1)
    again = midterm("train", "--config", run_folder / "config.yaml", "--output", "again", "--json")
    repeated = json.loads(again.out)
    assert repeated["results"] == document["results"]
    assert "processes" not in repeated["provenance"]


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
        ("learning_rate=1", ["learning_rate", "did you mean 'lr'?"]),
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
