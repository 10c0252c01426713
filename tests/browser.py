"""A real browser for tests: Debian's Chromium, driven by Playwright, which downloads nothing."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

# No sandbox, because containers run tests as root; nothing in the background that calls out.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",  # a camera, for pages that may use it
    # A name of this machine that browsers do not trust, as they do not trust http: in a local network.
    "--host-resolver-rules=MAP plain.test 127.0.0.1",
]


@functools.cache
def missing_browser() -> str | None:
    """What is missing to open a page, or None where all is there."""
    if importlib.util.find_spec("playwright") is None:
        return "Playwright is not installed: pip install playwright"
    if chromium() is None:
        return "Chromium is not installed: apt-get install chromium"
    return None


def chromium() -> str | None:
    """The path of the system's Chromium."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def require_browser() -> None:
    """Skip the test where there is no browser, or fail it where VAE_GEN_REQUIRE_BROWSER is 1."""
    if (reason := missing_browser()) is None:
        return
    if os.environ.get("VAE_GEN_REQUIRE_BROWSER") == "1":
        pytest.fail(f"VAE_GEN_REQUIRE_BROWSER is set: {reason}", pytrace=False)
    pytest.skip(reason)


@contextmanager
def open_page(**options: Any) -> Iterator[Any]:
    """A Playwright page in a browser of its own; `options` are those of a browser context."""
    require_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        try:
            yield browser.new_context(**options).new_page()
        finally:
            browser.close()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The origin under which a folder is served, on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
