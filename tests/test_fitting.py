"""Fitting pictures to a model: every size and mode becomes what the model takes, and each step is recorded."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli_runner import Command
from vae_gen import ImageSpec, InputError
from vae_gen.internal.fitting import FORMATS, fit_pictures

GREY, COLOUR = ImageSpec(1, 28, 28), ImageSpec(3, 28, 28)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., tuple[np.ndarray, str]]:
    """A picture, written to a file and read back: grey levels [channels, height, width], and the steps."""

    def write_and_read(
        image: Image.Image, name: str = "a.png", spec: ImageSpec = GREY, invert: str = "auto", **options: object
    ) -> tuple[np.ndarray, str]:
        path = tmp_path / name
        image.save(path, **options)
        pictures = fit_pictures(path, spec, invert)
        assert pictures.images.shape == (1, *spec.shape)
        assert pictures.images.dtype == np.float32
        return np.rint(pictures.images[0] * 255).astype(int), ", ".join(
            step for name, steps in pictures.steps for step in steps if name == str(path)
        )

    return write_and_read


Read = Callable[..., tuple[np.ndarray, str]]


def ramp() -> np.ndarray:
    """uint8 [28, 28], dark at the border."""
    y, x = np.mgrid[0:28, 0:28]
    return np.clip(250 - 18 * np.hypot(y - 13.5, x - 13.5), 0, 255).astype(np.uint8)


def test_a_picture_of_the_models_own_kind_is_taken_as_it_is(read: Read) -> None:
    found, said = read(Image.fromarray(ramp()))
    np.testing.assert_array_equal(found[0], ramp())
    assert said == ""


def in_mode(mode: str) -> Image.Image:
    """The ramp in a mode of Pillow's."""
    if mode == "I;16":
        return Image.fromarray(ramp().astype(np.uint16) * 257)
    if mode == "I":
        return Image.fromarray(ramp().astype(np.int32) * 257)
    if mode == "F":
        return Image.fromarray(ramp().astype(np.float32) / 255)
    grey = Image.fromarray(ramp())
    if mode == "1":
        return grey.point(lambda level: 255 * (level > 127)).convert("1")
    return grey.convert(mode) if mode in ("L", "LA", "P") else grey.convert("RGB").convert(mode)


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("1", "a.png"), ("L", "a.png"), ("LA", "a.png"), ("P", "a.png"), ("RGB", "a.png"), ("RGBA", "a.png"),
        ("I;16", "a.png"), ("I;16", "a.tiff"), ("I", "a.tiff"), ("F", "a.tiff"), ("P", "a.gif"),
        ("CMYK", "a.tiff"), ("CMYK", "a.jpg"), ("YCbCr", "a.tiff"), ("YCbCr", "a.jpg"),
    ],
)  # fmt: skip
def test_every_mode_shows_the_same_picture(read: Read, mode: str, name: str) -> None:
    found, _ = read(in_mode(mode), name)
    wanted = 255 * (ramp() > 127) if mode == "1" else ramp()
    assert np.abs(found[0] - wanted.astype(int)).max() <= (12 if name == "a.jpg" else 1)


def test_sixteen_bits_are_brought_down_and_not_cut(read: Read) -> None:
    found, said = read(Image.fromarray(ramp().astype(np.uint16) * 257))
    np.testing.assert_array_equal(found[0], ramp())
    assert said == "values 0 to 65535 reduced to 8 bits"


@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_turns_the_picture(read: Read, orientation: int, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = ramp()
    pixels[2:6, 2:20] = 255
    found, said = read(Image.fromarray(pixels), exif=exif)
    np.testing.assert_array_equal(found[0], np.rot90(pixels, turn))
    assert said == ("" if orientation == 1 else "rotated or mirrored according to its EXIF data")


def test_alpha_lies_on_black(read: Read) -> None:
    image = Image.new("RGBA", (28, 28), (255, 255, 255, 0))
    image.paste((255, 255, 255, 255), (10, 10, 18, 18))
    image.putpixel((0, 0), (255, 255, 255, 128))
    found, said = read(image)
    assert found[0, 14, 14] == 255
    assert found[0, 0, 1] == 0
    assert found[0, 0, 0] == 128
    assert said == "laid on black where it is transparent, made grey"


def test_a_transparent_colour_of_a_palette_lies_on_black(read: Read) -> None:
    image = Image.new("P", (28, 28), 1)
    image.putpalette([255, 255, 255, 255, 255, 255])
    image.paste(0, (10, 10, 18, 18))
    found, _ = read(image, transparency=1)
    assert found[0, 14, 14] == 255
    assert found[0, 0, 0] == 0


def test_a_wide_picture_is_scaled_to_fit_and_padded(read: Read) -> None:
    found, said = read(Image.new("L", (560, 280), 100))
    assert said == "scaled from 560 × 280 to 28 × 14, padded to 28 × 28"
    assert (found[0, 7:21] == 100).all()
    assert (found[0, :7] == 0).all()
    assert (found[0, 21:] == 0).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (28, 29), (27, 28), (3, 2)])
