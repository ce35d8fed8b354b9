"""An experiment with its packaged config, some keys changed."""

import json
from typing import Any

import torch

from midterm_cli.config.resolve import Layer, resolve
from midterm_cli.experiment import Context
from midterm_cli.registry import EXPERIMENTS


def config(name: str, preset: str | None = None, /, **changes: Any) -> Any:
    """The config of the experiment's own type, which the type checker cannot know."""
    return resolve(name, preset, options=[Layer("test", changes)]).config


def run(name: str, preset: str | None = None, /, **changes: Any) -> Any:
    """The Output; each time, that its results are read back from strict JSON as they were."""
    experiment = EXPERIMENTS[name]
    output = experiment.run(config(name, preset, **changes), Context(torch.device("cpu")))
    written = json.dumps(output.results.model_dump(mode="json"), allow_nan=False)
    read = experiment.results_class.model_validate(json.loads(written), strict=True)
    assert read == output.results
    return output
