"""The plan of a bulk folder: what is made, cut into shards that any process can make by itself.

A bulk folder looks like this:

    _manifest.json             the plan, written before anything else
    part-000000000000.parquet  the shard that begins with picture 0
    _part-000000000000.json    its count, size and SHA-256, written when the shard is complete
    part-000000262144.parquet  …

Pyarrow, pandas and Spark pass over names that begin with an underscore when they read a whole folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vae_gen import InputError, UsageError
from vae_gen.internal.choice import LARGEST_TEMPERATURE
from vae_gen.internal.files import Json
from vae_gen.internal.sampling import BLOCK  # shards begin where blocks begin

MANIFEST = "_manifest.json"
MOST_SHARDS = 1_000_000
"""The most shards of a folder; each has two files."""
BY_CLASS = "folder-by-class"
"""The format whose shards are many PNGs; the file of a shard is the list of them."""
LIST = "labels.csv"
"""The file of that format which lists all pictures."""
SUFFIXES = {"parquet": ".parquet", "webdataset": ".tar", BY_CLASS: ".csv"}
"""How the names of shards end in each format."""


@dataclass(frozen=True)
class Shard:
    """The consecutive pictures that one file of a bulk folder has."""

    start: int
    """the index of the first picture"""
    count: int

    @property
    def stem(self) -> str:
        """The name without its ending: `part-000000262144`."""
        return f"part-{self.start:012}"

    @property
    def sidecar(self) -> str:
        """The name of the JSON file that describes the shard."""
        return f"_{self.stem}.json"


@dataclass(frozen=True)
class Plan:
    """All that the bytes of a bulk folder depend on."""

    command: str
    """sample or encode"""
    format: str
    """parquet, …"""
    start: int
    """the index of the first picture"""
    count: int
    """the number of pictures in all shards"""
    shard_size: int
    """shards begin at multiples of this index, so that they do not depend on the range"""
    options: Mapping[str, Any]
    """the command's options after the model's defaults were filled in"""
    model: Mapping[str, Any]
    """the name and version of the model, the shape of its pictures, its classes, and the SHA-256 of its files"""
    versions: Mapping[str, str]
    """the versions of vae-gen and of the packages that compute and write"""

    def text(self) -> str:
        """The content of _manifest.json."""
        return json.dumps({"bulk": 1, **asdict(self), "start": str(self.start)}, indent=1) + "\n"

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> Plan:
        """Reads the content of a _manifest.json.

        Raises:
            InputError: it is not the manifest of a bulk folder.
        """
        document = Json.parse(text, where, InputError, "name another folder")
        if document["bulk"].whole(1) != 1:
            raise InputError(f"{where}: expected a bulk folder of version 1; use a newer vae-gen")
        command = document["command"].one_of("sample", "encode")
        _check_options(document["options"], command)
        _check_model(document["model"])
        shard_size = document["shard_size"].whole(BLOCK)
        return cls(
            command=command,
            format=document["format"].one_of(*SUFFIXES),
            start=document["start"].decimal(),
            count=document["count"].whole(1, shard_size * MOST_SHARDS),
            shard_size=shard_size,
            options=document["options"].mapping(),
            model=document["model"].mapping(),
            versions=document["versions"].mapping(),
        )

    def facts(self) -> dict[str, Any]:
        """What each shard records about its pictures. It does not depend on the range of the command."""
        return {"command": self.command, **self.options, "model": self.model, "versions": self.versions}

    def file(self, shard: Shard) -> str:
        """The name of a shard's file."""
        return ("_" if self.format == BY_CLASS else "") + shard.stem + SUFFIXES[self.format]

    def shards(self) -> list[Shard]:
        """All shards in order; they end at multiples of `shard_size`, and the last one where the pictures end."""
        end = self.start + self.count
        first = self.start - self.start % self.shard_size
        bounds = ((max(low, self.start), min(low + self.shard_size, end)) for low in range(first, end, self.shard_size))
        return [Shard(low, high - low) for low, high in bounds]

    def share(self, part: tuple[int, int] | None) -> list[Shard]:
        """The shards of share I of N, of which each has every N-th shard and so equal work; None means all shards."""
        return self.shards() if part is None else self.shards()[part[0] :: part[1]]

    def check_number_of_shards(self) -> None:
        """Refuses a plan with too many shards.

        Raises:
            UsageError: it has more than a million.
        """
        shards = -(-(self.start % self.shard_size + self.count) // self.shard_size)
        if shards > MOST_SHARDS:
            needed = -(-self.count // (MOST_SHARDS - 1) // BLOCK) * BLOCK
            raise UsageError(
                f"expected at most {MOST_SHARDS} shards, got {shards}; choose a --shard-size of {needed} or more"
            )

    def difference(self, other: Plan) -> str | None:
        """The first value that differs from another plan's, in words: `seed 8 in place of 7`; None if none does."""
        mine, others = dict(_values(json.loads(self.text()))), dict(_values(json.loads(other.text())))
        keys = [key for key in {**mine, **others} if mine.get(key) != others.get(key)]
        return f"{keys[0]} {mine.get(keys[0], 'none')} in place of {others.get(keys[0], 'none')}" if keys else None


def _check_options(options: Json, command: str) -> None:
    """Checks the options in a manifest that a later command reads, because the manifest may come from a stranger."""
    if command == "encode":
        options["inputs"].text()
        return
    options["seed"].decimal()
    options["prior"].one_of("normal", "fitted")
    options["temperature"].number(0, LARGEST_TEMPERATURE)
    options["detail"].flag()
    if options["label"].value is not None:
        options["label"].whole(0)


def _check_model(model: Json) -> None:
    """Checks what a manifest records of a model, of which later commands read the name, the shapes and the classes."""
    model["name"].text()
    model["version"].text()
    model["image_shape"].items(lambda side: side.whole(1, 4096))
    model["latent_dim"].whole(1, 4096)
    model["class_names"].items(Json.text)
    model["sha256"].mapping()


def check_shard_size(shard_size: int) -> None:
    """Refuses a size of shards that is not a multiple of 32.

    Raises:
        UsageError: it is not.
    """
    if shard_size % BLOCK:
        raise UsageError(f"expected a --shard-size that is a multiple of {BLOCK}, got {shard_size}")


def parse_share(text: str) -> tuple[int, int]:
    """Reads the value of --shard: `0/4` is the first of four shares.

    Raises:
        UsageError: it is no such value.
    """
    part, slash, parts = text.partition("/")
    digits = all(word.isascii() and word.isdigit() and len(word) < 10 for word in (part, parts))
    if not slash or not digits or not int(part) < int(parts):
        raise UsageError(f"expected --shard I/N with I from 0 to N-1, such as 0/4, got {text[:60]!r}")
    return int(part), int(parts)


def _values(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the values of nested objects, with names such as `model.version`; those of `options` have no prefix."""
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _values(value, "" if key == "options" else f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
