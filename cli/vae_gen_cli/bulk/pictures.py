"""Functions that the formats with one PNG for each picture share."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vae_gen import Samples


@dataclass(frozen=True)
class Picture:
    """One sample."""

    index: int
    label: int
    """the number of its class; −1 if the prior has no classes"""
    class_name: str | None
    levels: NDArray[np.uint8]
    """uint8 [channels, height, width]"""
    latent: NDArray[np.float32]
    """float32 [dimensions]"""

    @property
    def key(self) -> str:
        """The name of its files without an ending: `000000262144`."""
        return f"{self.index:012}"


def pictures(chunks: Iterable[Samples], class_names: Sequence[str]) -> Iterator[Picture]:
    """Yields the pictures of chunks one by one."""
    for chunk in chunks:
        labels = [-1] * len(chunk) if chunk.labels is None else chunk.labels.tolist()
        rows = zip(chunk.indices.tolist(), labels, chunk.images, chunk.latents, strict=True)
        for index, label, levels, latent in rows:
            yield Picture(index, label, class_names[label] if label >= 0 else None, levels, latent)


def plain_png(levels: NDArray[np.uint8]) -> bytes:
    """A picture as a PNG without a note."""
    from vae_gen.internal.saving import to_image

    buffer = io.BytesIO()
    to_image(levels).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def levels_of(png: bytes) -> NDArray[np.uint8]:
    """The grey levels of a PNG, uint8 [channels, height, width]."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
