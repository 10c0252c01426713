"""The notebooks run from top to bottom, and are committed with their outputs; the walkthrough's are of a real run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "walkthrough.ipynb"
LESSON = NOTEBOOK.with_name("lesson.ipynb")


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
    for call in ("plt.subplots", "model.sample(50, seed=0)", "model.traverse(around=", "model.reconstruct"):
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


@pytest.mark.filterwarnings("ignore")  # Jupyter's own
def test_the_lesson_runs_and_shows_what_its_answers_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    book = nbformat.read(LESSON, as_version=4)
    NotebookClient(book, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert pictures(book) == pictures(nbformat.read(LESSON, as_version=4))
    text = "\n".join(output.get("text", "") for output in outputs(book))
    soft = re.findall(r"mean picture ([\d.]+), with details ([\d.]+), the average of 64 such ([\d.]+)", text)
    assert len(soft) == 4
    assert all(float(mean) < float(average) < float(one) for mean, one, average in soft)
    every = float(re.findall(r"all twelve numbers: ([\d.]+)", text)[0])
    assert every > 0.85
    assert all(float(value) < every - 0.2 for value in re.findall(r"(?:single number, z\d+|garments): ([\d.]+)", text))
    shades = re.findall(r"brightness: \[(.+)\]", text)[0].split()
    assert float(shades[-1]) - float(shades[1]) > 0.4


def test_each_exercise_of_the_lesson_has_its_answer_and_needs_the_base_install_alone() -> None:
    book = nbformat.read(LESSON, as_version=4)
    sources = [cell.source for cell in book.cells]
    exercises = [at for at, source in enumerate(sources) if "**Exercise " in source]
    assert [re.findall(r"\*\*Exercise (\d+)", sources[at]) for at in exercises] == [
        [str(number + 1)] for number in range(len(exercises))
    ]
    assert len(exercises) >= 10
    for at, end in zip(exercises, [*exercises[1:], len(sources)], strict=True):
        assert any("<summary>Answer</summary>" in source for source in sources[at:end]), sources[at]
    minutes = [int(found) for found in re.findall(r"^\| (\d+) \|", sources[0], re.MULTILINE)]
    assert sum(minutes) == 45
    code = "\n".join(cell.source for cell in book.cells if cell.cell_type == "code")
    imported = set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE))
    assert imported <= {"base64", "json", "numpy", "PIL", "vae_gen"}
    assert not re.search(r"/(home|root|tmp|work|Users)/", LESSON.read_text("utf-8"))
    assert LESSON.stat().st_size < 600_000
