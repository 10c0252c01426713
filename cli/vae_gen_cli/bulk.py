"""Any number of pictures to arrays or a folder, in chunks, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vae_gen import Pictures
from vae_gen.internal.saving import to_image, write_npy, write_npz
from vae_gen.internal.saving import write_folder as write_pngs

from .frames import Frames, encode
from .targets import Target


@dataclass(frozen=True)
class Bulk:
    """Pictures that are made while they are written."""

    chunks: Iterable[Pictures]
    count: int
    start: int = 0
    """the index of the first picture"""


def write_array(target: Target, bulk: Bulk) -> None:
    """Writes .npy or .npz; `vae_gen.internal.saving.write_npz` describes the arrays."""
    with target.open() as file:
        if target.format == "npy":
            write_npy(file, bulk.chunks, bulk.count)
        else:
            write_npz(file, bulk.chunks, bulk.count, target.nearby)


def write_folder(target: Target, bulk: Bulk, scale: int, note: Callable[[int], str | None]) -> None:
    """Writes one PNG for each picture, named by its index; other files of the folder stay.

    Args:
        target: the folder, which may exist; its parent must.
        bulk: the pictures, uint8.
        scale: each pixel becomes scale × scale.
        note: the text chunk for an index.
    """

    def files() -> Iterator[tuple[int, bytes]]:
        index = bulk.start
        for chunk in bulk.chunks:
            for picture in np.asarray(chunk):
                yield index, encode(single(picture, scale), "png", note(index))
                index += 1

    write_pngs(target.path, files(), bulk.start + bulk.count - 1)


def single(picture: NDArray[np.uint8], scale: int) -> Frames:
    """One picture uint8 [channels, height, width] by itself, without the border that a grid has."""
    return Frames.still(to_image(picture, scale))
