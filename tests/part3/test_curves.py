"""The 2 × 2 figure of training curves, before anything is drawn in it."""

from midterm_cli.part3.curves import panels, weights_label, weights_name


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
