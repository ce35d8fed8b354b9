"""The search for the learning rate at which training fails, on made-up failure curves."""

import math
from collections.abc import Callable

import pytest

from midterm_cli.part3.lr_sweep.schema import HIGHEST_LR, LOWEST_LR
from midterm_cli.part3.outcome import Attempt
from midterm_cli.part3.search import Bracket, find_bracket, next_lrs
from midterm_cli.part3.threshold import estimate_threshold


def sweep(
    fails: Callable[[float, int], bool],
    *,
    start: float = 1e-3,
    num_seeds: int = 12,
    max_rates: int = 20,
) -> list[Attempt]:
    attempts: list[Attempt] = []
    while lrs := next_lrs(attempts, start, 0.2, max_rates):
        attempts += [Attempt(lr, seed, fails(lr, seed)) for lr in lrs for seed in range(num_seeds)]
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
    attempts = [Attempt(lr, seed, seed % 2 == 0) for lr in (1e-3, 2e-3) for seed in range(4)]
    assert find_bracket(attempts, 1e-3) == Bracket(None, None)


def test_shares_that_do_not_rise_steadily_end_in_the_first_gap() -> None:
    # 4e-3 fails, 8e-3 would train: no single seed and no single rate is monotone.
    attempts = sweep(lambda lr, seed: 3e-3 < lr < 5e-3)
    assert find_bracket(attempts, 1e-3).first_divergent == 4e-3


def attempts_of(shares: dict[float, float]) -> list[Attempt]:
    """Four seeds at each rate, of which a share fails."""
    return [
        Attempt(lr, seed, seed < 4 * share) for lr, share in shares.items() for seed in range(4)
    ]


@pytest.mark.parametrize(
    ("shares", "tolerance", "expected"),
    [
        ({}, 0.2, [1.0, 2.0]),
        ({1.0: 0.25, 2.0: 0.25}, 0.2, [4.0, 8.0]),
        ({1.0: 1, 2.0: 1}, 0.2, [0.5, 4.0]),
        ({1.0: 0, 2.0: 1}, 0.2, [math.sqrt(2)]),
        ({1.0: 0, 2.0: 1, 4.0: 1}, 0.5, [math.sqrt(2)]),
        ({1.0: 0, 2.0: 1}, 1, []),  # neighbours may differ by this share, and no more
        ({1.0: 0, 2.0: 0.5}, 1, [4.0]),  # half of the seeds: perhaps by chance
        ({1.0: 0, 2.0: 0.75}, 1, []),
        ({1.0: 0, 2.0: 0.5, 4.0: 0.5}, 1, []),  # one more rate above was tried already
        ({1.0: 0, 2.0: 0.5}, 0.2, [math.sqrt(2), 4.0]),
        ({1.0: 0, 1.5: 1, 2.0: 1}, 0.2, [math.sqrt(1.5)]),  # the gap is below the first failure
        ({1.0: 0, 1.5: 0.25, 2.0: 1}, 0.2, [math.sqrt(3)]),
    ],
)
def test_the_next_lrs(shares: dict[float, float], tolerance: float, expected: list[float]) -> None:
    assert next_lrs(attempts_of(shares), 1.0, tolerance, 20) == pytest.approx(expected)


def test_the_next_lrs_keep_to_the_budget_and_to_their_range() -> None:
    stable = attempts_of({1.0: 0, 2.0: 0})
    assert next_lrs(stable, 1.0, 0.2, 3) == [4.0]
    assert next_lrs(stable, 1.0, 0.2, 2) == []
    assert next_lrs([], HIGHEST_LR, 0.2, 9) == [HIGHEST_LR]
    assert next_lrs([], HIGHEST_LR / 2, 0.2, 9) == [HIGHEST_LR / 2, HIGHEST_LR]
    lowest = attempts_of({2 * LOWEST_LR: 1, 4 * LOWEST_LR: 1})
    assert next_lrs(lowest, 2 * LOWEST_LR, 0.2, 9) == [LOWEST_LR, 8 * LOWEST_LR]
    assert next_lrs(attempts_of({LOWEST_LR: 1}), LOWEST_LR, 0.2, 9) == [2 * LOWEST_LR]


@pytest.mark.parametrize("start", [1e-6, 0.2])
def test_a_start_that_is_too_low_to_learn_or_far_too_high_finds_the_same(start: float) -> None:
    attempts = sweep(lambda lr, seed: lr < 1e-5 or lr > 3.3e-3, start=start, max_rates=40)
    bracket = find_bracket(attempts, start)
    assert bracket.last_stable is not None
    assert bracket.first_divergent is not None
    assert bracket.last_stable <= 3.3e-3 < bracket.first_divergent


def test_an_early_failure_of_few_seeds_does_not_stop_the_doubling() -> None:
    attempts = sweep(lambda lr, seed: lr > 1e-2 or seed == 3)
    assert find_bracket(attempts, 1e-3).last_stable == 8e-3
