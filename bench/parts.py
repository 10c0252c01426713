"""The results of a part (pairs, tables and notes), and a part's process: `python -m bench.parts NAME FILE SHARE`."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .machine import machine_line
from .pairs import Pair

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Table:
    """Figures that are not a comparison of two ways."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    """how the figures were measured"""


Result = Pair | Table | str
"""A text is a note."""


@dataclass
class Part:
    """All results of a part."""

    pairs: list[Pair] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    commit: str = ""
    """the commit that was measured"""
    share: float = 1.0
    """the factor of all counts and rounds; below 1 in a trial"""
    minutes: float = 0.0
    """how long the part took"""

    def add(self, result: Result) -> None:
        """Add a result to the list of its kind."""
        kinds: dict[type, list[Any]] = {Pair: self.pairs, Table: self.tables, str: self.notes}
        kinds[type(result)].append(result)

    def to_json(self) -> dict[str, Any]:
        """The results as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Part:
        """The results from the JSON values of `to_json`."""
        rest = {name: entry for name, entry in value.items() if name not in ("pairs", "tables")}
        return cls([Pair(**pair) for pair in value["pairs"]], [Table(**table) for table in value["tables"]], **rest)


PARTS = ("start", "single", "bulk", "peers", "quantised", "training", "memory", "growth", "sizes", "gpu")
"""The parts. Each is a module of this package with a function `measure(folder, share)`."""

OURS = ("bench", "vae_gen", "vae_gen_cli", "vae_train", "vae_export")


def main(name: str, file: Path, share: float) -> None:
    """Measure a part, and print and store each result at once."""
    print(machine_line(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            for result in importlib.import_module(f"bench.{name}").measure(Path(folder), share):
                keep(file, result)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in OURS:
                raise
            keep(file, f"{name}: not measured, because {error.name} is not installed.")


def keep(file: Path, result: Result) -> None:
    """Print a result, and add it to the file as a line."""
    print(result, flush=True)
    value = result if isinstance(result, str) else {"kind": type(result).__name__, **asdict(result)}
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(value) + "\n")


def read(file: Path) -> Part:
    """The results in a file, which may be missing."""
    part = Part()
    for line in file.read_text("utf-8").splitlines() if file.exists() else ():
        value = json.loads(line)
        if isinstance(value, dict):
            value = {"Pair": Pair, "Table": Table}[value.pop("kind")](**value)
        part.add(value)
    return part


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
