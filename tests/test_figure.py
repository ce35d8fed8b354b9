"""Equal figures are equal files, which say that midterm wrote them."""

from collections.abc import Callable

import pytest
from matplotlib.figure import Figure

from midterm_cli import figure


@pytest.mark.parametrize("render", [figure.to_png, figure.to_svg])
def test_equal_figures_are_equal_files(render: Callable[[Figure], bytes]) -> None:
    def draw() -> bytes:
        drawn = Figure()
        drawn.subplots().plot([1, 2])
        return render(drawn)

    assert draw() == draw()
    assert b"midterm" in draw()
    assert b"atplotlib v" not in draw()


def test_a_png_holds_our_signature() -> None:
    assert figure.SIGNATURE in figure.to_png(Figure())
