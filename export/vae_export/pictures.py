"""What a model folder has to look at: preview.png, worst.png, and map.json, a map of the latent space.

map.json has the posterior means of test images on a plane, for pages that show a latent space:

    method       a text: how the plane was found
    points       n, the number of points
    dimensions   d, the number of latent dimensions
    places       uint16 [n, 2], x and y from 0 to 65535
    labels       int8 [n], the classes, −1 for none
    latents      int16 [n, d], in units of `latent_step`

Its arrays are little-endian, row by row, in base64. 2000 points of 12 dimensions take 80 kB.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import picture_grid, to_grey_levels
from vae_train.config import Likelihood
from vae_train.evaluation import cost_of_probabilities, squared_errors
from vae_train.plots import png
from vae_train.quality.latent_space import tsne

from .card import WORST_PICTURES
from .check import open_sessions
from .graphs import Graphs

PREVIEW_PICTURES, PREVIEW_COLUMNS, PREVIEW_SCALE = 50, 10, 3

POINTS = 2000
"""How many test images the map has."""

LATENT_STEP = 1e-3
"""The unit of the map's latents, far below the standard deviation of a posterior. Latents beyond ±32.767 are cut."""


def preview(graphs: Graphs) -> bytes:
    """The fifty samples of seed 0 as the content of a PNG file."""
    session = open_sessions({"generator": graphs.generator}, "default")["generator"]
    window = {"seed": 0, "start": 0, "count": PREVIEW_PICTURES}
    (images,) = session.run(["image"], {name: np.array(value, np.int64) for name, value in window.items()})
    return _grid(images)


def worst_reconstructions(
    graphs: Graphs, images: NDArray[np.float32], means: NDArray[np.float32], likelihood: Likelihood
) -> bytes:
    """The images whose cost is furthest above their floor, above their reconstructions, as the content of a PNG file.

    With the Gaussian likelihood, which has no floor, these are the images with the largest squared error.

    Args:
        graphs: the graphs of the model.
        images: float32 [n, channels, height, width] in [0, 1].
        means: the posterior means of these and of further images, [n or more, dimensions].
        likelihood: the likelihood of the model's pixels.
    """
    decoder = open_sessions({"decoder": graphs.decoder}, "default")["decoder"]
    (decoded,) = decoder.run(["image"], {"latent": means[: len(images)]})
    if likelihood == "gaussian":
        excess = squared_errors(decoded, images)
    else:
        excess = cost_of_probabilities(decoded, images) - cost_of_probabilities(images, images)  # nats above the floor
    worst = np.argsort(-excess, kind="stable")[:WORST_PICTURES]
    return _grid(np.concatenate([images[worst], decoded[worst]]))


def latent_map(means: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Any]:
    """The content of map.json as JSON values, for posterior means [n, dimensions] and classes [n]."""
    plane = tsne(means)
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


def _grid(images: NDArray[np.float32]) -> bytes:
    grid = picture_grid(to_grey_levels(images), min(PREVIEW_COLUMNS, len(images)), PREVIEW_SCALE)
    return png(grid, optimize=True)
