"""An image set in memory, or in files: what training, evaluation and export work on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from vae_gen.internal.manifest import Preparation

from .report import random_rows
from .streamed import Pictures, Streamed, chunks

MOST_LOADED, MEMORY_SEED = 1 << 30, 4
"""How many bytes of pictures `ImageSet.in_memory` takes, and the seed of `random_rows` that chooses them."""


class StreamedTensor:
    """Pictures in a file, which are indexed like a tensor: each index reads pictures, and puts them on a device."""

    def __init__(self, pictures: Streamed, device: torch.device | str = "cpu") -> None:
        self.pictures, self.device = pictures, torch.device(device)

    @property
    def shape(self) -> torch.Size:
        """The number of pictures, channels, height and width."""
        return torch.Size(self.pictures.shape)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, rows: int | slice | Tensor | Any) -> Tensor:
        of_numpy = rows.cpu().numpy() if isinstance(rows, Tensor) else rows
        return torch.from_numpy(np.ascontiguousarray(self.pictures[of_numpy])).to(self.device)

    def numel(self) -> int:
        """How many numbers all pictures have."""
        return self.pictures.size

    def numpy(self) -> Streamed:
        """The same pictures, indexed like an array."""
        return self.pictures

    def to(self, device: torch.device | str) -> Tensor | StreamedTensor:
        """All pictures on a GPU if they take at most half of its free memory; else they are put there as they are read.

        On a CPU they stay in the file.
        """
        device = torch.device(device)
        if device.type != "cuda" or self.pictures.nbytes > torch.cuda.mem_get_info(device.index)[0] // 2:
            return StreamedTensor(self.pictures, device)
        whole = torch.empty(self.shape, dtype=torch.uint8, device=device)
        start = 0
        for part in chunks(self.pictures):
            whole[start : start + len(part)] = torch.from_numpy(np.ascontiguousarray(part))
            start += len(part)
        return whole


Images: TypeAlias = Tensor | StreamedTensor
"""uint8 [n, channels, height, width]: pictures in memory, or in a file"""


def tensor_of(pictures: Pictures) -> Images:
    """Pictures as a tensor over the same memory, or as what is indexed like one."""
    return StreamedTensor(pictures) if isinstance(pictures, Streamed) else torch.from_numpy(pictures)


def chosen_of(images: Images, rows: Tensor) -> Images:
    """The pictures with these numbers, int64 [m]. Those in a file stay there."""
    if isinstance(images, StreamedTensor):
        return StreamedTensor(images.pictures.taken(rows.numpy()), images.device)
    return images[rows]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Pictures still in grey levels, with what is known about them. Training and validation pictures come first."""

    train_images: Images
    """uint8 [n, channels, height, width]: the pictures for training and validation"""
    train_labels: Tensor
    """int64 [n], an index into `class_names`, or −1 for a picture without a class"""
    test_images: Images
    """uint8 [m, channels, height, width]: kept for the final figures"""
    test_labels: Tensor
    """int64 [m]"""
    sha256: dict[str, str]
    """a checksum of each source file, or of all pictures together"""
    name: str
    class_names: tuple[str, ...] = ()
    """empty for a set without classes"""
    validation: int | None = None
    """how many of the last `train_images` came from a folder for validation; None lets `hold_out` choose"""
    licence: str = "unspecified"
    preparation: Preparation = field(default_factory=Preparation)
    origin: dict[str, Any] = field(default_factory=dict)
    """the source and the settings that give this set again, as JSON values; empty for Fashion-MNIST as it is"""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every picture."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    def in_memory(self) -> ImageSet:
        """The set with at most 1 GiB of its training pictures, and of its test pictures, chosen at random.

        Pictures that are read from a file are then held in memory. A set without such pictures stays as it is.
        """
        train, test = _few_enough(self.train_images), _few_enough(self.test_images)
        return replace(
            self,
            train_images=_loaded(self.train_images, train),
            train_labels=self.train_labels[train],
            test_images=_loaded(self.test_images, test),
            test_labels=self.test_labels[test],
            validation=None if self.validation is None else self.validation * len(train) // len(self.train_images),
        )

    def hold_out(self, count: int) -> tuple[Tensor, Tensor]:
        """The indices of the pictures to train on and of those to validate with, each int64 and ascending.

        Args:
            count: how many to hold out, where the set has no validation pictures of its own.
        """
        if self.validation is None:
            from ..data import split

            return split(len(self.train_images), count)
        first = len(self.train_images) - self.validation
        return torch.arange(first), torch.arange(first, len(self.train_images))


def _few_enough(images: Images) -> Tensor:
    """The numbers of all pictures, or for pictures in a file of as many, chosen at random, as may be in memory."""
    if not isinstance(images, StreamedTensor):
        return torch.arange(len(images))
    most = MOST_LOADED * len(images) // max(1, images.numel())
    return torch.from_numpy(np.sort(random_rows(len(images), MEMORY_SEED)[:most]))


def _loaded(images: Images, rows: Tensor) -> Tensor:
    return images[rows] if isinstance(images, StreamedTensor) else images
