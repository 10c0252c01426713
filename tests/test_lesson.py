"""The lesson of the playground: its steps, its drawing, how it is left and found again, and who can follow it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import served
from playground import WEB, Watched, beside, build, playing, watched
from tiny_model import write_tiny_model
from vae_gen import find_model


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with playing(find_model()) as url:
        yield url


@pytest.fixture(scope="module")
def desk() -> Iterator[Watched]:
    with watched() as page:
        yield page


@pytest.fixture
def page(desk: Watched, address: str) -> Iterator[Watched]:
    """The lesson as a first visit finds it after `vae-gen play --lesson`."""
    with beside(desk, viewport={"width": 1280, "height": 900}) as page:
        begin(page, address)
        yield page
        assert page.said == []
        assert page.hosts == {address.split("/")[2]}


def begin(page: Watched, address: str) -> None:
    page.open(f"{address}?lesson")
    at_step(page, 1)


def at_step(page: Watched, number: int) -> None:
    """Wait until a step is shown with its figure."""
    page.becomes(
        f"document.querySelector('#lesson-title')?.textContent.startsWith('Step {number} of ')"
        " && document.querySelector('.lesson .figure').childElementCount > 0"
    )


def forward(page: Watched, number: int) -> None:
    page.page.click(".lesson .row button.strong")
    at_step(page, number)


def bars(page: Watched) -> list[float]:
    """The numbers that the drawing shows to someone who does not see it."""
    label: str = page.page.get_attribute(".bars", "aria-label")
    return [float(value.replace("−", "-")) for value in label.partition(": ")[2].split(", ")]


def in_order(page: Watched) -> list[float]:
    """The sliders' numbers in the order of the bars."""
    latent = page.latent()
    return [latent[dimension] for dimension in page.page.evaluate("playground.vae.manifest.latent.order")]


def pictures_of(page: Watched) -> list[list[int]]:
    """The grey levels of each picture in the figure of the step."""
    found: list[list[int]] = page.page.evaluate(
        """Array.from(document.querySelectorAll(".lesson .pictures canvas"), (canvas) => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return Array.from(data).filter((_, at) => at % 4 === 0);
        })"""
    )
    return found


def test_six_steps_follow_one_picture_into_its_numbers_and_back(page: Watched) -> None:
    assert page.text("#lesson-title") == "Step 1 of 6: a picture becomes numbers"
    assert bars(page) == pytest.approx(in_order(page), abs=0.06)
    mean = page.page.evaluate(
        "(async () => Array.from((await playground.vae.encode(playground.lesson.examples[1])).mean))()"
    )
    assert page.latent() == pytest.approx(mean, abs=1e-5)
    assert "twelve numbers" in page.text(".lesson .said")
    forward(page, 2)
    page.becomes("document.querySelectorAll('.lesson .pictures canvas').length === 8")
    cloud = pictures_of(page)
    assert len({tuple(levels) for levels in cloud}) == 8
    page.page.fill(".lesson .range input", "0")  # a cloud without width is a point
    page.becomes(
        "new Set(Array.from(document.querySelectorAll('.pictures canvas'), (one) => one.toDataURL())).size === 1"
    )
    forward(page, 3)
    page.page.fill(".lesson .range input", "2.5")
    page.becomes("document.querySelector('.machine canvas').classList.contains('faded')")
    first = page.page.evaluate("playground.vae.manifest.latent.order[0]")
    assert page.latent()[first] == 2.5
    assert bars(page)[0] == 2.5
    forward(page, 4)
    page.becomes("document.querySelectorAll('.lesson .pictures canvas').length === 16")
    page.page.click(".lesson .pictures button >> nth=3")
    page.drawn()
    assert bars(page) == pytest.approx(in_order(page), abs=0.06)
    forward(page, 5)
    page.becomes("document.querySelectorAll('.lesson .pictures canvas').length === 8")
    assert len({tuple(levels) for levels in pictures_of(page)}) == 8  # of one latent
    assert page.latent() == pytest.approx(mean, abs=1e-5)
    forward(page, 6)
    assert page.text("#lesson-title") == "Step 6 of 6: directions that one can name"
    page.page.select_option(".lesson select", "sleeve length")
    before = in_order(page)
    page.page.fill(".lesson .range input", "-1.5")
    page.becomes("document.querySelector('.machine canvas').classList.contains('faded')")
    page.drawn()
    assert sum(abs(one - other) > 0.01 for one, other in zip(before, in_order(page), strict=True)) > 6
    there = page.page.evaluate("playground.vae.attributes(playground.sliders.latent)")
    assert there["sleeve length"] == pytest.approx(-1.5, abs=0.2)
    page.page.click(".lesson .row button.strong")
    assert page.text("#lesson-open") == "Start the lesson"
    assert page.page.evaluate("document.activeElement.id") == "lesson-open"


def test_the_drawing_follows_the_sliders_of_the_page(page: Watched) -> None:
    before = page.picture(".machine .end:last-child canvas")
    first = page.page.evaluate("playground.vae.manifest.latent.order[0]")
    page.page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    page.page.fill(f"#z{first}", "3")
    page.becomes("document.querySelector('.machine canvas').classList.contains('faded')")
    assert bars(page)[0] == 3
    page.drawn()
    page.page.evaluate("Promise.all(document.getAnimations().map(({ finished }) => finished))")
    of_frame = "(one) => one.offsetHeight / one.parentElement.offsetHeight"
    heights = page.page.eval_on_selector_all(".bars b", f"all => all.map({of_frame})")
    assert heights == pytest.approx([min(3, abs(value)) / 6 for value in in_order(page)], abs=0.02)
    assert page.picture(".machine .end:last-child canvas") != before


