"""Fitting pictures to a model: every size and mode becomes what the model takes, and each step is recorded."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from cli_runner import Command
from vae_gen import VAE, ImageSpec, InputError, find_model
from vae_gen.internal import fitting
from vae_gen.internal.fitting import FORMATS, fit_pictures
from vae_gen.internal.manifest import Manifest, Preparation
from vae_gen.internal.trimming import find_content
from vae_train.images.choices import choose_fill

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


@pytest.mark.parametrize("top", [255, 1023, 4095, 16383, 65535])
def test_sixteen_bits_that_hold_fewer_are_not_black(read: Read, top: int) -> None:
    levels = ramp().astype(np.float64) / 255 * top
    found, said = read(Image.fromarray(np.rint(levels).astype(np.uint16)))
    assert np.abs(found[0] - ramp().astype(int)).max() <= 1
    assert said == f"values 0 to {top} reduced to 8 bits"


def test_one_pixel_a_hair_above_1_changes_nothing(read: Read) -> None:
    exact = ramp().astype(np.float32) / 255
    exact[14, 14] = 1
    near = exact.copy()
    near[14, 14], near[0, 0] = np.float32(1 + 1.2e-7), -1e-9
    found, said = read(Image.fromarray(near), "a.tiff")
    np.testing.assert_array_equal(found, read(Image.fromarray(exact), "b.tiff")[0])
    assert said == "values 0 to 1 reduced to 8 bits"


@pytest.mark.parametrize(
    ("low", "high", "advice"),
    [(-1, 1, r"pass \(images \+ 1\) / 2"), (-0.057, 1.015, "clip them"), (np.nan, 1, "finite values")],
)
def test_floats_that_would_lose_a_part_are_refused(read: Read, low: float, high: float, advice: str) -> None:
    pixels = np.full((28, 28), high, np.float32)
    pixels[3, 3] = low
    with pytest.raises(InputError, match=advice):
        read(Image.fromarray(pixels), "a.tiff")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.gif", "the first of 4 frames was taken"), ("a.webp", "the first of 4 frames was taken"),
        ("a.png", "the first of 4 frames was taken"), ("a.tiff", "the first of 4 pages was taken"),
    ],
)  # fmt: skip
def test_frames_and_pages_that_are_not_taken_are_named(read: Read, name: str, said: str) -> None:
    frames = [Image.fromarray(np.roll(ramp(), turn)) for turn in (0, 3, 5, 9)]
    options = {"lossless": True} if name == "a.webp" else {}
    found, steps = read(frames[0], name, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(found[0], ramp())
    assert steps.split(", ")[0] == said


def test_frames_of_a_large_file_are_not_counted(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "MOST_COUNTED_BYTES", 100)
    _, said = read(Image.fromarray(ramp()), "a.tiff", save_all=True, append_images=[Image.fromarray(ramp())])
    assert said == "the first of several pages was taken"


def test_the_sizes_of_an_icon_that_are_not_taken_are_named(read: Read) -> None:
    _, said = read(Image.new("L", (64, 64), 50), "a.ico", sizes=[(16, 16), (32, 32), (64, 64)])
    assert said.split(", ")[0] == "the largest of 3 sizes was taken"


def test_bits_that_are_cut_off_are_named(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + bytes([200, 7] * 3 * 28) for _ in range(28))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    content = chunk(b"IHDR", struct.pack(">2I5B", 28, 28, 16, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b""))
    pictures = fit_pictures(tmp_path / "a.png", GREY, "no")
    assert pictures.steps[0][1][0] == "the upper 8 of 16 bits of each channel were taken"


def test_a_large_picture_inside_an_icon_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("1", (6000, 6000)).save(buffer, "PNG")
    head = struct.pack("<3H4B2H2I", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(buffer.getvalue()), 22)
    (tmp_path / "a.ico").write_bytes(head + buffer.getvalue())
    with pytest.raises(InputError, match="a picture of at most 25 megapixels, got 6000 × 6000"):
        fit_pictures(tmp_path / "a.ico", GREY)


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


def boot(side: int = 280) -> Image.Image:
    """A bright shape on black, longer than wide, that touches all edges of its picture of `side` × 25/28 `side`."""
    image = Image.new("L", (250, 280))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 110, 170), fill=250)
    draw.polygon([(0, 170), (150, 140), (249, 220), (249, 279), (0, 279)], fill=190)
    return image.resize((round(side * 25 / 28), side), Image.Resampling.BICUBIC)


def shop_photo(share: float = 0.7, at: tuple[int, int] | None = None) -> Image.Image:
    """The boot dark on a white page of 280 × 280 pixels, as long as a share of the page, with its corner at `at`."""
    page, cut = Image.new("L", (280, 280), 255), boot(round(280 * share))
    page.paste(Image.eval(cut, lambda level: 255 - level), at or ((280 - cut.width) // 2, (280 - cut.height) // 2))
    return page


def fitted(
    image: Image.Image, spec: ImageSpec = GREY, invert: str = "auto", trim: bool = True
) -> tuple[np.ndarray, str]:
    """Levels [channels, height, width] and the steps."""
    pictures = fit_pictures(image, spec, invert, trim)
    return np.rint(pictures.images[0] * 255).astype(int), ", ".join(step for _, done in pictures.steps for step in done)


@pytest.fixture(scope="module")
def filling() -> np.ndarray:
    """The boot where it fills the frame, grey levels [28, 28]."""
    framed = Image.new("L", (28, 28))
    framed.paste(boot().resize((25, 28), Image.Resampling.LANCZOS), (1, 0))
    return np.asarray(framed).astype(int)


@pytest.mark.parametrize(("share", "at"), [(1, None), (0.7, None), (0.57, None), (0.4, (5, 160)), (0.3, (190, 3))])
def test_margins_do_not_matter(filling: np.ndarray, share: float, at: tuple[int, int] | None) -> None:
    found, said = fitted(shop_photo(share, at))
    assert np.abs(found[0] - filling).mean() < 10
    if share < 1:
        assert np.abs(fitted(shop_photo(share, at), trim=False)[0] - filling).mean() > 30
    assert "made negative because its object is darker than the ground" in said
    assert ("trimmed from 280 × 280 to its object of " in said) == (share < 1 or at is not None)


@pytest.mark.parametrize("box", [(60, 0, 80, 40), (0, 0, 80, 15), (0, 20, 25, 40), (30, 25, 50, 40)])
def test_a_plain_object_that_is_cut_off_at_the_edge_is_whole(box: tuple[int, int, int, int]) -> None:
    page = Image.new("L", (80, 40))
    page.paste(200, box)
    width, height = box[2] - box[0], box[3] - box[1]
    assert f"trimmed from 80 × 40 to its object of {width} × {height}" in fitted(page)[1]


def test_no_trim_leaves_the_margins() -> None:
    found, said = fitted(shop_photo(), trim=False)
    assert found[0, :3].max() <= 2
    assert said == "made negative because its border is bright, scaled from 280 × 280 to 28 × 28"


def noisy(page: np.ndarray) -> np.ndarray:
    return page * 0.9 + np.random.default_rng(0).normal(0, 16, page.shape)


def uneven(page: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[-0.5:0.5:280j, -0.5:0.5:280j]
    return page * (0.96 - 0.12 * np.hypot(y, x))


def shaded(page: np.ndarray) -> np.ndarray:
    thrown = Image.fromarray(np.where(np.roll(page, (12, 10), (0, 1)) < 215, 50, 0).astype(np.uint8))
    return np.minimum(page, 255.0 - np.asarray(thrown.filter(ImageFilter.GaussianBlur(14))))


def specked(page: np.ndarray) -> np.ndarray:
    page = page.copy()
    page[5, 5], page[270, 12:14] = 0, 60
    return page


@pytest.mark.parametrize("change", [noisy, uneven, shaded, specked, lambda page: 225 - (255 - page) * 0.4])
def test_ground_that_is_not_quite_white_does_not_matter(
    filling: np.ndarray, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    pixels = change(np.asarray(shop_photo(), np.float64))
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(tmp_path / "a.jpg", quality=80)
    with Image.open(tmp_path / "a.jpg") as image:
        found, said = fitted(image)
    assert "trimmed from 280 × 280 to its object of " in said
    assert np.abs(found[0] - filling).mean() < 10


def test_contrast_is_stretched_only_where_it_is_low() -> None:
    faint = Image.eval(shop_photo(), lambda level: 225 - (255 - level) // 3)
    found, said = fitted(faint)
    assert said.endswith("contrast stretched")
    assert found.max() > 240
    assert found[0, 0, -1] == 0
    assert "contrast" not in fitted(shop_photo())[1]
    assert "contrast" not in fitted(faint, trim=False)[1]
    off_white, said = fitted(Image.eval(shop_photo(), lambda level: level * 235 // 255))
    assert said.endswith("ground made black")
    assert off_white[0, 0, -1] == 0


def test_a_dark_cut_out_is_not_lost_on_black(filling: np.ndarray) -> None:
    visible = Image.eval(shop_photo(), lambda level: 255 * (level < 200))
    dark = Image.merge("LA", (Image.new("L", (280, 280), 30), visible))
    found, said = fitted(dark)
    assert said.startswith("laid on white where it is transparent, made grey, made negative")
    assert (np.abs(found[0] - np.where(filling > 100, 225, 0)) < 60).mean() > 0.95
    pale = Image.merge("LA", (Image.new("L", (280, 280), 210), visible))
    found, said = fitted(pale)
    assert said.startswith("laid on black where it is transparent, made grey, trimmed from 280 × 280")
    assert (np.abs(found[0] - np.where(filling > 100, 210, 0)) < 60).mean() > 0.95


def test_what_has_no_object_on_a_plain_ground_is_left() -> None:
    rough = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8))
    for image in (rough, Image.new("L", (90, 60), 200), Image.new("L", (90, 60), 0), boot().resize((28, 28))):
        np.testing.assert_array_equal(fitted(image)[0], fitted(image, trim=False)[0])
    small_boot = np.asarray(shop_photo().resize((28, 28)))
    np.testing.assert_array_equal(fit_pictures(small_boot, GREY).images[0, 0] * 255, small_boot)  # an array
    other_set = ImageSpec(1, 28, 28, Preparation(fill=None))
    np.testing.assert_array_equal(fitted(shop_photo(), other_set)[0], fitted(shop_photo(), trim=False)[0])
    kept, said = fitted(shop_photo(), invert="no")  # on black, a white page would have an edge
    assert said == "scaled from 280 × 280 to 28 × 28"
    assert kept[0, 0, 0] == 255


def test_other_sets_have_their_own_place_and_ground() -> None:
    smaller = ImageSpec(1, 28, 28, Preparation(fill=0.5))
    rows = np.flatnonzero((fitted(shop_photo(), smaller)[0][0] > 20).any(1))
    assert (rows[0], rows[-1]) == (7, 20)
    on_white = ImageSpec(3, 28, 28, Preparation("pad", "white", False, 1.0))
    page = Image.new("RGB", (200, 100), (245, 250, 240))
    page.paste((200, 20, 30), (40, 30, 90, 80))
    found, said = fitted(page, on_white)
    assert said == "trimmed from 200 × 100 to its object of 50 × 50, scaled from 50 × 50 to 28 × 28, ground made white"
    np.testing.assert_array_equal(found[:, 14, 14], [208, 20, 32])  # 255 / 245 and so on of the colours
    page = Image.new("RGB", (200, 100), (60, 90, 240))
    page.paste((200, 20, 30), (40, 30, 90, 80))
    assert "trimmed" not in fitted(page, on_white)[1]


def test_the_place_of_objects_is_measured() -> None:
    random = np.random.default_rng(0)
    images = np.zeros((50, 1, 28, 28), np.uint8)
    for image in images:
        width = random.integers(8, 20)
        image[0, 4:24, 14 - width // 2 : 14 + width // 2] = 90
    assert choose_fill(images, (0, 0, 0)) == pytest.approx(20 / 28, abs=1e-4)
    assert choose_fill(255 - images, (255, 255, 255)) == pytest.approx(20 / 28, abs=1e-4)
    assert choose_fill(images, (255, 255, 255)) is None
    assert choose_fill(np.roll(images, 3, 3), (0, 0, 0)) is None  # not in the middle
    sizes = images.copy()
    sizes[::4, :, 12:] = 0
    assert choose_fill(sizes, (0, 0, 0)) is None  # several lengths
    assert choose_fill(random.integers(0, 256, (50, 3, 12, 16), np.uint8), (0, 0, 0)) is None
    assert choose_fill(np.zeros((9, 1, 8, 8), np.uint8), (0, 0, 0)) is None


def test_large_pictures_are_searched_in_blocks() -> None:
    page = np.full((1500, 2600, 1), 250, np.uint8)
    page[700:1000, 90:1200] = 40
    content = find_content(page)
    assert content is not None
    assert np.abs(np.subtract(content.box, (90, 700, 1200, 1000))).max() <= 11
    assert (content.ground, content.darker, content.extreme) == ((250,), True, 210)


def test_what_the_model_was_not_trained_on_gets_a_warning(cli: Command) -> None:
    random = np.random.default_rng(0)
    vae = VAE("fashion-mnist-12d-reference")
    samples = vae.sample(20, seed=1).grey_levels()[:, 0]
    strange = [np.zeros((28, 28), np.uint8), random.integers(0, 256, (28, 28), np.uint8), 255 - samples[0],
               np.full((28, 28), 128, np.uint8)]  # fmt: skip
    assert not vae.losses(strange).familiar.any()
    assert vae.losses(samples).familiar.mean() > 0.8
    np.save("strange.npy", np.stack([samples[0], *strange]))
    for command in ("encode", "reconstruct"):
        outcome = cli.succeed(command, "strange.npy", "--model", "fashion-mnist-12d-reference", "--json", "-o",
                              "a.png" if command == "reconstruct" else "a.npz")  # fmt: skip
        warned = [line.partition(": ")[0] for line in outcome.err.splitlines() if "does not resemble" in line]
        assert warned == [f"strange.npy[{at}]" for at in range(1, 5)]
        result = json.loads(outcome.out)
        rows = result["familiar"] if command == "encode" else [row["familiar"] for row in result["pictures"]]
        assert rows == [True, False, False, False, False]


def test_a_folder_from_before_limits_were_measured_gives_no_warning() -> None:
    document = json.loads((find_model() / "manifest.json").read_bytes())
    assert Manifest.parse(json.dumps(document)).familiar is not None
    del document["metrics"]["test"]["familiar"]
    assert Manifest.parse(json.dumps(document)).familiar is None
    del document["preparation"]["fill"]
    assert Manifest.parse(json.dumps(document)).image.preparation.fill is None
    del document["preparation"]  # before own images could be trained on, all models were of Fashion-MNIST
    assert Manifest.parse(json.dumps(document)).image.preparation.fill == 1
