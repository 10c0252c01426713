"""map.json: the posterior means of test images on a plane, for pages that show a latent space.

    method       text: how the plane was found
    points       n, how many
    dimensions   d, the latent's width
    places       uint16 [n, 2], x and y from 0 to 65535
    labels       int8 [n], the classes, −1 for none
    latents      int16 [n, d], in steps of `latent_step`

Arrays are little-endian in base64, row by row. 2000 points of 12 dimensions take 80 kB.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

POINTS = 2000
LATENT_STEP = 1e-3
"""Far below a posterior's standard deviation; latents beyond ±32.767 are cut."""


def latent_map(means: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Any]:
    """The document for posterior means [n, dimensions] and classes [n].

    scikit-learn's t-SNE (van der Maaten and Hinton 2008), started from the first two principal components: neighbours
    on the map were neighbours; distances between groups and their sizes mean little. The same means give the same map
    on one machine and version.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # several threads sum in whatever order they end
        perplexity = min(30, (len(means) - 1) / 3)
        plane = TSNE(perplexity=perplexity, init="pca", random_state=0, n_jobs=1).fit_transform(means)
    low, high = plane.min(0), plane.max(0)
    places = np.round((plane - low) / np.maximum(high - low, 1e-12) * 65535)
    return {
        "method": "t-SNE of posterior means of test images, started from PCA",
        "points": len(means),
        "dimensions": means.shape[1],
        "latent_step": LATENT_STEP,
        "places": _base64(places, "<u2"),
        "labels": _base64(labels, "<i1"),
        "latents": _base64(np.clip(np.round(means / LATENT_STEP), -32767, 32767), "<i2"),
    }


def _base64(values: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values.astype(dtype)).tobytes()).decode()
