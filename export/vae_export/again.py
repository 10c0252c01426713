"""Brings an older model folder up to what this version of `vae-export` writes, without its training run.

    python -m vae_export.again measure MODEL_FOLDER [DATA]

measures `preparation.fill` and `metrics.test.familiar` from the graphs in the folder and the data set, and writes them
into its manifest. No other file and no other key changes.

    python -m vae_export.again graphs MODEL_FOLDER VERSION

writes the graphs again, and latents.portable.onnx with them: those of the networks are cleaned, and those that make
latents are built from prior.json. The folder must verify afterwards, with its own golden
vectors, or it stays as it was. VERSION is the new version of the model.

    python -m vae_export.again directions MODEL_FOLDER

finds the directions of the decoder in the folder, and writes directions.json and their golden vectors.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from vae_gen import VAE, ModelFolder, verify
from vae_gen.internal.files import replacing_folder, write_file
from vae_gen.internal.manifest import DIRECTIONS_FILE, essentials
from vae_train.evaluation import evaluate_onnx
from vae_train.images.choices import choose_fill
from vae_train.images.loading import images_of_model

from .card import model_card
from .directions import find_directions
from .graphs import assemble, cleaned, describe, with_portable
from .latent_checks import MOVE_TOLERANCE, golden_moves
from .package import background_of, file_entry, graph_entry, json_bytes


def measure(folder: Path, data: str | None = None) -> None:
    """Measures the two keys, and writes them into the manifest of a model folder."""
    vae = VAE(folder)
    document = json.loads((folder / "manifest.json").read_bytes())
    images, preparation = images_of_model(document, data=data).in_memory(), vae.manifest.image.preparation
    fill = choose_fill(images.train_images[:].numpy(), preparation.rgb) if preparation.fit == "pad" else None
    document.setdefault("preparation", asdict(preparation))["fill"] = fill
    document["metrics"]["test"]["familiar"] = asdict(evaluate_onnx(vae, images.test_images.numpy()).familiar)
    _write(folder / "manifest.json", document)
    print(json.dumps({"fill": fill, **document["metrics"]["test"]["familiar"]}))


def graphs(folder: Path, version: str) -> None:
    """Writes the graphs of a model folder again, with portable ones, and sets the model's version."""
    source = ModelFolder.open(folder)
    document = json.loads((folder / "manifest.json").read_bytes())
    old = {name: onnx.load_from_string(source.read_graph(name)) for name in source.manifest.graphs}
    networks = {name: cleaned(old[name], name) for name in ("encoder", "decoder", "detail") if name in old}
    latent = source.manifest.latent
    built = with_portable(assemble(
        networks["encoder"], networks["decoder"], source.read_prior(), latent.default_prior, networks.get("detail"),
        source.manifest.detail,
    ))  # fmt: skip
    made = {name: model for name, model in built.by_name().items() if name != "generator.portable" or name in old}
    document["model"]["version"] = version
    facts = {entry.key: entry.value for entry in old["decoder"].metadata_props}
    describe(made, facts | essentials(document))
    contents = {f"{name}.onnx": model.SerializeToString(deterministic=True) for name, model in made.items()}
    document["graphs"] = {
        name: graph_entry(f"{name}.onnx", contents[f"{name}.onnx"], model) for name, model in made.items()
    }
    _replace(folder, document, contents)


def directions(folder: Path) -> None:
    """Finds the directions of a model folder, and writes them into it. The graphs, and so the version, stay."""
    vae = VAE(folder)
    image, document = vae.manifest.image, json.loads((folder / "manifest.json").read_bytes())
    found = find_directions(
        lambda latents: vae.decode(latents, detail=False), vae.fitted_prior(), image.channels,
        background_of(image.preparation, image.channels), document["data"]["name"], vae.class_names,
    )  # fmt: skip
    golden = json.loads((folder / "golden.json").read_bytes())
    golden["tolerances"]["move"] = MOVE_TOLERANCE
    golden["moves"] = golden_moves(found, np.array(golden["decodings"]["latents"], np.float32))
    _replace(folder, document, {DIRECTIONS_FILE: json_bytes(found.to_json()), "golden.json": json_bytes(golden)})


def _replace(folder: Path, document: dict[str, Any], contents: dict[str, bytes]) -> None:
    """Writes a model folder again with this manifest, some files of new contents, and a new model card."""
    contents["README.md"] = model_card(document).encode()
    graphs = {entry["file"] for entry in document["graphs"].values()}
    document["files"] |= {file: file_entry(content) for file, content in contents.items() if file not in graphs}
    with replacing_folder(folder, lambda _: None) as aside:
        for file in {*graphs, *document["files"]} - set(contents):
            (aside / file).write_bytes((folder / file).read_bytes())
        for file, content in contents.items():
            (aside / file).write_bytes(content)
        _write(aside / "manifest.json", document)
        failed = [check for check in verify(aside) if not check.passed]
        if failed:
            raise SystemExit(f"{failed[0].name}: {failed[0].detail}")


def _write(path: Path, document: dict[str, Any]) -> None:
    write_file(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "measure":
        measure(Path(sys.argv[2]), *sys.argv[3:4])
    elif sys.argv[1] == "directions":
        directions(Path(sys.argv[2]))
    else:
        graphs(Path(sys.argv[2]), sys.argv[3])
