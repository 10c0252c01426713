"""Samples of a seed, computed: a few pictures in one batch, or many in whole aligned blocks.

ONNX Runtime rounds a little differently at different batch sizes (2.4e-7 between 3 and 256 pictures), and for a
different place in the batch. To compute a picture again to the byte, its row therefore has to stand at the same place
of a batch of the same size. `Layout` describes that place, and `batches` restores it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._grid import to_grey_levels
from .._pictures import Samples
from .blocks import BLOCK, BULK, FEW, block_ranges, grouped, in_order, usable_cores
from .choice import Choice
from .sessions import Graphs, Session, run_float32

Layout = tuple[int, int] | None
"""The first index and the number of pictures that were computed in one batch; None for whole aligned blocks."""


class Drawn(NamedTuple):
    """The outputs of `latents.onnx`: what a picture is decoded from."""

    latents: NDArray[np.float32]
    """float32 [count, dimensions]"""
    labels: NDArray[np.int64]
    """int64 [count], the class of each; −1 if the prior has no classes"""
    noise: NDArray[np.float32] | None = None
    """float32 [count, k], the noise for the detail stage; None without details"""

    def feed(self) -> dict[str, NDArray[np.float32]]:
        """The inputs of `decoder.onnx`, or of `detail.onnx` if there is noise."""
        return {"latent": self.latents} if self.noise is None else {"latent": self.latents, "noise": self.noise}


@dataclass(frozen=True)
class Part:
    """Some consecutive pictures, before they are joined to a `Samples`."""

    images: NDArray[Any]
    latents: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None
    noise: NDArray[np.float32] | None = None

    def cut(self, low: int, high: int, *, grey: bool) -> Part:
        """Pictures low … high−1, converted to grey levels if `grey`."""
        images = self.images[low:high]
        return Part(
            to_grey_levels(images) if grey else images,
            self.latents[low:high],
            None if self.labels is None else self.labels[low:high],
            None if self.noise is None else self.noise[low:high],
        )


@dataclass(frozen=True)
class Sampler:
    """Everything that pictures depend on besides their indices: the graphs, the resolved choice and the seed."""

    graphs: Graphs
    choice: Choice
    seed: int
    threads: int | None = None
    """cores for many pictures; None means one below 1024 pictures and all from there on"""

    def open(self) -> None:
        """Opens the graphs that are needed, so that their errors appear before any work."""
        for name in self.choice.graphs(self.graphs.manifest):
            _ = self.graphs[name]

    def run(self, start: int, count: int) -> Part:
        """Computes pictures start … start+count−1 in one batch.

        The model's default choice runs `generator.onnx`, which is what other languages run. Every other choice runs
        `latents.onnx` and then the decoder or the detail stage.
        """
        if self.choice.is_default(self.graphs.manifest):
            feed = _window(self.seed, start, count)
            images, latents = run_float32(self.graphs["generator"], ["image", "latent"], feed)
            return Part(images, latents)
        drawn = run_latents(self.graphs["latents"], self.seed, start, count, self.choice)
        (images,) = run_float32(self.graphs[self.choice.decoder], ["image"], drawn.feed())
        return Part(images, *drawn)

    def sample(self, start: int, count: int) -> Samples:
        """Pictures start … start+count−1: in one batch for fewer than 64 pictures, else in whole aligned blocks."""
        self.open()
        if count < FEW:
            return self._join([self.run(start, count)], start, (start, count))
        return self._join(list(self._blocks(start, count, grey=False)), start, None)

    def stream(self, start: int, count: int, chunk: int = 1024, *, grey: bool = False) -> Iterator[Samples]:
        """Pictures start … start+count−1 in chunks that end at multiples of `chunk`, each made of whole blocks of 32.

        Blocks begin at multiples of 32 counted from index 0, so that a picture doesn't depend on the range it is in.

        Args:
            start: index of the first picture.
            count: number of pictures.
            chunk: pictures in a chunk, a multiple of 32.
            grey: whether images are uint8 grey levels rather than float32.
        """
        self.open()
        first, position, end = start, start, start + count
        parts: list[Part] = []
        for part in self._blocks(start, count, grey=grey):
            parts.append(part)
            position += len(part.images)
            if position % chunk == 0 or position == end:
                yield self._join(parts, first, None)
                first, parts = position, []

    def _blocks(self, start: int, count: int, *, grey: bool) -> Iterator[Part]:
        def several(tasks: Sequence[tuple[int, int, int]]) -> list[Part]:
            return [self.run(first, BLOCK).cut(low, high, grey=grey) for first, low, high in tasks]

        workers = self.threads or (usable_cores() if count >= BULK else 1)
        for parts in in_order(several, grouped(block_ranges(start, count), count, workers), workers):
            yield from parts

    def _join(self, parts: Sequence[Part], start: int, layout: Layout) -> Samples:
        def joined(rows: Callable[[Part], Any]) -> Any:
            found = [rows(part) for part in parts]
            return found[0] if len(found) == 1 or found[0] is None else np.concatenate(found)

        images = joined(lambda part: part.images)
        labels = joined(lambda part: part.labels) if self.choice.has_labels(self.graphs.manifest) else None
        return Samples(
            images,
            joined(lambda part: part.latents),
            self.seed,
            np.int64(start) + np.arange(len(images)),
            self.choice,
            labels,
            joined(lambda part: part.noise),
            layout,
            self.graphs,
        )


def batches(indices: NDArray[np.int64], layout: Layout) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """The batches in which pictures were computed: first index, size, and which of the `indices` lie in it.

    Args:
        indices: int64 [n], in any order, with repetitions if need be.
        layout: how they were computed.
    """
    if not len(indices):
        return
    if layout is not None:
        yield *layout, np.arange(len(indices))
        return
    firsts = indices - indices % BLOCK
    order = np.argsort(firsts, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(firsts[order])) + 1):
        yield int(firsts[rows[0]]), BLOCK, rows


def find_labels(graphs: Graphs, seed: int, indices: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The classes of default samples, int64 [n], which `generator.onnx` doesn't return.

    They come from the tables of the fitted prior, or from an app's own session of `latents.onnx`; None without both.
    """
    if graphs.folder is None and "latents" not in graphs:
        return None
    if not len(indices):
        return np.empty(0, np.int64)
    ordered, back = np.unique(indices, return_inverse=True)
    found = []
    for run in np.split(ordered, np.flatnonzero(np.diff(ordered) != 1) + 1):  # consecutive indices
        first, count = int(run[0]), len(run)
        if graphs.folder is not None:
            found.append(graphs.prior().draw_labels(seed, first, count))
        else:
            found.append(run_latents(graphs["latents"], seed, first, count, Choice("fitted")).labels)
    return np.concatenate(found)[back]


