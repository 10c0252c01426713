"""Samples computed: one run of the graphs, whole aligned blocks of it, and chunks of blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._blocks import BLOCK, block_ranges, in_order
from ._draws import Draw
from ._grid import to_grey_levels
from ._manifest import Manifest
from ._pictures import Samples
from ._sessions import Session, run_float32


@dataclass(frozen=True)
class Part:
    """Some consecutive pictures."""

    images: NDArray[Any]
    latents: NDArray[np.float32]
    labels: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.images)

    def cut(self, low: int, high: int, *, grey: bool) -> Part:
        """Pictures low … high−1, as grey levels where asked for."""
        images, labels = self.images[low:high], self.labels
        images = to_grey_levels(images) if grey else images
        return Part(images, self.latents[low:high], None if labels is None else labels[low:high])


@dataclass(frozen=True)
class Sampler:
    """A seed and a choice, ready to be computed."""

    manifest: Manifest
    session: Callable[[str], Session]
    """opens a graph by its name, once"""
    may_label: bool
    """whether `latents.onnx` can be had beside `generator.onnx`, which gives no labels"""
    draw: Draw
    seed: int

    def open(self) -> None:
        """Open all graphs that are needed, so that their errors show before any work."""
        for name in self.draw.graphs(self.manifest):
            if name != "latents" or self.may_label or not self.draw.is_default(self.manifest):
                self.session(name)

    def run(self, start: int, count: int) -> Part:
        """Pictures start … start+count−1, all at once.

        The default comes out of `generator.onnx`, so that it is what apps see; every other choice out of
        `latents.onnx` and the decoder.
        """
        labelled = self.draw.has_labels(self.manifest)
        if self.draw.is_default(self.manifest):
            feed = _window(self.seed, start, count)
            images, latents = run_float32(self.session("generator"), ["image", "latent"], feed)
            if not (labelled and self.may_label):
                return Part(images, latents, None)
            _, labels = run_latents(self.session("latents"), self.seed, start, count, self.draw)
            return Part(images, latents, labels)
        latents, labels = run_latents(self.session("latents"), self.seed, start, count, self.draw)
        (images,) = run_float32(self.session("decoder"), ["image"], {"latent": latents})
        return Part(images, latents, labels if labelled else None)

    def blocks(self, start: int, count: int, workers: int, *, grey: bool) -> Iterator[Part]:
        """The same cut from whole blocks of 64, aligned to the absolute index."""

        def block(task: tuple[int, int, int]) -> Part:
            first, low, high = task
            return self.run(first, BLOCK).cut(low, high, grey=grey)

        self.open()
        return in_order(block, block_ranges(start, count), workers)

    def chunks(self, start: int, count: int, chunk: int, workers: int, *, grey: bool) -> Iterator[Samples]:
        """Blocks joined to chunks that end at multiples of `chunk`."""
        first, position, end = start, start, start + count
        parts: list[Part] = []
        for part in self.blocks(start, count, workers, grey=grey):
            parts.append(part)
            position += len(part)
            if position % chunk == 0 or position == end:
                yield self.joined(parts, first)
                first, parts = position, []

    def joined(self, parts: Sequence[Part], start: int) -> Samples:
        """Consecutive parts as one value."""
        labels = [part.labels for part in parts if part.labels is not None]
        return Samples(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.latents for part in parts]),
            self.seed,
            start,
            np.concatenate(labels) if labels else None,
            self.draw.prior,
            self.draw.label,
            self.draw.temperature,
        )


def run_latents(
    session: Session, seed: int, start: int, count: int, draw: Draw
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Latents float32 [count, dimensions] and their classes int64 [count] out of `latents.onnx`."""
    latents, labels = session.run(["latent", "labels"], _window(seed, start, count) | draw.feed())
    return np.asarray(latents, np.float32), np.asarray(labels, np.int64)


def _window(seed: int, start: int, count: int) -> dict[str, NDArray[np.generic]]:
    numbers = {"seed": seed, "start": start, "count": count}
    return {name: np.array(value, np.int64) for name, value in numbers.items()}
