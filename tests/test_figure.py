"""Equal figures are equal files, which say that midterm wrote them."""

from typing import get_args

import pytest
from matplotlib.figure import Figure

from midterm_cli import figure


@pytest.mark.parametrize("form", get_args(figure.Format))
def test_equal_figures_are_equal_files(form: figure.Format) -> None:
    def draw() -> bytes:
        drawn = Figure()
        drawn.subplots().plot([1, 2], label="two")
        drawn.legend()
        return figure.render(drawn, form)

    assert draw() == draw()
    assert b"midterm" in draw()
    assert b"atplotlib v" not in draw()


@pytest.mark.parametrize("form", get_args(figure.Format))
def test_a_figure_holds_our_signature(form: figure.Format) -> None:
    assert figure.SIGNATURES[f".{form}"] in figure.render(Figure(), form)
