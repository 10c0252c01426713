"""Image sets that come as arrays: IDX files, .npy and .npz files, and the data sets of torchvision.

The order of the axes is recognised, and values are brought to 0 … 255; both are reported as notes. Large arrays stay in
their file, unless they are packed in it.
"""

from __future__ import annotations

import gzip
import inspect
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import InputError, UnavailableError, UsageError
from vae_gen.internal.array_files import NPY, Npz, read_npy, read_npy_header
from vae_gen.internal.arrays import ROUNDING
from vae_gen.internal.files import advice
from vae_gen.internal.fitting import TOPS

from . import streamed
from .streamed import Pictures, Streamed, changed, chunks, in_file

IMAGE_KEYS = ("images", "image", "x", "X", "data", "arr_0")
LABEL_KEYS = ("labels", "label", "y", "Y", "targets", "target", "arr_1")
OVERSHOOT = 0.25
"""How far fractions lie outside of 0 … 1 at most after scaling by bicubic or Lanczos curves."""
TRAIN_WORDS, VALIDATION_WORDS, TEST_WORDS = ("train", "training"), ("val", "valid", "validation"), ("test", "t10k")


@dataclass(frozen=True, eq=False)
class ArrayPart:
    """The pictures of one split."""

    images: Pictures
    """uint8 [n, height, width, channels], with 1, 3 or 4 channels; 4 is red, green, blue and opacity"""
    labels: NDArray[np.int64] | None
    """int64 [n], an index into the set's class names"""


@dataclass(frozen=True, eq=False)
class ArraySet:
    """Arrays of pictures, by split: train, and perhaps validation and test."""

    parts: Mapping[str, ArrayPart]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """what was recognised or converted, a sentence each"""


@dataclass
class _Raw:
    """The arrays that a reader found, before axes, values and labels are understood."""

    images: dict[str, Pictures] = field(default_factory=dict)
    labels: dict[str, NDArray[Any]] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None


def read_idx_folder(folder: Path) -> ArraySet | None:
    """The IDX files of a folder under any of their usual names, or None if it has none.

    Usual names are train-images-idx3-ubyte, t10k-labels-idx1-ubyte.gz, emnist-letters-train-images-idx3-ubyte and
    train-images.idx3-ubyte.

    Raises:
        InputError: labels without images, several sets in one folder, or a damaged file.
    """
    raw = _Raw()
    files: dict[tuple[str, str], Path] = {}
    by_columns = False
    for path in sorted(folder.iterdir()):
        words = path.name.lower().replace(".", "-").replace("_", "-").split("-")
        if not {"idx1", "idx3", "idx4", "idx"} & set(words) or not path.is_file():
            continue
        split = _split_of(words)
        kind = "images" if "images" in words else "labels" if "labels" in words else None
        if kind is None:
            continue
        known = files.get((kind, split))
        if known is not None:
            if known.name in (f"{path.name}.gz", path.name.removesuffix(".gz")):
                continue  # the same file twice, once unpacked
            raise InputError(
                f"{folder}: expected one set of IDX files, got {known.name} and {path.name}; "
                "move one set to a folder of its own"
            )
        files[kind, split] = path
        by_columns |= words[0] == "emnist"
        if kind == "images":
            raw.images[split] = _read_idx(path)
        else:
            raw.labels[split] = _read_idx(path)[:]
    if not files:
        return None
    return _understood(_turned(raw) if by_columns else raw, str(folder), [BY_COLUMNS] if by_columns else [])


BY_COLUMNS = "EMNIST stores its pictures column by column, so they were transposed"


def _turned(raw: _Raw) -> _Raw:
    raw.images = {split: changed(array, lambda part: part.swapaxes(1, 2)) for split, array in raw.images.items()}
    return raw


def _read_idx(path: Path) -> Pictures:
    from ..data import idx_shape, parse_idx

    try:
        with path.open("rb") as file:
            head, size = file.read(4 + 4 * 255), file.seek(0, os.SEEK_END)
    except OSError as error:
        raise InputError(f"{path}: expected a readable IDX file ({error.strerror}); {advice(error)}") from error
    if size <= streamed.MOST_IN_MEMORY or head[:2] == b"\x1f\x8b":
        return parse_idx(_unpacked(path), str(path))
    shape, offset = idx_shape(head, size, str(path))
    return in_file(path, offset, tuple(shape), np.dtype(np.uint8))


