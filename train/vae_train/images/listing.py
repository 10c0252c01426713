"""Which pictures a folder or a zip file has, and the class and the split of each.

The rules, which docs/your-own-images.md explains to users:

- Folders train/, val/ (valid, validation) and test/ at the top are splits and never classes.
- Sub-folders are classes where there is more than one and all pictures lie at one depth.
- A file metadata.csv or metadata.jsonl with a column file_name gives the labels instead.
- Hidden files, __MACOSX and the like are not looked at. Files that are no pictures are counted.
- Links are followed, each real folder once. A link to a picture of the same folder would be that picture twice, so it
  is left out.
"""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from vae_gen import InputError
from vae_gen.internal.files import advice

Split = Literal["train", "validation", "test"]
SPLITS: dict[str, Split] = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip

COMMON = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif")
RARE = (".ppm", ".pgm", ".pbm", ".pnm", ".ico", ".tga", ".jp2", ".pcx")
ENDINGS = frozenset({*COMMON, *RARE})
"""Files with these endings are taken for pictures; what they really are is found out when they are opened."""
NOISE = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "lost+found"})
METADATA = ("metadata.csv", "metadata.jsonl")
LABEL_COLUMNS = ("label", "class", "category", "target")


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture file of the set."""

    file: str
    """path below the source, with / between its parts"""
    size: int
    """bytes"""
    mtime_ns: int
    label: str | None = None
    split: Split | None = None
    """None where the source has no split folders"""


@dataclass(frozen=True)
class Skipped:
    """A file that is not used, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """All pictures of a source, in the order of their paths."""

    source: Path
    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...]
    other_files: dict[str, int]
    """how many files had an ending that no picture has, by ending"""
    empty_classes: int
    """sub-folders without pictures"""
    labels_from: str
    """where the classes come from, or why there are none, for people"""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in alphabetical order, or in numerical order where all are whole numbers."""
        names = {entry.label for entry in self.entries if entry.label is not None}
        if all(name.isascii() and name.isdigit() for name in names):
            return tuple(sorted(names, key=lambda name: (int(name), name)))
        return tuple(sorted(names))


def list_pictures(source: Path, labels: str = "auto") -> Listing:
    """The pictures of a folder or of a zip file.

    Args:
        source: the folder or the zip file.
        labels: auto, folders, none, or the path of a CSV or JSON Lines file with a column file_name.

    Raises:
        InputError: the source or the label file cannot be read, or has no such column.
    """
    if source.is_dir():
        files, skipped = _walk(source)
        read = _read_below(source)
    else:
        files, skipped = _zip_entries(source)
        read = _read_member(source)
    pictures = [entry for entry in files if PurePosixPath(entry.file).suffix.lower() in ENDINGS]
    others: dict[str, int] = {}
    for entry in files:
        path = PurePosixPath(entry.file)
        if path.suffix.lower() not in ENDINGS and path.name not in METADATA:
            others[path.suffix.lower() or path.name] = others.get(path.suffix.lower() or path.name, 0) + 1
    top = _common_folder([entry.file for entry in pictures])
    pictures, outside = _with_splits(pictures, top)
    metadata = [entry.file for entry in files if PurePosixPath(entry.file).name in METADATA]
    table: dict[str, str] | None = None
    origin = ""
    if labels not in ("auto", "folders", "none"):
        table, origin = _table(_read_file(Path(labels)), labels, PurePosixPath(top)), labels
    elif labels == "auto" and metadata:
        table = {}
        for file in metadata:
            table |= _table(read(file), f"{source}/{file}", PurePosixPath(file).parent)
        origin = metadata[0]
    if table is not None:
        pictures, unlisted, why = _labelled_by(table, pictures, origin, forced=labels != "auto")
        skipped = [*skipped, *unlisted]
    elif labels == "none":
        why = "none, as --labels none asks"
    else:
        pictures, without, why = _labelled_by_folder(pictures, top, forced=labels == "folders")
        skipped = [*skipped, *without]
    empty = _empty_folders(source, pictures) if source.is_dir() else 0
    return Listing(source, tuple(pictures), (*skipped, *outside), others, empty, why)


def _walk(root: Path) -> tuple[list[Entry], list[Skipped]]:
    """All files below a folder but hidden ones, in the order of their paths, and the links that were left out."""
    files: list[Entry] = []
    skipped: list[Skipped] = []
    real_root = Path(os.path.realpath(root))
    seen = {str(real_root)}
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            children = sorted(os.scandir(folder), key=lambda child: child.name, reverse=True)
        except OSError as error:
            if folder == root:
                raise InputError(
                    f"{root}: expected a readable folder of pictures ({error.strerror}); {advice(error)}"
                ) from error
            skipped.append(Skipped(_below(folder, root), f"a folder that cannot be read ({error.strerror})"))
            continue
        while children:
            child = children.pop()  # a folder may have a million, so each is let go when it has been looked at
            if child.name.startswith(".") or child.name in NOISE:
                continue
            path = Path(child.path)
            try:
                if child.is_dir():
                    real = os.path.realpath(path)
                    if real not in seen:
                        seen.add(real)
                        pending.append(path)
                elif child.is_symlink() and _inside(path, real_root):
                    skipped.append(Skipped(_below(path, root), "a link to another file of this folder"))
                elif child.is_file():
                    facts = child.stat()
                    files.append(Entry(_below(path, root), facts.st_size, facts.st_mtime_ns))
                elif child.is_symlink():
                    skipped.append(Skipped(_below(path, root), "a link that leads nowhere"))
                else:
                    skipped.append(Skipped(_below(path, root), "a device or a pipe"))
            except OSError as error:
                skipped.append(Skipped(_below(path, root), f"cannot be read ({error.strerror})"))
    return sorted(files, key=lambda entry: entry.file), skipped


def _inside(link: Path, real_root: Path) -> bool:
    """Whether a link leads to an existing file below the folder."""
    real = Path(os.path.realpath(link))
    return real.is_relative_to(real_root) and real.is_file()


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _zip_entries(source: Path) -> tuple[list[Entry], list[Skipped]]:
    """All files of a zip but hidden ones, in the order of their paths."""
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise InputError(f"{source}: expected a folder or a whole zip file of pictures, got {error}") from error
    files, skipped = {}, []
    for member in members:
        parts = PurePosixPath(member.filename).parts
        if member.is_dir() or any((part.startswith(".") and part != "..") or part in NOISE for part in parts):
            continue
        if member.flag_bits & 1:
            skipped.append(Skipped(member.filename, "encrypted"))
            continue
        # Nothing is ever written to these paths, so even one with .. in it can do no harm.
        files[member.filename] = Entry(member.filename, member.file_size, member.CRC)
    return [files[name] for name in sorted(files)], skipped


def _common_folder(files: Sequence[str]) -> str:
    """The folder that holds everything, for archives which wrap their content in one: `dataset/`, or empty.

    A folder is only taken for a wrapper when it holds no pictures itself and is not a split.
    """
    folders = [PurePosixPath(file).parts[:-1] for file in files]
    top: tuple[str, ...] = ()
    while folders and all(len(parts) > len(top) for parts in folders):
        names = {parts[: len(top) + 1] for parts in folders}
        if len(names) != 1:
            break
        (name,) = names
        if name[-1].lower() in SPLITS:
            break
        top = name
    return "/".join(top)


def _with_splits(pictures: Sequence[Entry], top: str) -> tuple[list[Entry], list[Skipped]]:
    """The pictures with their splits, where the top folder holds split folders."""

    def split_of(entry: Entry) -> Split | None:
        parts = PurePosixPath(entry.file).relative_to(top or ".").parts
        return SPLITS.get(parts[0].lower()) if len(parts) > 1 else None

    found = {split_of(entry) for entry in pictures} - {None}
    if not found:
        return list(pictures), []
    placed, outside = [], []
    for entry in pictures:
        split = split_of(entry)
        if split is None and "train" in found:
            outside.append(Skipped(entry.file, "outside of the train, val and test folders"))
        else:
            placed.append(replace(entry, split=split or "train"))
    return placed, outside


def _folders(entry: Entry, top: str) -> tuple[str, ...]:
    """The names of the folders between the top, or the split's folder, and the picture."""
    parts = PurePosixPath(entry.file).relative_to(top or ".").parts[:-1]
    return parts[1:] if entry.split is not None and parts and parts[0].lower() in SPLITS else parts


