"""Arrays in .npy and .npz files from elsewhere, whose claims are checked before memory is taken for them.

NumPy's own reader allocates what a header asks for, unpacks an entry of any size, and raises whatever zipfile, zlib and
the tokenizer raise for damaged bytes.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .._errors import InputError

NPY, NPZ = b"\x93NUMPY", b"PK\x03\x04"
"""The first bytes of an .npy file and of an .npz file."""

HARMLESS_BYTES = 256 << 20
"""An entry of an .npz up to this size is unpacked, however small it is in the file."""
MOST_PACKED = 100
"""How many times smaller a larger entry may be in the file. Random latents hardly shrink, and pictures 20 times."""


@contextmanager
def damage_as_input_error(advice: str = "") -> Iterator[None]:
    """Turns everything that a damaged file makes libraries raise into one InputError, which ends in the advice."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # ValueError, zlib.error, NotImplementedError, tokenize.TokenError, MemoryError, …
        raise InputError(f"expected an array of numbers, but it is damaged{advice}") from error


def read_npy(file: IO[bytes], size: int) -> NDArray[Any]:
    """Reads an array from the beginning of a file that has `size` bytes.

    Raises:
        InputError: the array consists of Python objects, or has another size than its header says.
    """
    shape, fortran_order, dtype = read_npy_header(file, size)
    content = file.read(math.prod(shape) * dtype.itemsize)
    array = np.frombuffer(content, dtype) if dtype.itemsize else np.empty(shape, dtype)
    return array.reshape(shape, order="F" if fortran_order else "C")


def read_npy_header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Reads what precedes the numbers in an .npy file of `size` bytes: shape, whether in Fortran order, and dtype.

    Raises:
        InputError: as `read_npy`.
    """
    version = np.lib.format.read_magic(file)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, fortran_order, dtype = header(file)
    if dtype.hasobject:
        raise InputError(
            "expected an array of numbers, but it holds pickled objects, which could run code; save numbers"
        )
    if any(isinstance(length, bool) or length < 0 for length in shape):
        raise InputError(f"expected an array of numbers, got one of shape {shape}")
    wanted = math.prod(shape) * dtype.itemsize
    if wanted > size:
        raise InputError(f"expected an array of numbers, but it is damaged: it claims {wanted} bytes and has {size}")
    return tuple(shape), fortran_order, dtype


class Npz:
    """The arrays of an .npz file by their names, each read when it is asked for."""

    def __init__(self, content: bytes | IO[bytes]) -> None:
        self._archive = zipfile.ZipFile(io.BytesIO(content) if isinstance(content, bytes) else content)
        self._entries = {info.filename.removesuffix(".npy"): info for info in self._archive.infolist()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def stored_at(self, name: str) -> int | None:
        """Where in the file the bytes of an entry begin, if they are stored as they are; None if they are packed."""
        info = self._entries[name]
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            return None
        with self._archive.open(info):  # checks that the entry's own header is there
            pass
        file = self._archive.fp
        assert file is not None
        file.seek(info.header_offset + 26)
        lengths = int.from_bytes(file.read(2), "little") + int.from_bytes(file.read(2), "little")
        return info.header_offset + 30 + lengths

    def bytes_of(self, name: str) -> int:
        """How many bytes an entry has when it is unpacked."""
        return self._entries[name].file_size

    def __getitem__(self, name: str) -> NDArray[Any]:
        info = self._entries[name]
        if info.file_size > max(HARMLESS_BYTES, MOST_PACKED * info.compress_size):
            raise InputError(
                f"expected an array that is at most {MOST_PACKED} times as large as in the file, got {name} with "
                f"{info.file_size} bytes; save it without compression"
            )
        with self._archive.open(info) as file:
            return read_npy(file, info.file_size)
