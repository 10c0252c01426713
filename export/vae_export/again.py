"""Adds what later versions of `vae-export` measure to the manifest of an older model folder.

    python -m vae_export.again MODEL_FOLDER [DATA]

measures `preparation.fill` and `metrics.test.familiar` from the graphs in the folder and the data set, and writes them
into its manifest. No other file and no other key changes.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from vae_gen import VAE
from vae_gen.internal.files import write_file
from vae_train.evaluation import evaluate_onnx
from vae_train.images.choices import choose_fill
from vae_train.images.loading import images_of_model


def main(folder: Path, data: str | None = None) -> None:
    """Measures the two keys, and writes them into the manifest of a model folder."""
    vae = VAE(folder)
    document = json.loads((folder / "manifest.json").read_bytes())
    images, preparation = images_of_model(document, data=data), vae.manifest.image.preparation
    fill = choose_fill(images.train_images.numpy(), preparation.rgb) if preparation.fit == "pad" else None
    document.setdefault("preparation", asdict(preparation))["fill"] = fill
    document["metrics"]["test"]["familiar"] = asdict(evaluate_onnx(vae, images.test_images.numpy()).familiar)
    write_file(folder / "manifest.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps({"fill": fill, **document["metrics"]["test"]["familiar"]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
