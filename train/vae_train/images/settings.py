"""The options of reading an image set, as one frozen value, and what an automatic choice looks like.

>>> ImageSettings.of(image_size="32x48").size
(32, 48)
>>> ImageSettings.of(image_size="4")
Traceback (most recent call last):
    ...
vae_gen._errors.UsageError: expected --image-size from 8 to 128 pixels, for example 32 or 48x64, got 4
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

from vae_gen import UsageError

Fit = Literal["pad", "crop", "stretch"]

SMALLEST_SIDE, LARGEST_SIDE = 8, 128
"""Pixels. Networks for larger pictures take hours on a CPU."""

FEWEST = 200
"""Below this many pictures training is refused unless `few` is set: a VAE learns them by heart."""
FEW = 2000
"""Below this many pictures a warning is printed."""

COLOURS = {"black": (0, 0, 0), "white": (255, 255, 255)}


@dataclass(frozen=True)
class Choice:
    """One automatic decision, so that it can be printed with its reason."""

    name: str
    value: str
    reason: str
    option: str
    """what the user writes to decide otherwise, for example `--image-size N`; empty where nothing does"""

    def __str__(self) -> str:
        changed = f"; {self.option} changes it" if self.option else ""
        return f"{self.name}: {self.value} ({self.reason}{changed})"


@dataclass(frozen=True)
class ImageSettings:
    """How pictures are read. None stands for "decide from the data"."""

    size: tuple[int, int] | None = None  # height and width in pixels
    channels: int | None = None  # 1 for grey, 3 for colour
    fit: Fit = "pad"  # what happens to a picture of another shape: padded, cropped in the middle, or stretched
    background: tuple[int, int, int] | None = None  # red, green, blue behind transparent pixels and around padding
    labels: str = "auto"  # auto, folders, none, or the path of a CSV or JSON Lines file
    max_images: int | None = None  # at most this many pictures, chosen at random but always the same ones
    strict: bool = False  # the first file that cannot be used is an error
    few: bool = False  # accept fewer than 200 pictures
    latent_dim: int | None = None  # numbers that an image becomes

    @classmethod
    def of(
        cls,
        *,
        image_size: str | None = None,
        channels: str = "auto",
        fit: str = "pad",
        background: str = "auto",
        labels: str = "auto",
        max_images: int | None = None,
        strict: bool = False,
        few: bool = False,
        latent_dim: str = "auto",
    ) -> ImageSettings:
        """The settings from the words of the command line.

        Raises:
            UsageError: a word that is not one of an option's values.
        """
        if channels not in ("auto", "1", "3"):
            raise UsageError(f"expected --channels auto, 1 or 3, got {channels}")
        if fit not in get_args(Fit):
            raise UsageError(f"expected --fit {', '.join(get_args(Fit))}, got {fit}")
        if max_images is not None and max_images < 1:
            raise UsageError(f"expected --max-images of at least 1, got {max_images}")
        if latent_dim != "auto" and not (latent_dim.isascii() and latent_dim.isdigit() and int(latent_dim) > 0):
            raise UsageError(f"expected --latent-dim auto or a whole number of at least 1, got {latent_dim}")
        return cls(
            size=None if image_size in (None, "auto") else _size(str(image_size)),
            channels=None if channels == "auto" else int(channels),
            fit=cast(Fit, fit),
            background=None if background == "auto" else _colour(background),
            labels=labels,
            max_images=max_images,
            strict=strict,
            few=few,
            latent_dim=None if latent_dim == "auto" else int(latent_dim),
        )

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        lists = {
            name: None if value is None else list(value)
            for name, value in (("size", self.size), ("background", self.background))
        }
        return {**asdict(self), **lists}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ImageSettings:
        """The settings that `to_json` wrote."""
        size, background = value["size"], value["background"]
        return cls(**{**value, "size": size and (size[0], size[1]), "background": background and tuple(background)})


def _size(text: str) -> tuple[int, int]:
    """Height and width from `N` or `HxW`."""
    match = re.fullmatch(r"(\d{1,6})(?:[xX×](\d{1,6}))?", text)
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in size):
        raise UsageError(
            f"expected --image-size from {SMALLEST_SIDE} to {LARGEST_SIDE} pixels, for example 32 or 48x64, got {text}"
        )
    return size


def _colour(text: str) -> tuple[int, int, int]:
    """Red, green and blue from a name or from `#rrggbb`."""
    if text in COLOURS:
        return COLOURS[text]
    if not re.fullmatch("#[0-9a-fA-F]{6}", text):
        raise UsageError(f"expected --background auto, black, white or #rrggbb, got {text}")
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def colour_text(colour: tuple[int, int, int]) -> str:
    """A colour for people: `black`, `white` or `#rrggbb`."""
    names = {value: name for name, value in COLOURS.items()}
    return names.get(colour, "#{:02x}{:02x}{:02x}".format(*colour))
