"""The range test: its suggestions, the losses that it records, and what it says over seeds."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from answer import Answer
from torch import nn
from torch.nn.functional import cross_entropy
from written_runs import THRESHOLDS, write_sweep

from midterm_cli.config import resolve
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context
from midterm_cli.launch.local import Threads
from midterm_cli.part3.lr_range import run as lr_range
from midterm_cli.part3.lr_range.run import learning_rates, results_of
from midterm_cli.part3.lr_range.schema import MAX_RECORDS, Config, Method, Results
from midterm_cli.part3.lr_range.show import draw, summarize
from midterm_cli.part3.lr_range.suggestions import (
    divergence,
    falls,
    smooth,
    steepest,
    suggest,
    tenth_of_minimum,
    valley,
)
from midterm_cli.part3.problem import Problem
from midterm_cli.part3.sampling import draw_minibatches

Midterm = Callable[..., Answer]

LRS = np.geomspace(1e-6, 1, 601)  # 100 updates a decade
DECADES = np.log10(LRS)

# A tenth of a second: 225 updates an epoch.
TINY = ("dataset=synthetic", "train_fraction=0.3", "hidden_sizes=[16]", "device=cpu")


def config_of(*assignments: str) -> Config:
    made = resolve.resolve("lr_range", None, assignments).config
    assert isinstance(made, Config)
    return made


def recorded(*assignments: str) -> Results:
    found = lr_range.run(config_of(*TINY, *assignments), Context(torch.device("cpu"))).results
    assert isinstance(found, Results)
    return found


def suggested(losses: np.ndarray, lrs: np.ndarray = LRS, beta: float = 0.0) -> Any:
    return suggest(lrs, losses, smooth(losses, beta), beta, 4.0)


def noise() -> np.random.Generator:
    """The same numbers in every test, whichever ran before."""
    return np.random.default_rng(0)


def of_methods(found: Any) -> list[float | None]:
    return [getattr(found, method) for method in get_args(Method)]


# ---- the smoothed loss, and where it diverges


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.98])
def test_smoothing_is_the_weighted_mean_of_all_losses_so_far(beta: float) -> None:
    losses = noise().exponential(size=(3, 40))
    ages = np.subtract.outer(np.arange(40), np.arange(40))
    weights = np.where(ages >= 0, beta ** np.maximum(ages, 0.0), 0.0)
    np.testing.assert_allclose(
        smooth(losses, beta), losses @ (weights / weights.sum(1, keepdims=True)).T, rtol=1e-12
    )


def test_it_has_diverged_where_it_is_above_the_factor_times_its_lowest_so_far() -> None:
    losses = np.array([1.0, 3.9, 0.5, 2.0, 2.1, 0.1])
    assert divergence(losses, losses, 4.0) == 4
    assert divergence(losses, losses, 4.3) is None
    for value in (math.nan, math.inf):
        for at in (0, 2):
            losses = np.ones(4)
            losses[at] = value
            assert divergence(losses, smooth(losses, 0.9), 4.0) == at


# ---- the suggestions of known curves


@pytest.mark.parametrize("span", [1, 2, 7, 60])
@pytest.mark.parametrize("at", [-4.0, -2.5, -1.37])
def test_the_descent_of_a_logistic_curve_is_steepest_in_its_middle(at: float, span: int) -> None:
    found = steepest(LRS, 2 - np.tanh(3 * (DECADES - at)), span)
    assert found is not None
    assert math.log10(found) == pytest.approx(at, abs=0.01)


@pytest.mark.parametrize("span", [1, 10])
def test_it_is_steepest_against_the_logarithm_of_the_rate(span: int) -> None:
    # (1 - η)² falls fastest at η = 1/2 against ln η, at η = 0 against η.
    found = steepest(LRS, (1 - LRS) ** 2, span)
    assert found == pytest.approx(0.5, rel=0.05)


def test_a_fall_shorter_than_the_span_is_taken_whole() -> None:
    assert steepest(LRS[:5], np.array([3.0, 2.0, 1.0, 5.0, 6.0]), 4) == LRS[1]
    assert steepest(LRS[:3], np.array([3.0, 2.0, 9.0]), 4) == LRS[0]


def test_a_tenth_of_the_minimum_of_a_parabola() -> None:
    assert tenth_of_minimum(LRS, (DECADES + 2.5) ** 2) == pytest.approx(10**-3.5)


def longest_fall(losses: np.ndarray) -> tuple[int, int]:
    """Length and end of the longest falling subsequence, by its definition."""
    lengths: list[int] = []
    for i, loss in enumerate(losses):
        lengths.append(1 + max((lengths[j] for j in range(i) if losses[j] > loss), default=0))
    return max(lengths), lengths.index(max(lengths))


@pytest.mark.parametrize("size", range(2, 42))
def test_valley_is_the_rule_of_fastai(size: int) -> None:
    rng = np.random.default_rng(size)
    for losses in (rng.normal(size=size), rng.integers(4, size=size).astype(float)):
        length, end = longest_fall(losses)
        sections = length / 3
        at = end - length + int(sections) + int(sections / 2)
        wanted = None if length == 1 else LRS[max(0, at)]
        assert valley(LRS[:size], losses) == wanted


def test_valley_of_a_curve_that_falls_and_rises() -> None:
    # It falls over 400 updates: index -1 + 133 + 66 of them.
    assert valley(LRS, abs(np.arange(601.0) - 399)) == LRS[198]


def test_valley_at_the_very_start_is_not_read_from_the_end() -> None:
    assert valley(LRS[:4], np.array([2.0, 1.0, 3.0, 4.0])) == LRS[0]


def test_what_never_falls_has_no_suggestion() -> None:
    for losses in (np.ones(601), np.arange(601.0), np.ones(0)):
        lrs = LRS[: len(losses)]
        assert steepest(lrs, losses, 10) is tenth_of_minimum(lrs, losses) is None
        assert valley(lrs, losses) is None


# ---- from the record of a seed


FALLS_AND_RISES = 1 + (DECADES + 2) ** 2 / 16


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
@pytest.mark.parametrize("length", [1, 5, 30, 150])
def test_what_comes_after_divergence_changes_nothing(value: float, length: int) -> None:
    """fastai #3476, Lightning #1850: NaN was taken for the least gradient, or the lowest loss."""
    losses = FALLS_AND_RISES.copy()
    losses[-length:] = value
    after = losses.copy()
    after[602 - length :] = 0.0  # it "recovers"
    for record in (losses, after):
        found = suggested(record)
        assert found.diverged == 601 - length
        assert of_methods(found) == of_methods(suggested(FALLS_AND_RISES))
    assert found.tenth_of_minimum == pytest.approx(1e-3)
    assert found.reason is None


