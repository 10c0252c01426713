"""The playground by `vae-gen play`: what a hand does, what comes back, and that the page outlives nonsense."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import socket
import struct
import subprocess
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image, features

import example_drivers
from cli_runner import Command
from playground import COUNT_SHIFTS, ERRORS, WEB, Watched, beside, check_gif, playing, watched
from vae_gen import VAE, find_model, to_grey_levels
from vae_gen.internal.fitting import fit_pictures
from vae_gen_cli.play_server import PlayServer, open_server


@pytest.fixture(scope="module")
def address(detailed_model_folder: Path) -> Iterator[str]:
    with playing(detailed_model_folder) as url:
        yield url


@pytest.fixture(scope="module")
def model(detailed_model_folder: Path) -> VAE:
    return VAE(detailed_model_folder)


@pytest.fixture(scope="module")
def desk() -> Iterator[Watched]:
    """One browser for the tests that do not mind what the last one left: each loads the page anew."""
    with watched(viewport={"width": 1280, "height": 900}, accept_downloads=True) as page:
        yield page


@pytest.fixture
def page(desk: Watched, address: str) -> Iterator[Watched]:
    desk.said.clear()
    desk.page.goto("about:blank")
    desk.open(address)
    yield desk
    assert desk.said == []
    assert desk.hosts == {address.split("/")[2]}


def test_it_verifies_itself_and_shows_the_models_own_sample(page: Watched, model: VAE) -> None:
    assert re.fullmatch(r"verified, largest difference 0\.0000\d{3}", page.verified())
    assert set(page.page.evaluate("playground.proof.checks.map(({ name }) => name)")) == {
        "latent", "noise", "label", "grey_levels", "mean", "log_variance"
    }
    page.becomes("document.querySelector('#picture').width === 28 && playground.levels")
    expected = to_grey_levels(model.sample(1, seed=0).images).ravel()
    assert np.abs(np.array(page.picture()) - expected).max() <= 1
    assert page.text("#caption").startswith("sample 0 of seed 0")


@pytest.mark.parametrize(
    ("place", "differ"),
    [
        (("samples", 0, "latents", 0, 3), "latent"),
        (("samples", -1, "images", "base64"), "grey levels"),
        (("latents", -1, "latents", 0, 3), "latent"),
        (("latents", 2, "labels", 1), "label"),
        (("latents", 0, "noise", 0, 0), "noise"),
        (("details", "images", "base64"), "grey levels"),
        (("decodings", "images", "base64"), "grey levels"),
        (("encodings", "mean", 1, 2), "mean"),
        (("encodings", "log_variance", -1, 5), "log variance"),
    ],
)
def test_every_golden_value_counts(
    desk: Watched, address: str, detailed_model_folder: Path, place: tuple[Any, ...], differ: str
) -> None:
    golden = json.loads((detailed_model_folder / "golden.json").read_bytes())
    *way, last = place
    part = golden
    for step in way:
        part = part[step]
    if isinstance(part[last], str):
        levels = np.frombuffer(base64.b64decode(part[last]), np.uint8)
        part[last] = base64.b64encode(levels ^ np.uint8(2)).decode()
    else:
        part[last] += 1e-3 if isinstance(part[last], float) else 1
    with beside(desk) as page:
        page.page.route("**/golden.json", lambda route: route.fulfill(json=golden))
        page.open(address)
        page.becomes("document.querySelector('#verified').dataset.covers === 'all'")
        assert page.text("#verified") == f"not verified: {differ} differ too much"


def test_a_slider_changes_the_picture_and_a_double_click_sets_it_back(page: Watched, model: VAE) -> None:
    page.becomes("playground.levels")
    first = model.manifest.latent.order[0]
    before = page.picture()
    page.page.focus(f"#z{first}")
    page.page.keyboard.press("Home")
    page.becomes(f"playground.sliders.latent[{first}] === -3")
    after = page.picture()
    assert np.abs(np.array(after) - before).max() > 20
    latent = np.array(page.latent())
    noise = model.detail_noise(1, 0, labels=model.sample(1, seed=0).labels)
    expected = to_grey_levels(model.decode(latent, noise=noise)).ravel()
    assert np.abs(np.array(after) - expected).max() <= 1
    page.page.dblclick(f"label[for=z{first}]")
    page.becomes(f"playground.sliders.latent[{first}] === 0")
    page.page.focus(f"#z{first}")
    page.page.keyboard.press("End")
    page.becomes(f"playground.sliders.latent[{first}] === 3")
    page.page.keyboard.press("0")
    page.becomes(f"playground.sliders.latent[{first}] === 0")


@pytest.mark.parametrize("part", ["label[for=z{}]", "#z{}"])
def test_a_double_tap_sets_a_slider_back(desk: Watched, address: str, part: str) -> None:
    with beside(desk, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as page:
        page.open(address)
        first = page.page.evaluate("playground.vae.manifest.latent.order[0]")
        page.page.focus(f"#z{first}")
        page.page.keyboard.press("End")
        page.becomes(f"playground.sliders.latent[{first}] === 3")
        place = {"x": 20, "y": 8}
        page.page.tap(part.format(first), position=place)
        page.page.wait_for_timeout(700)  # one tap, and another one much later, are no double tap
        page.page.tap(part.format(first), position=place)
        assert page.page.evaluate(f"playground.sliders.latent[{first}]") != 0
        page.page.wait_for_timeout(700)
        page.page.tap(part.format(first), position=place)
        page.page.tap(part.format(first), position=place)
        page.becomes(f"playground.sliders.latent[{first}] === 0")


def test_a_hand_over_a_strip_shows_its_picture_large(page: Watched) -> None:
    page.becomes("playground.sliders.rows[0].pictures.length === 7")
    before = page.picture()
    page.page.hover(".strip canvas:nth-child(7)")
    assert page.picture() == page.page.evaluate("Array.from(playground.sliders.rows[0].pictures[6])")
    assert page.picture() != before
    page.page.hover("h1")
    assert page.picture() == before
    page.page.click(".strip canvas:nth-child(7)")
    page.becomes("playground.sliders.rows[0].input.valueAsNumber === 3")


SLOW_FIRST = """
const { draw } = playground.vae;
let slow = true;
playground.vae.draw = async function (...of) {
    const mine = slow;
    slow = false;
    const drawn = await draw.apply(this, of);
    if (mine) await new Promise((done) => setTimeout(done, 400));
    return drawn;
};
null
"""
"""The first answer of a model from here on comes after the second one."""


def at_rest(page: Watched) -> Any:
    """The page when nothing else asks the model: its last pictures at the start are those between two."""
    page.becomes("Boolean(playground.blend.shown)")
    return page.page


def roll(page: Watched) -> str:
    """Roll the dice; the seed that is asked for."""
    page.page.click("#dice")
    seed: str = page.page.input_value("#seed")
    return seed


def holds(page: Watched, model: VAE, seed: str, index: int = 0) -> None:
    """That all of the page shows a sample of a seed."""
    samples = model.sample(50, seed=int(seed))
    assert page.text("#caption").startswith(f"sample {index} of seed {seed}")
    assert page.page.input_value("#seed") == seed
    np.testing.assert_allclose(page.latent(), samples.latents[index], atol=1e-5)
    grey = samples.grey_levels().reshape(50, -1).astype(int)
    assert np.abs(grey[index] - page.picture()).max() <= 1
    assert np.abs(grey[49] - page.picture("#samples button:nth-child(50) canvas")).max() <= 1
    strip = page.page.evaluate("playground.sliders.rows[0].dimension")
    latent = samples.latents[index].copy()
    latent[strip] = 0
    noise = model.detail_noise(1, int(seed), index, labels=samples.labels[index : index + 1])
    middle = to_grey_levels(model.decode(latent, noise=noise)).ravel().astype(int)
    assert np.abs(middle - page.picture(".strip canvas:nth-child(4)")).max() <= 1


def test_the_last_roll_wins_whatever_comes_back_first(page: Watched, model: VAE) -> None:
    at_rest(page).evaluate(SLOW_FIRST)
    first, seed = roll(page), roll(page)
    assert first != seed
    page.page.wait_for_timeout(1200)
    holds(page, model, seed)


def test_a_garment_of_the_wall_wins_over_a_roll_before_it(page: Watched, model: VAE) -> None:
    page.becomes("playground.wall.drawn")
    at_rest(page).evaluate(SLOW_FIRST)
    roll(page)
    page.page.click("#samples button:nth-child(13)")
    page.page.wait_for_timeout(1200)
    holds(page, model, "0", 12)


def test_an_older_roll_that_fails_says_nothing(page: Watched, model: VAE) -> None:
    failing = SLOW_FIRST.replace("if (mine) await", "if (mine) throw await")
    at_rest(page).evaluate(failing.replace("done, 400", "done, 400, Error('late')"))
    roll(page)
    seed = roll(page)
    page.page.wait_for_timeout(1200)
    holds(page, model, seed)
    assert page.error() == ""


def test_what_a_hand_moves_before_the_answer_stays_moved(page: Watched, model: VAE) -> None:
    at_rest(page).evaluate(SLOW_FIRST)
    seed = roll(page)
    page.page.focus("#z3")
    page.page.keyboard.press("End")
    page.becomes(f"playground.state.seed === '{seed}'")
    expected = model.sample(1, seed=int(seed)).latents[0].copy()
    expected[3] = 3
    np.testing.assert_allclose(page.latent(), expected, atol=1e-5)


def test_the_last_picture_wins_whatever_is_encoded_first(page: Watched, model: VAE) -> None:
    at_rest(page).evaluate(SLOW_FIRST.replace("draw", "encode"))
    levels = np.zeros((2, 28, 28), np.uint8)
    for at, box in enumerate([(4, 20), (10, 26)]):
        levels[at, box[0] : box[1], 8:20] = 200
        content = io.BytesIO()
        Image.fromarray(levels[at]).save(content, "PNG")
        page.choose(f"{at}.png", content.getvalue())
    page.page.wait_for_timeout(800)
    np.testing.assert_array_equal(page.picture("#fitted"), levels[1].ravel())
    expected = model.encode(levels[1][None]).mean[0]
    np.testing.assert_allclose(page.latent(), expected, atol=1e-4)


def test_a_picture_that_takes_long_does_not_undo_a_roll_after_it(page: Watched, model: VAE) -> None:
    at_rest(page).evaluate(SLOW_FIRST.replace("draw", "encode"))
    page.choose("a.png", png(28, 28, whole=True))
    page.becomes("document.querySelector('#rebuilt-words').textContent.startsWith('encoding')")
    seed = roll(page)
    page.page.wait_for_timeout(1200)
    holds(page, model, seed)
    assert "nats" in page.text("#rebuilt-words")


def test_the_form_draws_what_the_library_draws(page: Watched, model: VAE) -> None:
    page.page.fill("#seed", "9223372036854775807")
    page.page.fill("#start", "7")
    page.page.select_option("#label", "1")
    page.becomes("document.querySelector('#caption').textContent.includes('other blob')")
    page.page.uncheck("#detail")
    page.becomes("playground.state.detail === false")
    samples = model.sample(1, seed=2**63 - 1, start=7, label=1, detail=False)
    np.testing.assert_allclose(page.page.evaluate("Array.from(playground.sampled)"), samples.latents[0], atol=1e-5)
    assert np.abs(np.array(page.picture()) - to_grey_levels(samples.images).ravel()).max() <= 1


def test_the_wall_brings_a_sample_into_the_sliders(page: Watched, model: VAE) -> None:
    page.becomes("playground.wall.tiles[49].canvas.width === 28 && playground.wall.drawn")
    page.page.click("#samples button:nth-child(13)")
    page.becomes("playground.state.start === '12'")
    samples = model.sample(50, seed=0)
    np.testing.assert_allclose(page.latent(), samples.latents[12], atol=1e-5)
    assert np.abs(np.array(page.picture()) - to_grey_levels(samples.images)[12].ravel()).max() <= 1


def test_a_link_brings_the_state_back(page: Watched, address: str) -> None:
    page.page.fill("#seed", "77")
    page.page.press("#seed", "Tab")
    page.becomes("document.querySelector('#caption').textContent.startsWith('sample 0 of seed 77')")
    page.page.focus("#z3")
    page.page.keyboard.press("End")
    page.becomes("location.hash.includes('z=')")
    link, before = page.page.url, page.picture()
    page.page.goto("about:blank")
    page.open(link)
    page.becomes("playground.sliders.latent[3] === 3")
    assert page.page.input_value("#seed") == "77"
    assert np.abs(np.array(page.picture()) - before).max() <= 1


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("#seed=-1", "expected a link with a seed from 0 to 2^63-1, got -1"),
        ("#seed=1&label=99", "expected a link with a class of this model, got 99"),
        ("#seed=1&prior=odd", "expected a link with a prior of this model, got odd"),
        ("#seed=1&z=1,2,x", "expected a link with 12 numbers of a latent, got 1,2,x"),
        ("#%%%", "expected a link with a seed from 0 to 2^63-1, got nothing"),
        ("#seed=1&label=", "expected a link with a class of this model, got NaN"),
        ("#seed=1&temperature=hot", "expected a link with a temperature from 0 to 2, got NaN"),
        ("#seed=1&temperature=-1", "expected a link with a temperature from 0 to 2, got -1"),
        ("#seed=1&detail=maybe", "expected a link with detail 0 or 1, got maybe"),
        ("#seed=1&start=9223372036854775808", "expected a link with a start from 0 to 2^63-1, got 9223372036854775808"),
        ("#seed=1&z=" + ",".join(["1e9"] * 12), "expected a link with 12 numbers of a latent, got 1e9,1e9"),
    ],
)
def test_a_link_with_nonsense_is_one_sentence_and_the_page_lives(
    page: Watched, address: str, link: str, said: str
) -> None:
    page.page.goto("about:blank")
    page.open(address + link)
    assert page.error().startswith(said)
    assert page.page.is_hidden("#retry")  # there is a model, only not that link's state
    assert page.text("#caption").startswith("sample 0 of seed 0")
    page.page.click("#dice")
    page.becomes(f"{ERRORS} === '' && playground.state.seed !== '0'")


def png(width: int, height: int, whole: bool = False) -> bytes:
    """A black PNG that says a size, with one row of data unless it is to be whole."""
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(
        b"IDAT", zlib.compress(b"\0" * (width + 1) * (height if whole else 1))
    ) + chunk(b"IEND", b"")


def test_an_image_is_fitted_encoded_and_put_into_the_sliders(page: Watched, model: VAE) -> None:
    picture = Image.new("L", (280, 280), 255)
    picture.paste(30, (90, 60, 190, 230))  # dark on a bright ground
    content = io.BytesIO()
    picture.save(content, "PNG")
    page.choose("a.png", content.getvalue())
    page.becomes("document.querySelector('#fitted-words').textContent.includes('inverted')")
    page.becomes("document.querySelector('#caption').textContent.includes('your picture')")
    levels = np.array(page.picture("#fitted"), np.uint8).reshape(1, 28, 28)
    assert levels[0, 14, 14] > 200
    assert levels[0, 1, 1] == 0
    latent = page.latent()
    np.testing.assert_allclose(latent, model.encode(levels).mean[0], atol=1e-4)
    assert page.text("#fitted-words") == "as the model sees it, inverted, trimmed"
    np.testing.assert_array_equal(levels, to_grey_levels(fit_pictures(picture, model.manifest.image).images[0]))
    page.becomes("document.querySelector('#own-words').textContent.includes('to its object of 100 × 170')")
    page.page.select_option("#trim", "no")
    page.becomes("document.querySelector('#fitted-words').textContent === 'as the model sees it, inverted'")
    page.page.select_option("#trim", "yes")
    page.page.select_option("#invert", "no")
    page.becomes("document.querySelector('#fitted-words').textContent === 'as the model sees it'")


@pytest.mark.parametrize(
    "event",
    ['new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true })',
     'new ClipboardEvent("paste", { clipboardData: files, bubbles: true })'],
    ids=["dropped", "pasted"],
)  # fmt: skip
def test_an_image_can_be_dropped_and_pasted(page: Watched, event: str) -> None:
    content = io.BytesIO()
    Image.new("RGB", (50, 20), (200, 30, 30)).save(content, "PNG")
    page.page.evaluate(
        f"""(content) => {{
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            const files = new DataTransfer();
            files.items.add(new File([bytes], "a.png", {{ type: "image/png" }}));
            document.body.dispatchEvent({event});
        }}""",
        base64.b64encode(content.getvalue()).decode(),
    )
    page.becomes("document.querySelector('#rebuilt-words').textContent.includes('nats')")
    assert max(page.picture("#fitted")) in range(75, 95)  # the grey of that red


def test_an_image_can_be_drawn(page: Watched) -> None:
    page.page.locator("#pad").scroll_into_view_if_needed()
    box = page.page.locator("#pad").bounding_box()
    page.page.mouse.move(box["x"] + 20, box["y"] + box["height"] / 2)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] / 2, steps=5)
    page.page.mouse.up()
    page.becomes("document.querySelector('#fitted').getContext('2d').getImageData(14, 14, 1, 1).data[0] > 120")


def jpeg_with_a_late_size() -> bytes:
    """A JPEG of 100 megapixels whose size stands after 600 kB of other segments."""
    content = io.BytesIO()
    Image.new("L", (10_000, 10_000)).save(content, "JPEG")
    whole = content.getvalue()
    return whole[:2] + (b"\xff\xe5\xff\xff" + b"x" * 65533) * 9 + whole[2:]


def saved(form: str, size: tuple[int, int], **options: Any) -> bytes:
    content = io.BytesIO()
    Image.new("L", size, 90).save(content, form, **options)
    return content.getvalue()


def claiming(form: str, mark: bytes, layout: str) -> bytes:
    """A small picture that says it has 100 megapixels, in its header: making such a one takes long."""
    content = saved(form, (64, 64))
    at = content.index(mark) + len(mark)
    return content[:at] + struct.pack(layout, 10_000, 10_000) + content[at + 8 :]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("late.jpg", jpeg_with_a_late_size),
        ("large.png", lambda: png(10_000, 10_000)),
        ("large.webp", lambda: saved("WEBP", (10_000, 10_000), method=0)),
        ("large.gif", lambda: saved("GIF", (10_000, 10_000))),
        ("large.avif", lambda: claiming("AVIF", b"ispe\0\0\0\0", ">II")),
        ("large.bmp", lambda: claiming("BMP", b"\x28\0\0\0", "<II")),
    ],
)
def test_a_picture_of_100_megapixels_is_refused_before_it_becomes_pixels(page: Watched, name: str, make: Any) -> None:
    if name.endswith("avif") and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    page.page.evaluate(
        """globalThis.decoded = 0;
        for (const [of, name] of [[HTMLImageElement.prototype, "decode"], [globalThis, "createImageBitmap"],
                                  [CanvasRenderingContext2D.prototype, "drawImage"]]) {
            const real = of[name];
            of[name] = function (...values) { globalThis.decoded += 1; return real.apply(this, values); };
        }
        null"""
    )
    page.choose(name, make())
    page.becomes(f"{ERRORS} !== ''")
    expected = "expected a picture of at most 25 megapixels, got 10000 × 10000; make it smaller first"
    assert page.error() == expected
    assert page.page.evaluate("globalThis.decoded") == 0
    page.choose("a.png", png(28, 28, whole=True))
    page.becomes("document.querySelector('#rebuilt-words').textContent.includes('nats')")
    assert page.error() == ""
    assert page.page.evaluate("globalThis.decoded") > 0  # the counter counts


def test_a_photograph_is_turned_as_its_exif_says(page: Watched) -> None:
    picture = Image.new("L", (40, 80))
    picture.paste(200, (0, 0, 40, 20))  # bright above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: what is above goes to the right
    content = io.BytesIO()
    picture.save(content, "JPEG", exif=exif, quality=95)
    page.choose("a.jpg", content.getvalue())
    page.becomes("document.querySelector('#rebuilt-words').textContent.includes('nats')")
    levels = np.reshape(page.picture("#fitted"), (28, 28))
    assert levels[:, :6].max() == levels[:, 22:].max() == 0  # the bright bar is trimmed to, and stands now
    assert levels[2, 14] > 150
    assert levels[25, 14] > 150


def test_what_is_dropped_without_a_file_is_one_sentence(page: Watched) -> None:
    page.page.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            dataTransfer.setData("text/plain", "words");
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }"""
    )
    expected = "expected a file with a picture, got something else; save it first, then drop the file"
    assert page.error() == expected


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"words" * 20, "expected a picture that this browser can read, got a.txt"),
        ("none.png", b"", "expected a picture that this browser can read, got none.png"),
        ("half.png", png(28, 28, whole=True)[:-30], "expected a picture that this browser can read, got half.png"),
        ("cut.png", png(28, 28)[:40], "expected a picture that this browser can read, got cut.png"),
    ],
)
def test_what_is_no_picture_is_one_sentence(page: Watched, name: str, content: bytes, said: str) -> None:
    page.choose(name, content)
    page.becomes(f"{ERRORS} !== ''")
    assert page.error().startswith(said)


