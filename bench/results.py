"""What parts give: pairs, tables and notes, as values and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
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
