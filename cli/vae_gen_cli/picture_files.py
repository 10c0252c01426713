"""Pictures that come in: any size up to 25 megapixels, any mode, made into what the model was trained on.

Each step is said on standard error. Files are untrusted: only common raster formats are opened, the size is read
from the header before a pixel is decoded, and whatever a damaged file does to a decoder becomes one line.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vae_gen import VAE, ImageSpec, InputError
from vae_gen.internal.arrays import as_images

from .console import Console
from .inputs import cannot_open
from .options import Invert
from .recipe import Floats

MAX_MEGAPIXELS = 25
BRIGHT = 0.5
"""A border whose median is above this, of 1, is bright."""

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "ICO", "TGA", "AVIF", "JPEG2000", "PCX")
"""Not all that Pillow knows: EPS would start Ghostscript, and few need the rest."""

NPY = b"\x93NUMPY"


@dataclass(frozen=True)
class PictureSet:
    """Pictures as the model takes them."""

    images: Floats
    """float32 [n, channels, height, width] in [0, 1]"""
    names: tuple[str, ...]
    """the file of each, as it was given"""


def read_pictures(paths: Sequence[str], spec: ImageSpec, invert: Invert, console: Console) -> PictureSet:
    """All pictures of all files, in order; an .npy file may hold several.

    Raises:
        InputError: a file that cannot be read, is no picture, or is too large.
    """
    images, names = [], []
    for path in paths:
        read = _from_array(path, spec) if _is_array(path) else _from_image(path, spec, invert, console)
        images.append(read)
        names += [path] if len(read) == 1 else [f"{path}[{at}]" for at in range(len(read))]
    return PictureSet(np.concatenate(images), tuple(names))


def read_one_latent(path: str, model: VAE, invert: Invert, console: Console) -> Floats:
    """The posterior's mean of the one picture in a file, float32 [dimensions]."""
    pictures = read_pictures([path], model.manifest.image, invert, console)
    if len(pictures.images) != 1:
        raise InputError(f"{path}: expected one picture, got {len(pictures.images)}")
    model.open("encoder")
    mean: Floats = model.encode(pictures.images).mean[0]
    return mean


def _is_array(path: str) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - errors name the path as it was given
            return file.read(len(NPY)) == NPY
    except OSError as error:
        raise cannot_open(path, "a picture", error) from error


def _from_array(path: str, spec: ImageSpec) -> Floats:
    try:
        return as_images(np.load(path, allow_pickle=False), spec)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ValueError, OSError, EOFError, MemoryError, OverflowError) as error:
        raise InputError(f"{path}: expected an array of pictures, got a damaged or pickled one") from error


def _from_image(path: str, spec: ImageSpec, invert: Invert, console: Console) -> Floats:
    done: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files; what matters is checked here
        image = _open(path)
        try:
            pixels = _fitted(_upright(image, done), spec, invert, done)
        # Decoders of damaged files raise almost anything: OSError, SyntaxError, ValueError, struct.error, …
        except Exception as error:
            reason = " ".join(str(error).split())[:100]
            message = f"{path}: expected a whole picture, got a damaged one ({reason}); save it again"
            raise InputError(message) from error
        finally:
            image.close()
    if done:
        console.say(f"{path}: {', '.join(done)}")
    return pixels


def _open(path: str) -> Image.Image:
    """The picture with only its header read, known to be no larger than the limit."""
    too_large = f"expected a picture of at most {MAX_MEGAPIXELS} megapixels"
    try:
        Image.init()  # registers the formats, of which an installation may lack some
        image = Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: {too_large}, got far more; make it smaller first") from error
    except Exception as error:
        message = f"{path}: expected a picture (PNG, JPEG, WebP, GIF, TIFF, …), got another kind of file"
        raise InputError(message) from error
    width, height = image.size
    if width * height > MAX_MEGAPIXELS * 10**6:
        image.close()
        raise InputError(f"{path}: {too_large}, got {width} × {height}; make it smaller first")
    return image


def _upright(image: Image.Image, done: list[str]) -> Image.Image:
    """Turned as its EXIF says; EXIF that cannot be read is left alone."""
    image.load()
    try:
        turned = ImageOps.exif_transpose(image)
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # the picture is whole, only its EXIF is not
        return image
    if orientation != 1:
        done.append("turned as its EXIF says")
    return turned


def _fitted(image: Image.Image, spec: ImageSpec, invert: Invert, done: list[str]) -> Floats:
    """The picture as the model takes it, float32 [1, channels, height, width] in [0, 1]."""
    flat = _on_black(_eight_bits(image, done), done)
    mode = "L" if spec.channels == 1 else "RGB"
    if flat.mode != mode:
        if mode == "L" and flat.mode != "1":
            done.append("made grey")
        flat = flat.convert(mode)
    if invert is Invert.YES or (invert is Invert.AUTO and _has_bright_border(flat)):
        done.append("made negative" + (" for its bright border" if invert is Invert.AUTO else ""))
        flat = ImageOps.invert(flat)
    if flat.size != (spec.width, spec.height):
        scale = min(spec.width / flat.width, spec.height / flat.height)
        size = max(1, round(flat.width * scale)), max(1, round(flat.height * scale))
        if size != flat.size:
            done.append(f"scaled from {flat.width} × {flat.height} to {size[0]} × {size[1]}")
            flat = flat.resize(size, Image.Resampling.LANCZOS)
        if size != (spec.width, spec.height):
            done.append(f"padded to {spec.width} × {spec.height}")
            padded = Image.new(mode, (spec.width, spec.height))
            padded.paste(flat, ((spec.width - size[0]) // 2, (spec.height - size[1]) // 2))
            flat = padded
    levels = np.asarray(flat, np.float32).reshape(spec.height, spec.width, spec.channels)
    return (levels / np.float32(255)).transpose(2, 0, 1)[None]


def _eight_bits(image: Image.Image, done: list[str]) -> Image.Image:
    """Modes with more than 8 bits brought down to them; Pillow's own conversion would cut at 255 instead."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.nan_to_num(np.asarray(image, np.float64))
    if image.mode == "F" and values.max() <= 1:
        top = 1
    else:
        top = 255 if image.mode in ("I", "F") and values.max() <= 255 else 65_535
    done.append(f"brought from 0 to {top} down to 8 bits")
    return Image.fromarray(np.floor(np.clip(values / top, 0, 1) * 255 + 0.5).astype(np.uint8))


def _on_black(image: Image.Image, done: list[str]) -> Image.Image:
    """Without its alpha, which shows black where the picture is transparent."""
    if not image.has_transparency_data:
        return image
    with_alpha = image.convert("RGBA")
    if np.asarray(with_alpha)[..., 3].min() == 255:
        return image.convert("L" if image.mode in ("L", "LA") else "RGB")
    done.append("laid on black where it is transparent")
    return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), with_alpha).convert("RGB")


def _has_bright_border(image: Image.Image) -> bool:
    """Whether the median of the outermost pixels is bright: garments of the training data lie on black.

    Of Fashion-MNIST's own pictures this is true of 0 of 10 000 test and 2 of 60 000 training images.
    """
    levels: NDArray[np.uint8] = np.asarray(image.convert("L"))
    border = np.concatenate([levels[0], levels[-1], levels[1:-1, 0], levels[1:-1, -1]])
    return bool(np.median(border) > BRIGHT * 255)
