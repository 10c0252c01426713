"""Measures the static playground: bytes, the first picture, a step of a slider. Run `python bench/playground.py`.

Run `npm ci` in web/ and `vae-gen page web/dist` first. A local web server without compression serves web/dist to
Debian's Chromium. The compressed sizes are those of the .gz files beside the files, which web servers can send.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DIST = ROOT / "web" / "dist"
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench.machine import head, machine_line  # noqa: E402
from browser import open_page, served  # noqa: E402

STEPS = 200
VISITS = 5

SLIDE = """async (steps) => {
    const { sliders } = playground;
    const [input, took] = [document.querySelector("#sliders input"), []];
    clearTimeout(playground.rest);
    for (let step = 0; step < steps; step += 1) {
        const began = performance.now();
        const latent = sliders.latent.with(sliders.rows[0].dimension, -3 + (6 * step) / steps);
        const [levels] = await playground.pictures([latent]);
        const { paint } = globalThis.measured;
        paint(document.querySelector("#picture"), levels);
        took.push(performance.now() - began);
    }
    return took;
}"""

PAINT = """globalThis.measured = { paint(canvas, levels) {
    const pixels = new ImageData(canvas.width, canvas.height);
    levels.forEach((level, at) => pixels.data.fill(level, 4 * at, 4 * at + 3));
    canvas.getContext("2d").putImageData(pixels, 0, 0);
} }"""

WATCH = """(slider) => {
    // What is painted while a frame's callbacks run is in that frame, what comes later in the next. A message posted by
    // the first callback arrives when the frame is drawn.
    globalThis.frames = [];
    const { port1, port2 } = new MessageChannel();
    let [inFrame, began, painted, drawn, levels] = [false, null, null, null, playground.levels];
    document.querySelector(slider).addEventListener("input", ({ timeStamp }) => (began = timeStamp), true);
    Object.defineProperty(playground, "levels", { get: () => levels, set(value) {
        levels = value;
        if (inFrame) drawn = began ?? drawn;
        else painted = began ?? painted;
        began = null;
    } });
    port2.onmessage = () => {
        inFrame = false;
        if (drawn !== null) frames.push(performance.now() - drawn);
        drawn = null;
    };
    const frame = () => {
        requestAnimationFrame(frame);
        [inFrame, drawn, painted] = [true, painted, null];
        port1.postMessage(null);
    };
    requestAnimationFrame(frame);
}"""

FIRST = """() => new Promise((done) => {
    const look = () => globalThis.playground?.levels ? done(performance.now()) : requestAnimationFrame(look);
    look();
})"""


def size(pattern: str) -> tuple[int, int]:
    """The bytes of the files that match a pattern, as they are and compressed."""
    files = [path for path in DIST.glob(pattern) if path.suffix != ".gz"]
    return sum(path.stat().st_size for path in files), sum(
        Path(f"{path}.gz").stat().st_size if Path(f"{path}.gz").exists() else path.stat().st_size for path in files
    )


def first_picture(page: Any, origin: str) -> float:
    """The milliseconds from the navigation to the first picture on the canvas."""
    page.goto(origin)
    milliseconds: float = page.evaluate(FIRST)
    page.wait_for_selector("body[data-ready]", timeout=60_000)
    return milliseconds


def hand_to_frame(page: Any, slider: str) -> list[float]:
    """The milliseconds from a key on a slider to the end of the frame that shows its picture, for each step."""
    page.evaluate(WATCH, slider)
    page.focus(slider)
    page.keyboard.press("Home")
    for step in range(STEPS):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(30 + step % 17)  # a hand is not in step with the screen
    took: list[float] = page.evaluate("frames")
    return took


def told(name: str, took: list[float]) -> str:
    """A line with the median and the 95th percentile."""
    ninety_five = statistics.quantiles(took, n=20)[-1]
    return f"{name}: median {statistics.median(took):.1f} ms, 95th percentile {ninety_five:.1f} ms of {len(took)}"


def main() -> None:
    """Measure and print all figures."""
    if not (DIST / "index.html").exists():
        sys.exit("expected a static page in web/dist, found none; run: (cd web && npm ci) && vae-gen page web/dist")
    packages = json.loads((ROOT / "web" / "package.json").read_bytes())["dependencies"]
    print(machine_line({**head(), "onnxruntime": f"Web {packages['onnxruntime-web']}"}))
    parts = {
        "the page, its styles and code": ("index.html", "assets/*/web/**/*.*", "assets/*/examples/*", "sw.js"),
        "of these, the lesson": ("assets/*/web/lesson.css", "assets/*/web/src/lesson.js", "assets/*/web/src/words.js"),
        "the JavaScript of ONNX Runtime, and the libraries for GIFs and hashes": ("assets/*/lib/**/*.js",),
        "ONNX Runtime's WebAssembly": ("assets/**/*.wasm",),
        "the model": ("model/*",),
    }  # fmt: skip
    for name, patterns in parts.items():
        plain, packed = (sum(values) for values in zip(*(size(pattern) for pattern in patterns), strict=True))
        print(f"{name}: {plain / 1e3:,.0f} kB, compressed {packed / 1e3:,.0f} kB")
    with served(DIST) as origin, open_page(viewport={"width": 1280, "height": 900}) as page:
        cold = first_picture(page, origin)
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        page.wait_for_timeout(3000)
        warm = [first_picture(page, origin) for _ in range(VISITS)]
        page.wait_for_timeout(5000)  # until the film strips are drawn
        page.evaluate(PAINT)
        page.evaluate(SLIDE, 20)
        took = page.evaluate(SLIDE, STEPS)
        page.evaluate("document.querySelector('#numbers').open = true")
        shown = hand_to_frame(page, "#sliders input")
        page.reload()
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        page.wait_for_timeout(5000)
        along = hand_to_frame(page, "#direction0") if page.locator("#direction0").count() else []
    print(f"first picture, nothing kept: {cold:.0f} ms")
    print(f"first picture, from a warm cache: median {statistics.median(warm):.0f} ms of {VISITS} visits")
    print(told("a slider's step: decode and paint", took))
    print(told("a slider's step: from the key to the frame that shows it", shown))
    if along:
        print(told("a step along a direction: from the key to the frame that shows it", along))


if __name__ == "__main__":
    main()
