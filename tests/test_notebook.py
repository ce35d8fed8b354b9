"""The notebook in examples/, executed by a kernel as Jupyter starts one."""

from pathlib import Path

import nbclient
import nbformat
import pytest
from nbformat.v4 import new_code_cell

NOTEBOOK = Path(__file__).parent.parent / "examples" / "midterm.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    as_command = new_code_cell("%run -m midterm_cli softt plot --quiet")  # type: ignore[no-untyped-call]
    notebook.cells.append(as_command)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )

    client.execute()

    shown = [
        output.data
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "execute_result"
    ]
    assert sum("image/png" in data for data in shown) == 2
    assert "outputs/softt/default" in as_command.outputs[0].text
