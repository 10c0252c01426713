"""What tests share: a tiny model folder, and `vae-gen` as a function."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli_runner import Command
from tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete model folder with made-up weights. Tests that change it change a copy."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def other_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, with other weights."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "other", name="other", seed=1)


@pytest.fixture
def vae_gen(tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`vae-gen` with the tiny model, in a folder of its own that starts empty."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Command(tiny_model_folder)
