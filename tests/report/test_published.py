import statistics

import pytest
import torch
from scipy import stats

from midterm_cli.part2.layer import softt, squared_distance
from midterm_cli.part3.train.schema import HistoryRow
from midterm_cli.report import published


def test_the_figures_are_those_that_runs_are_checked_against() -> None:
    known = published.figures()
    assert (known.f, known.derivative) == (2.5349, 9.2485)
    assert (known.last_stable_lr, known.nan_lr, known.chosen_lr) == (2e-3, 4e-3, 1e-3)
    assert known.training_log == (
        (0, "train_loss", 12.3),
        (0, "train_loss", 13.9),
        (0, "train_loss", 10.8),
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
    assert len(quoted) == 2 + 2 + 10
    assert [check.name for check in quoted if not check.source.startswith("published")] == []


def history(*values: float | None) -> list[HistoryRow]:
    """The raw weights have one value in all metrics at all times, the averaged ones have none."""
    return [
        HistoryRow(
            seed=seed,
            epoch=epoch,
            weights="raw" if gamma is None else "ema",
            gamma=gamma,
            train_loss=value,
            train_accuracy=value,
            test_loss=value,
            test_accuracy=value,
        )
        for epoch in (0, 1, 24)
        for seed, raw in enumerate(values)
        for gamma, value in ((None, raw), (0.1, None))
    ]


def test_the_interval_for_one_more_run() -> None:
    seeds = [0.62, 0.66, 0.61, 0.67]
    scale = statistics.stdev(seeds) * (1 + 1 / 4) ** 0.5
    low, high = stats.t.interval(0.95, 3, statistics.fmean(seeds), scale)
    found = published.one_more_run(history(*seeds))
    assert found is not None
    assert [entry.logged for entry in found] == list(published.figures().training_log)
    for entry in found:
        assert (entry.mean, entry.low, entry.high) == pytest.approx((0.64, low, high))
    assert [entry.logged.value for entry in found if entry.inside] == [0.560, 0.650, 0.706]


def test_where_one_more_run_would_lie_takes_two_seeds_that_train() -> None:
    assert published.one_more_run(history(0.25)) is None
    assert published.one_more_run(history(0.25, 0.5, None)) is None


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
    lost = published.through_inverse(matrix.tolist(), x.tolist(), g.tolist())
    assert lost == pytest.approx(float((full - kept).abs().max()))
    assert lost > 1
