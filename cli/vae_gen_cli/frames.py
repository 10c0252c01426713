"""Drawn pictures to bytes: a still as PNG or WebP, a moving one as GIF, WebP or APNG; the same bytes each time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from vae_gen import ImageSpec, UsageError, picture_grid

from .metadata import KEY

MAX_PICTURES = 10_000
MAX_PIXELS = 250_000_000
"""Of all frames together: a quarter of a gigabyte in memory, and more than image viewers open."""

LONGEST_SIDE = {"webp": 16_383, "gif": 65_535}
GAP = 2
"""Pixels between two pictures."""


@dataclass(frozen=True)
class Frames:
    """One picture, or the frames of a moving one."""

    images: tuple[Image.Image, ...]
    duration_ms: int = 0
    """how long each frame stays"""

    @classmethod
    def still(cls, pixels: NDArray[np.uint8] | Image.Image) -> Frames:
        """One picture, from uint8 [height, width] or [height, width, 3]."""
        return cls((pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels),))

    @classmethod
    def there_and_back(cls, images: Sequence[Image.Image], fps: int) -> Frames:
        """All frames, then all but the two ends backwards, so that the loop has no jump."""
        return cls((*images, *images[-2:0:-1]), round(1000 / fps))


def grid_frames(images: NDArray[np.uint8], columns: int, scale: int) -> Frames:
    """Pictures uint8 [n, channels, height, width] in rows, as one still."""
    return Frames.still(picture_grid(images, columns, scale, GAP))


def check_drawing(pictures: int, image: ImageSpec, scale: int, columns: int = 0, format_name: str = "png") -> None:
    """Refuse what would be too large to draw, before anything is computed.

    Args:
        pictures: all of them, on all frames.
        image: the size of one.
        scale: pixels of the drawing for each of a picture's.
        columns: pictures in a row, where the drawing is a grid of all of them.
        format_name: whose longest side counts.

    Raises:
        UsageError: says what to do instead.
    """
    if pictures > MAX_PICTURES:
        raise UsageError(
            f"expected at most {MAX_PICTURES} pictures in one image, got {pictures}; "
            "write them to a folder (-o pictures/) or an array (-o pictures.npy), or make fewer"
        )
    width, height = image.width * scale + GAP, image.height * scale + GAP
    if pictures * width * height > MAX_PIXELS:
        raise UsageError(
            f"expected an image of at most {MAX_PIXELS // 10**6} megapixels, "
            f"got {pictures * width * height // 10**6}; choose a smaller --scale or make fewer pictures"
        )
    if columns:
        across = min(columns, pictures)
        _check_sides(across * width + GAP, -(-pictures // across) * height + GAP, format_name)


def encode(frames: Frames, format_name: str, note: str | None = None) -> bytes:
    """The file's content.

    Args:
        frames: a still for png, or frames; webp takes both.
        format_name: png, apng, webp or gif.
        note: the text chunk of a PNG.

    Raises:
        UsageError: a side that is longer than the format allows.
    """
    first, rest = frames.images[0], frames.images[1:]
    _check_sides(*first.size, format_name)
    options: dict[str, object] = {}
    if frames.duration_ms:
        options = {"save_all": True, "append_images": rest, "duration": frames.duration_ms, "loop": 0}
    if format_name in ("png", "apng"):
        chunk = PngInfo()
        if note is not None:
            chunk.add_text(KEY, note)
        options |= {"pnginfo": chunk, "compress_level": 6}
    elif format_name == "webp":
        options |= {"lossless": True, "method": 4}
    buffer = io.BytesIO()
    first.save(buffer, "PNG" if format_name == "apng" else format_name.upper(), **options)
    return buffer.getvalue()


def _check_sides(width: int, height: int, format_name: str) -> None:
    longest = LONGEST_SIDE.get(format_name)
    if longest is not None and max(width, height) > longest:
        raise UsageError(
            f"expected sides of at most {longest} pixels in a .{format_name}, got {width} × {height}; "
            "write a .png, or choose a smaller --scale"
        )
