"""`vae-gen kit`: a folder that an app is embedded from: the model, its golden vectors, and an example per language."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vae_gen import OutputError, UnavailableError

from . import options
from .output import Console, counted

if TYPE_CHECKING:
    from vae_gen import Manifest, ModelFolder

EXAMPLES = {
    "": ("vae.mjs",),
    "python": ("example.py", "requirements.txt"),
    "node": ("example.mjs", "package.json", "package-lock.json", ".npmrc"),
    "web": ("index.html", "package.json", "package-lock.json", ".npmrc"),
}
"""The files of each example; npm's node_modules, which a checkout may hold beside them, stay out."""

MODEL_FOLDER = "model"
"""Where the kit holds its model folder: the examples look there unless they are told otherwise."""


def kit(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make; it must not exist or be empty.")],
    model: options.Model = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Make a folder for embedding the model in other programs.

    The folder holds the model with its golden vectors, examples in Python, Node.js and HTML, and the licence.
    """
    from vae_gen import ModelFolder, find_model
    from vae_gen.internal.files import replacing_folder

    console = Console(as_json, quiet)
    source = ModelFolder.open(find_model(model))
    licence = read_licence()
    _refuse_used(folder)
    with replacing_folder(folder) as aside:
        _copy_model(source, aside / MODEL_FOLDER)
        _copy_examples(aside)
        (aside / "LICENSE").write_bytes(licence)
        (aside / "README.md").write_text(readme(source.manifest), "utf-8", newline="\n")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    console.message(f"{counted(len(files), 'file')} → {folder}; begin with {folder / 'README.md'}")
    console.result("kit", source.manifest, {"output": str(folder), "files": files})


def _refuse_used(folder: Path) -> None:
    """Refuse a folder with something in it: replacing it would lose that.

    Raises:
        OutputError: it is not empty, or cannot be looked into.
    """
    try:
        found = next(folder.iterdir(), None) if folder.is_dir() else None
    except OSError as error:
        raise OutputError(f"cannot look into {folder}: {error.strerror}; choose another name") from error
    if found is not None:
        raise OutputError(f"expected {folder} not to exist or to be empty, found {found.name} in it; name a new folder")


def _copy_model(source: ModelFolder, target: Path) -> None:
    """Copy the files that the manifest names, each checked against its SHA-256, and the manifest itself."""
    manifest = source.manifest
    hashes = {graph.file: graph.sha256 for graph in manifest.graphs.values()}
    hashes |= {name: sha256 for name, (sha256, _) in manifest.other_files.items()}
    target.mkdir()
    for name, sha256 in hashes.items():
        (target / name).write_bytes(source.read_checked(name, sha256))
    shutil.copyfile(source.path / "manifest.json", target / "manifest.json")


def _copy_examples(target: Path) -> None:
    import vae_gen_cli.examples  # its own package, so that it can lie in another place in a checkout

    source = Path(vae_gen_cli.examples.__path__[0])
    for language, names in EXAMPLES.items():
        (target / language).mkdir(exist_ok=True)
        for name in names:
            shutil.copyfile(source / language / name, target / language / name)


def read_licence() -> bytes:
    """The licence as it was installed with the program.

    Raises:
        UnavailableError: the installation lacks it.
    """
    import importlib.metadata

    # A checkout may hold metadata of its own (egg-info) without the text, found before the installed ones.
    for distribution in importlib.metadata.distributions(name="vae-gen"):
        text = distribution.read_text("licenses/LICENSE")
        if text:
            return text.encode()
    raise UnavailableError("expected the licence in this installation of vae-gen, found none; install it again")


def readme(manifest: Manifest) -> str:
    """The kit's front page."""
    channels, height, width = manifest.image.shape
    latents = f"f32 [n,{manifest.latent.dimensions}]"
    images = f"f32 [n,{channels},{height},{width}]"
    detail = manifest.detail
    noise = "" if detail is None else f", noise f32 [n,{detail.noise}]"
    choices = (
        "\nlatents.onnx     seed, start, count, prior (0 normal, 1 fitted), label (-1 any) i64 [], temperature f32 []"
        f"\n                 →  latent {latents}, labels i64 [n]{noise}; a decoder makes the images"
        if manifest.has_fitted_prior
        else ""
    )
    details = "" if detail is None else f"\ndetail.onnx      latent {latents}{noise}  →  image {images}, with details"
    return f"""# {manifest.name} {manifest.version}, to be embedded

All that an app needs to make pictures with this model, on any ONNX Runtime. Nothing else of vae-gen is needed.

    {MODEL_FOLDER}/    the model folder: graphs, manifest.json, golden.json (inputs and expected outputs), model card
    python/   example.py: NumPy and ONNX Runtime alone
    node/     example.mjs: onnxruntime-node
    web/      index.html: onnxruntime-web, in WebAssembly
    LICENSE   of the program and its examples; the model's is {manifest.licence}

Each example loads the model by its manifest, checks the SHA-256 of what it opens, samples, decodes and encodes, and
says in one line what is wrong. Copy what you need out of it.

    pip install -r python/requirements.txt && python python/example.py
    cd node && npm ci && node example.mjs
    cd web && npm ci && python3 -m http.server -d ..        # then open http://127.0.0.1:8000/web/

## The contract

```
generator.onnx   seed, start, count i64 []  →  image {images}, latent {latents}{choices}
decoder.onnx     latent {latents}  →  image {images}{details}
encoder.onnx     image {images}  →  mean, log_variance {latents}
```

- Picture i of a seed is a function of (seed, i) alone: the same on every machine, in every language, in any range.
- `seed` and `start` are 0 to 2^63-1, and `start` + `count` at most 2^63. The graphs check nothing: check before.
- Images are in [0, 1]; grey levels are floor(255 x + 0.5). Latents agree to 1e-5, pictures to one grey level.
- In JavaScript int64 inputs are BigInt, and a graph's metadata cannot be read: use manifest.json.
- Seeds in JSON and URLs are decimal strings. A seed that you draw yourself should stay below 2^53.
- To prove another runtime, compute what `{MODEL_FOLDER}/golden.json` holds and compare within its tolerances.
"""
