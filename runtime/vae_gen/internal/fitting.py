"""Turns pictures into images of the model's size and channels: files, Pillow images, arrays and samples.

Files are untrusted: only common raster formats are opened, the size is read from the header before a pixel is decoded,
and a damaged file becomes one plain error. A picture of another size or mode is fitted, and each step is recorded in
words, so that a program can print them. An array must have the model's shape, because the meaning of its axes can't be
guessed.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from .._errors import InputError, UsageError, VaeGenError, shown
from .array_files import NPY, NPZ, Npz, damage_as_input_error, read_npy
from .arrays import OVERSHOOT, ROUNDING, as_images, check_unit_range
from .choice import check_flag
from .files import cannot_open, path_text
from .manifest import ImageSpec
from .trimming import CLOSE, FAINT, VISIBLE, Content, find_content, is_in_place, stretched

if TYPE_CHECKING:
    from PIL import Image

Floats = NDArray[np.float32]
Invert = Literal["auto", "yes", "no"]

MAX_MEGAPIXELS = 25
"""The largest picture that is read, in millions of pixels."""

LONGEST_SIDE = 32_767
"""The longest side that is read; to make a picture of 1 × 25 million pixels smaller takes 1.6 GB."""

MOST_PIPED_BYTES = 256 << 20
"""The most bytes that are read from a pipe or a device, which may have no end."""

MOST_COUNTED_BYTES = 4 << 20
"""The largest file whose frames are counted if that takes reading all of it: a stranger's may have millions."""

TOPS = (1, 255, 1023, 4095, 16383, 65535)
"""The values of white of fractions and of 8, 10, 12, 14 and 16 bits; the next one above a picture's values is taken."""

BRIGHT = 0.5
"""A border is bright if the median of its pixels is above this, on a scale from 0 to 1."""

DARK = 64
"""A cut-out whose visible pixels are darker than this on average, of 255, would be lost on black."""

NEAR_GROUND = 64
"""Grey levels by which the ground of a picture in colour may differ from the model's background."""

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "ICO", "TGA", "AVIF", "JPEG2000", "PCX")
"""The formats that are opened. Pillow reads more, but EPS would start Ghostscript, and few people need the rest."""


@dataclass(frozen=True)
class Fitted:
    """Pictures as the model takes them, and what was done to them."""

    images: Floats
    """float32 [n, channels, height, width] in [0, 1]"""
    names: tuple[str, ...]
    """the name of each picture: its path as it was given, or "picture 2" for an item of a list that has no path, or ""
    for one picture without a path; where one file or array has several pictures, their numbers follow as in "a.npy[0]"
    """
    steps: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """for each file, image or array that was changed: its name, and the changes in words, in order"""


def fit_pictures(pictures: Any, spec: ImageSpec, invert: str | bool = "auto", trim: bool = True) -> Fitted:
    """Converts pictures to the model's size, channels and range of values.

    Args:
        pictures: a path, a Pillow image, an array, `Samples`, or a list of these; an .npy file may hold several, and
            of an .npz file the array `images` is read.
        spec: the model's images, and how the images that it was trained on were prepared.
        invert: "yes" or True makes all pictures negative, and "no" or False none. "auto" makes those image files and
            Pillow images negative whose border is bright, or whose object is darker than the ground, if the model's
            training data has a dark background; it never changes arrays, `Samples` or .npy files.
        trim: whether the object in image files and Pillow images is found and placed as in the training pictures,
            if these have one object of a certain size on a plain ground. Pictures of the model's own size are left.

    Raises:
        InputError: a picture can't be read, has another shape than the model's images as an array, or is too large.
        UsageError: `invert` or `trim` is none of these, or a path is not a text.
    """
    mode, trim = read_invert(invert), check_flag("trim", trim) is not False
    if isinstance(pictures, list | tuple) and any(_is_picture(one) for one in pictures):
        named = [(_name(one) or f"picture {at}", one) for at, one in enumerate(pictures)]
    else:
        named = [(_name(pictures), pictures)]
    images, names, steps = [], [], []
    for name, picture in named:
        try:
            read, done = _fit(picture, spec, mode, trim)
        except InputError as error:
            raise InputError(f"{name}: {error}" if name else str(error)) from error.__cause__
        images.append(read)
        names += [name] if len(read) == 1 else [f"{name}[{at}]" for at in range(len(read))]
        steps += [(name, tuple(done))] if done else []
    return Fitted(images[0] if len(images) == 1 else np.concatenate(images), tuple(names), tuple(steps))