def _labelled_by_folder(pictures: Sequence[Entry], top: str, *, forced: bool) -> tuple[list[Entry], list[Skipped], str]:
    """The pictures with their folder's name as their class, where the rules take folders for classes."""
    folders = [_folders(entry, top) for entry in pictures]
    if forced:
        placed = zip(pictures, folders, strict=True)
        named = [replace(entry, label=readable(parts[0])) for entry, parts in placed if parts]
        without = [
            Skipped(entry.file, "in no class folder")
            for entry, parts in zip(pictures, folders, strict=True)
            if not parts
        ]
        return named, without, f"the {len({entry.label for entry in named})} folders, as --labels folders asks"
    depths = {len(parts) for parts in folders}
    if depths in (set(), {0}):
        return list(pictures), [], "none, because there are no sub-folders"
    if len(depths) > 1:
        return list(pictures), [], "none, because the pictures lie at different depths"
    names = {parts[-1] for parts in folders}
    if len(names) == 1:
        return list(pictures), [], f"none, because there is only one folder, {names.pop()}"
    named = [replace(entry, label=readable(parts[-1])) for entry, parts in zip(pictures, folders, strict=True)]
    return named, [], f"{len(names)} folders"


def readable(name: str) -> str:
    r"""The name of a file as text for people and for JSON; bytes that are no UTF-8 become a backslash and their number.

    >>> readable("a\udcff"), readable("ä b")
    ('a\\xff', 'ä b')
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _labelled_by(
    table: dict[str, str], pictures: Sequence[Entry], origin: str, *, forced: bool
) -> tuple[list[Entry], list[Skipped], str]:
    """The pictures that a table of labels lists, with their labels."""
    listed = [replace(entry, label=table[entry.file]) for entry in pictures if entry.file in table]
    found = {entry.file for entry in pictures}
    unlisted = [Skipped(entry.file, f"not in {origin}") for entry in pictures if entry.file not in table]
    unlisted += [Skipped(file, f"in {origin}, but there is no such picture") for file in table if file not in found]
    if pictures and not listed:
        raise InputError(
            f"{origin}: expected the paths of pictures in the column file_name, got none of the "
            f"{len(pictures)} that were found, such as {pictures[0].file}; correct it, or use --labels none"
        )
    names = {entry.label for entry in listed}
    if not forced and len(names) > max(2, len(listed) // 2):
        bare = [replace(entry, label=None) for entry in listed]
        return bare, unlisted, f"none, because nearly every picture in {origin} has a label of its own"
    if len(names) == 1:
        bare = [replace(entry, label=None) for entry in listed]
        return bare, unlisted, f"none, because {origin} has only one label"
    return listed, unlisted, f"{len(names)} labels of {origin}"


def _table(content: bytes, where: str, folder: PurePosixPath) -> dict[str, str]:
    """Each picture's path below the source and its label, from CSV or JSON Lines."""
    try:
        text = content.decode("utf-8-sig")
        rows = list(_rows(text, jsonl=where.lower().endswith((".jsonl", ".json", ".ndjson"))))
    except (ValueError, csv.Error) as error:
        raise InputError(f"{where}: expected CSV or JSON Lines in UTF-8, got {error}; save it again") from error
    if not rows:
        raise InputError(f"{where}: expected a row for each picture, got none; correct it, or use --labels none")
    columns = list(rows[0])
    if "file_name" not in columns:
        raise InputError(
            f"{where}: expected a column file_name, got {', '.join(columns)}; rename one, or use --labels none"
        )
    rest = [column for column in columns if column != "file_name"]
    column = next((name for name in LABEL_COLUMNS if name in rest), rest[0] if len(rest) == 1 else None)
    if column is None:
        raise InputError(
            f"{where}: expected a column {' or '.join(LABEL_COLUMNS)}, got {', '.join(columns)}; "
            "rename one, or use --labels none"
        )
    table = {}
    for row in rows:
        name, label = row.get("file_name"), row.get(column)
        if name and label not in (None, ""):
            table[str(folder / str(name).replace("\\", "/"))] = str(label)
    return table


def _rows(text: str, *, jsonl: bool) -> Iterator[dict[str, Any]]:
    if not jsonl:
        yield from csv.DictReader(io.StringIO(text, newline=""))
        return
    for line in text.splitlines():
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("a line that is not a JSON object")
            yield row


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: expected --labels auto, folders, none or a readable file ({error.strerror}); {advice(error)}"
        ) from error


def _read_below(root: Path) -> Any:
    return lambda file: _read_file(root / file)


def _read_member(source: Path) -> Any:
    def read(file: str) -> bytes:
        with zipfile.ZipFile(source) as archive:
            return archive.read(file)

    return read


def _empty_folders(source: Path, pictures: Sequence[Entry]) -> int:
    """How many visible folders, one or two levels down, hold no picture anywhere below them."""
    used = {parent for entry in pictures for parent in PurePosixPath(entry.file).parents}
    count = 0
    for folder in [*source.glob("*/"), *source.glob("*/*/")]:
        name = PurePosixPath(folder.relative_to(source).as_posix())
        if not any(part.startswith(".") or part in NOISE for part in name.parts) and name not in used:
            count += 1
    return count
