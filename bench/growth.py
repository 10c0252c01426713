"""How the time and the memory of `vae-gen sample -n N -o x.npy` grow with N."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

from .bulk import command
from .machine import DEFAULT, REFERENCE
from .parts import Cell, Table
from .running import cost

LARGEST = {REFERENCE: 1_000_000, DEFAULT: 100_000}


def measure(folder: Path, share: float = 1.0) -> Iterator[Table]:
    """A row for each model and power of ten: the median of 5 runs, or of fewer if they are long."""
    rows: list[list[Cell]] = []
    for name, largest in LARGEST.items():
        count = 1
        while count <= max(10, largest * share):
            runs = 1 if share < 1 or count == largest else 3 if 10 * count == largest else 5
            taken = [cost(*command(name, count), folder=folder) for _ in range(runs)]
            took, memory = (statistics.median(values) for values in zip(*taken, strict=True))
            (folder / "x.npy").unlink()
            rows.append([name, count, took, memory, runs])
            count *= 10
    yield Table("sample -n N -o x.npy", ["model", "N", "seconds", "MB at the peak", "runs"], rows,
                ["These are whole processes, including their start, which write a uint8 .npy to disk. They use "
                 "one thread below 1024 pictures, and all cores from there on."])
