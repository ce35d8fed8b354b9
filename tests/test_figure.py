"""Equal figures are equal files, which say that midterm wrote them, whatever the user has set."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from answer import Answer
from matplotlib.colors import rgb_to_hsv
from matplotlib.figure import Figure

from midterm_cli import figure
from midterm_cli.config.resolve import resolve
from midterm_cli.figure import heat_map
from midterm_cli.runner.document import read
from midterm_cli.runner.make import make


@pytest.mark.parametrize("form", figure.Format)
def test_equal_figures_are_equal_files(form: figure.Format) -> None:
    def draw() -> bytes:
        drawn = Figure()
        drawn.subplots().plot([1, 2], label="two")
        return figure.render(drawn, form)

    assert draw() == draw()
    assert b"atplotlib v" not in draw()
    assert b"Date" not in draw()


@pytest.mark.parametrize("form", figure.Format)
def test_a_figure_holds_our_signature(form: figure.Format) -> None:
    assert figure.SIGNATURES[f".{form}"] in figure.render(Figure(), form)


# The user's surroundings

DRAW = "from midterm_cli.cli import main; main(['draw', 'run', '--quiet'])"


@pytest.mark.parametrize(
    "backend", ["module://matplotlib_inline.backend_inline", "nonsense", "qtagg", ""]
)
def test_no_backend_and_no_matplotlibrc_of_the_user_gets_in(
    folder: Path, tmp_path: Path, backend: str
) -> None:
    make(resolve("softt"), command="midterm", output=Path("run"), quiet=True)
    expected = Path("run/softt.png").read_bytes()
    Path("run/softt.png").unlink()
    rc = tmp_path / "matplotlibrc"
    rc.write_text("text.usetex: True\nsavefig.dpi: 10\nfont.family: SimHei\nlines.linewidth: 9\n")
    surroundings = {"MPLBACKEND": backend, "MATPLOTLIBRC": str(rc)}
    done = subprocess.run(
        [sys.executable, "-c", DRAW],
        env=os.environ | surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert Path("run/softt.png").read_bytes() == expected


@pytest.mark.parametrize(
    ("words", "is_said"),
    [
        (["-m", "midterm_cli", "draw", "run", "--quiet"], False),
        (["-c", "import midterm_cli.figure, matplotlib; matplotlib.get_cachedir()"], True),
    ],
)
def test_matplotlib_s_own_words_are_kept_from_the_command_line_alone(
    words: list[str], is_said: bool, folder: Path
) -> None:
    """Such as that it has no folder for its cache."""
    make(resolve("softt"), command="midterm", output=Path("run"), quiet=True)
    surroundings = os.environ | {"MPLCONFIGDIR": os.devnull}
    command = [sys.executable, *words]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    assert (done.returncode, "cache" in done.stderr) == (0, is_said)


def test_what_the_user_has_set_holds_again_afterwards() -> None:
    with mpl.rc_context({"lines.linewidth": 7, "font.size": 3}):
        before = dict(mpl.rcParams)
        with figure.own_style():
            assert mpl.rcParams["lines.linewidth"] == mpl.rcParamsDefault["lines.linewidth"]
        figure.to_png(Figure())
        assert dict(mpl.rcParams) == before


def test_threads_that_draw_leave_the_looks_as_they_were() -> None:
    def draw() -> None:
        for _ in range(3):
            figure.to_svg(Figure())

    with mpl.rc_context({"font.size": 3}):
        threads = [threading.Thread(target=draw) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert mpl.rcParams["font.size"] == 3


# Text as it was typed


@pytest.mark.parametrize(
    "sentence",
    [
        "cost $20_$30 a b c d e",
        r"the $\foo$ a b c d e f",
        "pay $x_1$ or $y^2$ a b c d e",
        r"$$ \$ %s {0} \frac{1}{2} a_b^c [bold]x[/bold] <b>",
    ],
)
def test_a_sentence_is_drawn_as_typed(
    folder: Path, midterm: Callable[..., Answer], sentence: str
) -> None:
    options = ("--config", "text/conv_stack", "--sentence", sentence, "--output", "run")
    assert midterm("conv", "stack", *options).code == 0
    run = read(Path("run"))
    [drawn] = run.experiment.draw(run.config, run.results).values()
    labels = drawn.axes[0].get_xticklabels()
    assert [label.get_text() for label in labels] == sentence.split()
    assert not any(label.get_parse_math() for label in labels)


def test_a_missing_glyph_is_one_line_of_ours(folder: Path, midterm: Callable[..., Answer]) -> None:
    options = ("--config", "text/conv_stack", "--output", "run")
    answer = midterm("conv", "stack", *options, "--sentence", "한국 中国 Ａ！ é ß a b c")
    assert answer.code == 0
    notes = [line for line in answer.err.splitlines() if "lacks" in line]
    assert notes == [
        "Note: the figures' font, DejaVu Sans, lacks 한 국 中 国 Ａ ！: boxes stand in their place"
    ]
    assert "Warning" not in answer.err


def test_glyphs_that_are_there_are_not_missed() -> None:
    drawn = Figure()
    drawn.suptitle("∂φ/∂M × γ – “é” $\\pm T$")
    assert figure.missing_glyphs(drawn) == []
    assert figure.glyph_note([drawn]) == []


# Looks


def test_a_signed_heat_map_is_white_at_0_and_as_dark_on_both_sides() -> None:
    axes = Figure().subplots()
    image = figure.heat_map(axes, [[-1, 0, 4]], (-1, 4), "{:g}".format)
    low, high = image.get_clim()
    assert (low, high) == (-4, 4)
    zero, above, below = np.asarray(image.to_rgba(np.array([0, 4, -4])))[:, :3]
    assert zero.min() > 0.95
    hues = rgb_to_hsv(np.array([above, below]))[:, 0]
    assert abs(hues[0] - hues[1]) > 0.3
    weights = np.array([0.299, 0.587, 0.114])
    assert above @ weights == pytest.approx(below @ weights, abs=0.1)
    colours = {text.get_text(): text.get_color() for text in axes.texts}
    assert colours == {"-1": "black", "0": "black", "4": "white"}


def test_a_heat_map_of_one_sign_rises_in_lightness() -> None:
    image = figure.heat_map(Figure().subplots(), [[1, 2, 3]], (1, 3), None)
    lightness = np.asarray(image.to_rgba(np.array([1, 2, 3])))[:, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(lightness) > 0.1).all()


@pytest.mark.parametrize("ends", [(1.2, 1.9), (0.3, 4), (1e-4, 1e-2), (1e-150, 1e150)])
def test_a_logarithmic_axis_has_labels_at_their_places(ends: tuple[float, float]) -> None:
    drawn = Figure()
    axes = drawn.subplots()
    axes.plot(ends, ends)
    figure.log_scale(axes, "y")
    drawn.draw_without_rendering()
    low, high = axes.get_ylim()
    shown = [
        (tick, label.get_text())
        for tick, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
        if low <= tick <= high
    ]
    assert len(shown) >= 2
    if ends[1] / ends[0] < 1e3:
        assert [float(text) for _, text in shown] == pytest.approx([tick for tick, _ in shown])


# draw RUN --format


@pytest.fixture
def run(folder: Path) -> Path:
    return make(resolve("softt"), command="midterm", output=Path("run"), quiet=True).folder


def test_draw_in_every_format(run: Path, midterm: Callable[..., Answer]) -> None:
    png = (run / "softt.png").read_bytes()
    for form, start in (("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")):
        answer = midterm("draw", run, "--format", form)
        assert (answer.code, answer.out) == (0, f"run/softt.{form}\n")
        content = (run / f"softt.{form}").read_bytes()
        assert content.startswith(start)
    assert content == png
    assert midterm("softt", "plot", "--output", run, "--force").code == 0


def test_a_foreign_pdf_in_a_run_is_never_deleted(run: Path, midterm: Callable[..., Answer]) -> None:
    (run / "paper.pdf").write_bytes(b"%PDF-1.4 not ours")
    answer = midterm("softt", "plot", "--output", run, "--force")
    assert answer.code == 2
    assert "paper.pdf" in answer.err
    assert (run / "paper.pdf").exists()


def test_dpi_is_that_of_the_pixels(run: Path, midterm: Callable[..., Answer]) -> None:
    widths = []
    for dpi in (50, 100):
        assert midterm("draw", run, "--dpi", dpi).code == 0
        widths.append(int.from_bytes((run / "softt.png").read_bytes()[16:20], "big"))
    assert widths == [440, 880]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--format", "jpg"), "'jpg' is not one of 'png', 'pdf', 'svg'"),
        (("--format", "svg", "--dpi", "50"), "--dpi is of a png"),
    ],
)
def test_draw_refuses(
    run: Path, midterm: Callable[..., Answer], options: tuple[str, ...], said: str
) -> None:
    answer = midterm("draw", run, *options)
    assert answer.code == 2
    assert said in answer.err


@pytest.mark.parametrize("rows", [[[1e308, -1.7e308], [0, 1]], [[1.7e308, 1.6e308]], [[-1e308]]])
def test_a_heat_map_of_numbers_at_the_end_of_float64(rows: list[list[float]]) -> None:
    drawing = Figure()
    left, right = drawing.subplots(1, 2)
    values = [value for row in rows for value in row]

    drawing.colorbar(heat_map(left, rows, (min(values), max(values)), "{:.3g}".format), cax=right)

    assert figure.to_png(drawing).startswith(b"\x89PNG")
