"""`vae-gen kit`: copies what an app needs to use the model: the model folder, and an example for each language."""

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

EXAMPLES = (
    "vae.mjs", "fit.mjs",
    "python/example.py", "python/requirements.txt",
    "node/example.mjs", "node/package.json", "node/package-lock.json", "node/.npmrc",
    "web/index.html", "web/package.json", "web/package-lock.json", "web/.npmrc",
)  # fmt: skip
"""The files of the examples. A checkout may have npm's node_modules beside them, which are not copied."""


UNSPECIFIED = "unspecified"
"""The licence in the manifest of a model that was exported without one."""


def kit(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make. It must be new or empty.")],
    model: options.Model = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Make a folder for embedding the model in other programs.

    The folder holds the model with its golden vectors, examples in Python, Node.js and HTML, and the licences.
    """
    from vae_gen import ModelFolder, find_model
    from vae_gen.internal.files import replacing_folder

    console = Console(as_json, quiet)
    source = ModelFolder.open(find_model(model))
    licence = read_licence()
    _refuse_used(folder)
    with replacing_folder(folder) as aside:
        _copy_model(source, aside / "model")
        _copy_examples(aside)
        (aside / "LICENSE").write_bytes(licence)
        (aside / "README.md").write_text(readme(source.manifest), "utf-8", newline="\n")
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


def _copy_model(source: ModelFolder, target: Path) -> None:
    """Copies manifest.json and the files that it lists, whose SHA-256 is checked."""
    manifest = source.manifest
    hashes = {graph.file: graph.sha256 for graph in manifest.graphs.values()}
    hashes |= {name: sha256 for name, (sha256, _) in manifest.other_files.items()}
    target.mkdir()
    for name, sha256 in hashes.items():
        (target / name).write_bytes(source.read_checked(name, sha256))
    shutil.copyfile(source.path / "manifest.json", target / "manifest.json")


def _copy_examples(target: Path) -> None:
    import vae_gen_cli.examples

    source = Path(vae_gen_cli.examples.__path__[0])  # in a checkout this package lies in another folder
    for name in EXAMPLES:
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, target / name)


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


def readme(manifest: Manifest) -> str:
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
    lines = "\n".join(graphs)
    return f"""# {_plain(manifest.name)} {_plain(manifest.version)} for your app

With this folder an app makes pictures on any ONNX Runtime. Nothing else of vae-gen is needed.

    model/    the model folder: ONNX graphs, manifest.json, golden.json (inputs with known outputs), and the model card
    vae.mjs   the model in JavaScript, for Node.js and for web pages
    fit.mjs   converts any picture to what the model expects, in web pages
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
    cd node && npm ci && node example.mjs
    cd web && npm ci && python3 -m http.server -d ..        # then open http://127.0.0.1:8000/web/

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
"""
