"""The default engine: one shard after the other in this process, each of them computed on all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .plan import Shard
from .work import Job, make_shard


def run_local(job: Job, shards: Iterable[Shard], progress: Callable[[int], None]) -> None:
    """Makes these shards.

    Args:
        job: the job that the shards belong to.
        shards: those that are missing.
        progress: is called with the number of pictures that were made since the last call.
    """
    for shard in shards:
        make_shard(job, shard, progress)
