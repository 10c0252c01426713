"""Latents that come in: .npy, .npz or JSON, told apart by their content, and read as the untrusted things they are."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import InputError
from vae_gen.internal.arrays import as_latents
from vae_gen.internal.files import cannot_open

KEYS = ("latents", "latent", "mean")
"""Where latents lie in an object or an archive, the first of them that is there."""

NPY, ZIP, PICKLE = b"\x93NUMPY", b"PK\x03\x04", b"\x80"


def read_latents(path: str, dimensions: int) -> NDArray[np.float32]:
    """The latents of a file, or of standard input for `-`, float32 [n, dimensions].

    Raises:
        InputError: no such file, an unknown or unsafe format, another width, or values that are not finite.
    """
    name = "standard input" if path == "-" else path
    content = _read(path)
    try:
        if content.startswith(NPY):
            value = np.load(io.BytesIO(content), allow_pickle=False)
        elif content.startswith(ZIP):
            value = _from_archive(content, name)
        elif content.startswith(PICKLE):
            raise InputError(f"{name}: expected .npy, .npz or JSON, got a pickle, which could run code; save as .npy")
        else:
            value = _from_json(content, name)
        return as_latents(value, dimensions).reshape(-1, dimensions)
    except InputError as error:
        raise error if str(error).startswith(name) else InputError(f"{name}: {error}") from error
    except (ValueError, OSError, EOFError, KeyError, MemoryError, OverflowError, zipfile.BadZipFile) as error:
        reason = "it holds pickled objects, which could run code" if "pickle" in str(error) else "it is damaged"
        raise InputError(f"{name}: expected an array of numbers, but {reason}; save the latents again") from error


def _read(path: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {cannot_open('latents', error)}") from error


def _from_archive(content: bytes, name: str) -> NDArray[Any]:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        for key in KEYS:
            if key in archive:
                value: NDArray[Any] = archive[key]
                return value
        raise InputError(f"{name}: expected an array called {', '.join(KEYS)}, got {', '.join(archive) or 'none'}")


def _from_json(content: bytes, name: str) -> Any:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise InputError(f"{name}: expected .npy, .npz or JSON with latents, got another kind of file") from error
    if not isinstance(document, dict):
        return document
    for key in KEYS:
        if key in document:
            return document[key]
    raise InputError(f"{name}: expected a list of rows, or an object with {', '.join(KEYS)}")
