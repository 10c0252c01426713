"""An image set in memory, or in a memory map: what training, evaluation and export work on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vae_gen.internal.manifest import Preparation


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Pictures still in grey levels, with what is known about them. Training and validation pictures come first."""

    train_images: Tensor
    """uint8 [n, channels, height, width]: the pictures for training and validation"""
    train_labels: Tensor
    """int64 [n], an index into `class_names`, or −1 for a picture without a class"""
    test_images: Tensor
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