def test_what_falls_after_the_minimum_changes_nothing() -> None:
    """The average falls for long after a spike, which is not called divergence."""
    losses = FALLS_AND_RISES.copy()
    losses[450:] = 1.1 + 2.5 * 0.95 ** np.arange(151)
    found = suggested(losses)
    assert found.diverged is None
    assert of_methods(found) == of_methods(suggested(FALLS_AND_RISES))


@pytest.mark.parametrize("num", [2, 3, 4, 5, 9, 10, 11])
@pytest.mark.parametrize("diverged", [None, 0, 1, 2])
def test_too_few_points_have_no_suggestion_and_a_reason(num: int, diverged: int | None) -> None:
    """Lightning #10557: None without a reason, or the gradient of one point."""
    losses = noise().normal(10, 1, size=num)
    if diverged is not None and diverged < num:
        losses[diverged:] = math.nan
    found = suggested(losses, LRS[:num], 0.98)
    assert of_methods(found) == [None] * 3
    assert found.reason in ("does_not_fall", "not_finite")


def test_the_reason_says_how_it_failed() -> None:
    explodes = np.geomspace(1, 1e30, 601)
    assert suggested(explodes).reason == "diverges_at_once"
    for first in (0, 60, 61):  # the first tenth is 60
        losses = np.ones(601)
        losses[first:] = math.nan
        assert suggested(losses).reason == "not_finite"
    assert suggested(np.full(601, 2.3)).reason == "does_not_fall"
    still = suggested(2 - DECADES)
    assert (still.reason, still.tenth_of_minimum) == ("still_falls", None)
    assert None not in (still.steepest, still.valley)


