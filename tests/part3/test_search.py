"""The search for the learning rate at which training fails, on made-up failure curves."""

import math
from collections.abc import Callable

import pytest

from midterm_cli.part3.lr_sweep.schema import HIGHEST_LR, LOWEST_LR
from midterm_cli.part3.outcome import FAILURES, Attempt
from midterm_cli.part3.schema import Outcome
from midterm_cli.part3.search import Bracket, Rates, next_lrs
from midterm_cli.part3.threshold import estimate_threshold


def find_bracket(attempts: list[Attempt], start: float) -> Bracket:
    return Rates(attempts).bracket(start)


def attempt(lr: float, seed: int, failed: bool) -> Attempt:
    return Attempt(lr, seed, "collapsed" if failed else "trained")


def sweep(
    fails: Callable[[float, int], bool],
    *,
    start: float = 1e-3,
    num_seeds: int = 12,
    max_rates: int = 20,
) -> list[Attempt]:
    attempts: list[Attempt] = []
    while lrs := next_lrs(attempts, {}, start, 0.2, max_rates):
        attempts += [attempt(lr, seed, fails(lr, seed)) for lr in lrs for seed in range(num_seeds)]
    return attempts


@pytest.mark.parametrize("start", [1e-5, 1e-3, 4e-3, 0.5])
def test_a_sharp_threshold_is_bracketed_from_both_sides(start: float) -> None:
    attempts = sweep(lambda lr, seed: lr > 3.3e-3, start=start)
    bracket = find_bracket(attempts, start)
    assert bracket.closed
    assert bracket.last_stable is not None
    assert bracket.first_divergent is not None
    assert bracket.first_divergent == pytest.approx(2 * bracket.last_stable)
    assert bracket.last_stable <= 3.3e-3 < bracket.first_divergent
    tried = sorted({attempt.lr for attempt in attempts})
    below, above = max(r for r in tried if r <= 3.3e-3), min(r for r in tried if r > 3.3e-3)
    assert above / below <= 1.2


def test_the_published_grid() -> None:
    attempts = sweep(lambda lr, seed: lr > 3.3e-3)
    grid = [1e-3, 2e-3, 4e-3]
    assert [lr for lr in sorted({t.lr for t in attempts}) if lr in grid] == grid
    assert find_bracket(attempts, 1e-3).last_stable == 2e-3


@pytest.mark.parametrize("fails", [True, False])
def test_without_a_bracket_the_budget_ends_the_search(fails: bool) -> None:
    attempts = sweep(lambda lr, seed: fails, max_rates=7)
    assert len({attempt.lr for attempt in attempts}) == 7
    bracket = find_bracket(attempts, 1e-3)
    assert bracket.first_divergent is None
    assert (bracket.last_stable is None) is fails
    assert estimate_threshold(attempts) is None


def test_half_of_the_seeds_make_a_divergent_rate() -> None:
    # At 4e-3 half fail: that is the end of the bracket, but one more rate tells chance apart.
    attempts = sweep(lambda lr, seed: lr > 5e-3 or (lr > 3e-3 and seed % 2 == 0))
    assert find_bracket(attempts, 1e-3).first_divergent == 4e-3
    assert max(attempt.lr for attempt in attempts) == 8e-3


def test_half_of_the_seeds_everywhere_are_no_bracket() -> None:
    attempts = [attempt(lr, seed, seed % 2 == 0) for lr in (1e-3, 2e-3) for seed in range(4)]
    assert find_bracket(attempts, 1e-3) == Bracket(None, None)


def test_shares_that_do_not_rise_steadily_end_in_the_first_gap() -> None:
    # 4e-3 fails, 8e-3 would train: no single seed and no single rate is monotone.
    attempts = sweep(lambda lr, seed: 3e-3 < lr < 5e-3)
    assert find_bracket(attempts, 1e-3).first_divergent == 4e-3


def attempts_of(shares: dict[float, float]) -> list[Attempt]:
    """Four seeds at each rate, of which a share fails."""
    return [
        attempt(lr, seed, seed < 4 * share) for lr, share in shares.items() for seed in range(4)
    ]


