"""Several ways of doing something, measured in turn, so that what else the machine does meets all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True)
class Pair:
    """A row of the table: ours over a peer's."""

    name: str
    peer: str
    ours: float
    theirs: float
    """medians, in `unit`"""
    ratio: float
    """median of the ratios of one round's measurements, ours over the peer's"""
    low: float
    high: float
    """quartiles of those ratios"""
    goal: float | None = None
    """which the ratio must not pass"""
    unit: str = "s"

    @property
    def met(self) -> str:
        """Whether the goal was, as a word."""
        return "" if self.goal is None else ("yes" if self.ratio <= self.goal else "no")


@dataclass(frozen=True)
class Peer:
    """Another way of doing the same."""

    name: str
    work: Work
    goal: float | None = None
    before: Callable[[], None] | None = None
    """what must be set before its turn, outside the clock"""


def seconds(work: Work, times: int = 1) -> float:
    """Of one run, over so many that the clock's grain does not count."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times


def compare(
    name: str, ours: Work, peers: Sequence[Peer], *, rounds: int, times: int = 1, warm: bool = True,
    measure: Callable[[Work, int], float] = seconds, unit: str = "s",
) -> Iterator[Pair]:
    """A row for each peer. Each round measures all of them once, every other round in the opposite order.

    Args:
        name: what is done.
        ours: how we do it.
        peers: how others do it, at least one.
        rounds: how often, at least 2.
        times: runs in one measurement.
        warm: run each once before.
        measure: what is taken of a work, in `unit`.
        unit: s or MB.
    """
    ways = [Peer("ours", ours), *peers]
    took: list[list[float]] = [[] for _ in ways]
    for at in range(-1 if warm else 0, rounds):
        for which in range(len(ways)) if at % 2 == 0 or at < 0 else reversed(range(len(ways))):
            if (before := ways[which].before) is not None:
                before()
            if at < 0:
                ways[which].work()
            else:
                took[which].append(measure(ways[which].work, times))
    for peer, theirs in zip(peers, took[1:], strict=True):
        yield paired(name, peer.name, took[0], theirs, peer.goal, unit)


def paired(
    name: str, peer: str, ours: Sequence[float], theirs: Sequence[float], goal: float | None = None, unit: str = "s"
) -> Pair:
    """The row of measurements that were taken in turn, at least two of each."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")  # never outside of what was seen
    return Pair(name, peer, statistics.median(ours), statistics.median(theirs), middle, low, high, goal, unit)


def fastest(candidates: Sequence[Peer], runs: int = 3) -> Peer:
    """Of several settings of a peer, the one that is fastest here, so that it is met at its best."""
    if len(candidates) == 1:
        return candidates[0]
    took = []
    for peer in candidates:
        if peer.before is not None:
            peer.before()
        peer.work()
        took.append(min(seconds(peer.work) for _ in range(runs)))
    return candidates[took.index(min(took))]


def scaled(count: float, share: float, least: int = 2) -> int:
    """A share of a count, for trials."""
    return max(least, round(count * share))