def test_a_strip_goes_from_one_picture_to_another(page: Watched, model: VAE) -> None:
    page.becomes("playground.blend.drawn !== null")
    page.page.select_option("#slot-a select", "current")
    a = page.latent()
    page.page.click("#centre")
    page.page.select_option("#slot-b select", "current")
    page.becomes("playground.blend.shown.b.every((value) => value === 0)")
    way = model.interpolate(np.array(a, np.float32), np.zeros(12, np.float32), 11, "likely").latents
    page.page.click("#between button:nth-child(3)")
    np.testing.assert_allclose(page.latent(), way[3], atol=2e-3)
    assert page.picture() == page.picture("#between button:nth-child(3) canvas")
    page.page.fill("#share", "0.25")
    np.testing.assert_allclose(page.latent(), (way[2] + way[3]) / 2, atol=2e-3)
    assert page.text("#caption") == "between two pictures"


def test_three_pictures_are_added_and_subtracted(page: Watched) -> None:
    page.becomes("playground.blend.drawn !== null")
    for slot, choice in [("x", "current"), ("y", "1"), ("z", "sample")]:
        steps = page.page.evaluate("playground.history.steps.length")
        page.page.select_option(f"#slot-{slot} select", choice)
        page.becomes(f"playground.history.steps.length > {steps}")  # it is drawn, and can be undone
    x, y, z = (np.array(page.page.evaluate(f"playground.blend.latents.{name}")) for name in "xyz")
    np.testing.assert_allclose(x, page.latent())
    page.page.click("#result button")
    np.testing.assert_allclose(page.latent(), x - y + z, atol=1e-5)
    assert page.picture() == page.picture("#result canvas")


