"""Compares several ways to do something by measuring them in turn, so that other work on the machine affects all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True)
class Pair:
    """A comparison of our way with another one: a row of a table."""

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
    """the largest ratio that is good enough"""
    unit: str = "s"

    @property
    def met(self) -> str:
        """Whether the goal was met: "yes", "no", or "" without a goal."""
        return "" if self.goal is None else ("yes" if self.ratio <= self.goal else "no")


@dataclass(frozen=True)
class Peer:
    """Another way to do the same thing."""

    name: str
    work: Work
    goal: float | None = None
    before: Callable[[], None] | None = None
    """called before its turn, outside of the time that is measured"""


def seconds(work: Work, times: int = 1) -> float:
    """The seconds that one run takes, as the mean of several runs."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times


def compare(
    name: str, ours: Work, peers: Sequence[Peer], *, rounds: int, times: int = 1, warm: bool = True,
    measure: Callable[[Work, int], float] = seconds, unit: str = "s",
) -> Iterator[Pair]:
    """Yields a comparison with each peer. Each round measures all ways once, every other round in reverse order.

    Args:
        name: what is done.
        ours: our way to do it.
        peers: the other ways, at least one.
        rounds: the number of rounds, at least 2.
        times: the number of runs in one measurement.
        warm: whether each way is run once before.
        measure: measures a way, in `unit`.
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
    """The comparison of two lists of measurements that were taken in turn, at least two of each."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")  # never outside of the measured range
    return Pair(name, peer, statistics.median(ours), statistics.median(theirs), middle, low, high, goal, unit)


def fastest(candidates: Sequence[Peer], runs: int = 3) -> Peer:
    """The fastest of several settings of a peer on this machine, so that the comparison is fair."""
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
    """A count times the share of a trial, and not below `least`."""
    return max(least, round(count * share))
