"""The recipe of an interpolation: the ways between two or more latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from vae_gen import VAE, Manifest
from vae_gen.internal.choice import Choice

from .bulk import single
from .frames import MAX_PICTURES, Frames, check_drawing
from .metadata import Fields
from .recipe import Floats, check_draw, draw_choices, held_noise, read_draw, refuse_other_sources, seed_sample
from .sheets import shortened, table


@dataclass(frozen=True)
class InterpolateRecipe:
    """The way between two or more latents, as a table with a row for each pair, or moving."""

    seeds: tuple[int, ...]
    start: int
    """the index within each seed"""
    steps: int
    method: Literal["linear", "spherical"]
    loop: bool
    scale: int
    animate: bool
    fps: int
    draw: Choice
    """of the seeds' samples"""
    source: str | None = None
    """where the latents came from, when not from seeds; `ends` then holds them, and a note cannot"""
    names: tuple[str, ...] = ()
    ends: tuple[tuple[float, ...], ...] = ()

    command: ClassVar[str] = "interpolate"

    @classmethod
    def read(cls, fields: Fields) -> InterpolateRecipe:
        """The recipe that a PNG's note holds."""
        refuse_other_sources(fields, "source")
        return cls(
            seeds=fields.seeds("seeds"),
            start=fields.seed("start"),
            steps=fields.whole("steps", 2, MAX_PICTURES),
            method="linear" if fields.choice("method", ("linear", "spherical")) == "linear" else "spherical",
            loop=fields.flag("loop"),
            scale=fields.whole("scale", 1, 64),
            animate=fields.flag("animate"),
            fps=fields.whole("fps", 1, 50),
            draw=read_draw(fields),
        )

    def choices(self) -> dict[str, Any]:
        """Everything but the model, as JSON."""
        return {
            "seeds": [str(seed) for seed in self.seeds],
            "start": str(self.start),
            "source": self.source,
            "steps": self.steps,
            "method": self.method,
            "loop": self.loop,
            "scale": self.scale,
            "animate": self.animate,
            "fps": self.fps,
            **draw_choices(self.draw),
        }

    def graphs(self, manifest: Manifest) -> tuple[str, ...]:
        """What decodes, and those of the draw."""
        return self.draw.decoder, *(self.draw.graphs(manifest) if self.seeds else ())

    @property
    def pairs(self) -> int:
        """How many ways from one to the next."""
        return (len(self.ends) or len(self.seeds)) - (0 if self.loop else 1)

    def check(self, manifest: Manifest, format_name: str) -> None:
        """Refuse a draw that the model does not have, and what would be too large."""
        check_draw(self.draw, manifest)
        check_drawing(self.pairs * self.steps, manifest.image, self.scale)

    def frames(self, model: VAE) -> Frames:
        """The table, or one frame for each step."""
        names = list(self.names) or [f"seed {seed}" for seed in self.seeds]
        ends = [np.array(end, np.float32) for end in self.ends]
        samples = [seed_sample(model, seed, self.start, self.draw) for seed in self.seeds]
        ends = ends or [sample.latents[0] for sample in samples]
        noise = held_noise(model, self.draw, samples[0] if samples else None)
        ways = [self._way(model, ends[at], ends[(at + 1) % len(ends)], noise) for at in range(self.pairs)]
        if not self.animate:
            short = [shortened(name) for name in names]
            labels = [f"{short[at]}\nto {short[(at + 1) % len(ends)]}" for at in range(self.pairs)]
            shares = [f"{share:.2f}" for share in np.linspace(0, 1, self.steps)]
            return Frames.still(table(np.stack(ways), labels, shares, self.scale))
        # Each way ends where the next begins; that picture is shown once.
        pictures = np.concatenate([*(way[:-1] for way in ways), ways[-1][-1:]])
        drawn = [single(picture, self.scale).images[0] for picture in pictures]
        if self.loop:
            return Frames(tuple(drawn[:-1]), round(1000 / self.fps))
        return Frames.there_and_back(drawn, self.fps)

    def _way(self, model: VAE, a: Floats, b: Floats, noise: Floats | None) -> NDArray[np.uint8]:
        way = model.interpolate(a, b, self.steps, self.method, noise=noise, detail=self.draw.detail)
        return way.grey_levels()
