"""The playground's own pictures: the pad, the camera, what is said of strange ones, and PNGs that can be repeated."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli_runner import Command
from playground import Watched, beside, playing, watched
from tiny_model import write_tiny_model
from vae_gen import VAE, find_model
from vae_gen.internal.fitting import fit_pictures


@pytest.fixture(scope="module")
def desk() -> Iterator[Watched]:
    with watched() as page:
        yield page


@pytest.fixture(scope="module")
def address(detailed_model_folder: Path) -> Iterator[str]:
    with playing(detailed_model_folder) as url:
        yield url


@pytest.fixture
def page(desk: Watched, address: str) -> Iterator[Watched]:
    with beside(desk, viewport={"width": 1280, "height": 900}, accept_downloads=True) as page:
        page.open(address)
        page.verified()
        yield page
        assert page.said == []


def encoded(page: Watched) -> None:
    page.becomes("document.querySelector('#rebuilt-words').textContent.includes('nats')")


def drawing(page: Watched) -> np.ndarray:
    """The grey levels of the pad, [280, 280]."""
    return np.reshape(page.picture("#pad"), (280, 280))


def press(page: Watched, *keys: str) -> None:
    for key in keys:
        page.page.keyboard.press(key)


def draw_square(page: Watched) -> None:
    """A closed square around the middle of the pad, by keyboard."""
    page.page.focus("#pad")
    press(page, *["Shift+ArrowLeft", "Shift+ArrowUp", "Space"])
    for key in ("Right", "Down", "Left", "Up"):
        press(page, *[f"Shift+Arrow{key}"] * 2)
    press(page, "Space")


def test_pencil_fill_eraser_and_undo_work_from_the_keyboard(page: Watched) -> None:
    draw_square(page)
    encoded(page)
    outline = drawing(page)
    assert outline[90, 140] > 200  # the upper side
    assert outline[140, 140] == 0
    press(page, *["Shift+ArrowRight", "Shift+ArrowDown"], "f", "Space")
    filled = drawing(page)
    assert filled[85:195, 85:195].min() > 200  # without a seam at the soft edges
    assert filled[20, 20] == 0
    press(page, "e", "Space", "Space")
    assert drawing(page)[140, 140] == 0
    press(page, "Control+z")
    assert (drawing(page) == filled).all()
    press(page, "Control+z")
    assert (drawing(page) == outline).all()
    page.page.click("#wipe")
    assert drawing(page).max() == 0
    page.page.click("#unstroke")
    assert (drawing(page) == outline).all()


def test_a_fill_leaves_no_seam_at_soft_edges(page: Watched) -> None:
    page.page.locator("#pad").scroll_into_view_if_needed()
    box = page.page.locator("#pad").bounding_box()
    triangle = ((0.5, 0.2), (0.8, 0.8), (0.2, 0.8))
    corners = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in triangle]
    page.page.mouse.move(*corners[0])
    page.page.mouse.down()
    for corner in [*corners[1:], corners[0]]:
        page.page.mouse.move(*corner, steps=4)
    page.page.mouse.up()
    page.page.click("[data-tool=fill]")
    page.page.click("#pad", position={"x": box["width"] / 2, "y": box["height"] * 0.6})
    assert drawing(page)[60:225, 140].min() > 200


def test_a_drawing_is_trimmed_as_the_command_line_trims_it(page: Watched, detailed_model_folder: Path) -> None:
    draw_square(page)
    encoded(page)
    image = Image.fromarray(drawing(page).astype(np.uint8))
    expected = fit_pictures(image, VAE(detailed_model_folder).manifest.image)
    assert page.picture("#fitted") == np.floor(expected.images.ravel() * 255 + 0.5).astype(int).tolist()
    assert "trimmed from 280 × 280 to its object of" in page.text("#own-words")


def test_the_camera_takes_a_picture_and_is_closed(desk: Watched, address: str) -> None:
    with beside(desk, permissions=["camera"]) as page:
        page.open(address)
        page.page.click("#camera")
        page.becomes("document.querySelector('#viewfinder video').videoWidth > 0")
        track = "playground.own.camera.stream"
        assert page.page.evaluate(f"globalThis.track = {track}.getTracks()[0], track.readyState") == "live"
        page.page.click("#shoot")
        encoded(page)
        assert page.page.evaluate("track.readyState") == "ended"
        assert page.page.is_hidden("#viewfinder")
        assert len(set(page.picture("#fitted"))) > 3
        assert page.said == []


def test_a_camera_that_may_not_be_used_is_one_sentence(desk: Watched, address: str) -> None:
    with beside(desk) as page:
        page.open(address)
        page.page.click("#camera")
        said = "expected permission to use the camera, got a refusal; allow it for this page in the browser, or choose"
        page.becomes(f"document.body.textContent.includes({json.dumps(said)})")
        page.page.evaluate("Object.defineProperty(navigator, 'mediaDevices', {})")  # as on a page from plain http:
        with page.page.expect_file_chooser():
            page.page.click("#camera")


def test_a_strange_picture_is_called_strange_in_plain_words(desk: Watched) -> None:
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (28, 28), np.uint8)).save(noise, "PNG")
    with playing(find_model()) as url, beside(desk) as page:
        page.open(url)
        page.choose("a.png", noise.getvalue())
        encoded(page)
        page.becomes("!document.querySelector('#strange').hidden")
        said = page.text("#strange-words")
        assert said.startswith("Unlike anything that this model knows. It was trained on Fashion-MNIST, and answers")
        page.page.focus("#pad")
        press(page, "Space", "Space")
        page.becomes("playground.own.turns.now > 1")


def saved(page: Watched, path: Path) -> None:
    page.page.wait_for_timeout(400)
    page.becomes("playground.levels")
    with page.page.expect_download() as download:
        page.page.click("#png")
    download.value.save_as(path)


def check_repeated(page: Watched, model: Path, command: str) -> dict[str, Any]:
    """Saves the page's picture and repeats it on the command line; the two are equal to one grey level."""
    saved(page, Path("picture.png"))
    with Image.open("picture.png") as image:
        image.load()
        note: dict[str, Any] = json.loads(image.text["vae-gen"])
        first = np.asarray(image.convert("RGB")).astype(int)
    assert note["command"] == command
    Command(model).succeed("repeat", "picture.png", "-o", "again.png")
    with Image.open("again.png") as image:
        again = np.asarray(image.convert("RGB")).astype(int)
    assert first.shape == again.shape
    assert np.abs(first - again).max() <= 1
    return note


