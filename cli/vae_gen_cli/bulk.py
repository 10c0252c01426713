"""Any number of pictures to arrays or a folder, in chunks, so that memory does not grow with their number."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vae_gen import OutputError, Pictures, Samples
from vae_gen.internal.files import replacing_folder

from .frames import Frames, encode
from .targets import Target

ZIP_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest date of the format: a real one would make each run's bytes different."""


@dataclass(frozen=True)
class Bulk:
    """Pictures that are made while they are written."""

    chunks: Iterable[Pictures]
    count: int
    image_shape: tuple[int, int, int]
    dimensions: int
    dtype: DTypeLike
    seed: int | None = None
    start: int | None = None
    """the index of the first in its seed; None for pictures of latents"""
    labelled: bool = False
    """whether chunks are samples that have classes"""


def write_array(target: Target, bulk: Bulk) -> None:
    """Write .npy (the images) or .npz (images, latents and, of samples, labels where they have some, seed, start)."""
    shape = (bulk.count, *bulk.image_shape)
    with target.open() as file:
        if target.format == "npy":
            _write_header(file, shape, bulk.dtype)
            for chunk in bulk.chunks:
                file.write(_bytes(chunk.images))
            return
        with (
            tempfile.TemporaryFile(dir=target.nearby) as latents,
            tempfile.TemporaryFile(dir=target.nearby) as labels,
            zipfile.ZipFile(file, "w") as archive,
        ):
            with _entry(archive, "images") as entry:
                _write_header(entry, shape, bulk.dtype)
                for chunk in bulk.chunks:
                    entry.write(_bytes(chunk.images))
                    latents.write(_bytes(chunk.latents))
                    if isinstance(chunk, Samples) and chunk.labels is not None:
                        labels.write(_bytes(chunk.labels))
            _copy_entry(archive, "latents", latents, (bulk.count, bulk.dimensions), np.float32)
            if bulk.labelled:
                _copy_entry(archive, "labels", labels, (bulk.count,), np.int64)
            for name, value in (("seed", bulk.seed), ("start", bulk.start)):
                if value is not None:
                    write_entry(archive, name, np.array(value, np.int64))


def write_entry(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    """Add a whole array to an .npz file."""
    with _entry(archive, name) as entry:
        _write_header(entry, array.shape, array.dtype)
        entry.write(_bytes(array))


def _copy_entry(
    archive: zipfile.ZipFile, name: str, rows: IO[bytes], shape: tuple[int, ...], dtype: DTypeLike
) -> None:
    """Add an array whose bytes lie in a file."""
    rows.seek(0)
    with _entry(archive, name) as entry:
        _write_header(entry, shape, dtype)
        shutil.copyfileobj(rows, entry, 1 << 20)


def write_folder(target: Target, bulk: Bulk, scale: int, note: Callable[[int], str | None]) -> None:
    """Write one PNG for each picture, named by its index; other files of the folder stay.

    Args:
        target: the folder, which may exist; its parent must.
        bulk: the pictures, uint8.
        scale: each pixel becomes scale × scale.
        note: the text chunk for an index.
    """
    first = bulk.start or 0
    digits = max(6, len(str(first + bulk.count - 1)))
    with _filling(target.path) as folder:
        index = first
        for chunk in bulk.chunks:
            for picture in chunk.images:
                content = encode(single(picture, scale), "png", note(index))
                (folder / f"{index:0{digits}}.png").write_bytes(content)
                index += 1


def single(picture: NDArray[np.uint8], scale: int) -> Frames:
    """One picture uint8 [channels, height, width] by itself, without the border that a grid has."""
    pixels = picture.transpose(1, 2, 0).repeat(scale, axis=0).repeat(scale, axis=1)
    return Frames.still(np.ascontiguousarray(pixels[..., 0] if len(picture) == 1 else pixels))


@contextmanager
def _filling(path: str) -> Iterator[Path]:
    """A folder to fill, whose files come to `path` together when the block ends well."""
    if not Path(path).is_dir():
        with replacing_folder(path) as folder:
            yield folder
        return
    aside: Path | None = None
    try:
        aside = Path(tempfile.mkdtemp(prefix=".vae-gen.", suffix=".part", dir=path))
        yield aside
        for file in sorted(aside.iterdir()):
            file.replace(Path(path) / file.name)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"cannot write {path}: {reason}; choose another place or free some space") from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _entry(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    """An array's place in an .npz; 64-bit sizes always, because they are written before they are known."""
    with archive.open(zipfile.ZipInfo(f"{name}.npy", ZIP_DATE), "w", force_zip64=True) as entry:
        yield entry


def _write_header(file: IO[bytes] | BinaryIO, shape: tuple[int, ...], dtype: DTypeLike) -> None:
    description = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(file, {"descr": description, "fortran_order": False, "shape": shape})


def _bytes(array: NDArray[Any]) -> memoryview | bytes:
    """The array's own memory, row by row, without a copy where that is possible."""
    return array.tobytes() if array.ndim == 0 or array.dtype.kind == "U" else np.ascontiguousarray(array).data
