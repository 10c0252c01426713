"""The playground's direction sliders, its motions, and what a finger and a small screen need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from playground import Watched, beside, playing, watched
from stub_directions import give_directions
from vae_gen import find_model


@pytest.fixture(scope="module")
def address(detailed_model_folder: Path) -> Iterator[str]:
    with playing(detailed_model_folder) as url:
        yield url


@pytest.fixture(scope="module")
def desk() -> Iterator[Watched]:
    with watched(viewport={"width": 1280, "height": 900}) as page:
        yield page


@pytest.fixture
def page(desk: Watched, address: str) -> Iterator[Watched]:
    """The page of a model with made-up directions."""
    with beside(desk, viewport={"width": 1280, "height": 900}) as page:
        give_directions(page.page)
        page.open(address)
        yield page
        assert page.said == []


def position(page: Watched, name: str) -> float:
    """Where a direction's slider stands."""
    value: float = page.page.evaluate(
        f"playground.directions.rows.find((row) => row.name === '{name}').input.valueAsNumber"
    )
    return value


def slider(page: Watched, name: str) -> str:
    at = page.page.evaluate(f"playground.directions.rows.findIndex((row) => row.name === '{name}')")
    return f"#direction{at}"


def test_directions_come_first_and_the_numbers_behind_them(page: Watched) -> None:
    assert page.page.is_visible(slider(page, "shade"))
    assert page.page.is_hidden("#sliders input")
    page.page.click("#numbers-title")
    assert page.page.is_visible("#sliders input")
    page.becomes("playground.sliders.rows[0].pictures.length === 7")


def test_a_way_back_along_a_direction_ends_where_it_began(page: Watched) -> None:
    before = page.latent()
    shade = position(page, "shade")
    row = "playground.directions.rows[0]"
    page.page.evaluate(
        f"for (const value of [2, -2.5, 1]) {row}.hears.move(value); null"
    )  # as a hand that does not let go
    page.becomes(f"Math.abs({row}.input.valueAsNumber - 1) < 0.006")
    page.page.wait_for_timeout(200)
    moved = page.page.evaluate("playground.vae.attributes(playground.sliders.latent)")
    assert moved["shade"] == pytest.approx(1, abs=1e-5)
    page.page.evaluate(f"{row}.hears.move(playground.directions.drag.from)")
    page.page.wait_for_timeout(200)
    assert page.latent() == before
    assert position(page, "shade") == shade


def test_directions_follow_the_sliders_and_each_other(page: Watched) -> None:
    width = position(page, "width")
    page.page.click("#numbers-title")
    page.page.focus("#z2")
    page.page.keyboard.press("End")
    page.becomes(f"Math.abs(playground.directions.rows[1].input.valueAsNumber - {width}) > 0.1")
    page.page.focus(slider(page, "width"))
    page.page.keyboard.press("Home")
    page.becomes("playground.sliders.latent[2] < 0")
    assert page.text("#caption").endswith(", changed")
    page.page.click("#undo")
    page.becomes("playground.sliders.latent[2] === 3")


def test_a_gif_goes_along_the_direction_that_was_moved_last(page: Watched) -> None:
    page.page.focus(slider(page, "width"))
    page.page.keyboard.press("Home")
    page.becomes("Math.abs(playground.directions.rows[1].input.valueAsNumber + 2.5) < 0.006")
    found = page.page.evaluate(
        """playground.directions.way(5).then((way) =>
            Promise.all(way.map((latent) => playground.vae.attributes(latent))))"""
    )
    assert [one["width"] for one in found] == pytest.approx([-2.5, -1.25, 0, 1.25, 2.5], abs=1e-4)
    assert np.ptp([one["shade"] for one in found]) < 1e-4