@pytest.mark.parametrize("num", [20, 100, 1000])
def test_noise_alone_suggests_nothing(num: int) -> None:
    losses = noise().normal(3, 1, size=(100, num))
    smoothed = smooth(losses, 0.98)
    rows = zip(losses, smoothed, strict=True)
    assert sum(falls(row, averaged, num // 10, 0.98) for row, averaged in rows) <= 2


def test_a_fall_in_noise_is_found_where_it_is() -> None:
    curve = 4 - np.tanh(3 * (DECADES + 3)) + 3 * np.maximum(0, DECADES + 1)
    for record in curve + noise().normal(0, 0.5, (20, 601)):
        one = suggested(record, beta=0.95)
        # The average of β = 0.95 is late by 19 updates.
        assert math.log10(one.steepest) == pytest.approx(-2.8, abs=0.25)
        # It is flat from 10^-2.2 to 10^-1.
        assert -3.3 < math.log10(one.tenth_of_minimum) < -1.7


def test_suggestions_follow_the_units_of_loss_and_rate() -> None:
    losses = FALLS_AND_RISES + noise().normal(0, 0.01, 601)
    found = of_methods(suggested(losses))
    assert of_methods(suggested(8 * losses)) == found
    assert of_methods(suggested(losses, LRS * 4)) == [4 * lr for lr in found if lr]


# ---- a run


def by_plain_torch(config: Config, seed: int) -> list[float]:
    """The losses of one seed, with torch.nn and torch.optim alone."""
    problem = Problem(config, Context(torch.device("cpu")))
    initial = [block[None] for block in problem.network.initial(seed)]
    module: nn.Module = problem.network.module().double()
    module.load_state_dict({k: v[0] for k, v in problem.network.to_state(initial).items()})
    optimizer = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[config.optimizer]
    stepper = optimizer(module.parameters(), lr=1.0)
    subset = problem.subset(seed)
    images = problem.dataset.train.images.reshape(len(problem.train.labels), -1)
    losses: list[float] = []
    epoch = 0
    while len(losses) < config.num_updates:
        epoch += 1
        minibatches = draw_minibatches(
            len(subset.rows), config.batch_size, config.sampling, seed, epoch
        )
        for rows in subset.rows[minibatches][: config.num_updates - len(losses)]:
            share = len(losses) / (config.num_updates - 1)
            stepper.param_groups[0]["lr"] = config.start_lr ** (1 - share) * config.end_lr**share
            x = torch.from_numpy((images[rows] - subset.mean) * subset.factor)
            loss = cross_entropy(module(x), problem.train.labels[torch.from_numpy(rows)])
            losses.append(loss.item())
            stepper.zero_grad()
            loss.backward()
            stepper.step()
    return losses


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("num_updates", [40, 260])  # of 225 in an epoch
def test_each_loss_is_that_of_plain_torch_before_the_update(
    optimizer: str, num_updates: int
) -> None:
    keys = ["num_seeds=2", "seed=3", "dtype=float64", "normalize=unit", "smoothing=0.0"]
    keys += ["stop_factor=1e6", "activation=tanh", "end_lr=0.1", f"num_updates={num_updates}"]
    keys += [f"optimizer={optimizer}"]
    found, config = recorded(*keys), config_of(*TINY, *keys)
    for record in found.records:
        assert record.losses == pytest.approx(by_plain_torch(config, record.seed), rel=1e-9)


@pytest.mark.parametrize(
    "network", ["activation=relu", "activation=identity", "network=conv_stack"]
)
def test_the_groups_change_nothing(network: str) -> None:
    keys = ("num_seeds=5", "num_updates=60", network, "end_lr=1000.0")
    context = Context(torch.device("cpu"), launch=Threads(3), workers=3)
    config = config_of("dataset=synthetic", "train_fraction=0.3", "device=cpu", *keys)
    found = [lr_range.run(config, each).results for each in (Context(context.device), context)]
    assert found[0] == found[1]


def test_a_network_that_becomes_nan_is_used_up_to_there() -> None:
    found = recorded("num_seeds=4", "activation=identity", "end_lr=1e6", "hidden_sizes=[16, 8]")
    assert all(entry.diverged_lr is not None for entry in found.seeds)
    assert [suggestion.total for suggestion in found.suggestions] == [4, 4, 4]
    last = found.curve[-1]
    assert (last.lower, last.median, last.upper, last.diverged) == (None, None, None, 4)
    for entry, record in zip(found.seeds, found.records, strict=True):
        assert found.curve[len(record.losses)].lr == entry.diverged_lr
        assert all(lr is not None and lr < entry.diverged_lr for lr in of_methods(entry))


def test_progress_is_in_updates_of_all_seeds() -> None:
    told: list[tuple[int, int]] = []
    context = Context(
        torch.device("cpu"), progress=lambda done, total, text: told.append((done, total))
    )
    lr_range.run(config_of(*TINY, "num_seeds=2", "num_updates=260", "end_lr=0.01"), context)
    assert told == sorted(told)
    assert told[-1] == (520, 520)


def test_one_seed_is_its_own_quartiles() -> None:
    found = recorded("num_seeds=1", "num_updates=300")
    for suggestion in found.suggestions:
        own = getattr(found.seeds[0], suggestion.method)
        assert [suggestion.lower, suggestion.median, suggestion.upper] == [own] * 3


def test_over_the_seeds() -> None:
    config = config_of("num_seeds=25", "num_updates=601", "start_lr=1e-6", "end_lr=1.0")
    shifts = [0.5 * (seed % 5) for seed in range(24)]
    losses = np.array([*(5 + (DECADES + 2 + shift) ** 2 for shift in shifts), np.ones(601)])
    losses[:20, 500:] = math.nan

    found = results_of(losses, config.model_copy(update={"smoothing": 0.0}))

    known = sorted(entry.tenth_of_minimum or 0 for entry in found.seeds)[1:]
    lower, median, upper = (known[i] / 2 + known[i - 1] / 2 for i in (6, 12, 18))
    minimum = found.suggestions[1]
    assert (minimum.lower, minimum.median, minimum.upper) == (lower, median, upper)
    assert [suggestion.total for suggestion in found.suggestions] == [24, 24, 24]
    assert found.seeds[-1].reason == "does_not_fall"
    np.testing.assert_array_equal([point.lr for point in found.curve], learning_rates(config))
    assert [point.diverged for point in found.curve] == [0] * 500 + [20] * 101
    assert found.curve[499].median == pytest.approx(float(np.median(losses[:, 499])))
    assert [found.curve[500].lower, found.curve[500].median] == [None, None]
    assert [len(record.losses) for record in found.records] == [500] * MAX_RECORDS


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (("start_lr=0.1", "end_lr=0.01"), r"start_lr must be below end_lr \(0.01\), got 0.1"),
        (("start_lr=0.1", "end_lr=0.1"), "start_lr must be below end_lr"),
        (("num_updates=1",), "num_updates must be at least 2, got 1"),
        (("num_seeds=10000", "num_updates=1001"), "10,010,000 losses"),
        (("stop_factor=1.0",), "stop_factor"),
        (("sweep={name: a}",), "sweep"),
    ],
)
def test_a_config_that_has_no_range(assignments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config_of(*assignments)


def test_two_updates_suggest_nothing() -> None:
    found = recorded("num_seeds=2", "num_updates=2")
    assert [point.lr for point in found.curve] == [1e-7, 10.0]
    assert {entry.reason for entry in found.seeds} <= {"does_not_fall", "not_finite"}


# ---- the command

SMALL = ("--dataset", "synthetic", "--seeds", "2", "--updates", "200", "--device", "cpu")
DEAD = """
import torch

class Dead(torch.nn.Linear):
    def __init__(self, num_classes):
        super().__init__(1, num_classes)

    def forward(self, x):
        return 0 * super().forward(x.flatten(1)[:, :1])
"""


@pytest.mark.usefixtures("unrendered")
def test_a_dead_network_fails_where_that_is_asked(folder: Path, midterm: Midterm) -> None:
    Path("net.py").write_text(DEAD, encoding="utf-8")

    answer = midterm(
        "lr-range-test", *SMALL, "--network", "net.py:Dead", "--json", "--fail-on-failure"
    )

    assert answer.code == 3
    results = json.loads(answer.out)["results"]
    assert [entry["reason"] for entry in results["seeds"]] == ["does_not_fall"] * 2
    assert [entry["median"] for entry in results["suggestions"]] == [None] * 3
    assert "2 of 2 seeds: the loss does not fall by more than its noise" in answer.err


@pytest.mark.usefixtures("unrendered")
def test_a_sweep_is_compared_and_not_needed_again(folder: Path, midterm: Midterm) -> None:
    write_sweep(Path("sweep"), dataset="synthetic", epochs=7, start_lr=0.5)

    code, out, err = midterm("lr-range-test", *SMALL, "--sweep", "sweep", "--output", "a")

    assert code == 0
    assert "Warning" not in err
    assert "In the sweep sweep half of 1 seeds fail at 0.00322; it recommends 0.001." in out
    first = json.loads(Path("a/metrics.json").read_text(encoding="utf-8"))
    assert first["results"]["sweep"] == {
        "name": "sweep",
        "num_seeds": 1,
        "threshold": THRESHOLDS["threshold_lr"],
        "reliable": None,
        "recommended": 0.001,
    }
    shutil.rmtree("sweep")
    repeated = midterm("lr-range-test", "--config", "a/config.yaml", "--json", "--quiet").out
    assert json.loads(repeated)["results"] == first["results"]
    assert midterm("draw", "a").code == 0


@pytest.mark.usefixtures("unrendered")
def test_a_sweep_of_another_problem_is_told(folder: Path, midterm: Midterm) -> None:
    write_sweep(Path("sweep"), dataset="synthetic", schedule="linear", batch_size=4)
    _, _, err = midterm("lr-range-test", *SMALL, "--sweep", "sweep", "--quiet")
    [warning, *_] = err.splitlines()
    assert warning == (
        "Warning: the sweep sweep was made with schedule='linear', not 'constant'; "
        "batch_size=4, not 8"
    )


# ---- how it is shown


def test_the_figure_marks_the_suggestions_and_the_sweep() -> None:
    sweep = {"name": "$a_b$", "num_seeds": 10, "reliable": None, "recommended": 0.02}
    sweep |= {"threshold": {"estimate": 0.05, "low": None, "high": 0.06}}
    keys = ("num_seeds=3", "num_updates=601", "start_lr=1e-6", "end_lr=1.0")
    config = config_of(*keys, f"sweep={json.dumps(sweep)}")
    losses = np.array([5 + (DECADES + shift) ** 2 for shift in (1.5, 2, 2.5)])
    results = results_of(losses, config)

    [figure] = draw(config, results).values()

    [axis] = figure.axes
    drawn = [np.asarray(line.get_xdata()) for line in axis.lines]
    marked = {x[0] for x in drawn if len(x) == 2}
    assert marked == {0.05, 0.02, *(suggestion.median for suggestion in results.suggestions)}
    bottom, top = axis.get_ylim()
    assert bottom < 5 < 10 < top < 27
    assert axis.get_xlim() == (1e-6, 1.0)
    table = summarize(results)[0]
    assert not isinstance(table, str)
    ratios = [row[-1] for row in table.rows]
    medians = [suggestion.median or 0 for suggestion in results.suggestions]
    assert ratios == [f"{median / 0.05:.3g}" for median in medians]


def test_a_figure_without_any_loss_is_drawn() -> None:
    config = config_of("num_seeds=1", "num_updates=601", "start_lr=1e-6", "end_lr=1.0")
    for value in (math.nan, 0.0):
        results = results_of(np.full((1, 601), value), config)
        [figure] = draw(config, results).values()
        figure.draw_without_rendering()
