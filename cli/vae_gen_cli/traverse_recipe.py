"""The recipe of a traversal: what latent dimensions do, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from vae_gen import VAE, Manifest, UsageError, to_grey_levels
from vae_gen.internal.choice import Choice
from vae_gen.internal.paths import traversal_values

from .frames import MAX_PICTURES, Frames, check_drawing
from .metadata import Fields
from .recipe import Floats, check_draw, draw_choices, held_noise, read_draw, refuse_other_sources, seed_sample
from .sheets import cards, table

CARD_COLUMNS = 4
"""Garments side by side in an animation of all dimensions."""
MAX_SPAN = 100


@dataclass(frozen=True)
class TraverseRecipe:
    """What one or all latent dimensions do, as a table with a row for each, or moving."""

    dimension: int | None
    """None for all of them, in the manifest's order"""
    span: float
    steps: int
    seed: int | None
    """whose latent the others keep; None for the prior's centre"""
    start: int
    scale: int
    animate: bool
    fps: int
    draw: Choice
    """of the seed's sample"""
    image: str | None = None
    """the name of the picture in place of a seed; `around` then holds its latent, and a note cannot"""
    around: tuple[float, ...] | None = None

    command: ClassVar[str] = "traverse"

    @classmethod
    def read(cls, fields: Fields) -> TraverseRecipe:
        """The recipe that a PNG's note holds."""
        refuse_other_sources(fields, "image")
        return cls(
            dimension=fields.whole("dimension", 0, 10**6) if "dimension" in fields else None,
            span=fields.number("span"),
            steps=fields.whole("steps", 2, MAX_PICTURES),
            seed=fields.seed("seed") if "seed" in fields else None,
            start=fields.seed("start"),
            scale=fields.whole("scale", 1, 64),
            animate=fields.flag("animate"),
            fps=fields.whole("fps", 1, 50),
            draw=read_draw(fields),
        )

    def centred_on(self, latent: Floats) -> TraverseRecipe:
        """The same around the latent of a picture, float32 [dimensions]."""
        return replace(self, around=tuple(latent.tolist()))

    def choices(self) -> dict[str, Any]:
        """Everything but the model, as JSON."""
        return {
            "dimension": self.dimension,
            "span": self.span,
            "steps": self.steps,
            "seed": None if self.seed is None else str(self.seed),
            "start": str(self.start),
            "image": self.image,
            "scale": self.scale,
            "animate": self.animate,
            "fps": self.fps,
            **draw_choices(self.draw),
        }

    def graphs(self, manifest: Manifest) -> tuple[str, ...]:
        """What decodes, and those of the draw."""
        return self.draw.decoder, *(() if self.seed is None else self.draw.graphs(manifest))

    def check(self, manifest: Manifest, format_name: str) -> None:
        """Refuse a dimension that the model does not have, a span that is none, and what would be too large."""
        check_draw(self.draw, manifest)
        width = manifest.latent.dimensions
        if self.dimension is not None and self.dimension >= width:
            raise UsageError(f"expected a dimension from 0 to {width - 1}, got {self.dimension}")
        if self.span > MAX_SPAN:
            raise UsageError(f"expected a span of at most {MAX_SPAN} standard deviations, got {self.span:g}")
        traversal_values(self.span, self.steps)
        rows = width if self.dimension is None else 1
        check_drawing(rows * self.steps, manifest.image, self.scale)

    def frames(self, model: VAE) -> Frames:
        """The table, or one frame for each value."""
        sample = None if self.seed is None else seed_sample(model, self.seed, self.start, self.draw)
        around: Sequence[float] | Floats | None = self.around if sample is None else sample.latents[0]
        noise = held_noise(model, self.draw, sample)
        made = model.traverse(
            self.dimension, around=around, span=self.span, steps=self.steps, noise=noise, detail=self.draw.detail
        )
        pictures = to_grey_levels(made.images)  # [rows, steps, channels, height, width]
        kl = model.manifest.latent.kl_nats
        labels = [f"z{row}  {kl[row]:.2f} nats" for row in made.dimensions]
        if self.animate:
            moving = pictures.swapaxes(0, 1)[:, :, None]  # [steps, rows, 1, channels, height, width]
            drawn = [cards(frame, labels, CARD_COLUMNS, self.scale) for frame in moving]
            return Frames.there_and_back(drawn, self.fps)
        return Frames.still(table(pictures, labels, [f"{value + 0.0:.2f}" for value in made.values], self.scale))
