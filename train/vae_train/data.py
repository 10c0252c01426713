"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017) as tensors, its content checked before anything else.

The four files are IDX: two zero bytes, a type (8 for uint8), the number of axes, each axis as a big-endian
32-bit number, then the values. They are looked for in this order: the folder that was named; the place of Debian's
package dataset-fashion-mnist; the user's cache; and at last the network, into that cache. Their SHA-256 is taken
after decompression, because Debian's gzip wrapping differs from the original one.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import math
import os
import socket
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_gen import InputError, random_words
from vae_gen.internal.files import write_file

from .options import require_train_extra

NAME = "Fashion-MNIST"
CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""Each file's SHA-256, decompressed."""

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")

MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",  # the authors', and torchvision's
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
"""Whom one trusts does not matter, since the content is checked."""

ATTEMPTS = 2
"""How often the round of mirrors is made."""
PAUSE_S = 1.0
"""Between two rounds."""
TIMEOUT_S = 30.0
"""Without a byte, after which the next mirror is tried."""

SPLIT_SEED = 0
SPLIT_STREAM = 2**32 - 2
"""The stream of the seed contract's Philox that orders images for the split."""


@dataclass(frozen=True, eq=False)
class FashionMnist:
    """A data set as tensors, still in grey levels."""

    train_images: Tensor
    """uint8 [60000, 1, 28, 28], 0 is the background"""
    train_labels: Tensor
    """int64 [60000], an index into `class_names`"""
    test_images: Tensor
    """uint8 [10000, 1, 28, 28]"""
    test_labels: Tensor
    """int64 [10000]"""
    sha256: dict[str, str]
    """of each file's decompressed content"""
    name: str = NAME
    class_names: tuple[str, ...] = CLASS_NAMES


def load_fashion_mnist(
    data_dir: Path | None = None, *, download: bool = True, mirrors: Sequence[str] = MIRRORS
) -> FashionMnist:
    """The data set, from the first place that has it.

    Args:
        data_dir: a folder with the four IDX files, gzipped or not; no other place is looked at then.
        download: fetch what no place has into the user's cache.
        mirrors: addresses, ending in /, below which the files lie with .gz added.

    Raises:
        InputError: a file is missing, is damaged, or has other content; or no mirror could be reached.
        UnavailableError: a download is needed and torchvision is not installed.
        OutputError: the cache cannot be written.
    """
    contents = {name: _read(name, data_dir, download, mirrors) for name in SHA256}
    train_images, train_labels, test_images, test_labels = (
        parse_idx(content, name) for name, content in contents.items()
    )
    return FashionMnist(
        train_images=torch.from_numpy(train_images).unsqueeze(1),  # [60000, 1, 28, 28]
        train_labels=torch.from_numpy(train_labels).long(),
        test_images=torch.from_numpy(test_images).unsqueeze(1),  # [10000, 1, 28, 28]
        test_labels=torch.from_numpy(test_labels).long(),
        sha256=dict(SHA256),
    )


def split(count: int, validation: int) -> tuple[Tensor, Tensor]:
    """Which of `count` images are for training and which for validation, each int64 and ascending.

    The same images whatever the run's seed, so that runs can be compared, and the same on every device and version
    of PyTorch: validation takes those that come first when each image draws a 64-bit word.
    """
    words = random_words(SPLIT_SEED, 0, count, 1, SPLIT_STREAM)[:, 0].astype(np.uint64)  # [count, 4]
    order = np.argsort(words[:, 0] << np.uint64(32) | words[:, 1], kind="stable")
    return torch.from_numpy(np.sort(order[validation:])), torch.from_numpy(np.sort(order[:validation]))


def batches(images: Tensor, order: Tensor, batch_size: int, first: int = 0) -> Iterator[Tensor]:
    """Images as float32 [batch, channels, height, width] in [0, 1], in the given order; the last batch may be smaller.

    Args:
        images: uint8 [n, channels, height, width], on the device that trains.
        order: int64 [m], indices into images.
        batch_size: images in a batch.
        first: the batch to begin with, counted from 0.
    """
    for at in range(first * batch_size, len(order), batch_size):
        yield images[order[at : at + batch_size].to(images.device)].float() / 255


def parse_idx(content: bytes, where: str) -> NDArray[np.uint8]:
    """The array in the bytes of an IDX file, uint8 of the shape it names.

    Raises:
        InputError: not IDX, another type than uint8, or a length that is not the shape's.
    """
    if content[:3] != b"\0\0\x08" or len(content) < 4 or len(content) < 4 + 4 * content[3]:
        found_bytes = content[:4].hex(" ") or "none"
        raise InputError(f"{where}: expected an IDX file of uint8, got the first bytes {found_bytes}; fetch it again")
    axes = content[3]
    shape = [int(size) for size in np.frombuffer(content, ">u4", axes, offset=4)]
    expected, found = math.prod(shape), len(content) - 4 - 4 * axes
    if found != expected:
        raise InputError(f"{where}: expected {expected} values for the shape {shape}, got {found}; fetch it again")
    # A copy, because an array over `bytes` is read-only, which tensors cannot be.
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()


def cache_folder() -> Path:
    """Where downloads are kept: below XDG_CACHE_HOME or LOCALAPPDATA where set, else below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    return Path(base).expanduser() / "vae-gen" / "fashion-mnist"


def _read(name: str, data_dir: Path | None, download: bool, mirrors: Sequence[str]) -> bytes:
    """The checked content of one of the four files."""
    if data_dir is not None:
        # torchvision lays the same files out two folders below the one it was given.
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
    candidates = (folder / file for folder in folders for file in (name, f"{name}.gz"))
    return next((path for path in candidates if path.exists()), None)


def _checked(path: Path, name: str, where: str = "") -> bytes:
    """The decompressed content of a file, which must be the known one; `where` is its origin, if not the path."""
    where = where or str(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{where}: expected a readable file ({error.strerror}); check its permissions") from error
    if content[:2] == b"\x1f\x8b":  # by content: browsers unpack .gz files and leave the name
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
    """The checked content of one file from the first mirror that gives it, kept in the cache."""
    require_train_extra("torchvision")
    from torchvision.datasets.utils import download_url

    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for attempt in range(ATTEMPTS):
            time.sleep(PAUSE_S if attempt else 0)
            for mirror in mirrors:
                file = f"{name}-{len(failures)}.gz"
                try:
                    with _timeout(TIMEOUT_S), _quiet_unless_terminal():
                        download_url(f"{mirror}{name}.gz", folder, file)
                    content = _checked(Path(folder, file), name, f"{mirror}{name}.gz")
                except InputError as error:
                    failures.append(str(error))
                except (OSError, RuntimeError, ValueError) as error:  # URLError is an OSError
                    failures.append(f"{mirror}: {' '.join(str(error).split()) or type(error).__name__}")
                else:
                    cache_folder().mkdir(parents=True, exist_ok=True)
                    # Decompressed, with time stamps and headers gone, the content is its own proof.
                    write_file(cache_folder() / name, content)
                    return content
    raise InputError(
        f"expected {NAME} from one of {len(mirrors)} mirrors, got none (the last failure: {failures[-1]}); check the "
        "network, install Debian's dataset-fashion-mnist, or name a folder that has the files with --data-dir"
    )


@contextlib.contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """What torchvision's helper inherits, because it has no timeout of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def _quiet_unless_terminal() -> Iterator[None]:
    """No progress bar in files, where torchvision's helper would draw one."""
    if sys.stderr.isatty():
        yield
    else:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
