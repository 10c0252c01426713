"""The playground as a static page: in WebAssembly, without a network, and when things are missing."""

from __future__ import annotations

import gzip
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import served
from playground import COUNT_SHIFTS, ERRORS, Watched, beside, build, check_gif, watched
from tiny_model import write_tiny_model
from vae_gen import VAE, find_model, to_grey_levels


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("site") / "dist", find_model())


@pytest.fixture(scope="module")
def tiny_site(tmp_path_factory: pytest.TempPathFactory, detailed_model_folder: Path) -> Path:
    return build(tmp_path_factory.mktemp("tiny") / "dist", detailed_model_folder)


@pytest.fixture
def page() -> Iterator[Watched]:
    with watched(viewport={"width": 1280, "height": 900}, accept_downloads=True) as page:
        yield page


def test_the_build_brings_what_it_needs_and_no_more(site: Path) -> None:
    files = {path.relative_to(site).as_posix(): path for path in site.rglob("*") if path.is_file()}
    assert [name for name in files if name.endswith(".wasm")] == [
        name for name in files if "lib/ort-wasm-simd-threaded" in name and name.endswith(".wasm")
    ]
    assert len([name for name in files if name.endswith(".wasm")]) == 1
    large = {name for name in files if name.endswith((".wasm", ".js", ".onnx", ".json"))} - {"site.json"}
    assert {f"{name}.gz" for name in large} <= set(files)
    pages = re.compile(r"(assets/\w+/(web|examples)/.*|index|sw)\.(html|css|js)")
    own = {name: gzip.compress(path.read_bytes()) for name, path in files.items() if pages.fullmatch(name)}
    lesson = {name for name in own if re.search(r"/(lesson|words)\.", name)}
    for part, most in ((lesson, 20_000), (own.keys() - lesson, 60_000)):
        assert 5_000 < sum(len(own[name]) for name in part) < most


def test_it_verifies_draws_and_goes_on_without_a_network(page: Watched, site: Path) -> None:
    model = VAE()
    with served(site.parent) as origin:
        page.open(f"{origin}/dist/")  # under a path, as static hosts have it
        assert re.fullmatch(r"verified, largest difference 0\.0000\d{3}", page.verified())
        page.becomes("playground.levels")
        samples = model.sample(1, seed=69)  # a picture chosen for these weights
        assert np.abs(np.array(page.picture()) - to_grey_levels(samples.images).ravel()).max() <= 1
        assert "light top ↔ trousers" in page.text("#sliders")  # seen by eye for these weights
        assert not page.page.is_hidden("#map")
        page.page.hover("#points", position={"x": 200, "y": 150})
        page.becomes("document.querySelector('#pointed-words').textContent.trim() !== ''")
        page.becomes("navigator.serviceWorker.controller !== null")
        hosts = {origin.removeprefix("http://")}
    page.page.reload()  # the server is gone
    page.page.wait_for_selector("body[data-ready]", timeout=60_000)
    assert page.verified().startswith("verified, ")
    assert page.said == []
    assert page.hosts == hosts


def test_sliders_move_the_picture_in_webassembly(page: Watched, tiny_site: Path) -> None:
    with served(tiny_site) as origin:
        page.open(origin)
        page.becomes("playground.levels")
        before = page.picture()
        page.page.focus("#sliders input")
        page.page.keyboard.press("End")
        assert np.abs(np.array(page.picture()) - before).max() > 20
        assert page.said == []


def test_a_gif_can_be_saved(page: Watched, tiny_site: Path) -> None:
    with served(tiny_site) as origin:
        page.open(origin)
        check_gif(page)
        assert page.said == []


