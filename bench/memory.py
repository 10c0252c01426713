"""Memory and time of training on a million pictures of 64 × 64 in colour, 12 GB, and on 20 000 of them in memory.

Every command is a process of its own. The pictures are made here: blots of random colours and places, which differ from
each other. `--share` makes fewer pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .pairs import scaled
from .parts import Table
from .running import cost

PICTURES, FEW, SIDE, STEPS, BLOCK = 1_000_000, 20_000, 64, 100, 2000

COMMANDS = (
    ("import torch", ("python", "-c", "import torch")),
    ("the first start, {steps} steps, 5000 images of validation and all test images",
     ("vae-train", "--data", "{set}.npy", "--steps", "{steps}", "--out", "{set}-run", "--threads", "2")),
    ("going on after a kill in the last evaluation", ("vae-train", "--out", "{set}-run", "--resume")),
    ("measuring the run", ("vae-eval", "{set}-run")),
    ("export, with the fit of the prior and the proof", ("vae-export", "{set}-run", "--out", "{set}-model")),
    ("measuring the model", ("vae-eval", "{set}-model", "--data", "{set}.npy")),
)  # fmt: skip


def measure(folder: Path, share: float = 1.0) -> Iterator[Table | str]:
    """Run all commands on both sets."""
    os.environ["VAE_GEN_CACHE"] = str(folder / "cache")
    counts = {"few": scaled(FEW, share, 2000), "many": scaled(PICTURES, share, 4000)}
    for name, count in counts.items():
        write_pictures(folder / f"{name}.npy", count)
    rows = []
    for what, command in COMMANDS:
        row: list[str | float | None] = [what.format(steps=STEPS), f"{command[0]} {command[1]}".split(" {")[0]]
        for name in counts:
            if "--resume" in command:
                (folder / f"{name}-run" / "evaluation.json").unlink()
            words = (word.format(set=name, steps=STEPS) for word in command)
            row += [round(figure, 1) for figure in cost(*words, folder=folder)]
        rows.append(row)
    yield Table(
        f"Memory of training on {counts['many']:,} pictures of {SIDE} × {SIDE} in colour",
        ["work", "command", *(f"{count:,} pictures, {unit}" for count in counts.values() for unit in ("s", "MB"))],
        rows,
        ["MB are 10⁶ bytes of the largest resident set. The larger set takes "
         f"{counts['many'] * SIDE**2 * 3 / 1e6:,.0f} MB, and the smaller one is held in memory."],
    )  # fmt: skip
    for name in counts:
        (folder / f"{name}.npy").unlink()


def write_pictures(path: Path, count: int) -> None:
    """Write blots in colour to an .npy, uint8 [count, 64, 64, 3], some thousands at a time."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) / SIDE
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, SIDE, SIDE, 3))
    for start in range(0, count, BLOCK):
        shape = random.random((min(BLOCK, count - start), 8, 1, 1), np.float32)
        blot = np.exp(-((x - shape[:, 0]) ** 2 + (y - shape[:, 1]) ** 2) / (0.01 + 0.05 * shape[:, 2]))
        for channel in range(3):
            level = blot * shape[:, 3 + channel] + 0.2 * x * shape[:, 5 + channel]
            images[start : start + BLOCK, ..., channel] = 255 * np.minimum(level, 1)
        images.flush()