def test_pictures_can_be_saved(page: Watched) -> None:
    page.becomes("playground.levels")
    with page.page.expect_download() as download:
        page.page.click("#png")
    with Image.open(download.value.path()) as image:
        assert image.size == (224, 224)
        found = np.asarray(image.convert("L"))[::8, ::8].ravel()
    assert np.abs(found.astype(int) - page.picture()).max() <= 1
    check_gif(page)


def choose_much(page: Watched, detail: bool) -> None:
    """A state with nothing in it that a program would take by default, and the clipboard to read from."""
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.page.fill("#seed", "9223372036854775807")
    page.page.fill("#start", "7")
    page.page.select_option("#label", "1")
    page.page.set_checked("#detail", detail)
    page.page.focus("#z3")
    page.page.keyboard.press("End")
    page.becomes(f"playground.state.detail === {str(detail).lower()} && playground.state.label === 1")
    page.becomes("location.hash.includes('seed=9223372036854775807') && playground.sliders.latent[3] === 3")


both_decoders = pytest.mark.parametrize("detail", [True, False], ids=["detail", "mean"])


@both_decoders
def test_the_python_snippet_makes_the_same_picture(
    page: Watched, detailed_model_folder: Path, detail: bool
) -> None:
    choose_much(page, detail)
    page.page.click("#python")
    page.becomes("document.querySelector('#shared').textContent.startsWith('Copied.')")
    code = page.page.evaluate("navigator.clipboard.readText()")
    assert 'VAE("detailed")' in code
    code = code.replace('"detailed"', repr(str(detailed_model_folder)))  # a shipped model has its name only
    names: dict[str, Any] = {}
    exec(code.replace("print(", "str("), names)
    assert np.abs(to_grey_levels(names["image"]).ravel().astype(int) - page.picture()).max() <= 2


