"""Pictures that come in as files, fitted to the model; each step is printed."""

from __future__ import annotations

from collections.abc import Sequence

from vae_gen import VAE, ImageSpec, InputError
from vae_gen.internal.fitting import Fitted, fit_pictures

from .console import Console
from .recipe import Floats


def read_pictures(paths: Sequence[str], spec: ImageSpec, invert: str, console: Console) -> Fitted:
    """All pictures of all files, in order; an .npy file may hold several.

    Raises:
        InputError: a file that cannot be read, is no picture, or is too large.
    """
    pictures = fit_pictures(list(paths), spec, invert)
    for name, steps in pictures.steps:
        console.say(f"{name}: {', '.join(steps)}")
    return pictures


def read_one_latent(path: str, model: VAE, invert: str, console: Console) -> Floats:
    """The posterior's mean of the one picture in a file, float32 [dimensions]."""
    pictures = read_pictures([path], model.manifest.image, invert, console)
    if len(pictures.images) != 1:
        raise InputError(f"{path}: expected one picture, got {len(pictures.images)}")
    model.open("encoder")
    mean: Floats = model.encode(pictures.images).mean[0]
    return mean
