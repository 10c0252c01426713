"""The playground with other models: it obeys the manifest's size, channels, preparation, classes and licence."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli_runner import Command
from playground import Watched, beside, playing, watched
from tiny_model import write_tiny_model
from vae_gen import VAE, DetailSpec, to_grey_levels
from vae_gen.internal.fitting import fit_pictures

HOSTILE = "<img src=x onerror=document.title='hacked'>"
SCRIPTS = ["ταύρος", "猫と犬", "قطة", "a long name " * 12, HOSTILE, '"quoted" & more']
WHITE = {"fit": "pad", "background": "white", "invert_bright": False}
MODELS: dict[str, dict[str, Any]] = {
    "colour": {
        "shape": (3, 12, 20), "preparation": WHITE, "class_names": SCRIPTS, "default_prior": "fitted",
        "data": {"name": "icons", "licence": "CC BY 4.0"},
    },
    "tall": {
        "shape": (1, 128, 8), "preparation": {**WHITE, "fit": "crop"}, "class_names": [], "default_prior": "fitted",
    },
    "many": {
        "shape": (3, 8, 8), "preparation": {"fit": "stretch", "background": "#336699", "invert_bright": True},
        "class_names": [f"kind {at}" for at in range(200)], "default_prior": "fitted",
        "detail": DetailSpec(200, 1.0, True),
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("models")
    return {name: write_tiny_model(place / name, name=name, **settings) for name, settings in MODELS.items()}


@pytest.fixture(scope="module")
def desk() -> Iterator[Watched]:
    with watched(viewport={"width": 1280, "height": 900}, accept_downloads=True) as page:
        yield page


@pytest.fixture(scope="module", params=list(MODELS))
def opened(request: pytest.FixtureRequest, desk: Watched, folders: dict[str, Path]) -> Iterator[tuple[Watched, VAE]]:
    """The page of each model, and the model in Python."""
    with playing(folders[request.param]) as url, beside(desk, accept_downloads=True) as page:
        page.open(url)
        yield page, VAE(folders[request.param])
        assert page.said == []


def pixels(page: Watched, selector: str, channels: int) -> np.ndarray:
    """The levels of a canvas, uint8 [channels, height, width]."""
    values = page.page.evaluate(
        """(selector) => {
            const canvas = document.querySelector(selector);
            const { data, width, height } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return [height, width, Array.from(data)];
        }""",
        selector,
    )
    return np.array(values[2], np.uint8).reshape(values[0], values[1], 4)[:, :, :channels].transpose(2, 0, 1)


def check_near(found: np.ndarray, expected: np.ndarray, most: int = 1) -> None:
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= most


def test_a_page_shows_verifies_and_saves_the_models_pictures(opened: tuple[Watched, VAE]) -> None:
    page, model = opened
    channels, height, width = model.image_shape
    assert page.verified().startswith("verified, ")
    page.becomes("playground.levels")
    expected = model.sample(1, seed=0).grey_levels()[0]
    check_near(pixels(page, "#picture", channels), expected)
    check_near(pixels(page, "#samples button:nth-child(1) canvas", channels), expected)
    with page.page.expect_download() as download:
        page.page.click("#png")
    with Image.open(download.value.path()) as image:
        assert image.width * height == image.height * width  # enlarged by a whole number
        small = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.NEAREST))
    check_near(small.transpose(2, 0, 1)[:channels], expected)
    with page.page.expect_download() as download:
        page.page.click("#gif")
    with Image.open(download.value.path()) as image:
        assert image.n_frames == 48
        assert image.width * height == image.height * width
        image.seek(47)
        colours = np.asarray(image.convert("RGB")).astype(int)
    assert (np.ptp(colours, axis=2).max() > 20) == (channels == 3)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_names_of_classes_are_text_and_can_be_chosen(opened: tuple[Watched, VAE]) -> None:
    page, model = opened
    assert page.page.eval_on_selector_all("#label option", "(all) => all.map((one) => one.textContent)") == [
        "any", *model.class_names
    ]
    for label, name in list(enumerate(model.class_names))[-2:]:
        page.page.select_option("#label", str(label))
        page.becomes(f"playground.state.label === {label}")
        assert page.text("#caption") == f"sample 0 of seed 0, {name}"
    assert page.page.title() == "A few numbers make a picture"
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_the_page_names_the_models_own_licence(opened: tuple[Watched, VAE]) -> None:
    page, model = opened
    data = model.manifest.document.get("data")
    more = f" It was trained on {data['name']}, whose licence is: {data['licence']}." if data else ""
    assert page.text("#licence") == f"The licence of the model: MIT.{more}"


def forget(page: Watched) -> None:
    """Lets a test wait for the words about its own picture, not about the one before."""
    page.page.evaluate("() => { document.querySelector('#rebuilt-words').textContent = ''; }")


def own_picture(kind: str) -> Image.Image:
    """A dark red disc on a ground: transparent, white, or grey noise that fills the frame."""
    y, x = np.mgrid[:60, :90]
    disc = (np.hypot(y - 30, x - 45) < 20)[..., None]
    ground = {"clear": (0, 0, 0, 0), "white": (255, 255, 255, 255), "dark": (20, 30, 40, 255)}[kind]
    return Image.fromarray(np.where(disc, (180, 40, 20, 255), ground).astype(np.uint8), "RGBA")


@pytest.mark.parametrize("kind", ["clear", "white", "dark"])
def test_an_own_picture_is_prepared_as_in_the_library(opened: tuple[Watched, VAE], kind: str) -> None:
    page, model = opened
    picture = own_picture(kind)
    content = io.BytesIO()
    picture.save(content, "PNG")
    forget(page)
    page.choose("own.png", content.getvalue())
    page.becomes("document.querySelector('#rebuilt-words').textContent.includes('nats')")
    found = pixels(page, "#fitted", model.image_shape[0])
    expected = to_grey_levels(fit_pictures(picture, model.manifest.image).images[0])
    np.testing.assert_array_equal(found, expected)
    rebuilt = to_grey_levels(model.decode(model.encode(found[None]).mean, detail=False))[0]
    check_near(pixels(page, "#rebuilt", model.image_shape[0]), rebuilt)


def test_one_draws_on_the_models_own_ground(opened: tuple[Watched, VAE]) -> None:
    page, model = opened
    channels, height, width = model.image_shape
    box = page.page.locator("#pad").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(width / height, rel=0.02)
    assert page.page.is_visible("#pen") == (channels == 3)
    page.page.locator("#pad").scroll_into_view_if_needed()
    box = page.page.locator("#pad").bounding_box()
    forget(page)
    page.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 3 / 4, steps=4)
    page.page.mouse.up()
    page.becomes("document.querySelector('#rebuilt-words').textContent.includes('nats')")
    drawn = pixels(page, "#fitted", channels)
    ground = model.manifest.image.preparation.rgb[:channels]
    check_near(drawn[:, 0, 0], np.array(ground))
    assert np.abs(drawn[:, height // 2, width // 2].astype(int) - ground).max() > 60


def test_a_model_of_other_channels_is_refused_before_the_page_opens(cli: Command, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "two", shape=(2, 8, 8))
    outcome = cli("play", "--no-browser", "--model", tmp_path / "two")
    assert outcome.code == 4
    assert outcome.err == "vae-gen: expected a model of grey or colour pictures, with 1 or 3 channels, found 2\n"
