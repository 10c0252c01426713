"""The pictures that `encode` reads in bulk: files, folders, arrays and Parquet files as one sequence.

Any range of the sequence can be read by itself, and only that range is in memory.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import ImageSpec, InputError, UsageError
from vae_gen.internal.array_files import NPY, NPZ, Npz, damage_as_input_error
from vae_gen.internal.arrays import as_images
from vae_gen.internal.files import cannot_open, is_stream
from vae_gen.internal.fitting import fit_pictures
from vae_gen.internal.sampling import in_order

from ..output import STANDARD_OUTPUT
from .parquet import import_pyarrow
from .plan import LIST, MANIFEST

if TYPE_CHECKING:
    from vae_gen import Manifest

PARQUET = b"PAR1"
"""The first bytes of a Parquet file."""


@dataclass(frozen=True)
class Inputs:
    """A sequence of pictures from many files."""

    names: Sequence[str]
    """the name of each file, as it was given or found"""
    firsts: Sequence[int]
    """the index of the first picture of each file, and at the end the number of all pictures"""
    checksum: str
    """the SHA-256 of the names, sizes and numbers of pictures of all files"""
    here: str
    """the folder that relative names begin at"""

    @property
    def count(self) -> int:
        """The number of pictures in all files."""
        return self.firsts[-1]

    def read(
        self, low: int, high: int, spec: ImageSpec, invert: str, trim: bool, threads: int
    ) -> tuple[list[str], NDArray[np.float32]]:
        """Reads the pictures low … high−1.

        Args:
            low: the index of the first picture.
            high: the index behind the last picture.
            spec: the model's images.
            invert: as in `fit_pictures`.
            trim: as in `fit_pictures`.
            threads: how many files are read at the same time.

        Returns:
            the name of each picture, and float32 [high − low, channels, height, width] in [0, 1].

        Raises:
            InputError: a file can't be read.
        """

        def read(piece: tuple[int, int, int]) -> NDArray[np.float32]:
            at, first, last = piece
            path = str(Path(self.here, self.names[at]))
            try:
                array = open_array(path, spec)
                if array is None:
                    return fit_pictures([path], spec, invert, trim).images
                with damage_as_input_error("; save the pictures again"):
                    pictures = array[first:last]
                return fit_pictures([pictures], spec, invert, trim).images
            except InputError as error:
                reason = str(error).removeprefix(f"{path}: ").removeprefix("picture 0: ")
                raise InputError(f"{self.names[at]}: {reason}") from error

        pieces = list(self._pieces(low, high))
        images = np.concatenate(list(in_order(read, pieces, min(threads, len(pieces)))))
        return list(itertools.chain.from_iterable(self._named(*piece) for piece in pieces)), images

    def _pieces(self, low: int, high: int) -> Iterator[tuple[int, int, int]]:
        """Yields each file that has pictures of a range: its number, and its first and last picture of the range."""
        at = bisect.bisect_right(self.firsts, low) - 1
        while at < len(self.names) and self.firsts[at] < high:
            first, size = self.firsts[at], self.firsts[at + 1] - self.firsts[at]
            yield at, max(low - first, 0), min(high - first, size)
            at += 1

    def _named(self, at: int, first: int, last: int) -> list[str]:
        name = self.names[at]
        alone = self.firsts[at + 1] - self.firsts[at] == 1
        return [name] if alone else [f"{name}[{number}]" for number in range(first, last)]


def find_inputs(paths: tuple[str, ...], here: str, manifest: Manifest) -> Inputs:
    """Lists the pictures of files and folders; a folder stands for all files in it, in the order of their names.

    Args:
        paths: files and folders, as they were given.
        here: the folder that relative paths begin at.
        manifest: the model.

    Raises:
        InputError: a file can't be read, or there are none.
        UsageError: a path is standard input.
    """
    names, firsts, checksum = [], [0], hashlib.sha256()
    for name in itertools.chain.from_iterable(_files(path, here) for path in paths):
        path = Path(here, name)
        if is_stream(path):
            raise UsageError(f"expected files and folders for --format parquet, got the pipe or device {name}")
        try:
            array = open_array(str(path), manifest.image)
            size = path.stat().st_size
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        except OSError as error:
            raise InputError(f"{name}: {cannot_open('a picture', error)}") from error
        count = 1 if array is None else len(array)
        names.append(name)
        firsts.append(firsts[-1] + count)
        checksum.update(f"{name}\0{size}\0{count}\n".encode("utf-8", "surrogateescape"))
    if not names:
        raise InputError(f"{paths[0]}: expected a folder with pictures, got an empty one")
    return Inputs(names, firsts, checksum.hexdigest(), here)


def _files(path: str, here: str) -> Iterator[str]:
    """Yields the files that a path stands for: of a folder all but hidden ones, of a bulk folder its shards or PNGs."""
    if path == STANDARD_OUTPUT:
        raise UsageError("expected files and folders for --format parquet, got standard input; name the files")
    if not Path(here, path).is_dir():
        yield path
        return
    is_bulk = Path(here, path, MANIFEST).exists()
    for folder, folders, files in os.walk(Path(here, path)):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for file in sorted(files):
            is_other = is_bulk and (file.startswith("_") or file == LIST)
            if not is_other and not file.startswith("."):
                yield os.path.join(path, os.path.relpath(os.path.join(folder, file), Path(here, path)))  # noqa: PTH118


def open_array(path: str, spec: ImageSpec) -> Any:
    """The pictures of an array or a Parquet file, of which a slice is read when it is taken; None for another file.

    Raises:
        InputError: the file is damaged, or its pictures have another shape than the model's.
        OSError: the file can't be opened.
    """
    with Path(path).open("rb") as file:
        head = file.read(len(NPY))
    openers: dict[bytes, Callable[[str], Any]] = {NPY: _map_npy, NPZ: _map_npz, PARQUET: Shards}
    opener = openers.get(head if head == NPY else head[:4])
    if opener is None:
        return None
    with damage_as_input_error("; save the pictures again"):
        array = opener(path)
    if isinstance(array, Shards):
        as_images(np.broadcast_to(np.uint8(0), (min(len(array), 1), *array.image_shape)), spec)
        return array
    grey = spec.channels == 1 and array.ndim in (2, 3) and array.shape[-2:] == (spec.height, spec.width)
    if array.size == 0 or (not grey and array.shape[-3:] != spec.shape):
        as_images(array, spec)  # raises the error that names both shapes
    return array.reshape(-1, *spec.shape)


def _map_npy(path: str) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _map_npz(path: str) -> NDArray[Any]:
    """The array `images` of an archive, or its only array; mapped into memory unless it is compressed."""
    with zipfile.ZipFile(path) as archive, Path(path).open("rb") as file:
        names = [info.filename for info in archive.infolist()]
        name = names[0] if len(names) == 1 else "images.npy"
        if name not in names:
            raise InputError("expected an archive with an array called images, got one without it")
        info = archive.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED:
            return Npz(file)[name.removesuffix(".npy")]
        file.seek(info.header_offset + 26)
        first = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))  # behind the entry's own header
        file.seek(first)
        if np.lib.format.read_magic(file) != (1, 0):
            return Npz(file)[name.removesuffix(".npy")]
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran_order else "C")


class Shards:
    """The pictures of a Parquet file that `sample` wrote; a slice reads the row groups that it needs."""

    def __init__(self, path: str) -> None:
        import json

        from .parquet import METADATA

        import_pyarrow()
        from pyarrow.parquet import ParquetFile

        self._file = ParquetFile(path, page_checksum_verification=True)
        metadata = self._file.schema_arrow.metadata or {}
        if METADATA.encode() not in metadata or "image" not in self._file.schema_arrow.names:
            raise InputError("expected a Parquet file that vae-gen sample wrote, got another one")
        self.image_shape = tuple(json.loads(metadata[METADATA.encode()])["model"]["image_shape"])
        groups: Iterator[int] = (self._file.metadata.row_group(at).num_rows for at in range(self._file.num_row_groups))
        self._firsts: list[int] = [0, *itertools.accumulate(groups)]

    def __len__(self) -> int:
        return self._firsts[-1]

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        """The pictures of a range, uint8 [n, channels, height, width]."""
        low, high = bisect.bisect_right(self._firsts, rows.start) - 1, bisect.bisect_left(self._firsts, rows.stop)
        try:
            column = self._file.read_row_groups(range(low, high), columns=["image"])["image"]
        except OSError as error:  # also if a checksum differs
            raise InputError("expected pictures that sample wrote, but the file is damaged; make it again") from error
        levels = np.frombuffer(b"".join(column.to_pylist()), np.uint8).reshape(-1, *self.image_shape)
        return levels[rows.start - self._firsts[low] : rows.stop - self._firsts[low]]
