"""Pictures arranged for people: a labelled table, cards with a line below each, and a preview in the terminal.

Labels use the font that is part of Pillow, so that a sheet looks the same on a machine without any fonts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vae_gen import picture_grid

from .output import GAP, Frames

FONT_SIZE = 13
LARGE_FONT, LARGE_PICTURE = 20, 200
"""The size of the text in animations whose pictures are at least 200 pixels wide."""
MARGIN = 6
"""Pixels around labels."""
PAPER, INK = 255, 0
"""Grey levels: garments lie on black, so the sheet is white and shows where each ends."""


def table_with_values(
    pictures: NDArray[np.uint8], row_labels: Sequence[str], values: Sequence[Sequence[str]], scale: int
) -> Image.Image:
    """Draws rows of pictures with a label to the left of each row and a value below each picture.

    Args:
        pictures: uint8 [rows, columns, channels, height, width].
        row_labels: a label for each row; it may have several lines.
        values: the text below each picture; where pictures are narrower than texts, only every second or third has one.
        scale: each pixel becomes scale × scale.
    """
    rows, columns, channels, height, width = pictures.shape
    font = ImageFont.load_default(FONT_SIZE)
    widest = max(_size(text, font)[0] for row in values for text in row)
    line = FONT_SIZE + MARGIN
    tallest = max(_size(label, font)[1] for label in row_labels)
    cell_width, cell_height = width * scale + GAP, max(height * scale + line, tallest) + GAP
    left = max(_size(label, font)[0] for label in row_labels) + 2 * MARGIN
    overhang = max(0, widest - cell_width) // 2 + GAP
    mode = "L" if channels == 1 else "RGB"
    size = left + columns * cell_width + 2 * overhang, rows * cell_height + 2 * MARGIN
    sheet = Image.new(mode, size, _paper(mode))
    draw = ImageDraw.Draw(sheet)
    every = -(-(widest + MARGIN) // cell_width)
    for row in range(rows):
        top = MARGIN + row * cell_height
        strip = picture_grid(pictures[row], columns, scale, GAP, PAPER)[GAP:-GAP]
        sheet.paste(Image.fromarray(strip), (left + overhang - GAP, top))
        draw.multiline_text((MARGIN, top + height * scale // 2), row_labels[row], _ink(mode), font, anchor="lm")
        for column in range(0, columns, every):
            centre = left + overhang + column * cell_width + width * scale // 2
            draw.text((centre, top + height * scale + FONT_SIZE), values[row][column], _ink(mode), font, anchor="ms")
    return sheet


def table(
    pictures: NDArray[np.uint8], row_labels: Sequence[str], column_labels: Sequence[str], scale: int
) -> Image.Image:
    """Draws rows of pictures with a label to the left of each row and above each column.

    Args:
        pictures: uint8 [rows, columns, channels, height, width].
        row_labels: a label for each row; it may have several lines.
        column_labels: a label for each column.
        scale: each pixel becomes scale × scale.
    """
    rows, columns, channels, height, width = pictures.shape
    font = ImageFont.load_default(FONT_SIZE)
    cell_width, cell_height = width * scale + GAP, height * scale + GAP
    left = max(_size(label, font)[0] for label in row_labels) + 2 * MARGIN
    top = _size("0", font)[1] + MARGIN
    grid = Image.fromarray(picture_grid(pictures.reshape(-1, channels, height, width), columns, scale, GAP, PAPER))

    # If cells are smaller than their labels, only every second or third has one, so that none runs into the next.
    row_label = max(_size(label, font)[1] for label in row_labels)
    column_label = max(_size(label, font)[0] for label in column_labels)
    every_row, every_column = -(-(row_label + MARGIN) // cell_height), -(-(column_label + MARGIN) // cell_width)
    overhang = max(0, row_label - cell_height)
    width, height = left + grid.width + max(0, column_label - cell_width), top + grid.height + 2 * overhang
    sheet = Image.new(grid.mode, (width, height), _paper(grid.mode))
    sheet.paste(grid, (left, top + overhang))
    draw = ImageDraw.Draw(sheet)
    for row in range(0, rows, every_row):
        centre = top + overhang + GAP + row * cell_height + (cell_height - GAP) // 2
        draw.multiline_text((MARGIN, centre), row_labels[row], _ink(sheet.mode), font, anchor="lm")
    for column in range(0, columns, every_column):
        centre = left + GAP + column * cell_width + (cell_width - GAP) // 2
        draw.text((centre, top + overhang - MARGIN // 2), column_labels[column], _ink(sheet.mode), font, anchor="ms")
    return sheet


def moving_cards(
    pictures: NDArray[np.uint8], labels: Sequence[str], values: Sequence[Sequence[str]], columns: int, scale: int
) -> list[Image.Image]:
    """Draws the frames of an animation: cards in rows of `columns`, each with its label and its current value below it.

    Args:
        pictures: uint8 [n, frames, channels, height, width].
        labels: the text of each card.
        values: a text for each card and frame.
        columns: cards in a row.
        scale: each pixel becomes scale × scale.
    """
    texts = [[f"{label}\n{value}" for value in row] for label, row in zip(labels, values, strict=True)]
    font_size = _moving_font(pictures, scale)
    room = _room((text for row in texts for text in row), font_size)
    return [
        cards(pictures[:, at : at + 1], [row[at] for row in texts], columns, scale, font_size, room)
        for at in range(pictures.shape[1])
    ]


def captioned(pictures: NDArray[np.uint8], texts: Sequence[str], scale: int) -> list[Image.Image]:
    """Draws frames with one picture each and its text below it.

    Args:
        pictures: uint8 [frames, channels, height, width].
        texts: a text for each frame.
        scale: each pixel becomes scale × scale.
    """
    font_size = _moving_font(pictures, scale)
    room = _room(texts, font_size)
    return [
        cards(picture[None, None], [text], 1, scale, font_size, room)
        for picture, text in zip(pictures, texts, strict=True)
    ]


def _moving_font(pictures: NDArray[np.uint8], scale: int) -> int:
    return LARGE_FONT if pictures.shape[-1] * scale >= LARGE_PICTURE else FONT_SIZE


def cards(
    pictures: NDArray[np.uint8],
    labels: Sequence[str],
    columns: int,
    scale: int,
    font_size: int = FONT_SIZE,
    room: tuple[int, int] | None = None,
) -> Image.Image:
    """Draws cards in rows of `columns`; each is a stack of pictures with a text below it.

    Args:
        pictures: uint8 [n, stack, channels, height, width].
        labels: the text of each card; it may have several lines.
        columns: cards in a row.
        scale: each pixel becomes scale × scale.
        font_size: the size of the text in pixels.
        room: width and height of the texts in pixels, if all frames of an animation should have one size.
    """
    count, stack, channels, height, width = pictures.shape
    font = ImageFont.load_default(font_size)
    columns = min(columns, count)
    rows = -(-count // columns)
    widest, tallest = room or _room(labels, font_size)
    picture_width, stack_height = width * scale, stack * (height * scale + GAP)
    card_width, card_height = max(picture_width, widest) + 2 * MARGIN, stack_height + tallest + 2 * MARGIN
    mode = "L" if channels == 1 else "RGB"
    sheet = Image.new(mode, (columns * card_width, rows * card_height), _paper(mode))
    draw = ImageDraw.Draw(sheet)
    for at, label in enumerate(labels):
        top, left = at // columns * card_height + MARGIN, at % columns * card_width
        drawn = picture_grid(pictures[at], 1, scale, GAP, PAPER)[GAP:-GAP, GAP:-GAP]
        sheet.paste(Image.fromarray(drawn), (left + (card_width - picture_width) // 2, top))
        below = left + card_width // 2, top + stack_height + MARGIN // 2
        draw.multiline_text(below, label, _ink(mode), font, anchor="ma", spacing=3, align="center")
    return sheet


def shortened(text: str, letters: int = 24) -> str:
    """A file's name with letters that the font can draw, and without its middle if it is long."""
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return plain if len(plain) <= letters else f"{plain[: letters // 2 - 2]}...{plain[-letters // 2 + 1 :]}"


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _size(text: str, font: Font, font_size: int = FONT_SIZE) -> tuple[int, int]:
    """Width and height in pixels of a text of one or more lines."""
    lines = text.split("\n")
    widest = max(font.getbbox(line)[2] for line in lines)
    return int(np.ceil(widest)), len(lines) * (font_size + 3)


