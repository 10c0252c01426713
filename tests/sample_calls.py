"""Calls as apps make them. Nothing runs this file: mypy checks it, so that public signatures cannot drift unseen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from vae_gen import (
    VAE,
    Check,
    Choice,
    FittedPrior,
    Manifest,
    Pictures,
    Posterior,
    Samples,
    Traversal,
    standard_normals,
    verify,
)

model = VAE()
model = VAE(Path("model"), threads=2, provider="cpu")
own = VAE.from_sessions("manifest.json", decoder=onnxruntime.InferenceSession("decoder.onnx"))
assert_type(model.manifest, Manifest)

assert_type(model.sample(50, seed=7, start=100), Samples)
for chunk in model.stream(10_000, seed=7, chunk=1024, dtype="uint8"):
    assert_type(chunk.grey_levels(), NDArray[np.uint8])
assert_type(model.sample(50, prior="fitted", label="sneaker", temperature=0.8).labels, NDArray[np.int64] | None)
assert_type(model.stream(50, 7, prior="normal"), Iterator[Samples])
assert_type(model.fitted_prior(), FittedPrior)
assert_type(model.decode([[0.0] * 12]), NDArray[np.float32])
posterior = model.encode(np.zeros((2, 28, 28), np.uint8))
assert_type(posterior, Posterior)
mean, log_variance = posterior
assert_type(mean, NDArray[np.float32])
assert_type(model.reconstruct(np.zeros((1, 1, 28, 28))), NDArray[np.float32])
assert_type(model.traverse(3, around=mean, span=0.95, steps=7), Traversal)
assert_type(model.traverse([0, 1], around="centre", spacing="latent", fade=False), Traversal)
assert_type(model.interpolate(mean[0], mean[1], 9, "spherical"), Pictures)
assert_type(model.interpolate(mean[0], mean[1], 9, "likely", fade=True), Pictures)
assert_type(model.traverse("1,z2", detail=False)[0], Traversal)
assert_type(model.sample(), Samples)
assert_type(model.sample(50)[:10], Samples)
assert_type(model.sample(50)[0], Samples)
assert_type([one.labels for one in model.sample(50)], list[NDArray[np.int64] | None])
assert_type(model.sample(50).choice, Choice)
assert_type(model.decode(model.sample(3)), NDArray[np.float32])
assert_type(model.encode(["a.png", Path("b.png"), np.zeros((28, 28))], invert="no"), Posterior)
assert_type((model.latent_dim, model.image_shape), tuple[int, tuple[int, int, int]])
assert_type(model.class_names, tuple[str, ...])
assert_type(model.sample(3).to_pil(), Image.Image | list[Image.Image])
model.sample(3).save(Path("a.npz"))
assert_type(standard_normals(7, 0, 10, 12), NDArray[np.float32])
assert_type(verify("model"), list[Check])
