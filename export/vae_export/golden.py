"""golden.json: inputs and expected outputs, with which the tests of every language compare their results.

The expected values come from the reference implementations (the VAE in PyTorch, the seed contract in NumPy), and never
from the graphs that are tested with them. docs/model-folder.md describes the file.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import DetailSpec, random_words, to_grey_levels
from vae_gen.internal.directions import Directions
from vae_gen.internal.latents import detail_noise
from vae_train.detail.networks import DetailDecoder
from vae_train.evaluation import to_unit_range
from vae_train.model import VAE

from .check import POSTERIOR_TOLERANCE, torch_decode, torch_detail, torch_encode, torch_pictures
from .graphs import Graphs
from .latent_checks import MOVE_TOLERANCE, floats, golden_latents, golden_moves
from .report import IMAGE_TOLERANCE

SCHEMA_VERSION = 1

PHILOX_KNOWN_ANSWERS = (
    # counter, key, words: the known-answer vectors of Random123 1.14 (philox4x32, 10 rounds)
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
)
SAMPLES = ((0, 0, 3), (7, 0, 2), (2**53 - 1, 2**32 - 1, 2), (2**63 - 1, 2**63 - 2, 2))
"""(seed, start, count) of the samples; the last ones have the largest seed and index."""
PICTURES_EACH = 1
"""How many pictures are stored for each of these ranges."""
TEST_IMAGES = 4
"""How many test images are stored, with their posteriors."""


def golden_vectors(
    name: str, graphs: Graphs, vae: VAE, stage: DetailDecoder | None, test_images: NDArray[np.uint8],
    directions: Directions,
) -> dict[str, Any]:
    """The content of golden.json as JSON values.

    Args:
        name: the name of the model.
        graphs: the graphs of the model, of which only the prior and the defaults are used.
        vae: the VAE in float32, in evaluation mode, on the CPU.
        stage: the detail stage, like the VAE, if the model has one.
        test_images: uint8 [n, channels, height, width], of which the first ones are used.
        directions: the directions of the model.
    """
    prior = graphs.prior
    images = test_images[:TEST_IMAGES]
    mean, log_variance = torch_encode(vae, to_unit_range(images))
    latents = np.round(np.concatenate([np.zeros((1, prior.dimensions)), mean[:2]]), 4).astype(np.float32)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": name,
        "tolerances": {
            "latent": IMAGE_TOLERANCE,
            "grey_levels": 1,
            "mean": POSTERIOR_TOLERANCE,
            "log_variance": POSTERIOR_TOLERANCE,
            "move": MOVE_TOLERANCE,
        },
        "philox": [
            {"counter": counter.split(), "key": key.split(), "words": words.split()}
            for counter, key, words in PHILOX_KNOWN_ANSWERS
        ],
        "samples": [_sample(graphs, vae, stage, *window) for window in SAMPLES],
        "latents": golden_latents(prior, graphs.spec),
        **({} if stage is None or graphs.spec is None else {"details": _details(stage, graphs.spec, latents)}),
        "encodings": {"images": _picture_entry(images), "mean": floats(mean), "log_variance": floats(log_variance)},
        "decodings": {
            "latents": floats(latents),
            "images": _picture_entry(to_grey_levels(torch_decode(vae, latents))),
        },
        "moves": golden_moves(directions, latents),
    }


def _sample(
    graphs: Graphs, vae: VAE, stage: DetailDecoder | None, seed: int, start: int, count: int
) -> dict[str, Any]:
    drawn = graphs.default_drawn(seed, start, count)
    made = torch_pictures(vae, stage, drawn)
    words = random_words(seed, start, count, blocks=1)[:, 0]  # block 0 of each index: [count, 4]
    return {
        "seed": str(seed),  # JSON numbers lose digits beyond 2⁵³ in JavaScript
        "start": str(start),
        "count": count,
        "first_words": [[f"{word:08x}" for word in row] for row in words],
        "latents": floats(drawn.latents),
        "images": _picture_entry(to_grey_levels(made[:PICTURES_EACH])),
    }


def _details(stage: DetailDecoder, spec: DetailSpec, latents: NDArray[np.float32]) -> dict[str, Any]:
    noise = np.round(detail_noise(spec, 0, 0, len(latents)), 4).astype(np.float32)
    images = _picture_entry(to_grey_levels(torch_detail(stage, latents, noise)))
    return {"latents": floats(latents), "noise": floats(noise), "images": images}


def _picture_entry(grey: NDArray[np.uint8]) -> dict[str, Any]:
    """Pictures one after the other, as grey levels row by row, in base64."""
    return {"count": len(grey), "base64": base64.b64encode(grey.tobytes()).decode()}