def test_every_size_fits(read: Read, size: tuple[int, int]) -> None:
    found, _ = read(Image.new("L", size, 100))
    assert found.max() == 100


def test_a_bright_border_makes_it_negative_unless_told_otherwise(read: Read) -> None:
    white = Image.fromarray(255 - ramp())
    found, said = read(white)
    np.testing.assert_array_equal(found[0], ramp())
    assert said == "made negative because its border is bright"
    found, said = read(white, invert="no")
    np.testing.assert_array_equal(found[0], 255 - ramp())
    assert said == ""
    found, said = read(white, invert="yes")
    np.testing.assert_array_equal(found[0], ramp())
    assert said == "made negative"


def test_a_bright_border_is_padded_in_black(read: Read) -> None:
    found, said = read(Image.new("RGB", (56, 28), (250, 250, 250)))
    assert (found == 5).sum() == 28 * 14
    assert (found == 0).sum() == 28 * 14
    assert said == (
        "made grey, made negative because its border is bright, scaled from 56 × 28 to 28 × 14, padded to 28 × 28"
    )


def test_a_colour_model_gets_colours(read: Read) -> None:
    image = Image.new("RGB", (28, 28), (100, 50, 0))
    found, _ = read(image, spec=COLOUR)
    assert found[:, 0, 0].tolist() == [100, 50, 0]
    found, _ = read(Image.new("L", (28, 28), 70), spec=COLOUR)
    assert found[:, 0, 0].tolist() == [70, 70, 70]


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.gif", "a.bmp", "a.tiff", "a.ppm", "a.tga", "a.ico", "a.pcx"])
def test_the_usual_formats_can_be_read(read: Read, name: str) -> None:
    found, _ = read(Image.fromarray(ramp()).resize((32, 32)), name)
    assert abs(found[0, 14, 14] - int(ramp()[14, 14])) < 20


def test_formats_that_start_other_programs_are_not_opened(tmp_path: Path) -> None:
    assert "EPS" not in FORMATS
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    with pytest.raises(InputError, match="got a file that cannot be opened as one"):
        fit_pictures(path, GREY)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.webp", "a.bmp", "a.tiff"])
def test_a_file_cut_anywhere_is_read_or_refused_in_one_line(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(ramp()).resize((60, 40)).save(buffer, {"jpg": "JPEG"}.get(name[2:], name[2:].upper()))
    path, content = tmp_path / name, buffer.getvalue()
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content[: random.integers(0, len(content))])
        if damaged:
            damaged[random.integers(0, len(damaged))] ^= int(random.integers(1, 256))
        path.write_bytes(damaged)
        try:
            fit_pictures(path, GREY)
        except InputError as error:
            assert "\n" not in str(error)


def test_an_npy_holds_one_picture_or_several(tmp_path: Path) -> None:
    path = str(tmp_path / "a.npy")
    for array, names in (
        (ramp(), (path,)),
        (np.stack([ramp(), ramp()]).astype(np.float64) / 255, (f"{path}[0]", f"{path}[1]")),
    ):
        np.save(path, array)
        pictures = fit_pictures([path], GREY)
        assert pictures.names == names
        np.testing.assert_allclose(pictures.images[-1, 0] * 255, ramp(), atol=1e-4)


def test_nothing_is_said_when_quiet_and_no_warning_leaks(cli: Command) -> None:
    Image.new("L", (5000, 5000), 3).save("large.png")  # 25 megapixels exactly
    outcome = cli.succeed("encode", "large.png", "-o", "-", "--quiet")
    assert outcome.err == ""
    assert len(json.loads(outcome.out)["mean"]) == 1
