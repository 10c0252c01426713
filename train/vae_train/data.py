"""The data set Fashion-MNIST (Xiao, Rasul, Vollgraf 2017) as tensors, after a check of its content.

Its four files have the format IDX: two zero bytes, a type (8 for uint8), the number of axes, the length of each axis as
a big-endian 32-bit number, then the values. The files are searched in the folder that the user named; or, without one,
in the folder of Debian's package dataset-fashion-mnist, then in the user's cache; and at last they are downloaded into
that cache. Their SHA-256 is taken after decompression, because Debian compressed the files anew.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import math
import os
import time
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_gen import InputError, random_words
from vae_gen.internal.files import advice, write_file

from .images.image_set import Images, ImageSet

NAME, LICENCE = "Fashion-MNIST", "MIT"
CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""The SHA-256 of each file after decompression."""

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")

MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",  # the authors' own
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
"""Addresses to download from. None of them has to be trusted, because the content is checked."""

ATTEMPTS = 2
"""How often all mirrors are tried."""
PAUSE_S = 1.0
"""The pause between two such rounds, in seconds."""
TIMEOUT_S = 30.0
"""After so many seconds without a byte the next mirror is tried."""

SPLIT_SEED = 0
SPLIT_STREAM = 2**32 - 2
"""The stream of the seed contract's Philox from which the split is made."""


def load_fashion_mnist(
    data_dir: Path | None = None, *, download: bool = True, mirrors: Sequence[str] = MIRRORS
) -> ImageSet:
    """The data set Fashion-MNIST, from the first place that has it.

    Args:
        data_dir: a folder with the four IDX files, gzipped or not; with it no other place is searched.
        download: whether files that are in no place may be downloaded into the user's cache.
        mirrors: addresses that end in /. The files are there under their names with .gz added.

    Raises:
        InputError: a file is missing, is damaged, or has other content; or no mirror could be reached.
        OutputError: the cache cannot be written.
    """
    contents = {name: _read(name, data_dir, download, mirrors) for name in SHA256}
    train_images, train_labels, test_images, test_labels = (
        parse_idx(content, name) for name, content in contents.items()
    )
    return ImageSet(
        train_images=torch.from_numpy(train_images).unsqueeze(1),  # [60000, 1, 28, 28]
        train_labels=torch.from_numpy(train_labels).long(),
        test_images=torch.from_numpy(test_images).unsqueeze(1),  # [10000, 1, 28, 28]
        test_labels=torch.from_numpy(test_labels).long(),
        sha256=dict(SHA256),
        name=NAME,
        class_names=CLASS_NAMES,
        licence=LICENCE,
    )


def split(count: int, validation: int) -> tuple[Tensor, Tensor]:
    """The indices of the images for training and of the images for validation, each int64 and ascending.

    Each image has a random 64-bit word, and the images with the smallest words are for validation. These words do not
    depend on the seed of a run, so that runs can be compared, nor on the device or the version of PyTorch.

    Args:
        count: how many images there are.
        validation: how many of them are for validation.
    """
    words = random_words(SPLIT_SEED, 0, count, 1, SPLIT_STREAM)[:, 0].astype(np.uint64)  # [count, 4]
    order = np.argsort(words[:, 0] << np.uint64(32) | words[:, 1], kind="stable")
    return torch.from_numpy(np.sort(order[validation:])), torch.from_numpy(np.sort(order[:validation]))


def batches(images: Images, order: Tensor, batch_size: int, first: int = 0) -> Iterator[Tensor]:
    """Yields images as float32 [batch, channels, height, width] in [0, 1], in the given order.

    Args:
        images: uint8 [n, channels, height, width], on the device that trains, or read from a file for it.
        order: int64 [m], indices into `images`.
        batch_size: how many images a batch has; the last batch may be smaller.
        first: the batch to begin with, counted from 0.
    """
    for at in range(first * batch_size, len(order), batch_size):
        yield images[order[at : at + batch_size].to(images.device)].float() / 255


def parse_idx(content: bytes, where: str) -> NDArray[np.uint8]:
    """The array in the content of an IDX file, uint8 of the shape that the file states.

    `where` is the name of the file for errors.

    Raises:
        InputError: the content is not IDX, has another type than uint8, or its length contradicts its shape.
    """
    shape, offset = idx_shape(content, len(content), where)
    # A copy, because an array over `bytes` is read-only, and tensors must be writable.
    return np.frombuffer(content, np.uint8, offset=offset).reshape(shape).copy()


