"""Shards as tar files for WebDataset, whose members are the files of one picture after the other.

    000000262144.png    the picture
    000000262144.cls    the number of its class; missing if the prior has no classes
    000000262144.json   its index, label, class name and latent

Equal pictures give equal bytes with one version of Pillow: members have no date and no owner.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from .pictures import Picture, levels_of, pictures, plain_png
from .plan import Plan, Shard

BLOCK = 512
"""The bytes of a header; contents fill multiples of it."""

if TYPE_CHECKING:
    from vae_gen import Samples


def write_samples(file: IO[bytes], plan: Plan, chunks: Iterable[Samples]) -> None:
    """Writes a shard of samples, whose images are grey levels."""
    with tarfile.open(fileobj=cast(Any, file), mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for one in pictures(chunks, plan.model["class_names"]):
            for ending, content in members(one):
                info = tarfile.TarInfo(f"{one.key}.{ending}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def members(one: Picture) -> Iterator[tuple[str, bytes]]:
    """The files of a picture: the ending and the content of each."""
    yield "png", plain_png(one.levels)
    if one.label >= 0:
        yield "cls", str(one.label).encode()
    latent = [float(str(value)) for value in one.latent]  # the shortest number that is the same float32
    facts = {"index": one.index, "label": one.label, "class": one.class_name, "latent": latent}
    yield "json", json.dumps(facts).encode()


def has_indices(file: IO[bytes], shard: Shard) -> bool:
    """Whether a shard has the JSON file of each of its pictures once, in order."""
    found = [name for name, _ in _read(file) if name.endswith(".json")]
    return found == [f"{shard.start + at:012}.json" for at in range(shard.count)]


def read_samples(
    file: IO[bytes], first: int, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    """Reads rows of a shard: grey levels, latents and labels; −1 if the prior has no classes."""
    images, facts = [], []
    for name, content in _read(file):
        if name.endswith(".png"):
            images.append(content)
        elif name.endswith(".json"):
            facts.append(json.loads(content))
            if len(facts) == first + count:
                break
    latents = np.array([fact["latent"] for fact in facts[first:]], np.float32)
    labels = np.array([fact["label"] for fact in facts[first:]], np.int64)
    return np.stack([levels_of(png) for png in images[first:]]), latents, labels


def _read(file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yields the name and the content of each member, several times as fast as `tarfile`."""
    while (header := file.read(BLOCK)) and header[0]:
        size = int(header[124:135], 8)
        yield header[:100].rstrip(b"\0").decode(), file.read(size)
        file.read(-size % BLOCK)
