"""Shards as PNGs in a folder for each class, as torchvision's ImageFolder and many others read them.

    Sneaker/000000262144.png    a picture, whose text chunk lets `vae-gen repeat` make it again
    labels.csv                  the file, index, class name, class number and SHA-256 of every picture
    _part-000000262144.csv      the same for the pictures of one shard

The CSV file of a shard appears when all its pictures are there, and `labels.csv` when all shards are.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import re
import shutil
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vae_gen.internal import files
from vae_gen.internal.saving import to_image

from ..output import Frames, encoded, make_note
from .pictures import Picture, levels_of, pictures
from .place import Place
from .plan import LIST, Plan, Shard
from .work import CHOICE, Job, open_model

if TYPE_CHECKING:
    from vae_gen import Manifest, Samples

COLUMNS = ("file_name", "index", "class", "number", "sha256")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices."""
LONGEST_NAME = 60


def write_samples(file: IO[bytes], job: Job, shard: Shard, chunks: Iterable[Samples]) -> None:
    """Writes the PNGs of a shard, and its CSV file to `file`.

    The PNGs are written aside, and move to their folders when all of them are there.
    """
    plan, root = job.plan, Path(job.address)
    manifest = open_model(job.model, job.threads, job.provider).manifest
    names = folder_names(manifest.class_names)
    with files.naming_failures(root), files.new_folder(root, files.beside(root / plan.file(shard))) as aside:
        try:
            for name in names:
                (aside / name).mkdir()
            for picture in pictures(chunks, manifest.class_names):
                name = f"{names[picture.label]}/{picture.key}.png"
                content = png(picture, plan, manifest)
                (aside / name).write_bytes(content)
                sha256 = hashlib.sha256(content).hexdigest()
                file.write(_line(name, picture.index, picture.class_name, picture.label, sha256))
            _move(aside, root)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _move(aside: Path, root: Path) -> None:
    """Moves all pictures to the folders of their classes; classes without a picture get no folder."""
    for folder in aside.iterdir():
        for picture in folder.iterdir():
            (root / folder.name).mkdir(exist_ok=True)
            picture.replace(root / folder.name / picture.name)


def png(picture: Picture, plan: Plan, manifest: Manifest) -> bytes:
    """A picture as a PNG, with the note that `vae-gen sample -o pictures/` writes."""
    options = {name: plan.options[name] for name in CHOICE}
    size = {"count": 1, "layout": "single", "columns": 1, "scale": 1}
    choices = {"seed": plan.options["seed"], "start": str(picture.index), **size, **options}
    return encoded(Frames.still(to_image(picture.levels)), "png", make_note("sample", choices, manifest))


def join_lists(place: Place, plan: Plan) -> None:
    """Writes `labels.csv` from the CSV files of all shards."""
    with place.write(LIST) as file:
        file.write(_line(*COLUMNS))
        for shard in plan.shards():
            with place.read(plan.file(shard)) as part:
                shutil.copyfileobj(part, file)


def is_joined(place: Place, plan: Plan) -> bool:
    """Whether `labels.csv` has the lines of the CSV files of all shards."""
    head = _line(*COLUMNS)
    with place.read(LIST) as file:
        if file.read(len(head)) != head:
            return False
        for shard in plan.shards():
            with place.read(plan.file(shard)) as part:
                while piece := part.read(1 << 20):
                    if file.read(len(piece)) != piece:
                        return False
        return not file.read(1)


def has_indices(file: IO[bytes], plan: Plan, shard: Shard) -> bool:
    """Whether the CSV file of a shard lists each of its pictures once, in order, under its own name."""
    names = folder_names(plan.model["class_names"])
    found = [(row["index"], row["file_name"], row["number"]) for row in _rows(file)]
    return len(found) == shard.count and all(
        index == str(shard.start + at) and name == f"{names[int(number)]}/{int(index):012}.png"
        for at, (index, name, number) in enumerate(found)
    )


