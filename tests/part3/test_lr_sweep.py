"""The sweep: its results, its journal, and the known answers on Fashion-MNIST."""

import json
import math
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from answer import Answer
from matplotlib.collections import PathCollection
from matplotlib.patches import Rectangle

from midterm_cli.config import resolve
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, Event, Job, NoJournal, Output, Table, in_turn
from midterm_cli.launch.local import Threads
from midterm_cli.part3.lr_sweep import run as lr_sweep
from midterm_cli.part3.lr_sweep.run import results_of
from midterm_cli.part3.lr_sweep.schema import Config, Results, Trial
from midterm_cli.part3.lr_sweep.show import draw, summarize
from midterm_cli.part3.schema import Outcome

# A sweep of a tenth of a second: linear models on 600 images.
TINY = (
    "dataset=synthetic",
    "train_fraction=0.1",
    "hidden_sizes=[16,8]",
    "activation=identity",
    "num_seeds=6",
    "device=cpu",
)


def config_of(*assignments: str, preset: str = "lr_sweep") -> Config:
    made = resolve.resolve("lr_sweep", preset, assignments).config
    assert isinstance(made, Config)
    return made


class Memory:
    """A journal that may begin with what a killed sweep left."""

    def __init__(self, kept: Sequence[Mapping[str, Any]] = ()) -> None:
        self.lines = [json.dumps(record) for record in kept]

    def records(self, read: Callable[[Any], Any] = dict) -> list[Any]:
        return [read(json.loads(line)) for line in self.lines]

    def append(self, record: Mapping[str, Any]) -> None:
        self.lines.append(json.dumps(record, allow_nan=False))


def run(config: Config, workers: int = 1, **surroundings: Any) -> Output:
    context = Context(torch.device("cpu"), launch=Threads(workers), workers=workers, **surroundings)
    return lr_sweep.run(config, context)


def results(output: Output) -> Results:
    assert isinstance(output.results, Results)
    return output.results


def sweep(*assignments: str, workers: int = 1, **surroundings: Any) -> Results:
    return results(run(config_of(*TINY, *assignments), workers, **surroundings))


@pytest.fixture(scope="module")
def tiny() -> Results:
    return sweep()


def trial(lr: float, seed: int, outcome: Outcome) -> Trial:
    """By itself: a degraded one has trained, with little information."""
    loss, known = {
        "trained": (0.5, 1.7),
        "degraded": (1.9, 0.5),
        "untrained": (4.0, 0.01),
        "collapsed": (2.31, 0.0),
        "non_finite": (None, None),
    }[outcome]
    return Trial(
        lr=lr,
        seed=seed,
        outcome="trained" if outcome == "degraded" else outcome,
        train_loss=loss,
        train_accuracy=None if loss is None else 0.5,
        information=known,
    )


def from_1e_3(trials: Sequence[Trial]) -> Results:
    """What a sweep says that began at 1e-3."""
    return results_of(trials, config_of(*TINY, "start_lr=0.001"), 2.3)


def models(trials: Sequence[Trial]) -> list[tuple[float, int]]:
    return [(trial.lr, trial.seed) for trial in trials]


# ---- results


def test_a_trial_has_numbers_unless_it_is_not_finite(tiny: Results) -> None:
    assert {trial.outcome for trial in tiny.trials} == {"trained", "non_finite"}
    for trial in tiny.trials:
        are_null = trial.train_loss is None, trial.train_accuracy is None
        assert are_null == (trial.outcome == "non_finite",) * 2


def test_every_learning_rate_is_tried_with_every_seed_once(tiny: Results) -> None:
    assert models(tiny.trials) == [(rate.lr, seed) for rate in tiny.rates for seed in range(6)]


def test_rates_count_their_trials_and_have_wilson_intervals() -> None:
    outcomes: list[Outcome] = [
        "trained",
        "collapsed",
        "trained",
        "non_finite",
        "collapsed",
        "trained",
    ]
    trials = [trial(1e-3, seed, "trained") for seed in range(6)]
    trials += [trial(2e-3, seed, outcome) for seed, outcome in enumerate(outcomes)]
    stable, half = from_1e_3(trials).rates
    assert (stable.lr, stable.failed, stable.total, stable.low) == (1e-3, 0, 6, 0)
    assert (half.lr, half.failed, half.collapsed, half.non_finite, half.total) == (2e-3, 3, 2, 1, 6)
    # The ends are the probabilities p that lie z standard errors of p from the share.
    z = 1.959963984540054
    for share, end in ((0, stable.high), (0.5, half.low), (0.5, half.high)):
        assert (end - share) ** 2 == pytest.approx(z**2 * end * (1 - end) / 6)
    assert half.low < 0.5 < half.high


