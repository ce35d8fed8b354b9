"""The one table of experiments. Nothing of an experiment is imported before it is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from matplotlib.figure import Figure

    from midterm_cli.experiment import Context, ExperimentConfig, Output, Results, Table


@dataclass(frozen=True)
class Experiment:
    """A row of the table.

    Attributes:
        name: as in run folders, configs and metrics.json.
        package: of its three modules: schema, run and show.
        command: the words that run it.
        variants: folders of configs/ that hold a preset of it besides its default.
    """

    name: str
    package: str
    command: str
    variants: tuple[str, ...] = ()

    @property
    def presets(self) -> list[str]:
        """Names of its packaged configs, the default first."""
        return [self.name, *(f"{variant}/{self.name}" for variant in self.variants)]

    @property
    def config_class(self) -> type[ExperimentConfig]:
        """What it is asked."""
        config_class: type[ExperimentConfig] = self._module("schema").Config
        return config_class

    @property
    def results_class(self) -> type[Results]:
        """What it answers."""
        results_class: type[Results] = self._module("schema").Results
        return results_class

    def run(self, config: ExperimentConfig, context: Context) -> Output:
        """Compute; imports torch."""
        output: Output = self._module("run").run(config, context)
        return output

    def draw(self, config: ExperimentConfig, results: Results) -> Mapping[str, Figure]:
        """Its figures, by file stem; imports matplotlib."""
        from midterm_cli.figure import own_style

        with own_style():
            figures: Mapping[str, Figure] = self._module("show").draw(config, results)
        return figures

    def summarize(self, results: Results) -> Sequence[Table | str]:
        """What a person wants to read on the terminal."""
        summary: Sequence[Table | str] = self._module("show").summarize(results)
        return summary

    def load(self) -> None:
        """Import what computes, before it is called."""
        self._module("run")

    def _module(self, name: str) -> ModuleType:
        return importlib.import_module(f"{self.package}.{name}")


def _row(package: str, command: str, *variants: str) -> Experiment:
    return Experiment(package.rpartition(".")[2], f"midterm_cli.{package}", command, variants)


EXPERIMENTS: dict[str, Experiment] = {
    row.name: row
    for row in (
        _row("part1.autodiff", "midterm autodiff", "reference"),
        _row("part2.softt", "midterm softt plot"),
        _row("part2.module", "midterm module grad"),
        _row("part3.train", "midterm train", "reference"),
        _row("part3.lr_sweep", "midterm lr-sweep", "reference"),
        _row("part3.lr_range", "midterm lr-range-test"),
        _row("part4.conv", "midterm conv shape"),
        _row("part4.conv_stride", "midterm conv stride"),
        _row("part4.conv_stack", "midterm conv stack", "text"),
        _row("part4.pool", "midterm pool cost"),
        _row("part4.pool_min", "midterm pool min"),
    )
}
