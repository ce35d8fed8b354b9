"""Lists of 20,000 entries: refused, or computed, drawn and listed within seconds."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from answer import Answer
from fuzz.harness import cpu_limit
from processes import random_moments

import midterm_cli
from midterm_cli.errors import UserError
from midterm_cli.registry import EXPERIMENTS

MANY = 20_000
NUMBERS = [1 + i / 1_000_000 for i in range(MANY)]
LAYER = {"type": "relu"}
LISTS: list[tuple[str, str, list[Any], str]] = [
    ("autodiff", "x", NUMBERS, "x must hold 1 to 100 points, got 20000"),
    ("autodiff", "range", NUMBERS, "range must have at most 2 values"),
    ("softt", "y", NUMBERS, "y must have at most 100 values"),
    ("softt", "range", NUMBERS, "range must have at most 2 values"),
    ("module", "x", NUMBERS, "x has dimension 20000, at most 256 is taken"),
    ("module", "matrix", [NUMBERS], "M must be square, got shape (1, 20000)"),
    ("module", "matrix", [[1.0]] * MANY, "M must be square, got shape (20000, 1)"),
    ("train", "ema_gamma", [x / 2 for x in NUMBERS], "ema_gamma must have at most 32 values"),
    ("train", "hidden_sizes", [1] * MANY, "hidden_sizes must have at most 64 values"),
    ("train", "betas", NUMBERS, "betas must have at most 2 values"),
    ("train", "network", [LAYER] * MANY, "network must have at most 64 values"),
    ("lr_sweep", "rates", NUMBERS, "rates must have at most 1000 values"),
    ("lr_range", "hidden_sizes", [1] * MANY, "hidden_sizes must have at most 64 values"),
    ("conv", "size", [1] * MANY, "size must have at most 2 values"),
    ("conv_stride", "strides", [1] * MANY, "strides must have at most 16 values"),
    ("conv_stack", "layers", [LAYER] * MANY, "layers must have at most 64 values"),
    ("conv_stack", "size", [1] * MANY, "size must have at most 2 values"),
    ("pool", "size", [1] * MANY, "size must have at most 2 values"),
    ("pool_min", "input", [NUMBERS], "input[0] must have at most 64 values"),
    ("pool_min", "input", [[1.0]] * MANY, "input must have at most 64 values"),
]


@pytest.mark.parametrize(("experiment", "key", "value", "told"), LISTS, ids=lambda it: str(it)[:20])
def test_one_in_a_config(
    experiment: str, key: str, value: list[Any], told: str, folder: Path
) -> None:
    with cpu_limit(), pytest.raises(UserError, match=f"^{re.escape(told)}") as refused:
        midterm_cli.run(experiment, config={key: value})
    assert len(str(refused.value).splitlines()) <= 2
    assert not (folder / "outputs").exists()


EARLIER = Path(__file__).parents[1] / "runs" / "version_0_1_0"


def lengthened(document: Any) -> Iterator[Any]:
    """A document with each list in turn, and all lists beside each other, made very long.

    The first item of a list stands for the others.
    """
    if isinstance(document, dict):
        for key, value in document.items():
            yield from (document | {key: longer} for longer in lengthened(value))
        lists = {key: value for key, value in document.items() if isinstance(value, list) and value}
        if len(lists) > 1:
            yield document | {key: longer(value) for key, value in lists.items()}
    elif isinstance(document, list) and document:
        yield longer(document)
        yield from ([inner, *document[1:]] for inner in lengthened(document[0]))


def longer(values: list[Any]) -> list[Any]:
    return (values * (MANY // len(values) + 1))[:MANY]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("times", "readers"),
    [
        (1, ["show"]),
        pytest.param(
            None,
            [
                *("show", "draw --quiet", "export --format csv", "export --format md", "check"),
                *("diff whole", "compare whole", "report"),
            ],
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_one_in_a_stored_run(
    name: str,
    times: int | None,
    readers: list[str],
    folder: Path,
    midterm: Callable[..., Answer],
) -> None:
    true = json.loads((EARLIER / name / "metrics.json").read_bytes())
    for run in ("run", "whole"):
        Path(run).mkdir()
        Path(run, "metrics.json").write_text(json.dumps(true), encoding="utf-8")
    cases = list(lengthened(true["results"]))
    rng = random_moments() if "MIDTERM_RANDOM" in os.environ else Random(name)
    for results in rng.sample(cases, times or len(cases)):
        text = json.dumps(true | {"results": results})
        Path("run/metrics.json").write_text(text, encoding="utf-8")
        for reader in readers:
            command, *rest = reader.split()
            with cpu_limit():
                assert midterm(command, "run", *rest).code in (0, 2, 3), reader