def test_the_bracket_follows_from_the_trials(tiny: Results) -> None:
    # The grid is 2e-3 · 2^k; between two of its learning rates lie those that narrow the gap.
    failed = {rate.lr: rate.failed for rate in tiny.rates}
    grid = [lr for lr in (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2) if lr in failed]
    first = next(lr for lr in grid if failed[lr] >= 3)
    assert [lr for lr in failed if lr < first and failed[lr] >= 3] == []
    assert tiny.first_divergent_lr == first
    assert tiny.last_stable_lr == first / 2
    assert tiny.threshold_lr is not None
    assert tiny.recommended_lr == lr_sweep.RECOMMENDED_SHARE * tiny.threshold_lr.estimate
    assert tiny.bracketed


def made_up(failures: Mapping[float, int], num_seeds: int = 6) -> Results:
    """A sweep from 1e-3 in which so many of the first seeds fail at each learning rate."""
    trials = [
        trial(lr, seed, "collapsed" if seed < failed else "trained")
        for lr, failed in sorted(failures.items())
        for seed in range(num_seeds)
    ]
    return from_1e_3(trials)


def test_the_threshold_is_where_half_of_the_seeds_fail() -> None:
    # Symmetric about 2e-3 in the logarithm.
    found = made_up({1e-3: 0, 1.6e-3: 2, 2e-3: 3, 2.5e-3: 4, 4e-3: 6}).threshold_lr
    assert found is not None
    assert found.estimate == pytest.approx(2e-3, rel=1e-9)
    assert found.low is not None
    assert found.high is not None
    assert found.low * found.high == pytest.approx(4e-6)
    assert 1e-3 < found.low < 1.6e-3


def with_outcomes(outcomes: Mapping[float, Outcome], num_seeds: int = 6) -> Results:
    """A sweep from 1e-3 in which all seeds have one outcome at each learning rate."""
    return from_1e_3(
        [trial(lr, seed, outcome) for lr, outcome in outcomes.items() for seed in range(num_seeds)]
    )


def test_a_run_is_degraded_by_what_the_best_learning_rate_gains() -> None:
    found = with_outcomes({1e-3: "trained", 2e-3: "degraded", 4e-3: "collapsed"})
    assert found.best_lr == 1e-3
    assert [(r.failed, r.degraded, r.collapsed) for r in found.rates] == [
        (0, 0, 0),
        (6, 6, 0),
        (6, 0, 6),
    ]
    assert found.first_divergent_lr == 2e-3
    assert found.thresholds is not None
    assert found.thresholds.non_finite is None
    for threshold, estimate in (
        (found.thresholds.collapsed, math.sqrt(2 * 4) * 1e-3),
        (found.thresholds.degraded, math.sqrt(1 * 2) * 1e-3),
    ):
        assert threshold is not None
        assert threshold.estimate == pytest.approx(estimate)
    assert found.threshold_lr == found.thresholds.degraded


def test_what_is_degraded_is_not_called_overconfident() -> None:
    trials = [trial(1e-3, seed, "trained") for seed in range(4)]
    trials += [trial(2e-3, seed, "degraded") for seed in range(4)]
    found = from_1e_3([made.model_copy(update={"overconfident": True}) for made in trials])
    assert [made.overconfident for made in found.trials] == [True] * 4 + [False] * 4
    assert any("4 of 4 seeds at 0.001" in str(line) for line in summarize(found))


def test_what_learns_nothing_does_not_train_above_a_failure() -> None:
    assert with_outcomes({1e-3: "collapsed", 2e-3: "untrained"}).non_monotone_seeds == []


def test_what_is_not_finite_has_no_information() -> None:
    for made in sweep("rates=[0.004, 0.008]").trials:
        assert (made.information is None) == (made.outcome == "non_finite")


def test_what_is_not_finite_is_the_worst_in_the_quartiles() -> None:
    trials = [trial(1e-3, seed, "trained") for seed in range(4)]
    trials += [trial(2e-3, seed, "non_finite" if seed < 2 else "trained") for seed in range(4)]
    [_, learned, *_] = summarize(from_1e_3(trials))
    assert isinstance(learned, Table)
    assert [row[1:] for row in learned.rows] == [
        ["0.5 | 0.5 | 0.5", "0.50 | 0.50 | 0.50", "1.70 | 1.70 | 1.70"],
        ["0.5 | – | –", "– | – | 0.50", "– | – | 1.70"],
    ]


