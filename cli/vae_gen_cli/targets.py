"""Where output goes: a file whose ending says the format, a folder of PNGs, or standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vae_gen import UsageError
from vae_gen.internal.files import replacing

from .console import Console
from .options import Dtype

FOLDER = "folder"
ARRAYS = ("npy", "npz")
GRIDS = ("png", "webp")
PICTURES = (*GRIDS, *ARRAYS, FOLDER)
"""The formats of `sample` and `decode`."""
DRAWINGS = ("png", "webp", "gif", "apng")
"""The formats of sheets and animations."""
STANDARD_OUTPUT = "-"


@dataclass(frozen=True)
class Target:
    """A place and a format, both known to be possible before anything is computed."""

    path: str
    """as it was given; `-` is standard output"""
    format: str
    """png, webp, gif, apng, npy, npz, json or folder"""

    @property
    def to_stdout(self) -> bool:
        """Whether the data goes to standard output."""
        return self.path == STANDARD_OUTPUT

    @property
    def name(self) -> str:
        """The place in words."""
        return "standard output" if self.to_stdout else self.path

    @property
    def nearby(self) -> str | None:
        """A folder on the same disk, for temporary files; None for the system's own place."""
        path = Path(os.path.realpath(self.path))
        special = self.to_stdout or (path.exists() and not path.is_file())  # a device, a pipe
        return None if special else str(path.parent)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The file to write; it takes its name when the block ends well, and is gone when it does not."""
        if self.to_stdout:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        else:
            with replacing(self.path) as file:
                yield file


def parse_target(output: str, chosen: str | None, formats: Sequence[str], console: Console) -> Target:
    """The target of `-o OUTPUT --format CHOSEN`.

    Args:
        output: a path, or `-`.
        chosen: the format that was asked for, or None.
        formats: those that the command can write, the default of standard output first.
        console: whose JSON also needs standard output.

    Raises:
        UsageError: no such format, an ending that says none, or data where it cannot go.
    """
    files = [name for name in formats if name != FOLDER]
    if chosen is not None and chosen not in files:
        raise UsageError(f"expected a --format of {', '.join(files)}, got {chosen}")
    if output == STANDARD_OUTPUT:
        target = Target(output, chosen or formats[0])
        if console.as_json:
            raise UsageError("expected standard output for one thing, got -o - and --json; name a file with -o")
        if target.format != "json" and sys.stdout.isatty():
            raise UsageError(f"expected a file or a pipe for {target.format} data, got a terminal; name a file with -o")
        return target
    found = _by_ending(output)
    if chosen is not None and found in formats and found != chosen:
        raise UsageError(f"expected one format, got {output} and --format {chosen}; leave one out")
    if found in formats or (chosen is not None and found != FOLDER):
        return Target(output, chosen or found)
    known = ", ".join(f".{name}" for name in files)
    folder = ", or in / for a folder of pictures" if FOLDER in formats else ""
    raise UsageError(f"expected an output that ends in {known}{folder}, got {output!r}; give it one of these endings")


def _by_ending(output: str) -> str:
    if output.endswith(("/", os.sep, os.altsep or "/")):
        return FOLDER
    ending = Path(output).suffix.lower().removeprefix(".")
    return "" if ending == FOLDER else ending  # our own word, not an ending


def check_choices(target: Target, dtype: Dtype, scale: int | None) -> None:
    """Refuse choices that this target has no use for.

    Raises:
        UsageError: names both.
    """
    array = target.format in ARRAYS
    if dtype is Dtype.FLOAT32 and not array:
        raise UsageError(f"expected an array for --dtype float32, got {target.name}; name a .npy or .npz with -o")
    if scale is not None and array:
        raise UsageError(f"expected pictures for --scale, got the array {target.name}; leave one out")


def written(target: Target, count: int, shape: tuple[int, int, int], dtype: Dtype) -> Mapping[str, Any]:
    """What `--json` says of pictures that were written."""
    return {
        "count": count,
        "output": target.path,
        "format": target.format,
        "shape": [count, *shape],
        "dtype": dtype.value,
    }


def is_animation(target: Target, animate: bool) -> bool:
    """Whether to write frames: always to .gif and .apng, else where --animate asks for them."""
    return animate or target.format in ("gif", "apng")


def drawn(target: Target) -> Mapping[str, Any]:
    """What `--json` says of any one file that was written."""
    return {"output": target.path, "format": target.format}
