"""Makes one shard. Every engine calls `make_shard` in whatever process it likes; an engine only schedules."""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from vae_gen import InputError

from .place import open_place
from .plan import BY_CLASS, Plan, Shard

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vae_gen import VAE, Posterior, Samples
    from vae_gen.internal.sampling import Sampler

    from .inputs import Inputs

PIECE = 512
"""The pictures that `encode` has in memory at a time, a multiple of 32. Their losses take 40 bytes for each pixel."""
CHOICE = ("prior", "label", "temperature", "detail")
"""The options of a plan of `sample` that are a `Choice`."""
CHUNK = 4096
"""The pictures that are computed before they are written; a row group of a Parquet file."""


@dataclass(frozen=True)
class Job:
    """The arguments with which any process can make any shard of a bulk folder. It can be pickled."""

    plan: Plan
    model: str
    """the model folder"""
    address: str
    """the bulk folder, as `open_place` reads it"""
    threads: int | None = None
    """how many cores a shard is computed on; None for all of them"""
    provider: str = "cpu"
    inputs: tuple[str, ...] = ()
    """the files and folders of `encode`, as they were given"""
    here: str = ""
    """the folder that their relative paths begin at"""


def make_shard(job: Job, shard: Shard, progress: Callable[[int], None] = lambda count: None) -> dict[str, Any]:
    """Makes one shard, and returns what its JSON file says about it.

    The shard is written aside and renamed. Its JSON file is written last, and so is a promise that the shard is there.

    Args:
        job: the job that the shard belongs to.
        shard: one of its shards.
        progress: is called with the number of pictures in each chunk that was written.
    """
    place, name = open_place(job.address), job.plan.file(shard)
    with place.write(name) as file:
        hashed = Hashing(file)
        write_shard(job, shard, cast(BinaryIO, hashed), progress)
    facts = {"start": str(shard.start), "count": shard.count, "bytes": hashed.size, "sha256": hashed.sha256}
    with place.write(shard.sidecar) as file:
        file.write(json.dumps(facts).encode() + b"\n")
    return facts


def write_shard(job: Job, shard: Shard, file: IO[bytes], progress: Callable[[int], None]) -> None:
    """Writes the content of a shard to a file that is open, in the plan's format."""
    from . import by_class, parquet, webdataset

    if job.plan.command == "encode":
        parquet.write_latents(file, job.plan, encoded(job, shard, progress))
    elif job.plan.format == "webdataset":
        webdataset.write_samples(file, job.plan, sampled(job, shard, progress))
    elif job.plan.format == BY_CLASS:
        by_class.write_samples(file, job, shard, sampled(job, shard, progress))
    else:
        parquet.write_samples(file, job.plan, sampled(job, shard, progress))


def sampled(job: Job, shard: Shard, progress: Callable[[int], None]) -> Iterator[Samples]:
    """Makes the pictures of a shard as grey levels, in chunks that end at multiples of 4096."""
    sampler = sampler_of(job.plan, open_model(job.model, job.threads, job.provider))
    for chunk in sampler.stream(shard.start, shard.count, CHUNK, grey=True):
        yield chunk
        progress(len(chunk))


def sampler_of(plan: Plan, vae: VAE) -> Sampler:
    """The sampler that makes the pictures of a plan of `sample`."""
    from vae_gen.internal.choice import Choice

    options = {name: plan.options[name] for name in CHOICE}
    return vae._sampler(Choice(**options), int(plan.options["seed"]))


class Encoded(NamedTuple):
    """The posteriors of consecutive pictures."""

    indices: NDArray[np.int64]
    """int64 [n], the place of each picture among all inputs"""
    names: list[str]
    """the file of each picture; the number follows if a file has several"""
    posterior: Posterior
    """mean and log-variance, each float32 [n, dimensions]"""
    familiar: NDArray[np.bool_]
    """bool [n], whether a picture resembles the training images"""


def encoded(job: Job, shard: Shard, progress: Callable[[int], None]) -> Iterator[Encoded]:
    """Finds the posteriors of the pictures of a shard, in chunks that end at multiples of 4096."""
    from vae_gen.internal.sampling import usable_cores

    threads = job.threads or usable_cores()  # not one, which is the default for so few pictures at a time
    vae = open_model(job.model, threads, job.provider)
    inputs = open_inputs(job.inputs, job.here, job.plan.options["inputs"], vae)
    end = shard.start + shard.count
    for low in range(shard.start, end, CHUNK):
        high = min(low + CHUNK, end)
        parts = [_encode(job, vae, inputs, threads, at, min(at + PIECE, high)) for at in range(low, high, PIECE)]
        yield _joined(parts)
        progress(high - low)


def _encode(job: Job, vae: VAE, inputs: Inputs, threads: int, low: int, high: int) -> Encoded:
    """Finds the posteriors of the pictures low … high−1."""
    import numpy as np

    from vae_gen.internal.losses import losses_of

    options, manifest = job.plan.options, vae.manifest
    names, images = inputs.read(low, high, manifest.image, options["invert"], options["trim"], threads)
    posterior = vae.encode(images)
    made = vae.decode(posterior.mean, detail=False)
    familiar = losses_of(images, made, posterior, manifest.pixel_variance, manifest.familiar).familiar
    return Encoded(np.arange(low, high), names, posterior, familiar)


def _joined(parts: Sequence[Encoded]) -> Encoded:
    import numpy as np

    from vae_gen import Posterior

    mean, log_variance = (np.concatenate([part.posterior[at] for part in parts]) for at in (0, 1))
    return Encoded(
        np.concatenate([part.indices for part in parts]),
        list(itertools.chain.from_iterable(part.names for part in parts)),
        Posterior(mean, log_variance),
        np.concatenate([part.familiar for part in parts]),
    )


@functools.lru_cache(maxsize=1)
def open_inputs(paths: tuple[str, ...], here: str, checksum: str, vae: VAE) -> Inputs:
    """The list of the pictures that a job encodes, which stays in this process for the next shard.

    Raises:
        InputError: the files are not those that the checksum describes.
    """
    from .inputs import find_inputs

    found = find_inputs(paths, here, vae.manifest)
    if found.checksum != checksum:
        raise InputError(f"{paths[0]}: expected the files that the command began with, got others; begin again")
    return found


@functools.lru_cache(maxsize=1)
def open_model(model: str, threads: int | None, provider: str) -> VAE:
    """The model of a job, which stays open in this process for the next shard."""
    from vae_gen import VAE

    return VAE(model, threads=threads, provider=provider)


class Hashing(io.RawIOBase):
    """A file that also computes the SHA-256 of what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash, self.size = file, hashlib.sha256(), 0

    @property
    def sha256(self) -> str:
        """The SHA-256 of all bytes so far, in hexadecimal digits."""
        return self._hash.hexdigest()

    def writable(self) -> bool:
        """A hashing file can be written to, and not read."""
        return True

    def tell(self) -> int:
        """The number of bytes that were written."""
        return self.size

    def write(self, content: Any) -> int:
        """Writes bytes, and returns how many."""
        self._file.write(content)
        self._hash.update(content)
        self.size += len(content)
        return len(content)
