"""`vae-gen kit`: copies what an app needs to use the model: the model folder, and an example for each language."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vae_gen import ModelError, OutputError, UnavailableError

from . import options
from .output import Console, counted

if TYPE_CHECKING:
    from vae_gen import Manifest, ModelFolder

EXAMPLES = (
    "vae.mjs", "fit.mjs",
    "c/example.c", "c/one_picture.py",
    "python/example.py", "python/requirements.txt",
    "node/example.mjs", "node/package.json", "node/package-lock.json", "node/.npmrc",
    "web/index.html", "web/package.json", "web/package-lock.json", "web/.npmrc",
)  # fmt: skip
"""The files of the examples. A checkout may have npm's node_modules beside them, which are not copied."""


PORTABLE_GRAPHS = ("generator.portable", "latents.portable")

UNSPECIFIED = "unspecified"
"""The licence in the manifest of a model that was exported without one."""


def kit(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make. It must be new or empty.")],
    model: options.Model = None,
    portable: Annotated[
        bool,
        typer.Option("--portable", help="Add graphs for engines other than ONNX Runtime, such as OpenVINO."),
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Make a folder for embedding the model in other programs.

    The folder holds the model with its golden vectors, examples in C, Python, Node.js and HTML, and the licences.
    """
    from vae_gen import ModelFolder, find_model
    from vae_gen.internal.files import replacing_folder

    console = Console(as_json, quiet)
    source = ModelFolder.open(find_model(model))
    if portable and "latents.portable" not in source.manifest.graphs:
        raise ModelError(
            f"{source.path}: expected latents.portable.onnx for --portable, found none; "
            "export the model with vae-export --portable, or leave --portable out"
        )
    licence = read_licence()
    _refuse_used(folder)
    with replacing_folder(folder) as aside:
        _copy_model(source, aside / "model", portable=portable)
        _copy_examples(aside)
        (aside / "LICENSE").write_bytes(licence)
        (aside / "README.md").write_text(readme(source.manifest, portable=portable), "utf-8", newline="\n")
        (aside / ".gitattributes").write_bytes(b"* -text\n")  # or Git for Windows would change hashed text files
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    console.message(f"{counted(len(files), 'file')} → {folder}; begin with {folder / 'README.md'}")
    console.result("kit", source.manifest, {"output": str(folder), "files": files})


def _refuse_used(folder: Path) -> None:
    """Refuses a folder with files in it, because making the kit would replace them.

    Raises:
        OutputError: the folder is not empty, or cannot be read.
    """
    from vae_gen.internal.files import advice, remove_leftovers

    remove_leftovers(folder.resolve())
    try:
        found = next(folder.iterdir(), None) if folder.is_dir() else None
    except OSError as error:
        raise OutputError(f"cannot read the folder {folder}: {error.strerror}; {advice(error)}") from error
    if found is not None:
        raise OutputError(f"expected {folder} not to exist or to be empty, found {found.name} in it; name a new folder")


def _copy_model(source: ModelFolder, target: Path, *, portable: bool) -> None:
    """Copies manifest.json and the files that it lists, whose SHA-256 is checked.

    Without `portable` the graphs for other engines than ONNX Runtime are left out of both. With it,
    generator.portable.onnx is made if the model has none.
    """
    manifest = source.manifest
    graphs = {
        name: entry for name, entry in manifest.document["graphs"].items() if portable or name not in PORTABLE_GRAPHS
    }
    hashes = {manifest.graphs[name].file: manifest.graphs[name].sha256 for name in graphs}
    hashes |= {name: sha256 for name, (sha256, _) in manifest.other_files.items()}
    target.mkdir()
    for name, sha256 in hashes.items():
        (target / name).write_bytes(source.read_checked(name, sha256))
    if portable and "generator.portable" not in graphs:
        content, graphs["generator.portable"] = _portable_generator(source)
        (target / graphs["generator.portable"]["file"]).write_bytes(content)
    if graphs.keys() == manifest.graphs.keys():
        shutil.copyfile(source.path / "manifest.json", target / "manifest.json")
        return
    text = json.dumps({**manifest.document, "graphs": graphs}, indent=1, ensure_ascii=False)
    (target / "manifest.json").write_text(text + "\n", "utf-8", newline="\n")


def _portable_generator(source: ModelFolder) -> tuple[bytes, dict[str, Any]]:
    """The content of generator.portable.onnx, and its entry in the manifest."""
    import hashlib
    from dataclasses import asdict

    from vae_gen.internal.graph_check import check_graph
    from vae_gen.internal.joining import joined
    from vae_gen.internal.manifest import contract_signatures
    from vae_gen.internal.portable import default_choices

    manifest = source.manifest
    last = "detail" if manifest.details_by_default else "decoder"
    parts = [source.read_graph(name) for name in ("latents.portable", last)]
    for part in parts:
        check_graph(part, str(source.path))  # a damaged file must not be joined
    content = joined(parts[0], parts[1], default_choices(manifest.latent.default_prior))
    inputs, outputs = contract_signatures(manifest.image, manifest.latent, manifest.detail)["generator.portable"]
    entry = {
        **manifest.document["graphs"]["latents.portable"],
        "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "file": "generator.portable.onnx",
        "inputs": [asdict(spec) for spec in inputs], "outputs": [asdict(spec) for spec in outputs],
    }  # fmt: skip
    return content, entry


def _copy_examples(target: Path) -> None:
    import importlib.resources

    source = importlib.resources.files("vae_gen_cli.examples")
    for name in EXAMPLES:
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_bytes(source.joinpath(name).read_bytes())


def read_licence() -> bytes:
    """The text of the licence, from the metadata of the installed program.

    Raises:
        UnavailableError: the installation has no licence.
    """
    import importlib.metadata

    # A checkout may also have metadata without this text (egg-info), which is found first.
    for distribution in importlib.metadata.distributions(name="vae-gen"):
        text = distribution.read_text("licenses/LICENSE")
        if text:
            return text.encode()
    raise UnavailableError("expected the licence in this installation of vae-gen, found none; install it again")


def _licences(manifest: Manifest) -> str:
    """A section in Markdown that names the licences of the model, of its data and of the examples."""
    data = manifest.document.get("data")
    data = data if isinstance(data, dict) else {}
    lines = {
        f"The model, `model/`, is {_plain(manifest.name)} {_plain(manifest.version)}. Its licence": manifest.licence,
        f"It was trained on {_plain(data.get('name', 'data without a name'))}. The licence of this data":
            data.get("licence", UNSPECIFIED),
    }  # fmt: skip
    text = "\n".join(f"- {what}: **{_plain(licence)}**." for what, licence in lines.items())
    text += "\n- `vae.mjs`, `fit.mjs` and the examples are part of vae-gen. Their licence is MIT: see `LICENSE`."
    if UNSPECIFIED in lines.values():
        text += "\n\nAsk whoever made the model what an unspecified licence allows, before you pass this folder on."
    return text


def _plain(value: object) -> str:
    """A text of the manifest as one line of Markdown without markup, because it may come from a stranger."""
    text = " ".join(str(value).split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in text)


OTHER_ENGINES = """
## Engines other than ONNX Runtime

`generator.onnx` and `latents.onnx` compute with integers of 64 bits. An engine that has only 32 makes NaN with them.
`generator.portable.onnx` and `latents.portable.onnx` make the same pictures from float32 alone. They take a whole
number as its four parts of 16 bits, the lowest first: the seed 2^32 + 7 is [7, 0, 1, 0]. `index` has a row for each
picture. The engine must compute in float32: where it computes less exactly, or where a part is not from 0 to 65535,
the results are NaN. For OpenVINO set `INFERENCE_PRECISION_HINT` to `f32`.
"""


def readme(manifest: Manifest, *, portable: bool = False) -> str:
    """The text of the kit's README.md."""
    channels, height, width = manifest.image.shape
    latent, image = f"f32 [n,{manifest.latent.dimensions}]", f"f32 [n,{channels},{height},{width}]"
    noise = "" if manifest.detail is None else f", noise f32 [n,{manifest.detail.noise}]"
    graphs = [
        f"encoder.onnx     image {image}  →  mean, log_variance {latent}",
        f"decoder.onnx     latent {latent}  →  image {image}",
        f"generator.onnx   seed, start, count i64 []  →  image {image}, latent {latent}",
    ]
    if manifest.has_fitted_prior:
        graphs += [
            "latents.onnx     seed, start, count, prior (0 normal, 1 fitted), label (-1 any) i64 [],",
            f"                 temperature f32 []  →  latent {latent}, labels i64 [n]{noise}",
        ]
    if noise:
        graphs += [f"detail.onnx      latent {latent}{noise}  →  image {image}"]
    if portable:
        graphs += [
            "generator.portable.onnx   index f32 [n,4], seed f32 [1,4]  →  image, latent",
            "latents.portable.onnx     the same, and prior, label, temperature f32 [1]",
            f"                          →  latent, labels f32 [n]{noise}",
        ]
    lines = "\n".join(graphs)
    others = OTHER_ENGINES if portable else ""
    return f"""# {_plain(manifest.name)} {_plain(manifest.version)} for your app

With this folder an app makes pictures on any ONNX Runtime. Nothing else of vae-gen is needed.

    model/    the model folder: ONNX graphs, manifest.json, golden.json (inputs with known outputs), and the model card
    vae.mjs   the model in JavaScript, for Node.js and for web pages
    fit.mjs   converts any picture to what the model expects, in web pages
    c/        an example in C99 with ONNX Runtime's C API, and the way to plain C without ONNX Runtime
    python/   an example with NumPy and ONNX Runtime
    node/     an example with vae.mjs and onnxruntime-node
    web/      a page with vae.mjs and onnxruntime-web, which is WebAssembly
    LICENSE   the licence of vae.mjs, fit.mjs and the examples, but not of the model

## Licences

{_licences(manifest)}

## The examples

The examples read the model's manifest, check the SHA-256 of each graph, and sample, decode and encode pictures. Run
one, then copy what you need:

    pip install -r python/requirements.txt && python python/example.py
    cd c && cc -std=c99 -I RUNTIME/include example.c -o example -L RUNTIME/lib -lonnxruntime && ./example
    cd node && npm ci && node example.mjs
    cd web && npm ci && python3 -m http.server -d ..        # then open http://127.0.0.1:8000/web/

RUNTIME is the folder of an ONNX Runtime release for C, with its headers and its library.

## The graphs

```
{lines}
```

- Picture i of a seed depends on the seed and i alone: it is the same on every machine, in every language, in any range.
- `seed` and `start` are 0 to 2^63-1, and `start` + `count` is at most 2^63. The graphs do not check their inputs.
- Images are in [0, 1]; grey levels are floor(255 x + 0.5). Latents are equal to 1e-5, pictures to one grey level.
- JavaScript takes int64 inputs as BigInt, and cannot read a graph's metadata; use manifest.json.
- Write seeds as decimal strings in JSON and URLs. A random seed should be below 2^53.
- To test code in another language, compute what `model/golden.json` has and compare within its tolerances.
{others}"""