def read_invert(invert: str | bool) -> Invert:
    """Whether to make negatives: "auto", "yes" or "no"; True and False mean yes and no.

    Raises:
        UsageError: `invert` is none of these.
    """
    words: dict[str | bool, Invert] = {"auto": "auto", "yes": "yes", True: "yes", "no": "no", False: "no"}
    if not isinstance(invert, str | bool) or invert not in words:
        raise UsageError(f"expected invert as auto, yes or no, got {shown(invert)}")
    return words[invert]


def _is_picture(value: Any) -> bool:
    """Whether a list's item is a picture by itself, rather than a row of numbers."""
    if isinstance(value, str | os.PathLike | io.BytesIO) or _is_pillow(value):
        return True
    with contextlib.suppress(Exception):  # an object that NumPy can't read is refused later, with its name
        return hasattr(value, "__array__") and np.ndim(value) > 1
    return True


def _is_pillow(value: Any) -> bool:
    return hasattr(value, "getbands") and hasattr(value, "convert")  # without importing Pillow for arrays


def _name(value: Any) -> str:
    if isinstance(value, io.BytesIO):
        return str(getattr(value, "name", ""))
    return path_text(value, "a picture") if isinstance(value, str | os.PathLike) else ""


def _fit(picture: Any, spec: ImageSpec, invert: Invert, trim: bool) -> tuple[Floats, list[str]]:
    if isinstance(picture, str | os.PathLike | io.BytesIO):
        with opened(picture) as file:
            is_array = file.read(len(NPY)).startswith((NPY, NPZ))
            file.seek(0)
            if is_array:
                return _inverted(_load(file, spec), invert)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns about odd files; what matters is checked here
                with open_picture(file) as image:
                    size = file.seek(0, os.SEEK_END)
                    return _fit_image(image, spec, invert, trim, size)
    if _is_pillow(picture):
        _check_size(picture)
        return _fit_image(picture, spec, invert, trim, 0)
    return _inverted(as_images(picture, spec), invert)


def _inverted(images: Floats, invert: Invert) -> tuple[Floats, list[str]]:
    return (np.float32(1) - images, ["made negative"]) if invert == "yes" else (images, [])


@contextlib.contextmanager
def opened(path: str | os.PathLike[str] | io.BytesIO, what: str = "a picture") -> Iterator[BinaryIO]:
    """Opens a file that can be read from its beginning again; a pipe is read into memory, up to a limit.

    Raises:
        InputError: the file can't be opened, or a pipe has too much.
    """
    if isinstance(path, io.BytesIO):
        yield path
        return
    try:
        with Path(path).open("rb") as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                yield file
                return
            content = file.read(MOST_PIPED_BYTES + 1)
    except IsADirectoryError as error:
        raise InputError(f"expected the file of {what}, got a folder; pass a list of the pictures in it") from error
    except OSError as error:
        raise cannot_open(what, error) from error
    except ValueError as error:  # a null character
        if isinstance(error, VaeGenError):
            raise
        raise InputError(f"expected the path of {what}, got a text that is not a path") from error
    if len(content) > MOST_PIPED_BYTES:
        raise InputError(f"expected at most {MOST_PIPED_BYTES} bytes from a pipe or a device, got more; use a file")
    yield io.BytesIO(content)


def _load(file: BinaryIO, spec: ImageSpec) -> Floats:
    with damage_as_input_error("; save the pictures again"):
        if file.read(len(NPY)) == NPY:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            return as_images(read_npy(file, size), spec)
        file.seek(0)
        found = Npz(file)
        names = list(itertools.islice(found, 5))
        if "images" in found or len(names) == 1:  # the only array of an archive may have any name
            return as_images(found["images" if "images" in found else names[0]], spec)
    advice = "; vae-gen decode and vae.decode read latents" if {"latents", "mean"} & set(names) else ""
    raise InputError(
        f"expected an archive with an array called images, got one with {', '.join(names) or 'no arrays'}{advice}"
    )


def open_picture(path: BinaryIO) -> Image.Image:
    """Opens a picture, reads only its header, and checks its size.

    Raises:
        InputError: another kind of file, or a picture that is too large.
    """
    from PIL import Image

    _check_icon(path)
    try:
        Image.init()  # registers the formats; an installation may lack some
        image = Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise InputError(
            f"expected a picture of at most {MAX_MEGAPIXELS} megapixels, got far more; make it smaller first"
        ) from error
    except Exception as error:
        raise InputError(
            "expected a picture (PNG, JPEG, WebP, GIF, TIFF, …), got a file that cannot be opened as one"
        ) from error
    try:
        _check_size(image)
    except InputError:
        image.close()
        raise
    return image


