"""Schedules against their closed forms."""

import math

import numpy as np
import pytest

from midterm_cli.part3.schedule import Schedule

UPDATES = np.arange(100)


def test_a_constant_rate_is_constant() -> None:
    assert Schedule("constant", 0, 100).is_constant
    assert not Schedule("constant", 1, 100).is_constant
    assert (Schedule("constant", 0, 100).factors(UPDATES) == 1).all()


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "step"])
def test_the_warm_up_rises_in_equal_steps_to_the_peak(name: str) -> None:
    schedule = Schedule(name, 20, 100)  # type: ignore[arg-type] # a name of the four
    assert schedule.factors(UPDATES[:20]) == pytest.approx(np.arange(1, 21) / 20)
    assert schedule.factors(UPDATES).max() == 1


def test_linear_and_cosine_fall_to_zero_at_the_end() -> None:
    linear = Schedule("linear", 20, 100).factors(UPDATES)[20:]
    cosine = Schedule("cosine", 20, 100).factors(UPDATES)[20:]
    assert linear == pytest.approx([(80 - i) / 80 for i in range(80)])
    assert cosine == pytest.approx([math.cos(math.pi * i / 160) ** 2 for i in range(80)])


def test_step_has_a_tenth_after_half_and_a_hundredth_after_three_quarters() -> None:
    factors = Schedule("step", 0, 100).factors(UPDATES)
    assert factors == pytest.approx([1.0] * 50 + [0.1] * 25 + [0.01] * 25)


def test_a_part_of_the_updates_has_the_factors_of_the_whole() -> None:
    schedule = Schedule("cosine", 7, 100)
    parts = [schedule.factors(part) for part in np.split(UPDATES, [13, 50])]
    assert (np.concatenate(parts) == schedule.factors(UPDATES)).all()


def test_a_warm_up_over_the_whole_run() -> None:
    assert Schedule("cosine", 100, 100).factors(UPDATES)[-1] == 1
