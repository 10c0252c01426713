"""A million pictures on all cores: by vae-gen as a process that writes an .npy, and by plain sessions in memory."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vae_gen import find_model

from .graphs import SIDES, matmul_rates, multiplications
from .machine import DEFAULT, REFERENCE, cores
from .pairs import Pair, Peer, compare, scaled
from .parts import Table
from .running import one_session, process, session, side_by_side, window

COUNTS = {REFERENCE: 1_000_000, DEFAULT: 100_000}
"""The number of pictures. The default model makes a tenth as many per second, so it makes a tenth as many here."""
BLOCK = 64
ROUNDS = {REFERENCE: 3, DEFAULT: 5}
GOALS = {REFERENCE: (1 / 1.8, None), DEFAULT: (1 / 1.1, 1.0)}
"""The goals against one plain session, and against one-thread sessions side by side."""


def measure(folder: Path, share: float = 1.0) -> Iterator[Pair | Table | str]:
    """Compare both models with plain sessions, and with the arithmetic that the machine can do."""
    moments = min(1.0, 10 * share)
    rates = [matmul_rates(1, moments)]
    together = [matmul_rates(cores(), moments)]
    rows = []
    for name, whole in COUNTS.items():
        count, graph = scaled(whole, share, 2048), find_model(name) / "generator.onnx"
        ours = command(name, count)
        check_pictures(folder, name)
        plain_goal, fastest_goal = GOALS[name]
        one, several = one_session(graph, count), side_by_side(graph, count, cores())
        one_session(graph, 2000)()
        peers = [
            Peer("one plain session, default options, batches of 1000", one, plain_goal),
            Peer(f"{cores()} one-thread sessions side by side, batches of 64", several, fastest_goal),
        ]
        pairs = list(compare(f"{count:,} pictures to uint8 .npy, {name}", process(*ours, folder=folder), peers,
                             rounds=scaled(ROUNDS[name], share), warm=share < 1))
        (folder / "x.npy").unlink()
        yield from pairs
        rates.append(matmul_rates(1, moments))
        together.append(matmul_rates(cores(), moments))
        rows.append((name, *products_of(name), count / pairs[0].ours))
    alone = {side: max(rate[side] for rate in rates) for side in SIDES}
    every = {side: max(rate[side] for rate in together) for side in SIDES}
    large, quick = max(SIDES), max(alone, key=alone.__getitem__)
    yield Table(
        "Arithmetic",
        ["model", "MMAC per picture", "as exported", "pictures per second", "GMAC per second",
         f"share of the largest MatMul ({large} × {large}) on one thread × cores (goal 0.75)",
         f"share of the fastest ({quick} × {quick}) × cores", "share of the largest on all cores at once"],
        [[name, each / 1e6, exported / 1e6, speed, each * speed / 1e9, each * speed / (alone[large] * cores()),
          each * speed / (alone[quick] * cores()), each * speed / every[large]]
         for name, each, exported, speed in rows],
        ["ONNX Runtime's float32 MatMul, GMAC per second on one thread: "
         + ", ".join(f"{rate / 1e9:.1f} ({side} × {side})" for side, rate in alone.items())
         + "; a session on each core at once, together: "
         + ", ".join(f"{rate / 1e9:.1f} ({side} × {side})" for side, rate in every.items()) + ".",
         "MAC are the multiplications of the network's layers and of the latents by their definition. An export may "
         "compute a layer with more, which does not count. Pictures per second are those of the whole process, "
         "including its start and its file."],
    )  # fmt: skip


def products_of(name: str) -> tuple[float, float]:
    """The multiplications for a default picture and its latent: by the definition of the layers, and as exported.

    Without PyTorch, both are as exported.
    """
    path = find_model(name)
    made_by = "detail" if (path / "detail.onnx").exists() else "decoder"
    whole = multiplications(path / "generator.onnx", window(7, 0, BLOCK), BLOCK)
    if importlib.util.find_spec("torch") is None:
        return whole, whole
    import torch

    from .networks import network, products

    inputs = session(path / f"{made_by}.onnx").get_inputs()
    feed = {entry.name: np.zeros((BLOCK, entry.shape[1]), np.float32) for entry in inputs}
    latents = whole - multiplications(path / f"{made_by}.onnx", feed, BLOCK)
    return products(network(name, made_by), *map(torch.from_numpy, feed.values())) + latents, whole


def command(name: str, count: int) -> tuple[str, ...]:
    """The command for `count` pictures of a model."""
    return ("vae-gen", "sample", "-n", str(count), "--seed", "7", "-q", "--model", name, "-o", "x.npy")


def check_pictures(folder: Path, name: str) -> None:
    """Make sure that the command makes the pictures of a plain session, to one grey level."""
    process(*command(name, 1000), folder=folder)()
    images, _ = session(find_model(name) / "generator.onnx").run(None, window(7, 0, 1000))
    apart = np.abs((255 * images + 0.5).astype(np.uint8).astype(int) - np.load(folder / "x.npy").astype(int)).max()
    if apart > 1:
        raise AssertionError(f"expected the same pictures of {name}, got {apart} grey levels between them")
