"""examples/walkthrough.ipynb: runs from top to bottom, and is committed with the outputs of a real training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "walkthrough.ipynb"


def outputs(book: Any) -> list[Any]:
    return [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]


def pictures(book: Any) -> list[str]:
    """The code of each cell that shows a picture."""
    return [
        cell.source
        for cell in book.cells
        if cell.cell_type == "code" and any("image/png" in output.get("data", {}) for output in cell.outputs)
    ]


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Jupyter's own
def test_it_runs_from_top_to_bottom(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VAE_GEN_WALKTHROUGH_EPOCHS", "1")
    monkeypatch.setenv("VAE_GEN_WALKTHROUGH_STEPS", "5")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    book = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    committed = nbformat.read(NOTEBOOK, as_version=4)
    assert pictures(book) == pictures(committed)
    assert any("0 misses" in output.get("text", "") for output in outputs(book))


def test_it_is_committed_with_the_outputs_of_a_real_training() -> None:
    book = nbformat.read(NOTEBOOK, as_version=4)
    shown = "\n".join(pictures(book))
    for call in ("plt.subplots", "model.sample(50, seed=0)", "model.traverse()", "model.reconstruct"):
        assert call in shown
    found = outputs(book)
    assert not [output for output in found if output.output_type == "error" or output.get("name") == "stderr"]
    text = "\n".join(output.get("text", "") for output in found)
    assert "0 misses" in text
    epoch, validation = re.findall(r"epoch (\d+): training [\d.]+, validation ([\d.]+) nats", text)[0]
    assert int(epoch) >= 5
    assert float(validation) < 245
    assert not re.search(r"/(home|root|tmp|work|Users)/", NOTEBOOK.read_text("utf-8"))
    assert NOTEBOOK.stat().st_size < 800_000