@pytest.mark.parametrize(
    ("shares", "tolerance", "expected"),
    [
        ({}, 0.2, [1.0, 2.0]),
        ({1.0: 0.25, 2.0: 0.25}, 0.2, [4.0, 8.0]),
        ({1.0: 1, 2.0: 1}, 0.2, [0.5, 0.25]),
        ({0.25: 1, 0.5: 1, 1.0: 1, 2.0: 1}, 0.2, [0.25 / 8, 0.25 / 64]),
        ({2**-6: 0, 1.0: 1}, 0.2, [0.125]),  # back to the grid between
        ({1.0: 0, 4.0: 1}, 0.2, [2.0]),
        ({1.0: 0, 2.0: 1}, 0.2, [math.sqrt(2)]),
        ({1.0: 0, 2.0: 1, 4.0: 1}, 0.5, [math.sqrt(2)]),
        ({1.0: 0, 2.0: 1}, 1, []),  # neighbours may differ by this share, and no more
        ({1.0: 0, 2.0: 0.5}, 1, [4.0]),  # half of the seeds: perhaps by chance
        ({1.0: 0, 2.0: 0.75}, 1, [4.0]),  # by chance with four seeds
        ({1.0: 0, 2.0: 0.5, 4.0: 0.5}, 1, [8.0]),
        ({1.0: 0, 2.0: 0.5, 4.0: 0.5, 8.0: 0.5}, 1, []),  # and no further
        ({1.0: 0.25, 2.0: 1}, 1, [0.5]),
        ({0.25: 0.25, 0.5: 0.25, 1.0: 0.25, 2.0: 1}, 1, []),
        ({1.0: 0, 2.0: 0.5}, 0.2, [math.sqrt(2), 4.0]),
        ({1.0: 0, 1.5: 1, 2.0: 1}, 0.2, [math.sqrt(1.5)]),  # the gap is below the first failure
        ({1.0: 0, 1.5: 0.25, 2.0: 1}, 0.2, [math.sqrt(3)]),
    ],
)
def test_the_next_lrs(shares: dict[float, float], tolerance: float, expected: list[float]) -> None:
    assert next_lrs(attempts_of(shares), {}, 1.0, tolerance, 20) == pytest.approx(expected)


def test_the_next_lrs_keep_to_the_budget_and_to_their_range() -> None:
    stable = attempts_of({1.0: 0, 2.0: 0})
    assert next_lrs(stable, {}, 1.0, 0.2, 3) == [4.0]
    assert next_lrs(stable, {}, 1.0, 0.2, 2) == []
    assert next_lrs([], {}, HIGHEST_LR, 0.2, 9) == [HIGHEST_LR]
    assert next_lrs([], {}, HIGHEST_LR / 2, 0.2, 9) == [HIGHEST_LR / 2, HIGHEST_LR]
    lowest = attempts_of({2 * LOWEST_LR: 1, 4 * LOWEST_LR: 1})
    assert next_lrs(lowest, {}, 2 * LOWEST_LR, 0.2, 9) == [LOWEST_LR]
    assert next_lrs(attempts_of({LOWEST_LR: 1}), {}, LOWEST_LR, 0.2, 9) == []


def course(lr: float, lowest: float, highest: float) -> Outcome:
    """Nothing is learned below the lowest, and training fails above the highest."""
    if lr < lowest:
        return "untrained"
    return "trained" if lr <= highest else "non_finite"


