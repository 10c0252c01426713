"""What tests share: a tiny model folder, `vae-gen` as a function, and Fashion-MNIST where it is installed."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from cli_runner import Command
from tiny_model import write_tiny_model
from vae_gen import DetailSpec

# pytest-xdist runs a worker on each core. With more threads than cores, PyTorch's threads spin while they wait for each
# other. PyTorch reads this when it is imported, and the commands that a test starts inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")


@functools.cache
def missing_data() -> str | None:
    """Why the full data set cannot be had without a download, or None where it can."""
    from vae_gen import InputError
    from vae_train.data import load_fashion_mnist  # brings PyTorch, which most tests do without

    try:
        load_fashion_mnist(download=False)
    except InputError as error:
        return str(error)
    return None


QUICK_SEARCH = {"SAMPLES": 600, "WIDER": 100, "WALKS": 20, "TRIED": 60, "FEWEST": 10, "UPDATES": 40}
"""The constants of the search for directions while tests export: the full search takes twelve seconds each time, and
tests/test_directions.py tries what it finds."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    if finding := sys.modules.get("vae_export.directions"):
        vars(finding).update(QUICK_SEARCH)
    if item.get_closest_marker("data") and (reason := missing_data()):
        if os.environ.get("VAE_GEN_REQUIRE_DATA") == "1":
            pytest.fail(f"VAE_GEN_REQUIRE_DATA is set: {reason}", pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete model folder with made-up weights. Tests that change it change a copy."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: on tiny tensors a second one only waits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def other_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, with other weights."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "other", name="other", seed=1)


@pytest.fixture(scope="session")
def fitted_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with its fitted prior as the default."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "fitted", name="fitted", default_prior="fitted")


@pytest.fixture(scope="session")
def old_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as it was before there were fitted priors."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "old", name="old", default_prior=None)


@pytest.fixture
def cli(tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`vae-gen` with the tiny model, in a folder of its own that starts empty."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))  # where models are installed
    monkeypatch.delenv("VAE_GEN_MODEL_PATH", raising=False)
    return Command(tiny_model_folder)


@pytest.fixture(scope="session", params=["shipped", "fitted"])
def kit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kit of the shipped model, and one of a model that draws from its fitted prior."""
    from vae_gen import find_model

    model = find_model() if request.param == "shipped" else request.getfixturevalue("fitted_model_folder")
    folder = tmp_path_factory.mktemp("kits") / request.param
    Command(model).succeed("kit", folder)
    return folder


@pytest.fixture
def tiny_kit(cli: Command) -> Path:
    """A kit that a test may spoil."""
    cli.succeed("kit", "kit")
    return Path.cwd() / "kit"


@pytest.fixture(scope="session")
def detailed_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a fitted prior and a detail stage, both its defaults."""
    folder = tmp_path_factory.mktemp("models") / "detailed"
    return write_tiny_model(folder, name="detailed", default_prior="fitted", detail=DetailSpec(5, 4.0, True))