def results_with(trials: Sequence[Trial], *assignments: str) -> Results:
    return results_of(trials, config_of(*TINY, "start_lr=0.001", *assignments), 2.3)


@pytest.mark.parametrize(("share", "degraded"), [(0.2, 0), (0.29, 0), (0.3, 6), (0.9, 6)])
def test_the_share_that_counts_as_degraded_is_a_key(share: float, degraded: int) -> None:
    # 0.5 of 1.7 nats are a share of 0.294.
    trials = [trial(1e-3, seed, "trained") for seed in range(6)]
    trials += [trial(2e-3, seed, "degraded") for seed in range(6)]
    assert results_with(trials, f"degraded_share={share}").rates[1].degraded == degraded


@pytest.mark.parametrize(("share", "reliable"), [(0.25, None), (0.27, 1e-3), (0.61, 2e-3)])
def test_the_share_of_failures_that_is_reliable_is_a_key(
    share: float, reliable: float | None
) -> None:
    # Of ten seeds, none and three failures have the upper limits 0.259 and 0.607.
    trials = made_up({1e-3: 0, 2e-3: 3, 4e-3: 10}, 10).trials
    assert results_with(trials, f"max_failure_share={share}").reliable_lr == reliable


def test_a_share_that_falls_again_is_said() -> None:
    config = config_of(*TINY, "rates=[1e-3, 2e-3, 4e-3, 8e-3]")
    failures = {1e-3: 0, 2e-3: 8, 4e-3: 0, 8e-3: 8}
    found = results_of(made_up(failures, 8).trials, config, 2.3)
    assert found.falls_again == [2e-3, 4e-3]
    assert any("falls again between 0.002 and 0.004" in str(line) for line in summarize(found))
    assert "falls again" in lr_sweep._warnings(found, config)[0]


def test_where_nothing_is_reliable_it_is_said_of_the_lowest_that_works() -> None:
    found = made_up({1e-3: 2, 2e-3: 4, 4e-3: 10}, 10)
    assert found.reliable_lr is None
    # The upper limit of two of ten failures.
    assert any("at 0.001, the lowest that works, up to 51 %" in str(x) for x in summarize(found))


def test_untrained_is_counted_apart_and_never_as_failure() -> None:
    found = with_outcomes(
        {1.25e-4: "untrained", 5e-4: "untrained", 1e-3: "trained", 2e-3: "non_finite"}
    )
    assert [(rate.failed, rate.untrained) for rate in found.rates] == [
        (0, 6),
        (0, 6),
        (0, 0),
        (6, 0),
    ]
    assert (found.last_stable_lr, found.first_divergent_lr) == (1e-3, 2e-3)
    assert found.threshold_lr is not None
    assert found.threshold_lr.low == 1e-3


@pytest.mark.parametrize(
    ("failures", "num_seeds", "reliable"),
    [
        # The upper limit of 9 of 40 is 0.36, that of 6 of 40 is 0.28, that of 0 of 10 is 0.26.
        ({1e-3: 0, 2e-3: 9, 4e-3: 40}, 40, 1e-3),
        ({1e-3: 0, 2e-3: 6, 4e-3: 40}, 40, 2e-3),
        ({1e-3: 0, 1.5e-3: 0, 2e-3: 10}, 10, 1.5e-3),
        ({1e-3: 0, 1.5e-3: 1, 1.7e-3: 0, 2e-3: 10}, 10, 1e-3),  # not beyond one that is not
        ({1e-3: 0, 2e-3: 8}, 8, None),  # eight seeds cannot tell: 0.31
    ],
)
def test_a_reliable_learning_rate_fails_for_few_of_the_seeds_with_confidence(
    failures: dict[float, int], num_seeds: int, reliable: float | None
) -> None:
    found = made_up(failures, num_seeds)
    assert found.reliable_lr == reliable
    assert found.last_stable_lr is not None


