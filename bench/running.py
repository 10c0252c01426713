"""Ways to run things: whole processes, with their time and memory, and plain sessions of ONNX Runtime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

MEASURE = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
took = time.perf_counter() - began
print(json.dumps([took, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""

RSS_BYTES = 1 if sys.platform == "darwin" else 1024
"""The unit of ru_maxrss, in bytes."""


def process(*command: str | Path, folder: Path) -> Callable[[], object]:
    """A function that runs a command in a folder. "python" stands for this interpreter."""
    words = _words(command)

    def run() -> object:
        return subprocess.run(words, cwd=folder, env=_environment(), check=True, capture_output=True)

    return run


def cost(*command: str | Path, folder: Path) -> tuple[float, float]:
    """The seconds that a process takes, and its largest resident set in MB (10⁶ bytes).

    A small interpreter starts the process, because the largest resident set of a process counts from that of its
    parent.
    """
    words = [sys.executable, "-S", "-c", MEASURE, *_words(command)]
    done = subprocess.run(words, cwd=folder, env=_environment(), check=True, capture_output=True, text=True)
    took, largest = json.loads(done.stdout)
    return float(took), largest * RSS_BYTES / 1e6


def peak_megabytes(*command: str | Path, folder: Path) -> float:
    """The largest resident set of a process in MB."""
    return cost(*command, folder=folder)[1]


def _words(command: tuple[str | Path, ...]) -> list[str]:
    name, *rest = (str(word) for word in command)
    return [sys.executable if name == "python" else str(Path(sys.executable).parent / name), *rest]


def _environment() -> dict[str, str]:
    """The environment, in which Python keeps compiled modules, as it does for installed packages.

    Without them `vae-gen sample -n 50` takes a seventh more time.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


Feed = Mapping[str, NDArray[Any]]


def session(model: Path | bytes, threads: int | None = None) -> onnxruntime.InferenceSession:
    """A plain session, with a number of threads or, with None, the library's choice."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def window(seed: int, start: int, count: int) -> dict[str, NDArray[np.int64]]:
    """The inputs of generator.onnx."""
    return {name: np.array(value, np.int64) for name, value in (("seed", seed), ("start", start), ("count", count))}


def one_session(path: Path, count: int, batch: int = 1000) -> Callable[[], None]:
    """A function that makes `count` pictures with one plain session of a generator and drops them."""
    plain = session(path)

    def run() -> None:
        for at in range(0, count, batch):
            plain.run(None, window(7, at, min(batch, count - at)))

    return run


def side_by_side(path: Path, count: int, threads: int, batch: int = 64) -> Callable[[], None]:
    """A function that does the same with one-thread sessions in threads of Python, which share the batches."""
    sessions = [session(path, 1) for _ in range(threads)]

    def run() -> None:
        starts = iter(range(0, count, batch))

        def work(mine: onnxruntime.InferenceSession) -> None:
            for at in starts:  # shared by all threads; taking the next item is safe
                mine.run(None, window(7, at, min(batch, count - at)))

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, sessions))

    return run