def test_what_the_lesson_moves_can_be_undone(page: Watched) -> None:
    forward(page, 2)
    forward(page, 3)
    before = page.latent()
    page.page.focus(".lesson .range input")
    page.page.keyboard.press("End")
    page.becomes("document.querySelector('.machine canvas').classList.contains('faded')")
    assert page.latent() != before
    page.page.keyboard.press("Control+z")
    page.becomes("!document.querySelector('.machine canvas').classList.contains('faded')")
    assert page.latent() == before


def test_it_is_left_and_found_again_where_it_was(page: Watched, address: str) -> None:
    for number in (2, 3):
        forward(page, number)
    page.page.click("text=Leave the lesson")
    assert page.text("#lesson-open") == "Continue the lesson"
    page.page.click("#lesson-open")
    at_step(page, 3)
    page.page.goto("about:blank")
    page.open(address)  # a later visit
    assert page.page.is_hidden(".lesson")
    assert page.text("#lesson-open") == "Continue the lesson"
    page.page.click("#lesson-open")
    at_step(page, 3)


def test_every_word_has_its_sentence_in_the_page(page: Watched) -> None:
    for number in range(1, 7):
        for name in page.page.eval_on_selector_all(".lesson button.word", "all => all.map((one) => one.dataset.word)"):
            page.page.click(f".lesson button.word[data-word='{name}'] >> nth=0")
            shown = page.text(f".lesson .meaning[data-word='{name}']")
            assert len(shown) > 40, (number, name)
            page.page.click(f".lesson button.word[data-word='{name}'] >> nth=0")
        if number < 6:
            forward(page, number + 1)


def test_the_keyboard_alone_is_enough_and_the_focus_goes_to_each_step(page: Watched) -> None:
    for number in (1, 2, 3):
        at_step(page, number)
        assert page.page.evaluate("document.activeElement.id") == "lesson-title"
        page.page.focus(".lesson .row button.strong")
        page.page.keyboard.press("Enter")
    at_step(page, 4)
    page.page.focus(".dots button >> nth=0")
    page.page.keyboard.press("Space")
    at_step(page, 1)
    assert page.page.eval_on_selector_all(".dots [aria-current=step]", "all => all.map((one) => one.ariaLabel)") == [
        "Step 1: a picture becomes numbers"
    ]


@pytest.mark.parametrize(
    ("facts", "titles"),
    [
        ({"default_prior": "fitted", "class_names": [], "shape": (3, 12, 20)}, 4),
        ({"default_prior": None}, 4),
    ],
)
def test_steps_that_a_model_has_nothing_for_are_left_out(
    desk: Watched, tmp_path: Path, facts: dict[str, Any], titles: int
) -> None:
    with playing(write_tiny_model(tmp_path / "m", **facts)) as url, beside(desk) as page:
        begin(page, url)
        assert page.text("#lesson-title") == f"Step 1 of {titles}: a picture becomes numbers"
        for number in range(2, titles + 1):
            forward(page, number)
        page.becomes("document.querySelectorAll('.lesson .pictures').length > 0")
        rows = page.page.locator(".lesson .pictures").count()
        assert rows == (1 if facts["default_prior"] is None else 2)  # of each prior
        page.page.click("text=Finish")
        assert page.said == []


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (820, "dark"), (1440, "light")])
def test_nothing_serious_for_those_who_cannot_see_or_point(
    desk: Watched, address: str, width: int, scheme: Any
) -> None:
    axe = WEB / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.exists():
        pytest.skip("web/node_modules is missing: (cd web && npm ci)")
    with beside(
        desk, viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce"
    ) as page:
        begin(page, address)
        page.page.add_script_tag(path=str(axe))
        for number in range(1, 7):
            at_step(page, number)
            assert page.page.evaluate("document.documentElement.scrollWidth") <= width
            found = page.page.evaluate("axe.run('#lesson').then(({ violations }) => violations)")
            serious = [one for one in found if one["impact"] in ("serious", "critical")]
            assert [(one["id"], one["nodes"][0]["html"]) for one in serious] == []
            small = page.page.eval_on_selector_all(
                ".lesson button:not(.word):not(.pictures *), .lesson input, .lesson select",
                "all => all.filter((one) => one.getBoundingClientRect().height < 44).map((one) => one.outerHTML)",
            )
            assert small == []
            if number < 6:
                page.page.click(".lesson .row button.strong")


def test_the_static_page_tells_how_much_of_the_encoder_came_and_outlives_its_absence(
    desk: Watched, tmp_path: Path, detailed_model_folder: Path
) -> None:
    site = build(tmp_path / "page", detailed_model_folder)
    with served(site) as origin, beside(desk, service_workers="block") as page:
        page.page.add_init_script(
            """globalThis.told = [];
            const tell = () => told.push(document.querySelector(".lesson .said")?.textContent);
            addEventListener("downloaded", () => queueMicrotask(tell));"""
        )
        page.page.route("**/encoder.onnx", lambda route: route.abort())
        page.open(f"{origin}/?lesson")
        page.becomes("document.querySelector('.lesson .wrong')?.textContent.startsWith('expected the file encoder')")
        page.becomes("document.querySelector('#verified').textContent.endsWith('without encoder')")  # it asked too
        page.page.unroute("**/encoder.onnx")
        page.page.click("text=Try again >> visible=true")
        at_step(page, 1)
        page.becomes("document.querySelector('.lesson .said').textContent.includes('numbers')")
        assert page.text(".lesson .wrong") == ""
        told = "\n".join(words or "" for words in page.page.evaluate("told"))
        assert re.search(r"^The encoder is loading, \d\.\d of \d\.\d MB\.$", told, re.MULTILINE)
