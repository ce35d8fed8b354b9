"""How figures get onto the page."""

import base64

import pytest
from matplotlib.figure import Figure

from midterm_cli.report import figures


def test_a_drawing_of_too_many_lines_is_shown_as_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = Figure()
    assert figures.picture(figure).uri.startswith("data:image/svg+xml;base64,")
    monkeypatch.setattr(figures, "_LARGEST_SVG", 100)
    head, content = figures.picture(figure).uri.split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(content).startswith(b"\x89PNG")