def _room(texts: Iterable[str], font_size: int) -> tuple[int, int]:
    """The largest width and the largest height in pixels of any of the texts."""
    font = ImageFont.load_default(font_size)
    sizes = [_size(text, font, font_size) for text in dict.fromkeys(texts)]
    return max(width for width, _ in sizes), max(height for _, height in sizes)


def _paper(mode: str) -> int | tuple[int, int, int]:
    return PAPER if mode == "L" else (PAPER, PAPER, PAPER)


def _ink(mode: str) -> int | tuple[int, int, int]:
    return INK if mode == "L" else (INK, INK, INK)


HALF_BLOCK = "▀"
RAMP = " .:-=+*#%@"
"""Letters from dark to bright, for everything but a terminal that shows colours and the half block."""
MOST_LINES = 100


def preview(frames: Frames, stream: TextIO | None = None) -> None:
    """Prints the first frame on standard error, as wide as the terminal: two pixels a character, or letters.

    A character is an upper half block in 24-bit colour. Letters are printed to files and pipes, and where the terminal
    shows no colours (TERM=dumb) or the user wants none (NO_COLOR). Of a tall picture only the top is shown.
    """
    stream = stream or sys.stderr
    image = frames.images[0]
    width = min(_terminal_width(stream), image.width)
    height = max(1, round(image.height * width / image.width))
    small = image.convert("RGB").resize((width, height), Image.Resampling.BOX)
    small = small.crop((0, 0, width, min(height + height % 2, 2 * MOST_LINES)))  # an even number of pixel rows
    pixels = np.asarray(small)  # [height, width, 3]
    lines = _half_blocks(pixels) if _shows_colours(stream) else _letters(pixels)
    stream.write("".join(f"{line}\n" for line in lines))
    stream.flush()


