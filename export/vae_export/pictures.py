"""The pictures of a model folder: a preview, and what the model gets most wrong."""

from __future__ import annotations

import io

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
