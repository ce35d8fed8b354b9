"""The training curves of several runs in one figure."""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from written_runs import write_train

from midterm_cli.runner.document import read
from midterm_cli.runs import compare_figure
from midterm_cli.runs.compare import compare


def draw(*paths: Path) -> Figure:
    """The figure of runs, with everything in its place."""
    figure = compare_figure.draw(compare(paths))
    figure.draw_without_rendering()
    return figure


def curves(figure: Figure, panel: int) -> list[list[float]]:
    return [np.asarray(line.get_ydata()).tolist() for line in figure.axes[panel].lines]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_curves_are_means_over_seeds_from_the_first_shown_epoch(tmp_path: Path) -> None:
    figure = draw(write_train(tmp_path / "a"))

    assert [axis.get_ylabel().split(" (")[0] for axis in figure.axes] == [
        "train loss",
        "test loss",
        "train accuracy",
        "test accuracy",
    ]
    assert curves(figure, 0) == [[3, 2], [6, 4]]
    assert curves(figure, 1) == [[4, 3], [7, 5]]
    means = [(1 / 3 + 1 / 5) / 2, (1 / 2 + 1 / 4) / 2]
    assert curves(figure, 2)[0] == pytest.approx(means)
    assert np.asarray(figure.axes[0].lines[0].get_xdata()).tolist() == [2, 3]
    assert [line.get_linestyle() for line in figure.axes[0].lines] == ["-", "--"]
    assert legend(figure)[1:] == ["raw weights", "average, γ = 0.5"]


def test_a_run_has_the_same_lines_in_its_own_figure(tmp_path: Path) -> None:
    path = write_train(tmp_path / "a", gammas=(0.5, 0.1, 0.2))
    compared = draw(path).axes[0].lines
    run = read(path)
    own = run.experiment.draw(run.config, run.results)["curves"].axes[0].lines
    assert [line.get_linestyle() for line in own] == [line.get_linestyle() for line in compared]
    assert len({line.get_linestyle() for line in own}) == 4


def test_losses_at_the_end_of_float64_are_drawn(tmp_path: Path) -> None:
    losses = ((9, 1, 1.7e308, 2), (9, 1, 1.7e308, 5e-324))
    path = write_train(tmp_path / "a", losses=losses, gammas=())
    run = read(path)
    for figure in (draw(path), *run.experiment.draw(run.config, run.results).values()):
        figure.draw_without_rendering()
        assert figure.axes[0].get_yscale() == "log"


def test_seeds_that_are_not_finite_are_left_out_of_a_mean(tmp_path: Path) -> None:
    losses = ((9, 1, 2, None), (9, 1, None, None))
    figure = draw(write_train(tmp_path / "a", losses=losses, gammas=(), skip_passes=0))

    raw = curves(figure, 0)[0]

    assert raw[:2] == [1, 2]
    assert math.isnan(raw[2])


@pytest.mark.parametrize("skip_passes", [3, 100])
def test_the_last_epoch_is_always_shown(skip_passes: int, tmp_path: Path) -> None:
    figure = draw(write_train(tmp_path / "a", skip_passes=skip_passes))

    assert curves(figure, 0) == [[2], [4]]


def test_shades_go_from_dark_to_light_with_the_key_and_the_legend_covers_nothing(
    tmp_path: Path,
) -> None:
    rates = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1)

    figure = draw(*(write_train(tmp_path / str(lr), lr=lr) for lr in reversed(rates)))

    assert legend(figure)[:10] == [f"lr = {json.dumps(lr)}" for lr in rates]
    raw = [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]
    grey = [
        sum(w * c for w, c in zip((0.299, 0.587, 0.114), to_rgb(line.get_color()), strict=True))
        for line in raw
    ]
    assert len(raw) == 10
    assert all(b - a > 0.02 for a, b in pairwise(grey))
    box = figure.legends[0].get_window_extent()
    panels = [axis.get_tightbbox() for axis in figure.axes]
    assert not any(panel is None or box.overlaps(panel) for panel in panels)
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1


def test_losses_far_apart_are_drawn_on_a_logarithmic_axis(tmp_path: Path) -> None:
    small = write_train(tmp_path / "a", losses=((1, 0.1, 0.1, 0.1),), lr=0.1)
    same = write_train(tmp_path / "b", losses=((1, 0.2, 0.2, 0.2),), lr=0.1)
    large = write_train(tmp_path / "c", losses=((1, 9e5, 9e5, None),), lr=0.2)

    def scale(*paths: Path) -> tuple[str, str]:
        axes = draw(*paths).axes
        return axes[0].get_yscale(), axes[2].get_yscale()

    assert scale(small, same) == ("linear", "linear")
    assert scale(small, large) == ("log", "linear")


def test_a_dollar_in_the_name_of_a_folder_is_a_dollar(tmp_path: Path) -> None:
    paths = [write_train(tmp_path / name) for name in ("_a", "b$x$y$")]

    figure = draw(*paths, paths[0])

    assert legend(figure)[:2] == [f"run {path}" for path in paths]
    assert not any(text.get_parse_math() for text in figure.legends[0].get_texts())


def test_averages_that_runs_do_not_share_are_named_by_their_place(tmp_path: Path) -> None:
    paths = [write_train(tmp_path / str(gammas), gammas=gammas) for gammas in ((0.5, 0.1), (0.2,))]

    figure = draw(*paths)

    assert legend(figure)[2:] == [
        "raw weights",
        "average, the run's γ number 1",
        "average, γ = 0.1",
    ]
