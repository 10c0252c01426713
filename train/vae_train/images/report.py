"""What was found in a source and what was decided, for people, and the contact sheet."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vae_gen import picture_grid, random_words
from vae_gen.internal.files import write_file

from .listing import Skipped
from .settings import Choice
from .streamed import Pictures

REPORT, SHEET = "data-report.jsonl", "contact-sheet.png"
NAMED = 3
"""How many skipped files are named on the screen; the file has all."""
SHEET_PICTURES, SHEET_COLUMNS = 64, 8
MOST_SHOWN = 6
"""How many sizes, modes or classes are listed before the rest is summed up."""
SHEET_SEED = 3


@dataclass(frozen=True)
class DataReport:
    """All that there is to know about a set before it is trained on."""

    source: str
    pictures: Mapping[str, int]
    """usable pictures of each split: train, validation, test"""
    labels_from: str
    """where the classes come from, or why there are none"""
    classes: Mapping[str, int]
    """how many pictures each class has; empty without classes"""
    choices: tuple[Choice, ...]
    files: int | None = None
    """picture files that were found; None for arrays"""
    skipped: tuple[Skipped, ...] = ()
    other_files: Mapping[str, int] = field(default_factory=dict)
    empty_classes: int = 0
    sizes: Mapping[str, int] = field(default_factory=dict)
    """how many source pictures have each size, as width×height"""
    modes: Mapping[str, int] = field(default_factory=dict)
    """how many source pictures have each Pillow mode"""
    animated: int = 0
    duplicates: int = 0
    """pictures that look to the model exactly like an earlier one"""
    notes: tuple[str, ...] = ()
    """what was recognised or converted, and warnings"""

    @property
    def total(self) -> int:
        """All usable pictures."""
        return sum(self.pictures.values())

    def lines(self) -> list[str]:
        """The report for a terminal."""
        found = "" if self.files is None else f" in {_count(self.files, 'picture file')}"
        lines = [f"{self.source}: {_count(self.total, 'picture')}{found}"]
        if self.skipped:
            lines.append(f"  skipped: {_count(len(self.skipped), 'file')}")
            lines += [f"    {entry.file}: {entry.reason}" for entry in self.skipped[:NAMED]]
            if len(self.skipped) > NAMED:
                lines.append(f"    … {REPORT} names all of them")
        if self.other_files:
            lines.append(f"  files that are no pictures: {_counts(self.other_files)}")
        if self.empty_classes:
            lines.append(f"  folders without pictures: {self.empty_classes}")
        if self.sizes:
            lines.append(f"  source sizes: {_counts(self.sizes)}")
        if self.modes:
            lines.append(f"  source modes: {_counts(self.modes)}")
        if self.animated:
            lines.append(f"  animated: {_count(self.animated, 'file')}, of which the first frame is used")
        lines.append(f"  classes: {self.labels_from}")
        if self.classes:
            lines.append(f"    {_counts(self.classes)}")
        if self.duplicates:
            lines.append(f"  duplicates: {_count(self.duplicates, 'picture')} looking exactly like another one")
        parts = ", ".join(f"{count} for {split}" for split, count in self.pictures.items())
        lines.append(f"  split: {parts}")
        lines += [f"  {choice}" for choice in self.choices]
        lines += [f"  note: {note}" for note in self.notes]
        return lines

    def write(self, folder: Path) -> None:
        """Write data-report.jsonl: a line for each skipped file, with its reason.

        Raises:
            OutputError: it cannot be written.
        """
        write_file(folder / REPORT, self.skipped_lines())

    def skipped_lines(self) -> bytes:
        """The content of data-report.jsonl."""
        lines = (json.dumps({"file": entry.file, "reason": entry.reason}) for entry in self.skipped)
        return "".join(f"{line}\n" for line in lines).encode()


def contact_sheet(images: Pictures) -> bytes:
    """A PNG of 64 pictures, chosen at random but always the same ones, as the model sees them.

    Args:
        images: uint8 [n, channels, height, width].
    """
    from PIL import Image

    rows = random_rows(len(images), SHEET_SEED)[:SHEET_PICTURES]
    scale = max(1, 96 // max(images.shape[2:]))
    buffer = io.BytesIO()
    Image.fromarray(picture_grid(np.ascontiguousarray(images[np.sort(rows)]), SHEET_COLUMNS, scale)).save(buffer, "PNG")
    return buffer.getvalue()


def random_rows(count: int, seed: int) -> NDArray[np.int64]:
    """The numbers 0 … count−1 in an order that is random and the same everywhere."""
    words = random_words(seed, 0, count, 1, ORDER_STREAM)[:, 0].astype(np.uint64)  # [count, 4]
    return np.argsort(words[:, 0] << np.uint64(32) | words[:, 1], kind="stable")


ORDER_STREAM = 2**32 - 12
"""The stream of the seed contract's Philox that puts pictures into a random order."""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _counts(counts: Mapping[str, int]) -> str:
    """The most frequent entries with their numbers, and how many others there are."""
    ordered: Sequence[tuple[str, int]] = Counter(counts).most_common()
    shown = ", ".join(f"{name} ({number})" for name, number in ordered[:MOST_SHOWN])
    more = len(ordered) - MOST_SHOWN
    return shown if more <= 0 else f"{shown} and {more} more"