def test_a_model_in_colour_of_another_shape_is_built_shown_and_animated(page: Watched, tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m", shape=(3, 12, 20), class_names=[], default_prior="fitted")
    with served(build(tmp_path / "dist", folder)) as origin:
        page.open(origin)
        assert page.verified().startswith("verified, ")
        page.becomes("playground.levels")
        with page.page.expect_download() as download:
            page.page.click("#gif")
        with Image.open(download.value.path()) as image:
            assert (image.size, image.n_frames) == ((160, 96), 48)
            frame = np.asarray(image.convert("RGB"))[::8, ::8].transpose(2, 0, 1).astype(int)
        latent = np.array(page.latent())
        model = VAE(folder)
        latent[model.manifest.latent.order[0]] = -2.5
        expected = to_grey_levels(model.decode(latent, detail=False))[0]
        assert np.abs(frame - expected).max() <= 16  # of at most 256 colours
        assert np.abs(frame - expected).mean() < 3
        assert page.said == []


def test_the_bar_tells_how_much_came(page: Watched, tiny_site: Path) -> None:
    page.page.add_init_script(
        """globalThis.told = [];
        addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
            const bar = document.querySelector("#loading");
            told.push([Number(bar.getAttribute("aria-valuenow")), document.querySelector("#verified").textContent]);
        }).observe(document.querySelector("#loading"), { attributes: true }));"""
    )
    with served(tiny_site) as origin:
        page.open(origin)
        told = page.page.evaluate("told")
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert len(set(shares) - {0, 100}) > 2  # how many pieces come, and are seen, is the browser's affair
    assert shares[-1] == 100
    assert all(re.match(r"loading, [\d.]+ of [\d.]+ MB$", words) for _, words in told)


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_nothing_jumps_while_it_loads(tiny_site: Path, width: int) -> None:
    with served(tiny_site) as origin, watched(viewport={"width": width, "height": 800}) as page:
        page.page.add_init_script(COUNT_SHIFTS)
        page.open(origin)
        page.verified()
        page.page.wait_for_timeout(500)
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.page.evaluate("globalThis.shift") < 0.01


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model/decoder.onnx", b"no graph",
         "expected the decoder.onnx that manifest.json describes, got another SHA-256; copy it again"),
        ("model/latents.onnx", None, "expected the file latents.onnx beside this page, got HTTP status 404"),
        ("model/manifest.json", b"{}", "expected a manifest.json of schema version 1"),
        ("model/manifest.json", b"no JSON", "expected a manifest.json of schema version 1"),
        ("model/manifest.json", None, "expected the file manifest.json beside this page, got HTTP status 404"),
        ("model/golden.json", None, "expected the file golden.json beside this page, got HTTP status 404"),
        ("model/golden.json", b"{}", "expected golden vectors in golden.json, got others"),
        ("assets/*/lib/*.wasm", None, "expected the file ort-wasm-simd-threaded"),
        ("assets/*/lib/*.wasm", b"no code",
         "expected the WebAssembly that this page was built with, got another SHA-256"),
    ],
)  # fmt: skip
def test_what_is_missing_or_broken_is_one_sentence_and_can_be_tried_again(
    page: Watched, tiny_site: Path, tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    folder = Path(shutil.copytree(tiny_site, tmp_path / "site"))
    (path,) = folder.glob(name)
    whole = path.read_bytes()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with served(folder) as origin:
        page.open(origin)
        assert page.error().startswith(said)
        usable = "golden" in name  # a model that draws, only not verified
        assert page.page.evaluate("document.querySelector('main').inert") != usable
        assert page.text("#verified") == ("not verified" if usable else "no model")
        page.page.evaluate("globalThis.same = true")
        path.write_bytes(whole)
        page.page.click("#retry")
        assert page.verified().startswith("verified, largest difference 0.0000")
        assert page.error() == ""
        page.page.focus("#sliders input")
        page.page.keyboard.press("End")
        page.becomes("playground.sliders.rows[0].input.valueAsNumber === 3")
        assert page.page.evaluate("globalThis.same")  # the page was not loaded anew


def test_what_was_kept_broken_is_fetched_anew(page: Watched, tiny_site: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_site, tmp_path / "site"))
    graph = folder / "model" / "decoder.onnx"
    whole = graph.read_bytes()
    with served(folder) as origin:
        page.open(origin)
        page.verified()
        page.becomes("navigator.serviceWorker.controller !== null")
        page.page.evaluate(
            """(async () => {
                for (const name of await caches.keys()) {
                    const cache = await caches.open(name);
                    await cache.put("model/decoder.onnx", new Response("broken on its way"));
                }
            })()"""
        )
        page.page.reload()
        page.page.wait_for_selector("body[data-ready]")
        assert page.error().startswith("expected the decoder.onnx that manifest.json describes")
        page.page.click("#retry")
        page.verified()
    page.page.reload()  # without a network: what was fetched anew is what is kept
    page.verified()
    assert graph.read_bytes() == whole


def test_an_encoder_that_does_not_come_is_one_sentence_and_comes_later(page: Watched, tiny_site: Path) -> None:
    # A service worker would bring the file that it has kept, past the route that stands for a broken connection.
    with served(tiny_site) as origin, beside(page, service_workers="block") as alone:
        waiting: list[Any] = []
        alone.page.route("**/encoder.onnx", lambda route: route.abort() if waiting else waiting.append(route))
        alone.open(origin)
        alone.becomes("playground.levels")  # the first picture does not wait for it
        assert re.fullmatch(r"verified, largest difference 0\.0000\d{3} …", alone.text("#verified"))
        alone.becomes("performance.getEntriesByName(new URL('model/golden.json', location)).length > 0")
        alone.page.wait_for_timeout(500)
        waiting[0].abort()  # the page asked when it was at rest
        alone.becomes("document.querySelector('#verified').textContent.endsWith('without encoder')")
        content = io.BytesIO()
        Image.new("L", (40, 40), 90).save(content, "PNG")
        alone.choose("a.png", content.getvalue())
        alone.becomes(f"{ERRORS} !== ''")
        said = "expected the file encoder.onnx, got no answer; try again when the connection is back"
        assert alone.error() == said
        assert alone.text("#rebuilt-words") == "not encoded"
        alone.page.unroute("**/encoder.onnx")
        alone.choose("a.png", content.getvalue())
        alone.becomes("document.querySelector('#rebuilt-words').textContent.includes('nats')")
        assert alone.error() == ""
        assert alone.verified().startswith("verified, largest difference")


def test_hashes_are_checked_where_browsers_do_not_hash(page: Watched, tiny_site: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_site, tmp_path / "site"))
    graph = folder / "model" / "decoder.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with served(folder) as origin:
        page.open(origin.replace("127.0.0.1", "plain.test"))
        assert page.page.evaluate("[isSecureContext, crypto.subtle === undefined]") == [False, True]
        said = "expected the decoder.onnx that manifest.json describes, got another SHA-256"
        assert page.error().startswith(said)
        graph.write_bytes(whole)
        page.page.click("#retry")
        page.verified()
        assert page.error() == ""
        page.page.click("#link")
        page.becomes("document.querySelector('#shared').textContent.startsWith('Copied.')")
        assert page.error() == ""
        page.page.focus("#seed")
        page.page.keyboard.press("Control+A")
        page.page.keyboard.press("Control+V")
        assert page.page.input_value("#seed").startswith("http://plain.test")
        assert len(page.hosts) == 1


def test_a_browser_without_webassembly_is_told(page: Watched, tiny_site: Path) -> None:
    page.page.add_init_script("delete globalThis.WebAssembly")
    with served(tiny_site) as origin:
        page.open(origin)
    assert page.page.evaluate("document.querySelector('main').inert")
    assert page.page.is_visible("#retry")
    assert page.error() == "expected a browser with WebAssembly, got one without; try another browser"
