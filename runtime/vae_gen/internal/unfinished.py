"""Arrays and folders of pictures that a later command continues if the one that makes them is killed.

Such an output is made in a hidden folder beside its place, or in it if it is a folder that exists:

    .pictures.npz.1a2b3c4d.part/
        record.json   the options and the model that make the pictures; only a command with the same ones continues them
        journal       for each part of up to 1024 pictures that was written a line of JSON, which ends in a checksum
        content       the file or the folder that becomes the output
        latents.npy   and others: the arrays of an .npz that follow the images

What lies behind the last whole line of the journal is made again. After a crash of the machine, a line may describe
bytes that never came to the disk; so a command that continues reads everything, and keeps what comes before the first
part whose checksum is wrong. Bytes that are kept are written again to the same places, which needs no space.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._errors import UsageError
from . import files
from .saving import Part, file_name, open_again

RECORD, JOURNAL = "record.json", "journal"


class Unfinished:
    """The hidden folder in which a bulk output is made, and how many pictures in it an earlier command has made."""

    def __init__(self, folder: Path, target: Path) -> None:
        self.folder, self.content, self.target = folder, folder / files.CONTENT, target
        self.kept = 0
        """how many pictures of an earlier command are kept; known when they were read"""
        self._kept_lines = 0  # the bytes of the journal that describe them

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Opens the file that becomes the output."""
        with open_again(self.content) as opened:
            file = cast(BinaryIO, opened)
            yield file
            file.truncate()
            files.on_disk(file)

    def parts(
        self, shape: tuple[int, ...], dtype: DTypeLike, file: IO[bytes], made: Callable[[int], Iterable[Part]]
    ) -> Iterator[Part]:
        """Yields the parts of an array: those that are kept, and then new ones.

        Args:
            shape: the shape of one picture.
            dtype: the dtype of the pictures.
            file: what `open` returned, to which each part is written before the next one is asked for.
            made: makes the pictures from this number on.
        """
        first = 0
        for line, size in self._lines():
            part = self._read(line, first, shape, dtype)
            if part is None:
                break
            first += line["pictures"]
            self._keep(line["pictures"], size)
            yield part
        for part in made(self.kept):
            yield part
            file.flush()
            self._note(pictures=len(part.images), end=file.tell(), rows=list(part.rows), checksum=_checksum(part))

    def write_files(self, start: int, last: int, made: Callable[[int], Iterable[Iterable[bytes]]]) -> None:
        """Writes a file for each picture, except for those that are kept.

        Args:
            start: the index of the first picture.
            last: the index of the last picture.
            made: makes the files of the pictures from this number on, part by part.

        Raises:
            OutputError: a file that is there is read-only.
        """
        if (self.folder / files.COMPLETE).exists():  # and some were moved already
            self.kept = last + 1 - start
            list(made(self.kept))
            return
        if self.target.is_dir():  # checked now and not only in the end
            for index in range(start, last + 1):
                file = self.target / file_name(index, last)
                files.check_not_read_only(file, file)
        self.content.mkdir(exist_ok=True)
        for line, size in self._lines():
            checksum = 0
            first = start + self.kept
            try:
                for index in range(first, first + line["pictures"]):
                    checksum = zlib.crc32((self.content / file_name(index, last)).read_bytes(), checksum)
            except OSError:
                break
            if checksum != line["checksum"]:
                break
            self._keep(line["pictures"], size)
        index = start + self.kept
        for part in made(self.kept):
            first, checksum = index, 0
            for content in part:
                (self.content / file_name(index, last)).write_bytes(content)
                index, checksum = index + 1, zlib.crc32(content, checksum)
            self._note(pictures=index - first, checksum=checksum)

    @property
    def is_worth_keeping(self) -> bool:
        """Whether a later command would keep pictures."""
        return (self.folder / JOURNAL).exists()

    def _lines(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Yields the lines of the journal with their lengths, until the first that was not written to its end."""
        with contextlib.suppress(OSError, ValueError):
            for line in (self.folder / JOURNAL).read_bytes().splitlines(keepends=True):
                if line.endswith(b"\n"):
                    yield json.loads(line), len(line)

    def _keep(self, pictures: int, size: int) -> None:
        self.kept += pictures
        self._kept_lines += size

    def _note(self, **facts: Any) -> None:
        """Adds a line to the journal, behind those of the parts that are kept."""
        with open_again(self.folder / JOURNAL) as journal:
            journal.seek(self._kept_lines)
            line = json.dumps(facts).encode() + b"\n"
            journal.write(line)
            journal.truncate()
        self._kept_lines += len(line)

    def _read(self, line: Mapping[str, Any], first: int, shape: tuple[int, ...], dtype: DTypeLike) -> Part | None:
        """Reads a part of an array, or returns None if it is not what was written."""
        count = line["pictures"]
        try:
            with self.content.open("rb") as file:
                file.seek(line["end"] - count * math.prod(shape) * np.dtype(dtype).itemsize)
                images = _array(file, count, shape, dtype)
            rows = {}
            for name in line["rows"]:
                with (self.folder / f"{name}.npy").open("rb") as file:
                    np.lib.format.read_magic(file)
                    whole, _, kind = np.lib.format.read_array_header_1_0(file)
                    file.seek(first * math.prod(whole[1:]) * kind.itemsize, os.SEEK_CUR)
                    rows[name] = _array(file, count, whole[1:], kind)
        except (OSError, ValueError):
            return None
        part = Part(images, rows)
        return part if _checksum(part) == line["checksum"] else None


def _checksum(part: Part) -> int:
    checksum = 0
    for array in (part.images, *part.rows.values()):
        checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
    return checksum


def _array(file: IO[bytes], count: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    content = file.read(count * math.prod(shape) * np.dtype(dtype).itemsize)
    return np.frombuffer(content, dtype).reshape(count, *shape)


@contextlib.contextmanager
def unfinished(
    path: str | os.PathLike[str], record: Mapping[str, str], *, is_folder: bool, resume: bool
) -> Iterator[Unfinished]:
    """Makes or finds the hidden folder for a bulk output, which becomes `path` when the block ends without an error.

    Args:
        path: the file or the folder to write.
        record: what the bytes of the output depend on, in words.
        is_folder: whether `path` is a folder of pictures.
        resume: whether to continue what a killed command has left, and to keep what was made if this one is stopped.
            Without it, both are removed.

    Raises:
        UsageError: a command with another record has left an unfinished output, and `resume` is true.
        OutputError: the output can't be written.
    """
    with files.naming_failures(path), contextlib.ExitStack() as stack:
        target = files.check_folder(path) if is_folder else files.check_file(path)
        if not resume:
            files.remove_leftovers(target)
        found = _found(path, target, record, stack) if resume else None
        if found is None:
            place = files.place_to_fill(target) if is_folder else (target.parent, files.beside(target))
            found = stack.enter_context(files.new_folder(*place))
        work = Unfinished(found, target)
        try:
            if not (found / RECORD).exists():
                found.chmod(0o700)  # its content may become a file that is private
                (found / RECORD).write_text(json.dumps(record), "utf-8")
            yield work
            if is_folder:
                files.fill(path, target, found)
            else:
                files.take_place(work.content, target)
                shutil.rmtree(found, ignore_errors=True)
        except BaseException:
            if not (resume and work.is_worth_keeping) and not (found / files.COMPLETE).exists():
                shutil.rmtree(found, ignore_errors=True)
            raise


def _found(
    path: str | os.PathLike[str], target: Path, record: Mapping[str, str], stack: contextlib.ExitStack
) -> Path | None:
    """The folder that a killed command with this record has left, which belongs to this process until `stack` ends.

    Unfinished pictures of other indices for the same folder are left alone: other commands continue them.

    Raises:
        UsageError: only a command with another record has left one.
    """
    differing: list[str] = []
    for entry in files.leftovers(target):
        with contextlib.ExitStack() as owned:
            if not owned.enter_context(files.without_owner(entry)):
                continue
            try:
                other = json.loads((entry / RECORD).read_text("utf-8"))
            except (OSError, ValueError):
                other = {}
            if other == record:
                stack.push(owned.pop_all())
                return entry
            if not other or (entry / files.COMPLETE).exists():
                with contextlib.suppress(OSError):
                    files.discard(entry, target)
            elif other.get("output") == record["output"] and not _apart(other, record):
                key = next(key for key in record if other.get(key) != record[key])
                differing.append(f"{key} {record[key]} in place of {other.get(key)}")
    if differing:
        raise UsageError(
            f"{path}: expected the options and the model of the command that was interrupted, got {differing[0]}; "
            "repeat them, or leave out --resume to begin again"
        )
    return None


def _apart(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two unfinished folders have no picture in common."""
    if "folder" not in (one.get("format"), other.get("format")):
        return False
    (first, size), (second, length) = ((int(record["start"]), int(record["count"])) for record in (one, other))
    return first + size <= second or second + length <= first