@pytest.mark.parametrize(
    ("failures", "num_seeds", "recommended"),
    [
        ({1e-4: 0, 1e-3: 0, 2e-3: 10}, 10, math.sqrt(2) * 1e-3 / 4),
        # A quarter of the threshold, 0.25 · √(2e-3 · 1.28e-1), fails for too many.
        ({2.5e-4: 0, 1e-3: 0, 2e-3: 4, 4e-3: 4, 1.28e-1: 10}, 10, 1e-3),
        # Enough seeds to tell, and none is reliable.
        ({1e-3: 4, 2e-3: 4, 4e-3: 10}, 10, None),
        # Two seeds cannot tell what is reliable: no higher than the last stable one.
        ({1e-3: 0, 2e-3: 1, 5.12e-1: 1, 1.024: 2}, 2, 1e-3),
    ],
)
def test_what_is_recommended_is_no_higher_than_what_is_reliable(
    failures: dict[float, int], num_seeds: int, recommended: float | None
) -> None:
    found = made_up(failures, num_seeds)
    assert found.recommended_lr == (recommended and pytest.approx(recommended))
    assert found.last_stable_lr is not None
    assert (recommended or 0) <= found.last_stable_lr


def test_what_is_recommended_is_no_lower_than_what_works() -> None:
    found = with_outcomes({1e-3: "untrained", 2e-3: "trained", 4e-3: "non_finite"}, 10)
    assert found.threshold_lr is not None
    assert found.threshold_lr.estimate / 4 < 2e-3
    assert found.recommended_lr == 2e-3


@pytest.mark.parametrize(("known", "is_recommended"), [(1.7, True), (1.63, True), (1.6, False)])
def test_where_clearly_less_is_learned_nothing_is_recommended(
    known: float, is_recommended: bool
) -> None:
    trials = [trial(lr, seed, "trained") for lr in (1e-3, 1e-1, 1.0) for seed in range(10)]
    trials = [
        made.model_copy(update={"information": 1.7 if made.lr == 1e-3 else known})
        for made in trials
    ] + [trial(2.0, seed, "degraded") for seed in range(10)]
    found = results_of(trials, config_of("start_lr=1.0"), 2.3)
    assert found.bracketed
    assert found.threshold_lr is not None
    assert (found.recommended_lr is not None) == is_recommended


def test_the_threshold_is_that_of_the_definitions_and_of_a_rate_that_works() -> None:
    nothing_works = with_outcomes({1e-3: "untrained", 2e-3: "non_finite"})
    assert nothing_works.thresholds is not None
    assert nothing_works.thresholds.degraded is None
    assert nothing_works.threshold_lr is None


def test_without_all_the_doubled_learning_rates_there_is_no_bracket() -> None:
    found = with_outcomes({1e-3: "trained", 4e-3: "non_finite"})
    assert (found.last_stable_lr, found.first_divergent_lr) == (1e-3, 4e-3)
    assert not found.bracketed
    assert with_outcomes({1e-3: "trained", 2e-3: "non_finite"}).bracketed


def test_given_learning_rates_are_tried_and_no_others() -> None:
    found = sweep("rates=1e-3:8e-3:4", "max_rates=2")
    assert [rate.lr for rate in found.rates] == [1e-3, 2e-3, 4e-3, 8e-3]
    assert (found.last_stable_lr, found.first_divergent_lr) == (2e-3, 4e-3)
    assert found.threshold_lr is not None
    output = run(config_of(*TINY, "rates=[5e-4, 1e-3]"))
    assert output.failed
    assert results(output).threshold_lr is None
    assert "no learning rate up to 0.001 is high enough to fail" in output.warnings[0]
    assert "start_lr" not in output.warnings[0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("[]", []),
        ("0.004", [0.004]),
        ("1e-3,4e-3,2e-3", [1e-3, 4e-3, 2e-3]),
        ("1e-3:1e-1:3", [1e-3, 1e-2, 1e-1]),
        ("1:10:3", [1, 3.16228, 10]),
        ("10:1000:2", [10, 1000]),
    ],
)
def test_learning_rates_as_they_may_be_given(given: str, expected: list[float]) -> None:
    assert config_of(f"rates={given}").rates == expected


@pytest.mark.parametrize(
    "given", ["1e-1:1e-3:3", "1e-3:1e-1:1", "0:1:3", "1e-3:1e-1", "a:b:c", "1e-3,1e-3", "1e9", "x"]
)
def test_learning_rates_that_are_none(given: str) -> None:
    with pytest.raises(UserError, match="rates"):
        config_of(f"rates={given}")


