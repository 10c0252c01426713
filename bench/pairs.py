"""Two ways of doing something, timed in turn, so that what else the machine does meets both alike."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A row of the table: ours over a peer's."""

    name: str
    peer: str
    ours_seconds: float
    peer_seconds: float
    ratio: float
    """median of the ratios of neighbouring runs, ours over the peer's"""
    low: float
    high: float
    """quartiles of those ratios"""
    goal: float | None = None
    """which the ratio must not pass"""

    @property
    def met(self) -> str:
        """Whether the goal was, as a word."""
        return "" if self.goal is None else ("yes" if self.ratio <= self.goal else "no")


def compare(
    name: str, ours: Callable[[], object], peer_name: str, peer: Callable[[], object], *, rounds: int,
    goal: float | None = None,
) -> Pair:
    """Both timed in turn, the order changing each round (ours, peer, peer, ours, …), after one run of each."""
    ours(), peer()
    took: dict[str, list[float]] = {"ours": [], "peer": []}
    for at in range(rounds):
        for which in ("ours", "peer") if at % 2 == 0 else ("peer", "ours"):
            began = time.perf_counter()
            (ours if which == "ours" else peer)()
            took[which].append(time.perf_counter() - began)
    ratios = [a / b for a, b in zip(took["ours"], took["peer"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return Pair(
        name, peer_name, statistics.median(took["ours"]), statistics.median(took["peer"]), middle, low, high, goal
    )


def process(*command: str | Path, folder: Path) -> Callable[[], object]:
    """A whole process in a folder, on this interpreter where the command begins with python."""
    words = _words(command)

    def run() -> object:
        return subprocess.run(words, cwd=folder, check=True, capture_output=True)

    return run


MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_megabytes(*command: str | Path, folder: Path) -> float:
    """The largest resident set of a process, in MB.

    A small interpreter starts it, because a process's largest set begins as that of the one it was forked from.
    """
    words = [sys.executable, "-S", "-c", MEASURE, *_words(command)]
    done = subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True)
    return float(done.stdout) / 1e3


def _words(command: tuple[str | Path, ...]) -> list[str]:
    name, *rest = (str(word) for word in command)
    return [sys.executable if name == "python" else str(Path(sys.executable).parent / name), *rest]