@pytest.mark.parametrize("start", [1e-12, 1e-7, 1e-6, 1e-3, 0.2, 1e6])
@pytest.mark.parametrize("threshold", [3.3e-3, 1.3e-2, 0.4])
def test_from_any_start_the_threshold_is_bracketed_within_the_budget(
    start: float, threshold: float
) -> None:
    # More is learned at every higher rate, up to half of the threshold.
    attempts: list[Attempt] = []
    learned: dict[float, float] = {}
    while lrs := next_lrs(attempts, learned, start, 0.45, 20):
        assert not {attempt.lr for attempt in attempts} & set(lrs)
        attempts += [
            Attempt(lr, seed, course(lr, 1e-5, threshold)) for lr in lrs for seed in range(3)
        ]
        works = sorted({attempt.lr for attempt in attempts if attempt.outcome == "trained"})
        learned = {attempt.lr: 0.0 for attempt in attempts}
        learned |= {lr: 2 / (1 + abs(math.log(2 * lr / threshold))) for lr in works}
    bracket = find_bracket(attempts, start)
    assert bracket.last_stable is not None
    assert bracket.first_divergent == pytest.approx(2 * bracket.last_stable)
    assert bracket.first_divergent is not None
    assert bracket.last_stable <= threshold < bracket.first_divergent
    assert learned[min(learned)] < 0.9 * max(learned.values())


def test_a_rate_that_learns_nothing_is_no_failure_and_does_not_work() -> None:
    outcomes: dict[float, Outcome] = {1.0: "untrained", 2.0: "trained", 4.0: "degraded"}
    attempts = [Attempt(lr, seed, outcome) for lr, outcome in outcomes.items() for seed in range(4)]
    rates = Rates(attempts)
    assert rates.shares == {1.0: 0, 2.0: 0, 4.0: 1}
    assert rates.where("learn nothing") == [1.0]
    assert rates.where("work") == [2.0]
    assert rates.bracket(1.0) == Bracket(2.0, 4.0)
    assert Rates(attempts, FAILURES[:1]).bracket(1.0) == Bracket(4.0, None)


def test_where_more_is_learned_at_every_step_the_steps_are_longer() -> None:
    attempts = attempts_of({1.0: 0, 2.0: 0})
    assert next_lrs(attempts, {1.0: 0.5, 2.0: 1.0}, 1.0, 0.2, 20) == [1 / 8, 8.0, 32.0]
    assert next_lrs(attempts, {1.0: 0.5, 2.0: 0.4}, 1.0, 0.2, 20) == [1 / 8, 4.0, 8.0]


def test_the_search_goes_down_until_clearly_less_is_learned_far_below_the_best() -> None:
    attempts = attempts_of({0.125: 0, 1.0: 0, 2.0: 0, 4.0: 1})
    idle = [Attempt(0.125, seed, "untrained") for seed in range(4)]
    idle += attempts_of({1.0: 0, 2.0: 0, 4.0: 1})
    for at_lowest, goes_down in ((1.7, True), (1.54, True), (1.52, False)):
        known = {0.125: at_lowest, 1.0: 1.7, 2.0: 1.6, 4.0: 0.1}
        assert (1 / 64 in next_lrs(attempts, known, 1.0, 0.2, 20)) == goes_down
        assert 1 / 64 not in next_lrs(idle, known, 1.0, 0.2, 20)
    # 0.125 is not far below 0.5, though less is learned there.
    near = attempts_of({0.125: 0, 0.5: 0, 1.0: 0, 2.0: 1})
    known = {0.125: 0.1, 0.5: 1.7, 1.0: 1.6, 2.0: 0.1}
    assert 1 / 64 in next_lrs(near, known, 1.0, 0.2, 20)


def test_what_learns_nothing_at_the_highest_rate_of_all_is_looked_for_further_down() -> None:
    attempts = [Attempt(HIGHEST_LR, seed, "untrained") for seed in range(4)]
    assert next_lrs(attempts, {}, HIGHEST_LR, 0.2, 20) == [HIGHEST_LR / 2, HIGHEST_LR / 4]


def test_nothing_is_left_to_try_where_training_works_nowhere_between() -> None:
    attempts = [Attempt(1.0, s, "untrained") for s in range(4)]
    attempts += [Attempt(2.0, s, "collapsed") for s in range(4)]
    assert next_lrs(attempts, {}, 1.0, 0.2, 20) == []


def test_an_early_failure_of_few_seeds_does_not_stop_the_doubling() -> None:
    attempts = sweep(lambda lr, seed: lr > 1e-2 or seed == 3)
    assert find_bracket(attempts, 1e-3).last_stable == 8e-3
