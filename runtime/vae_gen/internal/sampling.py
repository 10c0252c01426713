"""Samples computed: one run of the graphs, whole aligned blocks of it, and chunks of blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._grid import to_grey_levels
from .._pictures import Samples
from .blocks import BLOCK, block_ranges, grouped, in_order
from .choice import Choice
from .manifest import Manifest
from .sessions import Session, run_float32


@dataclass(frozen=True)
class Part:
    """Some consecutive pictures."""

    images: NDArray[Any]
    latents: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None
    """where the graph gave them"""

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
    draw: Choice
    seed: int
    default_labels: Callable[[int, int, int], NDArray[np.int64] | None]
    """finds the classes of default samples from seed, start and count: `generator.onnx` does not give them"""

    def open(self) -> None:
        """Open all graphs that are needed, so that their errors show before any work."""
        for name in self.draw.graphs(self.manifest):
            self.session(name)

    def run(self, start: int, count: int) -> Part:
        """Pictures start … start+count−1, all at once.

        The default comes out of `generator.onnx`, so that it is what apps see; every other choice out of
        `latents.onnx` and a decoder.
        """
        if self.draw.is_default(self.manifest):
            feed = _window(self.seed, start, count)
            images, latents = run_float32(self.session("generator"), ["image", "latent"], feed)
            return Part(images, latents)
        drawn = run_latents(self.session("latents"), self.seed, start, count, self.draw)
        (images,) = run_float32(self.session(self.draw.decoder), ["image"], drawn.feed())
        return Part(images, drawn.latents, drawn.labels)

    def blocks(self, start: int, count: int, workers: int, *, grey: bool) -> Iterator[Part]:
        """The same cut from whole blocks, aligned to the absolute index."""

        def block(task: tuple[int, int, int]) -> Part:
            first, low, high = task
            return self.run(first, BLOCK).cut(low, high, grey=grey)

        def several(tasks: Sequence[tuple[int, int, int]]) -> list[Part]:
            return [block(task) for task in tasks]

        self.open()
        for parts in in_order(several, grouped(block_ranges(start, count), count, workers), workers):
            yield from parts

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
        images = np.concatenate([part.images for part in parts])
        given = [part.labels for part in parts if part.labels is not None]
        find_labels = partial(np.concatenate, given) if given else partial(
            self.default_labels, self.seed, start, len(images)
        )
        return Samples(
            images,
            np.concatenate([part.latents for part in parts]),
            self.seed,
            start,
            find_labels if self.draw.has_labels(self.manifest) else None,
            self.draw.prior,
            self.draw.label,
            self.draw.temperature,
            self.draw.detail,
        )


class Drawn(NamedTuple):
    """What comes out of `latents.onnx`."""

    latents: NDArray[np.float32]
    """float32 [count, dimensions]"""
    labels: NDArray[np.int64]
    """int64 [count], −1 where the prior has none"""
    noise: NDArray[np.float32] | None = None
    """float32 [count, k], where a detail stage is to draw"""

    def feed(self) -> dict[str, NDArray[np.float32]]:
        """What the decoder takes, or the detail stage where there is noise."""
        return {"latent": self.latents} if self.noise is None else {"latent": self.latents, "noise": self.noise}


def run_latents(session: Session, seed: int, start: int, count: int, draw: Choice) -> Drawn:
    """Latents, their classes and, where the draw wants details, their noise, out of `latents.onnx`."""
    names = ["latent", "labels", *(["noise"] if draw.detail else [])]
    latents, labels, *noise = session.run(names, _window(seed, start, count) | draw.feed())
    return Drawn(
        np.asarray(latents, np.float32),
        np.asarray(labels, np.int64),
        np.asarray(noise[0], np.float32) if noise else None,
    )


def _window(seed: int, start: int, count: int) -> dict[str, NDArray[np.generic]]:
    numbers = {"seed": seed, "start": start, "count": count}
    return {name: np.array(value, np.int64) for name, value in numbers.items()}
