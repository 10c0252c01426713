"""All pictures of a source decoded once, into a folder of the user's cache which later runs read.

Files are decoded in chunks by several processes. A chunk is written aside and renamed, so a run that was killed goes on
with the chunks that are there, and two runs at once share them without harm: both would write the same bytes. When all
chunks are there they are joined into one file, in a new folder that is renamed into place.

The folder's name is a checksum of everything that the pixels depend on: the source's path, each file's path, size and
time, and how pictures are brought to one size. A changed file therefore makes a new cache and never a wrong one.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vae_gen import InputError, OutputError
from vae_gen.internal.files import beside, new_folder, remove_leftovers, write_file

from . import streamed
from .decoding import Facts, Frame, Source, digests_of, prepared
from .listing import Entry, Skipped
from .streamed import Pictures, in_file

VERSION = 2
"""Goes up when the same files would give other pixels than before, or when the cache has other files."""
CHUNK = 512
"""Files that one task decodes: 0.2 s of one core for PNGs of 64 pixels, and what a kill costs."""
CACHE_VARIABLE = "VAE_GEN_CACHE"
IMAGES, DIGESTS, INDEX = "images.npy", "digests.npy", "index.json"

Progress = Callable[[int, int, int], None]
"""Called with the number of files that are done, of all files, and of those that were skipped."""


@dataclass(frozen=True)
class Summary:
    """How many files are of what kind."""

    sizes: Mapping[str, int]
    """files of each size, as width×height"""
    modes: Mapping[str, int]
    """files of each Pillow mode"""
    animated: int
    """files with several frames"""

    @classmethod
    def of(cls, facts: Sequence[Facts]) -> Summary:
        """The summary of some files."""
        sizes = Counter(f"{each.width}x{each.height}" for each in facts)
        return cls(dict(sizes), dict(Counter(each.mode for each in facts)), sum(each.animated for each in facts))

    def __add__(self, other: Summary) -> Summary:
        sizes, modes = Counter(self.sizes) + Counter(other.sizes), Counter(self.modes) + Counter(other.modes)
        return Summary(dict(sizes), dict(modes), self.animated + other.animated)


@dataclass(frozen=True, eq=False)
class Cached:
    """The pictures of a source as the model sees them."""

    images: Pictures
    """uint8 [n, channels, height, width], mapped from the cache's file; read from it, if they are many"""
    rows: NDArray[np.int64]
    """int64 [n]: which of the listed entries each picture came from, ascending"""
    digests: NDArray[np.uint8]
    """uint8 [n, 16], a checksum of each picture"""
    facts: Summary
    """of the files that the pictures came from"""
    skipped: list[Skipped]
    """the entries that could not be used"""