def idx_shape(head: bytes, size: int, where: str) -> tuple[list[int], int]:
    """The shape of the array in an IDX file of `size` bytes, from its first bytes, and where its values begin.

    Raises:
        InputError: as `parse_idx`.
    """
    if head[:3] != b"\0\0\x08" or len(head) < 4 or len(head) < 4 + 4 * head[3]:
        found_bytes = head[:4].hex(" ") or "none"
        raise InputError(f"{where}: expected an IDX file of uint8, got the first bytes {found_bytes}; fetch it again")
    axes = head[3]
    shape = [int(length) for length in np.frombuffer(head, ">u4", axes, offset=4)]
    expected, found = math.prod(shape), size - 4 - 4 * axes
    if found != expected:
        raise InputError(f"{where}: expected {expected} values for the shape {shape}, got {found}; fetch it again")
    return shape, 4 + 4 * axes


def cache_folder() -> Path:
    """The folder for downloads: below XDG_CACHE_HOME or LOCALAPPDATA if one of them is set, else below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    return Path(base).expanduser() / "vae-gen" / "fashion-mnist"


def _read(name: str, data_dir: Path | None, download: bool, mirrors: Sequence[str]) -> bytes:
    """The checked content of one of the four files."""
    if data_dir is not None:
        # torchvision stores the same files two folders below the one that it was given.
        found = _find(name, [data_dir, data_dir / "FashionMNIST" / "raw"])
        if found is None:
            raise InputError(
                f"expected {name} or {name}.gz in {data_dir}, found neither; "
                "leave --data-dir out to use Debian's dataset-fashion-mnist or a download"
            )
        return _checked(found, name)
    found = _find(name, [DEBIAN_FOLDER, cache_folder()])
    if found is not None:
        return _checked(found, name)
    if not download:
        raise InputError(
            f"expected {NAME} in {DEBIAN_FOLDER} or {cache_folder()}, found no {name}; "
            "install Debian's dataset-fashion-mnist, or name a folder with --data-dir"
        )
    return _download(name, mirrors)


def _find(name: str, folders: Sequence[Path]) -> Path | None:
    dotted = name.replace("-idx", ".idx")  # as some programs unpack it; Kaggle has each file in a folder of its name
    files = [f"{folder}{file}{end}" for file in (name, dotted) for end in ("", ".gz") for folder in ("", f"{name}/")]
    candidates = (folder / file for folder in folders for file in files)
    return next((path for path in candidates if path.is_file()), None)


def _checked(path: Path, name: str) -> bytes:
    """The decompressed content of a file, which must be that of one of the four files."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a readable file ({error.strerror}); {advice(error)}") from error
    return _unpacked(content, name, str(path))


def _unpacked(content: bytes, name: str, where: str) -> bytes:
    """Decompress the content of one of the four files, and check it. Errors name `where` it comes from."""
    if content[:2] == b"\x1f\x8b":  # recognised by content: browsers unpack .gz files and keep the name
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{where}: expected a whole gzip file, got {error}; fetch the file again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise InputError(
            f"{where}: expected {NAME} with SHA-256 {SHA256[name][:12]}…, got {found[:12]}…; fetch the file again"
        )
    return content


def _download(name: str, mirrors: Sequence[str]) -> bytes:
    """The checked content of one file from the first mirror that has it. It is kept in the cache."""
    failures: list[str] = []
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE_S if attempt else 0)
        for mirror in mirrors:
            address = f"{mirror}{name}.gz"
            try:
                with urllib.request.urlopen(address, timeout=TIMEOUT_S) as response:
                    content = _unpacked(response.read(), name, address)
            except InputError as error:
                failures.append(str(error))
            except (OSError, ValueError, http.client.HTTPException) as error:  # URLError is an OSError
                failures.append(f"{mirror}: {' '.join(str(error).split()) or type(error).__name__}")
            else:
                cache_folder().mkdir(parents=True, exist_ok=True)
                # Stored decompressed, without the time stamps of gzip, so that its SHA-256 can be checked directly.
                write_file(cache_folder() / name, content)
                return content
    raise InputError(
        f"expected {NAME} from one of {len(mirrors)} mirrors, got none (the last failure: {failures[-1]}); check the "
        "network, install Debian's dataset-fashion-mnist, or name a folder that has the files with --data-dir"
    )