def test_learning_rates_too_low_to_learn_say_nothing_about_the_threshold() -> None:
    failures = {1e-3: 0, 2e-3: 1, 4e-3: 4, 8e-3: 6}
    found = made_up(failures).threshold_lr
    assert found is not None
    assert found == made_up({1e-6: 6, 1e-5: 5} | failures).threshold_lr


def test_a_sweep_of_few_wide_models_computes_on_all_cores() -> None:
    """On four: two learning rates at once with two threads each, or one with four."""
    shares: set[tuple[int, int]] = set()

    def launch(jobs: Sequence[Job]) -> Iterator[Event]:
        shares.add((len(jobs), torch.get_num_threads()))
        yield from in_turn(jobs)

    wide = ("hidden_sizes=[700]", "train_fraction=0.002", "num_seeds=1", "max_rates=3")
    context = Context(torch.device("cpu"), launch=launch, workers=4)
    output = lr_sweep.run(config_of(*TINY, *wide), context)

    assert shares == {(1, 4), (2, 2)}
    assert output.provenance["threads"] == 4
    # Small models do not use a second thread: there are as many threads as groups.
    assert run(config_of(*TINY), workers=3).provenance["threads"] == 3


def test_a_seed_sees_the_same_at_a_learning_rate_whatever_else_is_tried(tiny: Results) -> None:
    """Models are fresh, with the initial weights and minibatches of their seed."""
    other = sweep("start_lr=0.004", "seed=2", "num_seeds=3", workers=2)
    first = {(trial.lr, trial.seed): trial for trial in tiny.trials}
    second = {(trial.lr, trial.seed): trial for trial in other.trials}
    shared = sorted(first.keys() & second.keys())

    assert len({lr for lr, _ in shared}) >= 3
    assert {seed for _, seed in shared} == {2, 3, 4}
    assert [first[key] for key in shared] == [second[key] for key in shared]
    # Not all alike by chance: seeds and learning rates do make a difference.
    losses = {first[key].train_loss for key in shared} - {None}
    assert len(losses) == sum(first[key].train_loss is not None for key in shared) > 3


def test_seeds_that_train_above_a_learning_rate_at_which_they_fail_are_flagged() -> None:
    words: dict[str, Outcome] = {"t": "trained", "c": "collapsed", "n": "non_finite"}
    courses = {0: "tttt", 1: "ttnn", 2: "tctn", 3: "nnnt", 4: "cccc", 5: "tttn"}
    trials = [
        trial(lr, seed, words[course[i]])
        for i, lr in reversed(list(enumerate((1e-3, 2e-3, 4e-3, 8e-3))))
        for seed, course in courses.items()
    ]

    assert from_1e_3(trials).non_monotone_seeds == [2, 3]


@pytest.mark.parametrize(
    ("at_4e_3", "at_8e_3", "found"),
    [
        ("collapsed", "collapsed", None),
        ("non_finite", "non_finite", 4e-3),
        ("collapsed", "non_finite", 8e-3),
    ],
)
def test_a_rule_that_knows_only_nan_does_not_see_a_collapse(
    at_4e_3: Outcome, at_8e_3: Outcome, found: float | None
) -> None:
    outcomes: dict[float, Outcome] = {
        1e-3: "trained",
        2e-3: "trained",
        4e-3: at_4e_3,
        8e-3: at_8e_3,
    }
    trials = [trial(lr, seed, outcome) for lr, outcome in outcomes.items() for seed in range(4)]

    results = from_1e_3(trials)

    assert results.first_divergent_lr == 4e-3
    assert results.nan_rule_divergent_lr == found
    is_said = any("NaN alone" in str(line) for line in summarize(results))
    assert is_said == (found is None)


@pytest.mark.parametrize(
    ("assignments", "parts"),
    [
        (
            ["start_lr=0.05", "max_rates=3"],
            ["fails at every learning rate from 0.025 to 0.1", "another start_lr", "(now 3)"],
        ),
        (
            ["start_lr=5e-4", "max_rates=2"],
            ["no learning rate up to 0.001 is high enough", "another start_lr", "(now 2)"],
        ),
    ],
)
def test_without_a_bracket_it_says_so_and_recommends_nothing(
    assignments: list[str], parts: list[str]
) -> None:
    config = config_of(*TINY, *assignments)
    output = run(config)
    found = results(output)

    assert output.failed
    assert found.bracketed is False
    assert (found.recommended_lr, found.threshold_lr) == (None, None)
    (warning,) = output.warnings
    assert [part for part in parts if part not in warning] == []
    assert not any("Recommended" in str(line) for line in summarize(found))
    upper = draw(config, found)["lr_sweep"].axes[0]
    labels = upper.get_legend_handles_labels()[1]
    assert not any(label.startswith("recommended") for label in labels)


