"""The files of the playground's page: those that `vae-gen play` serves, and the static site that `vae-gen page` makes.

A static site is a folder for any web server:

    index.html, sw.js      the page, and the service worker that keeps all files for visits without a network
    assets/DIGEST/web/     the page's styles and modules; engine-wasm.js takes the place of engine.js
    assets/DIGEST/examples/    vae.mjs and fit.mjs, as .js, because not every web server knows the type of .mjs
    assets/DIGEST/lib/     ONNX Runtime's JavaScript and WebAssembly, and the libraries for GIFs and hashes
    model/                 the graphs that the page runs, and the JSON files of the model folder
    site.json              the SHA-256 of each file
    LICENSE.txt            the licence of the page, but not of the model, which the page names
    NAME.gz                a compressed copy beside each large file, for servers that send those

DIGEST is made of the contents of all assets, so that a browser never mixes the files of two versions. The modules are
not bundled: a browser loads the files that are in the repository, without their comments.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import json
import posixpath
import re
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

from vae_gen import ModelError, __version__

from .kit import read_licence
from .output import model_facts

if TYPE_CHECKING:
    from vae_gen import Manifest, ModelFolder

EXAMPLES = ("vae.mjs", "fit.mjs")
"""The examples' files that the page uses."""
CHANNELS = (1, 3)
"""The page shows pictures in grey or in colour."""
GRAPHS = ("encoder", "decoder", "latents", "detail")
"""The graphs that the page runs; for a model without fitted prior the generator takes the place of `latents`."""
WASM = "lib/ort-wasm-simd-threaded.wasm"
LIBRARIES = {
    "lib/ort.js": "onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
    WASM: "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
    "lib/gifenc.js": "gifenc/dist/gifenc.esm.js",
    "lib/gifenc.LICENSE.txt": "gifenc/LICENSE.md",
    "lib/noble/LICENSE.txt": "@noble/hashes/LICENSE",
    **{f"lib/noble/{name}.js": f"@noble/hashes/{name}.js" for name in ("sha2", "_md", "_u64", "utils")},
}
"""The files of npm's packages by their places in the site's assets."""
COMPRESSED = (".js", ".css", ".html", ".json", ".wasm", ".onnx")
RECORD = "site.json"
IMPORT = re.compile(r"""^(?:import|export)\s[^"';]*"(\.[^"]+)";""", re.MULTILINE)
"""A static import of a relative address, which begins a line in the page's own modules."""

COMMENT = re.compile(r"^[ \t]*(?:/\*\*.*?\*/|//[^\n]*)\n", re.MULTILINE | re.DOTALL)
"""A comment that takes whole lines in the page's own modules. They are a fifth of the compressed bytes."""


def page_sources() -> dict[str, Traversable]:
    """The files of the page by their addresses under `vae-gen play`, such as `src/main.js`."""
    web = importlib.resources.files("vae_gen_cli.web")
    found = {place.name: place for place in web.iterdir() if place.name == "index.html" or place.name.endswith(".css")}
    found |= {f"src/{place.name}": place for place in web.joinpath("src").iterdir() if place.name.endswith(".js")}
    examples = importlib.resources.files("vae_gen_cli.examples")
    return found | {f"examples/{name}": examples.joinpath(name) for name in EXAMPLES}


def check_channels(manifest: Manifest) -> None:
    """Refuses a model whose pictures a page can't show.

    Raises:
        ModelError: the model's pictures are neither grey nor in colour.
    """
    if manifest.image.channels not in CHANNELS:
        raise ModelError(
            f"expected a model of grey or colour pictures, with 1 or 3 channels, found {manifest.image.channels}"
        )


