"""The start of the program: the time and the memory of whole processes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from vae_gen import find_model

from .machine import DEFAULT, HERE, REFERENCE
from .pairs import Pair, Peer, compare, scaled
from .running import peak_megabytes, process

ROUNDS = 21
MEMORY_ROUNDS = 5


def measure(folder: Path, share: float = 1.0) -> Iterator[Pair | str]:
    """Compare commands with the smallest script that does the same."""
    rounds = scaled(ROUNDS, share)
    commands = {name: (ours(name), least(name)) for name in (DEFAULT, REFERENCE)}
    for name, (mine, minimal) in commands.items():
        check_pictures(folder, name)
        title = "cold start, 50 pictures to PNG" + ("" if name == DEFAULT else f", {name}")
        goal = 1.2 if name == DEFAULT else None
        yield from compare(title, process(*mine, folder=folder),
                           [Peer("minimal script", process(*minimal, folder=folder), goal)], rounds=rounds)
    mine, minimal = commands[DEFAULT]
    if importlib.util.find_spec("torch"):
        torch = Peer("python -c 'import torch'", process("python", "-c", "import torch", folder=folder), 1 / 6)
        yield from compare("cold start, 50 pictures to PNG", process(*mine, folder=folder), [torch], rounds=rounds)
    else:
        yield "Not measured: cold start against import torch, because torch is not installed."
    if importlib.util.find_spec("rich"):
        imports = Peer("python -c 'import typer, rich'",
                       process("python", "-c", "import typer, rich", folder=folder), 1.3)
        yield from compare("vae-gen --help", process("vae-gen", "--help", folder=folder), [imports], rounds=rounds)
    else:
        yield "Not measured: vae-gen --help, because rich is not installed."
    yield from compare(
        "peak memory of sample -n 50", lambda: peak_megabytes(*mine, folder=folder),
        [Peer("minimal script", lambda: peak_megabytes(*minimal, folder=folder), 1.15)],
        rounds=scaled(MEMORY_ROUNDS, share), measure=lambda work, _: float(work()), unit="MB",  # type: ignore[arg-type]
    )  # fmt: skip


def ours(name: str) -> tuple[str, ...]:
    """The command that is measured, for a model."""
    chosen = () if name == DEFAULT else ("--model", name)
    return ("vae-gen", "sample", "-n", "50", "--seed", "0", "-q", *chosen, "-o", "x.png")


def least(name: str) -> tuple[str | Path, ...]:
    """The minimal script with the same graph."""
    return ("python", HERE / "minimal.py", find_model(name) / "generator.onnx", "m.png")


def check_pictures(folder: Path, name: str) -> None:
    """Make sure that both make the same fifty pictures, to one grey level."""
    process(*least(name), folder=folder)()
    process(*ours(name)[:-1], "x.npy", folder=folder)()
    mine = np.load(folder / "x.npy")
    if mine.dtype != np.uint8:
        mine = (255 * mine + 0.5).astype(np.uint8)
    with Image.open(folder / "m.png") as picture:
        grid = np.asarray(picture)[2::4, 2::4].reshape(5, 28, 10, 28).transpose(0, 2, 1, 3).reshape(50, 1, 28, 28)
    if (apart := np.abs(grid.astype(int) - mine.astype(int)).max()) > 1:
        raise AssertionError(f"expected the same pictures of {name} from both, got {apart} grey levels between them")


