"""The outputs of latents.onnx in NumPy: the latents of a seed, their classes, and noise for the detail stage.

A model may have a detail stage: a decoder that also takes noise, and adds what the latent cannot hold. The noise of
picture `index` is k standard normals of the seed contract (`philox`) on a stream of their own, so that it changes
nothing about the latents; and `class_shift` is added at the number of the picture's class, if it has one:

    noise[j] = ε_j(seed, index, stream 3) + class_shift · [j = label]

N(0, I) alone is therefore the noise of a picture whose class is unknown.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._errors import UsageError, shown
from .choice import Choice
from .manifest import DetailSpec
from .philox import DETAIL_STREAM, standard_normals
from .prior import ANY_CLASS, FittedPrior
from .sampling import Drawn


def detail_noise(
    spec: DetailSpec, seed: int, start: int, count: int, labels: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Computes the noise of the pictures start … start+count−1, float32 [count, k].

    Args:
        spec: the model's detail stage.
        seed: 0 … 2⁶³−1.
        start: index of the first picture, 0 … 2⁶³−1.
        count: number of pictures.
        labels: int64 [count], the class of each picture, or one class for all; −1 or None for no class.

    Raises:
        UsageError: a number is out of its range, or labels have another shape.
    """
    noise = standard_normals(seed, start, count, spec.noise, DETAIL_STREAM)
    if labels is None:
        return noise
    try:
        given = np.asarray(labels)
    except Exception as error:  # rows of different lengths, or an object of a foreign type
        raise UsageError(f"expected labels as whole numbers, got {shown(labels)}") from error
    if given.dtype.kind not in "iu":
        raise UsageError(f"expected labels as whole numbers, got {shown(labels)}")
    wanted = given.astype(np.int64)
    if wanted.shape not in ((), (count,)):
        raise UsageError(f"expected a label for each of {count} pictures, got labels of shape {list(wanted.shape)}")
    at_label = np.broadcast_to(wanted, count)[:, None] == np.arange(spec.noise)
    shifted: NDArray[np.float32] = noise + np.float32(spec.class_shift) * at_label.astype(np.float32)
    return shifted


def drawn_in_numpy(
    seed: int,
    start: int,
    count: int,
    choice: Choice,
    dimensions: int,
    prior: FittedPrior | None = None,
    spec: DetailSpec | None = None,
) -> Drawn:
    """Computes in NumPy what `sampling.run_latents` computes by ONNX Runtime.

    The export compares the two before it writes a model, and `verify` after it was read.

    Args:
        seed: 0 … 2⁶³−1.
        start: index of the first picture.
        count: number of pictures.
        choice: the resolved options; the fitted prior needs `prior`, and details need `spec`.
        dimensions: the number of latent dimensions.
        prior: the tables of the model's fitted prior.
        spec: the model's detail stage.
    """
    if choice.prior == "fitted" and prior is not None:
        label = ANY_CLASS if choice.label is None else choice.label
        latents, labels = prior.latents(seed, start, count, label, choice.temperature)
    else:
        latents = np.float32(choice.temperature) * standard_normals(seed, start, count, dimensions)
        labels = np.full(count, ANY_CLASS)
    noise = detail_noise(spec, seed, start, count, labels) if choice.detail and spec is not None else None
    return Drawn(latents, labels, noise)
