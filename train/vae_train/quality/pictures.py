"""What to look at beside the figures: grids of samples, look-alikes, traversals, and a map; each the bytes of a PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vae_gen import VAE, picture_grid

from .scores import Lookup

SHOWN, COLUMNS = 500, 25
PAIRS = 25
TRAVERSAL_STEPS = 17
WHITE = 255

Pixels = NDArray[np.uint8]


def grid(images: Pixels) -> bytes:
    """The first 500 pictures, 25 in a row, in double size."""
    return _png(picture_grid(images[:SHOWN], COLUMNS, scale=2))


def nearest_pairs(images: Pixels, lookup: Lookup, training: Pixels) -> bytes:
    """The 25 pictures that are nearest to a training image, each above that image, the nearest first.

    Args:
        images: uint8 [n, channels, height, width], those that were looked up first.
        lookup: of the first of them, in pixels.
        training: the training images.
    """
    order = np.argsort(lookup.distances, kind="stable")[:PAIRS]
    rows = [images[order], training[lookup.indices[order]]]
    return _png(picture_grid(np.concatenate(rows), len(order), scale=2))


def traversals(model: VAE) -> bytes:
    """A row for each latent dimension, most KL first, from −2.5 to 2.5 with the others at 0."""
    return _png(model.traverse(span=2.5, steps=TRAVERSAL_STEPS).grid(scale=2))


def latent_map(points: NDArray[np.float32], labels: NDArray[np.int64], class_names: Sequence[str]) -> bytes:
    """The posterior means of test images on a plane [n, 2], coloured by class."""
    # The object interface with its own canvas: no pyplot, no display, no state that outlives the call.
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    for label, name in enumerate(class_names):
        own = points[labels == label]
        panel.scatter(own[:, 0], own[:, 1], s=6, color=colormaps["tab10"](label % 10), label=name)
    panel.set(title=f"Posterior means of {len(points)} test images (t-SNE)", xticks=[], yticks=[])
    panel.legend(markerscale=3, loc="center left", bbox_to_anchor=(1, 0.5))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def _png(pixels: Pixels) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