def find_noise(
    graphs: Graphs, choice: Choice, seed: int, indices: NDArray[np.int64], layout: Layout
) -> NDArray[np.float32] | None:
    """The noise that the detail stage drew default samples with, float32 [n, k], to the byte.

    `latents.onnx` computes it in the batches that the pictures were computed in; None if there is no session for it.
    """
    if "latents" not in graphs or graphs.manifest.detail is None:
        return None
    noise = np.empty((len(indices), graphs.manifest.detail.noise), np.float32)
    for first, count, rows in batches(indices, layout):
        drawn = run_latents(graphs["latents"], seed, first, count, choice)
        noise[rows] = np.asarray(drawn.noise)[indices[rows] - first]
    return noise


def run_latents(session: Session, seed: int, start: int, count: int, choice: Choice) -> Drawn:
    """Runs `latents.onnx` once: latents, their classes and, if the choice has details, their noise."""
    names = ["latent", "labels", *(["noise"] if choice.detail else [])]
    latents, labels, *noise = session.run(names, _window(seed, start, count) | choice.feed())
    return Drawn(
        np.asarray(latents, np.float32),
        np.asarray(labels, np.int64),
        np.asarray(noise[0], np.float32) if noise else None,
    )


def _window(seed: int, start: int, count: int) -> dict[str, NDArray[np.generic]]:
    numbers = {"seed": seed, "start": start, "count": count}
    return {name: np.array(value, np.int64) for name, value in numbers.items()}
