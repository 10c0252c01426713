"""What parts give: pairs, tables and notes, as values and as JSON."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .pairs import Pair

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Table:
    """Figures that are no pair's."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    """how they were taken"""


Result = Pair | Table | str
"""A string is a note."""


@dataclass
class Part:
    """All that a part gave."""

    pairs: list[Pair] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    commit: str = ""
    share: float = 1.0
    minutes: float = 0.0

    def add(self, result: Result) -> None:
        """Another result, where it belongs."""
        kinds: dict[type, list[Any]] = {Pair: self.pairs, Table: self.tables, str: self.notes}
        kinds[type(result)].append(result)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Part:
        """What `to_json` gave."""
        rest = {name: entry for name, entry in value.items() if name not in ("pairs", "tables")}
        return cls([Pair(**pair) for pair in value["pairs"]], [Table(**table) for table in value["tables"]], **rest)


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
