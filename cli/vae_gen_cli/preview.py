"""A picture in the terminal: two pixels a character, by the upper half block in 24-bit colour, or ASCII letters."""

from __future__ import annotations

import os
import sys
from typing import TextIO

import numpy as np
from PIL import Image

HALF_BLOCK = "▀"
RAMP = " .:-=+*#%@"
"""From dark to bright, for terminals that cannot encode the half block."""
MAX_LINES = 100


def show(image: Image.Image, stream: TextIO | None = None) -> None:
    """Print the picture on standard error, reduced to the terminal's width; only the top of a tall one."""
    stream = stream or sys.stderr
    width = min(_terminal_width(stream), image.width)
    height = max(1, round(image.height * width / image.width))
    small = image.convert("RGB").resize((width, height), Image.Resampling.BOX)
    small = small.crop((0, 0, width, min(height + height % 2, 2 * MAX_LINES)))  # an even number of pixel rows
    pixels = np.asarray(small)  # [height, width, 3]
    try:
        HALF_BLOCK.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        lines = _letters(pixels)
    else:
        lines = _half_blocks(pixels)
    stream.write("".join(f"{line}\n" for line in lines))
    stream.flush()


def _half_blocks(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> list[str]:
    lines = []
    for upper, lower in zip(pixels[0::2].tolist(), pixels[1::2].tolist(), strict=True):
        line = "".join(
            f"\x1b[38;2;{a[0]};{a[1]};{a[2]};48;2;{b[0]};{b[1]};{b[2]}m{HALF_BLOCK}"
            for a, b in zip(upper, lower, strict=True)
        )
        lines.append(f"{line}\x1b[0m")
    return lines


def _letters(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> list[str]:
    grey = pixels.mean(axis=2).reshape(len(pixels) // 2, 2, -1).mean(axis=1)  # [lines, width]
    return ["".join(RAMP[int(level * len(RAMP) / 256)] for level in row).rstrip() for row in grey]


def _terminal_width(stream: TextIO) -> int:
    try:
        return max(1, os.get_terminal_size(stream.fileno()).columns)
    except (OSError, ValueError):
        return 80
