"""What is decided from the data unless the user decides: size, channels, background, latent width and network.

Each function returns the decision with its reason, so that it can be printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vae_gen.internal.trimming import CLOSE, NEAR_PLACE

from .settings import LARGEST_SIDE, SMALLEST_SIDE, Choice, ImageSettings, colour_text

AUTO_LARGEST = 64
"""Pixels: larger pictures are scaled down to this side unless --image-size says otherwise."""
SAME_SHAPE = 0.9
"""If this share of the pictures has one shape (width over height, to 2 %), the model's pictures have it too."""
COLOUR_DIFFERENCE = 12
"""Grey levels between the channels of a pixel above which it counts as coloured; JPEG makes grey pixels differ by 4."""
COLOURED_PIXELS = 0.001
"""The share of coloured pixels above which a set is one in colour."""
BRIGHT = 0.5
"""A border whose median is above this, of 1, is bright; the same limit as when `vae-gen` fits a picture."""
PALE = 0.75
"""Transparent pictures whose visible pixels are brighter than this on average would be lost on white."""
VARIANCE_SHARE = 0.74
"""What 12 principal components hold of Fashion-MNIST, for which 12 latents are right."""
COLOUR_SHARE = 0.78
"""The share in colour, where the Gaussian keeps more latents in use: for emoji of 32 pixels and 1500 steps, 27 latents
(74 %) give a PSNR of 19.5 dB, and 40 (79 %) give 20.3 dB."""
LARGEST_LATENT = 128
IN_PLACE = 0.9
"""If the objects of this share of the pictures have one length and lie in the middle, other pictures are trimmed."""


@dataclass(frozen=True)
class Sample:
    """What some decoded pictures say about a set."""

    coloured: float
    """share of the visible pixels that have a colour"""
    transparent: float
    """share of the pictures with transparent pixels"""
    visible_brightness: float
    """mean of the visible pixels, 0 to 1"""
    bright_borders: float
    """share of the pictures whose opaque border is bright; 0 where no picture has an opaque border"""
    opaque_borders: float
    """share of the pictures whose border is opaque"""

    @classmethod
    def of(cls, pictures: Iterable[Image.Image]) -> Sample:
        """The figures of pictures of the modes L, LA, RGB and RGBA."""
        coloured = visible = brightness = 0.0
        transparent = bright = opaque = count = 0
        for picture in pictures:
            picture.thumbnail((64, 64))
            pixels = np.asarray(picture.convert("RGBA")).astype(np.int16)  # [height, width, 4]
            colour, alpha = pixels[..., :3], pixels[..., 3]
            shown = alpha > 127
            difference = colour.max(-1) - colour.min(-1)
            coloured += float((difference[shown] > COLOUR_DIFFERENCE).sum())
            visible += float(shown.sum())
            brightness += float(colour.mean(-1)[shown].sum()) / 255
            transparent += bool((alpha < 255).any())
            border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])  # [n, 4]
            if np.median(border[:, 3]) == 255:
                opaque += 1
                bright += bool(np.median(border[:, :3].mean(-1)) > BRIGHT * 255)
            count += 1
        return cls(
            coloured=coloured / visible if visible else 0.0,
            transparent=transparent / count if count else 0.0,
            visible_brightness=brightness / visible if visible else 0.0,
            bright_borders=bright / opaque if opaque else 0.0,
            opaque_borders=opaque / count if count else 0.0,
        )


def choose_size(sizes: Sequence[tuple[int, int]], settings: ImageSettings) -> tuple[tuple[int, int], Choice]:
    """Height and width of the model's pictures.

    Args:
        sizes: width and height of the source pictures.
        settings: a size in them is taken as it is.
    """
    option = "--image-size N or HxW"
    if settings.size is not None:
        return settings.size, Choice("image size", _by(settings.size), "given", "")
    (width, height), most = Counter(sizes).most_common(1)[0]
    alike = most == len(sizes)
    if alike and all(SMALLEST_SIDE <= side <= AUTO_LARGEST for side in (width, height)):
        return (height, width), Choice("image size", _by((height, width)), "the size of every picture", option)
    shape = width / height if alike else float(np.median([w / h for w, h in sizes]))
    matching = sum(abs(w / h / shape - 1) <= 0.02 for w, h in sizes)
    longest = float(np.median([max(size) for size in sizes]))
    longer = min(AUTO_LARGEST, _side(longest))
    if matching < SAME_SHAPE * len(sizes):
        reason = f"pictures have several shapes and a median longer side of {longest:g} pixels"
        return (longer, longer), Choice("image size", _by((longer, longer)), reason, option)
    sides = (longer, _side(longer * shape)) if shape < 1 else (_side(longer / shape), longer)  # height, width
    reason = f"the shape of {_share(matching, len(sizes))} pictures, with a median longer side of {longest:g} pixels"
    return sides, Choice("image size", _by(sides), reason, option)


def _side(length: float) -> int:
    """A multiple of 4 pixels, which two convolutions halve without a rest."""
    return min(LARGEST_SIDE, max(SMALLEST_SIDE, 4 * round(length / 4)))


def _by(size: tuple[int, int]) -> str:
    """Height and width for people, as --image-size takes them."""
    return f"{size[0]}x{size[1]}"


def _share(part: int, whole: int) -> str:
    return "all" if part == whole else f"{part} of {whole}"


def choose_channels(sample: Sample, settings: ImageSettings) -> tuple[int, Choice]:
    """1 for grey or 3 for colour, decided once for the whole set."""
    if settings.channels is not None:
        return settings.channels, Choice("channels", str(settings.channels), "given", "")
    option = "--channels 1 or 3"
    if sample.coloured > COLOURED_PIXELS:
        reason = f"{100 * sample.coloured:.1f} % of the visible pixels have a colour"
        return 3, Choice("channels", "3", reason, option)
    return 1, Choice("channels", "1", "no picture has colours", option)