@pytest.mark.usefixtures("cli")
def test_a_saved_png_can_be_repeated(page: Watched, detailed_model_folder: Path) -> None:
    note = check_repeated(page, detailed_model_folder, "sample")
    assert (note["seed"], note["detail"], note["label"]) == (page.page.evaluate("playground.state.seed"), True, None)
    page.page.fill("#seed", "9223372036854775807")  # more digits than a number of JavaScript has
    page.page.select_option("#label", "1")
    page.becomes("playground.state.label === 1 && playground.state.seed.length === 19")
    note = check_repeated(page, detailed_model_folder, "sample")
    assert (note["seed"], note["label"]) == ("9223372036854775807", 1)
    first = page.page.evaluate("playground.vae.manifest.latent.order[0]")
    page.page.fill(f"#z{first}", "1.23")
    note = check_repeated(page, detailed_model_folder, "decode")
    assert note["latents"][0][first] == pytest.approx(1.23)
    assert len(note["noise"][0]) == 5
    page.page.uncheck("#detail")
    page.becomes("playground.state.detail === false")
    page.page.fill(f"#z{first}", "-1")
    assert "noise" not in check_repeated(page, detailed_model_folder, "decode")


@pytest.mark.usefixtures("cli")
@pytest.mark.parametrize(
    "facts", [{"shape": (3, 12, 20), "class_names": [], "default_prior": "fitted"}, {"default_prior": None}]
)
def test_a_png_of_any_model_can_be_repeated(desk: Watched, tmp_path: Path, facts: dict[str, Any]) -> None:
    folder = write_tiny_model(tmp_path / "m", name="Hülle ✓", **facts)
    with playing(folder) as url, beside(desk, accept_downloads=True) as page:
        page.open(url)
        note = check_repeated(page, folder, "sample")
        assert note["model"]["name"] == "Hülle ✓"
        draw_square(page)
        encoded(page)
        page.becomes("document.querySelector('#caption').textContent === 'the latent of your picture'")
        check_repeated(page, folder, "decode")