def _check_icon(file: BinaryIO) -> None:
    """Refuses an .ico with a large picture inside, which Pillow would decode when it opens the file.

    The list of an icon's pictures has a size for each, but the pictures have sizes of their own.
    """
    head = file.read(6)
    entries = file.read(16 * int.from_bytes(head[4:], "little")) if head[:4] == b"\0\0\1\0" else b""
    for at in range(0, len(entries), 16):
        file.seek(int.from_bytes(entries[at + 12 : at + 16], "little"))
        start = file.read(24)
        if start[:4] == b"\x89PNG":
            width, height = (int.from_bytes(start[place : place + 4], "big") for place in (16, 20))
        else:
            width, height = (int.from_bytes(start[place : place + 4], "little", signed=True) for place in (4, 8))
        _check_sides(abs(width), abs(height))
    file.seek(0)


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    _check_sides(width, height)
    if not width * height:
        raise InputError("expected a picture with pixels, got an empty one")


def _check_sides(width: int, height: int) -> None:
    if width * height > MAX_MEGAPIXELS * 10**6:
        raise InputError(
            f"expected a picture of at most {MAX_MEGAPIXELS} megapixels, got {width} × {height}; make it smaller first"
        )
    if max(width, height) > LONGEST_SIDE:
        raise InputError(
            f"expected a picture with sides of at most {LONGEST_SIDE} pixels, got {width} × {height}; crop it first"
        )


def _fit_image(
    image: Image.Image, spec: ImageSpec, invert: Invert, trim: bool, size: int
) -> tuple[Floats, list[str]]:
    """The picture as the model takes it, float32 [1, channels, height, width] in [0, 1], and what was done to it."""
    try:
        done = _unused_parts(image, size)
        if _deep_colours(image):
            done.append("the upper 8 of 16 bits of each channel were taken")
        if _is_sheet(image):
            done.append("a sheet of several pictures by vae-gen was taken as one picture")
        return _fitted(upright(image, done), spec, invert, trim, done), done
    except InputError:
        raise
    # Decoders of damaged files raise almost anything: OSError, SyntaxError, ValueError, struct.error, …
    except Exception as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            f"expected an undamaged picture, got one that cannot be decoded ({reason}); get the file again"
        ) from error


def upright(image: Image.Image, done: list[str]) -> Image.Image:
    """The picture, rotated or mirrored according to its EXIF data; EXIF data that can't be read is ignored."""
    from PIL import ImageOps

    image.load()
    try:
        turned = ImageOps.exif_transpose(image)
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # the pixels were decoded, and only the EXIF data is damaged
        return image
    if orientation != 1:
        done.append("rotated or mirrored according to its EXIF data")
    return turned


def _fitted(image: Image.Image, spec: ImageSpec, invert: Invert, trim: bool, done: list[str]) -> Floats:
    from PIL import ImageOps

    preparation, size = spec.preparation, (spec.width, spec.height)
    image = eight_bits(image, done)
    alpha, paper = _opacity(image), preparation.rgb
    dark = alpha is not None and preparation.invert_bright and _is_dark(image, alpha)
    if invert == "yes" or (invert == "auto" and dark):  # transparent parts must show the background in the end
        paper = (255 - paper[0], 255 - paper[1], 255 - paper[2])
    flat = flattened(image, paper, done)
    mode = "L" if spec.channels == 1 else "RGB"
    if flat.mode != mode:
        if mode == "L" and flat.mode != "1":
            done.append("made grey")
        flat = flat.convert(mode)
    searched = trim and preparation.fill is not None and flat.size != size
    content = find_content(_levels(flat), alpha) if searched else None
    negative = invert == "yes"
    if invert == "auto" and preparation.invert_bright:
        negative = _has_bright_border(flat) if content is None else content.darker
    if negative:
        bright = "its border is bright" if content is None else "its object is darker than the ground"
        done.append("made negative" + (f" because {bright}" if invert == "auto" else ""))
        flat = ImageOps.invert(flat)
        if content is not None:
            content = replace(content, ground=tuple(255 - level for level in content.ground), darker=not content.darker)
    if content is not None and _fits_background(content, spec):
        framed = _placed(flat, content, spec, done)
    else:
        framed = fitted_into(flat, size, preparation.fit, preparation.rgb, done)
    return (_levels(framed).astype(np.float32) / np.float32(255)).transpose(2, 0, 1)[None]