def _unpacked(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: expected a whole IDX file, got {error}; fetch it again") from error


def read_numpy(path: Path) -> ArraySet:
    """The pictures, and perhaps the labels, of an .npy or .npz file.

    Raises:
        InputError: a damaged file, one with pickled objects, or one without pictures under a usual key.
    """
    raw = _Raw()
    try:
        with path.open("rb") as file:
            if file.read(len(NPY)) == NPY:
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                raw.images["train"] = _large_npy(path, 0, size) or read_npy(file, size)
            else:
                file.seek(0)
                archive = Npz(file)
                _sort_keys({name: _large_entry(path, archive, name) or archive[name] for name in archive}, raw, path)
    except InputError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except Exception as error:  # whatever damaged bytes make NumPy, zipfile, zlib and the tokenizer raise
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: expected an array of pictures, got {reason}; save it again with NumPy") from error
    return _understood(raw, str(path))


def _large_npy(path: Path, start: int, size: int) -> Streamed | None:
    """A large array of an .npy of `size` bytes which begins at a place of a file; None for one that memory can hold."""
    if size <= streamed.MOST_IN_MEMORY:
        return None
    with path.open("rb") as file:
        file.seek(start)
        shape, fortran_order, dtype = read_npy_header(file, size)
        return None if fortran_order else in_file(path, file.tell(), shape, dtype)


def _large_entry(path: Path, archive: Npz, name: str) -> Streamed | None:
    """A large entry of an .npz; None if memory can hold it, or if it is packed."""
    start = archive.stored_at(name) if archive.bytes_of(name) > streamed.MOST_IN_MEMORY else None
    return None if start is None else _large_npy(path, start, archive.bytes_of(name))


def _sort_keys(arrays: dict[str, Any], raw: _Raw, where: Path) -> None:
    """Place the arrays of an .npz file by their names: x_train, images, y_test, val_labels, …"""
    for name, array in arrays.items():
        words = name.replace("-", "_").split("_")
        split = _split_of([word.lower() for word in words])
        rest = [word for word in words if word.lower() not in (*TRAIN_WORDS, *VALIDATION_WORDS, *TEST_WORDS)]
        stem = "_".join(rest)
        if name == "class_names" or stem in ("class_names", "classes", "names"):
            raw.class_names = tuple(str(value) for value in array[:].tolist())
        elif (stem in IMAGE_KEYS or stem == "") and split not in raw.images:
            raw.images[split] = array
        elif stem in LABEL_KEYS and split not in raw.labels:
            raw.labels[split] = array[:]
    if not raw.images:
        raise InputError(
            f"{where}: expected pictures under {', '.join(IMAGE_KEYS)} or x_train, "
            f"got {', '.join(arrays) or 'no arrays'}; save them again with np.savez(path, images=…, labels=…)"
        )


def _split_of(words: Sequence[str]) -> str:
    for split, names in (("validation", VALIDATION_WORDS), ("test", TEST_WORDS)):
        if any(word in names for word in words):
            return split
    return "train"


def read_torchvision(name: str, root: Path, *, download: bool = True) -> ArraySet:
    """Reads a data set of torchvision which holds its pictures as one array, such as KMNIST, EMNIST/letters or CIFAR10.

    Args:
        name: the class's name; a part after / is its `split`.
        root: where its files lie or are put.
        download: fetch what is not there.

    Raises:
        UsageError: torchvision has no such data set, or not as an array.
        InputError: the files are not in `root`, and could not be fetched.
        UnavailableError: torchvision is not installed.
    """
    try:
        import torchvision.datasets
    except ImportError as error:
        raise UnavailableError(
            f"expected the package torchvision for torchvision:{name}, found none; install it with: "
            "pip install torchvision"
        ) from error
    class_name, _, part = name.partition("/")
    maker = getattr(torchvision.datasets, class_name, None)
    if not (inspect.isclass(maker) and class_name in torchvision.datasets.__all__):
        raise UsageError(
            f"expected a data set of torchvision such as torchvision:KMNIST, got torchvision:{name}; "
            "its documentation lists the names"
        )
    raw = _Raw()
    for split in ("train", "test"):
        made = _made(maker, name, part, split, root, download)
        if made is None:
            continue
        images, labels = getattr(made, "data", None), getattr(made, "targets", getattr(made, "labels", None))
        if images is None or isinstance(images, list | str) or np.asarray(images).ndim not in (3, 4):
            raise UsageError(
                "expected a data set that is one array of pictures, such as KMNIST or CIFAR10, "
                f"got torchvision:{name}; save its pictures to a folder and give that"
            )
        raw.images[split] = np.asarray(images)
        if labels is not None:
            raw.labels[split] = np.asarray(labels).reshape(len(images), -1)[:, 0]
        if classes := getattr(made, "classes", None):
            raw.class_names = tuple(str(value) for value in classes)
    emnist = class_name == "EMNIST"
    return _understood(_turned(raw) if emnist else raw, f"torchvision:{name}", [BY_COLUMNS] if emnist else [])


def _made(maker: Callable[..., Any], name: str, part: str, split: str, root: Path, download: bool) -> Any:
    """One split of a torchvision data set; None for the test split of a data set that has no splits."""
    known = inspect.signature(maker).parameters
    given: dict[str, Any] = {"download": download} if "download" in known else {}
    if part:
        given["split"] = part
    if "train" in known or ("kwargs" in known and "split" in known):
        given["train"] = split == "train"
    elif "split" in known and not part:
        given["split"] = split
    elif split == "test":
        return None
    try:
        root.mkdir(parents=True, exist_ok=True)
        return maker(str(root), **given)
    except (ValueError, TypeError) as error:
        raise UsageError(f"torchvision:{name}: {' '.join(str(error).split())[:200]}") from error
    except (RuntimeError, OSError) as error:  # not there, or no network
        raise InputError(
            f"expected the files of torchvision:{name} in {root}, or a network to fetch them "
            f"({' '.join(str(error).split())[:120]}); put them there, or name their folder with --data-dir"
        ) from error


def _understood(raw: _Raw, where: str, known: Sequence[str] = ()) -> ArraySet:
    """The arrays with their axes, values and labels understood."""
    if "train" not in raw.images:
        if len(raw.images) != 1:
            found = ", ".join(raw.images) or "labels alone"
            raise InputError(f"{where}: expected pictures for training, got {found}; name their file or key train")
        ((only, whole),) = raw.images.items()
        raw.images, raw.labels = {"train": whole}, {"train": raw.labels[only]} if only in raw.labels else {}
    notes = list(known)
    shaped = {split: _channels_last(array, where, notes) for split, array in raw.images.items()}
    bounds = _bounds(list(shaped.values()), where, notes)
    images = {split: changed(array, lambda part: _eight_bits(part, bounds)) for split, array in shaped.items()}
    if len({array.shape[1:] for array in images.values()}) != 1:
        shapes = ", ".join(f"{split} {list(array.shape[1:])}" for split, array in images.items())
        raise InputError(f"{where}: expected one size and mode in all splits, got {shapes}; make them equal")
    labels, names = _labels(raw, images, where)
    parts = {split: ArrayPart(array, labels.get(split)) for split, array in images.items()}
    return ArraySet(parts, names, tuple(dict.fromkeys(notes)))


def _channels_last(array: Pictures, where: str, notes: list[str]) -> Pictures:
    """An array of pictures with the axes [n, height, width, channels]."""
    if array.ndim == 3:
        return changed(array, lambda part: part[..., None])
    if array.ndim == 4 and array.shape[-1] in (1, 3, 4):
        if array.shape[1] in (1, 3, 4):
            notes.append(f"shape {list(array.shape[1:])} was read as height, width, channels")
        return array
    if array.ndim == 4 and array.shape[1] in (1, 3, 4):
        notes.append(f"shape {list(array.shape[1:])} was read as channels, height, width")
        return changed(array, lambda part: part.transpose(0, 2, 3, 1))
    raise InputError(
        f"{where}: expected pictures of shape [n, height, width], [n, height, width, 1, 3 or 4] or "
        f"[n, 1, 3 or 4, height, width], got {list(array.shape)}; reshape them"
    )


def _bounds(arrays: Sequence[Pictures], where: str, notes: list[str]) -> tuple[float, float]:
    """The values that become 0 and 255: those of the dtype, or of the data where its range is another one."""
    kinds = {array.dtype.kind for array in arrays}
    if not kinds <= set("uifb"):
        raise InputError(f"{where}: expected numbers as pictures, got {arrays[0].dtype}; convert them first")
    if kinds == {"b"}:
        return 0.0, 1.0
    if not all(array.size for array in arrays):
        raise InputError(f"{where}: expected pictures, got an array of shape {list(arrays[0].shape)}")
    low, high = _range(arrays)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{where}: expected finite numbers as pictures, got NaN or infinity; replace them first")
    if low == high:
        raise InputError(f"{where}: expected pictures, got {low:g} in every pixel; check how they were saved")
    if low >= -OVERSHOOT and 1 - OVERSHOOT <= high <= 1 + OVERSHOOT and (low < 0 or high > 1):
        bounds = (0.0, 1.0)
        if low < -ROUNDING or high > 1 + ROUNDING:
            notes.append(f"values from {low:g} to {high:g} were clipped to 0 to 1")
    elif low < 0:
        bounds = (-1.0, 1.0) if low >= -1 - ROUNDING and high <= 1 + ROUNDING else (low, high)
    elif 1 < high < 64:  # such as scikit-learn's digits, from 0 to 16
        bounds = (0.0, high)
    else:
        bounds = (0.0, float(next((top for top in TOPS if high <= top), high)))
    if bounds == (0.0, 255.0):
        return bounds
    notes.append(f"values from {bounds[0]:g} to {bounds[1]:g} were scaled to 0 to 255")
    return bounds


def _range(arrays: Sequence[Pictures]) -> tuple[float, float]:
    """The smallest and the largest value; of bytes some value from 64 on stands for the largest, as all mean the same.

    So the first part of a large file is enough.
    """
    low, high = np.inf, -np.inf
    for array in arrays:
        for part in chunks(array):
            low, high = float(np.minimum(low, part.min())), float(np.maximum(high, part.max()))
            if low < high and high >= 64 and all(array.dtype == np.uint8 for array in arrays):
                return low, high
    return low, high


def _eight_bits(array: NDArray[Any], bounds: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = bounds
    if array.dtype == np.uint8 and bounds == (0.0, 255.0):
        return np.ascontiguousarray(array)
    result = np.empty(array.shape, np.uint8)
    for start in range(0, len(array), 4096):  # bounded memory: float64 takes eight times as much
        part = array[start : start + 4096].astype(np.float64)
        result[start : start + 4096] = np.floor(np.clip((part - low) / (high - low), 0, 1) * 255 + 0.5)
    return result


def _labels(
    raw: _Raw, images: Mapping[str, Pictures], where: str
) -> tuple[dict[str, NDArray[np.int64]], tuple[str, ...]]:
    """Labels of each split as indices, and the class names; both empty for a set without labels."""
    if set(raw.labels) != set(images):
        return {}, ()
    for split, labels in raw.labels.items():
        labels = labels.reshape(len(labels), -1)
        if labels.shape != (len(images[split]), 1):
            raise InputError(
                f"{where}: expected a label for each of the {len(images[split])} pictures of {split}, "
                f"got shape {list(raw.labels[split].shape)}; save them again together"
            )
        raw.labels[split] = labels[:, 0]
    values = np.unique(np.concatenate(list(raw.labels.values())))
    names = raw.class_names
    if names is not None and values.dtype.kind in "iu" and values.min() >= 0 and values.max() < len(names):
        return {split: labels.astype(np.int64) for split, labels in raw.labels.items()}, names
    if values.dtype.kind == "f" and (values == np.floor(values)).all():
        values = values.astype(np.int64)
        raw.labels = {split: labels.astype(np.int64) for split, labels in raw.labels.items()}
    if len(values) < 2:
        return {}, ()
    found = {split: np.searchsorted(values, labels).astype(np.int64) for split, labels in raw.labels.items()}
    return found, tuple(str(value) for value in values.tolist())
