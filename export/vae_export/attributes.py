"""What a picture itself shows, as numbers: how bright its object is, how wide, how far its sides reach down.

The object is what differs from the background. A pixel belongs to it by a share from 0 to 1, so that every attribute
changes smoothly with the picture, as far as it can. No attribute needs labels, and all are for any set of pictures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

MEANINGS = {
    "shade": "the mean brightness of the object",
    "width": "the number of columns that the object takes",
    "height": "the number of rows that the object takes",
    "fullness": "the share of its box that the object fills",
    "balance": "where the middle of its mass lies, from the top of its box (0) to the bottom (1)",
    "contrast": "how much brightness varies within the object, relative to its shade",
    "texture": "the mean change of brightness between neighbouring pixels of the object, relative to its shade",
    "symmetry": "the share of the object that it has in common with its mirror image",
    "reach": "how far down the outer fifths of its box reach in the mean, from its top (0) to its bottom (1)",
    "arch": "how much higher its lower edge lies in the middle than at the sides, as a share of its height",
    "saturation": "how colourful the object is, from grey (0) to a pure colour (1)",
    "hue": "whether the object's colour is nearer to blue (below 0) or to red (above 0)",
}
"""The attributes, and what each of them measures. The last two are those of pictures in colour."""

OF_COLOUR = ("saturation", "hue")
FAINT, CLEAR = 0.05, 0.25
"""A pixel that differs from the background by the first value is not part of the object, from the second on it is."""
THIN = 2.0
"""A column or a row counts fully from this many pixels of the object on."""
SIDE = 0.2
"""The share of the box's width that each of its sides takes."""
EDGE = 0.04
"""The share of the box's width within which a zone begins and ends."""


def attribute_names(channels: int) -> tuple[str, ...]:
    """The attributes of grey pictures (1 channel), or of those in colour (3)."""
    return tuple(name for name in MEANINGS if channels == 3 or name not in OF_COLOUR)


def measure(images: NDArray[np.float32], background: tuple[float, ...] = (0.0,)) -> Doubles:
    """Measures the attributes of images, float64 [n, attributes], in the order of `attribute_names`.

    Args:
        images: float32 [n, channels, height, width] in [0, 1].
        background: the colour of the ground, one number for each channel, or one for all.
    """
    ground = np.broadcast_to(np.asarray(background, np.float64), images.shape[1])
    off = np.abs(images - ground[:, None, None]).max(1)
    part = _ramp(off, FAINT, CLEAR)  # [n, height, width], whether a pixel belongs to the object
    grey = images.mean(1, dtype=np.float64)
    mass = np.maximum(part.sum((1, 2)), 1e-3)
    rows, columns = np.arange(part.shape[1]) + 0.5, np.arange(part.shape[2]) + 0.5
    in_columns, in_rows = _ramp(part.sum(1), 0, THIN), _ramp(part.sum(2), 0, THIN)
    width, height = np.maximum(in_columns.sum(1), 1), np.maximum(in_rows.sum(1), 1)
    left = (in_columns * columns).sum(1) / width - width / 2
    top = (in_rows * rows).sum(1) / height - height / 2
    across = (columns - left[:, None]) / width[:, None]  # the place of each column in the box, 0 … 1
    down = (rows - top[:, None]) / height[:, None]
    shade = (grey * part).sum((1, 2)) / mass
    lowest = np.maximum.accumulate(part[:, ::-1], axis=1).sum(1)  # rows above each column's lower edge
    sides = _zone(across, -1, SIDE) + _zone(across, 1 - SIDE, 2)
    corners = [_mean_edge(lowest, _zone(across, *ends), in_columns) for ends in ((-1, 0.3), (0.7, 2))]
    found = {
        "shade": shade,
        "width": width,
        "height": height,
        "fullness": mass / (width * height),
        "balance": (part.sum(2) * down).sum(1) / mass,
        "contrast": np.sqrt((((grey - shade[:, None, None]) ** 2) * part).sum((1, 2)) / mass) / np.maximum(shade, 0.05),
        "texture": _texture(grey / np.maximum(shade, 0.05)[:, None, None], part),
        "symmetry": 1 - np.abs(part - part[:, :, ::-1]).sum((1, 2)) / (2 * mass),
        "reach": (_mean_edge(lowest, sides, in_columns) - top) / height,
        "arch": (np.maximum(*corners) - _mean_edge(lowest, _zone(across, 0.35, 0.65), in_columns)) / height,
    }
    if images.shape[1] == 3:
        brightest = np.maximum(images.max(1), 0.05)
        found["saturation"] = ((images.max(1) - images.min(1)) / brightest * part).sum((1, 2)) / mass
        found["hue"] = ((images[:, 0] - images[:, 2]) / brightest * part).sum((1, 2)) / mass
    return np.stack([found[name] for name in attribute_names(images.shape[1])], 1)


def _texture(relative: Doubles, part: Doubles) -> Doubles:
    """The root of the mean squared difference of neighbours, both of which belong to the object."""
    along, down = part[:, :, 1:] * part[:, :, :-1], part[:, 1:] * part[:, :-1]
    changes = (np.diff(relative, axis=2) ** 2 * along).sum((1, 2)) + (np.diff(relative, axis=1) ** 2 * down).sum((1, 2))
    texture: Doubles = np.sqrt(changes / np.maximum(along.sum((1, 2)), 1))
    return texture


def _mean_edge(lowest: Doubles, zone: Doubles, in_columns: Doubles) -> Doubles:
    """The mean of the columns' lower edges within a zone."""
    share = zone * in_columns
    edge: Doubles = (lowest * share).sum(1) / np.maximum(share.sum(1), 0.1)
    return edge


def _ramp(values: NDArray[np.floating], low: float, high: float) -> Doubles:
    """0 up to `low`, 1 from `high` on, and straight between."""
    return np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)


def _zone(places: Doubles, first: float, last: float) -> Doubles:
    """1 for places from `first` to `last`, and 0 for others, with soft ends."""
    return _ramp(places, first - EDGE, first + EDGE) * (1 - _ramp(places, last - EDGE, last + EDGE))
