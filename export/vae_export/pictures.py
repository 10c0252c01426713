"""The pictures of a model folder: a preview, and what the model gets most wrong."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vae_gen import picture_grid, to_grey_levels
from vae_train.evaluation import cost_of_probabilities

from .check import open_sessions
from .graphs import Graphs

PREVIEW_PICTURES, PREVIEW_COLUMNS, PREVIEW_SCALE = 50, 10, 3
WORST_PICTURES = 10


def preview(graphs: Graphs) -> bytes:
    """Fifty samples of seed 0 as a PNG."""
    session = open_sessions({"generator": graphs.generator}, "default")["generator"]
    window = {"seed": 0, "start": 0, "count": PREVIEW_PICTURES}
    (images,) = session.run(["image"], {name: np.array(value, np.int64) for name, value in window.items()})
    return _png(images)


def worst_reconstructions(graphs: Graphs, images: NDArray[np.float32]) -> bytes:
    """The images that cost most above their floor, over their reconstructions from the posterior mean, as a PNG.

    Args:
        graphs: the model's.
        images: float32 [n, channels, height, width] in [0, 1].
    """
    sessions = open_sessions({"encoder": graphs.encoder, "decoder": graphs.decoder}, "default")
    (mean,) = sessions["encoder"].run(["mean"], {"image": images})
    (decoded,) = sessions["decoder"].run(["image"], {"latent": mean})
    excess = cost_of_probabilities(decoded, images) - cost_of_probabilities(images, images)  # nats above the floor
    worst = np.argsort(-excess, kind="stable")[:WORST_PICTURES]
    return _png(np.concatenate([images[worst], decoded[worst]]))


def _png(images: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    grid = picture_grid(to_grey_levels(images), min(PREVIEW_COLUMNS, len(images)), PREVIEW_SCALE)
    Image.fromarray(grid).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


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
