"""What `latents.onnx` has to give, in NumPy: what the export, golden vectors and `verify` hold graphs against."""

from __future__ import annotations

import numpy as np

from .choice import Choice
from .manifest import DetailSpec
from .noise import detail_noise
from .philox import standard_normals
from .prior import ANY_CLASS, FittedPrior
from .sampling import Drawn


def drawn_in_numpy(
    seed: int,
    start: int,
    count: int,
    draw: Choice,
    dimensions: int,
    prior: FittedPrior | None = None,
    spec: DetailSpec | None = None,
) -> Drawn:
    """Latents, classes and, where the draw wants details, noise of the indices start … start+count−1.

    Args:
        seed: 0 … 2⁶³−1.
        start: index of the first.
        count: how many.
        draw: the choice; a fitted one needs `prior`, and details need `spec`.
        dimensions: the latent's width.
        prior: the model's tables.
        spec: of the model's detail stage.
    """
    if draw.prior == "fitted" and prior is not None:
        label = ANY_CLASS if draw.label is None else draw.label
        latents, labels = prior.latents(seed, start, count, label, draw.temperature)
    else:
        latents = np.float32(draw.temperature) * standard_normals(seed, start, count, dimensions)
        labels = np.full(count, ANY_CLASS)
    noise = detail_noise(spec, seed, start, count, labels) if draw.detail and spec is not None else None
    return Drawn(latents, labels, noise)
