"""The notebooks, executed in a folder of their own; they are kept without outputs.

`make docs` executes them and looks over what came out (`docs/extensions/executed.py`); a plain `pytest` does so here.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.patience import PATIENCE

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples/notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs"), "outputs would drift from what comes out"


@pytest.mark.built
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=PATIENCE, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()  # a cell that fails raises
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = [o["text"] for o in outputs if o.output_type == "stream" and o["name"] == "stderr"]
    assert not [text for text in said if not text.startswith("recorder: ")], "no warning"
    assert any("image/png" in output.get("data", {}) for output in outputs), "a picture"


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) == 4
