"""One picture file to the pixels that the model sees. This module is imported by worker processes: no PyTorch here.

Files are untrusted: the formats that are opened, the size limit and the check of the header before any pixel is
decoded are those of `vae_gen.internal.fitting`, which `vae_gen.VAE.encode` and the command line use too.
"""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vae_gen import InputError
from vae_gen.internal import fitting

from .settings import Fit

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Frame:
    """What every picture of a set is brought to."""

    height: int
    width: int
    channels: int
    fit: Fit
    background: RGB


@dataclass(frozen=True)
class Facts:
    """What was found out about one file when it was decoded."""

    width: int
    height: int
    mode: str
    """Pillow's word: L is grey, P a palette, RGBA colour with opacity"""
    animated: bool
    """whether it has more than one frame; the first one is used"""


class Source:
    """A folder or a zip file that pictures are read from. A zip file stays open until `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive = zipfile.ZipFile(path) if path.is_file() else None

    def read(self, file: str, size: int) -> bytes:
        """The content of a file of the source.

        Raises:
            InputError: it cannot be read, is empty, or is larger than any picture within the size limit.
        """
        if size > LARGEST_FILE:
            raise InputError(f"larger than {LARGEST_FILE >> 20} MB")
        try:
            if self._archive is None:
                content = (self.path / file).read_bytes()
            else:
                with self._archive.open(file) as member:  # whatever the directory claims, no more than this is read
                    content = member.read(LARGEST_FILE + 1)
        except Exception as error:  # zipfile raises errors of zlib, lzma, struct and its own
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:80] or type(error).__name__
            raise InputError(f"cannot be read ({reason})") from error
        if not content:
            raise InputError("an empty file")
        if len(content) > LARGEST_FILE:
            raise InputError(f"larger than {LARGEST_FILE >> 20} MB")
        return content

    def close(self) -> None:
        """Close the zip file."""
        if self._archive is not None:
            self._archive.close()


LARGEST_FILE = 256 << 20
"""Bytes; 25 megapixels of 16-bit colour with opacity take 200 MB."""


def picture_size(content: bytes) -> tuple[int, int, str]:
    """Width, height and Pillow mode from a file's header alone.

    Raises:
        InputError: not a picture of a known format, or one that is too large.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = fitting.open_picture(io.BytesIO(content))
        with image:
            return image.width, image.height, image.mode


def decoded(content: bytes) -> tuple[Image.Image, Facts]:
    """The first frame of a picture, upright as its EXIF says, with 8 bits a channel: mode L, LA, RGB or RGBA.

    Raises:
        InputError: not a picture of a known format, one that is too large, or a damaged one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files; what matters is checked here
        image = fitting.open_picture(io.BytesIO(content))
        mode = image.mode
        try:
            animated = bool(getattr(image, "is_animated", False))
            upright = fitting.upright(image, [])
            facts = Facts(upright.width, upright.height, mode, animated)
            return _plain(fitting.eight_bits(upright, [])), facts
        except InputError:
            raise
        # Decoders of damaged files raise almost anything: OSError, SyntaxError, ValueError, struct.error, …
        except Exception as error:
            reason = " ".join(str(error).split())[:80] or type(error).__name__
            raise InputError(f"a damaged picture ({reason})") from error


def _plain(image: Image.Image) -> Image.Image:
    """The picture in one of the modes L, LA, RGB and RGBA, with no colour lost."""
    if image.has_transparency_data:
        return image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
    flat = fitting.flattened(image, (0, 0, 0), [])
    return flat.convert("L" if flat.mode in ("1", "L") else "RGB")


def framed(image: Image.Image, frame: Frame) -> NDArray[np.uint8]:
    """A picture of mode L, LA, RGB or RGBA as the model sees it: uint8 [channels, height, width].

    Transparent pixels show the frame's background. A picture of another shape is padded with it, cropped in the middle,
    or stretched.
    """
    flat = fitting.flattened(image, frame.background, []).convert("L" if frame.channels == 1 else "RGB")
    levels = np.asarray(fitting.fitted_into(flat, (frame.width, frame.height), frame.fit, frame.background, []))
    return np.ascontiguousarray(levels.reshape(frame.height, frame.width, frame.channels).transpose(2, 0, 1))


def prepared(content: bytes, frame: Frame) -> tuple[NDArray[np.uint8], Facts]:
    """A file's picture as the model sees it, uint8 [channels, height, width], and what was found out about the file.

    Raises:
        InputError: the file is no picture, is too large, or is damaged.
    """
    image, facts = decoded(content)
    return framed(image, frame), facts


def digests_of(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A checksum of each picture's pixels, uint8 [n, 16]. Pictures that look alike to the model have the same one."""
    each = (hashlib.blake2b(picture.tobytes(), digest_size=16).digest() for picture in pictures)
    return np.frombuffer(b"".join(each), np.uint8).reshape(-1, 16)