def choose_background(sample: Sample, settings: ImageSettings, *, needed: bool) -> tuple[tuple[int, int, int], Choice]:
    """The colour behind transparent pixels and around padding.

    Args:
        sample: figures of some pictures.
        settings: a background in them is taken as it is.
        needed: whether any picture is transparent or will be padded.
    """
    option = "--background black, white or #rrggbb"
    if settings.background is not None:
        colour = settings.background
        return colour, Choice("background", colour_text(colour), "given", "")
    if sample.transparent > 0.5 or sample.opaque_borders == 0:
        pale = sample.visible_brightness > PALE
        reason = f"{100 * sample.transparent:.0f} % of the pictures are transparent, and their visible pixels are " + (
            "pale" if pale else "not too pale for white"
        )
        colour = (0, 0, 0) if pale else (255, 255, 255)
    else:
        bright = sample.bright_borders > 0.5
        reason = f"{100 * sample.bright_borders:.0f} % of the pictures have a bright border"
        colour = (255, 255, 255) if bright else (0, 0, 0)
    if not needed:
        reason += "; no picture is transparent or padded"
    return colour, Choice("background", colour_text(colour), reason, option)


def choose_latent_dim(images: NDArray[np.uint8], settings: ImageSettings) -> tuple[int, Choice]:
    """The width of the latent: as many principal components as hold 74 % of the variance, 78 % in colour.

    Args:
        images: uint8 [n, channels, height, width], the training pictures, or some thousands of them at random.
        settings: a latent_dim in them is taken as it is.
    """
    if settings.latent_dim is not None:
        return settings.latent_dim, Choice("latents", str(settings.latent_dim), "given", "")
    share = COLOUR_SHARE if images.shape[1] == 3 else VARIANCE_SHARE
    count = components_for(images, share)
    width = min(LARGEST_LATENT, max(2, count))
    shown = count if count <= LARGEST_LATENT else f"more than {LARGEST_LATENT}"
    reason = f"{shown} principal components hold {100 * share:.0f} % of the variance"
    if width != count:
        reason += f", and from 2 to {LARGEST_LATENT} latents are used"
    return width, Choice("latents", str(width), reason, "--latent-dim N")


def components_for(images: NDArray[np.uint8], share: float) -> int:
    """How many principal components hold this share of the pictures' variance, from 1 to 129.

    Only the largest 129 are found, by subspace iteration (Halko, Martinsson, Tropp 2011, arXiv:0909.4061, algorithm
    4.4), which takes a twentieth of the time of all of them. 129 stands for more than 128.
    """
    flat = images.reshape(len(images), -1).astype(np.float32) / 255
    flat -= flat.mean(0)
    total = sum(float(np.square(part, dtype=np.float64).sum()) for part in np.array_split(flat, 64))  # little memory
    if total == 0:
        return 1
    wanted = LARGEST_LATENT + 1
    start = np.random.default_rng(0).standard_normal((flat.shape[1], min(wanted + 15, *flat.shape)), np.float32)
    basis, _ = np.linalg.qr(flat @ start)  # [n, 144]
    for _ in range(4):
        other, _ = np.linalg.qr(flat.T @ basis)
        basis, _ = np.linalg.qr(flat @ other)
    singular = np.linalg.svd(basis.T @ flat, compute_uv=False).astype(np.float64)
    return min(wanted, int(np.searchsorted(np.cumsum(singular**2) / total, share)) + 1)


COMPONENT_IMAGES = 4000
"""So many pictures at random are enough for `components_for`."""


def network_for(height: int, width: int) -> tuple[int, ...]:
    """The feature maps after each convolution for pictures of this size.

    Two convolutions at 128 pixels would make a decoder of 17 MB, and a slower one.

    >>> network_for(28, 28), network_for(48, 64), network_for(8, 128)
    ((32, 64), (16, 32, 64), (16, 32, 64))
    """
    longer = max(height, width)
    channels = (32, 64) if longer <= 32 else (16, 32, 64) if longer <= 64 else (16, 32, 64, 96)
    return channels[: min(height, width).bit_length() - 1]  # a side of 8 pixels can be halved three times


def choose_fill(images: NDArray[np.uint8], background: tuple[int, int, int]) -> float | None:
    """The share of the frame that the longer side of each picture's object takes; None if there are no such objects.

    That is so if the ground is not plain, or the objects have several lengths or do not lie in the middle.

    Args:
        images: uint8 [n, channels, height, width], the training pictures, or some thousands of them at random.
        background: red, green and blue of the ground.
    """
    ground = np.array(background[: images.shape[1]], np.int16)[:, None, None]
    found = (np.abs(images.astype(np.int16) - ground) > CLOSE).any(1)  # [n, height, width]
    border = np.concatenate([found[:, 0], found[:, -1], found[:, 1:-1, 0], found[:, 1:-1, -1]], axis=1)
    plain = (border.mean(1) <= 0.5) & found.any((1, 2))
    lengths, offsets = np.zeros(len(found)), np.zeros(len(found))
    for axis in (1, 2):
        filled = found.any(axis)  # [n, side]
        side = filled.shape[1]
        first, past = filled.argmax(1), side - filled[:, ::-1].argmax(1)
        lengths = np.maximum(lengths, (past - first) / side)
        offsets = np.maximum(offsets, np.abs(first + past - side) / (2 * side))
    if not plain.any():
        return None
    fill = float(np.median(lengths[plain]))
    placed = plain & (np.abs(lengths - fill) <= NEAR_PLACE) & (offsets <= NEAR_PLACE)
    return round(fill, 4) if placed.mean() >= IN_PLACE else None
