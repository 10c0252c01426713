"""The recipe of samples: a grid, or one picture by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from vae_gen import VAE, Manifest
from vae_gen.internal.choice import Choice

from .bulk import Bulk, single
from .frames import MAX_PICTURES, Frames, check_drawing, grid_frames
from .metadata import Fields
from .recipe import check_draw, draw_choices, read_draw

SINGLE, GRID = "single", "grid"


def samples(
    model: VAE, seed: int, start: int, count: int, draw: Choice, dtype: Literal["uint8", "float32"] = "uint8"
) -> Bulk:
    """Pictures start … start+count−1 of a seed, in chunks of whole aligned blocks: the same bytes in any range."""
    return Bulk(model._sampler(draw, seed).stream(start, count, grey=dtype == "uint8"), count, start)


@dataclass(frozen=True)
class SampleRecipe:
    """Samples as a grid, or one sample by itself."""

    seed: int
    start: int
    count: int
    columns: int
    scale: int
    draw: Choice
    layout: str = GRID

    command: ClassVar[str] = "sample"

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
            draw=read_draw(fields),
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
            **draw_choices(self.draw),
        }

    def graphs(self, manifest: Manifest) -> tuple[str, ...]:
        """Those of the draw."""
        return self.draw.graphs(manifest)

    def check(self, manifest: Manifest, format_name: str) -> None:
        """Refuse a draw that the model does not have, and a grid that would be too large."""
        check_draw(self.draw, manifest)
        check_drawing(self.count, manifest.image, self.scale, self.columns, format_name)

    def frames(self, model: VAE) -> Frames:
        """The grid, or the one picture."""
        bulk = samples(model, self.seed, self.start, self.count, self.draw)
        images = np.concatenate([chunk.images for chunk in bulk.chunks])
        return single(images[0], self.scale) if self.layout == SINGLE else grid_frames(images, self.columns, self.scale)