def cache_root() -> Path:
    """Where caches are kept: VAE_GEN_CACHE if set, else vae-gen below XDG_CACHE_HOME, LOCALAPPDATA or ~/.cache."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    return Path(base).expanduser() / "vae-gen"


def cached_pictures(
    source: Path,
    entries: Sequence[Entry],
    frame: Frame,
    *,
    strict: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> Cached:
    """All pictures of a source, decoded now unless an earlier run did.

    Args:
        source: the folder or zip file.
        entries: the files, in the order that the pictures should have.
        frame: what each picture is brought to.
        strict: raise an error at the first file that cannot be used.
        workers: processes that decode. More than one need a main module that can be imported again.
        progress: called after each chunk.

    Raises:
        InputError: a file cannot be used, and `strict` is true.
        OutputError: the cache cannot be written.
    """
    key = _key(source, entries, frame)
    folder = cache_root() / "images" / key
    if not (folder / INDEX).exists():
        try:
            _build(source, entries, frame, folder, strict, workers, progress or (lambda done, total, skipped: None))
        except (OSError, OutputError):
            if not (folder / INDEX).exists():  # else another run was faster, and has removed the chunks
                raise
    try:
        index = json.loads((folder / INDEX).read_bytes())
        images, digests = _pictures(folder / IMAGES), np.load(folder / DIGESTS)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: expected a whole cache, got {error}; remove this folder") from error
    skipped = [Skipped(entries[row].file, reason) for row, reason in index["skipped"]]
    if strict and skipped:
        raise _strict_error(source, skipped[0])
    rows = np.delete(np.arange(len(entries)), np.array([row for row, _ in index["skipped"]], np.int64))
    return Cached(images, rows, digests, Summary(**index["facts"]), skipped)


def _pictures(path: Path) -> Pictures:
    """The pictures in an .npy of uint8, mapped into memory, or read from the file if they are many."""
    # Copy on write: PyTorch warns about read-only arrays, and nothing is ever written. Nothing can't be mapped.
    mapped: NDArray[np.uint8] = np.load(path, mmap_mode="c")
    if mapped.nbytes <= streamed.MOST_IN_MEMORY:
        return mapped
    return in_file(path, path.stat().st_size - mapped.nbytes, mapped.shape, mapped.dtype)


def cached_digests(
    source: Path, frame: Frame, max_images: int | None, count: int, make: Callable[[], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """The checksums of the pictures in large array files, uint8 [count, 16], made now unless an earlier run did.

    Args:
        source: the file, or the folder of IDX files.
        frame: what each picture is brought to.
        max_images: the setting of that name.
        count: how many pictures there are.
        make: reads all pictures, and returns their checksums.
    """
    files = [(file.name, file.stat()) for file in (sorted(source.iterdir()) if source.is_dir() else [source])]
    facts = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]
    head = json.dumps([VERSION, str(source.resolve()), facts, asdict(frame), max_images])
    path = cache_root() / "digests" / f"{hashlib.sha256(head.encode()).hexdigest()[:24]}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):
        found: NDArray[np.uint8] = np.load(path)
        if found.shape == (count, 16):
            return found
    digests = make()
    with contextlib.suppress(OSError, OutputError):  # without a place for them, the next run makes them again
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, _npy(digests))
    return digests


def _key(source: Path, entries: Sequence[Entry], frame: Frame) -> str:
    hasher = hashlib.sha256()
    head = {"version": VERSION, "source": str(source.resolve()), "frame": asdict(frame)}
    hasher.update(json.dumps(head, sort_keys=True).encode())
    for entry in entries:
        hasher.update(f"{entry.file}\0{entry.size}\0{entry.mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return hasher.hexdigest()[:24]


def _build(
    source: Path, entries: Sequence[Entry], frame: Frame, folder: Path, strict: bool, workers: int, progress: Progress
) -> None:
    """Decode every chunk that is not there yet, then join them all into `folder`."""
    parts = folder.with_name(folder.name + ".chunks")
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write the cache {parts}: {error.strerror}; set {CACHE_VARIABLE} to another folder"
        ) from error
    tasks = [
        (source, parts / f"{start:09d}", tuple(entries[start : start + CHUNK]), frame)
        for start in range(0, len(entries), CHUNK)
    ]
    done = skipped = 0
    try:
        for part, bad in _decoded_chunks(tasks, min(workers, len(tasks))):
            done += len(part)
            skipped += len(bad)
            progress(done, len(entries), skipped)
            if strict and bad:
                row, reason = bad[0]
                raise _strict_error(source, Skipped(part[row].file, reason))
    except OutputError as error:
        reason = str(error).split(";")[0]
        raise OutputError(f"{reason}; free some space, or set {CACHE_VARIABLE} to another folder") from error
    _join([task[1] for task in tasks], len(entries), frame, folder)
    shutil.rmtree(parts, ignore_errors=True)


def _strict_error(source: Path, skipped: Skipped) -> InputError:
    return InputError(
        f"{source}: {skipped.file}: expected a picture that can be used, got {skipped.reason}; "
        "repair or remove it, or leave --strict out"
    )


Task = tuple[Path, Path, tuple[Entry, ...], Frame]


def _decoded_chunks(tasks: Sequence[Task], workers: int) -> Iterator[tuple[tuple[Entry, ...], list[tuple[int, str]]]]:
    """The entries of each chunk as it is done, in whatever order, with the rows and reasons of those left out."""
    if workers <= 1:
        for task in tasks:
            yield task[2], _decode_chunk(task)
        return
    # "spawn", because a fork of a process with PyTorch's threads may hang. It starts Python in a way in which Python
    # would import modules from the current folder, such as a picture set's own pickle.py, unless this variable is set.
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        waiting: dict[Future[list[tuple[int, str]]], Task] = {}
        pending = iter(tasks)
        while True:
            for task in pending:  # a few tasks ahead, so that memory stays flat with millions of files
                waiting[pool.submit(_decode_chunk, task)] = task
                if len(waiting) >= 4 * workers:
                    break
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future)[2], future.result()
    except BrokenProcessPool as error:
        raise InputError(
            "expected worker processes that decode pictures, but one ended early, perhaps for want of memory; "
            "run again to go on, or with fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def _decode_chunk(task: Task) -> list[tuple[int, str]]:
    """Decode one chunk into its file unless it is there, and return the rows that were left out, with reasons."""
    source, path, entries, frame = task
    known = path.with_suffix(".json")
    if known.exists() and path.with_suffix(".npy").exists():
        return [(row, reason) for row, reason in json.loads(known.read_bytes())["skipped"]]
    files = Source(source)
    images, facts, skipped = [], [], []
    try:
        for row, entry in enumerate(entries):
            try:
                pixels, found = prepared(files.read(entry.file, entry.size), frame)
            except InputError as error:
                skipped.append((row, str(error)))
            else:
                images.append(pixels)
                facts.append(found)
    finally:
        files.close()
    array = np.stack(images) if images else np.empty((0, frame.channels, frame.height, frame.width), np.uint8)
    write_file(path.with_suffix(".npy"), _npy(array))
    index = {"digests": digests_of(array).tobytes().hex(), "facts": asdict(Summary.of(facts)), "skipped": skipped}
    write_file(known, json.dumps(index))  # last, as a mark
    return skipped


def _npy(array: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _join(parts: Sequence[Path], count: int, frame: Frame, folder: Path) -> None:
    """One file of all pictures and one index, in a folder that appears whole."""
    remove_leftovers(folder)
    with new_folder(folder.parent, beside(folder)) as aside:
        try:
            aside.chmod(0o700)  # for this user alone
            digests, facts = bytearray(), Summary({}, {}, 0)
            skipped: list[tuple[int, str]] = []
            for at, part in enumerate(parts):
                index = json.loads(part.with_suffix(".json").read_bytes())
                digests += bytes.fromhex(index["digests"])
                facts += Summary(**index["facts"])
                skipped += [(at * CHUNK + row, reason) for row, reason in index["skipped"]]
            shape = (count - len(skipped), frame.channels, frame.height, frame.width)
            with (aside / IMAGES).open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for part in parts:
                    file.write(np.load(part.with_suffix(".npy")).tobytes())
            write_file(aside / DIGESTS, _npy(np.frombuffer(digests, np.uint8).reshape(-1, 16)))
            write_file(aside / INDEX, json.dumps({"facts": asdict(facts), "skipped": skipped}))
            aside.replace(folder)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise OutputError(
                f"cannot write the cache {folder}: {error.strerror or error}; free some space, or set "
                f"{CACHE_VARIABLE} to another folder"
            ) from error
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
