"""What a seed gives the decoder: latents, their classes, and noise for the detail stage; in NumPy and in ONNX.

A model may have a detail stage: a decoder that also takes noise, and adds what the latent cannot hold. The noise of
picture `index` is k standard normals of the seed contract (`philox`) on a stream of their own, so that it changes
nothing about the latents; and `class_shift` is added at the number of the picture's class, if it has one:

    noise[j] = ε_j(seed, index, stream 3) + class_shift · [j = label]

N(0, I) alone is therefore the noise of a picture whose class is unknown.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._errors import UsageError
from .choice import Choice, window
from .manifest import DetailSpec
from .model import Session
from .philox import DETAIL_STREAM, standard_normals
from .prior import ANY_CLASS, FittedPrior


class Drawn(NamedTuple):
    """The outputs of `latents.onnx`: what a picture is decoded from."""

    latents: NDArray[np.float32]
    """float32 [count, dimensions]"""
    labels: NDArray[np.int64]
    """int64 [count], the class of each; −1 if the prior has no classes"""
    noise: NDArray[np.float32] | None = None
    """float32 [count, k], the noise for the detail stage; None without details"""

    def feed(self) -> dict[str, NDArray[np.float32]]:
        """The inputs of `decoder.onnx`, or of `detail.onnx` if there is noise."""
        return {"latent": self.latents} if self.noise is None else {"latent": self.latents, "noise": self.noise}


def detail_noise(
    spec: DetailSpec, seed: int, start: int, count: int, labels: NDArray[np.int64] | int | None = None
) -> NDArray[np.float32]:
    """The noise of the pictures start … start+count−1, float32 [count, k].

    Args:
        spec: of the model.
        seed: 0 … 2⁶³−1.
        start: index of the first, 0 … 2⁶³−1.
        count: how many.
        labels: the class of each, int64 [count], or of all; −1 or None for none.

    Raises:
        UsageError: a number out of its range, or labels of another shape.
    """
    noise = standard_normals(seed, start, count, spec.noise, DETAIL_STREAM)
    if labels is None:
        return noise
    wanted = np.asarray(labels, np.int64)
    if wanted.shape not in ((), (count,)):
        raise UsageError(f"expected a label for each of {count} pictures, got labels of shape {list(wanted.shape)}")
    told = np.broadcast_to(wanted, count)[:, None] == np.arange(spec.noise)
    shifted: NDArray[np.float32] = noise + np.float32(spec.class_shift) * told.astype(np.float32)
    return shifted


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


def run_latents(session: Session, seed: int, start: int, count: int, choice: Choice) -> Drawn:
    """Runs `latents.onnx` once: latents, their classes and, if the choice has details, their noise."""
    names = ["latent", "labels", *(["noise"] if choice.detail else [])]
    latents, labels, *noise = session.run(names, window(seed, start, count) | choice.feed())
    return Drawn(
        np.asarray(latents, np.float32),
        np.asarray(labels, np.int64),
        np.asarray(noise[0], np.float32) if noise else None,
    )
