"""What a user of the playground can take back: undo, redo, Back and Forward; and where errors appear."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from playground import ERRORS, Watched, beside, playing, watched
from vae_gen import VAE, to_grey_levels


@pytest.fixture(scope="module")
def address(detailed_model_folder: Path) -> Iterator[str]:
    with playing(detailed_model_folder) as url:
        yield url


@pytest.fixture(scope="module")
def model(detailed_model_folder: Path) -> VAE:
    return VAE(detailed_model_folder)


@pytest.fixture(scope="module")
def desk() -> Iterator[Watched]:
    with watched(viewport={"width": 1280, "height": 900}) as page:
        yield page


@pytest.fixture
def page(desk: Watched, address: str) -> Iterator[Watched]:
    desk.said.clear()
    desk.page.goto("about:blank")
    desk.open(address)
    yield desk
    assert desk.said == []


def shows(page: Watched, model: VAE, latent: list[float] | np.ndarray, detail: bool = True, index: int = 0) -> None:
    """That sliders and picture show a latent, with the noise of a sample of seed 0."""
    noise = model.detail_noise(1, 0, index, labels=model.sample(1, seed=0, start=index).labels) if detail else None
    image = model.decode(np.array(latent), noise=noise) if detail else model.decode(np.array(latent), detail=False)
    expected = to_grey_levels(image).ravel().astype(int)
    np.testing.assert_allclose(page.latent(), latent, atol=1e-5)
    assert np.abs(expected - page.picture()).max() <= 1


def press(page: Watched, slider: str, *keys: str) -> None:
    page.page.focus(slider)
    for key in keys:
        page.page.keyboard.press(key)


def test_details_come_and_go_on_the_same_latent(page: Watched, model: VAE) -> None:
    press(page, "#z3", "End")
    moved = page.latent()
    page.page.uncheck("#detail")
    shows(page, model, moved, detail=False)
    assert "detail=0" in page.page.url
    page.page.check("#detail")
    shows(page, model, moved)
    assert page.text("#caption").endswith(", changed")


def test_undo_and_redo_go_through_all_that_changed(page: Watched, model: VAE) -> None:
    samples = model.sample(50, seed=0).latents
    press(page, "#z3", "End")
    moved = page.latent()
    page.page.uncheck("#detail")
    page.page.select_option("#label", "1")
    page.becomes("playground.state.label === 1")
    page.page.fill("#temperature", "0.5")
    page.becomes("playground.state.temperature === 0.5")
    last = page.latent()
    page.becomes("playground.wall.drawn.choice.temperature === 0.5")  # or an older sample would be clicked
    page.page.click("#samples button:nth-child(13)")
    page.becomes("playground.state.start === '12'")
    page.page.keyboard.press("Control+z")
    np.testing.assert_allclose(page.latent(), last)
    page.page.click("#undo")
    assert page.page.evaluate("[playground.state.label, playground.state.temperature]") == [1, 1]
    assert page.page.input_value("#temperature") == "1"
    page.page.keyboard.press("Control+z")
    shows(page, model, moved, detail=False)
    assert page.page.input_value("#label") == "-1"
    page.page.click("#undo")
    shows(page, model, moved)
    assert page.page.is_checked("#detail")
    page.page.click("#undo")
    shows(page, model, samples[0])
    assert page.page.get_attribute("#undo", "aria-disabled") == "true"
    page.page.dispatch_event("#undo", "click")  # does nothing
    for _ in range(3):
        page.page.keyboard.press("Control+Shift+Z")
    assert page.page.evaluate("playground.state.label") == 1
    page.page.click("#redo")
    page.page.click("#redo")
    assert page.page.evaluate("playground.state.start") == "12"
    assert page.page.get_attribute("#redo", "aria-disabled") == "true"
    page.becomes("playground.wall.drawn.choice.label === 1 && playground.wall.drawn.choice.temperature === 0.5")


def test_a_movement_of_a_slider_is_one_step(page: Watched, model: VAE) -> None:
    before = page.latent()
    press(page, "#z3", *["ArrowRight"] * 5)
    press(page, "#z4", "Home", "ArrowRight")
    page.page.click("#undo")
    assert page.latent()[4] == before[4]
    assert page.latent()[3] == pytest.approx(round(before[3], 2) + 0.05, abs=0.011)
    page.page.click("#undo")
    shows(page, model, before)


def test_a_key_that_is_held_does_not_overrun_the_browsers_history(page: Watched) -> None:
    page.page.evaluate(
        """() => {
            const input = document.querySelector("#z3");
            const { replaceState } = history;
            globalThis.written = 0;
            history.replaceState = function (...values) {
                globalThis.written += 1;
                replaceState.apply(this, values);
            };
            for (let at = 0; at < 300; at += 1) {
                input.value = at / 100;
                for (const kind of ["input", "change"]) input.dispatchEvent(new Event(kind, { bubbles: true }));
            }
        }"""
    )
    page.becomes("location.hash.includes('2.99') && playground.history.steps.length === 2")
    assert page.page.evaluate("globalThis.written") < 20  # browsers ignore more than 200 in half a minute


def test_a_new_step_after_undo_leaves_nothing_to_redo(page: Watched) -> None:
    before = page.latent()
    page.page.click("#centre")
    page.page.click("#undo")
    press(page, "#z3", "End")
    assert page.page.get_attribute("#redo", "aria-disabled") == "true"
    page.page.keyboard.press("Control+y")
    assert page.latent()[3] == 3
    page.page.keyboard.press("Control+z")
    assert page.latent() == before


def test_back_and_forward_follow_choices_and_stay_in_step_with_undo(page: Watched, model: VAE) -> None:
    samples = model.sample(50, seed=0).latents
    press(page, "#z3", "End")  # is in the entry of the first sample
    moved = page.latent()
    page.page.click("#samples button:nth-child(3)")
    page.becomes("location.hash.includes('start=2')")
    page.page.click("#samples button:nth-child(4)")
    page.becomes("location.hash.includes('start=3')")
    page.page.go_back()
    page.becomes("playground.state.start === '2'")
    page.page.go_back()
    page.becomes("playground.state.start === '0'")
    shows(page, model, moved)
    page.page.go_forward()
    page.becomes("playground.state.start === '2'")
    shows(page, model, samples[2], index=2)
    page.page.click("#redo")
    page.becomes("location.hash.includes('start=3')")
    for _ in range(3):  # faster than the browser goes
        page.page.evaluate("playground.history.undo()")
    shows(page, model, samples[0])
    page.becomes("location.hash.includes('start=0') && !location.hash.includes('z=') && history.state.entry === 0")
    page.page.go_forward()
    page.becomes("playground.state.start === '2'")


def test_an_address_by_hand_and_a_reload_are_steps_too(page: Watched, address: str) -> None:
    page.page.click("#samples button:nth-child(3)")
    page.page.evaluate("location.hash = '#seed=5&start=1'")
    page.becomes("playground.state.seed === '5' && playground.state.start === '1'")
    page.page.click("#undo")
    page.becomes("playground.state.seed === '0' && location.hash.includes('start=2')")
    page.page.click("#redo")
    page.becomes("location.hash.includes('seed=5')")
    page.page.reload()
    page.page.wait_for_selector("body[data-ready]")
    page.page.go_back()
    page.becomes("playground.state.seed === '0' && playground.state.start === '2'")
    page.page.go_forward()
    page.becomes("playground.state.seed === '5'")


def test_a_dead_link_that_is_pasted_opens(page: Watched) -> None:
    page.page.evaluate(
        """() => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text", "http://127.0.0.1:1/#seed=31&start=4");
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
        }"""
    )
    page.becomes("playground.state.seed === '31' && playground.state.start === '4'")
    page.page.click("#undo")
    assert page.page.evaluate("playground.state.seed") == "0"


def test_a_class_waits_while_the_prior_has_none(page: Watched) -> None:
    page.page.select_option("#label", "1")
    page.becomes("playground.state.label === 1")
    page.page.select_option("#prior", "normal")
    page.becomes("playground.state.prior === 'normal'")
    assert page.page.is_disabled("#label")
    assert page.text("#label-why") == "N(0, I) has no classes. The class other blob comes back with the fitted prior."
    page.page.select_option("#prior", "fitted")
    page.becomes("playground.state.prior === 'fitted' && playground.state.label === 1")
    assert page.text("#label-why") == ""
    page.page.click("#undo")
    assert page.page.is_disabled("#label")
    page.page.click("#undo")
    assert page.page.input_value("#label") == "1"


@pytest.fixture
def failing(desk: Watched, address: str) -> Iterator[Watched]:
    """A page whose console may say that requests fail."""
    with beside(desk, viewport={"width": 1280, "height": 900}) as page:
        page.open(address)
        yield page


def test_an_error_stands_beside_the_hand_and_goes_with_success(failing: Watched) -> None:
    page = failing
    page.page.fill("#seed", "-1")
    page.page.press("#seed", "Tab")
    page.becomes(f"{ERRORS} !== ''")
    assert page.error() == "expected a seed from 0 to 2^63-1, got -1"
    field, error = (page.page.locator(selector).bounding_box() for selector in ("#seed", ".error"))
    assert 0 <= error["y"] - (field["y"] + field["height"]) < 60
    page.page.fill("#seed", "1")
    page.page.press("#seed", "Tab")
    page.becomes("playground.state.seed === '1'")
    page.becomes(f"{ERRORS} === ''")
    page.page.wait_for_timeout(800)  # until all strips are drawn
    page.page.route("**/run/*", lambda route: route.abort())
    page.page.select_option("#slot-a select", "1")
    page.becomes(f"{ERRORS}.startsWith('expected an answer from vae-gen play')")
    assert page.page.locator(".error").count() == 1
    place, error = (page.page.locator(selector).bounding_box() for selector in ("#slot-a", ".error"))
    assert 0 <= error["y"] - (place["y"] + place["height"]) < 60
    press(page, "#z11", "Home")
    page.becomes("document.querySelectorAll('.error').length === 2")
    slider, error = (page.page.locator(selector).bounding_box() for selector in ("#z11", "#sliders .error"))
    assert 0 <= error["y"] - slider["y"] < 100
    page.page.unroute("**/run/*")
    press(page, "#z11", "End")
    page.becomes("!document.querySelector('#sliders .error')")
    page.page.click(".error button")
    assert page.error() == ""


def test_a_word_has_its_sentence_a_tap_away(page: Watched) -> None:
    page.page.click("#draw [data-word=temperature]")
    assert "0 always draws the most typical one" in page.text("#draw .meaning")
    assert page.page.get_attribute("#draw [data-word=temperature]", "aria-expanded") == "true"
    page.page.click("#draw [data-word=prior]")
    assert page.page.locator(".meaning").count() == 1
    page.page.click("#draw [data-word=prior]")
    assert page.page.locator(".meaning").count() == 0
    known = page.page.evaluate(
        """import(new URL("src/words.js", document.baseURI)).then(({ WORDS }) =>
            [...document.querySelectorAll("button.word")].every(({ dataset }) => WORDS[dataset.word]))"""
    )
    assert known
