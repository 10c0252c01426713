"""The time of one picture in a running process, and of its latents: the reference model on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.utils

from vae_gen import VAE, find_model

from .machine import REFERENCE
from .pairs import Pair, Peer, compare, scaled
from .running import session, window

ROUNDS = 21
TIMES = 200


def measure(folder: Path, share: float = 1.0) -> Iterator[Pair | str]:
    """Compare pictures of a seed with the decoder alone in a plain session."""
    rounds, times = scaled(ROUNDS, share), scaled(TIMES, share)
    path = find_model(REFERENCE)
    model = VAE(REFERENCE, threads=1)
    generator, decoder = session(path / "generator.onnx", 1), session(path / "decoder.onnx", 1)
    images, latents = generator.run(None, window(7, 0, 1))
    (decoded,) = decoder.run(None, {"latent": latents})
    for which, found in (("the graph", images), ("VAE.sample", model.sample(1, seed=7).images)):
        if (apart := float(np.abs(decoded - found).max())) > 1e-5:
            raise AssertionError(f"expected {which} to make what the decoder makes of its latent, got {apart} between")
    alone = Peer("its decoder alone, plain session", lambda: decoder.run(None, {"latent": latents}), 2.0)
    for name, ours in (
        ("one picture by seed, reference, generator.onnx", lambda: generator.run(None, window(7, 0, 1))),
        ("one picture by seed, reference, VAE.sample", lambda: model.sample(1, seed=7)),
    ):
        yield from compare(name, ours, [alone], rounds=rounds, times=times)

    count = scaled(1000, share, 64)
    latent_graph = session(latents_of(path / "generator.onnx"), 1)
    (rows,) = latent_graph.run(None, window(7, 0, count))
    decode = "the decode of the same"
    yield from compare(
        f"latents of {count:,} pictures in the graph, reference", lambda: latent_graph.run(None, window(7, 0, count)),
        [Peer(decode, lambda: decoder.run(None, {"latent": rows}), 0.02)], rounds=rounds, times=2,
    )  # fmt: skip
    yield from compare(
        f"{count:,} pictures by seed, reference, generator.onnx", lambda: generator.run(None, window(7, 0, count)),
        [Peer(decode, lambda: decoder.run(None, {"latent": rows}), 1.02)], rounds=rounds, times=2,
    )  # fmt: skip


def latents_of(path: Path) -> bytes:
    """The part of a generator graph that makes the latents, as an ONNX model."""
    part = onnx.utils.Extractor(onnx.load(path)).extract_model(["seed", "start", "count"], ["latent"])
    content: bytes = part.SerializeToString()
    return content
