"""Pictures in files: PNG and WebP, folders of PNGs, .npy and .npz, for the library and the command line.

Arrays and folders are written chunk by chunk, so that memory doesn't grow with the number of pictures.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._errors import UsageError
from .choice import whole
from .files import filling_folder, path_text, replacing, write_file

if TYPE_CHECKING:
    from PIL import Image

    from .._pictures import Pictures
    from .manifest import Manifest

GRID_SCALE = 4
"""Pixels of a grid for each pixel of a picture."""
LONGEST_WEBP = 16_383
"""The longest side of a WebP file, in pixels."""
ZIP_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest date that a zip file can hold: a real date would make the bytes of each run different."""


class Part(NamedTuple):
    """Consecutive pictures of an array that is written part by part."""

    images: NDArray[Any]
    """[n, channels, height, width]"""
    rows: Mapping[str, NDArray[Any]]
    """the arrays of an .npz that have a row for each picture, by their names"""


def save(pictures: Pictures, path: str | os.PathLike[str], columns: int | None, scale: int | None) -> None:
    """Writes pictures as the ending of the path asks; `Pictures.save` describes the formats and errors."""
    text = path_text(path, "a file or a folder")
    ending = "/" if text.endswith(("/", os.sep)) else Path(text).suffix.lower()
    if ending not in ("/", ".png", ".webp", ".npy", ".npz"):
        if not os.path.isdir(text):  # noqa: PTH112 - Path.is_dir fails for a name that is too long
            raise UsageError(
                f"expected a path that ends in .png, .webp, .npy, .npz or / for a folder, got {text!r}; "
                "add an ending, or for a folder write the path as a text that ends in /, or create the folder first"
            )
        ending = "/"
    is_grid = ending in (".png", ".webp") and pictures.ndim > 3
    if columns is not None and not is_grid:
        raise UsageError(f"expected a grid (.png or .webp) for columns, got {text!r}; leave columns out")
    if scale is not None and ending in (".npy", ".npz"):
        raise UsageError(f"expected pictures for scale, got the array {text!r}; leave scale out")
    size = whole("scale", (GRID_SCALE if is_grid else 1) if scale is None else scale, 1)
    if ending in (".npy", ".npz"):
        with replacing(text) as file:
            if ending == ".npy":
                write_npy(file, [Part(pictures.images, {})])
            else:
                graphs = getattr(pictures, "_graphs", None)  # samples have their model, except an unpickled copy
                manifest = None if graphs is None else graphs.manifest
                write_npz(file, [Part(pictures.images, pictures._rows())], pictures._facts(), manifest=manifest)
        return
    levels = pictures.grey_levels().reshape(-1, *pictures.shape[-3:])  # [n, channels, height, width]
    if ending == "/":
        numbers = pictures._numbers()
        files = ((number, _encoded(to_image(one, size), "PNG")) for number, one in zip(numbers, levels, strict=True))
        write_folder(text, files, max(numbers, default=0))
        return
    image = _from_pixels(pictures.grid(columns, size)) if is_grid else to_image(levels[0], size)
    if ending == ".webp" and max(image.size) > LONGEST_WEBP:
        raise UsageError(
            f"expected sides of at most {LONGEST_WEBP} pixels in a .webp, got {image.width} × {image.height}; "
            "save a .png, or choose a smaller scale"
        )
    write_file(text, _encoded(image, ending.removeprefix(".").upper()))


def to_image(levels: NDArray[np.uint8], scale: int = 1) -> Image.Image:
    """One picture uint8 [channels, height, width] as a Pillow image, without the border that a grid has."""
    pixels = levels.transpose(1, 2, 0).repeat(scale, axis=0).repeat(scale, axis=1)
    return _from_pixels(np.ascontiguousarray(pixels[..., 0] if len(levels) == 1 else pixels))


def write_folder(path: str | os.PathLike[str], files: Iterable[tuple[int, bytes]], last: int) -> None:
    """Writes one PNG for each picture, named by its index; other files of the folder stay.

    Args:
        path: the folder, which may exist; its parent must.
        files: the index and the content of each file.
        last: the largest index, which decides how many digits the names have.
    """
    with filling_folder(path) as folder:
        for index, content in files:
            (folder / file_name(index, last)).write_bytes(content)


def file_name(index: int, last: int) -> str:
    """The name of a picture in a folder whose largest index is `last`."""
    return f"{index:0{max(6, len(str(last)))}}.png"


