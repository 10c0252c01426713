"""The recipe of samples: a grid, or one picture by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from vae_runtime import Generator, Manifest

from .bulk import Bulk, single
from .frames import MAX_PICTURES, Frames, check_drawing, grid_frames
from .metadata import Fields

SINGLE, GRID = "single", "grid"


def samples(model: Generator, seed: int, start: int, count: int, dtype: Literal["uint8", "float32"] = "uint8") -> Bulk:
    """Pictures start … start+count−1 of a seed, in chunks of whole aligned blocks: the same bytes in any range."""
    chunks = model.stream(count, seed, start, dtype=dtype)
    manifest = model.manifest
    return Bulk(chunks, count, manifest.image.shape, manifest.latent.dimensions, dtype, seed, start)


@dataclass(frozen=True)
class SampleRecipe:
    """Samples as a grid, or one sample by itself."""

    seed: int
    start: int
    count: int
    columns: int
    scale: int
    layout: str = GRID

    command: ClassVar[str] = "sample"
    graphs: ClassVar[tuple[str, ...]] = ("generator",)

    @classmethod
    def read(cls, fields: Fields) -> SampleRecipe:
        """The recipe that a PNG's note holds."""
        layout = fields.choice("layout", (GRID, SINGLE))
        return cls(
            seed=fields.seed("seed"),
            start=fields.seed("start"),
            count=fields.whole("count", 1, 1 if layout == SINGLE else MAX_PICTURES),
            columns=fields.whole("columns", 1, MAX_PICTURES),
            scale=fields.whole("scale", 1, 64),
            layout=layout,
        )

    def choices(self) -> dict[str, Any]:
        """Everything but the model, as JSON."""
        return {
            "seed": str(self.seed),
            "start": str(self.start),
            "count": self.count,
            "layout": self.layout,
            "columns": self.columns,
            "scale": self.scale,
        }

    def check(self, manifest: Manifest, format_name: str) -> None:
        """Refuse a grid that would be too large."""
        check_drawing(self.count, manifest.image, self.scale, self.columns, format_name)

    def frames(self, model: Generator) -> Frames:
        """The grid, or the one picture."""
        images = np.concatenate([chunk.images for chunk in samples(model, self.seed, self.start, self.count).chunks])
        return single(images[0], self.scale) if self.layout == SINGLE else grid_frames(images, self.columns, self.scale)
