"""Where output goes: a file whose ending says the format, a folder of PNGs, or standard output."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import typer

from vae_gen import UsageError
from vae_gen.internal.files import replacing

from .console import Console
from .options import refuse_idle

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


def parse_target(
    output: str | None, chosen: str | None, formats: Sequence[str], console: Console, default_stem: str
) -> Target:
    """Finds out where and in which format `-o OUTPUT --format CHOSEN` writes.

    Args:
        output: a path, `-` for standard output, or None for a new file in the current folder.
        chosen: the format that was asked for, or None.
        formats: the formats that the command can write, its default first.
        console: the command's console, whose JSON also needs standard output.
        default_stem: the name of the new file, without its ending.

    Raises:
        UsageError: the output has no known ending, or cannot take the data.
    """
    files = [name for name in formats if name != FOLDER]
    if output is None:
        return Target(_unused(default_stem, chosen or formats[0]), chosen or formats[0])
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


def _unused(stem: str, ending: str) -> str:
    """A file name that is not taken yet: stem.ending, else stem-2.ending, stem-3.ending, …"""
    names = (f"{stem}{f'-{number}' if number > 1 else ''}.{ending}" for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def _by_ending(output: str) -> str:
    if output.endswith(("/", os.sep, os.altsep or "/")):
        return FOLDER
    ending = Path(output).suffix.lower().removeprefix(".")
    return "" if ending == FOLDER else ending  # our own word, not an ending


def refuse_idle_picture_options(context: typer.Context, target: Target) -> None:
    """Refuses options of `sample` and `decode` that have no effect on this target.

    Raises:
        UsageError: such an option was given.
    """
    if target.format not in GRIDS:
        refuse_idle(context, "--columns", "grids (.png, .webp)")
    if target.format in ARRAYS:
        refuse_idle(context, "--scale", "pictures, not to arrays (.npy, .npz)")
    else:
        refuse_idle(context, "--dtype", "arrays (.npy, .npz)")


def written(target: Target, count: int, shape: tuple[int, int, int], dtype: str) -> Mapping[str, Any]:
    """What `--json` says of pictures that were written."""
    return {
        "count": count,
        "output": target.path,
        "format": target.format,
        "shape": [count, *shape],
        "dtype": dtype,
    }


def is_animation(target: Target, animate: bool) -> bool:
    """Whether to write frames: always to .gif and .apng, else where --animate asks for them."""
    return animate or target.format in ("gif", "apng")


def drawn(target: Target) -> Mapping[str, Any]:
    """What `--json` says of any one file that was written."""
    return {"output": target.path, "format": target.format}