def _shows_colours(stream: TextIO) -> bool:
    """Whether the stream is a terminal that shows 24-bit colours and the half block, and the user wants colours."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        HALF_BLOCK.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    if sys.platform == "win32":  # consoles before Windows Terminal understand escapes only once they are asked to
        import ctypes

        kernel32, standard_error, all_modes = ctypes.windll.kernel32, -12, 7
        return bool(kernel32.SetConsoleMode(kernel32.GetStdHandle(standard_error), all_modes))
    return True


def _half_blocks(pixels: NDArray[np.uint8]) -> list[str]:
    lines = []
    for upper, lower in zip(pixels[0::2].tolist(), pixels[1::2].tolist(), strict=True):
        line = "".join(
            f"\x1b[38;2;{a[0]};{a[1]};{a[2]};48;2;{b[0]};{b[1]};{b[2]}m{HALF_BLOCK}"
            for a, b in zip(upper, lower, strict=True)
        )
        lines.append(f"{line}\x1b[0m")
    return lines


def _letters(pixels: NDArray[np.uint8]) -> list[str]:
    grey = pixels.mean(axis=2).reshape(len(pixels) // 2, 2, -1).mean(axis=1)  # [lines, width]
    return ["".join(RAMP[int(level * len(RAMP) / 256)] for level in row).rstrip() for row in grey]


def _terminal_width(stream: TextIO) -> int:
    try:
        return max(1, os.get_terminal_size(stream.fileno()).columns)
    except (OSError, ValueError):
        return 80
