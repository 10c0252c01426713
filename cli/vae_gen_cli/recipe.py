"""What all recipes share. A recipe is what a picture is made from, as a value that a PNG can carry.

It knows nothing of files and options: the commands make one from their flags, `repeat` from a PNG's note, and the
same recipe with the same model gives the same frames.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from vae_gen import VAE, InputError, Manifest, Samples
from vae_gen.internal.choice import LARGEST_TEMPERATURE, Choice, resolve_choice

from .frames import Frames
from .metadata import Fields

Floats = NDArray[np.float32]


class Recipe(Protocol):
    """What all recipes can do."""

    command: ClassVar[str]

    def graphs(self, manifest: Manifest) -> tuple[str, ...]:
        """Those that drawing needs."""

    def choices(self) -> dict[str, Any]:
        """Everything but the model, as JSON."""

    def check(self, manifest: Manifest, format_name: str) -> None:
        """Refuse what this model cannot do or what would be too large, before anything is computed."""

    def frames(self, model: VAE) -> Frames:
        """The drawing."""


def draw_choices(draw: Choice) -> dict[str, Any]:
    """How samples are drawn, as JSON; a class by its index."""
    return {"prior": draw.prior, "label": draw.label, "temperature": draw.temperature, "detail": draw.detail}


def read_draw(fields: Fields) -> Choice:
    """The same out of a note; N(0, I) and no details where it names none, as there was nothing else once."""
    fitted = "prior" in fields and fields.choice("prior", ("normal", "fitted")) == "fitted"
    return Choice(
        prior="fitted" if fitted else "normal",
        label=fields.whole("label", 0, 10**6) if "label" in fields else None,
        temperature=fields.number_between("temperature", 0, LARGEST_TEMPERATURE) if "temperature" in fields else 1.0,
        detail="detail" in fields and fields.flag("detail"),
    )


def check_draw(draw: Choice, manifest: Manifest) -> None:
    """Refuse what this model cannot draw.

    Raises:
        UsageError: no fitted prior, no such class, or no detail stage.
    """
    resolve_choice(manifest, draw.prior, draw.label, draw.temperature, draw.detail)


def in_words(draw: Choice, manifest: Manifest) -> str:
    """What is not the model's own choice, each with a comma before it."""
    usual = "fitted" if draw.label is not None else manifest.latent.default_prior
    words = [] if draw.prior == usual else [f"{draw.prior} prior"]
    words += [] if draw.label is None else [manifest.class_names[draw.label]]
    words += [] if draw.temperature == 1 else [f"temperature {draw.temperature:g}"]
    words += [] if draw.detail == manifest.details_by_default else ["with details" if draw.detail else "no details"]
    return "".join(f", {word}" for word in words)


def seed_sample(model: VAE, seed: int, index: int, draw: Choice) -> Samples:
    """One sample, out of its whole aligned block as all that is written."""
    (only,) = model._sampler(draw, seed).stream(index, 1)
    return only


def held_noise(model: VAE, draw: Choice, sample: Samples | None) -> Floats | None:
    """The noise that all pictures of a traversal or an interpolation are drawn with, float32 [k].

    Args:
        model: what draws.
        draw: None comes back where it wants no details.
        sample: whose noise it is; None where there is none, and then it is picture 0's of seed 0.
    """
    if not draw.detail:
        return None
    return None if sample is None else sample.noise


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