def _levels(flat: Image.Image) -> NDArray[np.uint8]:
    """The pixels of a picture of mode L or RGB, uint8 [height, width, channels]."""
    return np.asarray(flat, np.uint8).reshape(flat.height, flat.width, -1)


def _opacity(image: Image.Image) -> NDArray[np.uint8] | None:
    """The opacity of each pixel, uint8 [height, width]; None if no part of the picture is transparent."""
    if not image.has_transparency_data:
        return None
    alpha: NDArray[np.uint8] = np.asarray(image.convert("RGBA"))[..., 3]
    return None if alpha.min() == 255 else alpha


def _is_dark(image: Image.Image, alpha: NDArray[np.uint8]) -> bool:
    """Whether the visible pixels of a picture with transparent parts would be lost on black."""
    visible = np.asarray(image.convert("RGBA").convert("L"))[alpha > VISIBLE]
    return visible.size > 0 and int(visible.sum(dtype=np.int64)) < DARK * visible.size


def _fits_background(content: Content, spec: ImageSpec) -> bool:
    """Whether an object may be cut out and laid on the model's background without a visible edge.

    The ground of a grey picture becomes black or white later, so only the direction counts.
    """
    background = spec.preparation.rgb
    if spec.channels == 1 and background in ((0, 0, 0), (255, 255, 255)):
        return content.darker == (background[0] == 255)
    return max(abs(level - wanted) for level, wanted in zip(content.ground, background, strict=False)) <= NEAR_GROUND


def _placed(flat: Image.Image, content: Content, spec: ImageSpec, done: list[str]) -> Image.Image:
    """The object of a picture alone, as long as the objects of the training pictures, in the middle of the background.

    Its ground becomes the background, and a faint object gets the contrast of the training pictures.
    """
    from PIL import Image

    preparation, size = spec.preparation, (spec.width, spec.height)
    if preparation.fill is None or is_in_place(content.box, flat.size, size, preparation.fill):
        inner = fitted_into(flat, size, preparation.fit, preparation.rgb, done)
    else:
        cut = flat.crop(content.box)
        done.append(f"trimmed from {flat.width} × {flat.height} to its object of {cut.width} × {cut.height}")
        scale = preparation.fill * min(size[0] / cut.width, size[1] / cut.height)
        inner_size = (max(1, int(cut.width * scale + 0.5)), max(1, int(cut.height * scale + 0.5)))
        if inner_size != cut.size:
            done.append(f"scaled from {cut.width} × {cut.height} to {inner_size[0]} × {inner_size[1]}")
        inner = _resized(cut, inner_size)
    inner = _with_ground(inner, content, spec, done)
    if inner.size == size:
        return inner
    framed = Image.new("RGB", size, preparation.rgb).convert(inner.mode)
    framed.paste(inner, ((size[0] - inner.width) // 2, (size[1] - inner.height) // 2))
    return framed


def _with_ground(inner: Image.Image, content: Content, spec: ImageSpec, done: list[str]) -> Image.Image:
    """Moves the levels of each channel so that the ground has the colour of the background, if that is black or white.

    The other end of the scale stays, unless a grey object is faint: then its own contrast fills the scale.
    """
    from PIL import Image

    levels, words = _levels(inner).copy(), []
    for channel, ground in enumerate(content.ground):
        wanted = spec.preparation.rgb[channel]
        if wanted not in (0, 255):
            continue
        low = abs(ground - wanted)  # from here on as on black
        top = 255
        if spec.channels == 1 and content.extreme > CLOSE and 255 * content.extreme < FAINT * (255 - low):
            top = low + content.extreme
            words.append("contrast stretched")
        elif low:
            words.append("ground made " + ("black" if wanted == 0 else "white"))
        plane = levels[..., channel] if wanted == 0 else 255 - levels[..., channel]
        moved = stretched(plane, low, top)
        levels[..., channel] = moved if wanted == 0 else 255 - moved
    done += dict.fromkeys(words)
    return Image.fromarray(levels[..., 0] if spec.channels == 1 else levels)


def fitted_into(
    flat: Image.Image, size: tuple[int, int], fit: str, background: tuple[int, int, int], done: list[str]
) -> Image.Image:
    """A picture of mode L or RGB, brought to a width and height.

    Args:
        flat: the picture.
        size: width and height.
        fit: pad with the background, crop in the middle, or stretch.
        background: red, green and blue.
        done: takes what was done, in words.
    """
    from PIL import Image

    if flat.size == size:
        return flat
    ratios = size[0] / flat.width, size[1] / flat.height
    scale = min(ratios) if fit == "pad" else max(ratios)
    inner = size if fit == "stretch" else (max(1, round(flat.width * scale)), max(1, round(flat.height * scale)))
    if inner != flat.size:
        done.append(f"scaled from {flat.width} × {flat.height} to {inner[0]} × {inner[1]}")
        flat = _resized(flat, inner)
    if inner == size:
        return flat
    done.append(f"{'padded' if fit == 'pad' else 'cropped'} to {size[0]} × {size[1]}")
    level = Image.new("RGB", (1, 1), background).convert(flat.mode).getpixel((0, 0))
    framed = Image.new(flat.mode, size, level)
    framed.paste(flat, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))  # a negative corner crops
    return framed


def _resized(flat: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture scaled across and then down: a single call of Pillow 13 may do so the other way round, and round
    other pixels.
    """
    from PIL import Image

    return flat.resize((size[0], flat.height), Image.Resampling.LANCZOS).resize(size, Image.Resampling.LANCZOS)


def eight_bits(image: Image.Image, done: list[str]) -> Image.Image:
    """The picture, reduced to 8 bits if it has more; Pillow's own conversion would make all values above 255 white."""
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image, np.float64)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and 1 + OVERSHOOT < high < math.inf):  # fractions, or what is no picture
        check_unit_range(low, high, "expected pixels from 0 to 1, or to the white of 8 to 16 bits")
    tops = [top for top in TOPS if high <= top * (1 + ROUNDING) and (top > 1 or image.mode == "F")]
    top = tops[0] if tops else high
    done.append(f"values 0 to {top:g} reduced to 8 bits")
    return Image.fromarray(np.floor(np.clip(values / top, 0, 1) * 255 + 0.5).astype(np.uint8))


