"""The formulas of a pooling, and its windows on the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from midterm_cli.experiment import Table
from midterm_cli.part4.picture import draw_windows
from midterm_cli.part4.pool.schema import Config, Results
from midterm_cli.part4.schema import torch_verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def summarize(results: Results) -> Sequence[Table | str]:
    """The formulas with their numbers, and whether PyTorch agrees."""
    return [
        *results.steps,
        f"counted: {results.counted}",
        torch_verdict(results.torch.how, results.torch.agrees),
    ]


def draw(config: Config, results: Results) -> Mapping[str, Figure]:
    """Draw the padded input and its windows; nothing where it has too many pixels."""
    figure = draw_windows(results.input_shape[1:], config.windows(), results.output_shape[1:])
    return {"pool": figure} if figure else {}
