"""From numbers to pixels: grey levels, and many pictures side by side in one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._errors import UsageError
from .internal.checks import whole


def to_grey_levels(images: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Grey levels 0 … 255 of values in [0, 1]: ⌊255·x + 0.5⌋ in float32, the same in every language."""
    scaled = images.astype(np.float32, copy=False) * np.float32(255)
    scaled += np.float32(0.5)
    return scaled.astype(np.uint8)  # a cast cuts towards zero, which is the floor for what is not negative


def picture_grid(
    images: NDArray[np.uint8], columns: int = 10, scale: int = 1, gap: int = 2, background: int = 0
) -> NDArray[np.uint8]:
    """Pictures in rows of `columns`, left to right, as one picture: uint8 [height, width] or [height, width, 3].

    Args:
        images: uint8 [n, channels, height, width], with 1 or 3 channels.
        columns: pictures in a row; fewer where there are not so many.
        scale: each pixel becomes scale × scale pixels.
        gap: pixels between two pictures and around all of them, after scaling.
        background: the grey level of the gaps and of places without a picture.

    Raises:
        UsageError: another dtype or shape, no pictures, or a number out of its range.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise UsageError(
            f"expected pictures as uint8 [n, 1 or 3, height, width], got {images.dtype} {list(images.shape)}"
        )
    columns, scale = whole("columns", columns, 1), whole("scale", scale, 1)
    gap, background = whole("gap", gap, 0), whole("background", background, 0, 255)
    count, channels, height, width = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    cell_height, cell_width = height * scale + gap, width * scale + gap
    canvas = np.full((rows * cell_height + gap, columns * cell_width + gap, channels), background, np.uint8)
    for at in range(count):
        top, left = gap + at // columns * cell_height, gap + at % columns * cell_width
        picture = images[at].transpose(1, 2, 0).repeat(scale, axis=0).repeat(scale, axis=1)
        canvas[top : top + height * scale, left : left + width * scale] = picture
    return canvas[..., 0] if channels == 1 else canvas