def test_progress_counts_runs_and_ends_at_its_total() -> None:
    told: list[tuple[int, int]] = []

    num_trials = len(sweep(progress=lambda done, total, text: told.append((done, total))).trials)

    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert all(done <= total for done, total in told)
    assert told[-1] == (num_trials, num_trials)


def test_the_figure_shows_every_trial_and_the_learning_rates_that_matter(tiny: Results) -> None:
    upper, accuracies, shares, lower = draw(config_of(*TINY), tiny)["lr_sweep"].axes

    for axis in (upper, accuracies):
        dots = [dots for dots in axis.collections if isinstance(dots, PathCollection)]
        assert sum(len(np.asarray(kind.get_offsets())) for kind in dots) == len(tiny.trials)
    # The bars of each learning rate add up to all seeds.
    tops = [bar.get_y() + bar.get_height() for bar in shares.patches if isinstance(bar, Rectangle)]
    assert max(tops) == pytest.approx(1)
    heights = sum(bar.get_height() for bar in shares.patches if isinstance(bar, Rectangle))
    assert heights == pytest.approx(len(tiny.rates))
    assert tiny.threshold_lr is not None
    for axis in (upper, accuracies, lower):
        at = [np.asarray(line.get_xdata()).tolist() for line in axis.lines]
        assert [tiny.threshold_lr.estimate] * 2 in at
        assert [tiny.recommended_lr] * 2 in at
    [guess] = [line for line in upper.lines if str(line.get_label()).startswith("constant guess")]
    # Nearly all ten classes are equally frequent among 600 images.
    assert np.asarray(guess.get_ydata()) == pytest.approx([math.log(10)] * 2, rel=0.01)


