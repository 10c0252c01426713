"""ONNX Runtime as anyone would use it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Feed = Mapping[str, NDArray[Any]]


def session(model: Path | bytes, threads: int | None = None) -> onnxruntime.InferenceSession:
    """A plain session, with so many threads or the library's own choice."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def window(seed: int, start: int, count: int) -> dict[str, NDArray[np.int64]]:
    """What a generator is fed."""
    return {name: np.array(value, np.int64) for name, value in (("seed", seed), ("start", start), ("count", count))}


def one_session(path: Path, count: int, batch: int = 1000) -> Callable[[], None]:
    """So many pictures of a generator by one plain session with default options, in memory."""
    plain = session(path)

    def run() -> None:
        for at in range(0, count, batch):
            plain.run(None, window(7, at, min(batch, count - at)))

    return run


def side_by_side(path: Path, count: int, threads: int, batch: int = 64) -> Callable[[], None]:
    """The same by one-thread sessions, each in a thread of Python, that take batches as they get free; in memory."""
    sessions = [session(path, 1) for _ in range(threads)]

    def run() -> None:
        starts = iter(range(0, count, batch))

        def work(mine: onnxruntime.InferenceSession) -> None:
            for at in starts:  # shared: a range's next is one step under the lock
                mine.run(None, window(7, at, min(batch, count - at)))

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, sessions))

    return run