def test_a_direction_of_a_class_is_there_with_its_class(page: Watched) -> None:
    page.page.select_option("#label", "0")
    page.becomes("playground.kind === 0")
    page.becomes("playground.directions.rows[2].element.hidden")
    page.page.select_option("#label", "1")
    page.becomes("!playground.directions.rows[2].element.hidden")
    page.becomes("playground.directions.rows[2].pictures.length === 7")


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_a_slider_moves_by_itself_until_it_is_touched(desk: Watched, address: str, motion: Any) -> None:
    with beside(desk, viewport={"width": 1280, "height": 900}, reduced_motion=motion) as page:
        give_directions(page.page)
        page.open(address)
        before = page.latent()
        page.page.click(".slider:has(#direction0) .play")
        seen = set()
        for _ in range(12):
            page.page.wait_for_timeout(100)
            seen.add(position(page, "shade"))
        assert (len(seen) > 5) == (motion == "no-preference")
        assert len(seen) >= 2
        page.page.mouse.click(5, 5)
        page.page.wait_for_timeout(100)
        stopped = page.latent()
        page.page.wait_for_timeout(1000)
        assert page.latent() == stopped != before
        page.page.click("#undo")  # all of the motion is one step
        np.testing.assert_allclose(page.latent(), before)
        assert page.said == []


@pytest.mark.parametrize("model", ["directions", "numbers"])
def test_a_phone_shows_the_picture_and_a_slider_at_once_and_has_room_for_fingers(
    desk: Watched, model: str, detailed_model_folder: Path
) -> None:
    options: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    folder = find_model() if model == "directions" else detailed_model_folder
    with playing(folder) as url, beside(desk, **options) as page:
        page.open(url)
        assert page.verified().startswith("verified")
        first = ".slider:not([hidden]) input >> visible=true"
        for selector in ("#picture", first):
            box = page.page.locator(selector).first.bounding_box()
            assert box["y"] + box["height"] <= 844, selector
        page.page.evaluate("document.querySelector('#numbers').open = true")
        page.page.wait_for_timeout(300)
        small = page.page.evaluate(
            """[...document.querySelectorAll("button, select, input, summary, .strip canvas, [tabindex]")]
                .filter((one) => one.offsetParent && !one.closest("#own"))
                .map((one) => [one.id || one.className || one.tagName, one.getBoundingClientRect()])
                .filter(([, { width, height }]) => width < 44 || height < 44)
                .map(([name, { width, height }]) => `${name}: ${width} x ${height}`)"""
        )
        assert small == []


def test_a_finger_near_a_point_of_the_map_means_it(desk: Watched) -> None:
    options: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with playing(find_model()) as url, beside(desk, **options) as page:
        page.open(url)
        page.page.locator("#points").scroll_into_view_if_needed()
        alone = page.page.evaluate(
            """(() => { // the point that lies furthest from the others
                const { map } = playground;
                const near = (one) => Math.min(...map.points.filter((other) => other !== one).map((other) =>
                    Math.hypot(other.x - one.x, other.y - one.y)));
                return map.points.map((one, at) => [near(one), at]).sort(([one], [other]) => other - one)[0][1];
            })()"""
        )
        box = page.page.locator("#points").bounding_box()
        x, y = page.page.evaluate(f"playground.map.screen(playground.map.points[{alone}])")
        page.page.touchscreen.tap(box["x"] + x + 6, box["y"] + y + 6)
        page.becomes("document.querySelector('#caption').textContent.startsWith('the map: a test image, ')")
        assert page.latent() == page.page.evaluate(f"playground.map.points[{alone}].latent")


def test_two_fingers_zoom_the_map_and_one_drags_it(desk: Watched) -> None:
    options: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with playing(find_model()) as url, beside(desk, **options) as page:
        page.open(url)
        page.page.locator("#points").scroll_into_view_if_needed()
        box = page.page.locator("#points").bounding_box()
        words = page.text("#caption")
        screen = page.page.context.new_cdp_session(page.page)

        def touch(kind: str, *spots: tuple[float, float]) -> None:
            points = [{"x": box["x"] + x, "y": box["y"] + y, "id": at} for at, (x, y) in enumerate(spots)]
            screen.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", (150, 150), (190, 190))
        for far in range(5, 45, 5):
            touch("touchMove", (150 - far, 150 - far), (190 + far, 190 + far))
        touch("touchEnd")
        page.becomes("playground.map.view.zoom > 2.5")
        before = page.page.evaluate("playground.map.view")
        touch("touchStart", (200, 200))
        for far in range(10, 60, 10):
            touch("touchMove", (200 - far, 200))
        touch("touchEnd")
        page.becomes(f"playground.map.view.x > {before['x']} && playground.map.hands.size === 0")
        assert page.page.evaluate("playground.map.view.zoom") == before["zoom"]
        assert page.text("#caption") == words  # nothing was taken
