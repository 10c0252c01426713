"""Folders of generated pictures for tests: plain ones, and every odd file that people have."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image


def discs(count: int, size: tuple[int, int] = (24, 24), *, colour: bool = False, seed: int = 0) -> list[Image.Image]:
    """Bright discs of random places and widths on black, grey or coloured; width and height in `size`."""
    random = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[:height, :width]
    pictures = []
    for _ in range(count):
        radius = random.uniform(0.15, 0.35) * min(size)
        inside = (x - random.uniform(0.3, 0.7) * width) ** 2 + (y - random.uniform(0.3, 0.7) * height) ** 2 < radius**2
        shade = random.integers(120, 256, 3 if colour else 1)
        pixels = (inside[..., None] * shade).astype(np.uint8)
        pictures.append(Image.fromarray(pixels if colour else pixels[..., 0]))
    return pictures


def write_folder(folder: Path, pictures: list[Image.Image], *, ending: str = "png", prefix: str = "") -> Path:
    """The pictures as numbered files of a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for at, picture in enumerate(pictures):
        picture.save(folder / f"{prefix}{at:04d}.{ending}")
    return folder


def write_bad_files(folder: Path) -> dict[str, str]:
    """Files that no program can use, by name, with a word of the reason that each should be given."""
    buffer = io.BytesIO()
    discs(1, (200, 200), colour=True)[0].save(buffer, "JPEG")
    bomb = b"P5 90000 90000 255\n"
    contents = {
        "empty.png": (b"", "empty"),
        "half.jpg": (buffer.getvalue()[: len(buffer.getvalue()) // 2], "damaged"),
        "text.png": (b"this is no picture", "cannot be opened as one"),
        "bomb.pgm": (bomb, "megapixels"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    return {name: word for name, (_, word) in contents.items()}


def sixteen_bit_png(levels: np.ndarray) -> bytes:
    """A grey PNG with 16 bits a pixel."""
    buffer = io.BytesIO()
    Image.fromarray(levels.astype(np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def idx(array: np.ndarray) -> bytes:
    """The bytes of an IDX file of uint8."""
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
