"""The models in the repository: whole, described by what was measured, and small enough to travel."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from vae_export.card import model_card
from vae_gen import VAE, Manifest, verify

ARTIFACTS = Path(__file__).parent.parent / "artifacts"
SHIPPED = sorted(path.parent for path in ARTIFACTS.glob("*/manifest.json"))


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_shipped_model_verifies(folder: Path) -> None:
    assert [check for check in verify(folder) if not check.passed] == []


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_shipped_card_says_what_was_measured(folder: Path) -> None:
    manifest = Manifest.parse((folder / "manifest.json").read_bytes())
    assert (folder / "README.md").read_text() == model_card(manifest.document)
    assert manifest.name == folder.name


def test_all_shipped_models_together_stay_below_twenty_megabytes() -> None:
    assert sum(file.stat().st_size for folder in SHIPPED for file in folder.iterdir()) < 20e6


def test_a_name_finds_a_shipped_model() -> None:
    for folder in SHIPPED:
        assert VAE(folder.name).manifest.name == folder.name


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize("what", ["repository", "kit"])
def test_a_clone_by_git_for_windows_keeps_every_byte_of_a_model(what: str, tiny_kit: Path, tmp_path: Path) -> None:
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    if what == "kit":
        shutil.copytree(tiny_kit, origin)
    else:
        shutil.copytree(ARTIFACTS / "fashion-mnist-12d-reference", origin / "artifacts" / "reference")
        shutil.copyfile(ARTIFACTS.parent / ".gitattributes", origin / ".gitattributes")
    person = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*person, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *words], cwd=origin, check=True)
    subprocess.run(["git", "clone", "-q", "-c", "core.autocrlf=true", origin, clone], check=True)
    (manifest,) = clone.rglob("manifest.json")
    assert [check for check in verify(manifest.parent) if not check.passed] == []