@both_decoders
def test_the_javascript_snippet_makes_the_same_picture(
    page: Watched, detailed_model_folder: Path, tmp_path: Path, detail: bool
) -> None:
    example_drivers.require_node("node")
    choose_much(page, detail)
    page.page.click("#javascript")
    page.becomes("document.querySelector('#shared').textContent.startsWith('Copied.')")
    code = page.page.evaluate("navigator.clipboard.readText()")
    code = code.replace("onnxruntime-web", "onnxruntime-node")
    code = code.replace("console.log(image)", "console.log(JSON.stringify(Array.from(image)))")
    (tmp_path / "snippet.mjs").write_text(code, "utf-8")
    shutil.copyfile(example_drivers.EXAMPLES / "vae.mjs", tmp_path / "vae.mjs")
    shutil.copytree(detailed_model_folder, tmp_path / "model")
    (tmp_path / "node_modules").symlink_to(example_drivers.EXAMPLES / "node" / "node_modules")
    done = subprocess.run(["node", "snippet.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    levels = to_grey_levels(np.array(json.loads(done.stdout), np.float32)).astype(int)
    assert np.abs(levels - page.picture()).max() <= 2


@pytest.fixture
def mapped(desk: Watched) -> Iterator[Watched]:
    """The page of a shipped model, which has a map, with the map in view."""
    with playing(find_model()) as url, beside(desk, viewport={"width": 1280, "height": 900}) as page:
        page.open(url)
        page.page.locator("#points").scroll_into_view_if_needed()
        yield page
        assert page.said == []


def test_the_map_goes_by_keyboard(mapped: Watched) -> None:
    page = mapped
    page.page.focus("#points")
    before = page.page.evaluate("playground.map.at")
    page.page.keyboard.press("ArrowRight")
    page.becomes(f"playground.map.at.x > {before['x']} && playground.map.at.y - {before['y']} < 0.02")
    page.page.keyboard.press("+")
    page.page.keyboard.press("+")
    assert page.page.evaluate("playground.map.view.zoom") == pytest.approx(2.25)
    page.page.keyboard.press("Enter")
    page.becomes("document.querySelector('#caption').textContent.startsWith('the map: ')")
    page.page.keyboard.press("0")
    assert page.page.evaluate("playground.map.view") == {"x": 0.5, "y": 0.5, "zoom": 1}


def on_screen(page: Watched, place: str) -> tuple[float, float]:
    """The pixel of a place on the map, given in JavaScript, in the window."""
    box = page.page.locator("#points").bounding_box()
    x, y = page.page.evaluate(f"playground.map.screen({place})")
    return box["x"] + x, box["y"] + y


def test_a_point_of_the_map_is_hit_from_near_and_a_place_between_points_mixes_them(mapped: Watched) -> None:
    page = mapped
    x, y = on_screen(page, "playground.map.points[7]")
    page.page.mouse.click(x + 1, y)
    page.becomes("document.querySelector('#caption').textContent.startsWith('the map: a test image, ')")
    assert page.latent() == page.page.evaluate("playground.map.points[7].latent")
    assert page.page.evaluate("playground.map.here") == pytest.approx(
        page.page.evaluate("(({ x, y }) => ({ x, y }))(playground.map.points[7])"), abs=1e-3
    )
    words, latent, low, high = page.page.evaluate(
        """(() => {
            const { map } = playground;
            const place = { x: 0.02, y: 0.02 }; // in the corner
            const { words, latent } = map.place(place);
            const far = (one) => ((one.x - place.x) * map.size()[0]) ** 2 + ((one.y - place.y) * map.size()[1]) ** 2;
            const near = map.points.toSorted((one, other) => far(one) - far(other)).slice(0, 6);
            const extreme = (of) => latent.map((_, at) => of(...near.map((one) => one.latent[at])));
            return [words, latent, extreme(Math.min), extreme(Math.max)];
        })()"""
    )
    assert words.startswith("far from all test images, the nearest: ")
    assert all(one <= value <= other for one, value, other in zip(low, latent, high, strict=True))
    page.page.mouse.click(*on_screen(page, "{ x: 0.02, y: 0.02 }"))
    page.becomes("document.querySelector('#caption').textContent.startsWith('the map: far from')")
    np.testing.assert_allclose(page.latent(), latent, atol=0.1)  # a pixel beside the place at most


def test_the_map_is_dragged_and_zoomed_around_the_hand(mapped: Watched) -> None:
    page = mapped
    x, y = on_screen(page, "playground.map.points[7]")
    page.page.mouse.move(x, y)
    page.page.mouse.wheel(0, -600)
    page.becomes("playground.map.view.zoom > 2")
    words = page.text("#caption")
    zoomed = on_screen(page, "playground.map.points[7]")
    assert zoomed == pytest.approx((x, y), abs=3)  # a pixel of the hand is more pixels of the map now
    page.page.mouse.down()
    page.page.mouse.move(x + 40, y + 30, steps=4)
    page.page.mouse.up()
    assert on_screen(page, "playground.map.points[7]") == pytest.approx((zoomed[0] + 40, zoomed[1] + 30), abs=1)
    assert page.text("#caption") == words  # a drag takes nothing
    page.page.click("#map-all")
    assert page.page.evaluate("playground.map.view.zoom") == 1


def test_the_map_shows_where_the_sliders_are(mapped: Watched) -> None:
    page = mapped
    before = page.page.evaluate("playground.map.here")
    page.page.click("#numbers-title")
    page.page.focus("#z5")
    page.page.keyboard.press("Home")
    page.becomes(f"Math.hypot(playground.map.here.x - {before['x']}, playground.map.here.y - {before['y']}) > 0.1")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", ["at rest", "in use", "failed"])
def test_nothing_serious_for_those_who_cannot_see_or_point(
    desk: Watched, address: str, scheme: Any, width: int, state: str
) -> None:
    axe = WEB / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.exists():
        pytest.skip("web/node_modules is missing: (cd web && npm ci)")
    size = {"width": width, "height": 900}
    with beside(desk, viewport=size, color_scheme=scheme, bypass_csp=True) as page:
        if state == "failed":
            page.page.route("**/manifest.json", lambda route: route.abort())
        page.open(address)
        if state == "in use":
            page.choose("a.png", saved("PNG", (9, 9)))
            page.becomes("document.querySelector('#rebuilt-words').textContent.includes('nats')")
            page.page.fill("#seed", "-1")
            page.page.press("#seed", "Tab")
            page.becomes(f"{ERRORS} !== ''")
            page.page.click("#draw button.word")
        page.page.add_script_tag(path=str(axe))
        found = page.page.evaluate("axe.run().then(({ violations }) => violations)")
    serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
    assert serious == []


@pytest.mark.parametrize("width", [360, 390, 820, 1280])
def test_nothing_is_cut_off_and_nothing_jumps(desk: Watched, address: str, width: int) -> None:
    with beside(desk, viewport={"width": width, "height": 800}) as page:
        page.page.add_init_script(COUNT_SHIFTS)
        page.open(address)
        page.verified()
        page.page.wait_for_timeout(500)
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.page.evaluate("globalThis.shift") < 0.01


def test_a_model_that_changes_behind_the_page_is_one_sentence(
    desk: Watched, detailed_model_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(detailed_model_folder, tmp_path / "m"))
    with playing(folder) as url, beside(desk) as page:
        (folder / "detail.onnx").write_bytes(b"x" * (folder / "detail.onnx").stat().st_size)
        page.page.goto(url)
        page.becomes(f"{ERRORS}.includes('detail.onnx: expected SHA-256')")


def test_the_page_lives_on_when_the_program_ends_and_begins_again(
    desk: Watched, detailed_model_folder: Path
) -> None:
    with playing(detailed_model_folder) as url, beside(desk) as page:
        page.open(url)
        page.verified()
        page.page.route("**/run/*", lambda route: route.abort())  # as when nothing listens
        page.page.click("#dice")
        page.becomes(f"{ERRORS}.startsWith('expected an answer from vae-gen play,')")
        page.page.unroute("**/run/*")
        seed = roll(page)
        page.becomes(f"document.querySelector('#caption').textContent.startsWith('sample 0 of seed {seed}')")
        page.becomes(f"{ERRORS} === ''")


def test_without_a_manifest_one_can_try_again(desk: Watched, address: str) -> None:
    with beside(desk) as page:
        page.page.route("**/manifest.json", lambda route: route.abort())
        page.open(address)
        assert page.error().startswith("expected the file manifest.json, got no answer; try again")
        assert page.text("#verified") == "no model"
        assert page.page.evaluate("document.querySelector('main').inert")
        page.page.evaluate("globalThis.same = true")
        page.page.unroute("**/manifest.json")
        page.page.click("#retry")
        page.verified()
        assert page.page.evaluate("globalThis.same && !document.querySelector('main').inert")
        assert page.error() == ""
        assert page.page.is_hidden("#retry")
        seed = roll(page)
        page.becomes(f"document.querySelector('#caption').textContent.startsWith('sample 0 of seed {seed}')")


def ask(url: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["error"]


def tensor(values: np.ndarray, dims: list[int] | None = None) -> dict[str, Any]:
    data = base64.b64encode(values.tobytes()).decode()
    return {"dims": list(values.shape) if dims is None else dims, "data": data}


def chosen(prior: int = 1, label: int = -1, temperature: float = 1.0) -> dict[str, Any]:
    """The inputs of latents.onnx."""
    whole = {"seed": 0, "start": 0, "count": 1, "prior": prior, "label": label}
    numbers = {name: tensor(np.array(value, np.int64)) for name, value in whole.items()}
    return {**numbers, "temperature": tensor(np.array(temperature, np.float32))}


@pytest.mark.parametrize(
    ("graph", "inputs", "said"),
    [
        ("nothing", {}, "expected one of the graphs"),
        ("decoder", {}, "expected inputs latent, got a request that has KeyError"),
        ("decoder", {"latent": tensor(np.zeros((1, 11), np.float32))}, "expected latent of shape ['batch', 12]"),
        ("decoder", {"latent": tensor(np.zeros((2, 12), np.float32), [1, 12])}, "expected latent of shape"),
        ("decoder", {"latent": tensor(np.full((1, 12), np.nan, np.float32))}, "expected finite values in latent"),
        ("decoder", {"latent": tensor(np.zeros((2000, 12), np.float32))}, "at most 1024 each, got [2000, 12]"),
        ("decoder", {"latent": {"dims": [1, 12], "data": "%"}}, "expected inputs latent, got a request that has"),
        ("decoder", {"latent": tensor(np.full((1, 12), 3e38, np.float32))}, "expected finite values in"),
        ("encoder", {"image": tensor(np.full((1, 1, 28, 28), 5, np.float32))}, "got values from 5 to 5; divide by 255"),
        ("detail", {"latent": tensor(np.zeros((1, 12), np.float32)), "noise": tensor(np.zeros((2, 5), np.float32))},
         "expected equally many rows in latent, noise, got 1 and 2"),
        ("latents", chosen(label=10), "expected a label from 0 to"),
        ("latents", chosen(prior=5), "expected the prior normal or fitted"),
        ("latents", chosen(label=-2), "expected a label from 0 to"),
        ("latents", chosen(temperature=-5.0), "expected a temperature from 0 to 100"),
        ("latents", chosen(prior=0, label=1), "expected the fitted prior for the label 1"),
        ("generator", {name: tensor(np.array(-1)) for name in ("seed", "start", "count")}, "expected a seed from 0"),
        ("generator", {"seed": tensor(np.array(0)), "start": tensor(np.array(0)), "count": tensor(np.array(9999))},
         "expected a count of at most 1024, got 9999"),
    ],
)  # fmt: skip
def test_the_server_checks_what_the_graphs_do_not(
    address: str, graph: str, inputs: dict[str, Any], said: str
) -> None:
    status, answer = ask(f"{address}run/{graph}", json.dumps({"inputs": inputs}).encode())
    assert (status, said in answer) == (400, True), answer


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (tensor(np.zeros((0, 1, 2, 2), np.uint8)), "expected frames of shape ['frames', 'channels', 'height', "),
        (tensor(np.zeros((2, 2), np.uint8)), "expected frames of shape ['frames', 'channels', 'height', 'width']"),
        (tensor(np.zeros((1, 1, 2, 1025), np.uint8)), "at most 1024 each, got [1, 1, 2, 1025]"),
        (tensor(np.zeros((1, 2, 2, 2), np.uint8)), "expected frames of 1 or 3 channels, got 2"),
        (None, "expected inputs frames, got a request that has"),
    ],
)
def test_the_server_makes_no_gif_of_anything_else(address: str, frames: Any, said: str) -> None:
    status, answer = ask(f"{address}gif", json.dumps({"inputs": {"frames": frames}}).encode())
    assert (status, said in answer) == (400, True), answer


def test_the_server_serves_this_machines_page_alone(address: str) -> None:
    assert ask(address, Host="evil.example")[0] == 403
    assert ask(f"{address}run/decoder", b"{}", Origin="http://evil.example")[0] == 403
    for name in ("vae.mjs", "fit.mjs"):
        assert ask(f"{address}examples/{name}")[1] == (example_drivers.EXAMPLES / name).read_bytes()
    for path in ("../pyproject.toml", "model/../manifest.json", "src/../../x", "__init__.py", "package.json",
                 "model/decoder.onnx", "node_modules/gifenc/package.json", "src%2f..%2f..%2fx",
                 "examples/node/example.mjs"):
        assert ask(address + path)[0] == 404, path
    assert ask(f"{address}model/golden.json")[0] == 200
    assert ask(f"{address}run/decoder", b"x", **{"Content-Length": str(9 << 20)})[0] == 413
    assert ask(f"{address}other", b"{}") == (404, "expected /gif, or /run/ and the name of a graph, got /other")


def raw(address: str, request: bytes) -> bytes:
    """The beginning of the answer to these bytes."""
    with socket.create_connection(("127.0.0.1", urlsplit(address).port or 0), timeout=20) as connection:
        connection.sendall(request)
        return connection.recv(10_000)


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        (b"GET / HTTP/1.1", b"Host: localhost:8888", b"200"),  # a forwarded port
        (b"HEAD / HTTP/1.1", b"Host: 127.0.0.1:1", b"200"),
        (b"GET / HTTP/1.1", b"Host: [::1]:8888", b"200"),
        (b"GET / HTTP/1.1", b"Host: localhost.evil.example:8888", b"403"),
        (b"GET / HTTP/1.1", b"Host: localhost@evil.example", b"403"),
        (b"GET / HTTP/1.1", b"X: no host", b"403"),
        (b"POST /gif HTTP/1.1", b"Host: localhost:8888\r\nOrigin: http://localhost:9999", b"403"),
        (b"GET /model/preview.png HTTP/1.1",
         b"Host: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors", b"403"),
        (b"POST /gif HTTP/1.1", b"Host: localhost\r\nContent-Length: " + b"9" * 5000, b"413"),
        (b"GET /src/a%00b\0 HTTP/1.1", b"Host: localhost", b"404"),
        (b"BREW / HTTP/1.1", b"Host: localhost", b"501"),
    ],
)  # fmt: skip
def test_each_request_is_answered_with_the_headers_that_protect_the_page(
    address: str, request_line: bytes, headers: bytes, status: bytes
) -> None:
    answer = raw(address, request_line + b"\r\n" + headers + b"\r\n\r\n")
    assert answer.split()[1] == status
    protecting = b"frame-ancestors 'none'", b"Cross-Origin-Resource-Policy: same-origin", b"nosniff", b"camera=(self)"
    for header in protecting:
        assert header in answer
    assert b"Server: vae-gen\r\n" in answer


