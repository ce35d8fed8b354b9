"""Results of which a part was lost: they are refused, or they can still be shown."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from packaged import config, run
from pydantic import ValidationError

from midterm_cli.registry import EXPERIMENTS

CONV = {"type": "conv", "out_channels": 2, "kernel_size": 3, "stride": 2}


def shortened(whole: Any, place: Any) -> Iterator[Any]:
    """`whole` again and again, each time with one list in `place` without its last value."""
    # The last of a list stands for all of them, which are of one kind.
    for inner in place.values() if isinstance(place, dict) else place[-1:]:
        if isinstance(inner, dict | list):
            yield from shortened(whole, inner)
    if isinstance(place, list) and place:
        last = place.pop()
        yield json.loads(json.dumps(whole))
        place.append(last)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("softt", {"num_points": 3, "second_derivative": True}),
        ("module", {"dimension": 2}),
        ("conv", {}),
        ("conv_stride", {"dataset": "synthetic", "size": 4, "repeats": 1, "strides": [1, 2]}),
        ("conv_stack", {"size": 9, "layers": [CONV, {"type": "flatten"}]}),
        ("conv_stack", {"size": None, "sentence": "a b c d e f g", "layers": [CONV, CONV]}),
        ("pool", {}),
        ("pool_min", {"size": 3}),
    ],
)
def test_a_list_that_lost_a_value(name: str, changes: dict[str, Any]) -> None:
    experiment = EXPERIMENTS[name]
    stored = run(name, **changes).results.model_dump(mode="json")
    refused = 0
    for damaged in shortened(stored, stored):
        try:
            results = experiment.results_class.model_validate(damaged, strict=True)
        except ValidationError:
            refused += 1
        else:
            experiment.summarize(results)
            experiment.draw(config(name, **changes), results)
    assert refused
