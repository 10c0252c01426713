"""One part in a process of its own: `python -m bench.part NAME FILE SHARE` adds its results to the file."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from .pairs import Pair
from .results import Part, Result, Table

PARTS = ("start", "single", "bulk", "peers", "quantised", "training", "growth", "sizes", "gpu")
"""Each is a module with `measure(folder, share)`."""

OURS = ("bench", "vae_gen", "vae_gen_cli", "vae_train", "vae_export")


def main(name: str, file: Path, share: float) -> None:
    """Measure, print and keep each result as soon as it is there."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            for result in importlib.import_module(f"bench.{name}").measure(Path(folder), share):
                keep(file, result)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in OURS:
                raise
            keep(file, f"{name}: not measured, because {error.name} is not installed.")


def keep(file: Path, result: Result) -> None:
    """Another line of the file."""
    print(result, flush=True)
    value = result if isinstance(result, str) else {"kind": type(result).__name__, **asdict(result)}
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(value) + "\n")


def read(file: Path) -> Part:
    """All lines of the file, which may be missing."""
    part = Part()
    for line in file.read_text("utf-8").splitlines() if file.exists() else ():
        value = json.loads(line)
        if isinstance(value, dict):
            value = {"Pair": Pair, "Table": Table}[value.pop("kind")](**value)
        part.add(value)
    return part


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