def write_npy(file: IO[bytes], parts: Iterable[Part], count: int | None = None) -> None:
    """Writes the images of all parts as one .npy array.

    Args:
        file: where to.
        parts: the pictures, at least one part.
        count: the pictures of all parts together; None if there is only one part.
    """
    for number, part in enumerate(parts):
        if number == 0:
            _write_header(file, _shape(part.images, count), part.images.dtype)
        file.write(_bytes(part.images))


def write_npz(
    file: IO[bytes],
    parts: Iterable[Part],
    facts: Mapping[str, NDArray[Any]],
    count: int | None = None,
    near: Path | None = None,
    manifest: Manifest | None = None,
) -> None:
    """Writes all parts as one .npz: `images`, `latents`, and the other arrays of the pictures.

    Samples add `seed` and `start` (int64; `indices` int64 [n] in place of `start` if they are not consecutive),
    `labels` (int64 [n]) if the prior has classes, and `noise` (float32 [n, k]) if the detail stage drew them.

    Args:
        file: where to.
        parts: the pictures, at least one part.
        facts: the arrays that belong to all pictures together.
        count: the pictures of all parts together; None if there is only one part.
        near: a folder for a .npy file of each other array that has a row for each picture, until the images are
            written. Files that are there are overwritten from their beginning on. None makes a temporary folder.
        manifest: the model that made the pictures, which the entry `model` names; None leaves it out.
    """
    with ExitStack() as stack, zipfile.ZipFile(file, "w") as archive:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) if near is None else near
        waiting: dict[str, IO[bytes]] = {}
        with _entry(archive, "images") as entry:
            for number, part in enumerate(parts):
                if number == 0:
                    _write_header(entry, _shape(part.images, count), part.images.dtype)
                    for name, array in part.rows.items():
                        waiting[name] = stack.enter_context(open_again(folder / f"{name}.npy"))
                        _write_header(waiting[name], _shape(array, count), array.dtype)
                entry.write(_bytes(part.images))
                for name, array in part.rows.items():
                    waiting[name].write(_bytes(array))
                    waiting[name].flush()
        for name, written in waiting.items():
            written.truncate()
            written.seek(0)
            with _entry(archive, name) as entry:
                shutil.copyfileobj(written, entry, 1 << 20)
        for name, array in facts.items():
            write_entry(archive, name, array)
        if manifest is not None:
            write_entry(archive, "model", maker(manifest))


def open_again(path: Path) -> IO[bytes]:
    """Opens a file at its beginning, for reading and writing, with the bytes that it has, or a new one."""
    return path.open("r+b" if path.exists() else "w+b")


def maker(manifest: Manifest) -> NDArray[np.str_]:
    """The entry `model` of an .npz: a text in JSON with the model's name, version, and the SHA-256 of its decoder."""
    facts = {"name": manifest.name, "version": manifest.version, "sha256": manifest.fingerprint}
    return np.array(json.dumps(facts))


def write_entry(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    """Adds a whole array to an .npz file."""
    with _entry(archive, name) as entry:
        _write_header(entry, array.shape, array.dtype)
        entry.write(_bytes(array))


@contextmanager
def _entry(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    """An array's place in an .npz; with 64-bit sizes always, because they are written before they are known."""
    with archive.open(zipfile.ZipInfo(f"{name}.npy", ZIP_DATE), "w", force_zip64=True) as entry:
        yield entry


def _shape(array: NDArray[Any], count: int | None) -> tuple[int, ...]:
    return array.shape if count is None else (count, *array.shape[1:])


def _write_header(file: IO[bytes], shape: tuple[int, ...], dtype: DTypeLike) -> None:
    description = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(file, {"descr": description, "fortran_order": False, "shape": shape})


def _bytes(array: NDArray[Any]) -> memoryview | bytes:
    """The array's own memory, row by row, without a copy if that is possible."""
    return array.tobytes() if array.ndim == 0 or array.dtype.kind == "U" else np.ascontiguousarray(array).data


def _from_pixels(pixels: NDArray[np.uint8]) -> Image.Image:
    from PIL import Image  # only needed to show or save pictures

    return Image.fromarray(pixels)


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"lossless": True, "method": 4} if kind == "WEBP" else {"compress_level": 6}))
    return buffer.getvalue()