def test_losses_of_0_and_beyond_all_bounds_are_drawn_and_short_in_the_table() -> None:
    """Five of 18 are exactly 0, which a logarithmic axis does not have."""
    losses = [*[0.0] * 5, 1e-7, *[0.3] * 6, *[27903872875676998756801517839187968.0] * 6]
    found = from_1e_3(
        [
            trial((1e-3, 2e-3, 4e-3)[i // 6], i % 6, "trained" if i < 12 else "collapsed")
            .model_copy(update={"train_loss": loss})
            for i, loss in enumerate(losses)
        ]
    )  # fmt: skip
    axis = draw(config_of(*TINY), found)["lr_sweep"].axes[0]
    dots = [dots for dots in axis.collections if isinstance(dots, PathCollection)]
    drawn = [float(y) for kind in dots for _, y in np.asarray(kind.get_offsets())]
    low, high = axis.get_ylim()
    assert axis.get_yscale() == "log"
    assert len(drawn) == 18
    assert all(low < y < high for y in drawn)
    assert sum(y < 1e-7 for y in drawn) == 5
    learned = next(
        part for part in summarize(found) if isinstance(part, Table) and "quartiles" in part.title
    )
    assert [row[1] for row in learned.rows] == [
        "0 | 0 | 0",
        "0.3 | 0.3 | 0.3",
        "2.79e+34 | 2.79e+34 | 2.79e+34",
    ]


def test_a_single_seed_is_drawn_at_its_learning_rate() -> None:
    found = sweep("num_seeds=1")
    upper = draw(config_of(*TINY, "num_seeds=1"), found)["lr_sweep"].axes[0]
    dots = [dots for dots in upper.collections if isinstance(dots, PathCollection)]
    drawn = sorted(float(x) for kind in dots for x, _ in np.asarray(kind.get_offsets()))
    assert drawn == sorted(trial.lr for trial in found.trials)
    assert "quartiles" not in upper.get_legend_handles_labels()[1]


def test_dead_models_stop_early_and_no_outcome_depends_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped: list[int] = []
    find = lr_sweep._dead

    def counting(*arguments: Any) -> list[int]:
        stopped.extend(found := find(*arguments))
        return found

    settings = ("activation=relu", "train_fraction=1.0", "start_lr=0.02", "max_rates=4")
    monkeypatch.setattr(lr_sweep, "_dead", counting)
    early = sweep(*settings).trials
    assert len(stopped) > 3
    monkeypatch.setattr(lr_sweep, "_dead", lambda *arguments: [])
    late = sweep(*settings).trials
    assert [trial.outcome for trial in early] == [trial.outcome for trial in late]
    trained = [trial for trial in early if trial.outcome == "trained"]
    assert trained == [trial for trial in late if trial.outcome == "trained"]


def test_sharpness_is_measured_along_the_recommended_run_when_asked_for(tiny: Results) -> None:
    assert tiny.sharpness is None
    found = sweep("sharpness=true")
    sharpness = found.sharpness
    assert sharpness is not None
    assert sharpness.lr == found.recommended_lr
    start, *later = [point.sharpness for point in sharpness.points if point.sharpness is not None]
    assert sharpness.two_over_max == pytest.approx(2 / max(later))
    assert sharpness.two_over_start == pytest.approx(2 / start)
    figure = draw(config_of(*TINY, "sharpness=true"), found)["lr_sweep"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sum(label.startswith("2/λ") for label in labels) == 2
    assert any("2/λ" in str(line) for line in summarize(found))


# ---- the journal


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """Learning rate and seed of every model that is trained."""
    models: list[tuple[float, int]] = []

    def counting(name: str, work: Any, problem: Any, arguments: tuple[Any, Any]) -> Job:
        models.extend(arguments[1])
        return Job(name, work, problem, arguments)

    monkeypatch.setattr(lr_sweep, "Job", counting)
    return models


def models_in(records: Sequence[Mapping[str, Any]]) -> list[tuple[float, int]]:
    return [(trial["lr"], trial["seed"]) for record in records for trial in record["trials"]]


def test_a_journal_that_holds_a_part_is_continued(
    tiny: Results, computed: list[tuple[float, int]]
) -> None:
    whole = Memory()
    assert sweep(journal=whole, workers=2) == tiny
    records = whole.records()
    assert len(records) >= 4
    # A group, three groups, later groups without the earlier ones, all; on any number of workers.
    for kept in (records[:1], records[:3], records[2:4], records):
        for workers in (1, 2, 3):
            computed.clear()
            journal = Memory(kept)
            resumed = sweep(journal=journal, workers=workers)
            assert resumed.model_dump_json() == tiny.model_dump_json()
            assert sorted(models_in(kept) + computed) == models(tiny.trials)
            assert sorted(models_in(journal.records())) == models(tiny.trials)


def test_a_journal_that_was_begun_on_other_data_is_refused() -> None:
    whole = Memory()
    sweep("max_rates=2", journal=whole)
    other = [record | {"data_sha256": "0123456789abcdef"} for record in whole.records()]
    with pytest.raises(UserError, match="begun on other data"):
        sweep(journal=Memory(other))


def test_a_group_is_in_the_journal_before_it_counts() -> None:
    """Killed inside the journal, a sweep has not yet used what it could not keep."""

    class Killed(Exception):
        pass

    class Fatal(NoJournal):
        def append(self, record: Mapping[str, Any]) -> None:
            raise Killed

    told: list[int] = []
    with pytest.raises(Killed):
        sweep(journal=Fatal(), progress=lambda done, total, text: told.append(done))
    assert told == []


def test_who_computed_the_trials_is_kept_over_a_resume() -> None:
    worker = {"worker": "w", "host": "elsewhere"}

    def launch(jobs: Sequence[Job]) -> Iterator[Event]:
        for event in in_turn(jobs):
            yield event._replace(worker=worker)

    config = config_of(*TINY)
    journal = Memory()
    there = lr_sweep.run(config, Context(torch.device("cpu"), launch=launch, journal=journal))
    again = run(config, journal=Memory(journal.records()))
    for output in (there, again):
        [row] = output.provenance["computed_by"]
        assert row == worker | {"trials": models(results(output).trials)}


def journal_models(path: Path) -> list[tuple[float, int]]:
    """Learning rate and seed of each trial in a journal; a last line that was cut is left out."""
    if not path.exists():
        return []
    return models_in([json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]])


def kill_in_the_middle(command: Sequence[str], journal: Path, latest: float) -> None:
    """Start a sweep, wait until it has finished a group, and kill it in the `latest` s after."""
    before = len(journal_models(journal))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        try:
            while len(journal_models(journal)) == before:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.005)
            time.sleep(random.uniform(0, latest))
        finally:
            process.kill()


@pytest.mark.slow
def test_killed_five_times_it_ends_as_if_undisturbed(
    folder: Path, midterm: Callable[..., Answer], computed: list[tuple[float, int]]
) -> None:
    # Two epochs over all images and a fine tolerance: some 14 learning rates of 0.2 s each.
    settings = ["train_fraction=1.0", "epochs=2", "start_lr=1e-4", "tolerance=0.01"]
    begun = time.monotonic()
    undisturbed = sweep(*settings, workers=2)
    seconds = (time.monotonic() - begun) / len(undisturbed.rates)
    options = [f"--set={assignment}" for assignment in (*TINY, *settings)]
    arguments = ["lr-sweep", *options, "--output", "run", "--resume", "--quiet"]
    journal = folder / ".run.partial" / "journal.jsonl"

    for _ in range(5):
        kill_in_the_middle([sys.executable, "-m", "midterm_cli", *arguments], journal, seconds)
        kept = journal_models(journal)
        assert len(kept) == len(set(kept))

    computed.clear()
    assert midterm(*arguments).code == 0

    document = json.loads((folder / "run" / "metrics.json").read_text())
    assert document["results"] == undisturbed.model_dump(mode="json")
    assert sorted(kept + computed) == models(undisturbed.trials)
    assert not journal.exists()


# ---- the known answers


def real_sweep(preset: str, data_dir: Path) -> Results:
    return results(run(config_of("device=cpu", preset=preset), workers=2, data_dir=data_dir))


@pytest.mark.real_data
def test_the_published_network_diverges_where_it_was_published_to(fashion_mnist: Path) -> None:
    found = real_sweep("reference/lr_sweep", fashion_mnist)

    assert found.last_stable_lr == 2e-3
    assert found.first_divergent_lr == found.nan_rule_divergent_lr == 4e-3
    assert {trial.outcome for trial in found.trials} == {"trained", "non_finite"}
    assert found.threshold_lr is not None
    assert 2.8e-3 < found.threshold_lr.estimate < 4.5e-3
    assert found.recommended_lr == pytest.approx(found.threshold_lr.estimate / 4)


@pytest.mark.real_data
def test_the_relu_network_collapses_without_a_nan(fashion_mnist: Path) -> None:
    found = real_sweep("lr_sweep", fashion_mnist)

    assert {trial.outcome for trial in found.trials} == {"trained", "degraded", "collapsed"}
    assert found.nan_rule_divergent_lr is None
    assert found.threshold_lr is not None
    assert 1e-2 < found.threshold_lr.estimate < 1.6e-2
    # Called trained, they would know next to nothing.
    known: dict[float, list[float]] = {}
    for trial in found.trials:
        known.setdefault(trial.lr, []).append(trial.information or 0)
    best = max(map(statistics.median, known.values()))
    assert best > 1.5
    for trial in found.trials:
        assert (trial.outcome == "trained") == ((trial.information or 0) >= best / 2)
    assert found.last_stable_lr is not None
    assert found.first_divergent_lr == 2 * found.last_stable_lr


@pytest.mark.real_data
def test_a_start_far_too_low_is_no_failure_and_finds_the_bracket(fashion_mnist: Path) -> None:
    config = config_of("start_lr=1e-7", "hidden_sizes=[16]", "num_seeds=3", "device=cpu")
    found = results(run(config, workers=2, data_dir=fashion_mnist))
    assert found.bracketed
    assert found.rates[0].untrained == 3
    assert all(rate.failed == 0 for rate in found.rates if rate.lr < 1e-3)
    assert len(found.rates) < 20


@pytest.mark.real_data
def test_no_network_near_the_threshold_is_called_trained_that_knows_next_to_nothing(
    fashion_mnist: Path,
) -> None:
    """At these rates a third of those below the constant guess have an accuracy below 0.2."""
    config = config_of("rates=[2e-3, 1.345e-2, 1.6e-2, 2.263e-2]", "num_seeds=20", "seed=1000")
    found = results(run(config, workers=2, data_dir=fashion_mnist))
    assert found.constant_guess_loss is not None
    below_guess = [
        trial
        for trial in found.trials
        if trial.lr > 1e-2
        and trial.train_loss is not None
        and trial.train_loss < found.constant_guess_loss
        and trial.train_accuracy is not None
        and trial.train_accuracy < 0.2
    ]
    assert len(below_guess) >= 5
    assert {trial.outcome for trial in below_guess} <= {"degraded", "collapsed"}
    for trial in found.trials:
        if trial.outcome == "trained":
            assert trial.train_accuracy is not None
            assert trial.train_accuracy > 0.25