def _unused_parts(image: Image.Image, size: int) -> list[str]:
    """Describes the parts of a file besides the one picture that is used, such as further frames or pages.

    Args:
        image: a picture that was opened, and not read yet.
        size: the number of bytes of the file.
    """
    sizes = image.info.get("sizes", ())
    if image.format == "ICO" and len(sizes) > 1:
        return [f"the largest of {len(sizes)} sizes was taken"]
    if not getattr(image, "is_animated", False):
        return []
    # To count the frames of a GIF or the pages of a TIFF, the whole file is read.
    known = image.format not in ("GIF", "TIFF") or size <= MOST_COUNTED_BYTES
    number = str(getattr(image, "n_frames", "several")) if known else "several"
    return [f"the first of {number} {'pages' if image.format == 'TIFF' else 'frames'} was taken"]


def _is_sheet(image: Image.Image) -> bool:
    """Whether the picture is a PNG of our own with several pictures, by its note (docs/cli.md)."""
    with contextlib.suppress(Exception):  # another program's text of that name
        note = json.loads(image.info["vae-gen"])
        several = note["command"] in ("traverse", "interpolate", "reconstruct")
        return several or (note["layout"] == "grid" and note["count"] > 1)
    return False


def _deep_colours(image: Image.Image) -> bool:
    """Whether the channels of a picture in colour have 16 bits, of which Pillow reads the upper eight."""
    return any(";16" in str(tile.args) for tile in getattr(image, "tile", ())) and not image.mode.startswith("I")


def flattened(image: Image.Image, background: tuple[int, int, int], done: list[str]) -> Image.Image:
    """The picture without its alpha channel, in a mode that Pillow converts. Transparent places show the background.

    Args:
        image: a picture with 8 bits a channel.
        background: red, green and blue.
        done: takes what was done, in words.
    """
    from PIL import Image, ImageCms

    if image.mode == "LAB":  # which Pillow converts through a profile alone
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return cast("Image.Image", ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB"))
    if not image.has_transparency_data:
        return image
    with_alpha = image.convert("RGBA")
    if np.asarray(with_alpha)[..., 3].min() == 255:
        return image.convert("L" if image.mode in ("L", "LA") else "RGB")
    name = {(0, 0, 0): "black", (255, 255, 255): "white"}.get(background, "#{:02x}{:02x}{:02x}".format(*background))
    done.append(f"laid on {name} where it is transparent")
    return Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), with_alpha).convert("RGB")


def _has_bright_border(image: Image.Image) -> bool:
    """Whether the median of the outermost pixels is bright, as it is not where a garment lies on black.

    In Fashion-MNIST it is bright in 0 of 10 000 test images and in 2 of 60 000 training images.
    """
    levels: NDArray[np.uint8] = np.asarray(image.convert("L"))
    border = np.concatenate([levels[0], levels[-1], levels[1:-1, 0], levels[1:-1, -1]])
    return bool(np.median(border) > BRIGHT * 255)
