"""The playground as a static build: in WebAssembly, without a network, and when things are missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from browser import served
from playground import Watched, build, watched
from vae_runtime import Generator, find_model, to_grey_levels


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("site") / "dist", find_model())


@pytest.fixture(scope="module")
def tiny_site(tmp_path_factory: pytest.TempPathFactory, detailed_model_folder: Path) -> Path:
    return build(tmp_path_factory.mktemp("tiny") / "dist", detailed_model_folder)


@pytest.fixture
def page() -> Iterator[Watched]:
    with watched(viewport={"width": 1280, "height": 900}) as page:
        yield page


def test_the_build_brings_what_it_needs_and_no_more(site: Path) -> None:
    files = {path.relative_to(site).as_posix(): path for path in site.rglob("*") if path.is_file()}
    assert [name for name in files if name.endswith(".wasm")] == [
        name for name in files if "assets/ort-wasm-simd-threaded" in name and name.endswith(".wasm")
    ]
    assert len([name for name in files if name.endswith(".wasm")]) == 1
    assert {f"{name}.gz" for name in files if name.endswith((".wasm", ".js", ".onnx", ".json"))} <= set(files)
    own = sum(path.stat().st_size for path in (Path(__file__).parents[1] / "web" / "src").glob("*.js"))
    assert own < 60_000  # not even compressed


def test_it_verifies_draws_and_goes_on_without_a_network(page: Watched, site: Path) -> None:
    model = Generator.load()
    with served(site.parent) as origin:
        page.open(f"{origin}/dist/")  # under a path, as static hosts have it
        assert page.text("#verified").startswith("verified, largest difference 0.0000")
        page.becomes("playground.levels")
        samples = model.sample(1, seed=0)
        assert np.abs(np.array(page.picture()) - to_grey_levels(samples.images).ravel()).max() <= 1
        assert not page.page.is_hidden("#map")
        page.page.hover("#points", position={"x": 200, "y": 150})
        page.becomes("document.querySelector('#pointed-words').textContent.trim() !== ''")
        page.page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        page.becomes("navigator.serviceWorker.controller !== null")
        hosts = {origin.removeprefix("http://")}
    page.page.reload()  # the server is gone
    page.page.wait_for_selector("body[data-ready]", timeout=60_000)
    assert page.text("#verified").startswith("verified")
    assert page.said == []
    assert page.hosts == hosts


def test_sliders_move_the_picture_in_webassembly(page: Watched, tiny_site: Path) -> None:
    with served(tiny_site) as origin:
        page.open(origin)
        page.becomes("playground.levels")
        before = page.picture()
        page.page.focus("#sliders input")
        page.page.keyboard.press("End")
        page.page.wait_for_timeout(300)
        assert np.abs(np.array(page.picture()) - before).max() > 20
        assert page.said == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "model" / "decoder.onnx").write_bytes(b"no graph"),
         "expected the decoder.onnx that the manifest describes, got another SHA-256; copy the model again"),
        (lambda folder: (folder / "model" / "latents.onnx").unlink(),
         "expected the file latents.onnx, got HTTP status 404"),
        (lambda folder: (folder / "model" / "manifest.json").write_text("{}"),
         "expected a manifest.json of schema version 1"),
        (lambda folder: next((folder / "assets").glob("*.wasm")).unlink(), "expected the file ort-wasm-simd-threaded"),
    ],
)  # fmt: skip
def test_what_is_missing_or_broken_is_one_sentence(
    page: Watched, tiny_site: Path, tmp_path: Path, damage: object, said: str
) -> None:
    folder = Path(shutil.copytree(tiny_site, tmp_path / "site"))
    damage(folder)  # type: ignore[operator]
    with served(folder) as origin:
        page.open(origin)
    assert page.text("#error").startswith(said)


def test_a_browser_without_webassembly_is_told(page: Watched, tiny_site: Path) -> None:
    page.page.add_init_script("delete globalThis.WebAssembly")
    with served(tiny_site) as origin:
        page.open(origin)
    assert page.text("#error") == "expected a browser with WebAssembly, got one without; try another browser"
