"""The tutorial runs from the first cell to the last on a small made-up set. Takes about two minutes.

Needs nbclient and ipykernel: ``pip install nbclient ipykernel``.
"""

from pathlib import Path

import pytest

from tools.phantoms.hippocampus import hippocampus_phantoms

nbclient = pytest.importorskip("nbclient", reason="nbclient and ipykernel are not installed")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytestmark = pytest.mark.external

ROOT = Path(__file__).parents[2]


def test_every_cell_runs(tmp_path, monkeypatch):
    data = hippocampus_phantoms(str(tmp_path / "data"), num_cases=26)
    for name in ("bundles", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setenv("TUTORIAL_DATA", data)
    monkeypatch.setenv("TUTORIAL_QUICK", "1")
    notebook = nbformat.read(ROOT / "bundles/hippocampus/docs/tutorial.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(str(output) for cell in notebook.cells for output in cell.get("outputs", []))
    assert "Difference to scratch" in printed
    assert list((tmp_path / "tutorial_segmentations").rglob("*.nii.gz"))