def test_files_of_a_stranger_are_nothing_that_a_browser_runs(tiny_model_folder: Path, tmp_path: Path) -> None:
    from test_hostile_folders import write

    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))
    write(folder, "evil.html", b"<script>alert(1)</script>")
    with open_server(VAE(folder), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (folder / "manifest.json").unlink()  # swapped after it was checked
        (folder / "manifest.json").symlink_to("/etc/passwd")
        place = f"http://127.0.0.1:{server.server_port}/"
        answer = raw(place, b"GET /model/evil.html HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"Content-Type: application/octet-stream\r\n" in answer
        assert json.loads(ask(f"{place}model/manifest.json")[1])["model"]["name"] == "tiny"
        server.shutdown()


def test_the_command_says_what_is_wrong(cli: Command, detailed_model_folder: Path) -> None:
    with open_server(VAE(detailed_model_folder), 0) as taken:
        outcome = cli("play", "--no-browser", "--port", str(taken.server_port))
    assert outcome.code == 7
    assert f"expected the port {taken.server_port} to be free" in outcome.err
    assert cli("play", "--port", "70000").code == 2
    assert cli("play", "--model", "nowhere").code == 4


@pytest.fixture
def class_room(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayServer]:
    """A server on all addresses of this machine, whose name the browser of the tests maps to 127.0.0.1."""
    monkeypatch.setattr(socket, "gethostname", lambda: "plain.test")
    with open_server(VAE(tiny_model_folder), 0, "0.0.0.0") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_class_room_is_served_by_numeric_addresses_and_by_the_name_of_this_machine(
    class_room: PlayServer, address: str
) -> None:
    place = f"http://127.0.0.1:{class_room.server_port}/"
    expected = {"192.168.1.20:8000": 200, "[2001:db8::7]:80": 200, "10.0.0.7": 200, "plain.test:8000": 200,
                "PLAIN.test": 200, "plain.test.local": 200, "evil.example": 403, "plain.test.evil.example": 403,
                "192.168.1.20.evil.example": 403, "": 403}  # fmt: skip
    assert {host: ask(place, Host=host)[0] for host in expected} == expected
    assert ask(f"{place}gif", b"{}", Host="10.0.0.7:1", Origin="http://10.0.0.7:1")[0] == 400
    assert ask(f"{place}gif", b"{}", Host="10.0.0.7:1", Origin="http://10.0.0.8:1")[0] == 403
    assert ask(address, Host="192.168.1.20:8000")[0] == 403  # a server for this machine alone
    shown = urlsplit(class_room.address)
    assert shown.port == class_room.server_port
    assert shown.hostname != "0.0.0.0"
    assert ask(class_room.address)[0] == 200


def test_the_page_works_in_a_class_room_where_browsers_do_not_trust_it(desk: Watched, class_room: PlayServer) -> None:
    with beside(desk) as page:
        page.open(f"http://plain.test:{class_room.server_port}/")
        assert page.page.evaluate("isSecureContext") is False
        assert page.verified().startswith("verified, largest difference")
        seed = roll(page)
        page.becomes(f"document.querySelector('#caption').textContent.includes('seed {seed}')")
        assert page.said == []


@pytest.mark.parametrize(("host", "warns"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])
def test_the_command_warns_of_an_open_page(
    cli: Command, monkeypatch: pytest.MonkeyPatch, host: str, warns: bool
) -> None:
    monkeypatch.setattr(PlayServer, "serve_forever", lambda _: None)
    outcome = cli("play", "--no-browser", "--host", host)
    first, *rest = outcome.err.splitlines()
    assert re.fullmatch(r"tiny at http://[\d.:\[\]]+/ \(Ctrl-C ends it\)", first)
    lesson = cli("play", "--no-browser", "--lesson").err
    assert re.fullmatch(r"tiny at http://[\d.:\[\]]+/\?lesson \(Ctrl-C ends it\)\n", lesson)
    warning = "everyone in the network can use this page, without a password or encryption"
    assert (outcome.code, rest) == (0, [warning] if warns else [])


@pytest.mark.parametrize("host", ["203.0.113.1", "no such host", "x" * 300, ""])
def test_a_host_that_is_no_address_of_this_machine_is_one_line(cli: Command, host: str) -> None:
    outcome = cli("play", "--no-browser", "--host", host)
    assert outcome.code == 7
    assert outcome.err.startswith("vae-gen: expected an address of this machine for --host, such as 127.0.0.1 or ")
