"""An experiment of Part 4 from its packaged config, some keys changed."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from midterm_cli.experiment import Context, Output

CONFIGS = Path(__file__).parents[2] / "configs"


def config(module: Any, **changes: Any) -> Any:
    name = module.__name__.rpartition(".")[2]
    values = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    return module.Config.model_validate_json(json.dumps(values | changes), strict=True)


def run(module: Any, **changes: Any) -> Output:
    """Compute the results; that they are strict JSON is checked each time."""
    output: Output = module.run(config(module, **changes), Context(torch.device("cpu")))
    json.dumps(output.results, allow_nan=False)
    return output