def static_site(model: ModelFolder, libraries: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a static site by their paths.

    Args:
        model: the model, whose files are checked against its manifest.
        libraries: the contents of `LIBRARIES`, by the same keys.

    Raises:
        ModelError: the page can't show the model's pictures, or a file of the model is missing or has another SHA-256.
        UnavailableError: the installation has no licence.
    """
    check_channels(model.manifest)
    sources = {name: place.read_bytes() for name, place in page_sources().items()}
    html = sources.pop("index.html").decode()
    assets = {**libraries, **_modules(sources), "lib/wasm.js": _wasm_facts(libraries[WASM])}
    folder = f"assets/{_digest(assets)}/"
    files = {f"{folder}{name}": content for name, content in assets.items()}
    files |= {f"model/{name}": content for name, content in _model_files(model).items()}
    modules = _first_modules(files, f"{folder}web/src/main.js")
    files["index.html"] = _with_assets(html, f"{folder}web/", modules).encode()
    worker = files.pop(f"{folder}web/src/sw.js").decode()
    names = ["./", *sorted(files)]
    worker = worker.replace("__NAME__", json.dumps(_digest(files))).replace("__FILES__", json.dumps(names))
    files["sw.js"] = worker.encode()
    files |= {f"{name}.gz": gzip.compress(content, 9, mtime=0) for name, content in files.items() if _is_large(name)}
    files["LICENSE.txt"] = read_licence()
    record = {"vae_gen": __version__, "model": model_facts(model.manifest), "files": hashes(files)}
    files[RECORD] = (json.dumps(record, indent=1) + "\n").encode()
    files[".nojekyll"] = b""  # or GitHub Pages would leave out files whose names begin with an underscore
    return files


def hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of each file."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}


def _digest(files: Mapping[str, bytes]) -> str:
    return hashlib.sha256(json.dumps(hashes(files)).encode()).hexdigest()[:16]


def _is_large(name: str) -> bool:
    return name.endswith(COMPRESSED)


def _modules(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """The page's modules and styles at their places among the assets."""
    made = {}
    for name, content in sources.items():
        if name == "src/engine.js":  # the engine of `vae-gen play`
            continue
        place = name if name.startswith("examples/") else f"web/{name}"
        place = place.replace("src/engine-wasm.js", "src/engine.js")
        if place.endswith((".js", ".mjs")):
            text = IMPORT.sub(lambda found: found[0].replace(".mjs", ".js"), COMMENT.sub("", content.decode()))
            place, content = re.sub(r"\.mjs$", ".js", place), text.encode()
        made[place] = content
    return made


def _wasm_facts(wasm: bytes) -> bytes:
    facts = {"bytes": len(wasm), "sha256": hashlib.sha256(wasm).hexdigest()}
    return f"export const WASM = {json.dumps(facts)};\n".encode()


def _model_files(model: ModelFolder) -> dict[str, bytes]:
    manifest = model.manifest
    graphs = [name for name in GRAPHS if name in manifest.graphs]
    graphs += [] if "latents" in graphs else ["generator"]
    hashes = {manifest.graphs[name].file: manifest.graphs[name].sha256 for name in graphs}
    hashes |= {name: sha256 for name, (sha256, _) in manifest.other_files.items() if name.endswith(".json")}
    files = {name: model.read_checked(name, sha256) for name, sha256 in hashes.items()}
    return {"manifest.json": json.dumps(manifest.document).encode(), **files}  # as it was checked


def _first_modules(files: Mapping[str, bytes], entry: str) -> list[str]:
    """A module and all that it needs, so that a browser can ask for all of them at once."""
    found = [entry]
    for name in found:  # which grows meanwhile
        for match in IMPORT.finditer(files[name].decode()):
            address = posixpath.normpath(posixpath.join(posixpath.dirname(name), match[1]))
            if address not in found:
                found.append(address)
    return found


def _with_assets(html: str, folder: str, modules: list[str]) -> str:
    """The page with the addresses of its styles and modules in the assets."""
    text = re.sub(r'(href|src)="((?:src/)?[\w-]+\.(?:css|js))"', rf'\1="{folder}\2"', html)
    links = "".join(f'<link rel="modulepreload" href="{name}">\n' for name in modules)
    return text.replace("</head>", f"{links}</head>")
