from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fake_experiment.schema import Config, Results
from midterm_cli.experiment import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(config: Config, results: Results) -> "Mapping[str, Figure]":
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().bar([0, 1], results.w)
    return {"weights": figure}


def summarize(results: Results) -> Sequence[Table | str]:
    return [Table("Weights", ["", "w"], [[str(i), f"{w:.3g}"] for i, w in enumerate(results.w)])]
