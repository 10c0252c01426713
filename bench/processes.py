"""Whole processes, as a user waits for them: what they take in seconds and in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

MEASURE = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
took = time.perf_counter() - began
print(json.dumps([took, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""

RSS_BYTES = 1 if sys.platform == "darwin" else 1024
"""The unit of ru_maxrss."""


def process(*command: str | Path, folder: Path) -> Callable[[], object]:
    """A whole process in a folder, on this interpreter where the command begins with python."""
    words = _words(command)

    def run() -> object:
        return subprocess.run(words, cwd=folder, check=True, capture_output=True)

    return run


def cost(*command: str | Path, folder: Path) -> tuple[float, float]:
    """Seconds of a whole process, and the largest resident set of it in MB (10⁶ bytes).

    A small interpreter starts it, because a process's largest set begins as that of the one it was forked from.
    """
    words = [sys.executable, "-S", "-c", MEASURE, *_words(command)]
    done = subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True)
    took, largest = json.loads(done.stdout)
    return float(took), largest * RSS_BYTES / 1e6


def peak_megabytes(*command: str | Path, folder: Path) -> float:
    """The largest resident set of a process, in MB."""
    return cost(*command, folder=folder)[1]


def _words(command: tuple[str | Path, ...]) -> list[str]:
    name, *rest = (str(word) for word in command)
    return [sys.executable if name == "python" else str(Path(sys.executable).parent / name), *rest]
