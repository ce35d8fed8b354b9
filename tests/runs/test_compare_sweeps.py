"""Several sweeps in one figure."""

from pathlib import Path

import numpy as np
from written_runs import write_sweep

from midterm_cli.runs import compare_sweeps
from midterm_cli.runs.compare import compare


def test_thresholds_are_drawn_against_the_number_that_differs(tmp_path: Path) -> None:
    second = {"threshold_lr": {"estimate": 0.01, "low": 0.005, "high": 0.02}}
    runs = [
        write_sweep(tmp_path / "a", batch_size=8),
        write_sweep(tmp_path / "b", second, batch_size=64),
    ]

    _, _, against = compare_sweeps.draw(compare(runs)).axes

    drawn = [
        (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in against.lines
    ]
    assert ([8], [0.00322]) in drawn
    assert ([8, 8], [0.003, 0.00345]) in drawn
    assert ([64], [0.01]) in drawn
    assert ([64, 64], [0.005, 0.02]) in drawn
    assert (against.get_xlabel(), against.get_xscale(), against.get_yscale()) == (
        "batch_size",
        "log",
        "log",
    )
    two_keys = [*runs, write_sweep(tmp_path / "c", batch_size=8, epochs=2)]
    assert len(compare_sweeps.draw(compare(two_keys)).axes) == 2


def test_each_threshold_stands_in_its_row_with_its_interval(tmp_path: Path) -> None:
    open_end = {"threshold_lr": {"estimate": 0.01, "low": 0.005, "high": None}}
    runs = [
        write_sweep(tmp_path / "a", optimizer="adam", betas=[0.9, 0.99]),
        write_sweep(tmp_path / "b", open_end, momentum=0.9),
        write_sweep(tmp_path / "c", {}),
    ]
    figure = compare_sweeps.draw(compare(runs))
    figure.draw_without_rendering()
    shares, thresholds = figure.axes
    assert shares.get_xscale() == "log"
    assert [text.get_text() for text in thresholds.get_yticklabels()] == [
        "optimizer = adam, betas = [0.9,0.99]",  # its momentum changes nothing
        "optimizer = sgd, momentum = 0.9",
        "optimizer = sgd, momentum = 0.0",
    ]
    drawn = [
        (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in thresholds.lines
    ]
    assert ([0.003, 0.00345], [0, 0]) in drawn
    assert ([0.00322], [0]) in drawn
    # The open end reaches to the last learning rate tried, and has no cap.
    assert ([0.005, 0.002], [1, 1]) in drawn
    assert ([0.005], [1]) in drawn
    assert [text.get_text() for text in thresholds.texts] == ["no threshold"]
