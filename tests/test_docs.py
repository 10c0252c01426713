"""The documentation holds to the program: its start and how-to pages run, and the page of the library is complete.

`.ci/run` builds the site strictly, which checks its links and its navigation.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import vae_gen

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("start/*.md"), *DOCS.glob("how-to/*.md"), DOCS / "your-own-images.md", DOCS / "bulk.md"])
EMOJI = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
NOT_RUN = (
    "python3 -m venv", "pip install", "vae-gen play", "vae-gen page", "vae-gen bench", "jupyter lab", "vae-detail",
)
"""Commands that make an environment, never end, need npm, measure the machine, or train for many minutes."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """The language and the text of each block that a page shows to be run, shortened where it takes minutes."""
    found: list[tuple[str, str]] = re.findall(r"```(sh|python)\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    kept = []
    for language, block in found:
        lines = [line for line in block.splitlines() if not line.startswith(NOT_RUN)]
        lines = [re.sub(r"\b(\d+)000000?(?=\D)", r"\g<1>000", line) for line in lines]
        lines = [re.sub(r"^(vae-train .*?)( --epochs \d+)?$", r"\1 --epochs 1", line) for line in lines]
        kept.append((language, "\n".join(lines)))
    return [(language, block) for language, block in kept if block]


def run(page: Path, folder: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    for name in ("shirt.jpg", "shoe.png", "photo.jpg"):
        Image.new("L", (40, 30), 90).save(folder / name)
    for language, block in blocks(page):
        start = ["bash", "-euo", "pipefail"] if language == "sh" else [sys.executable]
        result = subprocess.run(
            [*start, "-c", block], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"{block}\n{result.stderr}"


def trains(page: Path) -> bool:
    return any("vae-train" in block or "vae-eval" in block for _, block in blocks(page))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page) and not trains(page)], ids=lambda page: page.stem
)
def test_the_blocks_of_a_page_run_one_after_the_other(page: Path, tmp_path: Path) -> None:
    run(page, tmp_path)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if trains(page)], ids=lambda page: page.stem)
def test_the_blocks_of_a_page_that_trains_run_one_after_the_other(page: Path, tmp_path: Path) -> None:
    if EMOJI.name in page.read_text("utf-8") and not EMOJI.exists() and os.environ.get("VAE_GEN_REQUIRE_DATA") != "1":
        pytest.skip(f"{EMOJI} is missing; Debian's fonts-noto-color-emoji has it")
    run(page, tmp_path)


def test_every_path_that_a_document_names_exists() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *DOCS.glob("*/*.md")]
    folders = "artifacts|bench|cli|docs|examples|export|runtime|tests|train|web"
    named = {path for page in pages for path in re.findall(rf"`((?:{folders})/[\w./-]+)", page.read_text("utf-8"))}
    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_page_of_the_library_has_every_public_name_once() -> None:
    named = re.findall(r"^::: vae_gen\.(\w+)$", (DOCS / "reference" / "library.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(vae_gen.__all__)
