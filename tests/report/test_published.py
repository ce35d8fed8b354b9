import statistics

import numpy as np
import pytest
import torch
from scipy import stats

from midterm_cli.part2.layer import softt, squared_distance
from midterm_cli.report import published
from midterm_cli.report.part_learning import _verdict
from midterm_cli.report.part_published import one_more_run, through_inverse


def test_the_figures_are_those_that_runs_are_checked_against() -> None:
    known = published.figures()
    assert (known.f, known.derivative) == (2.5349, 9.2485)
    assert (known.last_stable_lr, known.nan_lr, known.chosen_lr) == (2e-3, 4e-3, 1e-3)
    assert known.training_log == (
        (1, "train_loss", 0.560),
        (1, "train_accuracy", 0.803),
        (1, "test_loss", 0.650),
        (24, "train_loss", 0.273),
        (24, "train_accuracy", 0.901),
        (24, "test_loss", 0.706),
        (24, "test_accuracy", 0.799),
    )


def test_only_what_was_published_is_quoted() -> None:
    """Every mean of a single seed says that it was, and so does every other figure."""
    presets = ("reference/autodiff", "reference/lr_sweep", "reference/train")
    quoted = [
        check
        for preset in presets
        for check in published.checks(preset)
        if check.near
        or (check.equals is not None)
        or (check.mean_over_seeds and check.mean_over_seeds.seeds == 1)
    ]
    assert len(quoted) == 2 + 3 + 7
    assert [check.name for check in quoted if not check.source.startswith("published")] == []


def test_the_interval_for_one_more_run() -> None:
    seeds = [0.25, 0.27, 0.24, 0.26]
    scale = statistics.stdev(seeds) * (1 + 1 / 4) ** 0.5
    expected = stats.t.interval(0.95, 3, statistics.fmean(seeds), scale)
    assert one_more_run(seeds) == pytest.approx(expected)
    with pytest.raises(ValueError, match="two seeds"):
        one_more_run([0.25])


def test_it_holds_one_more_run_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(size=(4000, 5))
    held = [low <= seeds[4] <= high for seeds in draws for low, high in [one_more_run(seeds[:4])]]
    assert np.mean(held) == pytest.approx(0.95, abs=0.012)


def test_what_a_kept_inverse_lacks() -> None:
    """The gradient by autograd less the one whose inverse was taken before, out of its sight."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(4, 4, dtype=torch.float64, generator=generator)
    matrix = (matrix + matrix.T + 6 * torch.eye(4)).requires_grad_()
    x = 3 * torch.randn(4, dtype=torch.float64, generator=generator)
    inverse = matrix.detach().inverse()

    (full,) = torch.autograd.grad(squared_distance(x, matrix, 0.5), matrix)
    g = inverse @ softt(matrix @ x, 0.5)
    (kept,) = torch.autograd.grad((x - g).square().sum(), matrix)
    results = {"M": matrix.tolist(), "x": x.tolist(), "g": g.tolist()}
    assert through_inverse(results) == pytest.approx((full - kept).numpy(), rel=1e-10)
    assert np.abs(through_inverse(results)).max() > 1


@pytest.mark.parametrize(
    ("low", "high", "neutral", "verdict"),
    [
        (0.1, 0.3, 0.0, "holds"),
        (-0.1, 0.3, 0.0, "not shown"),
        (-0.3, -0.1, 0.0, "the opposite holds"),
        (0.5, 0.9, 1.0, "the opposite holds"),
        (0.0, 0.3, 0.0, "not shown"),
        (None, None, 0.0, "no interval"),
    ],
)
def test_a_claim_holds_where_its_whole_interval_does(
    low: float | None, high: float | None, neutral: float, verdict: str
) -> None:
    assert _verdict({"estimate": 0, "low": low, "high": high}, neutral) == verdict


def test_a_claim_without_an_interval_is_not_shown() -> None:
    assert _verdict(None, 0.0) == "no interval"
