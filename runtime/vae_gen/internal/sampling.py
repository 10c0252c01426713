"""Computes the samples of a seed: a few pictures in one batch, or many in whole aligned blocks of 32.

ONNX Runtime rounds a little differently in batches of different sizes (2.4e-7 between 3 and 256 pictures), and at
different places of a batch. Two consequences:

- Many pictures are computed in whole blocks that begin at multiples of 32, counted from index 0 of the seed. A picture
  is then equal to the byte whatever range was asked for.
- To compute a picture again to the byte, its row has to stand at the same place of a batch of the same size. A `Layout`
  describes that place, and `batches` restores it.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._pictures import Samples, to_grey_levels
from .choice import Choice, window
from .model import Graphs, Session
from .philox import standard_normals

if TYPE_CHECKING:
    from concurrent.futures import Future

Task = TypeVar("Task")
Result = TypeVar("Result")
Rows = dict[str, NDArray[Any]]
"""Arrays of consecutive pictures, by the names of the fields of `Samples`."""

BLOCK = 32
"""The number of pictures in a block. With blocks of 64 the default model makes 6 % fewer pictures a second, because its
feature maps no longer fit a core's second-level cache of 2 MB. With blocks of 16 it makes 6 % more, but the reference
model makes 13 % fewer, because each call of ONNX Runtime costs time."""

FEW = 64
"""`Sampler.sample` computes fewer pictures than this in one batch of exactly these pictures, which is faster than
whole blocks."""

BULK = 1024
"""From this number of pictures on, blocks are computed on all cores, unless the caller chose a number of threads."""

Layout = tuple[int, int] | None
"""How pictures were computed: the first index and the size of their one batch, or None for whole aligned blocks."""


class Drawn(NamedTuple):
    """The outputs of `latents.onnx`: what a picture is decoded from."""

    latents: NDArray[np.float32]
    """float32 [count, dimensions]"""
    labels: NDArray[np.int64]
    """int64 [count], the class of each; −1 if the prior has no classes"""
    noise: NDArray[np.float32] | None = None
    """float32 [count, k], the noise for the detail stage; None if the decoder makes the pictures"""

    def feed(self) -> dict[str, NDArray[np.float32]]:
        """The inputs of `decoder.onnx`, or of `detail.onnx` if there is noise."""
        return {"latent": self.latents} if self.noise is None else {"latent": self.latents, "noise": self.noise}


@dataclass(frozen=True)
class Sampler:
    """Makes the samples of one seed, from the graphs of one model and with one resolved choice.

    Pictures depend on these and on their indices; the number of threads changes nothing but the time.
    """

    graphs: Graphs
    choice: Choice
    seed: int
    threads: int | None = None
    """how many threads compute whole blocks; None means one below 1024 pictures, and otherwise one for each core"""

    def open(self) -> None:
        """Opens the graphs that the choice needs, so that their errors appear before any picture is computed."""
        for name in ("generator",) if self._by_generator else ("latents", self.choice.decoder):
            if name != "latents" or not self._without_latents:
                _ = self.graphs[name]

    def sample(self, start: int, count: int) -> Samples:
        """Makes pictures start … start+count−1: in one batch for fewer than 64 pictures, else in whole blocks."""
        if count < FEW:
            return self._join([self._run(start, count)], start, (start, count))
        return self._join(list(self._blocks(start, count, grey=False)), start, None)

    def stream(self, start: int, count: int, chunk: int = 1024, *, grey: bool = False) -> Iterator[Samples]:
        """Makes pictures start … start+count−1 in whole blocks, in chunks that end at multiples of `chunk`.

        Args:
            start: index of the first picture.
            count: number of pictures.
            chunk: the most pictures in a chunk, a multiple of 32; chunks end at indices that are multiples of it, so
                the first and the last may be smaller.
            grey: whether images are uint8 grey levels rather than float32.
        """
        first, position, end = start, start, start + count
        parts: list[Rows] = []
        for part in self._blocks(start, count, grey=grey):
            parts.append(part)
            position += len(part["images"])
            if position % chunk == 0 or position == end:
                yield self._join(parts, first, None)
                first, parts = position, []

    def _blocks(self, start: int, count: int, *, grey: bool) -> Iterator[Rows]:
        """Yields the pictures start … start+count−1 in order, in parts of up to 32.

        Each part is computed as a whole block, of which only the pictures in the range are kept. Several threads may
        compute blocks at the same time.
        """
        self.open()

        def run(tasks: Sequence[tuple[int, int, int]]) -> list[Rows]:
            parts = []
            for first, low, high in tasks:
                part = {name: rows[low:high] for name, rows in self._run(first, BLOCK).items()}
                parts.append(part | {"images": to_grey_levels(part["images"])} if grey else part)
            return parts

        threads = workers(self.threads, count)
        tasks = grouped(block_ranges(start, count), count, threads)
        return itertools.chain.from_iterable(in_order(run, tasks, threads))

    def _run(self, start: int, count: int) -> Rows:
        """Computes pictures start … start+count−1 in one batch.

        The model's default choice runs `generator.onnx`, which is what other languages run. Every other choice runs
        `latents.onnx` and then the decoder or the detail stage. So do all choices if another execution provider than
        the CPU's makes the pictures, because the random numbers are computed on the CPU in any case.
        """
        if self._by_generator:
            images, latents = self.graphs["generator"].run(["image", "latent"], window(self.seed, start, count))
            return {"images": np.asarray(images, np.float32), "latents": np.asarray(latents, np.float32)}
        drawn = self._draw(start, count)
        (images,) = self.graphs[self.choice.decoder].run(["image"], drawn.feed())
        found = {"images": np.asarray(images, np.float32), "latents": drawn.latents}
        labels = {"_labels": drawn.labels} if self.choice.has_labels(self.graphs.manifest) else {}
        noise = {} if drawn.noise is None else {"_noise": drawn.noise}
        return {**found, **labels, **noise}

    @property
    def _by_generator(self) -> bool:
        return self.choice.is_default(self.graphs.manifest) and self.graphs.on_cpu

    @property
    def _without_latents(self) -> bool:
        """Whether the model is a folder from before there were fitted priors, which has no latents.onnx."""
        return self.graphs.folder is not None and "latents" not in self.graphs

    def _draw(self, start: int, count: int) -> Drawn:
        if not self._without_latents:
            return run_latents(self.graphs["latents"], self.seed, start, count, self.choice)
        latents = standard_normals(self.seed, start, count, self.graphs.manifest.latent.dimensions)
        return Drawn(latents, np.full(count, -1))

    def _join(self, parts: Sequence[Rows], start: int, layout: Layout) -> Samples:
        if len(parts) == 1:  # copied, because the array of a session belongs to ONNX Runtime
            rows = {name: values.copy() for name, values in parts[0].items()}
        else:
            rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        indices = np.arange(len(rows["images"]), dtype=np.int64) + start
        return Samples(
            seed=self.seed, indices=indices, choice=self.choice, _layout=layout, _graphs=self.graphs, **rows
        )


def run_latents(session: Session, seed: int, start: int, count: int, choice: Choice) -> Drawn:
    """Runs latents.onnx once, for the pictures start … start+count−1 of a seed."""
    names = ["latent", "labels", *(["noise"] if choice.detail else [])]
    latents, labels, *noise = session.run(names, window(seed, start, count) | choice.feed())
    return Drawn(
        np.asarray(latents, np.float32),
        np.asarray(labels, np.int64),
        np.asarray(noise[0], np.float32) if noise else None,
    )


def batches(indices: NDArray[np.int64], layout: Layout) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Yields each batch in which pictures were computed.

    An item has the batch's first index, its size, and the positions in `indices` of the pictures that lie in it.

    Args:
        indices: int64 [n], in any order, perhaps with repetitions.
        layout: how the pictures were computed.
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

    They come from the tables of the fitted prior in the model folder, or else from an app's own session of
    `latents.onnx`; None if there is neither.
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
    """Computes again the noise of default samples for the detail stage, float32 [n, k], equal to the byte.

    `latents.onnx` computes it in the batches that the pictures were computed in. None if the model has no detail stage
    or there is no session of `latents.onnx`.
    """
    if "latents" not in graphs or graphs.manifest.detail is None:
        return None
    noise = np.empty((len(indices), graphs.manifest.detail.noise), np.float32)
    for first, count, rows in batches(indices, layout):
        drawn = run_latents(graphs["latents"], seed, first, count, choice)
        noise[rows] = np.asarray(drawn.noise)[indices[rows] - first]
    return noise


def usable_cores() -> int:
    """The number of processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers(threads: int | None, count: int) -> int:
    """The number of threads that compute `count` pictures in all: `threads` if it is given.

    None means one thread for fewer than 1024 pictures, and otherwise one for each core.
    """
    return threads or (usable_cores() if count >= BULK else 1)


