"""The playground opened for tests: by `vae-gen play`'s server, or as the static page on a plain web server."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import open_page, require_browser
from cli_runner import Command
from vae_gen import VAE, to_grey_levels
from vae_gen_cli.play_server import open_server

WEB = Path(__file__).parents[1] / "web"


READBACK = "willReadFrequently"
"""Chromium's advice to whoever reads canvases often, as these tests do."""


ERRORS = (
    "[...document.querySelectorAll('[role=alert]:not(#strange-words)')]"
    ".map((one) => one.textContent).filter(Boolean).join(' ')"
)
"""The errors on the page, in JavaScript."""


class Watched:
    """A page with all that it said and asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.said: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda message: None if READBACK in message.text else self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))

    def open(self, url: str) -> None:
        """Go there and wait until the page is at rest."""
        self.page.goto(url)
        self.page.wait_for_selector("body[data-ready]", timeout=60_000)

    def verified(self) -> str:
        """The status line once all golden vectors were replayed."""
        self.becomes("document.querySelector('#verified').dataset.covers === 'all'")
        return self.text("#verified")

    def text(self, selector: str) -> str:
        text: str = self.page.text_content(selector)
        return text

    def error(self) -> str:
        """The errors on the page, near to the controls that were used or at the top."""
        text: str = self.page.evaluate(ERRORS)
        return text

    def choose(self, name: str, content: bytes) -> None:
        """Give the page a picture of one's own."""
        self.page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})

    def latent(self) -> list[float]:
        """The sliders' latent."""
        values: list[float] = self.page.evaluate("Array.from(playground.sliders.latent)")
        return values

    def drawn(self) -> None:
        """Wait until the latest latent has been drawn, and all that follows its picture."""
        self.page.evaluate("playground.render.done()")

    def picture(self, selector: str = "#picture") -> list[int]:
        """The grey levels of a canvas, once the latest latent has been drawn."""
        self.drawn()
        levels: list[int] = self.page.evaluate(
            """(selector) => {
                const canvas = document.querySelector(selector);
                const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                return Array.from(data).filter((_, at) => at % 4 === 0);
            }""",
            selector,
        )
        return levels

    def becomes(self, expression: str) -> None:
        """Wait until an expression holds on the page."""
        limit = time.monotonic() + 20
        while not self.page.evaluate(expression):  # Playwright's own waiting needs eval, which the page forbids
            assert time.monotonic() < limit, f"never: {expression}"
            self.page.wait_for_timeout(20)


COUNT_SHIFTS = """globalThis.shift = 0;
new PerformanceObserver((list) => list.getEntries().forEach((entry) => (globalThis.shift += entry.value)))
    .observe({ type: "layout-shift", buffered: true });"""
"""A script to begin a page with, which adds up its layout shifts."""


@contextmanager
def playing(folder: Path) -> Iterator[str]:
    """The address under which `vae-gen play` would serve a model."""
    server = open_server(VAE(folder), 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def watched(**options: Any) -> Iterator[Watched]:
    """A page in a browser of its own."""
    with open_page(**options) as page:
        yield Watched(page)


@contextmanager
def beside(page: Watched, **options: Any) -> Iterator[Watched]:
    """Another page in the same browser, that shares nothing with it."""
    context = page.page.context.browser.new_context(**options)
    try:
        yield Watched(context.new_page())
    finally:
        context.close()


def check_gif(page: Watched) -> None:
    """Saves a GIF of the dimension with most nats, there and back, and holds its first frame to the model's picture."""
    page.becomes("playground.levels")
    with page.page.expect_download() as download:
        page.page.click("#gif")
    with Image.open(download.value.path()) as image:
        assert (image.size, image.n_frames, image.info["loop"]) == ((168, 168), 48, 0)
        assert image.info["duration"] == 60
        frames = []
        for at in (0, 24, 47):
            image.seek(at)
            frames.append(np.asarray(image.convert("L")).astype(int))
    assert np.abs(frames[0] - frames[1]).max() > 20
    assert np.abs(frames[0] - frames[1]).mean() > np.abs(frames[0] - frames[2]).mean()  # the last is near the first
    images = page.page.evaluate(
        """(async () => {
            const { sliders, vae, noise } = playground;
            const latent = sliders.latent.with(vae.manifest.latent.order[0], -2.5);
            return Array.from(await vae.decode(latent, { noise }));
        })()"""
    )
    expected = to_grey_levels(np.array(images, np.float32)).astype(int)
    assert np.abs(frames[0][::6, ::6].ravel() - expected).max() <= 1


@functools.cache
def missing_packages() -> str | None:
    """What keeps the static page from being written without npm."""
    if not (WEB / "node_modules" / "onnxruntime-web").is_dir():
        return "web/node_modules is missing: (cd web && npm ci)"
    return None


def require_packages() -> None:
    """Skip the test where npm's packages are missing, or fail it where VAE_GEN_REQUIRE_NODE is 1."""
    if reason := missing_packages():
        if os.environ.get("VAE_GEN_REQUIRE_NODE") == "1":
            pytest.fail(f"VAE_GEN_REQUIRE_NODE is set: {reason}", pytrace=False)
        pytest.skip(reason)


def build(out: Path, model: Path) -> Path:
    """The static page of a model, in a folder of its own."""
    require_browser()
    require_packages()
    Command(model).succeed("page", out, "--packages", WEB / "node_modules")
    return out
