"""What all recipes share. A recipe is what a picture is made from, as a value that a PNG can carry.

It knows nothing of files and options: the commands make one from their flags, `repeat` from a PNG's note, and the
same recipe with the same model gives the same frames.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from vae_runtime import Generator, InputError, Manifest

from .frames import Frames
from .metadata import Fields

Floats = NDArray[np.float32]


class Recipe(Protocol):
    """What all recipes can do."""

    command: ClassVar[str]
    graphs: ClassVar[tuple[str, ...]]
    """those that drawing needs"""

    def choices(self) -> dict[str, Any]:
        """Everything but the model, as JSON."""

    def check(self, manifest: Manifest, format_name: str) -> None:
        """Refuse what this model cannot do or what would be too large, before anything is computed."""

    def frames(self, model: Generator) -> Frames:
        """The drawing."""


def seed_latent(model: Generator, seed: int, index: int) -> Floats:
    """The latent of one sample, float32 [dimensions]."""
    (only,) = model.stream(1, seed, index)
    latent: Floats = only.latents[0]
    return latent


def refuse_other_sources(fields: Fields, key: str) -> None:
    """Refuse to repeat what did not come from seeds.

    Raises:
        InputError: the note names an image or a file of latents, which it does not hold.
    """
    if key in fields:
        raise InputError(
            f"{fields.path}: expected a picture of seeds, found one made from {fields.text(key)}, "
            "which a PNG does not hold; give the first command again"
        )
