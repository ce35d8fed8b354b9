"""What a run found, as text: all of a table of ours, a part of one that is far too long."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from midterm_cli.experiment import Table
from midterm_cli.runner import document, summary

EARLIER = Path(__file__).parents[1] / "runs" / "version_0_1_0"


@pytest.mark.parametrize(("rows", "said"), [(1_000, None), (20_000, "19,000 more rows")])
def test_a_table_of_a_foreign_file_is_cut(
    rows: int, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table("long", ["i"], [[f"row{i}"] for i in range(rows)])
    run: Any = SimpleNamespace(**vars(document.read(EARLIER / "softt")))
    run.experiment = SimpleNamespace(
        command="midterm softt plot", summarize=lambda results: [table]
    )
    for text in (summary.text(run), summary.markdown(run)):
        assert text.count("row") == 1_000 + (said is not None)
        assert ("left out" in text) == (said is not None)
        assert said is None or f"{said} are left out: --json has them all" in text