def block_ranges(start: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Yields the aligned blocks that cover the pictures start … start+count−1.

    An item has the first index of the block, and the slice of its rows that lies in the range: its begin and its end.
    """
    for first in range(start - start % BLOCK, start + count, BLOCK):
        yield first, max(start - first, 0), min(start + count - first, BLOCK)


def grouped(
    ranges: Iterable[tuple[int, int, int]], count: int, threads: int
) -> Iterator[list[tuple[int, int, int]]]:
    """Groups blocks into tasks of up to four, because handing over a task takes as long as computing two pictures.

    Tasks are smaller if a thread would otherwise get fewer than eight of them, so that all threads end together.
    """
    size = max(1, min(4, count // (BLOCK * 8 * threads)))
    remaining = iter(ranges)
    while group := list(itertools.islice(remaining, size)):
        yield group


def in_order(work: Callable[[Task], Result], tasks: Iterable[Task], threads: int) -> Iterator[Result]:
    """Runs `work` on each task in threads, and yields the results in the order of the tasks.

    At most 4 × threads results are in memory. ONNX Runtime releases the interpreter's lock while it computes, so the
    threads run side by side: with the reference model, two of these threads made 1.7 times as many pictures a second
    as one, and two threads of ONNX Runtime itself no more than one.
    """
    if threads <= 1:
        yield from map(work, tasks)
        return
    from concurrent.futures import ThreadPoolExecutor  # takes 10 ms with logging, which a few pictures don't need

    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(work, task))
                if len(waiting) >= 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # a consumer that stops early leaves nothing running
            for future in waiting:
                future.cancel()
