"""Pictures that stay in their file and are read when they are needed, so that a set may be larger than the memory.

A `Streamed` is indexed like a NumPy array, along its first axis, and each index reads those pictures into a new array.
It may choose, reorder, join and convert pictures; all of that happens when they are read. A memory map would do the
same, but the pages of a map count as memory of its process, and random reads touch all of them in time. Here a process
holds the pictures that it asked for. Several processes share what the system keeps of the file.

The functions below take arrays in memory too, on which they work at once.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vae_gen import InputError

MOST_IN_MEMORY = 1 << 28
"""Bytes. An array of pictures up to this size is held in memory, which takes five times as much while it is split and
reordered. A larger one is read from its file."""

AT_ONCE = 1 << 24
"""How many bytes of pictures `chunks` reads at a time."""

Rows = NDArray[np.int64]


class Streamed:
    """Pictures that are read when they are needed."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], read: Callable[[Rows], NDArray[Any]]) -> None:
        """Describes pictures, and reads none.

        Args:
            shape: as of an array; the first number is how many pictures there are.
            dtype: as of an array.
            read: returns the pictures of some rows, int64 [m], as a new array [m, …].
        """
        self.shape, self.dtype, self._read = shape, dtype, read

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many numbers all pictures have."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes all pictures would take in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | NDArray[Any]) -> NDArray[Any]:
        """Reads one picture, a range of them, or those with these numbers, int64 [m], or True in a mask, bool [n]."""
        if isinstance(rows, slice):
            return self._read(np.arange(*rows.indices(len(self))))
        if isinstance(rows, np.ndarray):
            return self._read(np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64))
        one: NDArray[Any] = self._read(np.array([range(len(self))[rows]]))[0]
        return one

    def taken(self, rows: Rows) -> Streamed:
        """The pictures with these numbers, in this order."""
        return Streamed((len(rows), *self.shape[1:]), self.dtype, lambda at: self._read(rows[at]))

    def changed(self, convert: Callable[[NDArray[Any]], NDArray[Any]]) -> Streamed:
        """The pictures after a conversion of arrays [m, …] to arrays [m, …], which must treat each picture alone."""
        first = convert(self[:1])
        return Streamed((len(self), *first.shape[1:]), first.dtype, lambda at: convert(self._read(at)))


Pictures: TypeAlias = NDArray[Any] | Streamed
"""Pictures along the first axis, in memory or in a file."""


class _File:
    """The rows of an array in a file, which stays open as long as they are used."""

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path, self.offset, self.row, self.dtype = path, offset, shape[1:], dtype
        self.row_bytes = math.prod(self.row) * dtype.itemsize
        self.file = path.open("rb", buffering=0)
        self.turn = threading.Lock()  # a place and what is read there belong together

    def read(self, rows: Rows) -> NDArray[Any]:
        found = np.empty((len(rows), *self.row), self.dtype)
        flat = found.reshape(-1).view(np.uint8)
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)  # where a run of neighbours begins
        with self.turn:
            for start, end in pairwise([*starts.tolist(), len(rows)]):
                self.file.seek(self.offset + int(rows[start]) * self.row_bytes)
                part = flat[start * self.row_bytes : end * self.row_bytes]
                if self.file.readinto(part) != len(part):  # type: ignore[arg-type]
                    raise InputError(
                        f"{self.path}: expected the pictures that were there when it was opened, got a file that ends "
                        "early; restore it, and go on with --resume"
                    )
        return found

    def __del__(self) -> None:
        if hasattr(self, "file"):
            self.file.close()


def in_file(path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Streamed:
    """The array of this shape whose numbers, in C order, begin `offset` bytes after the beginning of a file."""
    return Streamed(shape, dtype, _File(path, offset, shape, dtype).read)


def taken(pictures: Pictures, rows: Rows) -> Pictures:
    """The pictures with these numbers, in this order."""
    return pictures.taken(rows) if isinstance(pictures, Streamed) else pictures[rows]


def changed(pictures: Pictures, convert: Callable[[NDArray[Any]], NDArray[Any]]) -> Pictures:
    """The pictures after a conversion of arrays [m, …] to arrays [m, …], which must treat each picture alone."""
    return pictures.changed(convert) if isinstance(pictures, Streamed) else convert(pictures)


def joined(parts: Sequence[Pictures]) -> Pictures:
    """The pictures of all parts, one part after the other. They must have one shape and dtype."""
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate([part[:] for part in parts])
    ends = np.cumsum([len(part) for part in parts])

    def read(rows: Rows) -> NDArray[Any]:
        found = np.empty((len(rows), *parts[0].shape[1:]), parts[0].dtype)
        of_part = np.searchsorted(ends, rows, side="right")
        for number in np.unique(of_part).tolist():
            mine = of_part == number
            found[mine] = parts[number][rows[mine] - (ends[number] - len(parts[number]))]
        return found

    return Streamed((int(ends[-1]), *parts[0].shape[1:]), parts[0].dtype, read)


def chunks(pictures: Pictures) -> Iterator[NDArray[Any]]:
    """Yields all pictures in order, about 16 MB at a time."""
    count = max(1, AT_ONCE * len(pictures) // max(1, pictures.nbytes))
    for start in range(0, len(pictures), count):
        yield pictures[start : start + count]
