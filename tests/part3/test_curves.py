"""The 2 × 2 figure of training curves, before anything is drawn in it."""

import math

import pytest

from midterm_cli.config.resolve import resolve
from midterm_cli.figure import LARGEST_DRAWN
from midterm_cli.part3.curves import (
    choose_scale,
    dataset_label,
    panels,
    weights_label,
    weights_name,
)
from midterm_cli.part3.schema import ProblemConfig


def test_train_and_test_stand_side_by_side_and_losses_above_accuracies() -> None:
    figure, axes = panels("$5", height=7)
    figure.draw_without_rendering()
    assert list(axes) == ["train_loss", "train_accuracy", "test_loss", "test_accuracy"]
    left, below, right, corner = (axis.get_position() for axis in axes.values())
    assert left.x0 == below.x0 < right.x0 == corner.x0
    assert below.y0 == corner.y0 < left.y0 == right.y0
    assert [axis.get_ylabel() for axis in axes.values()] == [
        "train loss (nats)", "train accuracy", "test loss (nats)", "test accuracy"
    ]  # fmt: skip
    assert [axis.get_xlabel() for axis in axes.values()] == ["", "epoch", "", "epoch"]
    assert [(text.get_text(), text.get_parse_math()) for text in figure.texts] == [("$5", False)]
    assert figure.get_size_inches().tolist() == [10, 7]


def test_epochs_are_whole_numbers() -> None:
    figure, axes = panels("", height=7)
    axes["train_loss"].set_xlim(0.5, 3.5)
    figure.draw_without_rendering()
    assert set(axes["test_accuracy"].get_xticks()) >= {1, 2, 3}
    assert all(tick == round(tick) for tick in axes["test_accuracy"].get_xticks())


def test_kinds_of_weights_have_names() -> None:
    assert (weights_name(None), weights_name(1e-3)) == ("raw", "ema_0.001")
    assert (weights_label(None), weights_label(1e-3)) == ("raw weights", "average, γ = 0.001")


@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        ([1, 0.1], "linear"),
        ([1, 0.01], "log"),
        ([0.5, 0, 1], "linear"),
        ([0.01, 0, 1], "symlog"),
        ([0, 5e-324, LARGEST_DRAWN], "symlog"),
        ([math.nan, 1], "linear"),
        ([math.nan], "linear"),
        ([], "linear"),
        ([0, 0], "linear"),
        ([5e-324, LARGEST_DRAWN], "log"),
    ],
)
def test_losses_far_apart_have_a_logarithmic_axis(losses: list[float], scale: str) -> None:
    figure, panel = panels("", height=7)
    axes = panel["train_loss"]
    axes.plot(losses)
    choose_scale(axes)
    figure.draw_without_rendering()
    assert axes.get_yscale() == scale
    # Each has a place inside of the axes; 0, with its marker, above the frame.
    for loss in filter(math.isfinite, losses):
        ends_and_place = [(0, y) for y in (*axes.get_ylim(), loss)]
        low, high, place = axes.transData.transform(ends_and_place)[:, 1]
        assert low + (3 if loss == 0 else 0) <= place <= high
    if scale == "symlog":
        lowest, _ = axes.get_ylim()
        assert [tick for tick in axes.get_yticks() if lowest <= tick < 0] == []


def test_a_dataset_is_shown_by_its_name() -> None:
    config = resolve("train").config
    assert isinstance(config, ProblemConfig)
    for dataset, shown in (
        ("fashion_mnist", "fashion_mnist"),
        ("/a/b/$letters.npz", "$letters.npz"),
        (".", "."),
        ("x" * 50, "x" * 40 + "…"),
    ):
        assert dataset_label(config.model_copy(update={"dataset": dataset})) == shown