def has_pngs(place: Place, plan: Plan, shard: Shard) -> bool:
    """Whether all PNGs that the CSV file of a shard names are there."""
    try:
        with place.read(plan.file(shard)) as file:
            return all(place.has(row["file_name"]) for row in _rows(file))
    except (ValueError, csv.Error):  # the list is damaged
        return False


class Pngs:
    """Compares the PNGs of a folder with the lists of its shards."""

    def __init__(self, place: Place, plan: Plan) -> None:
        self._place, self._plan = place, plan
        self._numbers: dict[int, array[int]] = {}  # of each shard that was compared, the class of each picture
        self.missing: list[str] = []
        self.altered: list[str] = []

    def compare(self, file: IO[bytes], shard: Shard) -> None:
        """Notes which PNGs of a shard are missing or have another SHA-256 than its CSV file says."""
        numbers = array("l")
        for row in _rows(file):
            numbers.append(int(row["number"]))
            try:
                if hashlib.sha256(_read(self._place, row)).hexdigest() != row["sha256"]:
                    self.altered.append(row["file_name"])
            except OSError:
                self.missing.append(row["file_name"])
        self._numbers[shard.start] = numbers

    def strangers(self, sizes: dict[str, int]) -> Iterator[str]:
        """Yields the files in the folders of the classes that no list names, apart from hidden ones.

        Args:
            sizes: what the bulk folder has, as `Place.sizes` returns it.
        """
        for number, folder in enumerate(folder_names(self._plan.model["class_names"])):
            names = self._place.inside(folder).sizes() if sizes.get(folder) == -1 else {}
            for name, size in names.items():
                if not name.startswith(".") and (size == -1 or not self._may_be(name, number)):
                    yield f"{folder}/{name}"

    def _may_be(self, name: str, number: int) -> bool:
        """Whether a list names this file of a class, or it belongs to a shard whose list is missing or damaged."""
        plan, stem = self._plan, name.removesuffix(".png")
        if not re.fullmatch(r"[0-9]{12,19}", stem) or name != f"{int(stem):012}.png":
            return False
        start = max(int(stem) - int(stem) % plan.shard_size, plan.start)
        numbers, at = self._numbers.get(start), int(stem) - start
        if numbers is None:
            return plan.start <= int(stem) < plan.start + plan.count
        return 0 <= at < len(numbers) and numbers[at] == number


def read_samples(
    place: Place, file: IO[bytes], first: int, count: int
) -> tuple[NDArray[np.uint8], None, NDArray[np.int64]]:
    """Reads the grey levels and the labels of rows of a shard; there are no latents."""
    rows = list(itertools.islice(_rows(file), first, first + count))
    images = np.stack([levels_of(_read(place, row)) for row in rows])
    return images, None, np.array([int(row["number"]) for row in rows])


def _rows(file: IO[bytes]) -> Iterator[dict[str, str]]:
    lines = (line.decode() for line in file)
    return csv.DictReader(lines, COLUMNS)


def _read(place: Place, row: dict[str, str]) -> bytes:
    with place.read(row["file_name"]) as file:
        return file.read()


def _line(*values: object) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def folder_names(class_names: Sequence[str]) -> list[str]:
    """A folder name for each class.

    Signs that some system does not allow become hyphens, and no two names differ in case alone.

    >>> folder_names(["T-shirt/top", "t-shirt top", "CON"])
    ['T-shirt-top', 't-shirt top', 'CON-']
    """
    found: list[str] = []
    for class_name in class_names:
        signs = unicodedata.normalize("NFC", class_name)
        name = "".join(sign if sign.isalnum() or sign in " ._-" else "-" for sign in signs)
        name = name[:LONGEST_NAME].strip(" .").lstrip("_") or "class"
        name = f"{name}-" if RESERVED.fullmatch(name) else name
        taken = {other.casefold() for other in found}
        unused = (f"{name}{suffix}" for suffix in ("", *(f"-{number}" for number in range(2, len(found) + 3))))
        found.append(next(one for one in unused if one.casefold() not in taken))
    return found
