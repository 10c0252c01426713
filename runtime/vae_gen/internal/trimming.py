"""Finds the object in a picture with a plain ground, so that it can be placed as the model's training pictures were.

Fashion-MNIST was made from photographs on white: edges near the colour of the corners were cut off, the longer side
was scaled to 28 pixels, and the object was put in the middle (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747, section 2).
examples/fit.mjs does the same in JavaScript, with whole numbers as here, so that both give the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.uint8]
Integers = NDArray[np.int64]

LOOKED_AT = 256
"""The longer side of the reduced picture in which the object is searched, in pixels; reducing averages noise away."""
CLOSE = 12
"""Grey levels by which the ground may vary, 5 % of 255 as in the making of Fashion-MNIST; noise raises this limit."""
NOISE = 4
"""The limit is at least this many times the median deviation of the border from the ground."""
SOFT = 6
"""Grey levels between neighbours in the reduced picture. A shadow fades more softly, and is not part of the object."""
CUT_OFF = 64
"""Grey levels from the ground at the edge of the picture: an object that is cut off there, and no shadow."""
VISIBLE = 127
"""A pixel whose opacity is above this, of 255, is visible."""
NEAR_PLACE = 0.04
"""An object whose length and centre differ by at most this share of the frame from their place is left there."""
FAINT = 175
"""Grey levels: 99 of 100 pictures of Fashion-MNIST have more than 1 % of their object above this."""


@dataclass(frozen=True)
class Content:
    """The object in a picture."""

    box: tuple[int, int, int, int]
    """left, top, right and bottom in pixels, as Pillow's `crop` takes them"""
    ground: tuple[int, ...]
    """the level of the ground in each channel"""
    darker: bool
    """whether the object is darker than the ground"""
    extreme: int
    """the difference from the ground that 1 % of the object's pixels exceed, in grey levels"""


def find_content(levels: Levels, alpha: Levels | None = None) -> Content | None:
    """Finds the object in a picture.

    Args:
        levels: uint8 [height, width, channels].
        alpha: the opacity of each pixel, uint8 [height, width], of a picture with transparent parts.

    Returns:
        The object, or None if the ground is not plain, or nothing lies on it. The ground is plain if it has one level
        along at least half of the border.
    """
    height, width, _ = levels.shape
    factor = -(-max(height, width) // LOOKED_AT)
    small = _reduced(levels, factor)
    border = _border(small)
    ground = _middle(border)
    difference = np.abs(small - ground).max(2)
    if alpha is not None and _middle(_border(alpha[..., None]))[0] <= VISIBLE:  # the object is what is visible
        found = _reduced(alpha[..., None], factor)[..., 0] > VISIBLE
    else:
        deviations = _border(difference[..., None])
        limit = max(CLOSE, NOISE * int(_middle(deviations)[0]))
        if 2 * int((deviations > limit).sum()) > len(deviations):
            return None
        found = difference > limit
        found &= _neighbours(found) >= 3  # no specks
        edges = _steepest(small) > SOFT
        for side in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
            edges[side] |= difference[side] > CUT_OFF
        found &= edges
    if not found.any():
        return None
    rows, columns = (factor * np.flatnonzero(found.any(axis)) for axis in (1, 0))
    box = (columns[0], rows[0], min(width, columns[-1] + factor), min(height, rows[-1] + factor))
    of_object = np.sort(difference[found])
    return Content(
        box=(int(box[0]), int(box[1]), int(box[2]), int(box[3])),
        ground=tuple(int(level) for level in ground),
        darker=int((small - ground)[found].sum()) < 0,
        extreme=int(of_object[99 * len(of_object) // 100]),
    )


def is_in_place(
    box: tuple[int, int, int, int], picture: tuple[int, int], frame: tuple[int, int], fill: float
) -> bool:
    """Whether an object already lies as a model's training pictures have it: in the middle, and as long.

    Args:
        box: left, top, right and bottom of the object in pixels.
        picture: width and height of the picture.
        frame: width and height of the model's pictures.
        fill: the share of the frame that the object's longer side takes.
    """
    scale = min(frame[0] / picture[0], frame[1] / picture[1])
    (left, top, right, bottom), (width, height) = box, picture
    length = max((right - left) * scale / frame[0], (bottom - top) * scale / frame[1])
    off = max(abs(left + right - width) * scale / frame[0], abs(top + bottom - height) * scale / frame[1]) / 2
    return abs(length - fill) <= NEAR_PLACE and off <= NEAR_PLACE


def stretched(levels: Levels, ground: int, top: int) -> Levels:
    """Moves the grey levels from `ground` to `top` to those from 0 to 255, of the same shape."""
    span = top - ground
    moved = (2 * 255 * (levels.astype(np.int64) - ground) + span) // (2 * span)
    clipped: Levels = np.clip(moved, 0, 255).astype(np.uint8)
    return clipped


def _reduced(levels: Levels, factor: int) -> Integers:
    """The rounded mean of each block of factor × factor pixels; blocks at the right and below may be smaller."""
    rows, columns = np.arange(0, levels.shape[0], factor), np.arange(0, levels.shape[1], factor)
    bands = np.stack([levels[row : row + factor].sum(0, np.int64) for row in rows])  # [rows, width, channels]
    sums = np.add.reduceat(bands, columns, 1)
    heights = np.minimum(factor, levels.shape[0] - rows)
    counts = (heights[:, None] * np.minimum(factor, levels.shape[1] - columns))[..., None]
    means: Integers = (2 * sums + counts) // (2 * counts)
    return means


def _border(values: NDArray[np.integer]) -> NDArray[np.integer]:
    """The outermost pixels of [height, width, channels], as [pixels, channels]."""
    return np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])


def _middle(values: NDArray[np.integer]) -> Integers:
    """The upper median of each column of [n, channels]."""
    ordered: Integers = np.sort(values, axis=0)[len(values) // 2].astype(np.int64)
    return ordered


def _neighbours(found: NDArray[np.bool_]) -> Integers:
    """How many of the 3 × 3 pixels around each pixel were found."""
    padded = np.pad(found.astype(np.int64), 1)
    height, width = found.shape
    counts: Integers = sum(
        (padded[y : y + height, x : x + width] for y in range(3) for x in range(3)), np.zeros(found.shape, np.int64)
    )
    return counts


def _steepest(small: Integers) -> Integers:
    """The largest difference of each pixel from the pixels beside, above and below it, in any channel."""
    steepest = np.zeros(small.shape[:2], np.int64)
    across, down = np.abs(np.diff(small, axis=1)).max(2), np.abs(np.diff(small, axis=0)).max(2)
    steepest[:, 1:] = across
    steepest[:, :-1] = np.maximum(steepest[:, :-1], across)
    steepest[1:] = np.maximum(steepest[1:], down)
    steepest[:-1] = np.maximum(steepest[:-1], down)
    return steepest
