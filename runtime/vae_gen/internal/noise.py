"""The noise of the detail stage in NumPy: what a picture takes besides its latent, the same everywhere.

A model may hold a detail stage: a decoder that takes noise too, and draws what the latent cannot hold. The noise of
picture `index` is k standard normals of the seed contract (`philox`) on a stream of their own, so that it changes
nothing of the latents; and `class_shift` is added at the number of the picture's class, where it has one:

    noise[j] = ε_j(seed, index, stream 3) + class_shift · [j = label]

N(0, I) alone therefore is the noise of a picture whose class nobody knows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._errors import UsageError
from .manifest import DetailSpec
from .philox import DETAIL_STREAM, standard_normals


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
